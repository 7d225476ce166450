"""`tally campaign tickets`: stations that are stolen, killed, copied and replayed, with one ticket
among them. The server is the judge: never one card more than the ticket says."""

from __future__ import annotations

import random
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import click
from sqlalchemy import Connection, func, select
from sqlalchemy.exc import OperationalError

from tallystick.common import job_papers, signed
from tallystick.common.console import err, json_option, out, print_json, progress
from tallystick.common.errors import ExitCode
from tallystick.common.secret import Secret
from tallystick.emulator import boards
from tallystick.server.accounts import credentials
from tallystick.server.accounts.credentials import Caller, Role
from tallystick.server.errors import ApiError
from tallystick.server.settings import settings_from
from tallystick.server.stock import cards, tickets
from tallystick.server.stock.gathering import CardSeed
from tallystick.server.store.database import Database
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.store.models import CardRow, TicketCard, TicketRow
from tallystick.server.store.opened import opened
from tallystick.tools import options
from tallystick.tools.campaign.engine.memory import memory_folder

_RUNS = 10_000
_FIRM = 1
_NOW = 1_800_000_000.0
_FACTS = {"img": "", "fw": f"0.1.0 {boards.DEFAULT}", "kv": 1, "st": "2 codes"}
_COPIES = 4
_PATIENCE = 20  # times that a busy database is asked again


@dataclass
class TicketTally:
    """cards: that were registered; refused: tries that were not; busy: tries that came again,
    because others kept the database for too long; found: what a violation was."""

    runs: int = 0
    violations: int = 0
    cards: int = 0
    refused: int = 0
    killed: int = 0
    busy: int = 0
    found: list[str] = field(default_factory=list)


class KilledError(Exception):
    """The station, or its server, ends in the middle of a transaction."""


