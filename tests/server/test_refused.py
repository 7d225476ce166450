"""Refusals that nothing else comes to: of firms, people, factors, services, cards and the VPN, each
asked for in this process with everything else right."""

from __future__ import annotations

import hashlib
import socket
from dataclasses import replace
from ipaddress import ip_network

import pytest
from pydantic import ValidationError
from pyrad import packet
from pyrad.dictionary import Dictionary
from sqlalchemy import delete, insert, select, update

from tallystick.common.secret import Secret
from tallystick.server.accounts import factors, firms, people
from tallystick.server.accounts.policy import FirmPolicy, PersonRole
from tallystick.server.errors import ApiError
from tallystick.server.loans import desk, holding
from tallystick.server.rules.judge import Reason
from tallystick.server.rules.otp import hotp
from tallystick.server.rules.throttle import Throttle
from tallystick.server.services import oidc, oidc_clients, radius
from tallystick.server.services.radius import DICTIONARY, RadiusServer
from tallystick.server.services.radius_clients import (
    GroupAttribute,
    Mode,
    RadiusClient,
    RadiusSettings,
)
from tallystick.server.signing_in import recovery, together
from tallystick.server.signing_in.attempts import Purpose
from tallystick.server.signing_in.login import Browser, Way
from tallystick.server.stock import cards
from tallystick.server.store.database import StaleError
from tallystick.server.store.models import PersonRow
from tallystick.server.store.models_login import OidcCode, SessionRow
from tests.server.house import HERE, PASSWORD, refused
from tests.server.test_portal import register_card

# -- firms, people, policy -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "Firm", "-firm", "a b", "x" * 64, "firm/", "ä"])
def test_a_name_that_no_firm_has(house, name):
    with house.write() as connection, refused("bad-name"):
        firms.add(connection, house.state.ring, name, now=house.clock(), actor="test")


def test_a_firm_is_there_once_or_not_at_all(house):
    with house.write() as connection:
        number = firms.add(connection, house.state.ring, "x" * 63, now=house.clock(), actor="test")
        assert firms.by_name(connection, "x" * 63).id == number
    with house.write() as connection, refused("duplicate-name"):
        firms.add(connection, house.state.ring, "x" * 63, now=house.clock(), actor="test")
    with house.write() as connection, refused("no-such-firm"):
        firms.by_name(connection, "nobody")


def add(connection, login):
    return people.add(connection, firm_id=1, login=login, role=PersonRole.USER, email=None, now=0.0)


def test_login_names(house):
    with house.write() as connection:
        add(connection, "x" * people.MAX_LOGIN)
        with refused("bad-login"):
            add(connection, "x" * (people.MAX_LOGIN + 1))
    with house.write() as connection:
        add(connection, "Ann")
        with refused("duplicate-login"):
            add(connection, "ann")


def test_people_who_are_not_there_or_of_another_firm(house):
    person = house.person()
    with house.write() as connection:
        for number, firm in ((person.id + 1, person.firm_id), (person.id, person.firm_id + 1)):
            with refused("no-such-user"):
                people.change(connection, firm, number, email="x@example.org")
            with refused("no-such-user"):
                people.get(connection, firm, number)
        for name, firm in (("bob", person.firm_id), ("ann", person.firm_id + 1)):
            with refused("no-such-user"):
                people.by_login(connection, firm, name)
    assert house.known().email is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"minimum_methods": 3, "methods": ["card", "totp"]}, "minimum_methods is larger"),
        ({"recovery_methods": ["webauthn"]}, "cannot recover a password"),
        ({"lockout_s": 61, "lockout_max_s": 60}, "lockout_max_s is shorter"),
        ({"lockout_lifted_by": ["user"]}, "their own lock-out"),
        ({"time_zone": "Atlantis/Capital"}, "not a time zone"),
        ({"time_zone": "../etc/passwd"}, "not a time zone"),
        ({"unknown": 1}, "Extra inputs"),
    ],
)
def test_a_policy_that_does_not_fit_together(fields, words):
    with pytest.raises(ValidationError, match=words):
        FirmPolicy.model_validate(fields)


def test_a_policy_that_just_fits():
    policy = FirmPolicy.model_validate(
        {"minimum_methods": 2, "methods": ["card", "totp"], "lockout_s": 60, "lockout_max_s": 60}
    )
    assert policy.codes().lockout_max_s == 60


