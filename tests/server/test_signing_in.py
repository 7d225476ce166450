"""Signing in, recovery, and proof in a session, asked in this process: each guard by itself, with
everything else right, and at the second when it begins or ends to hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import select, update

from tallystick.server.accounts import passwords, people, sessions
from tallystick.server.accounts.policy import MethodKind
from tallystick.server.errors import ApiError
from tallystick.server.methods import METHODS
from tallystick.server.rules.judge import Reason
from tallystick.server.signing_in import attempts, limits, login, recovery, stepup
from tallystick.server.signing_in.attempts import Purpose, Stage
from tallystick.server.signing_in.login import Browser, PendingSignIn, Signed, Way
from tallystick.server.signing_in.second import as_person
from tallystick.server.store.database import StaleError
from tallystick.server.store.models_login import Attempt, Factor, HelpRequest, SessionRow
from tests.server.house import HERE, TOTP, refused

# -- a password ----------------------------------------------------------------------------------


def test_password_and_app(house):
    house.person()
    pending = house.first()
    assert isinstance(pending, PendingSignIn) and pending.lacking == 0
    signed = house.second(pending.attempt)
    assert signed.next_url == "/next" and signed.device is None
    session = house.session(signed.session)
    assert session.person.login == "ann" and session.amr == ("pwd", "otp", "mfa")
    assert session.proved_at == session.created_at == int(house.clock())
    assert not session.enrol_only


def test_whoever_never_enrolled_signs_in_with_the_password(house):
    house.person(enrolled=False)
    signed = house.first()
    session = house.session(signed.session)
    assert session.amr == ("pwd",) and session.proved_at is None


@pytest.mark.parametrize("name", ["ann", "nobody"])
def test_a_wrong_password_and_a_wrong_name_are_told_alike(house, name):
    house.person()
    with refused("wrong-password") as caught:
        house.first(name, "wrong horse battery")
    assert caught.value.status == 401


def test_a_disabled_account_does_not_sign_in(house):
    house.person(enrolled=False)
    house.change(disabled_at=1)
    with refused("wrong-password"):
        house.first()


@pytest.mark.parametrize("change", ["disabled", "password"])
def test_what_changes_while_a_password_is_judged(house, monkeypatch, change):
    """Judging takes long: who was disabled, or has another password meanwhile, is not let in."""
    person = house.person(enrolled=False)
    genuine = passwords.matches

    def slowly(stored, password):
        found = genuine(stored, password)
        if change == "disabled":
            house.change(disabled_at=1)
        else:
            with house.write() as connection:
                other = passwords.hash_new("another password!")
                passwords.store(connection, person.id, other, house.clock())
        return found

    monkeypatch.setattr(passwords, "matches", slowly)
    with refused("wrong-password"):
        house.first()
    with house.write() as connection:
        assert not connection.execute(select(SessionRow.id)).all()


def test_someone_who_is_gone_while_a_password_is_judged(house, monkeypatch):
    house.person(enrolled=False)
    genuine = passwords.matches

    def slowly(stored, password):
        found = genuine(stored, password)
        monkeypatch.setattr(people, "find", lambda *a, **more: None)
        return found

    monkeypatch.setattr(passwords, "matches", slowly)
    with refused("wrong-password"):
        house.first()


def test_an_enrolled_person_without_a_method_that_may_be_used(house):
    """Policy took it away, or it recovered the password: the password alone does not do."""
    house.person()
    house.policy(methods=["sms"], recovery_methods=[])
    with refused("no-usable-method") as caught:
        house.first()
    assert caught.value.status == 403
    house.policy(methods=["totp"], recovery_methods=["totp"])
    house.change(recovered_by=METHODS[TOTP].thing.value)
    with refused("no-usable-method"):
        house.first()


def test_how_many_kinds_are_lacking(house):
    house.person()
    house.policy(minimum_methods=3)
    assert house.first().lacking == 2


def test_tries_for_a_name_are_counted_and_a_right_one_ends_the_count(house):
    house.person(enrolled=False)
    house.policy(password_max_failures=3)
    for _ in range(2):
        with refused("wrong-password"):
            house.first(password="no")
    assert house.first().session
    for _ in range(3):
        with refused("wrong-password"):
            house.first(password="no")
    with pytest.raises(ApiError) as caught:
        house.first()
    assert caught.value.status == 429
    assert house.first(browser=Browser("198.51.100.7", "")).session  # its owner, elsewhere


def test_tries_from_a_place_are_counted_over_all_names(house):
    house.person(enrolled=False)
    house.policy(sign_in_failures_per_source=10)
    for number in range(10):
        with refused("wrong-password"):
            house.first(f"nobody{number}")
    with pytest.raises(ApiError) as caught:
        house.first()
    assert caught.value.status == 429
    house.clock.advance(limits.PASSWORD_WINDOW_S + 1)
    assert house.first().session


# -- the second step -----------------------------------------------------------------------------


def test_a_wrong_code_and_then_the_right_one(house):
    house.person()
    token = house.first().attempt
    assert house.second(token, house.wrong()).reason is Reason.WRONG
    assert isinstance(house.second(token), Signed)
    with refused("attempt-over"):
        house.second(token)  # finished


@pytest.mark.parametrize(("after", "over"), [(attempts.LIFE_S - 1, False), (attempts.LIFE_S, True)])
def test_how_long_an_attempt_lasts(house, after, over):
    house.person()
    token = house.first().attempt
    house.clock.advance(after)
    if over:
        with refused("attempt-over"):
            login.choices(house.state, "default", token)
        with refused("attempt-over"):
            house.second(token)
    else:
        assert [held.key for held in login.choices(house.state, "default", token)] == [house.key]


def test_no_token_is_no_attempt(house):
    house.person()
    house.first()
    for token in ("", "x", "0" * 43):
        with refused("attempt-over"):
            house.second(token)


def test_an_attempt_is_of_its_firm(house):
    house.person()
    token = house.first().attempt
    with house.write() as connection:
        row = connection.execute(select(Attempt.firm_id)).scalar_one()
        found = attempts.find(connection, token, row + 1, Purpose.LOGIN, house.clock())
        assert found is None
        assert attempts.find(connection, token, row, Purpose.LOGIN, house.clock()) is not None


@pytest.mark.parametrize("way", [Way(Purpose.RADIUS, "vpn", opens=False)])
def test_an_attempt_is_finished_in_the_way_it_was_begun(house, way):
    house.person()
    portal, vpn = house.first().attempt, house.first(way=way).attempt
    with refused("attempt-over"):
        house.second(vpn)
    with refused("attempt-over"):
        login.with_code(house.state, "default", portal, house.code(), HERE, way)
    other = replace(way, bound="another client")
    with refused("attempt-over"):
        login.with_code(house.state, "default", vpn, house.code(), HERE, other)
    signed = login.with_code(house.state, "default", vpn, house.code(), HERE, way)
    assert signed == Signed("", None, "")  # no session of the portal
    with house.write() as connection:
        assert not connection.execute(select(SessionRow.id)).all()


def test_a_code_where_nothing_says_of_what_it_is(house):
    house.person()
    way = Way(Purpose.RADIUS, "vpn", opens=False)
    token = house.first(way=way).attempt
    found = login.with_code(house.state, "default", token, house.wrong(), HERE, way)
    assert found.reason is Reason.WRONG
    with house.write() as connection:
        assert connection.execute(select(Factor.failures)).scalar_one() == 1
    assert isinstance(
        login.with_code(house.state, "default", token, house.code(), HERE, way), Signed
    )


def test_a_code_where_nobody_could_take_one(house):
    house.person()
    way = Way(Purpose.RADIUS, "vpn", opens=False)
    token = house.first(way=way).attempt
    house.policy(methods=["webauthn"], recovery_methods=[])
    with refused("no-usable-method"):
        login.with_code(house.state, "default", token, house.code(), HERE, way)


def test_someone_disabled_between_the_steps(house):
    house.person()
    token = house.first().attempt
    house.change(disabled_at=1)
    for step in (lambda: house.second(token), lambda: login.choices(house.state, "default", token)):
        with refused("attempt-over"):
            step()


@pytest.mark.parametrize("stage", [Stage.PROVE, Stage.RESET, Stage.CONFIRM])
def test_an_attempt_at_another_stage(house, stage):
    house.person()
    token = house.first().attempt
    with house.write() as connection:
        connection.execute(update(Attempt).values(stage=stage.value))
    with refused("attempt-over"):
        house.second(token)


def test_an_attempt_of_nobody(house):
    house.person()
    token = house.first().attempt
    with house.write() as connection:
        connection.execute(update(Attempt).values(person_id=None))
    with refused("attempt-over"):
        house.second(token)


def test_a_method_of_somebody_else(house):
    house.person("bob")
    theirs, code = house.key, house.code
    house.person("ann")
    token = house.first("ann").attempt
    with refused("no-such-method"):
        house.second(token, code(), key=theirs)
    with refused("no-such-method"):
        login.challenge(house.state, "default", token, TOTP, theirs, "192.0.2.1")
    with refused("no-such-method"):
        login.challenge(house.state, "default", token, MethodKind.SMS, house.key, "192.0.2.1")
    assert login.challenge(house.state, "default", token, TOTP, house.key, "192.0.2.1") == {}


def test_what_recovered_a_password_may_serve_again_after_something_else_signed_in(house):
    house.person()
    house.change(recovered_by="card")
    house.sign_in()
    assert house.known().recovered_by is None


# -- attempts that two requests move -------------------------------------------------------------


def test_an_attempt_moves_once(house):
    person = house.person()
    token = house.first().attempt
    with house.write() as connection:
        under = attempts.find(connection, token, person.firm_id, Purpose.LOGIN, house.clock())
        attempts.advance(connection, under, stage=Stage.RESET, context={})
        with pytest.raises(StaleError):
            attempts.advance(connection, under, stage=Stage.RESET, context={})
        attempts.finish(connection, under)
        with pytest.raises(StaleError):
            attempts.finish(connection, under)


# -- sessions ------------------------------------------------------------------------------------


def test_how_long_a_session_lasts(house):
    house.policy(session_hours=1, session_idle_minutes=1440)
    house.person()
    token = house.sign_in().session
    opened = house.session(token).created_at
    house.clock.now = opened + 3599
    assert house.session(token)
    house.clock.now = opened + 3600
    assert house.session(token) is None


def test_how_long_a_session_may_rest(house):
    house.policy(session_idle_minutes=5)
    house.person()
    token = house.sign_in().session
    opened = house.session(token).created_at
    house.clock.now = opened + 299
    session = house.session(token)
    with house.write() as connection:
        sessions.touch(connection, session, house.clock())
    house.clock.now = opened + 299 + 299
    assert house.session(token)
    house.clock.now = opened + 299 + 300
    assert house.session(token) is None


@pytest.mark.parametrize(("after", "seen"), [(59, 0), (60, 60), (61, 61)])
def test_a_session_is_noted_once_a_minute(house, after, seen):
    person = house.person()
    token = house.sign_in().session
    opened = house.session(token).created_at
    with house.write() as connection:
        sessions.touch(connection, house.session(token), opened + after)
        (one,) = sessions.of_person(connection, person.id, house.clock())
    assert one.seen_at == opened + seen


def test_a_session_is_of_its_firm_and_of_its_person(house):
    person = house.person()
    token = house.sign_in().session
    assert house.session(token, person.firm_id + 1) is None
    assert house.session("x") is None
    house.change(disabled_at=1)
    assert house.session(token) is None


def test_a_session_that_may_only_enrol_is_short(house):
    person = house.person()
    with house.write() as connection:
        token = sessions.open_session(
            connection, person=person, policy=house.firm.policy, amr=("pwd",), browser="",
            source="", now=house.clock(), enrol_only=True,
        )  # fmt: skip
    session = house.session(token)
    assert session.enrol_only and session.proved_at is None
    assert stepup.is_fresh(session, house.clock() + 10**6)
    house.clock.advance(sessions.ENROL_ONLY_S - 1)
    assert house.session(token)
    house.clock.advance(1)
    assert house.session(token) is None


def test_ending_sessions(house):
    house.person("bob")
    theirs = house.sign_in("bob").session
    person = house.person("ann")
    one, two, three = (house.sign_in("ann").session for _ in range(3))
    number = {token: house.session(token).id for token in (one, two, three, theirs)}
    pending = house.first("ann").attempt
    with house.write() as connection:
        sessions.end(connection, person.id, number[theirs])  # not hers
        sessions.end(connection, person.id, number[one])
    assert house.session(theirs) and house.session(one) is None and house.session(two)
    with house.write() as connection:
        sessions.end_all(connection, person.id, but=number[two])
    assert house.session(two) and house.session(three) is None and house.session(theirs)
    with refused("attempt-over"):
        house.second(pending)
    with house.write() as connection:
        sessions.end_all(connection, person.id)
    assert house.session(two) is None and house.session(theirs)


def test_a_stricter_policy_holds_for_what_is_open(house):
    house.policy(session_hours=12, session_idle_minutes=1440)
    house.person()
    token = house.sign_in().session
    opened = house.session(token).created_at
    with house.write() as connection:
        policy = house.firm.policy.model_copy(update={"session_hours": 2})
        sessions.shorten(connection, house.firm.id + 1, house.firm.policy, policy, house.clock())
        assert connection.execute(select(SessionRow.expires_at)).scalar_one() == opened + 43200
        sessions.shorten(connection, house.firm.id, house.firm.policy, policy, house.clock())
        assert connection.execute(select(SessionRow.expires_at)).scalar_one() == opened + 7200
        longer = policy.model_copy(update={"session_hours": 3})
        sessions.shorten(connection, house.firm.id, house.firm.policy, longer, house.clock())
        assert connection.execute(select(SessionRow.expires_at)).scalar_one() == opened + 7200


def test_a_session_that_nobody_used_is_over_for_good_whatever_policy_says_later(house):
    house.policy(session_idle_minutes=5)
    house.person()
    token = house.sign_in().session
    seen_at = house.session(token).seen_at
    longer = house.firm.policy.model_copy(update={"session_idle_minutes": 60})
    for firm_id, after, there in ((1, 299, True), (2, 300, True), (1, 300, False)):
        with house.write() as connection:
            now = seen_at + after
            sessions.shorten(connection, firm_id, house.firm.policy, longer, now)
            open_yet = select(SessionRow.id).where(SessionRow.expires_at > now)
            assert (connection.scalar(open_yet) is not None) is there
    house.policy(session_idle_minutes=60)
    house.clock.advance(300)
    assert house.session(token) is None


# -- remembered browsers -------------------------------------------------------------------------


def test_a_remembered_browser_needs_no_second_factor_for_so_many_days(house):
    house.policy(remember_device_days=2)
    house.person("bob")
    house.person()
    device = house.sign_in(remember=True).device
    remembered = replace(HERE, device=device)
    signed = house.first(browser=remembered)
    assert house.session(signed.session).amr == ("pwd",)
    assert isinstance(house.first("bob", browser=remembered), PendingSignIn)
    assert isinstance(house.first(browser=replace(HERE, device="x")), PendingSignIn)
    kept = house.clock.now
    house.clock.now = kept - 60 + 2 * 86400 - 1
    assert isinstance(house.first(browser=remembered), Signed)
    house.clock.advance(1)
    assert isinstance(house.first(browser=remembered), PendingSignIn)
    house.clock.now = kept
    house.policy(remember_device_days=0)
    assert isinstance(house.first(browser=remembered), PendingSignIn)
    house.policy(remember_device_days=2)


def test_a_browser_is_not_remembered_where_policy_forbids_it_or_nobody_asked(house):
    house.person()
    assert house.sign_in(remember=True).device is None
    house.policy(remember_device_days=2)
    assert house.sign_in(remember=False).device is None


def test_a_stricter_policy_holds_for_browsers_that_are_remembered(house):
    house.policy(remember_device_days=10)
    house.person()
    device = house.sign_in(remember=True).device
    began = house.clock.now
    policy = house.firm.policy.model_copy(update={"remember_device_days": 1})
    with house.write() as connection:
        sessions.shorten(connection, house.firm.id, house.firm.policy, policy, began)
        for after, is_it in ((86399, True), (86400, False)):
            found = sessions.is_remembered(
                connection, house.known().id, policy, device, began + after
            )
            assert found is is_it


# -- proof in a session --------------------------------------------------------------------------


def proved(house, session, code=None):
    return stepup.prove(house.state, session, TOTP, house.key, {"code": code or house.code()}, HERE)


# One of a time that has not come was shown while the clock was wrong: nobody knows when.
@pytest.mark.parametrize(
    ("after", "fresh"), [(0, True), (299, True), (300, False), (-299, True), (-300, False)]
)
def test_how_long_a_proof_is_fresh(house, after, fresh):
    house.person()
    session = house.session(house.sign_in().session)
    assert stepup.is_fresh(session, session.proved_at + after) is fresh
    assert not stepup.is_fresh(replace(session, proved_at=None), session.created_at)


@pytest.mark.parametrize(("after", "fresh"), [(299, True), (300, False), (-300, False)])
def test_how_long_a_password_is_fresh_for_whoever_never_enrolled(house, after, fresh):
    house.person(enrolled=False)
    session = house.session(house.first().session)
    assert stepup.is_fresh(session, session.created_at + after) is fresh


def test_a_proof_makes_a_session_fresh_again(house):
    house.person()
    token = house.sign_in().session
    house.clock.advance(1000)
    session = house.session(token)
    with refused("attempt-over"):
        proved(house, session)
    assert [held.key for held in stepup.begin(house.state, session, HERE, "/change")] == [house.key]
    assert [held.key for held in stepup.choices(house.state, session, HERE)] == [house.key]
    assert stepup.challenge(house.state, session, TOTP, house.key, HERE) == {}
    assert proved(house, session, house.wrong()).reason is Reason.WRONG
    assert house.session(token).proved_at == session.proved_at
    assert proved(house, session) == stepup.Proved("/change", None)
    assert house.session(token).proved_at == int(house.clock())
    with refused("attempt-over"):
        stepup.choices(house.state, session, HERE)


def test_where_to_go_on_to_stays(house):
    house.person()
    session = house.session(house.sign_in().session)
    stepup.begin(house.state, session, HERE, "/one")
    stepup.begin(house.state, session, HERE, "")
    assert proved(house, session) == stepup.Proved("/one", None)
    house.clock.advance(60)
    stepup.begin(house.state, session, HERE, "/one")
    stepup.begin(house.state, session, HERE, "/two")
    assert proved(house, session) == stepup.Proved("/two", None)


def test_a_proof_is_of_its_session_and_its_person(house):
    house.person()
    one = house.session(house.sign_in().session)
    two = house.session(house.sign_in().session)
    stepup.begin(house.state, one, HERE, "/one")
    with refused("attempt-over"):
        proved(house, two)
    other = replace(one, person=replace(one.person, id=one.person.id + 1))
    with refused("attempt-over"):
        stepup.choices(house.state, other, HERE)


def test_nothing_to_prove_with(house):
    house.person()
    session = house.session(house.sign_in().session)
    nothing = session.policy.model_copy(update={"methods": frozenset({MethodKind.SMS})})
    with refused("no-usable-method"):
        stepup.begin(house.state, replace(session, policy=nothing), HERE, "")


# -- recovery ------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(recovery, "EVENED_S", 0.0)


NEW = "another horse battery"


def prove(house, token, code):
    return recovery.prove(house.state, "default", token, {"code": code}, HERE)


def test_recovery_by_a_kind_that_the_firm_does_not_allow(house):
    house.person()
    house.policy(recovery_methods=["email"])
    with refused("not-for-recovery") as caught:
        recovery.start(house.state, "default", "ann", TOTP, HERE)
    assert caught.value.status == 422
    house.policy(recovery_methods=["totp"], methods=["email"])
    with refused("not-for-recovery"):
        recovery.start(house.state, "default", "ann", TOTP, HERE)


def test_a_code_is_right_and_there_is_nothing_else_to_sign_in_with(house):
    """The code stays used, and the attempt is over."""
    house.person()
    token = recovery.start(house.state, "default", "ann", TOTP, HERE)
    code = house.code()
    with refused("needs-another-method") as caught:
        prove(house, token, code)
    assert caught.value.status == 403
    with refused("attempt-over"):
        prove(house, token, code)


def enrolled_twice(house):
    """An app, and paper: two things."""
    house.policy(methods=["totp", "codes"], recovery_methods=["totp"])
    person = house.person()
    with house.write() as connection:
        context = house.context(connection)
        started = METHODS[MethodKind.CODES].start(context, as_person(person), {})
        sheet = started.show.get("codes") or []
        METHODS[MethodKind.CODES].finish(
            context, as_person(person), started.key, {"code": sheet[0]}
        )
    return person


def recovered(house):
    token = recovery.start(house.state, "default", "ann", TOTP, HERE)
    assert prove(house, token, house.code()).accepted
    return token


def test_a_password_is_set_after_the_proof_once(house):
    enrolled_twice(house)
    old = house.sign_in().session
    token = recovery.start(house.state, "default", "ann", TOTP, HERE)
    with refused("attempt-over"):
        recovery.reset(house.state, "default", token, NEW, HERE)
    assert prove(house, token, house.code()).accepted
    with refused("attempt-over"):
        prove(house, token, house.code())
    with refused("bad-password"):
        recovery.reset(house.state, "default", token, "short", HERE)
    assert recovery.reset(house.state, "default", token, NEW, HERE) is None
    with refused("attempt-over"):
        recovery.reset(house.state, "default", token, NEW, HERE)
    assert house.session(old) is None
    assert house.known().recovered_by == METHODS[TOTP].thing.value
    with refused("wrong-password"):
        house.first()


def test_a_reset_that_another_request_finished_meanwhile(house, monkeypatch):
    enrolled_twice(house)
    token = recovered(house)
    genuine = passwords.hash_new

    def slowly(password):
        monkeypatch.setattr(passwords, "hash_new", genuine)
        with house.write() as connection:
            connection.execute(update(Attempt).values(stage=Stage.PROVE.value))
        return genuine(password)

    monkeypatch.setattr(passwords, "hash_new", slowly)
    with refused("attempt-over"):
        recovery.reset(house.state, "default", token, NEW, HERE)
    assert isinstance(house.first(), PendingSignIn)  # the old one holds


def test_someone_disabled_during_a_recovery(house):
    enrolled_twice(house)
    token = recovered(house)
    house.change(disabled_at=1)
    with refused("attempt-over"):
        recovery.reset(house.state, "default", token, NEW, HERE)


def test_nobody_cannot_recover_and_is_answered_alike(house):
    house.person()
    house.change(disabled_at=1)
    for name in ("nobody", "ann"):
        token = recovery.start(house.state, "default", name, TOTP, HERE)
        for _ in range(recovery.TRIES_PER_ATTEMPT):
            assert prove(house, token, house.code()).reason is Reason.WRONG
        with refused("attempt-over"):
            prove(house, token, house.code())
        with house.write() as connection:
            connection.execute(update(Attempt).values(stage=Stage.RESET.value))
        with refused("attempt-over"):
            recovery.reset(house.state, "default", token, NEW, HERE)


def test_how_many_wrong_codes_a_recovery_takes(house):
    enrolled_twice(house)
    token = recovery.start(house.state, "default", "ann", TOTP, HERE)
    for _ in range(recovery.TRIES_PER_ATTEMPT - 1):
        assert prove(house, token, house.wrong()).reason is Reason.WRONG
    assert prove(house, token, house.code()).accepted
    house.clock.advance(60)
    token = recovery.start(house.state, "default", "ann", TOTP, HERE)
    for _ in range(recovery.TRIES_PER_ATTEMPT):
        assert prove(house, token, house.wrong()).reason is Reason.WRONG
    with refused("attempt-over"):
        prove(house, token, house.code())


def test_a_recovery_is_no_sign_in_and_the_other_way_round(house):
    enrolled_twice(house)
    signing, recovering = house.first().attempt, recovered(house)
    with refused("attempt-over"):
        house.second(recovering)
    with refused("attempt-over"):
        recovery.reset(house.state, "default", signing, NEW, HERE)


# -- codes of the help desk ----------------------------------------------------------------------


def help_code(house, name="ann", **more):
    with house.write() as connection:
        person = people.by_login(connection, house.firm.id, name)
        return recovery.console_help(house.state, connection, person, house.clock(), **more)


def with_help(house, code, name="ann", browser=HERE):
    return recovery.with_help(house.state, "default", name, code, browser)


def test_a_help_code_serves_once_and_in_any_spelling(house):
    house.person()
    code = help_code(house)
    assert len(code) == recovery.CODE_LENGTH + 2
    assert set(code) - {"-"} <= set(recovery.CODE_ALPHABET)
    token = with_help(house, f" {code.lower().replace('-', ' ')} ")
    with refused("wrong-help-code") as caught:
        with_help(house, code)
    assert caught.value.status == 401
    assert recovery.reset(house.state, "default", token, NEW, HERE) is None
    assert house.known().recovered_by is None
    assert isinstance(house.first(password=NEW), PendingSignIn)


@pytest.mark.parametrize(
    ("after", "good"), [(recovery.CONSOLE_LIFE_S - 1, True), (recovery.CONSOLE_LIFE_S, False)]
)
def test_how_long_a_help_code_lasts(house, after, good):
    house.person()
    code = help_code(house)
    house.clock.advance(after)
    if good:
        assert with_help(house, code)
    else:
        with refused("wrong-help-code"):
            with_help(house, code)


def test_a_help_code_is_for_its_person_and_void_after_the_next(house):
    house.person("bob")
    house.person("ann")
    code = help_code(house)
    with refused("wrong-help-code"):
        with_help(house, code, "bob")
    with refused("wrong-help-code"):
        with_help(house, code, "nobody")
    newer = help_code(house)
    with refused("wrong-help-code"):
        with_help(house, code)
    assert with_help(house, newer)


def test_every_wrong_help_code_is_counted_and_the_last_try_is_the_last(house):
    house.person()
    house.policy(recoveries_per_source_per_hour=100_000)
    code = help_code(house)
    with refused("wrong-help-code"):
        with_help(house, "2222-2222-2222")
    with house.write() as connection:
        assert connection.execute(select(HelpRequest.tries)).scalar_one() == 1
        connection.execute(update(HelpRequest).values(tries=recovery.HELP_TRIES))
    with refused("wrong-help-code"):
        with_help(house, code)
    with house.write() as connection:
        connection.execute(update(HelpRequest).values(tries=recovery.HELP_TRIES - 1))
    assert with_help(house, code)


def test_help_codes_are_guessed_from_a_place_so_often_only(house):
    house.person()
    house.policy(recoveries_per_source_per_hour=5)
    code = help_code(house)
    for name in ("ann", "ann", "ann", "nobody", "nobody"):
        with refused("wrong-help-code"):
            with_help(house, "2222-2222-2222", name)
    with pytest.raises(ApiError) as caught:
        with_help(house, code)
    assert caught.value.status == 429
    assert with_help(house, code, browser=Browser("198.51.100.7", ""))


def test_what_the_help_desk_named_is_void_and_a_session_can_only_enrol(house):
    house.person()
    token = with_help(house, help_code(house, voids=[("totp", house.key)]))
    session = house.session(recovery.reset(house.state, "default", token, NEW, HERE))
    assert session.enrol_only and session.amr == ("pwd",)
    with house.write() as connection:
        assert not METHODS[TOTP].held(house.context(connection), as_person(house.known()))


def test_what_the_help_desk_did_not_name_stays(house):
    house.person()
    token = with_help(house, help_code(house, voids=[("totp", "999")]))
    assert recovery.reset(house.state, "default", token, NEW, HERE) is None
    token = with_help(house, help_code(house, voids=[("totp", "*")]))
    assert recovery.reset(house.state, "default", token, NEW, HERE) is not None


def test_a_new_password_voids_help_that_was_asked_for(house):
    enrolled_twice(house)
    code = help_code(house)
    recovery.reset(house.state, "default", recovered(house), NEW, HERE)
    with refused("wrong-help-code"):
        with_help(house, code)