class Jobs:
    """Runs jobs on a database, one after the other; inside a job, stations work at once."""

    def __init__(self, database: Database, ring: ServerKeyRing, rng: random.Random) -> None:
        self._database, self._ring, self._rng = database, ring, rng
        self._people = [secrets.token_bytes(32) for _ in range(2)]
        self._lock = threading.Lock()
        self._serial = 0
        with database.write() as connection:
            for number, private in enumerate(self._people):
                tickets.add_signer(
                    connection, ring, _FIRM, f"signer {secrets.token_hex(4)} {number}",
                    signed.public_of(private), now=_NOW, actor="campaign",
                )  # fmt: skip
            made = [
                credentials.add(
                    connection, ring, role=Role.STATION, name=f"station {secrets.token_hex(4)}",
                    now=_NOW, actor="campaign",
                )
                for _ in range(2)
            ]  # fmt: skip
        self._stations = [Caller(one.id, _FIRM, Role.STATION, "", "") for one in made]

    def run(self, tally: TicketTally) -> None:
        """One ticket for a few cards, and copies of two stations that all have it."""
        rng, first = self._rng, self._last_serial()
        wanted = rng.randint(1, 4)
        document = self._ticket(wanted)
        ticket = str(document["statement"]["id"])
        self._try(
            tally, lambda c: tickets.present(c, self._ring, self._stations[0], document, _NOW)
        )
        deeds = [self._deed(rng, ticket, document, tally) for _ in range(rng.randint(4, 14))]
        if rng.random() < 0.5:
            with ThreadPoolExecutor(_COPIES) as pool:
                list(pool.map(lambda deed: deed(), deeds))
        else:
            for deed in deeds:
                deed()
        tally.runs += 1
        self._judge(ticket, wanted, first, tally)

    def _ticket(self, wanted: int) -> dict[str, Any]:
        statement = {
            "id": secrets.token_hex(16), "cards": wanted, "digits": 6, "expires": int(_NOW) + 60
        }  # fmt: skip
        document = signed.begin(job_papers.TICKET, statement)
        for private in self._people:
            document = signed.add_signature(document, private)
        return document

    def _deed(
        self, rng: random.Random, ticket: str, document: dict[str, Any], tally: TicketTally
    ) -> Callable[[], object]:
        """What a copy of a station does next."""
        station = rng.choice(self._stations)
        kind = rng.choice(("new", "new", "new", "killed", "again", "withdrawn", "shown", "more"))
        if kind == "shown":
            act = lambda c: tickets.present(c, self._ring, station, document, _NOW)  # noqa: E731
            return lambda: self._try(tally, act)
        if kind == "more":  # the ticket of its own making
            forged = {**document, "statement": {**document["statement"], "cards": 1000}}
            act = lambda c: tickets.present(c, self._ring, station, forged, _NOW)  # noqa: E731
            return lambda: self._try(tally, act)
        serial = self._next_serial() if kind != "again" else self._last_serial()
        entry = CardSeed(serial, Secret.random(20), 2)
        return lambda: self._make(kind, station, ticket, entry, tally)

    def _make(
        self, kind: str, station: Caller, ticket: str, entry: CardSeed, tally: TicketTally
    ) -> None:
        def register(connection: Connection) -> None:
            cards.register(connection, self._ring, station, [entry], _NOW, ticket=ticket)
            if kind == "killed":
                raise KilledError

        done = self._try(tally, register)
        if not done and kind != "killed":
            return
        self._try(tally, lambda c: cards.register(
            c, self._ring, station, [entry], _NOW, ticket=ticket
        ))  # fmt: skip
        self._try(tally, lambda c: tickets.certify(
            c, self._ring, station, ticket, entry.serial, dict(_FACTS), _NOW
        ))  # fmt: skip
        if kind == "withdrawn":
            self._try(tally, lambda c: cards.remove(c, self._ring, station, entry.serial, _NOW))

    def _try(self, tally: TicketTally, act: Callable[[Connection], Any]) -> bool:
        for _ in range(_PATIENCE):
            try:
                return self._try_once(tally, act)
            except OperationalError:  # a server answers 503, and the station tries again
                with self._lock:
                    tally.busy += 1
        return self._try_once(tally, act)

    def _try_once(self, tally: TicketTally, act: Callable[[Connection], Any]) -> bool:
        try:
            with self._database.write() as connection:
                act(connection)
        except ApiError:
            with self._lock:
                tally.refused += 1
            return False
        except KilledError:
            with self._lock:
                tally.killed += 1
            return False
        return True

    def _judge(self, ticket: str, wanted: int, first: str, tally: TicketTally) -> None:
        """first: serial number that the job began with; those before were looked at."""
        with self._database.read() as connection:
            on_it = select(TicketCard.serial).where(TicketCard.ticket_id == ticket)
            counted = len(connection.execute(on_it).all())
            living = connection.execute(
                select(func.count()).select_from(CardRow).where(CardRow.serial.in_(on_it))
            ).scalar()
            used = connection.execute(select(TicketRow.used).where(TicketRow.id == ticket)).scalar()
            strays = connection.execute(
                select(func.count())
                .select_from(CardRow)
                .where(CardRow.serial >= first, CardRow.serial.not_in(select(TicketCard.serial)))
            ).scalar()
        tally.cards += counted
        if counted > wanted or (living or 0) > wanted or used != counted or strays:
            tally.violations += 1
            tally.found.append(
                f"{wanted} cards wanted, {counted} made, {living} live, {strays} more"
            )

    def _next_serial(self) -> str:
        with self._lock:
            self._serial += 1
            return f"{self._serial:010}"

    def _last_serial(self) -> str:
        return f"{max(1, self._serial):010}"


@click.command("tickets")
@click.option("--runs", default=_RUNS, show_default=True, type=click.IntRange(1), help="Jobs.")
@options.seed(1, "Of what the stations do.")
@json_option
def tickets_command(*, runs: int, seed: int, as_json: bool) -> None:
    """Let killed, replayed and copied stations register cards on one ticket.

    The server must never register a card more than the ticket says.
    """
    tally = TicketTally()
    with memory_folder() as folder, progress(disable=as_json) as bar:
        shown = bar.add_task("jobs", total=runs)
        settings = settings_from(f"sqlite:///{folder / 'server.db'}", folder / "server.keys")
        with opened(settings) as parts:
            jobs = Jobs(parts.database, parts.ring, random.Random(seed))
            for _ in range(runs):
                jobs.run(tally)
                bar.update(shown, completed=tally.runs)
    if as_json:
        print_json(asdict(tally))
    else:
        out().print(
            f"{tally.runs:,} jobs, {tally.cards:,} cards, {tally.refused:,} tries refused, "
            f"{tally.killed:,} killed: {tally.violations} violations"
        )
        for one in tally.found:
            err().print(one, markup=False)
    if tally.violations:
        raise SystemExit(ExitCode.FAILED)