# -- factors ---------------------------------------------------------------------------------------


def test_a_factor_of_somebody_else_is_not_there(house):
    house.person("bob")
    theirs = int(house.key)
    ann = house.person("ann")
    with house.write() as connection:
        for act in (
            lambda: factors.get(connection, ann.id, theirs),
            lambda: factors.rename(connection, ann.id, theirs, "mine"),
            lambda: factors.remove(connection, ann.id, theirs),
        ):
            with refused("no-such-method"):
                act()
        assert factors.get(connection, house.known("bob").id, theirs).label != "mine"


@pytest.mark.parametrize("moved", ["position", "failures", "blocked_until"])
def test_a_factor_that_another_request_moved_first(house, moved):
    person = house.person()
    with house.write() as connection:
        before = factors.get(connection, person.id, int(house.key))
        throttle = before.throttle
        values = {
            "position": (before.position + 1, throttle),
            "failures": (before.position, replace(throttle, failures=1)),
            "blocked_until": (before.position, replace(throttle, blocked_until=9)),
        }[moved]
        factors.move(connection, before, position=values[0], throttle=values[1], used_at=None)
        with pytest.raises(StaleError):
            factors.move(
                connection, before, position=before.position + 2, throttle=Throttle(), used_at=None
            )
        now = factors.get(connection, person.id, int(house.key))
        assert (now.position, now.throttle) == values


# -- services --------------------------------------------------------------------------------------

URI = "https://service.example/callback"


def client(house, name="Service", uris=(URI,)):
    with house.write() as connection:
        return oidc_clients.add_client(
            connection, house.state.ring, firm_id=1, name=name, redirect_uris=list(uris),
            now=house.clock(), actor="test",
        )  # fmt: skip


@pytest.mark.parametrize(
    "uri",
    ["http://service.example/", "https://", "ftp://localhost/", "https://a/#x", "https://a/ b",
     "/callback", "javascript:alert(1)", "https://a/\n", ""],
)  # fmt: skip
def test_an_address_to_which_nobody_is_sent(house, uri):
    with refused("bad-redirect-uri"):
        client(house, uris=(URI, uri))


@pytest.mark.parametrize("uri", ["http://localhost:1/", "http://127.0.0.1/", "http://[::1]/", URI])
def test_an_address_to_which_somebody_may_be_sent(house, uri):
    assert client(house, uris=(uri,))[0].startswith("oc-")


def test_a_service_is_there_once(house):
    client(house)
    with refused("duplicate-name"):
        client(house)


def request(house, number, **change):
    query = {
        "client_id": number, "redirect_uri": URI, "state": "s", "nonce": "n", "scope": "openid",
        "response_type": "code", "code_challenge_method": "S256", "code_challenge": "c" * 43,
    }  # fmt: skip
    with house.write() as connection:
        return oidc.check_request(connection, 1, query | change)


@pytest.mark.parametrize("name", ["nonce", "scope"])
def test_how_long_a_text_of_a_request_may_be(house, name):
    number, _ = client(house)
    most = ("openid " + "x" * oidc.MAX_TEXT)[: oidc.MAX_TEXT]
    assert request(house, number, **{name: most})
    with pytest.raises(oidc.RequestError, match="at most 2048"):
        request(house, number, **{name: most + "x"})


def granted(house):
    """→ client, its credentials, a code for ann's session, the form that redeems it"""
    house.policy(minimum_methods=0)
    credentials = client(house)
    house.person()
    token = house.sign_in().session
    verifier = "v" * 64
    code = "the code"
    with house.write() as connection:
        connection.execute(
            insert(OidcCode),
            {
                "code_hash": hashlib.sha256(code.encode()).digest(), "client_id": credentials[0],
                "session_id": house.session(token).id, "redirect_uri": URI, "scope": "openid",
                "nonce": "n", "challenge": oidc._s256(verifier),
                "expires_at": int(house.clock()) + 60,
            },
        )  # fmt: skip
    form = {"grant_type": "authorization_code", "code": code, "code_verifier": verifier,
            "redirect_uri": URI}  # fmt: skip
    return credentials, token, form


