"""Each operand of each guard, one at a time: expired, another person's, another firm's, a skipped
step. Below HTTP, so that nothing further out refuses first."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from dataclasses import replace

import pyotp
import pytest
from joserfc import jwt
from sqlalchemy import text

from tallystick.common.secret import Secret
from tallystick.server.accounts import credentials, factors, firms, passwords, people, sessions
from tallystick.server.accounts.credentials import Caller, Role
from tallystick.server.accounts.policy import FirmPolicy, MethodKind, PersonRole
from tallystick.server.errors import ApiError
from tallystick.server.loans import desk, holding
from tallystick.server.loans.holding import CardStatus
from tallystick.server.methods.totp import TotpMethod
from tallystick.server.rules.otp import hotp
from tallystick.server.services import oidc, oidc_clients
from tallystick.server.services.oidc import AuthRequest, RequestError
from tallystick.server.services.oidc_clients import Client, TokenError
from tallystick.server.signing_in import attempts, login, recovery, second, together
from tallystick.server.signing_in.attempts import Purpose, Stage
from tallystick.server.signing_in.login import PORTAL, Browser, Way
from tallystick.server.state import open_state
from tallystick.server.stock import cards
from tallystick.server.stock.gathering import CardSeed
from tallystick.server.store import rates, signing_keys

PASSWORD, NEW = "correct horse battery", "another good one"
HERE = Browser("203.0.113.1", "test")
VERIFIER = "v" * 64
BACK = "https://service.example/back"
ISSUER = "http://localhost/p/default"
CHALLENGE = urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
POLICY = FirmPolicy(remember_device_days=9, methods=frozenset(MethodKind))


class Setting:
    """Two firms; in the first, ann (an app, a mailbox), bob, agents sue and sam, and the boss."""

    def __init__(self, state) -> None:
        self.state, self.clock = state, state.settings.clock
        self.other_firm = self.write(
            lambda c: firms.add(c, state.ring, "other", now=self.now, actor="test")
        )
        self.write(lambda c: firms.set_policy(c, state.ring, 1, POLICY, now=self.now, actor="test"))
        for name, role in (
            ("ann", "user"),
            ("bob", "user"),
            ("sue", "support"),
            ("sam", "support"),
            ("boss", "administrator"),
        ):
            self.person(name, role)
        self.person("ann", "user", self.other_firm)
        self.app = pyotp.TOTP(pyotp.random_base32())
        self.key = self.factor(MethodKind.TOTP, {"hash": "SHA1"}, self.app.byte_secret(), -1)
        self.factor(MethodKind.EMAIL, {"shown": "a"}, b"ann@home.example", 0)

    @property
    def now(self) -> float:
        return self.clock()

    def write(self, work):
        with self.state.database.write() as connection:
            return work(connection)

    def sql(self, statement: str, **values: object) -> list:
        def work(connection):
            result = connection.execute(text(statement), values)
            return [tuple(row) for row in result] if result.returns_rows else []

        return self.write(work)

    def person(self, name: str, role: str, firm: int = 1) -> None:
        def work(connection):
            number = people.add(
                connection,
                firm_id=firm,
                login=name,
                role=PersonRole(role),
                email=f"{name}@firm.example",
                now=self.now,
            )
            passwords.store(connection, number, passwords.hash_new(PASSWORD), self.now)

        self.write(work)

    def who(self, name: str = "ann", firm: int = 1):
        return self.write(lambda c: people.by_login(c, firm, name))

    def factor(self, kind, facts, secret, position, name: str = "ann") -> str:
        person = self.who(name)

        def work(connection):
            number = factors.create(
                connection,
                self.state.ring,
                firm_id=1,
                person_id=person.id,
                kind=kind,
                label=kind.value,
                facts=facts,
                secret=secret,
                now=self.now,
                position=position,
            )
            factors.confirm(connection, person.id, number, self.now)
            return str(number)

        return self.write(work)

    def code(self) -> str:
        self.clock.advance(30)
        return self.app.at(int(self.now))

    def session(self, name: str = "ann", firm: int = 1, **more: object) -> str:
        person = self.who(name, firm)
        return self.write(
            lambda c: sessions.open_session(
                c, person=person, policy=POLICY, amr=("pwd", "otp", "mfa"), browser="", source="",
                now=self.now, **more,
            )
        )  # fmt: skip

    def current(self, token: str, firm: int = 1):
        return self.write(lambda c: sessions.current(c, token, firm, self.now))


@pytest.fixture
def here(settings):
    state = open_state(replace(settings, public_url="http://localhost"))
    yield Setting(state)
    state.close()


def refusal(work) -> tuple[int, str]:
    with pytest.raises(ApiError) as refused:
        work()
    return refused.value.status, refused.value.code


# sessions -----------------------------------------------------------------------------------------


def test_a_session_is_found(here):
    assert here.current(here.session()).person.login == "ann"


@pytest.mark.parametrize("wrong", ["token", "firm", "expired", "idle", "disabled"])
def test_what_is_no_session(here, wrong):
    token, firm = here.session(), 1
    if wrong == "token":
        token = sessions.new_token()
    elif wrong == "firm":
        firm = here.other_firm
    elif wrong == "expired":
        here.clock.advance(POLICY.session_hours * 3600)
        here.sql("UPDATE session SET seen_at = :now", now=int(here.now))
    elif wrong == "idle":
        here.clock.advance(POLICY.session_idle_minutes * 60)
    else:
        here.sql("UPDATE person SET disabled_at = 1")
    assert here.current(token, firm) is None


def remembered(here, token: str, name: str = "ann", policy: FirmPolicy = POLICY) -> bool:
    person = here.who(name)
    return here.write(lambda c: sessions.is_remembered(c, person.id, policy, token, here.now))


def test_a_browser_is_remembered_for_one_person_for_a_while(here):
    ann = here.who()
    token = here.write(lambda c: sessions.remember_device(c, ann.id, POLICY, here.now))
    assert remembered(here, token)
    assert not remembered(here, sessions.new_token()) and not remembered(here, "")
    assert not remembered(here, token, "bob")
    assert not remembered(here, token, policy=replace_policy(remember_device_days=0))
    here.clock.advance(9 * 86400)
    assert not remembered(here, token)


def replace_policy(**changes: object) -> FirmPolicy:
    return FirmPolicy.model_validate(POLICY.model_dump() | changes)


def test_ending_ends_what_was_named_of_whom_it_is(here):
    ann, bob = here.who(), here.who("bob")
    first, second_one, bobs = here.session(), here.session(), here.session("bob")
    number = here.current(first).id
    here.write(lambda c: sessions.end(c, bob.id, number))  # not his
    assert here.current(first) and here.current(bobs)
    here.write(lambda c: sessions.end(c, ann.id, number))
    assert here.current(first) is None and here.current(second_one) and here.current(bobs)
    third = here.current(second_one).id
    kept = here.session()
    here.write(lambda c: sessions.end_all(c, ann.id, but=here.current_id(c, kept)))
    assert here.current(second_one) is None and here.current(kept) and here.current(bobs)
    here.write(lambda c: sessions.end_all(c, ann.id))
    assert here.current(kept) is None and here.current(bobs) and third


def _current_id(self, connection, token: str) -> int:
    return sessions.current(connection, token, 1, self.now).id


Setting.current_id = _current_id


def test_ending_all_leaves_another_persons_attempts_and_browsers(here):
    ann, bob = here.who(), here.who("bob")
    tokens = {
        (name, purpose): begun(here, name, purpose)
        for name in ("ann", "bob")
        for purpose in (Purpose.LOGIN, Purpose.RADIUS, Purpose.RECOVERY, Purpose.PROVE)
    }
    devices = [
        here.write(lambda c, who=who: sessions.remember_device(c, who.id, POLICY, here.now))
        for who in (ann, bob)
    ]
    here.write(lambda c: sessions.end_all(c, ann.id))
    left = {of for of, token in tokens.items() if found(here, token, of[1]) is not None}
    assert left == {(n, p) for n, p in tokens if n == "bob" or p is Purpose.PROVE}
    assert not remembered(here, devices[0]) and remembered(here, devices[1], "bob")


def test_a_shorter_policy_holds_in_its_own_firm(here):
    ours, theirs = here.session(), here.session("ann", here.other_firm)
    short = replace_policy(session_hours=1)
    here.write(lambda c: sessions.shorten(c, 1, FirmPolicy(), short, here.now))
    here.clock.advance(3600)
    here.sql("UPDATE session SET seen_at = :now", now=int(here.now))
    assert here.current(ours) is None and here.current(theirs, here.other_firm)


# attempts -----------------------------------------------------------------------------------------


def begun(here, name: str = "ann", purpose: Purpose = Purpose.LOGIN, **more: object) -> str:
    values = {"stage": Stage.SECOND, "context": {"bound": ""}, "source": "", "firm_id": 1} | more
    person = here.who(name).id if name else None
    return here.write(
        lambda c: attempts.begin(c, person_id=person, purpose=purpose, now=here.now, **values)
    )


def found(here, token: str, purpose: Purpose = Purpose.LOGIN, firm: int = 1):
    return here.write(lambda c: attempts.find(c, token, firm, purpose, here.now))


def test_an_attempt_is_found_by_its_token_in_its_firm_for_its_purpose_in_time(here):
    token = begun(here)
    assert found(here, token).person_id == here.who().id
    assert found(here, sessions.new_token()) is None
    assert found(here, token, firm=here.other_firm) is None
    for purpose in set(Purpose) - {Purpose.LOGIN}:
        assert found(here, token, purpose) is None
    here.clock.advance(attempts.LIFE_S)
    assert found(here, token) is None


@pytest.mark.parametrize(
    "wrong", [{"stage": Stage.PROVE}, {"stage": Stage.RESET}, {"name": ""}, {"bound": "x"}]
)
def test_a_second_factor_is_asked_for_in_its_stage_only(here, wrong):
    bound = wrong.get("bound", "")
    token = begun(
        here,
        wrong.get("name", "ann"),
        stage=wrong.get("stage", Stage.SECOND),
        context={"bound": bound},
    )
    assert refusal(lambda: login.choices(here.state, "default", token)) == (401, "attempt-over")
    if bound:
        held = login.choices(here.state, "default", token, replace(PORTAL, bound=bound))
        assert len(held) == 2


def test_nor_of_someone_who_was_disabled(here):
    token = begun(here)
    here.sql("UPDATE person SET disabled_at = 1")
    assert refusal(lambda: login.choices(here.state, "default", token)) == (401, "attempt-over")


def signed(here, name: str = "ann", password: str = PASSWORD, firm: str = "default", **more):
    return login.with_password(here.state, firm, name, password, HERE, "", **more)


def test_a_password_is_one_persons_of_one_firm(here):
    assert signed(here).attempt
    for name, password, firm in (
        ("ann", "wrong", "default"),
        ("nobody", PASSWORD, "default"),
        ("bob", "wrong", "default"),
        ("bob", PASSWORD, "other"),
    ):
        assert refusal(lambda n=name, p=password, f=firm: signed(here, n, p, f))[0] == 401
    here.sql("UPDATE person SET disabled_at = 1")
    assert refusal(lambda: signed(here))[0] == 401


@pytest.mark.parametrize("bound", ["", "10.0.0.1|bob"])
def test_a_code_finishes_the_attempt_that_it_was_typed_in(here, bound):
    way = Way(Purpose.RADIUS, "10.0.0.1|ann", opens=False)
    pending = signed(here, way=way)
    wrong = replace(way, bound=bound)
    code = here.code()
    tried = refusal(
        lambda: login.with_code(here.state, "default", pending.attempt, code, HERE, wrong)
    )
    assert tried[0] == 401
    done = login.with_code(here.state, "default", pending.attempt, code, HERE, way)
    assert done.session == ""


# recovery -----------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def not_evened(monkeypatch):
    monkeypatch.setattr(recovery, "EVENED_S", 0.0)


def recovering(here, name: str = "ann", kind: MethodKind = MethodKind.TOTP) -> str:
    return recovery.start(here.state, "default", name, kind, HERE)


def proved(here, token: str, code: str, firm: str = "default"):
    return recovery.prove(here.state, firm, token, {"code": code}, HERE)


def reset(here, token: str, firm: str = "default"):
    return recovery.reset(here.state, firm, token, NEW, HERE)


def test_a_recovery_step_by_step(here):
    token = recovering(here)
    assert refusal(lambda: reset(here, token))[0] == 401  # not before the proof
    assert not proved(here, token, "000000").accepted
    code = here.code()
    assert refusal(lambda: proved(here, token, code, "other"))[0] == 401
    assert proved(here, token, code).accepted
    assert refusal(lambda: proved(here, token, here.code()))[0] == 401  # nor a proof after it
    assert refusal(lambda: reset(here, token, "other"))[0] == 401
    assert reset(here, token) is None
    assert refusal(lambda: reset(here, token))[0] == 401
    assert here.who().recovered_by == "telephone"


@pytest.mark.parametrize("kind", [MethodKind.SMS, MethodKind.WEBAUTHN, MethodKind.CODES])
def test_what_policy_does_not_let_recover(here, kind):
    assert refusal(lambda: recovering(here, kind=kind)) == (422, "not-for-recovery")


def test_what_policy_does_not_allow_at_all_recovers_nothing_either(here):
    policy = replace_policy(methods=frozenset({MethodKind.EMAIL, MethodKind.CARD}))
    here.write(
        lambda c: firms.set_policy(c, here.state.ring, 1, policy, now=here.now, actor="test")
    )
    assert refusal(lambda: recovering(here)) == (422, "not-for-recovery")


@pytest.mark.parametrize("when", ["before", "between", "at the end"])
def test_nobody_who_is_disabled_recovers(here, when):
    stop = "UPDATE person SET disabled_at = 1"
    if when == "before":
        here.sql(stop)
        token = recovering(here)
        assert not proved(here, token, here.code()).accepted
        return
    token = recovering(here)
    if when == "between":
        here.sql(stop)
        assert refusal(lambda: proved(here, token, here.code()))[0] == 401
        return
    assert proved(here, token, here.code()).accepted
    here.sql(stop)
    assert refusal(lambda: reset(here, token))[0] == 401


def test_another_persons_code_or_kind_does_not_recover(here):
    token = recovering(here, "bob")
    assert not proved(here, token, here.code()).accepted
    token = recovering(here, "nobody")
    assert not proved(here, token, here.code()).accepted
    token = recovering(here, kind=MethodKind.EMAIL)
    assert not proved(here, token, here.code()).accepted


def test_a_recovery_has_so_many_tries(here):
    token = recovering(here)
    for _ in range(recovery.TRIES_PER_ATTEMPT):
        assert not proved(here, token, "000000").accepted
    assert refusal(lambda: proved(here, token, here.code()))[0] == 401


def helped(here, name: str = "ann", **more: object) -> str:
    person = here.who(name)
    return here.write(lambda c: recovery.console_help(here.state, c, person, here.now, **more))


def with_help(here, code: str, name: str = "ann", firm: str = "default"):
    return recovery.with_help(here.state, firm, name, code, HERE)


@pytest.mark.parametrize(
    "wrong",
    ["code", "name", "firm", "twice", "late", "tries", "kind", "no code was made", "newer"],
)
def test_what_is_no_help_code(here, wrong):
    code, name, firm = helped(here), "ann", "default"
    if wrong == "code":
        code = "2222-2222-2222"
    elif wrong == "name":
        name = "bob"
    elif wrong == "firm":
        firm = "other"
    elif wrong == "twice":
        with_help(here, code)
    elif wrong == "late":
        here.clock.advance(recovery.CONSOLE_LIFE_S)
    elif wrong == "tries":
        here.sql("UPDATE help_request SET tries = :n", n=recovery.HELP_TRIES)
    elif wrong == "kind":
        here.sql("UPDATE help_request SET kind = 'hand-over'")
    elif wrong == "newer":
        helped(here)
    else:
        here.sql("UPDATE help_request SET code_tag = NULL")
    assert refusal(lambda: with_help(here, code, name, firm))[0] == 401


def test_a_right_help_code_of_someone_who_was_disabled(here):
    token = with_help(here, helped(here))
    here.sql("UPDATE person SET disabled_at = 1")
    assert refusal(lambda: reset(here, token))[0] == 401


def test_a_session_to_enrol_is_for_those_who_have_nothing_left(here):
    assert reset(here, with_help(here, helped(here))) is None  # ann has her app yet
    assert reset(here, with_help(here, helped(here, "bob"), "bob")) is None  # never had one
    code = helped(here, voids=[("totp", "*"), ("email", "*")])
    token = reset(here, with_help(here, code))
    assert here.current(token).enrol_only


def test_only_the_methods_that_were_named_are_void(here):
    assert reset(here, with_help(here, helped(here, voids=[("totp", "999")]))) is None
    assert here.sql("SELECT count(*) FROM factor") == [(2,)]
    assert reset(here, with_help(here, helped(here, voids=[("totp", here.key)]))) is None
    assert here.sql("SELECT kind FROM factor") == [("email",)]


# what two members of staff decide -----------------------------------------------------------------


def asked(here, asker: str = "sue", whom: str = "ann") -> int:
    firm = here.write(lambda c: firms.by_name(c, "default"))
    one, other = here.who(asker), here.who(whom)
    return here.write(lambda c: together.ask_recovery(here.state, c, firm, one, other))


def agreed(here, number: int, by: str = "sam", whom: str = "ann", firm: int = 1) -> None:
    known = here.write(lambda c: firms.by_id(c, firm))
    other, helped_id = here.who(by, firm), here.who(whom, firm).id
    here.write(lambda c: together.agree(here.state, c, known, other, number, helped_id=helped_id))


def collected(here, number: int, by: str = "sue", whom: str = "ann") -> str:
    one, helped_id = here.who(by), here.who(whom).id
    return here.write(lambda c: together.collect(here.state, c, one, number, helped_id=helped_id))


def test_one_asks_another_agrees_the_first_collects(here):
    number = asked(here)
    assert refusal(lambda: collected(here, number)) == (403, "needs-two")  # not agreed to yet
    agreed(here, number)
    assert refusal(lambda: collected(here, number, by="sam")) == (403, "needs-two")
    assert with_help(here, collected(here, number))


@pytest.mark.parametrize(
    ("by", "whom", "status"),
    [("sue", "ann", 403), ("bob", "ann", 403), ("sam", "bob", 404), ("ann", "ann", 403)],
)
def test_who_does_not_agree(here, by, whom, status):
    number = asked(here)
    assert refusal(lambda: agreed(here, number, by, whom))[0] == status


@pytest.mark.parametrize(
    "wrong", ["late", "twice", "asker demoted", "asker disabled", "asker new", "raised"]
)
def test_when_nobody_agrees(here, wrong):
    number = asked(here)
    expected = 403
    if wrong == "late":
        here.clock.advance(together.LIFE_S)
        expected = 404
    elif wrong == "twice":
        agreed(here, number)
    elif wrong == "asker demoted":
        here.sql("UPDATE person SET role = 'user' WHERE login = 'sue'")
    elif wrong == "asker disabled":
        here.sql("UPDATE person SET disabled_at = 1 WHERE login = 'sue'")
    elif wrong == "asker new":
        soon = int(here.now) + 1
        here.sql(f"UPDATE person SET colleague_from = {soon} WHERE login = 'sue'")
    else:
        here.sql("UPDATE person SET role = 'administrator' WHERE login = 'ann'")
    assert refusal(lambda: agreed(here, number))[0] == expected


def test_what_waits_is_of_the_firm_and_not_over(here):
    number = asked(here)

    def waiting(firm: int = 1, after: int = 0) -> list[int]:
        moment = here.now + after
        return [one.id for one in here.write(lambda c: together.waiting(c, firm, moment))]

    assert waiting() == waiting(after=together.LIFE_S - 1) == [number]
    assert waiting(here.other_firm) == waiting(after=together.LIFE_S) == []


def test_nobody_of_another_firm_agrees(here):
    number = asked(here)
    here.person("sam", "support", here.other_firm)
    assert refusal(lambda: agreed(here, number, "sam", "ann", here.other_firm))[0] == 404


def test_nobody_asks_for_himself(here):
    assert refusal(lambda: asked(here, "sue", "sue")) == (403, "needs-two")


def test_a_card_that_is_to_be_handed_over_has_no_code_to_collect(here):
    number = asked(here)
    agreed(here, number)
    here.sql("UPDATE help_request SET kind = 'hand-over'")
    assert refusal(lambda: collected(here, number))[0] == 404


# OpenID Connect -----------------------------------------------------------------------------------


@pytest.fixture
def service(here):
    """A service of the first firm, and its secret."""
    return here.write(lambda c: _service(here, c, "Service", 1))


def _service(here, connection, name: str, firm: int) -> tuple[str, str]:
    return oidc_clients.add_client(
        connection,
        here.state.ring,
        firm_id=firm,
        name=name,
        redirect_uris=[BACK],
        now=here.now,
        actor="test",
    )


def request_of(service: tuple[str, str], **changes: str) -> AuthRequest:
    client = Client(service[0], 1, "Service", (BACK,))
    return replace(AuthRequest(client, BACK, "openid", "s", "n", CHALLENGE), **changes)


def issued(here, service, token: str) -> str:
    session = here.current(token)
    url = here.write(lambda c: oidc.issue_code(c, request_of(service), session, here.now))
    return url.split("code=")[1].split("&")[0]


def redeemed(here, service, code: str, firm: int = 1, **changes: str):
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": BACK,
        "code_verifier": VERIFIER,
    }
    return here.write(
        lambda c: oidc.redeem(
            c, here.state.ring, issuer=ISSUER, firm_id=firm, form=form | changes,
            credentials=service, now=here.now,
        )
    )  # fmt: skip


def test_a_code_is_redeemed_once(here, service):
    here.session("bob")
    code = issued(here, service, here.session())
    token = redeemed(here, service, code)["id_token"]
    assert redeemed(here, service, code).error == "invalid_grant"
    key = here.write(lambda c: signing_keys.current(c, here.state.ring, here.now))
    claims = jwt.decode(token, key, algorithms=["RS256"]).claims
    assert claims["sub"] == oidc.subject_of(here.state.ring, 1, here.who().id)
    assert claims["nonce"] == "n"


@pytest.mark.parametrize(
    "wrong",
    [
        "code", "expired", "service", "redirect", "no verifier", "short verifier", "verifier",
        "session of another firm", "session expired", "enrol only", "disabled", "session ended",
    ],
)  # fmt: skip
def test_what_is_no_grant(here, service, wrong):
    """One thing is wrong; all else is right."""
    token = here.session()
    code, changes = issued(here, service, token), {}
    if wrong == "code":
        code = "x"
    elif wrong == "expired":
        here.clock.advance(oidc.CODE_LIFE_S)
    elif wrong == "service":
        service = here.write(lambda c: _service(here, c, "Other", 1))
    elif wrong == "redirect":
        changes = {"redirect_uri": BACK + "/x"}
    elif wrong == "no verifier":
        changes = {"code_verifier": ""}
    elif wrong == "short verifier":
        changes = {"code_verifier": "short"}
        digest = hashlib.sha256(b"short").digest()
        challenge = urlsafe_b64encode(digest).decode().rstrip("=")
        here.sql("UPDATE oidc_code SET challenge = :c", c=challenge)
    elif wrong == "verifier":
        changes = {"code_verifier": "w" * 64}
    elif wrong == "session of another firm":
        here.sql("UPDATE session SET firm_id = :f", f=here.other_firm)
    elif wrong == "session expired":
        here.sql("UPDATE session SET expires_at = :now", now=int(here.now))
    elif wrong == "enrol only":
        here.sql("UPDATE session SET enrol_only = 1")
    elif wrong == "disabled":
        here.sql("UPDATE person SET disabled_at = 1")
    else:
        ann, number = here.who(), here.current(token).id
        here.write(lambda c: sessions.end(c, ann.id, number))
        here.session("bob")  # has its number now
    assert redeemed(here, service, code, **changes).error == "invalid_grant"


@pytest.mark.parametrize("wrong", ["secret", "id", "firm", "grant"])
def test_who_is_no_service(here, service, wrong):
    code = issued(here, service, here.session())
    asking, firm, changes = service, 1, {}
    if wrong == "secret":
        asking = (service[0], "x")
    elif wrong == "id":
        asking = ("oc-x", service[1])
    elif wrong == "firm":
        firm = here.other_firm
    else:
        changes = {"grant_type": "client_credentials"}
    with pytest.raises(TokenError) as refused:
        redeemed(here, asking, code, firm, **changes)
    assert refused.value.error == (
        "unsupported_grant_type" if wrong == "grant" else "invalid_client"
    )
    assert here.sql("SELECT count(*) FROM oidc_code") == [(1,)]  # nothing is spent


def test_an_unknown_service_is_not_let_in_by_an_empty_secret(here):
    for secret in ("", "\0" * 32):
        with pytest.raises(TokenError):
            redeemed(here, ("oc-x", secret), "x")


GOOD = {
    "redirect_uri": BACK,
    "response_type": "code",
    "scope": "openid",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}


def checked(here, query: dict[str, str], firm: int = 1):
    return here.write(lambda c: oidc.check_request(c, firm, query))


def test_a_request_is_checked(here, service):
    good = GOOD | {"client_id": service[0]}
    assert checked(here, good).challenge == CHALLENGE
    for wrong in ({"client_id": "oc-x"}, {"redirect_uri": BACK + "/"}, {"redirect_uri": ""}):
        assert refusal(lambda w=wrong: checked(here, good | w)) == (400, "bad-client")
    assert refusal(lambda: checked(here, good, here.other_firm)) == (400, "bad-client")
    for wrong in (
        {"nonce": "x" * 2049},
        {"scope": "openid " + "x" * 2048},
        {"response_type": "token"},
        {"response_mode": "fragment"},
        {"scope": "profile"},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": ""},
        {"code_challenge": "short"},
        {"code_challenge": ""},
    ):
        with pytest.raises(RequestError):
            checked(here, good | wrong)


def anew(here, request: AuthRequest, session, *, asked: bool) -> bool:
    return here.write(lambda c: oidc.must_sign_in_anew(c, request, session, here.now, asked=asked))


def test_a_fresh_sign_in_is_asked_for_until_it_was_made(here, service):
    old = here.current(here.session())
    request = request_of(service)
    assert not anew(here, request, old, asked=False)
    assert anew(here, request, old, asked=True)
    assert anew(here, request, old, asked=False)  # also when it is not said again
    assert anew(here, request, None, asked=False)
    before = replace(old, handle="another", created_at=old.created_at - 1)
    assert anew(here, request, before, asked=False)  # another one, but from before
    here.clock.advance(60)
    assert not anew(here, request, here.current(here.session()), asked=False)


@pytest.mark.parametrize("change", ["state", "nonce", "redirect_uri"])
def test_it_is_asked_for_whatever_else_the_address_says(here, service, change):
    """Whoever has the browser changes it there, and back again in the answer."""
    old = here.current(here.session())
    assert anew(here, request_of(service), old, asked=True)
    assert anew(here, request_of(service, **{change: "other"}), old, asked=False)


def test_it_is_asked_for_of_one_request(here, service):
    old = here.current(here.session())
    assert anew(here, request_of(service), old, asked=True)
    assert not anew(here, request_of(service, challenge="other"), old, asked=False)


def test_a_service_that_takes_a_challenge_again_gets_a_sign_in_each_time(here, service):
    assert anew(here, request_of(service), here.current(here.session()), asked=True)
    here.clock.advance(60)
    signed = here.current(here.session())
    assert not anew(here, request_of(service), signed, asked=True)
    here.clock.advance(60)
    again = request_of(service, state="other")
    assert anew(here, again, signed, asked=True)
    assert anew(here, again, signed, asked=False)


@pytest.fixture
def token(here, service):
    """→ a session's token, and an access token of it"""
    session = here.session()
    return session, redeemed(here, service, issued(here, service, session))["access_token"]


