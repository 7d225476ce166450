"""Attempts, known browsers and limits, each by itself: whose they are, and to which second."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, select

from tallystick.server.rules.judge import Reason, Verdict
from tallystick.server.signing_in import attempts, known, limits, words
from tallystick.server.signing_in.attempts import Purpose, Stage
from tallystick.server.store.models_login import Attempt, RateRow, SentCode
from tests.server.house import refused

HOUR_S, DAY_S = 3600, 86400
HERE, THERE = "192.0.2.1", "198.51.100.7"


@pytest.fixture
def house(quick_house):
    return quick_house


@pytest.fixture
def connection(house):
    with house.write() as connection:
        yield connection


# -- attempts --------------------------------------------------------------------------------------


def begun(house, connection, **more):
    fields = {
        "firm_id": 1, "person_id": None, "purpose": Purpose.LOGIN, "stage": Stage.SECOND,
        "context": {"next": "/"}, "source": HERE, "now": house.clock(),
    }  # fmt: skip
    return attempts.begin(connection, **fields | more)


def found(house, connection, token, purpose=Purpose.LOGIN, firm_id=1):
    return attempts.find(connection, token, firm_id, purpose, house.clock())


def with_code(house, connection, token) -> None:
    """A code was sent for this attempt."""
    connection.execute(
        insert(SentCode),
        {"factor_id": int(house.key), "attempt": attempts.digest(token), "code_tag": b"",
         "tries": 0, "expires_at": 0},
    )  # fmt: skip


def codes(connection) -> set[bytes]:
    return set(connection.scalars(select(SentCode.attempt)))


def test_an_attempt_is_found_for_a_quarter_of_an_hour_by_what_it_is_for(house, connection):
    token = begun(house, connection, source="x" * 65)
    under = found(house, connection, token)
    assert (under.id, under.firm_id, under.person_id) == (attempts.digest(token), 1, None)
    assert (under.purpose, under.stage) == (Purpose.LOGIN, Stage.SECOND)
    assert under.context == {"next": "/"}
    assert connection.scalar(select(Attempt.source)) == "x" * 64
    assert found(house, connection, token, firm_id=2) is None
    assert found(house, connection, token, Purpose.RADIUS) is None
    assert found(house, connection, "x") is None
    house.clock.advance(899)
    assert found(house, connection, token)
    house.clock.advance(1)
    assert found(house, connection, token) is None


def test_what_is_over_is_cleared_away_with_its_codes_when_the_next_begins(house):
    house.person()
    with house.write() as connection:
        old = begun(house, connection, token="old")
        house.clock.advance(1)
        young = begun(house, connection, token="young")
        for token in (old, young):
            with_code(house, connection, token)
        house.clock.advance(899)
        begun(house, connection)
        assert codes(connection) == {attempts.digest("young")}
        hashes = set(connection.scalars(select(Attempt.token_hash)))
        assert attempts.digest("young") in hashes and attempts.digest("old") not in hashes


def test_an_older_one_of_the_same_token_is_cleared_away_and_no_other(house):
    house.person()
    with house.write() as connection:
        for token in ("one", "two"):
            begun(house, connection, token=token)
            with_code(house, connection, token)
        assert begun(house, connection, token="one", context={"next": "/new"}) == "one"
        assert found(house, connection, "one").context == {"next": "/new"}
        assert found(house, connection, "two") and codes(connection) == {attempts.digest("two")}


def test_an_attempt_that_ends_takes_its_codes_along_and_no_others(house):
    house.person()
    with house.write() as connection:
        for token in ("one", "two"):
            begun(house, connection, token=token)
            with_code(house, connection, token)
        attempts.finish(connection, found(house, connection, "one"))
        assert found(house, connection, "one") is None and found(house, connection, "two")
        assert codes(connection) == {attempts.digest("two")}
        attempts.advance(
            connection, found(house, connection, "two"), stage=Stage.RESET, context={"a": 1}
        )
        moved = found(house, connection, "two")
        assert (moved.stage, moved.context) == (Stage.RESET, {"a": 1})


# -- known browsers --------------------------------------------------------------------------------


def test_a_browser_is_known_for_half_a_year_of_one_person_of_one_firm(house):
    ring, now = house.state.ring, house.clock()
    token = known.token_for(ring, 1, "Ann", now + 0.5)
    name, since, _ = token.split(".")
    assert len(name) == 32 and since == str(int(now))
    assert known.name_of(ring, 1, "ann", token, now) == name
    assert known.name_of(ring, 1, "ann", token, now + 180 * DAY_S - 1) == name
    for firm_id, login, shown, when in (
        (1, "ann", token, now + 180 * DAY_S),
        (1, "ann", token, now - 1),  # the clock was wrong
        (2, "ann", token, now),
        (1, "bob", token, now),
        (1, "ann", token[:-1] + ("0" if token[-1] != "0" else "1"), now),
        (1, "ann", "", now),
        (1, "ann", "x" + token, now),
    ):
        assert known.name_of(ring, firm_id, login, shown, when) == ""


def test_guesses_of_a_known_browser_are_counted_by_the_day(house, connection):
    began = 20_000 * DAY_S
    tries = [known.may_guess(connection, "name", 2, began + at) for at in (0, 1, DAY_S - 1)]
    assert tries == [True, True, False]
    assert known.may_guess(connection, "other", 2, began)
    assert known.may_guess(connection, "name", 2, began + DAY_S)


# -- limits ----------------------------------------------------------------------------------------

BEGAN = 500_000 * HOUR_S  # of each window


@pytest.fixture
def policy(house):
    house.policy(
        password_max_failures=3, sign_in_failures_per_source=10, recoveries_per_source_per_hour=12
    )
    return house.firm.policy


def password(connection, policy, name="name", source=HERE, now=BEGAN, known=""):
    limits.before_password(connection, policy, 1, name, source, now, known)


def recovery(connection, policy, name="name", source=HERE, now=BEGAN):
    limits.before_recovery(connection, policy, 1, name, source, now)


def test_a_name_has_so_many_passwords_from_a_place_in_a_quarter_of_an_hour(connection, policy):
    for now in (BEGAN, BEGAN + 1, BEGAN + 899):
        password(connection, policy, now=now)
    with refused("too-many") as caught:
        password(connection, policy, now=BEGAN + 899)
    assert caught.value.retry_after_s == 1
    password(connection, policy, source=THERE)
    password(connection, policy, "other")
    password(connection, policy, now=BEGAN + 900)


def test_and_ten_times_as_many_from_all_places(connection, policy):
    for place in range(30):
        password(connection, policy, source=f"203.0.113.{place}")
    with refused("too-many"):
        password(connection, policy, source=THERE)
    for _ in range(3):
        password(connection, policy, source=THERE, known="a browser")
    with refused("too-many"):
        password(connection, policy, source=THERE, known="a browser")
    password(connection, policy, source=THERE, known="another browser")
    password(connection, policy, source=THERE, known="a browser", now=BEGAN + 900)


def test_a_place_fails_so_often_in_a_quarter_of_an_hour(connection, policy):
    """A known browser is let in from there all the same."""
    for _ in range(10):
        limits.before_key(connection, policy, 1, HERE, BEGAN)
        limits.password_failed(connection, 1, HERE, BEGAN + 899)
    for guarded in (
        lambda: limits.before_key(connection, policy, 1, HERE, BEGAN + 899),
        lambda: password(connection, policy),
    ):
        with refused("too-many"):
            guarded()
    assert connection.scalar(select(RateRow.count).where(RateRow.bucket == "name")) is None
    password(connection, policy, known="a browser")
    for firm_id, source, now in ((2, HERE, BEGAN), (1, THERE, BEGAN), (1, HERE, BEGAN + 900)):
        limits.before_key(connection, policy, firm_id, source, now)


def test_a_place_begins_so_many_recoveries_in_an_hour_and_ten_of_them_for_one_name(
    connection, policy
):
    for _ in range(10):
        recovery(connection, policy, now=BEGAN + 3599)
    with refused("too-many"):
        recovery(connection, policy, now=BEGAN + 3599)
    recovery(connection, policy, source=THERE)
    recovery(connection, policy, "other")
    with refused("too-many"):
        recovery(connection, policy, "other")  # the thirteenth of this place
    recovery(connection, policy, now=BEGAN + 3600)


def test_a_place_guesses_so_many_help_codes_in_an_hour(connection, policy):
    for _ in range(12):
        limits.before_help_code(connection, policy, 1, HERE, BEGAN)
        limits.help_code_failed(connection, 1, HERE, BEGAN + 3599)
    with refused("too-many"):
        limits.before_help_code(connection, policy, 1, HERE, BEGAN)
    for firm_id, source, now in ((2, HERE, BEGAN), (1, THERE, BEGAN), (1, HERE, BEGAN + 3600)):
        limits.before_help_code(connection, policy, firm_id, source, now)


def test_of_a_place_with_a_long_name_counts_as_much_as_there_is_room_for(connection, policy):
    for act, name in ((password, "password|" + "a" * 64), (recovery, "recover|" + "a" * 64)):
        act(connection, policy, name, "x" * 64)
        lengths = {len(bucket) for bucket in connection.scalars(select(RateRow.bucket))}
        assert max(lengths) == 120 == RateRow.bucket.type.length


# -- words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "status", "what"),
    [
        (Verdict(Reason.WRONG), 422, "That was not right."),
        (Verdict(Reason.NO_CARD), 422, "No card is assigned to you."),
        (Verdict(Reason.REPLAYED), 422, "That code was used already."),
        (Verdict(Reason.RESYNCHRONISE), 422, "Your card has drifted from the server."),
        (Verdict(Reason.EXPIRED), 422, "That code is too old, or was made void by a newer one."),
        (Verdict(Reason.THROTTLED, 61), 429, "Too many wrong codes in a row."),
        (
            Verdict(Reason.NOT_ACCEPTED, why="unknown-root"), 403,
            "Nobody whom your firm trusts vouches for this key.",
        ),
    ],
)  # fmt: skip
def test_a_verdict_in_words(verdict, status, what):
    error = words.refusal(verdict)
    assert (error.status, error.code, error.what) == (status, verdict.reason.value, what)
    assert error.todo and error.retry_after_s == verdict.retry_after_s


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(1, "1 minute,"), (60, "1 minute,"), (61, "2 minutes,"), (3600, "60 minutes,")],
)
def test_a_pause_is_told_in_whole_minutes_that_are_enough(seconds, said):
    assert f"Try again in {said}" in words.refusal(Verdict(Reason.THROTTLED, seconds)).todo