def redeem(house, credentials, form):
    with house.write() as connection:
        return oidc.redeem(
            connection, house.state.ring, issuer="https://us", firm_id=1, form=form,
            credentials=credentials, now=house.clock(),
        )  # fmt: skip


def user_info(house, token, issuer="https://us"):
    with house.write() as connection:
        return oidc.user_info(
            connection, house.state.ring, issuer=issuer, firm_id=1, token=token, now=house.clock()
        )


def test_a_code_is_redeemed_once(house):
    credentials, _, form = granted(house)
    assert redeem(house, credentials, form)["token_type"] == "Bearer"
    again = redeem(house, credentials, form)
    assert isinstance(again, oidc_clients.TokenError) and again.error == "invalid_grant"


@pytest.mark.parametrize("gone", ["ended", "disabled", "expired"])
def test_a_code_whose_session_is_over(house, gone):
    credentials, _, form = granted(house)
    if gone == "disabled":
        house.change(disabled_at=1)
    with house.write() as connection:
        if gone == "expired":
            connection.execute(update(SessionRow).values(expires_at=int(house.clock())))
        if gone == "ended":
            code = connection.execute(select(*OidcCode.__table__.columns)).one()._asdict()
            connection.execute(delete(OidcCode))
            connection.execute(update(SessionRow).values(firm_id=SessionRow.firm_id))
            connection.execute(insert(OidcCode), code | {"expires_at": int(house.clock())})
    answer = redeem(house, credentials, form)
    assert isinstance(answer, oidc_clients.TokenError) and answer.error == "invalid_grant"


def test_an_access_token_and_what_is_none(house):
    credentials, _, form = granted(house)
    access = redeem(house, credentials, form)["access_token"]
    assert user_info(house, access)["sub"]
    head, body, tail = access.split(".")
    other = "A" if tail[5] != "A" else "B"
    for bad in ("", "x", "a.b.c", f"{head}.{body}.", f"{head}.{body}.{tail[:5]}{other}{tail[6:]}"):
        with pytest.raises(oidc_clients.TokenError) as caught:
            user_info(house, bad)
        assert (caught.value.error, caught.value.status) == ("invalid_token", 401)
    with pytest.raises(oidc_clients.TokenError):
        user_info(house, access, issuer="https://them")


@pytest.mark.parametrize(
    ("after", "good"), [(oidc.TOKEN_LIFE_S - 1, True), (oidc.TOKEN_LIFE_S, False)]
)
def test_how_long_an_access_token_lasts(house, after, good):
    credentials, _, form = granted(house)
    access = redeem(house, credentials, form)["access_token"]
    house.clock.advance(after)
    with house.write() as connection:
        connection.execute(
            update(SessionRow).values(
                expires_at=int(house.clock()) + 999, seen_at=int(house.clock())
            )
        )
    if good:
        assert user_info(house, access)
    else:
        with pytest.raises(oidc_clients.TokenError):
            user_info(house, access)


def test_an_access_token_whose_subject_is_not_the_sessions(house, monkeypatch):
    credentials, _, form = granted(house)
    access = redeem(house, credentials, form)["access_token"]
    monkeypatch.setattr(oidc, "subject_of", lambda ring, firm_id, person_id: "somebody else")
    with pytest.raises(oidc_clients.TokenError) as caught:
        user_info(house, access)
    assert caught.value.status == 401


def test_an_access_token_after_its_session_or_its_owner(house):
    credentials, _, form = granted(house)
    access = redeem(house, credentials, form)["access_token"]
    house.change(disabled_at=1)
    with pytest.raises(oidc_clients.TokenError):
        user_info(house, access)
    house.change(disabled_at=None)
    assert user_info(house, access)
    with house.write() as connection:
        connection.execute(delete(SessionRow))
    with pytest.raises(oidc_clients.TokenError):
        user_info(house, access)


# -- two of the staff ------------------------------------------------------------------------------


