"""The audit log of a simulated firm: each act has its entries, and the judge sees it when one is
missing, or is another's, or is nobody's."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import pytest

from tallystick.emulator import boards
from tallystick.server.rules.acts import WORDS
from tallystick.tools import fresh
from tallystick.tools.campaign.firm import zoo
from tallystick.tools.campaign.firm.entries import (
    NOT_IN_A_FIRM,
    OF_REFUSALS,
    OF_THE_SERVER,
    RULES,
)
from tallystick.tools.campaign.firm.ledger import Ledger
from tallystick.tools.campaign.firm.run import simulate
from tallystick.tools.campaign.firm.script import (
    AIMED_AT,
    FirmAct,
    Level,
    Mishap,
    SimulatedFirm,
    Verb,
)

NOW = 1_800_000_000.0
LEFT = frozenset().union(*(rule.may for rule in RULES))


def test_each_kind_of_entry_that_the_server_can_write_is_in_the_table() -> None:
    """`tests/server/test_rules.py` sees to it that `WORDS` has them all."""
    kinds = (LEFT, OF_REFUSALS, OF_THE_SERVER, NOT_IN_A_FIRM)
    assert frozenset().union(*kinds) == WORDS.keys()
    assert sum(map(len, kinds)) == len(WORDS)


def test_nearly_every_kind_of_entry_comes_about(tmp_path: Path) -> None:
    firm = SimulatedFirm(cards=12, readers=1, days=3, level=Level.HIGH, seed=215)
    assert simulate(firm, image=fresh.image(boards.DEFAULT), keep=tmp_path).violations == []
    with closing(sqlite3.connect(tmp_path / "server.db")) as database:
        there = {kind for (kind,) in database.execute("SELECT DISTINCT action FROM audit")}
    rare = {"card-code-refused", "card-found", "card-retired", "enrol-only-session",
            "help-withdrawn", "limit-reached"}  # fmt: skip
    assert (LEFT | OF_REFUSALS | OF_THE_SERVER) - there <= rare


# -- the ledger by itself ------------------------------------------------------------------------


@dataclass
class Kept:
    """A log, and who holds it to what was asked. wrong: what the ledger says."""

    file: Path
    wrong: list[str] = field(default_factory=list)
    now: float = NOW

    def __post_init__(self) -> None:
        self.database = sqlite3.connect(self.file)
        self.database.executescript(
            """
            CREATE TABLE audit (chain, number, at_ms, firm_id, actor, action, subject, detail, mac);
            CREATE TABLE person (id INTEGER, login, disabled_at, firm_id);
            CREATE TABLE card (id INTEGER, serial, status);
            CREATE TABLE assignment (card_id, person_id);
            INSERT INTO person VALUES (1, 'p0001', NULL, 1);
            INSERT INTO card VALUES (1, 'TS1', 'registered');
            """
        )
        self.writes("card-registered", "console", "TS1")
        self.ledger = Ledger(self.file, {"t": "de-1"}, lambda: self.now, self.wrong.append)

    def writes(
        self, action: str, actor: str = "de-1", subject: str = "TS1",
        facts: Mapping[str, object] = MappingProxyType({}), *, chain: str = "main",
        at: float = NOW, address: str = "10.0.2.0",
    ) -> None:  # fmt: skip
        detail = json.dumps({"from": address} | dict(facts))
        self.database.execute(
            "INSERT INTO audit VALUES (?, 1, ?, 1, ?, ?, ?, ?, ?)",
            (chain, int(at * 1000), actor, action, subject, detail, b"mac"),
        )
        self.database.commit()

    def answers(self, status: int, **told: object) -> None:
        """To the desk, which lends a card."""
        body = {"user": "p0001", "codes": ["123456"]}
        request = httpx.Request(
            "POST", "http://x/v1/cards/TS1/loan", json=body, headers={"authorization": "Bearer t"}
        )
        answers = [httpx.Response(status, json=told)] if status else []
        self.ledger.answered([request], answers, "10.0.2.0")


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path / "server.db")
    yield made
    made.ledger.close()
    made.database.close()


LENT = {"to": "p0001", "until": 5}


def test_an_act_with_its_entry_is_well(kept: Kept) -> None:
    kept.writes("card-lent", facts=LENT)
    kept.answers(200, loan_until=5)
    assert kept.wrong == []


@pytest.mark.parametrize(
    ("written", "what"),
    [
        ({"action": "card-lent", "actor": "de-2", "facts": LENT}, "by de-2"),
        ({"action": "card-lent", "subject": "TS2", "facts": LENT}, "of TS2"),
        ({"action": "card-lent", "facts": LENT | {"to": "p0002"}}, "did not do that"),
        ({"action": "card-lent", "facts": LENT, "address": "10.0.2.9"}, "from 10.0.2.9"),
        ({"action": "card-lent", "facts": LENT, "at": NOW - 60}, "at 1799999940000 ms"),
        ({"action": "card-lent", "facts": LENT, "chain": "w-1"}, "chain that nobody opened"),
        ({"action": "card-returned"}, "card-returned"),
    ],
)
def test_an_entry_that_is_not_the_act_is_seen(
    kept: Kept, written: dict[str, Any], what: str
) -> None:
    kept.writes(**written)
    kept.answers(200, loan_until=5)
    assert any(what in said for said in kept.wrong)


@pytest.mark.parametrize(("token", "wrong"), [("nobody's", 0), ("t", 1)])
def test_who_had_no_answer_may_have_been_refused(kept: Kept, token: str, wrong: int) -> None:
    """The server has ended once that was written; with a token that is somebody's it was not."""
    kept.writes("token-wrong", actor="unknown", subject="")
    headers = {"authorization": f"Bearer {token}"}
    request = httpx.Request("POST", "http://x/v1/cards", content=b"", headers=headers)
    kept.ledger.answered([request], [], "10.0.2.0")
    assert ["'token-wrong'" in said for said in kept.wrong] == [True] * wrong


