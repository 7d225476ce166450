"""Signing in and recovery: what a directory says, how long there is to enrol, what a browser that
is known is let do."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from sqlalchemy import select

from tallystick.common.errors import RefusedError
from tallystick.server.accounts.people import Keeper
from tallystick.server.accounts.policy import MethodKind
from tallystick.server.methods.base import Held
from tallystick.server.signing_in import login, recovery, second
from tallystick.server.signing_in.attempts import Purpose
from tallystick.server.signing_in.login import PendingSignIn, Signed, Way
from tallystick.server.store.models_login import (
    Attempt,
    Factor,
    HelpRequest,
    RememberedDevice,
    SessionRow,
)
from tests.server.house import HERE, PASSWORD, TOTP, locked_by, refused

DAY_S = 86400
THEIRS = "the one for the computer"
VPN = Way(Purpose.RADIUS, "vpn", opens=False)


@pytest.fixture
def house(quick_house):
    return quick_house


# -- the directory's passwords ---------------------------------------------------------------------


class Directory:
    """Of one person. asked: whom it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.away = False

    def has_password(self, login: str, entry_id: str, password: str) -> bool:
        self.asked.append((login, entry_id))
        if self.away:
            raise RefusedError("it does not answer")
        return (login, entry_id, password) == ("ann", "id-of-ann", THEIRS)


@pytest.fixture
def directory(house):
    """It keeps ann; bob is kept here."""
    made = Directory()
    house.state = replace(house.state, directories={"default": made})
    house.person("bob", enrolled=False)
    house.person("ann", enrolled=False)
    house.change("ann", source=Keeper.LDAP.value, external_id="id-of-ann")
    house.policy(directory_passwords=True)
    return made


def test_the_password_is_the_directorys_of_those_whom_it_keeps(house, directory):
    assert house.first(password=THEIRS).session
    with refused("wrong-password"):
        house.first(password=PASSWORD)  # one of here, of before
    assert directory.asked == [("ann", "id-of-ann")] * 2
    directory.asked.clear()
    assert house.first("bob").session
    with refused("wrong-password"):
        house.first("bob", THEIRS)
    assert directory.asked == []
    with refused("wrong-password"):
        house.first("nobody", THEIRS)
    assert directory.asked == [("nobody", "")]  # takes as long as for somebody
    assert house.first("ANN", THEIRS).session and directory.asked[-1] == ("ann", "id-of-ann")


def test_without_policy_or_directory_the_password_of_here_counts_alone(house, directory):
    house.policy(directory_passwords=False)
    assert house.first(password=PASSWORD).session
    for name in ("ann", "nobody"):
        with refused("wrong-password"):
            house.first(name, THEIRS)
    assert directory.asked == []
    house.policy(directory_passwords=True)
    house.state = replace(house.state, directories={})
    for password in (THEIRS, PASSWORD):
        with refused("wrong-password"):
            house.first(password=password)


def test_a_directory_that_does_not_answer_is_said_so(house, directory, caplog):
    directory.away = True
    for name in ("ann", "nobody"):
        with refused("directory-away") as caught:
            house.first(name, THEIRS)
        assert (caught.value.status, caught.value.retry_after_s) == (503, 60)
    assert "a password could not be asked for: it does not answer" in caplog.text
    assert login.password_elsewhere().status == 409


def test_there_are_two_weeks_to_enrol_a_second_factor(house, directory):
    """Whose password is the directory's has them from when the account was made."""
    began = int(house.clock())
    for name, password in (("bob", PASSWORD), ("ann", THEIRS)):
        house.change("ann", password_at=None)
        house.clock.now = began + 14 * DAY_S - 1
        assert house.first(name, password).session
        house.clock.now += 1
        with refused("enrol-too-late") as caught:
            house.first(name, password)
        assert caught.value.status == 403
    house.policy(first_enrolment_days=0)
    assert house.first("bob").session
    house.policy(first_enrolment_days=1, minimum_methods=0)
    assert house.first("bob").session