def told(here, access: str, firm: int = 1, issuer: str = ISSUER) -> dict | None:
    try:
        return here.write(
            lambda c: oidc.user_info(
                c, here.state.ring, issuer=issuer, firm_id=firm, token=access, now=here.now
            )
        )
    except TokenError:
        return None


def test_what_is_no_access_token(here, token):
    session, access = token
    assert told(here, access)
    key = here.write(lambda c: signing_keys.current(c, here.state.ring, here.now))
    made = jwt.decode(access, key, algorithms=["RS256"])
    bobs = here.current(here.session("bob")).handle
    for change in (
        {"iss": "x"}, {"aud": "x"}, {"exp": int(here.now)}, {"exp": "soon"}, {"sid": "x"},
        {"sub": "x"}, {"sid": bobs},
    ):  # fmt: skip
        assert told(here, jwt.encode(made.header, made.claims | change, key)) is None, change
    assert told(here, access, issuer="http://localhost/p/other") is None
    assert told(here, access, firm=here.other_firm) is None
    for statement in (
        "UPDATE session SET enrol_only = 1",
        f"UPDATE session SET enrol_only = 0, expires_at = {int(here.now)}",
        "UPDATE session SET expires_at = 9999999999, firm_id = 2",
    ):
        here.sql(statement)
        assert told(here, access) is None, statement
    here.sql("UPDATE session SET firm_id = 1")
    assert told(here, access)
    here.sql("UPDATE person SET disabled_at = 1")
    assert told(here, access) is None and session