class Staff:
    def __init__(self, house) -> None:
        self.house = house
        for name, role in (("sue", "support"), ("sam", "support"), ("boss", "administrator")):
            house.person(name, enrolled=False)
            house.change(name, role=role)
        house.person("ann", enrolled=False)

    def ask(self, asker="sue", person="ann"):
        with self.house.write() as connection:
            return together.ask_recovery(
                self.house.state, connection, self.house.firm, self.house.known(asker),
                self.house.known(person),
            )  # fmt: skip

    def agree(self, number, other="sam", person="ann"):
        with self.house.write() as connection:
            together.agree(
                self.house.state, connection, self.house.firm, self.house.known(other), number,
                helped_id=self.house.known(person).id,
            )  # fmt: skip

    def collect(self, number, asker="sue"):
        with self.house.write() as connection:
            return together.collect(
                self.house.state, connection, self.house.known(asker), number,
                helped_id=self.house.known("ann").id,
            )  # fmt: skip


@pytest.fixture
def staff(house):
    return Staff(house)


def test_two_help_and_the_one_who_asked_gets_the_code(house, staff):
    number = staff.ask()
    with refused("needs-two"):
        staff.collect(number)  # nobody has agreed yet
    staff.agree(number)
    with refused("needs-two"):
        staff.collect(number, "sam")
    code = staff.collect(number)
    house.state.outbox.wake()
    assert recovery.with_help(house.state, "default", "ann", code, HERE)


def test_nobody_helps_alone(house, staff):
    with refused("needs-two"):
        staff.ask("sue", "sue")
    number = staff.ask()
    for other in ("sue", "ann"):
        with refused("needs-two"):
            staff.agree(number, other)
    staff.agree(number)
    with refused("needs-two"):
        staff.agree(number, "boss")  # once is enough


@pytest.mark.parametrize("other", ["user", "auditor"])
def test_a_colleague_without_the_right_does_not_agree(house, staff, other):
    number = staff.ask()
    house.change("sam", role=other)
    with refused("needs-two"):
        staff.agree(number)


@pytest.mark.parametrize("change", [{"disabled_at": 1}, {"role": "user"}])
def test_an_asker_who_may_not_ask_any_more(house, staff, change):
    number = staff.ask()
    house.change("sue", **change)
    with refused("needs-two"):
        staff.agree(number)


def test_someone_with_more_rights_needs_an_administrator(house, staff):
    number = staff.ask(person="boss")
    with refused("needs-more-rights"):
        staff.agree(number, person="boss")


@pytest.mark.parametrize(
    ("after", "there"), [(together.LIFE_S - 1, True), (together.LIFE_S, False)]
)
def test_how_long_a_request_waits(house, staff, after, there):
    number = staff.ask()
    house.clock.advance(after)
    if there:
        staff.agree(number)
    else:
        with refused("no-such-request"):
            staff.agree(number)
    with refused("no-such-request"):
        staff.agree(number + 1)


# -- cards -----------------------------------------------------------------------------------------


@pytest.fixture
def stock(house, portal, container_class):
    """Three cards in the stock of the house's own database; ann, and support sue."""
    house.seeds = {one: register_card(portal, container_class, one) for one in ("A1", "B2")}
    for name, role in (("ann", "user"), ("sue", "support"), ("boss", "administrator")):
        house.person(name, enrolled=False)
        house.change(name, role=role)
    return house


def caller(house, name="boss"):
    person = house.known(name)
    return cards.staff(person.id, person.firm_id, person.login, person.role)


def act(house, what, *arguments, **named):
    with house.write() as connection:
        return what(connection, house.state.ring, caller(house), *arguments, **named)


def lend(house, serial="A1", login="ann", **more):
    return act(house, holding.lend, serial, login=login, policy=house.firm.policy,
               now=house.clock(), **more)  # fmt: skip


def assign(house, serial="A1", login="ann"):
    return act(house, holding.assign, serial, login=login, now=house.clock())


def give_back(house):
    code = hotp(house.seeds["A1"], 0, 6)
    return act(house, desk.give_back, "A1", codes=(code,), policy=house.firm.policy,
               now=house.clock())  # fmt: skip


def test_what_is_not_lent_is_not_given_back(stock):
    with pytest.raises(ApiError, match="nobody holds it") as caught:
        give_back(stock)
    assert caught.value.code == "not-lent" and not caught.value.todo
    assign(stock)
    with pytest.raises(ApiError, match="assigned for good") as caught:
        give_back(stock)
    assert caught.value.code == "not-lent" and caught.value.todo


def replaced(stock, lost="A1", by="B2"):
    code = hotp(stock.seeds["B2"], 0, 6)
    return act(stock, desk.replace, lost, by=by, codes=(code,), policy=stock.firm.policy,
               now=stock.clock())  # fmt: skip