def test_they_begin_when_policy_begins_to_ask(house):
    house.person(enrolled=False)
    day = datetime.fromtimestamp(house.clock(), UTC).date()
    house.clock.advance(100 * DAY_S)
    asked_from = day.fromordinal(day.toordinal() + 90)
    house.policy(second_factor_from=asked_from.isoformat(), first_enrolment_days=14)
    house.clock.now = house.firm.policy.asked_from_s() + 14 * DAY_S - 1
    assert house.first().session
    house.clock.advance(1)
    with refused("enrol-too-late"):
        house.first()


# -- the second step -------------------------------------------------------------------------------


def test_what_a_sign_in_gives_to_the_browser(house):
    house.policy(remember_device_days=2)
    house.person()
    alone = house.second(house.first().attempt)
    assert (alone.device, bool(alone.known), alone.next_url) == (None, True, "/next")
    house.clock.advance(60)
    browser = replace(HERE, source="192.0.2.9", agent="another")
    signed = house.second(house.first(browser=browser).attempt, browser=browser, remember=True)
    with house.write() as connection:
        (device,) = connection.execute(select(*RememberedDevice.__table__.columns)).all()
        session = connection.execute(
            select(*SessionRow.__table__.columns).order_by(SessionRow.id.desc())
        ).first()
    assert (device.browser, device.source) == ("another", "192.0.2.9")
    assert (session.browser, session.source) == ("another", "192.0.2.9")
    again = house.first(browser=replace(browser, device=signed.device))
    assert isinstance(again, Signed) and again.known == ""  # a password alone makes none known
    assert house.session(again.session).amr == ("pwd",) and again.device is None
    house.clock.advance(60)
    typed = login.with_code(
        house.state, "default", house.first().attempt, house.code(), HERE, login.PORTAL
    )
    assert isinstance(typed, Signed) and typed.device is None  # nobody asked for it


def test_an_attempt_that_is_begun_says_what_is_lacking_and_where_from(house):
    house.person()
    house.policy(minimum_methods=3)
    pending = house.first()
    assert pending.lacking == 2 and pending.attempt
    assert house.first(way=VPN) == PendingSignIn("", 2)
    with house.write() as connection:
        (row,) = connection.execute(select(*Attempt.__table__.columns)).all()
    assert (row.source, row.purpose, row.stage) == ("192.0.2.1", "login", "second")


def test_a_name_may_be_an_address_and_its_tries_are_the_same(house):
    house.person(enrolled=False)
    house.change(email="ann@x.org", email_verified=1)
    house.policy(password_max_failures=3)
    for _ in range(2):
        with refused("wrong-password"):
            house.first(password="no")
    assert house.first().session  # which ends the count
    for name in ("ann", "ann@x.org", "ANN"):
        with refused("wrong-password"):
            house.first(name, "no")
    with refused("too-many"):
        house.first("ann@x.org")


def test_whoever_has_nothing_left_that_policy_allows_is_not_let_in_by_the_password(house):
    house.person()
    house.change(recovered_by="telephone")
    with refused("no-usable-method"):
        house.first()
    house.change(recovered_by="card")
    house.sign_in()
    assert house.known().recovered_by is None  # it may serve again


def test_where_nothing_can_be_enrolled_the_password_alone_opens_nothing(house):
    house.policy(remember_device_days=2)
    house.person("bob", enrolled=False)
    assert house.first("bob", way=VPN) == PendingSignIn("", 1)
    house.person()
    known = replace(HERE, device=house.sign_in(remember=True).device)
    assert house.first(browser=known).session
    house.policy(minimum_methods=2)
    assert house.first(browser=known, way=VPN) == PendingSignIn("", 1)
    with house.write() as connection:
        assert connection.execute(select(Attempt.stage)).all() == []  # nothing is under way


def test_no_token_is_no_attempt(house):
    house.person()
    house.first()
    with refused("attempt-over") as caught:
        house.second("x")
    assert caught.value.status == 401
    with refused("attempt-over"):
        recovery.prove(house.state, "default", "x", {}, HERE)


def test_whoever_is_let_in_is_not_changed_meanwhile(house):
    """PostgreSQL: who would bar ann waits until she is in, or is in first."""
    house.person(enrolled=False)
    with house.write() as connection:
        found = locked_by(connection, house.first)
    assert "person" in found