# cards and loans ----------------------------------------------------------------------------------


class Drawer:
    """Cards of the first firm, registered by a station of it."""

    def __init__(self, here) -> None:
        self.here = here
        self.station = self.caller(Role.STATION, "station")
        self.desk = self.caller(Role.DESK, "desk")
        self.seeds: dict[str, bytes] = {}

    def caller(self, role: Role, name: str, firm: int = 1) -> Caller:
        here = self.here
        made = here.write(
            lambda c: credentials.add(
                c, here.state.ring, role=role, name=name, now=here.now, actor="test", firm_id=firm
            )
        )
        return Caller(made.id, firm, role, name, "")

    def card(self, serial: str = "A1", **more: object) -> str:
        here, seed = self.here, Secret.random(20)
        self.seeds[serial] = seed.reveal()
        entry = replace(CardSeed(serial, seed, 0), **more)
        here.write(lambda c: cards.register(c, here.state.ring, self.station, [entry], here.now))
        return serial

    def lend(self, serial: str = "A1", name: str = "ann", factor: int = 0, **more: object):
        here, codes = self.here, (hotp(self.seeds[serial], factor, 6),)
        values = {"login": name, "codes": codes, "policy": POLICY, "now": here.now} | more
        caller = values.pop("caller", self.desk)
        return here.write(lambda c: desk.lend(c, here.state.ring, caller, serial, **values))

    def claim(self, serial: str = "A1", of: str = "A1", name: str = "ann", first: int = 0, firm=1):
        here, person = self.here, self.here.who(name)
        codes = (hotp(self.seeds[of], first, 6), hotp(self.seeds[of], first + 1, 6))
        caller = cards.staff(person.id, firm, name, PersonRole.USER)
        return here.write(
            lambda c: holding.claim(
                c, here.state.ring, caller, serial, person_id=person.id, codes=codes,
                policy=POLICY, now=here.now,
            )
        )  # fmt: skip

    def status(self, serial: str, status: CardStatus) -> None:
        here = self.here
        here.write(
            lambda c: holding.set_status(
                c, here.state.ring, self.desk, serial, status=status, now=here.now
            )
        )


