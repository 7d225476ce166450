"""Each judgement of `tally campaign wire` can fail: what a card or a station would have to be for
that, without a relay."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from tallystick.common.errors import BadInputError
from tallystick.provisioning.card.issuer import LifeCycle
from tallystick.provisioning.journal import CardState
from tallystick.tools.campaign.wire import judge
from tallystick.tools.campaign.wire.deeds import TO_CARD, TO_STATION
from tallystick.tools.campaign.wire.judge import CardNow
from tallystick.tools.campaign.wire.relay import Relay, Transcript
from tallystick.tools.campaign.wire.scenarios import Scenario, UpdateScenario
from tallystick.tools.campaign.wire.world import SERIAL, WatchedCustody, WatchedKeys, key_ring

FRESH, USED = Scenario("provision"), Scenario("reseed", flash=b"x")
WIPED = Scenario("wipe", flash=b"x", wiped=True)
GOOD = CardNow(SERIAL, 1, LifeCycle.SECURED, (SERIAL,))
SECRET = bytes(range(100, 116))


def station(state: CardState | None = None, *, registered: bool = False) -> Any:
    record = None if state is None else SimpleNamespace(state=state, reseed=False)
    return SimpleNamespace(
        journal=SimpleNamespace(latest=lambda serial: record),
        registry=SimpleNamespace(
            lookup=lambda serial: registered or None, codes=lambda serial, count: ["123456"]
        ),
        custody=SimpleNamespace(firm_version=1),
    )


def card(shown: str = "123456") -> Any:
    return SimpleNamespace(
        run_for=lambda ms: None, press=lambda: None, read_code=lambda: shown, power_on=None
    )


def found(
    monkeypatch: pytest.MonkeyPatch, now: CardNow | None, judged: Any, *rest: Any
) -> set[str]:
    def look(*_: Any) -> CardNow:
        if now is None:
            raise BadInputError("Its keys are others.")
        return now

    monkeypatch.setattr(judge, "now", look)
    return {kind for kind, _ in judged(*rest)}


@pytest.mark.parametrize(
    ("kind", "scenario", "now", "known"),
    [
        (None, FRESH, CardNow(SERIAL, 0xFF, LifeCycle.OP_READY, ()), station()),
        (None, FRESH, GOOD, station(CardState.LOCKED)),
        (None, WIPED, CardNow(SERIAL, 0, LifeCycle.TERMINATED, ()), station()),
        ("keys", FRESH, None, station()),
        ("ended", FRESH, CardNow(SERIAL, 0, LifeCycle.TERMINATED, ()), station()),
        ("unknown", FRESH, CardNow(SERIAL, 1, LifeCycle.INITIALIZED, ()), station()),
        ("unknown", FRESH, CardNow(SERIAL, 0xFF, LifeCycle.OP_READY, (SERIAL,)), station()),
        ("unknown", FRESH, CardNow(SERIAL, 0xFF, LifeCycle.OP_READY, ()), station(registered=True)),
        ("unknown", FRESH, CardNow(SERIAL, 1, LifeCycle.INITIALIZED, (SERIAL,)),
         station(CardState.FAILED)),
        ("renamed", USED, CardNow(SERIAL, 1, LifeCycle.SECURED, ("mine",)),
         station(CardState.LOCKED)),
        ("unknown", FRESH, GOOD, station(CardState.KEYED)),
    ],
)  # fmt: skip
def test_of_what_a_relay_leaves(monkeypatch, kind, scenario, now, known):
    kinds = found(monkeypatch, now, judge.left, scenario, known, card())
    assert kinds == ({kind} if kind else set())


DONE = station(CardState.LOCKED, registered=True)


@pytest.mark.parametrize(
    ("kind", "scenario", "now", "known", "at_hand"),
    [
        (None, FRESH, GOOD, DONE, card()),
        (None, WIPED, CardNow(SERIAL, 0, LifeCycle.TERMINATED, ()), DONE, card()),
        ("keys", FRESH, None, DONE, card()),
        ("ended", WIPED, GOOD, DONE, card()),
        ("unfinished", FRESH, CardNow(SERIAL, 1, LifeCycle.INITIALIZED, (SERIAL,)), DONE, card()),
        ("unfinished", FRESH, CardNow(SERIAL, 1, LifeCycle.SECURED, ()), DONE, card()),
        ("unfinished", FRESH, CardNow(SERIAL, 2, LifeCycle.SECURED, (SERIAL,)), DONE, card()),
        ("unknown", FRESH, GOOD, station(registered=True), card()),
        ("unknown", FRESH, GOOD, station(CardState.LOCKED), card()),
        ("seed", FRESH, GOOD, DONE, card("654321")),
    ],
)
def test_of_what_is_said_to_be_done(monkeypatch, kind, scenario, now, known, at_hand):
    kinds = found(monkeypatch, now, judge.finished, scenario, known, at_hand)
    assert kinds == ({kind} if kind else set())


def relay(**what: Any) -> Relay:
    made = Relay.__new__(Relay)
    made.transcript, made.told, made.own = Transcript(), [], []
    for name, value in what.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize("way", [TO_CARD, TO_STATION])
@pytest.mark.parametrize("part", [SECRET, SECRET[:8], SECRET[8:]])
def test_of_what_is_learnt(way, part):
    custody = SimpleNamespace(secrets_of=lambda serial: [("seed", SECRET)], problems=[])
    known = SimpleNamespace(custody=custody)
    heard = relay(transcript=Transcript([(way, b"\0\0\x20abc" + part + b"de")]))
    assert [kind for kind, _ in judge.learnt(heard, known, (SERIAL,))] == ["secret"]
    split = relay(transcript=Transcript([(way, b"\0\0\7ab" + SECRET[:3] + b"de")]))
    assert not list(judge.learnt(split, known, (SERIAL,)))


def test_of_a_secret_that_passes_in_two_blocks():
    known = SimpleNamespace(
        custody=SimpleNamespace(secrets_of=lambda serial: [("seed", SECRET)], problems=[])
    )
    blocks = [(TO_CARD, b"\0\0\5" + half + b"cr") for half in (b"a" + SECRET[:4], SECRET[4:8])]
    assert list(judge.learnt(relay(transcript=Transcript(blocks)), known, (SERIAL,)))


def test_of_an_initial_value_that_is_used_twice():
    custody = WatchedCustody(key_ring())
    keys = WatchedKeys(SimpleNamespace(encrypt=lambda iv, plain: plain), custody)
    for iv in (bytes(16), b"\1" * 16, bytes(16)):
        keys.encrypt(iv, bytes(16))
    assert [kind for kind, _ in custody.problems] == ["nonce"]


COMMAND = bytes.fromhex("84d8000008") + bytes(8)


@pytest.mark.parametrize(
    ("told", "kinds"),
    [
        ([("c", COMMAND), ("a", b"ok\x90\0")], []),
        ([], ["forged"]),
        ([("a", b"ok\x90\0"), ("c", COMMAND)], ["forged"]),
        ([("c", COMMAND), ("a", b"no\x90\0")], ["forged"]),
        ([("c", b"\x84\xf2" + COMMAND[2:]), ("a", b"ok\x90\0")], ["forged"]),
    ],
)
def test_of_answers_that_are_taken(told, kinds):
    taken = [(COMMAND, b"ok\x90\0")]
    assert [kind for kind, _ in judge.forged(relay(told=told), taken)] == kinds


@pytest.mark.parametrize(
    ("command", "answer", "first", "kinds"),
    [
        ("80d80081", "9000", False, ["obeyed"]), ("00010000", "9000", False, ["obeyed"]),
        ("84f280000a", "9000", False, ["obeyed"]), ("84f280000a", "9000", True, []),
        ("80d80081", "6982", False, []), ("80cadf20", "9000", False, []),
    ],
)  # fmt: skip
def test_of_commands_that_are_obeyed(command, answer, first, kinds):
    own = [(bytes.fromhex(command), bytes.fromhex(answer), first)]
    assert [kind for kind, _ in judge.obeyed(relay(own=own))] == kinds


def test_of_a_card_that_cannot_be_finished(monkeypatch):
    def finish(*_: Any) -> None:
        raise BadInputError("It does not answer.")

    monkeypatch.setattr(judge, "DockedLink", lambda card: None)
    monkeypatch.setattr(judge, "finger", lambda card: None)
    scenario: Any = SimpleNamespace(wiped=False, finish=finish)
    assert [kind for kind, _ in judge.finish(scenario, station(), card())] == ["stuck"]


@pytest.mark.parametrize("good", [True, False])
@pytest.mark.parametrize("wrong", ["header", "state"])
def test_of_an_update_that_is_none(monkeypatch, good, wrong):
    runs = SimpleNamespace(header=b"new", state=judge.SlotState.CONFIRMED)
    if not good:
        setattr(runs, wrong, b"old" if wrong == "header" else judge.SlotState.TRIED)
    monkeypatch.setattr(judge, "CardConnection", lambda link: nullcontext())
    monkeypatch.setattr(judge, "DockedLink", lambda card: None)
    monkeypatch.setattr(judge, "running", lambda connection: runs)
    scenario = UpdateScenario("update", update=SimpleNamespace(header=b"new"))
    assert [kind for kind, _ in judge._updated(scenario, card())] == ([] if good else ["update"])