def lock(house) -> None:
    """Strangers have."""
    with house.write() as connection:
        connection.exec_driver_sql(
            "UPDATE factor SET failures = 10, lockout_s = 60, blocked_until = 9999999999"
        )


def locks(house) -> list[tuple]:
    with house.write() as connection:
        query = "SELECT failures, lockout_s, blocked_until FROM factor"
        return [tuple(row) for row in connection.exec_driver_sql(query)]


def test_a_known_browser_proves_in_spite_of_strangers_so_often_a_day(house):
    house.policy(max_failures=3)
    house.person()
    known = replace(HERE, known=house.sign_in().known)
    lock(house)
    token = house.first(browser=known).attempt
    stranger = house.second(token)
    assert stranger.reason.value == "throttled" and stranger.retry_after_s > 0
    for _ in range(2):
        assert house.second(token, house.wrong(), known).reason.value == "wrong"
    assert locks(house) == [(10, 60, 9999999999)]  # theirs stays as it was
    assert isinstance(house.second(token, browser=known), Signed)
    assert locks(house) == [(0, 0, 0)]
    house.clock.advance(60)
    lock(house)
    token = house.first(browser=known).attempt
    assert house.second(token, browser=known).reason.value == "throttled"
    assert locks(house) == [(10, 60, 9999999999)]


def test_a_known_browser_without_a_lock_counts_as_any_other(house):
    house.policy(max_failures=3)
    house.person()
    known = replace(HERE, known=house.sign_in().known)
    token = house.first(browser=known).attempt
    for _ in range(3):
        assert house.second(token, house.wrong(), known).reason.value == "wrong"
    assert locks(house)[0][0] == 3
    assert isinstance(house.second(token, browser=known), Signed)  # none of its own was used up
    assert login.known_name(house.state, house.known(), known)
    assert login.known_name(house.state, house.known(), HERE) == ""


# -- recovery --------------------------------------------------------------------------------------


