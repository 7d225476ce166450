"""A week at the desk by its commands: drift, flat cards, misspelt names, ends of loans."""

from __future__ import annotations

import time
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from tallystick.common.errors import BadInputError, RefusedError
from tallystick.provisioning.desk.terms import Terms
from tallystick.server.accounts import firms
from tallystick.server.accounts.policy import FirmPolicy
from tallystick.server.store.opened import opened
from tests.provisioning.test_desk import desk, lend, press, where

__all__ = ["desk"]


def policy(desk, **fields: object) -> None:
    with opened(desk.settings) as parts, parts.database.write() as connection:
        known = FirmPolicy.model_validate({"time_zone": "Europe/Oslo"} | fields)
        firms.set_policy(connection, parts.ring, 1, known, now=0, actor="test")


@pytest.mark.parametrize("presses", [15, 40, 200])
def test_a_drifted_card_is_asked_for_its_second_code(desk, presses):
    spare = desk.spares[0]
    spare.factor += presses
    answers = "".join(f"{press(spare)}\n" for _ in range(2))
    result = desk.run("desk", "lend", spare.serial, "ada", input=answers)
    assert result.exit_code == 0, result.exception
    assert f"pressed about {presses} times" in result.stderr
    assert f"in step again: {presses} presses had not come to the server" in result.stderr
    assert "to ada until" in result.stdout


def test_also_when_the_first_was_given_as_an_option(desk):
    spare = desk.spares[0]
    spare.factor += 40
    code = press(spare)
    again = f"{press(spare)}\n"
    result = desk.run("desk", "lend", spare.serial, "ada", "--code", code, input=again)
    assert result.exit_code == 0, result.exception
    spare.factor += 150
    both = ["--code", press(spare), "--code", press(spare)]
    assert desk.ok("desk", "return", spare.serial, *both)["skipped"] == 150
    spare.factor += 150
    both = ["--code", press(spare), "--code", press(spare)]
    result = desk.run("desk", "lend", spare.serial, "ada", *both)
    assert "in step again: 150 presses had not come to the server" in result.stderr
    both = ["--code", press(spare), "--code", press(spare)]
    assert "in step again" not in desk.run("desk", "return", spare.serial, *both).stderr


def test_a_code_that_was_refused_is_told_as_what_it_was(desk):
    """Its act is no card that was lost: "in place of loan" was said."""
    spare = desk.spares[0]
    spare.factor += 150
    desk.run("desk", "lend", spare.serial, "ada", "--code", press(spare))
    told = " ".join(desk.run("desk", "card", spare.serial).stdout.split())
    assert "a code for a loan was refused: the card had drifted, which takes two" in told
    assert "in place of" not in told


def test_resynchronisation_tells_the_presses(desk):
    spare = desk.spares[0]
    spare.factor += 500
    answers = "".join(f"{press(spare)}\n" for _ in range(2))
    said = desk.run("desk", "resync", spare.serial, input=answers).stdout
    assert "in step with the server again; 500 presses had not come" in said


def test_a_flat_card_comes_back_and_is_retired(desk):
    spare = desk.spares[0]
    lend(desk, spare)
    error = desk.fails(BadInputError, "desk", "return", spare.serial, "--reason", "x")
    assert "3 to 120" in error.what
    desk.ok("desk", "return", spare.serial, "--reason", "flat")
    assert where(desk, "lent") == []
    result = desk.run("desk", "retire", spare.serial, "--reason", "flat", input="n\n")
    assert result.exit_code == 1 and "for good?" in result.stderr and where(desk, "retired") == []
    result = desk.run("desk", "retire", spare.serial, "--reason", "flat", input="y\n")
    assert result.exit_code == 0 and "its seed is still on it" in result.stdout
    assert where(desk, "retired") == [spare.serial]
    log = desk.run("audit", "export").stdout
    assert "card retired" in log and "without a code: flat" in log


