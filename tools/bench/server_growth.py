"""What grows, grown: a million people and cards, millions of entries of the audit log.

`python -m tallystick.tools.bench.server_growth --help` for other numbers and databases. People,
cards and entries are put straight into the tables; the entries' chain has no links, so it is not
what `audit check` would pass.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import httpx
from sqlalchemy import text

from tallystick.common.console import print_json
from tallystick.server.accounts import people, trail
from tallystick.server.serving.running import running
from tallystick.server.store import housekeeping
from tallystick.server.store.database import Database
from tallystick.server.store.stream import Names
from tallystick.tools.bench.server_verify import _fill, _load, _register

CARDS = 1_000_000
ENTRIES = 50_000_000
ENTRIES_AT_ONCE = 1_000_000
CLIENTS = 4
CHECKS = range(200)
PAGE = 100
YEAR_MS = 365 * 86_400_000

_FILL = text(
    "WITH RECURSIVE n(i) AS (SELECT CAST(:first AS BIGINT) UNION ALL "
    "SELECT i + 1 FROM n WHERE i < :last) "
    "INSERT INTO audit (chain, number, at_ms, firm_id, actor, action, subject, detail, mac) "
    "SELECT 'grown', i, :begin + i * :step, 1, 'bench', 'code-accepted', "
    "'f' || substr(CAST(1000000000 + i % :cards AS VARCHAR(20)), 2), '{}', :mac FROM n"
)


def measure(
    cards: int = CARDS, entries: int = ENTRIES, db: str | None = None
) -> list[dict[str, object]]:
    """Rows of name, value, unit, aim, peer."""
    with (
        tempfile.TemporaryDirectory() as name,
        running(Path(name), db=db) as server,
    ):
        httpx.get(f"{server.url}/v1/health", timeout=60).raise_for_status()
        seeds = _register(server, CLIENTS)
        filled = _seconds(lambda: _fill(server, cards))
        database = Database(server.settings.db_url)
        written = _seconds(lambda: _entries(database, entries, max(1, cards)))
        token = server.add_credential("service", "growth").token
        _load(server.url, token, seeds, range(50))
        spent = sorted(_load(server.url, token, seeds, range(50, 50 + len(CHECKS))))
        monitor = server.add_credential("monitor", "growth-monitor").token.reveal().decode()
        headers = {"authorization": f"Bearer {monitor}"}
        asked = httpx.get(f"{server.url}/v1/metrics", headers=headers, timeout=600)
        timed = {
            "first page of people": _seconds(lambda: _people(database, "")),
            "people by a part of the name": _seconds(lambda: _people(database, "00777")),
            "first page of the audit log": _seconds(lambda: _log(database, trail.Sought())),
            "a person's entries": _seconds(
                lambda: _log(database, trail.Sought(person=f"f{min(cards, 777_777):09}"))
            ),
            "a day of last year": _seconds(lambda: _log(database, _day())),
            "sweep": _seconds(lambda: housekeeping.sweep(database, time.time())),
        }
        database.close()
    what = f"{cards:,} cards and people, {entries:,} entries"
    rows = [
        _row(f"{what}: filled", filled + written, "s"),
        _row("p50 of a check, 4 clients", spent[len(spent) // 2] * 1000, "ms"),
        _row("p99 of a check, 4 clients", spent[int(len(spent) * 0.99)] * 1000, "ms"),
        _row(f"metrics ({asked.status_code})", asked.elapsed.total_seconds(), "s"),
    ]
    return rows + [_row(name, seconds, "s") for name, seconds in timed.items()]


def _entries(database: Database, entries: int, cards: int) -> None:
    begin = int(time.time() * 1000) - YEAR_MS
    step = max(1, YEAR_MS // max(1, entries))
    for first in range(1, entries + 1, ENTRIES_AT_ONCE):
        last = min(entries, first + ENTRIES_AT_ONCE - 1)
        values = {
            "first": first, "last": last, "begin": begin, "step": step, "cards": cards,
            "mac": bytes(32),
        }  # fmt: skip
        with database.write() as connection:
            connection.execute(_FILL, values)


def _people(database: Database, part: str) -> None:
    with database.read() as connection:
        people.search(connection, 1, part, limit=PAGE)


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
    return {"name": f"growth: {name}", "value": round(value, 3), "unit": unit, "aim": "–",
            "peer": "–"}  # fmt: skip


@click.command()
@click.option("--cards", default=CARDS, show_default=True, help="Cards, and as many people.")
@click.option("--entries", default=ENTRIES, show_default=True, help="Of the audit log.")
@click.option("--db", metavar="URL", help="An empty database (default: SQLite in a new folder).")
def main(cards: int, entries: int, db: str | None) -> None:
    """Measure on a database that has grown."""
    print_json(measure(cards, entries, db))


if __name__ == "__main__":
    main()
