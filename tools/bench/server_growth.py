"""What grows, grown: people, cards, the audit log; and how long what is done with them takes.

`tally bench growth`, or `python -m tallystick.tools.bench.server_growth --help` for other numbers
and databases. A list of people and a file of tokens are imported as a firm would import them; the
rest is put straight into the tables. The entries' chain is linked, so that `audit check` passes.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import httpx
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from tallystick.common.console import print_json
from tallystick.server.accounts import firms, people, trail
from tallystick.server.accounts.credentials import Caller, Role
from tallystick.server.joining import listing, overview, reminding
from tallystick.server.joining.listing import PeopleOrder, PeopleQuery
from tallystick.server.loans import desk, history
from tallystick.server.operating.sending import send_file
from tallystick.server.serving.running import RunningServer, running
from tallystick.server.store import audit, housekeeping, keys
from tallystick.server.store.audit import Act, OwnChain
from tallystick.server.store.database import Database
from tallystick.server.store.models import PersonRow
from tallystick.server.store.paging import RowMark
from tallystick.server.store.stream import Names
from tallystick.tools.bench.server_verify import _family, _load, _register, _resident_bytes

PEOPLE = CARDS = 1_000_000
ENTRIES = 5_000_000
ENTRIES_AT_ONCE = 500_000
CLIENTS = 4
CHECKS = range(200)
PAGE = 100
YEAR_MS = 365 * 86_400_000


def measure(
    people: int = PEOPLE, cards: int = CARDS, entries: int = ENTRIES, db: str | None = None
) -> list[dict[str, object]]:
    """Rows of name, value, unit, aim, peer."""
    with tempfile.TemporaryDirectory() as name:
        rows = [_row(f"{people:,} people, {cards:,} cards, {entries:,} entries", 1, "firm")]
        with running(Path(name), db=db) as server:
            httpx.get(f"{server.url}/v1/health", timeout=60).raise_for_status()
            seeds = _register(server, CLIENTS)
            rows += _imports(server, Path(name), people, cards)
            ring = keys.load(server.settings.key_file)
            database = Database(server.settings.db_url)
            rows.append(_timed("entries put in", lambda: _entries(database, ring, entries, cards)))
            rows += _checks(server, seeds)
            rows += _requests(server)
            rows += [_timed(*one) for one in _work(database, ring, people, cards)]
            rows += _back_up(server, Path(name), db)
            with database.read() as connection:
                rows.append(_row("size", housekeeping.size_bytes(connection) / 2**30, "GiB"))
            database.close()
        began = time.perf_counter()
        with running(Path(name), db=db) as server:
            httpx.get(f"{server.url}/v1/health", timeout=60).raise_for_status()
            rows.append(_row("start to first answer", time.perf_counter() - began, "s"))
    return rows


def _imports(
    server: RunningServer, folder: Path, people: int, cards: int
) -> Iterator[dict[str, object]]:
    token = server.add_credential("admin", "growth-admin").token.reveal().decode()
    with (folder / "people.csv").open("w", encoding="utf-8") as file:
        file.write("login,name,email,groups\n")
        for n in range(people):
            file.write(f"f{n:09},Person {n},f{n:09}@example.org,staff; floor {n % 30}\n")
    with (folder / "tokens.csv").open("w", encoding="utf-8") as file:
        for n in range(cards):
            file.write(f"f{n:09},{secrets.token_hex(20)},hotp,6,0\n")
    for what, path, options, count in (
        ("people", "/v1/people/imports", {}, people),
        ("cards", "/v1/cards/imports", {"takes": ["plain"]}, cards),
    ):
        file_name = "people.csv" if what == "people" else "tokens.csv"
        watch = _Watch(server)
        began = time.perf_counter()
        send_file(server.url + path, token, folder / file_name, options, quiet=True, nothing="")
        yield _row(f"import of {count:,} {what}", time.perf_counter() - began, "s")
        yield _row(f"import of {what}: memory at most", watch.end() / 2**20, "MiB")
        yield _row(f"import of {what}: longest wait of others", watch.longest, "s")


class _Watch:
    """Memory of the server while something runs, and how long a small write of others waits."""

    def __init__(self, server: RunningServer) -> None:
        self._server, self._over = server, threading.Event()
        self.most, self.longest = 0, 0.0
        database = Database(server.settings.db_url)
        self._threads = [
            threading.Thread(target=self._memory),
            threading.Thread(target=self._write, args=(database,)),
        ]
        for thread in self._threads:
            thread.start()

    def _memory(self) -> None:
        while not self._over.wait(0.1):
            family = _family(self._server.process.pid)
            self.most = max(self.most, sum(_resident_bytes(pid) for pid in family))

    def _write(self, database: Database) -> None:
        while not self._over.wait(0.2):
            began = time.perf_counter()
            with suppress(DBAPIError), database.write() as connection:
                connection.exec_driver_sql("UPDATE firm SET name = name WHERE id = 1")
            self.longest = max(self.longest, time.perf_counter() - began)
        database.close()

    def end(self) -> int:
        self._over.set()
        for thread in self._threads:
            thread.join()
        return self.most


def _entries(database: Database, ring: keys.ServerKeyRing, entries: int, cards: int) -> None:
    """Chains of ENTRIES_AT_ONCE, as a worker's, spread over a year."""
    begin, step = int(time.time() * 1000) - YEAR_MS, max(1, YEAR_MS // max(1, entries))
    for first in range(0, entries, ENTRIES_AT_ONCE):
        count = min(ENTRIES_AT_ONCE, entries - first)
        chain = _WorkersChain(ring, Act(begin, 1, "sv-growth", "verified", ""))

        def rows(
            chain: _WorkersChain = chain, first: int = first, count: int = count
        ) -> Iterator[tuple[Any, ...]]:
            for at in range(first, first + count):
                subject = f"f{at * 7919 % max(1, cards):09}"
                yield chain.linked(begin + at * step, subject)

        with database.write() as connection:
            chain.write(connection, chain.gathered(rows()))


class _WorkersChain(OwnChain):
    """Named as chains of verifications are."""

    def __init__(self, ring: keys.ServerKeyRing, act: Act) -> None:
        super().__init__(ring, act)
        self.name = f"w-{secrets.token_hex(8)}"

    def linked(self, at_ms: int, subject: str) -> tuple[Any, ...]:
        number = self._head.number + 1
        act = self._act
        detail = f'{{"user":"{subject}"}}'
        row = (self.name, number, at_ms, act.firm_id, act.actor, act.action, subject, detail)
        words = json.dumps(row, separators=(",", ":")).encode()
        self._head = audit.Head(number, self._ring.audit_mac(self._head.mac, words))
        return (*row, self._head.mac)


def _checks(server: RunningServer, seeds: list[bytes]) -> Iterator[dict[str, object]]:
    token = server.add_credential("service", "growth").token
    _load(server.url, token, seeds, range(50))
    spent = sorted(_load(server.url, token, seeds, range(50, 50 + len(CHECKS))))
    yield _row("p50 of a check, 4 clients", spent[len(spent) // 2] * 1000, "ms")
    yield _row("p99 of a check, 4 clients", spent[int(len(spent) * 0.99)] * 1000, "ms")


def _requests(server: RunningServer) -> Iterator[dict[str, object]]:
    admin = server.add_credential("admin", "growth-reader").token.reveal().decode()
    with httpx.Client(
        base_url=server.url, headers={"authorization": f"Bearer {admin}"}, timeout=600
    ) as client:
        for path in (
            "/v1/metrics", "/v1/people", "/v1/people?after=f000500000", "/v1/people?q=00777",
            "/v1/cards", "/v1/cards?after=f000500000", "/v1/cards?q=00777", "/v1/people/behind",
            "/v1/cards/f000000777/history", "/v1/person?user=f000000777",
        ):  # fmt: skip
            answer = client.get(path)
            spent = answer.elapsed.total_seconds()
            yield _row(f"GET {path} ({answer.status_code})", spent, "s")


def _middle(database: Database, order: PeopleOrder, many: int) -> str:
    """The mark of the person in the middle."""
    key = listing.SORT_KEYS[order]
    query = select(key, PersonRow.id).where(PersonRow.firm_id == 1).order_by(key, PersonRow.id)
    with database.read() as connection:
        return str(RowMark(*connection.execute(query.offset(many // 2).limit(1)).one()))


def _work(
    database: Database, ring: keys.ServerKeyRing, many: int, cards: int
) -> Iterator[tuple[str, Callable[[], object]]]:
    now, last = time.time(), f"f{min(cards, 777_777):09}"
    caller = Caller("person:1", 1, Role.DESK, "growth", "")

    def read(work: Callable[[Any], object]) -> Callable[[], object]:
        def done() -> object:
            with database.read() as connection:
                return work(connection)

        return done

    for order in PeopleOrder:
        asked = PeopleQuery(order=order, after=_middle(database, order, many))
        yield (
            f"people by {order.value}, middle page",
            read(
                lambda c, asked=asked: listing.page(c, 1, asked, now)  # type: ignore[misc]
            ),
        )
    found = PeopleQuery("00777")
    yield "people page, part of a name", read(lambda c: listing.page(c, 1, found, now))
    yield "sign-in by e-mail address", read(lambda c: people.login_of(c, 1, f"{last}@example.org"))
    yield "first page of the audit log", lambda: _log(database, trail.Sought())
    yield "a person's entries, one page", lambda: _log(database, trail.Sought(person=last))
    yield "a day of last year", lambda: _log(database, _day())
    yield "a card's history", read(lambda c: history.of_card(c, 1, last))
    yield "a person's history of cards", read(lambda c: history.of_person(c, 1, last))
    yield "overview", read(lambda c: overview.of_firm(c, firms.by_id(c, 1), caller, now))
    yield "cards by where they are, counted", read(lambda c: desk.counts(c, caller, now))
    yield "behind, counted", read(lambda c: reminding.count(c, firms.by_id(c, 1)))
    yield "sweep", lambda: housekeeping.sweep(database, now)
    yield "audit check, all entries", read(lambda c: _holds(audit.check(c, ring)))
    yield (
        "audit pruned by a tenth of the year",
        lambda: housekeeping.prune_audit(database, ring, now, 329),
    )


def _holds(reports: list[audit.ChainReport]) -> None:
    assert all(one.broken_at is None for one in reports)


def _back_up(server: RunningServer, folder: Path, db: str | None) -> Iterator[dict[str, object]]:
    if db is not None:
        return
    command = [sys.executable, "-m", "tallystick.cli", "server", "backup", str(folder / "copy.db")]
    named = ["--db", server.settings.db_url, "--key-file", str(server.settings.key_file)]
    yield _timed(
        "back-up", lambda: subprocess.run([*command, *named], check=True, capture_output=True)
    )


def _timed(name: str, work: Callable[[], object]) -> dict[str, object]:
    return _row(name, _seconds(work), "s")


def _log(database: Database, sought: trail.Sought) -> None:
    names = Names(database)
    with database.read() as connection:
        trail.page(connection, names, 1, sought, after=None, limit=PAGE)


def _day() -> trail.Sought:
    since = int(time.time() * 1000) - YEAR_MS // 2
    return trail.Sought(since_ms=since, until_ms=since + 86_400_000)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _row(name: str, value: float, unit: str) -> dict[str, object]:
    sys.stderr.write(f"{name}: {value:.3f} {unit}\n")
    return {"name": f"growth: {name}", "value": round(value, 3), "unit": unit, "aim": "–",
            "peer": "–"}  # fmt: skip


@click.command()
@click.option("--people", "many", default=PEOPLE, show_default=True, help="People.")
@click.option("--cards", default=CARDS, show_default=True, help="Cards.")
@click.option("--entries", default=ENTRIES, show_default=True, help="Of the audit log.")
@click.option("--db", metavar="URL", help="An empty database (default: SQLite in a new folder).")
def main(many: int, cards: int, entries: int, db: str | None) -> None:
    """Measure on a database that has grown."""
    print_json(measure(many, cards, entries, db))


if __name__ == "__main__":
    main()