@pytest.fixture
def drawer(here):
    return Drawer(here)


def asked_to_hand_over(here, drawer, whom: str = "boss") -> int | ApiError:
    firm, sue = here.write(lambda c: firms.by_name(c, "default")), here.who("sue")
    more = {"login": whom, "codes": (hotp(drawer.seeds["A1"], 0, 6),), "for_good": True}
    return here.write(lambda c: together.ask_hand_over(here.state, c, firm, sue, "A1", **more))


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ("held", "already-assigned"), ("himself", "needs-two"), ("expired", "card-expired"),
        ("lost", "card-lost"), ("new", "new-colleague"), ("nobody", "no-such-user"),
    ],
)  # fmt: skip
def test_what_is_not_asked_to_be_handed_over(here, drawer, wrong, code):
    """It is refused at once: no colleague is asked, and no code of the card is used up."""
    drawer.card(valid_until=int(here.now) + 10)
    if wrong == "held":
        here.sql(
            "INSERT INTO assignment (card_id, person_id, assigned_at, assigned_by) "
            "SELECT card.id, person.id, 1, 'x' FROM card, person WHERE login = 'bob'"
        )
    elif wrong == "expired":
        here.clock.advance(10)
    elif wrong == "lost":
        drawer.status("A1", CardStatus.LOST)
    elif wrong == "new":
        soon = int(here.now) + 1
        here.sql(f"UPDATE person SET colleague_from = {soon} WHERE login = 'sue'")
    whom = {"himself": "sue", "nobody": "nobody"}.get(wrong, "boss")
    assert refusal(lambda: asked_to_hand_over(here, drawer, whom))[1] == code
    assert here.sql("SELECT count(*) FROM help_request") == [(0,)]
    assert here.sql("SELECT moving_factor, failures FROM card") == [(0, 0)]