def test_a_lost_card_is_found_and_its_history_told(desk):
    spare, other = desk.spares
    lend(desk, spare)
    desk.ok("desk", "lost", spare.serial)
    desk.ok("desk", "found", spare.serial)
    desk.ok("desk", "return", spare.serial, "--reason", "button stuck")
    shown = desk.run("desk", "card", spare.serial, env={"COLUMNS": "160"}).stdout
    for words in ("lent to ada until", "reported lost", "found again", "returned by ada", "Ann",
                  "without a code: button stuck"):  # fmt: skip
        assert words in " ".join(shown.split()), shown
    assert "found again" not in desk.run("desk", "card", other.serial).stdout
    desk.fails(RefusedError, "desk", "card", "NOSUCH")


def test_a_person_is_found_by_a_part_of_the_name(desk):
    lend(desk, desk.spares[0])
    shown = desk.run("desk", "person", "ad").stdout
    assert desk.spares[0].serial in shown and desk.own.serial in shown and "lent to" in shown
    assert "Did you mean ada?" in desk.fails(RefusedError, "desk", "person", "aad").todo


def test_a_misspelt_name_gets_no_card(desk):
    spare = desk.spares[0]
    for act in ("lend", "assign"):
        error = desk.fails(RefusedError, "desk", act, spare.serial, "adda", "--code", press(spare))
        assert "no user 'adda'" in error.what and "Did you mean ada?" in error.todo


def test_a_card_is_assigned_for_good(desk):
    spare = desk.spares[0]
    assert desk.ok("desk", "assign", spare.serial, "ada", "--code", press(spare))["where"] == (
        "assigned"
    )


def test_the_end_is_shown_before_it_holds(desk):
    policy(desk)
    spare = desk.spares[0]
    result = desk.run("desk", "lend", spare.serial, "ada", "--until", "2d", input="")
    assert result.exit_code == 1 and where(desk, "lent") == []  # nobody gave a code
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("until ")]
    end = datetime.fromtimestamp(time.time() + 2 * 86400, ZoneInfo("Europe/Oslo"))
    assert f"{end:%a} {end.day} {end:%b %Y}" in line and " CE" in line
    lent = lend(desk, spare)
    local = datetime.fromtimestamp(lent["loan_until"], ZoneInfo("Europe/Oslo"))
    assert (local.hour, local.minute) == (18, 0)


@pytest.mark.parametrize(
    ("now", "text", "shown"),
    [
        ("2026-10-25T01:00+02:00", "17:30", "Sun 25 Oct 2026 17:30 CET, in 17 h 30 min"),
        ("2026-10-24T12:00+02:00", "tomorrow", "Sun 25 Oct 2026 18:00 CET, in 31 h"),
        ("2026-03-01T12:00+01:00", "2026-07-01 17:30", "Wed 1 Jul 2026 17:30 CEST, in 122 days"),
        ("2026-05-01T17:58+02:00", "today", "18:00 CEST, in 2 minutes; that is soon"),
        ("2026-05-01T18:58+02:00", "today", "that is over already"),
    ],
)  # fmt: skip
def test_how_ends_are_shown(monkeypatch, now, text, shown):
    moment = datetime.fromisoformat(now).timestamp()
    monkeypatch.setattr("tallystick.common.moments.now", lambda: moment - 300)
    ends = datetime.fromisoformat("2026-05-01T18:00").time()
    terms = Terms(
        "", "", ("en",), ZoneInfo("Europe/Oslo"), ends, 0, 7 * 86400, 0, 0, 0, {}, ahead_s=300
    )
    assert shown in terms.shown(terms.end(text))


def test_a_pool_that_runs_out_is_told(desk):
    assert "have more made" not in desk.run("desk", "cards").stderr
    policy(desk, desk_pool_minimum=2)
    assert "have more made" not in desk.run("desk", "cards").stderr
    lend(desk, desk.spares[0])
    told = desk.run("desk", "cards").stderr
    assert "1 card is left in the pool, of 2: have more made." in told
