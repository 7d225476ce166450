"""A week at the desk, as one story: two shifts, a zone whose clocks change on its last night, cards
that were pressed 15, 40 and 200 times in a pocket, one that is flat, and a server that is away for
an hour. Commands and server are real; the server's clock is in the test's hand."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import httpx
import pytest

from tallystick.common import moments
from tallystick.common.errors import RefusedError, UnreachableError
from tallystick.common.secret import Secret
from tallystick.server.loans.reminders import remind
from tallystick.server.serving.running import add_credential, make_known, running_in_thread
from tallystick.server.settings import settings_from
from tallystick.server.store.opened import opened
from tests.provisioning.command_line import Station
from tests.provisioning.memory_card import MemoryCard
from tests.provisioning.test_desk import press, text_of
from tests.provisioning.test_desk_week import policy
from tests.server.conftest import Container

OSLO = ZoneInfo("Europe/Oslo")
PEOPLE = ("ada", "bea", "cleo", "dora", "eva")
BORROWERS = [f"{name}@example.com" for name in PEOPLE]


class Clock:
    """Monday, 19 October 2026, 8:00 in Oslo. The clocks go back on the Sunday."""

    now = datetime(2026, 10, 19, 8, tzinfo=OSLO).timestamp()

    def __call__(self) -> float:
        return self.now

    def at(self, text: str) -> None:
        self.now = datetime.fromisoformat(text).replace(tzinfo=OSLO).timestamp()


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(moments, "now", clock)
    return clock


@pytest.fixture
def week(tmp_path, empty_server, cheap_passphrases, clock):
    for file in empty_server.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
        (tmp_path / file.name).chmod(0o600)
    sink = f"file://{tmp_path / 'sent.jsonl'}"
    settings = replace(settings_from(f"sqlite:///{tmp_path / 'server.db'}"), clock=clock, smtp=sink)
    for name in PEOPLE:
        make_known(settings, name)
    with opened(settings) as parts, parts.database.write() as connection:
        for name, address in zip(PEOPLE, BORROWERS, strict=True):
            connection.exec_driver_sql(
                "UPDATE person SET email = ? WHERE login = ?", (address, name)
            )
    made = add_credential(settings, "station", "bench")
    shifts = {name: add_credential(settings, "desk", name) for name in ("Ann", "Bob")}
    with running_in_thread(settings) as url:
        station = Station(tmp_path, settings, url, made.token.reveal().decode(), "")
        station.cards = [MemoryCard(serial=f"TS0000000{number}") for number in range(1, 7)]
        container = Container(made.psk.reveal())
        for card in station.cards:
            card.seed, card.digits = Secret.random(20).reveal(), 6
            container.add(card.serial, card.seed)
        headers = {
            "Authorization": f"Bearer {station.token}", "Content-Type": "application/pskc+xml"
        }  # fmt: skip
        content = container.bytes(tmp_path)
        httpx.post(f"{url}/v1/cards", content=content, headers=headers).raise_for_status()
        policy(station, desk_contact="Room 12", loan_reminder_minutes=60)
        station.shifts = shifts
        yield station


def shift(week, name: str, url: str = "") -> None:
    text = text_of(week.shifts[name])
    week.ok("desk", "sign-in", "--server", url or week.url, "--credential", "-", input=text)


def lend(week, card, user: str, until: str = "") -> datetime:
    until_words = ("--until", until) if until else ()
    lent = week.ok("desk", "lend", card.serial, user, "--code", press(card), *until_words)
    return datetime.fromtimestamp(lent["loan_until"], OSLO)


def remind_now(week, clock) -> int:
    with opened(week.settings) as parts:
        return remind(parts.database, parts.ring, clock.now)


def counts(week) -> dict[str, int]:
    listed = week.ok("desk", "cards")
    return {place: sum(card["where"] == place for card in listed) for place in ("pool", "lent")}


def sent(folder, to: list[str]) -> list[dict[str, str]]:
    """What the outbox, a thread of its own, has sent once each of them got something."""
    mails: list[dict[str, str]] = []
    for _ in range(250):
        mails = [json.loads(line) for line in (folder / "sent.jsonl").read_text().splitlines()]
        if {mail["to"] for mail in mails} >= set(to):
            break
        threading.Event().wait(0.02)
    return mails


def test_a_week(week, clock, tmp_path):
    one, two, three, four, flat, own = week.cards

    # Monday: Ann. A name is misspelt; a loan for the day; one until Friday, as people say it.
    shift(week, "Ann")
    error = week.fails(RefusedError, "desk", "lend", one.serial, "beea", "--code", press(one))
    assert "Did you mean bea?" in error.todo
    assert lend(week, one, "bea") == datetime(2026, 10, 19, 18, tzinfo=OSLO)
    assert lend(week, two, "cleo", "Friday 16.30") == datetime(2026, 10, 23, 16, 30, tzinfo=OSLO)
    week.ok("desk", "assign", own.serial, "ada", "--code", press(own))
    clock.at("2026-10-19T17:10")
    assert remind_now(week, clock) == 1
    week.ok("desk", "return", one.serial, "--code", press(one))

    # Tuesday: Bob. Cards that were in a pocket.
    clock.at("2026-10-20T08:00")
    shift(week, "Bob")
    for card, presses in ((one, 15), (three, 40), (four, 200)):
        card.factor += presses
        answers = "".join(f"{press(card)}\n" for _ in range(2))
        result = week.run("desk", "lend", card.serial, "dora", "--until", "2h", input=answers)
        assert result.exit_code == 0, result.exception
        assert f"{presses} presses had not come to the server" in result.stderr
        card.factor += 3
        week.ok("desk", "return", card.serial, "--code", press(card))

    # Wednesday: just before the day's end, a loan for the day is not over in a minute.
    clock.at("2026-10-21T17:59")
    assert lend(week, flat, "eva") == datetime(2026, 10, 22, 18, tzinfo=OSLO)

    # Thursday: the server is away for an hour. Nothing is changed, nothing noted as done.
    clock.at("2026-10-22T09:00")
    before = week.run("audit", "export").stdout
    operator = json.loads((tmp_path / "operator.json").read_text())
    (tmp_path / "operator.json").write_text(json.dumps(operator | {"url": "http://127.0.0.1:9"}))
    for act in (("lend", one.serial, "bea"), ("return", two.serial)):
        error = week.fails(UnreachableError, "desk", *act, "--code", press(one))
        assert error.kept == "Nothing was changed."
    assert week.run("audit", "export").stdout == before
    clock.at("2026-10-22T10:00")
    (tmp_path / "operator.json").write_text(json.dumps(operator))
    lend(week, one, "bea", "90m")
    week.ok("desk", "return", one.serial, "--code", press(one))
    # Eva's card is flat: it comes back with a reason, late, and is retired.
    clock.at("2026-10-22T18:30")
    assert remind_now(week, clock) == 1
    week.ok("desk", "return", flat.serial, "--reason", "flat")
    week.ok("desk", "retire", flat.serial, "--reason", "flat", "--yes")

    # Friday: cleo's loan is overdue; until when it is longer is said in the firm's time.
    clock.at("2026-10-23T16:45")
    shift(week, "Ann")
    assert remind_now(week, clock) == 1
    (late,) = week.ok("desk", "overdue")
    assert (late["serial"], late["overdue_user"]) == (two.serial, "cleo")
    week.ok("desk", "return", two.serial, "--code", press(two))
    assert lend(week, two, "cleo", "Sunday 17:30").isoformat() == "2026-10-25T17:30:00+01:00"
    shown = week.run("desk", "card", two.serial, env={"COLUMNS": "200"}).stdout
    assert "lent to cleo until Sun 25 Oct 2026 17:30 CET" in shown and "15 min" in shown

    # Sunday, the night in which the clocks go back: half past two comes twice.
    clock.at("2026-10-25T00:30")
    assert lend(week, three, "dora", "2:30").isoformat() == "2026-10-25T02:30:00+02:00"
    assert lend(week, four, "eva", "2:30 CET").isoformat() == "2026-10-25T02:30:00+01:00"
    error = week.fails(
        RefusedError, "desk", "lend", one.serial, "bea", "--code", press(one), "--until", "10d"
    )
    assert "further off" in error.what and "7 days" in error.todo

    # Who did what, and who was told.
    assert counts(week) == {"pool": 1, "lent": 3}
    cards = {card.serial: week.ok("desk", "card", card.serial)["events"] for card in week.cards}
    acts = [(one["actor"], one["act"]) for one in reversed(cards[flat.serial])]
    assert acts[1:] == [("Bob", "card-lent"), ("Bob", "card-returned"), ("Bob", "card-retired")]
    assert {event["actor"] for event in cards[two.serial]} == {"Ann", "bench"}
    mails = sent(tmp_path, BORROWERS)
    told = [mail["subject"] for mail in mails if mail["to"] == "cleo@example.com"]
    assert f"Card {two.serial} is overdue" in told
    assert f"Card {two.serial} is lent to you until Sun 25 Oct 2026 17:30 CET" in told
    assert {mail["to"] for mail in mails} == set(BORROWERS)