def test_a_request_is_withdrawn_on_the_page_of_its_person(here, drawer):
    drawer.card()
    number = asked_to_hand_over(here, drawer)

    def withdrawn(whom: str) -> None:
        helped_id, staff = here.who(whom).id, here.who("sam")
        here.write(lambda c: together.withdraw(here.state, c, staff, number, helped_id=helped_id))

    assert refusal(lambda: withdrawn("bob"))[0] == 404
    withdrawn("boss")
    assert refusal(lambda: withdrawn("boss"))[0] == 404


def test_a_card_is_lent_and_not_lent_twice(here, drawer):
    drawer.card()
    assert drawer.lend()["user"] == "ann"
    assert refusal(lambda: drawer.lend(name="bob", factor=1)) == (409, "already-assigned")


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ("lost", 409), ("retired", 409), ("expired", 409), ("nobody", 404), ("disabled", 409),
        ("boss", 403), ("past", 422), ("too long", 422), ("no code", 422), ("long code", 422),
        ("another firm's desk", 404),
    ],
)  # fmt: skip
def test_what_is_not_lent(here, drawer, wrong, status):
    drawer.card(valid_until=int(here.now) + 10)
    more: dict[str, object] = {}
    if wrong in ("lost", "retired"):
        drawer.status("A1", CardStatus(wrong))
    elif wrong == "expired":
        here.clock.advance(10)
    elif wrong in ("nobody", "boss"):
        more["name"] = wrong
    elif wrong == "disabled":
        here.sql("UPDATE person SET disabled_at = 1 WHERE login = 'ann'")
    elif wrong == "past":
        more["until"] = int(here.now)
    elif wrong == "too long":
        more["until"] = int(here.now) + POLICY.loan_max_hours * 3600 + 1
    elif wrong == "no code":
        more["codes"] = None
    elif wrong == "long code":
        more["codes"] = ("1234567",)
    else:
        more["caller"] = drawer.caller(Role.DESK, "theirs", here.other_firm)
    assert refusal(lambda: drawer.lend(**more))[0] == status
    assert here.sql("SELECT count(*) FROM assignment") == [(0,)]


