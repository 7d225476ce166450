"""The audit log, read after each request and held to what was asked and answered: each act has its
entries, from where and when it was done, and nothing else is in it."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import httpx

from tallystick.server.api.verify import KEY
from tallystick.server.errors import NOTHING_CHANGED
from tallystick.server.store.audit import MAIN
from tallystick.tools.campaign.firm.entries import (
    ANY,
    NOBODY,
    OF_REFUSALS,
    Exchange,
    ExpectedEntry,
    LogSoFar,
    rule_of,
)

_NEW = (
    "SELECT rowid, chain, at_ms, actor, action, subject, detail, mac FROM audit "
    "WHERE rowid > ? ORDER BY rowid"
)
_HELD = (
    "SELECT card.serial, person.login FROM assignment JOIN card ON card.id = assignment.card_id "
    "JOIN person ON person.id = assignment.person_id"
)
_REFUSALS_EACH, _WINDOW_S = 20, 900  # of a kind, of one place: more are not written
_ONE_S = 1000  # an entry's time is the request's, in ms
_TOKEN = re.compile("Bearer (.+)")


class _Written:
    """A row of the log."""

    def __init__(self, row: Sequence[Any]) -> None:
        self.row, self.chain, self.at_ms, self.actor, self.action, self.subject, text, _ = row
        self.detail: dict[str, Any] = json.loads(text) if text else {}

    def __str__(self) -> str:
        return f"'{self.action}' of {self.subject or 'nobody'} by {self.actor}"


class Ledger:
    """Of a firm, and of what services of others on its server leave. callers: names of credentials
    by token. wrong: is told what is."""

    def __init__(
        self, file: Path, callers: Mapping[str, str], now: Callable[[], float],
        wrong: Callable[[str], None], firm_id: int = 1,
    ) -> None:  # fmt: skip
        self._firm_id = firm_id
        self._file, self._callers, self._now, self._wrong = file, callers, now, wrong
        self._database: sqlite3.Connection | None = None
        self._log = LogSoFar()
        self._last = 0
        self._mac = b""
        self._refused: dict[tuple[str, str], list[float]] = {}
        self._chains: set[str] = set()
        for one in self._new():
            self._take(one)

    def close(self) -> None:
        """Until it is asked again: whoever closes the database last tidies it up, which is the
        server."""
        if self._database is not None:
            self._database.close()
        self._database = None

    def answered(
        self, requests: Sequence[httpx.Request], answers: Sequence[httpx.Response], address: str,
        *, sound: bool = True,
    ) -> None:  # fmt: skip
        """These were asked at the same instant, and answered so. No answers: the server ended.
        sound: nothing was the matter with its database."""
        asked = [
            self._exchange(request, answer, address)
            for request, answer in zip_longest(requests, answers)
        ]
        expected: list[ExpectedEntry] = []
        may: set[str] = set()
        for one in asked:
            doubtful, said = self._expected(one, sound=sound)
            may |= doubtful
            expected += said
        what = f"{requests[0].method} {requests[0].url.path}"
        status = answers[0].status_code if answers else "nothing"
        self._hold(expected, may, address, f"{what} of {address}, which was answered {status},")
        if not answers:
            self.must_amount_to_what_is()
            self.close()

    def idle(self) -> None:
        """The server did by itself what it does every hour."""
        self._hold([], set(), "", "the server by itself")

    def must_be_there(self) -> None:
        """What was read until now, after the server has ended."""
        found = self._rows("SELECT mac FROM audit WHERE rowid = ?", self._last)
        if [mac for (mac,) in found] != [self._mac]:
            self._wrong("the audit log has lost its last entry")

    def must_amount_to_what_is(self) -> None:
        """Cards, who has them, who is barred: nothing has changed that the log does not tell."""
        log = self._log
        for what, query, told in (
            (
                "which cards there are",
                "SELECT serial, '' FROM card",
                dict.fromkeys(log.registered, ""),
            ),
            (
                "which cards are lost",
                "SELECT serial, '' FROM card WHERE status = 'lost'",
                dict.fromkeys(log.lost, ""),
            ),
            ("who has which card", _HELD, log.holders),
            (
                "who is barred",
                "SELECT login, '' FROM person WHERE disabled_at IS NOT NULL",
                dict.fromkeys(log.barred, ""),
            ),
        ):
            there = dict(self._rows(query))
            for name in sorted(there.keys() | told.keys()):
                if there.get(name) != told.get(name):
                    self._wrong(f"the audit log does not tell of {name} {what}")

    # -- what is expected ----------------------------------------------------------------------

    def _exchange(
        self, request: httpx.Request, answer: httpx.Response | None, address: str
    ) -> Exchange:
        token = _TOKEN.fullmatch(request.headers.get("authorization", ""))
        caller = self._callers.get(token.group(1), NOBODY) if token else ""
        # Not `text`: that looks for a character set each time.
        status = 0 if answer is None else answer.status_code
        text = "" if answer is None else answer.content.decode("utf-8", "replace")
        path, content = request.url.path, request.read()
        name = request.headers.get(KEY, "")
        return Exchange(request.method, path, address, caller, content, status, text, name)

    def _expected(
        self, asked: Exchange, *, sound: bool
    ) -> tuple[frozenset[str] | set[str], list[ExpectedEntry]]:
        """→ what may be there where it is not known whether it came about; and what must be"""
        found = rule_of(asked.method, asked.path)
        refused = self._refusals(asked, sound=sound)
        # Where no answer came, it may have been refused, and that written.
        unheard = set() if asked.status else self._may_be_refused(asked)
        if found is None or refused:
            return unheard, refused
        rule, groups = found
        known = 0 < asked.status < 500 or asked.error.get("kept") == NOTHING_CHANGED
        said = rule.said(asked, self._log, groups)
        return (set(), said) if known else (rule.may | unheard, [])

    @staticmethod
    def _may_be_refused(asked: Exchange) -> set[str]:
        return set(OF_REFUSALS if asked.caller == NOBODY else OF_REFUSALS - {"token-wrong"})

    def _refusals(self, asked: Exchange, *, sound: bool) -> list[ExpectedEntry]:
        """Before anything else was looked at. It is refused, too, where the database cannot be
        written."""
        if asked.status == 401 and asked.caller == NOBODY:
            action = "token-wrong"
        elif asked.too_many:
            action = "limit-reached"
        else:
            return []
        now = self._now()
        times = self._refused.setdefault((action, asked.address), [])
        times[:] = [one for one in times if one > now - _WINDOW_S]
        times.append(now)
        perhaps = len(times) > _REFUSALS_EACH or not sound
        return [ExpectedEntry(action, NOBODY, ANY, perhaps=perhaps)]

    # -- what is there -------------------------------------------------------------------------

    def _hold(self, expected: list[ExpectedEntry], may: set[str], address: str, what: str) -> None:
        left = list(expected)
        for one in self._new():
            met = next((want for want in left if self._is(want, one)), None)
            if met is not None:
                left.remove(met)
            elif not self._opens_chain(one) and one.action not in may:
                self._wrong(f"the audit log has {one}, and {what} did not do that")
            if one.chain != MAIN and one.chain not in self._chains:
                self._wrong(f"the audit log has {one} in a chain that nobody opened")
            if address and one.detail.get("from") != address:
                self._wrong(f"the audit log has {one} from {one.detail.get('from')}: {what}")
            if abs(one.at_ms - self._now() * 1000) > _ONE_S:
                self._wrong(f"the audit log has {one} at {one.at_ms} ms: {what}")
            self._take(one)
        for want in left:
            if not want.perhaps:
                self._wrong(f"{what} is {want}, and the audit log has no such entry")

    @staticmethod
    def _is(want: ExpectedEntry, one: _Written) -> bool:
        return want.fits(one.action, one.actor, one.subject, one.detail)

    def _opens_chain(self, one: _Written) -> bool:
        """Once for each chain."""
        new = one.subject not in self._chains
        self._chains.add(one.subject)
        return one.action == "chain-opened" and one.actor == "server" and new

    def _take(self, one: _Written) -> None:
        self._log.read(one.action, one.subject, one.detail)

    def _new(self) -> list[_Written]:
        rows = self._rows(_NEW, self._last)
        if rows:
            self._last, self._mac = rows[-1][0], rows[-1][-1]
        new = [_Written(row) for row in rows]
        if not self._log.persons or any(one.action == "person-added" for one in new):
            query = "SELECT id, login FROM person WHERE firm_id = ?"
            self._log.know(self._rows(query, self._firm_id))
        return new

    def _rows(self, query: str, *values: object) -> list[Any]:
        if self._database is None:
            self._database = sqlite3.connect(f"file:{self._file}?mode=ro", uri=True)
        return self._database.execute(query, values).fetchall()