def test_only_what_somebody_holds_is_replaced(stock):
    with refused("not-held"):
        replaced(stock)
    assign(stock)
    with refused("same-card"):
        replaced(stock, "B2", "B2")
    assert replaced(stock)["user"] == "ann"


def test_a_card_that_somebody_holds_replaces_none(stock):
    assign(stock)
    assign(stock, "B2", "sue")
    with pytest.raises(ApiError) as caught:
        replaced(stock)
    assert caught.value.status == 409
    with stock.write() as connection:
        assert holding.holder(connection, cards.find(connection, caller(stock), "A1").id,
                              stock.clock()).person_id == stock.known("ann").id  # fmt: skip


def test_a_retired_card_is_not_replaced(stock):
    assign(stock)
    with stock.write() as connection:
        connection.exec_driver_sql("UPDATE card SET status = 'retired' WHERE serial = 'A1'")
    with refused("not-held"):
        replaced(stock)


def test_nothing_is_lent_to_someone_disabled(stock):
    stock.change(disabled_at=1)
    with refused("user-disabled"):
        lend(stock)
    stock.change(disabled_at=None)
    assert lend(stock)["user"] == "ann"


def claim(stock, codes, serial="A1"):
    return act(stock, holding.claim, serial, person_id=stock.known().id, codes=codes,
               policy=stock.firm.policy, now=stock.clock())  # fmt: skip


def test_a_card_is_claimed_with_two_codes_of_its_length(stock):
    seed = stock.seeds["A1"]
    right = (hotp(seed, 0, 6), hotp(seed, 1, 6))
    for codes in (("0" * 5, "0" * 5), (hotp(seed, 0, 8), hotp(seed, 1, 8)), ("", "")):
        assert claim(stock, codes).reason is Reason.WRONG
    assert claim(stock, right, "Z9").reason is Reason.WRONG
    with stock.write() as connection:
        failures = connection.exec_driver_sql("SELECT failures FROM card WHERE serial = 'A1'")
        assert failures.scalar() == 0  # what has another length is no guess
    assert claim(stock, right).reason is Reason.OK
    assert claim(stock, (hotp(seed, 2, 6), hotp(seed, 3, 6))).reason is Reason.WRONG  # held


def ask_hand_over(stock, login="boss", serial="A1", factor=0):
    with stock.write() as connection:
        return together.ask_hand_over(
            stock.state, connection, stock.firm, stock.known("sue"), serial, login=login,
            codes=(hotp(stock.seeds[serial], factor, 6),), for_good=False,
        )  # fmt: skip


def test_a_card_is_asked_for_someone_else_and_is_free(stock):
    with refused("needs-two"):
        ask_hand_over(stock, "sue")
    assign(stock)
    with pytest.raises(ApiError) as caught:
        ask_hand_over(stock)
    assert caught.value.status == 409 and "A1" in caught.value.what


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("valid_until = 1", "card-expired"),
        ("status = 'lost'", "card-lost"),
        ("status = 'retired'", "card-retired"),
    ],
)
def test_no_card_is_asked_for_that_is_good_for_nothing(stock, change, code):
    """A colleague would look at it for nothing."""
    with stock.write() as connection:
        connection.exec_driver_sql(f"UPDATE card SET {change} WHERE serial = 'A1'")
    with refused(code):
        ask_hand_over(stock)
    with stock.write() as connection:
        assert together.waiting(connection, stock.firm.id, stock.clock()) == []


def test_a_request_for_a_card_gives_no_code_to_recover_with(stock):
    number = ask_hand_over(stock)
    assert isinstance(number, int)
    with stock.write() as connection, refused("no-such-request"):
        together.collect(
            stock.state, connection, stock.known("sue"), number, helped_id=stock.known("ann").id
        )


# -- the VPN ---------------------------------------------------------------------------------------