def test_a_card_is_not_lent_by_the_code_of_another(here, drawer):
    drawer.card("A1")
    drawer.card("B2")
    refused = drawer.lend("A1", codes=(hotp(drawer.seeds["B2"], 0, 6),))
    assert isinstance(refused, ApiError) and refused.code == "wrong-code"
    assert here.sql("SELECT count(*) FROM assignment") == [(0,)]


def test_a_card_is_claimed_with_two_codes_of_it(here, drawer):
    drawer.card()
    assert drawer.claim().accepted
    assert here.sql("SELECT confirmed_at FROM assignment") == [(int(here.now),)]


@pytest.mark.parametrize(
    "wrong",
    ["another card's codes", "serial", "held", "lent", "overdue", "lost", "expired", "firm"],
)
def test_what_is_not_claimed(here, drawer, wrong):
    drawer.card("A1", valid_until=int(here.now) + 86400)
    drawer.card("B2")
    if wrong == "another card's codes":
        assert not drawer.claim("A1", "B2").accepted
    elif wrong == "serial":
        assert not drawer.claim("C3", "A1").accepted
    elif wrong == "firm":
        assert not drawer.claim(firm=here.other_firm).accepted
    elif wrong == "held":
        assert drawer.claim().accepted
        assert not drawer.claim(name="bob", first=2).accepted
        assert here.sql("SELECT person_id FROM assignment") == [(here.who().id,)]
    elif wrong == "lent":
        drawer.lend()
        assert not drawer.claim(name="bob", first=1).accepted
    elif wrong == "overdue":
        drawer.lend(until=int(here.now) + 60)
        here.clock.advance(60)
        assert not drawer.claim(first=1).accepted  # not by whoever had it, either
        assert not drawer.claim(name="bob", first=3).accepted
    elif wrong == "lost":
        drawer.status("A1", CardStatus.LOST)
        assert not drawer.claim().accepted
    else:
        here.clock.advance(86400)
        assert not drawer.claim().accepted