def test_an_act_that_has_two_entries_is_seen(kept: Kept) -> None:
    for _ in range(2):
        kept.writes("card-lent", facts=LENT)
    kept.answers(200, loan_until=5)
    assert ["did not do that" in said for said in kept.wrong] == [True]


def test_an_act_that_has_none_is_seen(kept: Kept) -> None:
    kept.answers(200, loan_until=5)
    assert ["no such entry" in said for said in kept.wrong] == [True]


def test_what_was_refused_has_an_entry_where_a_code_was_judged(kept: Kept) -> None:
    kept.writes("card-code-refused", facts={"for": "loan", "reason": "wrong"})
    kept.answers(409, error={"code": "wrong-code"})
    kept.answers(409, error={"code": "held", "kept": "Nothing was changed."})
    assert kept.wrong == []
    kept.answers(409, error={"code": "wrong-code"})
    assert len(kept.wrong) == 1


def test_where_the_server_ended_it_is_there_or_not(kept: Kept) -> None:
    kept.answers(0)
    assert kept.wrong == []
    kept.database.execute("INSERT INTO assignment VALUES (1, 1)")
    kept.writes("card-lent", facts=LENT)
    kept.answers(0)
    assert kept.wrong == []
    kept.writes("card-retired")
    kept.answers(0)
    assert kept.wrong


def test_what_changes_without_an_entry_is_seen(kept: Kept) -> None:
    kept.ledger.must_amount_to_what_is()
    assert kept.wrong == []
    kept.database.execute("UPDATE card SET status = 'lost'")
    kept.database.execute("UPDATE person SET disabled_at = 1")
    kept.database.execute("INSERT INTO assignment VALUES (1, 1)")
    kept.database.commit()
    kept.ledger.must_amount_to_what_is()
    assert [said.rpartition("of ")[2] for said in kept.wrong] == [
        "TS1 which cards are lost", "TS1 who has which card", "p0001 who is barred"
    ]  # fmt: skip