class Vpn:
    def __init__(self, house, mode=Mode.CHALLENGE) -> None:
        self.secret = b"shared secret"
        self.words = Dictionary(str(DICTIONARY))
        self.house = house
        self.settings = RadiusSettings("default", Secret(self.secret), ("127.0.0.1/32",), mode)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.server = RadiusServer(house.state, self.settings, self.socket)

    def ask(self, name="ann", password=PASSWORD, **more):
        asked = packet.AuthPacket(secret=self.secret, dict=self.words)
        if name is not None:
            asked["User-Name"] = name
        if password is not None:
            asked["User-Password"] = asked.PwCrypt(password)
        for key, value in more.items():
            asked[key] = value
        asked.add_message_authenticator()
        data = asked.RequestPacket()
        request = packet.AuthPacket(packet=data, secret=self.secret, dict=self.words)
        (client,) = self.settings.each()
        return radius._Judging(self.house.state, client).judge(request, "127.0.0.1")

    def close(self):
        self.server.close()
        self.server._pool.shutdown()
        self.socket.close()


@pytest.fixture
def mode():
    return Mode.CHALLENGE


@pytest.fixture
def vpn(house, mode):
    made = Vpn(house, mode)
    yield made
    made.close()


@pytest.mark.parametrize(("name", "password"), [(None, PASSWORD), ("ann", None), (None, None)])
def test_a_request_without_name_or_password(house, vpn, name, password):
    house.person()
    reply = vpn.ask(name, password)
    assert (reply.code, reply.message) == (packet.AccessReject, "A name and a password are needed.")


def test_a_challenge_and_its_answer(house, vpn):
    house.person()
    asked = vpn.ask()
    assert asked.code == packet.AccessChallenge and asked.state
    assert vpn.ask(password=house.wrong(), State=asked.state).code == packet.AccessReject
    assert vpn.ask("bob", house.code(), State=asked.state).code == packet.AccessReject
    assert vpn.ask(password=house.code(), State=asked.state).code == packet.AccessAccept
    assert vpn.ask(password=house.code(), State=asked.state).code == packet.AccessReject


@pytest.mark.parametrize("mode", [Mode.CHALLENGE, Mode.APPEND])
def test_too_few_methods_open_no_vpn(house, vpn, mode):
    house.person()
    house.policy(minimum_methods=2)
    password = PASSWORD + (house.code() if mode is Mode.APPEND else "")
    reply = vpn.ask(password=password)
    assert (reply.code, reply.message) == (
        packet.AccessReject, "Enrol a second factor first, or one more.",
    )  # fmt: skip


def test_methods_that_need_a_browser(house, vpn, monkeypatch):
    house.person()
    monkeypatch.setattr(radius._Judging, "_typed", lambda self, attempt, asked: [])
    reply = vpn.ask()
    assert (reply.code, reply.message) == (
        packet.AccessReject, "None of your methods works here.",
    )  # fmt: skip


def test_groups_are_of_the_clients_firm(house):
    """ann of another firm is somebody else."""
    house.person()
    now = house.clock()
    with house.write() as connection:
        other = firms.add(connection, house.state.ring, "second", now=now, actor="test")
        people.add(
            connection, firm_id=other, login="ann", role=PersonRole.USER, email=None, now=now
        )
        for firm_id, group in ((1, "staff"), (other, "guests")):
            mine = (PersonRow.firm_id == firm_id) & (PersonRow.login == "ann")
            connection.execute(update(PersonRow).where(mine).values(groups=group))
    for firm, group in (("default", "staff"), ("second", "guests")):
        client = RadiusClient(
            ip_network("127.0.0.1/32"), Secret(b"x" * 16), firm,
            group_attribute=GroupAttribute.FILTER_ID,
        )  # fmt: skip
        way = Way(Purpose.RADIUS, bound="", opens=False)
        asked = radius._Asked("ann", Browser(source="127.0.0.1", agent="RADIUS"), way)
        assert radius._Judging(house.state, client)._accept(asked).groups == (group,)


@pytest.mark.parametrize("mode", [Mode.APPEND])
def test_a_code_behind_the_password(house, vpn, mode):
    house.person()
    assert vpn.ask(password=PASSWORD).message == "That was not right."
    assert vpn.ask(password=PASSWORD + house.wrong()).code == packet.AccessReject
    assert vpn.ask(password="wrong" + house.code()).code == packet.AccessReject
    assert vpn.ask(password=house.code()).code == packet.AccessReject
    assert vpn.ask(password=PASSWORD + house.code()).code == packet.AccessAccept
    assert vpn.ask(password=PASSWORD + house.code()).code == packet.AccessReject