def test_what_confirms_a_card(here, drawer):
    """Its holder, its serial number, in its firm; once."""
    drawer.card("A1")
    drawer.card("B2")
    drawer.lend("A1")
    drawer.lend("B2")
    ann, bob = here.who(), here.who("bob")

    def confirm(firm: int, serial: str, person: int) -> list:
        here.write(lambda c: holding.confirm(c, firm, serial, person, here.now))
        return here.sql("SELECT confirmed_at IS NOT NULL FROM assignment ORDER BY card_id")

    assert confirm(1, "A1", bob.id) == [(0,), (0,)]
    assert confirm(here.other_firm, "A1", ann.id) == [(0,), (0,)]
    assert confirm(1, "C3", ann.id) == [(0,), (0,)]
    assert confirm(1, "A1", ann.id) == [(1,), (0,)]


def test_who_takes_a_card_back(here, drawer):
    drawer.card()
    assert drawer.claim().accepted
    bob = here.who("bob")
    caller = cards.staff(bob.id, 1, "bob", PersonRole.USER)

    def back(**more: object):
        return here.write(
            lambda c: holding.take_back(c, here.state.ring, caller, "A1", now=here.now, **more)
        )

    assert refusal(lambda: back(from_person=bob.id))[0] == 404  # it is ann's
    assert back(from_person=here.who().id)["user"] is None
    assert refusal(lambda: back(from_person=here.who().id))[0] == 404  # nobody's