def test_the_answer_takes_as_long_for_nobody(monkeypatch):
    slept, clock = [], iter((10.0, 10.03, 20.0, 20.5))
    monkeypatch.undo()
    monkeypatch.setattr(recovery.beside, "sleep", slept.append)
    monkeypatch.setattr(recovery.moments, "steady", lambda: next(clock))
    assert recovery.evened(lambda: 7)() == 7
    with pytest.raises(ZeroDivisionError):
        recovery.evened(lambda: 1 // 0)()
    assert slept == [pytest.approx(0.07), 0.0]


def test_numbers_and_codes_of_requests_are_drawn_from_so_many(monkeypatch):
    """docs/reference/server.md, server-threats.md, people.md have the figures."""
    seen = []
    monkeypatch.setattr(recovery.chance, "randbelow", lambda below: seen.append(below) or 0)
    assert recovery.new_number() == 1 and seen == [10**9 - 1]
    assert (len(set(recovery.CODE_ALPHABET)), recovery.CODE_LENGTH) == (30, 12)
    assert (recovery.CONSOLE_LIFE_S, recovery.WINDOW_S) == (DAY_S, 3600)
    assert (recovery.TRIES_PER_ATTEMPT, recovery.HELP_TRIES) == (5, 1000)
    assert recovery.RECOVERY_SHARE == 2


def with_mailbox(house, kinds=("totp", "email", "sms")):
    """→ the key of a mailbox that ann has besides her app"""
    house.policy(methods=list(kinds), recovery_methods=["totp", "email"])
    house.person()
    with house.write() as connection:
        started = second.METHODS[MethodKind.EMAIL].start(
            house.context(connection), second.as_person(house.known()),
            {"address": "ann@elsewhere.org"},
        )  # fmt: skip
        connection.exec_driver_sql("UPDATE factor SET confirmed_at = 1")
    return started.key


def sent(house) -> int:
    with house.write() as connection:
        return connection.exec_driver_sql("SELECT count(*) FROM message").scalar_one()


def start(house, kind=MethodKind.EMAIL, name="ann", browser=HERE):
    return recovery.start(house.state, "default", name, kind, browser)


def test_recoveries_send_half_of_a_persons_messages_and_no_error_tells(house):
    with_mailbox(house)
    house.clock.now = 500_001 * 3600.0
    house.policy(sends_per_person_per_hour=6)
    before = sent(house)
    start(house)
    assert sent(house) == before + 1 == house.state.outbox.woken[-1]
    for _ in range(3):
        start(house)
    assert sent(house) == before + 3
    known = replace(HERE, known=house.sign_in().known)
    for _ in range(4):
        start(house, browser=known)
    assert sent(house) == before + 6  # those of her own browser are its own; six are all
    house.clock.now = 500_002 * 3600.0
    start(house)
    assert sent(house) == before + 7
    for most in (1, 2):  # one at least
        house.policy(sends_per_person_per_hour=most)
        house.clock.advance(3600)
        start(house)
        start(house)
        assert sent(house) == before + 7 + most


def test_a_place_begins_so_many_recoveries(house):
    house.clock.now = 500_001 * 3600.0
    house.policy(recoveries_per_source_per_hour=5)
    for number in range(5):
        start(house, TOTP, f"nobody{number}")
    with refused("too-many"):
        start(house, TOTP)
    assert start(house, TOTP, browser=replace(HERE, source="198.51.100.7"))


def test_nothing_is_sent_for_nobody_nor_by_an_app(house):
    with_mailbox(house)
    before = sent(house)
    start(house, name="nobody")
    start(house, TOTP)
    house.change(disabled_at=1)
    start(house)
    assert sent(house) == before


def test_a_code_that_is_wrong_by_the_mailbox_is_told_as_any_other(house):
    with_mailbox(house)
    token = start(house)
    form = {"code": "000000"}
    for _ in range(5):
        assert recovery.prove(house.state, "default", token, form, HERE).reason.value == "wrong"
    with refused("attempt-over"):
        recovery.prove(house.state, "default", token, form, HERE)


def test_a_new_password_signs_out_and_voids_what_rests_on_the_old_one(house):
    with_mailbox(house)
    keep = house.sign_in()
    gone = house.sign_in()
    with house.write() as connection:
        person = house.known()
        recovery.console_help(house.state, connection, person, house.clock())
        hashed = login.passwords.hash_new("another horse battery")
        recovery.set_password(
            house.state, connection, "default", house.firm.policy, person, hashed,
            keep_session=house.session(keep.session).id, recovered_by="mailbox",
        )  # fmt: skip
        assert connection.exec_driver_sql("SELECT count(*) FROM help_request").scalar() == 0
    assert house.session(keep.session) and house.session(gone.session) is None
    assert house.known().recovered_by == "mailbox"
    assert house.known().password_at == int(house.clock())


def test_a_password_of_a_recovery_ends_the_count_of_tries(house):
    with_mailbox(house)
    house.policy(password_max_failures=3)
    for _ in range(3):
        with refused("wrong-password"):
            house.first(password="no")
    with refused("too-many"):
        house.first()
    token = start(house, TOTP)
    assert recovery.prove(house.state, "default", token, {"code": house.code()}, HERE).accepted
    many = sent(house)
    assert recovery.reset(house.state, "default", token, "another horse battery", HERE) is None
    assert house.state.outbox.woken[-1] == sent(house)
    assert house.first(password="another horse battery").attempt
    assert sent(house) >= many
    with house.write() as connection:
        query = "SELECT action, detail FROM audit WHERE number > (SELECT max(number) FROM audit "
        query += "WHERE action = 'recovery-begun') ORDER BY number"
        acts = [tuple(row) for row in connection.exec_driver_sql(query)]
    assert acts[0] == ("factor-checked", '{"kind":"totp","reason":"ok"}')
    assert [action for action, _ in acts[1:]] == ["password-changed"]


# -- codes of the help desk ------------------------------------------------------------------------


def help_code(house, name="ann", **more) -> str:
    with house.write() as connection:
        return recovery.console_help(
            house.state, connection, house.known(name), house.clock(), **more
        )


def with_help(house, code, name="ann"):
    return recovery.with_help(house.state, "default", name, code, HERE)


def requests(house) -> dict[str, tuple]:
    with house.write() as connection:
        query = (
            "SELECT login, tries, code_tag FROM help_request JOIN person ON person.id = person_id"
        )
        return {row[0]: tuple(row[1:]) for row in connection.exec_driver_sql(query)}


def test_a_wrong_help_code_counts_at_whom_it_was_tried_on(house):
    house.person("bob", enrolled=False)
    house.person(enrolled=False)
    code, other = help_code(house), help_code(house, "bob")
    for tries in (1, 2):
        with refused("wrong-help-code") as caught:
            with_help(house, other)
        assert caught.value.status == 401
        assert {name: row[0] for name, row in requests(house).items()} == {"ann": tries, "bob": 0}
    with house.write() as connection:  # one that is made anew begins anew
        connection.exec_driver_sql("UPDATE help_request SET tries = 999 WHERE tries = 2")
    assert len(code) == 14
    with_help(house, f" {code.lower()} ")
    assert set(requests(house)) == {"bob"}


def test_a_help_code_is_of_its_request_and_for_a_day(house):
    house.person("bob", enrolled=False)
    house.person(enrolled=False)
    first = help_code(house)
    kept = help_code(house, "bob")
    second = help_code(house)
    with refused("wrong-help-code"):
        with_help(house, first)
    with house.write() as connection:
        of_ann = HelpRequest.person_id == house.known().id
        number = connection.scalar(select(HelpRequest.id).where(of_ann))
        third = recovery.make_code(house.state, connection, number)
    assert requests(house)["ann"][0] == 0
    with refused("wrong-help-code"):
        with_help(house, second)
    house.clock.advance(DAY_S - 1)
    assert with_help(house, third)
    house.clock.advance(1)
    with refused("wrong-help-code"):
        with_help(house, kept, "bob")


def test_with_the_help_desks_code_the_directorys_password_is_asked_for_and_not_set(
    house, directory
):
    session = house.first(password=THEIRS).session
    house.clock.advance(60)
    token = with_help(house, help_code(house))
    asks = recovery.asks_for_directory_password
    assert asks(house.state, "default", token)
    with refused("wrong-password") as caught:
        recovery.reset(house.state, "default", token, PASSWORD, HERE)
    assert caught.value.status == 422
    with house.write() as connection:
        query = "SELECT actor, action, subject FROM audit ORDER BY number DESC"
        last = tuple(connection.exec_driver_sql(query).first())
    assert last == ("unknown", "password-wrong", "ann")
    before = house.known()
    house.policy(password_max_failures=3)
    for _ in range(3):
        with refused("wrong-password"):
            house.first(password="no")
    assert recovery.reset(house.state, "default", token, THEIRS, HERE) is None
    assert house.first(password=THEIRS).session  # the count of tries begins anew
    assert house.session(session) is None
    assert house.known() == replace(before, password_at=int(house.clock()))
    assert not asks(house.state, "default", token)
    assert not asks(house.state, "default", "x")
    assert not asks(house.state, "default", with_help(house, help_code(house, "bob"), "bob"))


def test_of_what_proves_nothing_yet_nobody_is_asked_for_a_password(house, directory):
    house.enrol("ann")
    token = start(house, TOTP)
    assert not recovery.asks_for_directory_password(house.state, "default", token)
    token = start(house, TOTP, "nobody")
    assert not recovery.asks_for_directory_password(house.state, "default", token)


def test_the_directorys_password_has_so_many_tries(house, directory):
    house.clock.now = 500_001 * 3600.0
    token = with_help(house, help_code(house))
    for _ in range(5):
        with refused("wrong-password"):
            recovery.reset(house.state, "default", token, "no", HERE)
    with refused("too-many"):
        recovery.reset(house.state, "default", token, THEIRS, HERE)


def test_a_factor_recovers_no_password_of_the_directory(house, directory):
    house.policy(methods=["totp", "email"], recovery_methods=["totp"])
    house.enrol("ann")
    with house.write() as connection:
        second.METHODS[MethodKind.EMAIL].start(
            house.context(connection), second.as_person(house.known()),
            {"address": "ann@elsewhere.org"},
        )  # fmt: skip
        connection.exec_driver_sql("UPDATE factor SET confirmed_at = 1")
    token = start(house, TOTP)
    assert recovery.prove(house.state, "default", token, {"code": house.code()}, HERE).accepted
    with refused("password-elsewhere"):
        recovery.reset(house.state, "default", token, THEIRS, HERE)


def test_what_policy_lets_recover_no_more_finishes_no_recovery(house):
    with_mailbox(house)
    token = start(house, TOTP)
    house.policy(recovery_methods=["email"])
    with refused("attempt-over"):
        recovery.prove(house.state, "default", token, {"code": house.code()}, HERE)
    with refused("not-for-recovery") as caught:
        start(house, TOTP)
    assert caught.value.status == 422


def test_nobody_sets_no_password_at_whatever_stage(house):
    token = start(house, TOTP, "nobody")
    with house.write() as connection:
        connection.exec_driver_sql("UPDATE attempt SET stage = 'reset'")
    with refused("attempt-over"):
        recovery.reset(house.state, "default", token, "another horse battery", HERE)


def test_a_code_with_nothing_besides_recovers_nothing(house):
    house.person()
    token = start(house, TOTP)
    with refused("needs-another-method") as caught:
        recovery.prove(house.state, "default", token, {"code": house.code()}, HERE)
    assert caught.value.status == 403
    with refused("attempt-over"):
        recovery.prove(house.state, "default", token, {"code": house.code()}, HERE)


# -- the second factor -----------------------------------------------------------------------------


def test_how_many_kinds_a_person_lacks(house):
    def held(*kinds):
        return [Held("1", kind, "", 0, None) for kind in kinds]

    policy = house.firm.policy.model_copy(
        update={"minimum_methods": 2, "second_factor_from": date(2100, 1, 1)}
    )
    assert second.too_few(policy, held(TOTP, TOTP)) == 1
    assert second.too_few(policy, held(TOTP, MethodKind.SMS, MethodKind.CARD)) == 0
    assert second.too_few(policy, [], house.clock()) == 0  # it is not asked for yet
    assert second.too_few(policy, [], 5e9) == 2


def test_what_a_method_is_given_to_work_with(house):
    with house.write() as connection:
        context = second.context_of(
            house.state, connection, 1, "default", house.firm.policy, "x" * 65
        )
    assert context.source == "x" * 64 and context.now == house.clock()
    assert (context.attempt, context.challenge, context.known) == (b"", b"", "")
    assert context.channels == {"sms", "email"}


def under_way(house, token):
    with house.write() as connection:
        purpose = Purpose.LOGIN
        return login.attempts.find(connection, token, 1, purpose, house.clock())


def test_a_challenge_is_for_one_answer(house):
    house.person()
    token = house.first().attempt
    assert second.challenge_of(under_way(house, token)) == b""
    login.challenge(house.state, "default", token, TOTP, house.key, HERE.source)
    challenge = second.challenge_of(under_way(house, token))
    assert len(challenge) == 32
    house.second(token, house.wrong())
    after = under_way(house, token)
    assert second.challenge_of(after) == b"" and after.context["next"] == "/next"
    login.challenge(house.state, "default", token, TOTP, house.key, HERE.source)
    assert second.challenge_of(under_way(house, token)) not in (b"", challenge)


class Several:
    """ann has an app, a mailbox, and a sheet of paper; a VPN asks her for a code."""

    def __init__(self, house) -> None:
        self.house = house
        house.policy(methods=["totp", "email", "codes"], max_failures=3)
        house.person()
        with house.write() as connection:
            context, owner = house.context(connection), second.as_person(house.known())
            methods = second.METHODS
            paper = methods[MethodKind.CODES].start(context, owner, {})
            self.sheet = list(paper.show["codes"])
            code = {"code": self.sheet.pop()}
            assert methods[MethodKind.CODES].finish(context, owner, paper.key, code).accepted
            mail = methods[MethodKind.EMAIL].start(context, owner, {"address": "a@x.org"})
            connection.exec_driver_sql("UPDATE factor SET confirmed_at = 1")
        self.mailbox = mail.key

    def begin(self, way=VPN) -> str:
        return self.house.first(way=way).attempt

    def typed(self, code, token=None, way=VPN):
        return login.with_code(self.house.state, "default", token or self.begin(), code, HERE, way)

    def failures(self) -> dict[str, int]:
        with self.house.write() as connection:
            return dict(connection.execute(select(Factor.kind, Factor.failures)).all())


@pytest.fixture
def several(house):
    return Several(house)


def test_a_code_that_is_typed_may_be_of_whatever_makes_some(several, house, posted):
    assert isinstance(several.typed(several.sheet[0]), Signed)
    again = several.typed(several.sheet[0])
    assert again.reason.value == "wrong" and again.kind == "totp"
    assert isinstance(several.typed(house.code()), Signed)
    with house.write() as connection:
        entries = connection.exec_driver_sql(
            "SELECT detail FROM audit WHERE action = 'factor-checked' ORDER BY number"
        )
        assert [json.loads(one) for (one,) in entries] == [
            {"kind": "codes", "reason": "ok"}, {"kind": "totp", "reason": "wrong"},
            {"kind": "totp", "reason": "ok"},
        ]  # fmt: skip


def test_a_wrong_code_counts_once_at_each_that_it_may_be_of(several, house):
    assert several.typed("000000" if house.code() != "000000" else "000001").reason.value == "wrong"
    assert several.failures() == {"totp": 1, "codes": 1, "email": 0}  # none was sent
    right = house.code()
    assert isinstance(several.typed(right), Signed)
    assert several.failures() == {"totp": 0, "codes": 1, "email": 0}
    assert several.typed(right).reason.value == "replayed"  # it was right once: no guess
    assert several.failures() == {"totp": 0, "codes": 1, "email": 0}


def test_a_code_that_was_sent_counts_for_its_attempt(several, house, posted):
    token = several.begin(login.PORTAL)
    login.challenge(house.state, "default", token, MethodKind.EMAIL, several.mailbox, HERE.source)
    code = posted[-1]["letter"].text.split()[0]
    assert several.typed("x", token, login.PORTAL).reason.value == "wrong"
    assert several.failures()["email"] == 1
    assert several.typed(code, several.begin(login.PORTAL), login.PORTAL).reason.value == "wrong"
    assert several.failures()["email"] == 1  # none was sent for that one
    assert isinstance(several.typed(code, token, login.PORTAL), Signed)
    with refused("attempt-over"):
        several.typed(code, token, login.PORTAL)


def test_a_mailbox_to_which_nothing_was_sent_takes_no_code(several, house):
    token = several.begin()
    house.policy(methods=["email"], recovery_methods=[])
    with refused("no-usable-method") as caught:
        several.typed("000000", token)
    assert caught.value.status == 403


def test_a_code_of_a_sheet_counts_once_in_spite_of_strangers(several, house):
    known = replace(HERE, known=house.sign_in().known)
    lock(house)
    with house.write() as connection:
        sheet = Factor.kind == "codes"
        key = str(connection.scalar(select(Factor.id).where(sheet)))
    signed = login.with_factor(
        house.state, "default", house.first(browser=known).attempt, MethodKind.CODES, key,
        {"code": several.sheet[0]}, known, remember=False,
    )  # fmt: skip
    assert isinstance(signed, Signed) and several.failures()["codes"] == 0


def test_of_several_refusals_the_most_helpful_is_told(several, house):
    """A sheet whose guesses are paused does not hide that the app's code was wrong."""
    with house.write() as connection:
        connection.exec_driver_sql(
            "UPDATE factor SET blocked_until = 9999999999 WHERE kind = 'totp'"
        )
    assert several.typed("000000").reason.value == "wrong"
    assert several.failures()["codes"] == 1
    with house.write() as connection:
        connection.exec_driver_sql("UPDATE factor SET blocked_until = 9999999999")
    assert several.typed("000000").reason.value == "throttled"


def test_an_unknown_method_or_one_of_another_is_not_there(several, house):
    token = several.begin(login.PORTAL)
    for kind, key in ((TOTP, "999"), (MethodKind.SMS, house.key), (MethodKind.CODES, house.key)):
        with refused("no-such-method") as caught:
            login.challenge(house.state, "default", token, kind, key, HERE.source)
        assert caught.value.status == 404