def test_an_entry_that_is_gone_is_seen(kept: Kept) -> None:
    kept.ledger.must_be_there()
    assert kept.wrong == []
    kept.database.execute("UPDATE audit SET mac = 'another'")
    kept.database.commit()
    kept.ledger.must_be_there()
    assert kept.wrong == ["the audit log has lost its last entry"]


def test_of_many_refusals_the_first_are_written(kept: Kept) -> None:
    wrong = httpx.Request(
        "POST", "http://x/v1/verify", json={}, headers={"authorization": "Bearer x"}
    )
    for number in range(25):
        if number < 20:
            kept.writes("token-wrong", "unknown", "")
        kept.ledger.answered([wrong], [httpx.Response(401, json={})], "10.0.2.0")
    assert kept.wrong == []
    kept.now += 901
    kept.ledger.answered([wrong], [httpx.Response(401, json={})], "10.0.2.0", sound=False)
    assert kept.wrong == []
    kept.ledger.answered([wrong], [httpx.Response(401, json={})], "10.0.2.0")
    assert ["no such entry" in said for said in kept.wrong] == [True]


# -- in a firm -----------------------------------------------------------------------------------

HOUR = 3600
TWO = SimulatedFirm(cards=2, readers=0, days=1, level=Level.NONE)  # a person's, and a spare
MADE = [FirmAct(5 * HOUR, 0, Verb.PROVISION, 0), FirmAct(5 * HOUR + 60, 1, Verb.PROVISION, 1)]
PHONE = FirmAct(6 * HOUR, 2, Verb.PHONE, 0)


def _lived(*more: FirmAct) -> tuple[list[str], list[str]]:
    """→ what was told, and what was wrong"""
    played = sorted((*MADE, PHONE, *more), key=lambda act: act.at)
    result = simulate(TWO, played, image=fresh.image(boards.DEFAULT))
    return [one.words for one in result.told], result.violations


@pytest.mark.parametrize("planted", [False, True])
@pytest.mark.parametrize(
    ("what", "verb"),
    [
        ("password-wrong", Verb.PHISH), ("factor-checked", Verb.PORTAL),
        ("recovery-begun", Verb.RECOVER),
    ],
)  # fmt: skip
def test_what_leaves_no_entry_is_seen(what: str, verb: Verb, planted: bool) -> None:
    animal = zoo.planted(zoo.find(f"unlogged-{what}"), fresh.image(boards.DEFAULT))
    with animal if planted else nullcontext():
        _, wrong = _lived(FirmAct(9 * HOUR, 3, verb, 0, 1))
    assert bool(wrong) == planted
    assert all(f"is '{what}' of" in one for one in wrong)


def test_a_telephone_is_void_although_the_answer_was_lost() -> None:
    """Whoever was helped finds out that the new password is the one: the telephone is another. The
    last call is helped, so that nothing makes it good."""
    paths = [path for path, _ in AIMED_AT]
    helped, reset = (paths.index(f"POST /p/default/{one}") for one in ("people/.*/help/.*", _RESET))
    told, wrong = _lived(
        *(FirmAct(10 * HOUR - 1, 3 + n, Mishap.AIMED, helped, 2) for n in range(3)),
        FirmAct(10 * HOUR - 1, 6, Mishap.AIMED, reset, 2),  # its answer
        FirmAct(10 * HOUR, 7, Verb.CALL, 0),
        FirmAct(20 * HOUR, 8, Verb.PORTAL, 0, 1),
    )
    assert wrong == []
    assert "p0001 does not know which password is the one" in told
    assert told.count("p0001 enrols a telephone at the portal") == 2
    assert told[-1] == "p0001 is at the portal with the telephone: in"


_RESET = "recover/reset"


def test_whoever_was_barred_recovers_nobodys_account() -> None:
    told, wrong = _lived(
        FirmAct(9 * HOUR, 3, Verb.LEAVE, 0, 1), FirmAct(10 * HOUR, 4, Verb.PHISH, 0, 1)
    )
    assert wrong == []
    assert any("a stranger with the password of p0001 tries: password" in one for one in told)