def test_an_app_is_its_owners_and_of_its_kind(here):
    """By the number in a form."""
    bob = here.who("bob")

    def of(name: str, key: str):
        def work(connection):
            context = second.context_of(here.state, connection, 1, "default", POLICY, "")
            return TotpMethod().factor(context, second.as_person(here_who[name]), key)

        return here.write(work)

    here_who = {"ann": here.who(), "bob": bob}
    assert of("ann", here.key).kind is MethodKind.TOTP
    mail = str(here.sql("SELECT id FROM factor WHERE kind = 'email'")[0][0])
    for name, key in (("bob", here.key), ("ann", mail), ("ann", "x"), ("ann", "-1")):
        assert refusal(lambda n=name, k=key: of(n, k))[0] == 404


def test_what_is_counted_anew_is_of_that_bucket_alone(here):
    """And of what is counted apart below it."""
    for bucket in ("a_b", "a_b|here", "a_bc", "aXb|here"):
        here.write(lambda c, bucket=bucket: rates.note(c, bucket, window_s=900, now=here.now))
    here.write(lambda c: rates.clear(c, "a_b"))
    assert [
        here.write(lambda c, bucket=bucket: rates.note(c, bucket, window_s=900, now=here.now))
        for bucket in ("a_b", "a_b|here", "a_bc", "aXb|here")
    ] == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("change", "may"),
    [
        ("disabled_at = 1 WHERE login = 'sue'", False),
        ("role = 'user' WHERE login = 'sue'", False),
        ("role = 'administrator' WHERE login = 'sue'", False),
        ("disabled_at = 1 WHERE login = 'sam'", True),
        ("role = 'user' WHERE login = 'sam'", True),
    ],
)
def test_a_member_of_staff_is_looked_at_again(here, change, may):
    sue = here.write(lambda c: people.by_login(c, 1, "sue"))
    caller = cards.staff(sue.id, 1, sue.login, sue.role)
    here.write(lambda c: credentials.must_still_be(c, caller))
    here.sql(f"UPDATE person SET {change}")
    if may:
        here.write(lambda c: credentials.must_still_be(c, caller))
    else:
        with pytest.raises(ApiError, check=lambda error: error.code == "rights-taken"):
            here.write(lambda c: credentials.must_still_be(c, caller))
