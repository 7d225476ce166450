"""What a simulation gives the product's own code: one clock, one source of randomness, a network
without sockets, a disk that can be full, and the end of a process at a chosen instant.

Nothing runs beside the simulation. The server's threads are not started (`Settings.background`).
What the web framework would carry out in threads of its own is carried out at once, in the thread
that there is, so that its order is the simulation's."""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import os
import random
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from http import cookiejar
from pathlib import Path
from typing import Any

import httpx
from anyio import to_thread
from argon2 import PasswordHasher
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI
from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError

from tallystick.common import moments
from tallystick.server.accounts import passwords
from tallystick.server.accounts.hashing import Hashing
from tallystick.server.checking import group
from tallystick.server.loans.reminders import remind
from tallystick.server.serving.app import create_app
from tallystick.server.settings import Settings, settings_from
from tallystick.server.signing_in import recovery
from tallystick.server.state import ServerState
from tallystick.server.store.bulk import GatheredRows
from tallystick.server.store.database import Database
from tallystick.server.store.opened import opened
from tallystick.tools.campaign.firm.leaks import OF_ANSWERS
from tallystick.tools.campaign.firm.ledger import Ledger

URL = "http://localhost:1"
_PAGES_NEVER = 1 << 30
_DISK = "firm_disk"
_HEALTH = "GET /v1/health"
ANSWER = "answer"  # what a doom can be beside a commit: only the answer is lost
_TRIES_S = 3.5  # of a check whose database is away, each a second by `_Ticks`


@dataclass
class FirmClock:
    """The simulation's time, in seconds since 1970; `wrong`: how far the
    server's clock is off; `station_wrong`: the stations'."""

    now: float
    wrong: float = 0.0
    station_wrong: float = 0.0

    def server(self) -> float:
        return self.now + self.wrong

    def station(self) -> float:
        return self.now + self.station_wrong

    def time(self) -> float:
        """Of whatever was not given a clock: a station, a console."""
        return self.station()

    def monotonic(self) -> float:
        """Nobody sets this one. It stands still while an act is carried out, however long a
        machine that is busy takes for it."""
        return self.now

    @contextmanager
    def given(self) -> Iterator[None]:
        """What this process has in place of a computer's clock; and its browsers, which look when
        a cookie is over."""
        with ExitStack() as stack:
            for module, name, instead in (
                (moments, "clock", self), (cookiejar, "time", _OfBrowsers(self))
            ):  # fmt: skip
                stack.callback(setattr, module, name, getattr(module, name))
                setattr(module, name, instead)
            yield


class _OfBrowsers:
    """In place of `time`, for cookies."""

    def __init__(self, clock: FirmClock) -> None:
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def time(self) -> float:
        return self._clock.now


class FirmChance:
    """SHA-256 of a key and a counter in place of the operating system's source. Whoever knows the
    seed knows every key: for simulations only."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._key, self._count = b"", 0
        self._number = self._steps = 0
        self.turn(0)

    def turn(self, number: int) -> None:
        """What is drawn from now on depends on the seed and this number alone, so that an act draws
        the same whether the acts before it were carried out or not."""
        self._number, self._steps = number, 0
        self._key = hashlib.sha256(f"firm|{self._seed}|{number}".encode()).digest()
        self._count = 0

    def step(self) -> None:
        """Another part of the same act: what one part draws too often (a module that is loaded
        for the first time does) moves nothing in the next."""
        self._steps += 1
        self._key = hashlib.sha256(f"{self._seed}|{self._number}|{self._steps}".encode()).digest()
        self._count = 0

    def __call__(self, size: int) -> bytes:
        made = b""
        while len(made) < size:
            made += hashlib.sha256(self._key + self._count.to_bytes(8, "big")).digest()
            self._count += 1
        return made[:size]

    @contextmanager
    def given(self) -> Iterator[None]:
        """The source of `os.urandom`, and by it of `secrets`, in this process."""
        with ExitStack() as stack:
            for module, name, instead in (
                (os, "urandom", self), (random, "_urandom", self),
                (ec, "generate_private_key", self._private_key),
            ):  # fmt: skip
                stack.callback(setattr, module, name, getattr(module, name))
                setattr(module, name, instead)
            yield

    def _private_key(
        self, curve: ec.EllipticCurve, backend: object = None
    ) -> ec.EllipticCurvePrivateKey:
        """What OpenSSL would draw by itself: a FIDO host makes one for each PIN."""
        number = int.from_bytes(self(curve.key_size // 8 - 1), "big")
        return ec.derive_private_key(1 + number, curve)


class ProcessEndedError(BaseException):
    """The process ends here. No `except Exception` may go on after it."""


@dataclass
class Doom:
    """The end of a process, at the n-th event of a kind from now on. away_s: so long it takes until
    somebody starts it again. within: of a request that this pattern fits alone; empty: of any, but
    those that only look whether the server is well: nothing is lost with them."""

    what: str
    left: int
    away_s: int = 0
    within: str = ""

    def meets(self, what: str, path: str) -> bool:
        fits = re.fullmatch(self.within, path) if self.within else path != _HEALTH
        if what != self.what or not fits:
            return False
        self.left -= 1
        return self.left < 0


def house_settings(folder: Path, clock: Callable[[], float]) -> Settings:
    """Of a server whose files are all in this folder."""
    sent = f"file://{folder / 'sent.jsonl'}"
    return replace(
        settings_from(f"sqlite:///{folder / 'server.db'}", folder / "server.keys"),
        clock=clock,
        sms=sent,
        smtp=sent,
        public_url=URL,
        background=False,
    )


class House:
    """The server, in this process. It answers `transport`s, and can be ended at any commit. ended:
    how often it was; lost: how often its database was; unanswered: how many answers were lost.
    aimed: what meets the next request of a kind. hit, went_away, ended_at_once, answers_lost, cuts,
    lost_once: how often each kind of fault has struck.
    down: nobody has started it again; cut_off: addresses that begin so have no way to it;
    database_gone: its database stays away. ledger: is told of every answer."""

    def __init__(
        self, folder: Path, clock: FirmClock, chance: FirmChance,
        hears: Callable[[str, bytes], None] = lambda place, content: None,
    ) -> None:  # fmt: skip
        """hears: is told of every request and answer."""
        self._clock, self._chance = clock, chance
        self.folder = folder
        self.settings = house_settings(folder, clock.server)
        self._loop = asyncio.new_event_loop()
        self._app: FastAPI | None = None
        self._living: Any = None
        self.doom: Doom | None = None
        self.aimed: list[Doom] = []
        self.full = self.read_only = False
        self.down = self.database_gone = False
        self.cut_off: str | None = None
        self.ended = self.lost = self.unanswered = 0
        self.hit = self.went_away = self.ended_at_once = self.answers_lost = self.cuts = 0
        self.lost_once = 0
        self.loses_at: int | None = None  # statements until its connection to the database is lost
        self.answer_lost_at: int | None = None  # requests until an answer does not arrive
        self.after_end: Callable[[int, str], None] = lambda away_s, when: None
        self.says: Callable[[str], None] = lambda words: None
        self.ledger: Ledger | None = None
        self._hears = hears
        self._away_s = self._requests_left = 0
        self._when = ""  # it ended: before a commit, or after it
        self._cuts_off: str | None = None
        self._path = ""  # of the request under way

    @property
    def state(self) -> ServerState:
        """Of the running server."""
        if self._app is None:
            self._open()
        assert self._app is not None
        state: ServerState = self._app.state.server
        return state

    @property
    def struck(self) -> int:
        """How often it was ended, its database lost, or an answer of it."""
        return self.ended + self.lost + self.unanswered

    @property
    def in_trouble(self) -> bool:
        """Something is the matter that lasts."""
        lasting = self.full or self.read_only or self.down or self.database_gone
        return lasting or self.cut_off is not None

    def cuts_off(self, address: str, requests: int) -> None:
        """Whoever has an address that begins so has no way to it, after so many requests."""
        self._cuts_off, self._requests_left = address, requests

    def has_ways(self) -> None:
        """Everybody has a way to it again."""
        self.cut_off = self._cuts_off = None

    def is_well(self) -> None:
        """Whatever was the matter is mended."""
        self.doom = self.loses_at = self.answer_lost_at = None
        self.aimed.clear()
        self.has_ways()
        self.full = self.read_only = self.down = self.database_gone = False

    def transport(self, name: str) -> httpx.BaseTransport:
        """A client's way to the server. name: of whoever asks, as an address."""
        return _Way(self, name)

    def catch_up(self) -> None:
        """Do what the server's threads would have done by now."""
        if self.down:
            return
        state = self.state
        try:
            with suppress(DBAPIError):  # the threads log it and go on
                remind(state.database, state.ring, state.now())
            state.outbox.send_due()
            state.logouts.send_due()
            state.sweeper.sweep_now()
        except ProcessEndedError:
            self._end()
        if self.ledger is not None:
            self.ledger.idle()

    @contextmanager
    def console(self) -> Iterator[Connection]:
        """A transaction of an administrator at the server's command line: another process."""
        with opened(self.settings) as parts, parts.database.write() as connection:
            yield connection

    def close(self) -> None:
        if self.ledger is not None:
            self.ledger.close()
        if self._living is not None:
            self._loop.run_until_complete(self._living.__aexit__(None, None, None))
        self._app = self._living = None
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def answer(self, request: httpx.Request, name: str) -> httpx.Response:
        """As `answers`."""
        return self.answers([request], name)[0]

    def answers(self, requests: Sequence[httpx.Request], name: str) -> list[httpx.Response]:
        """Of requests of one kind that arrive at the same instant. Raises httpx.ReadError when the
        server ended before it answered, httpx.ReadTimeout where its answer was lost,
        httpx.ConnectError where it cannot be reached."""
        self._perhaps_cut_off(name)
        if self.down or (self.cut_off is not None and name.startswith(self.cut_off)):
            raise httpx.ConnectError("no way to the server", request=requests[0])
        if self._app is None:
            self._open()
        assert self._app is not None
        first, lost = requests[0], self.lost
        try:
            self._chance.step()
            self._path = f"{first.method} {first.url.path}"
            for request in requests:
                self._hears("a request", str(request.url).encode() + request.read())
            answers = self._loop.run_until_complete(_together(self._app, requests, name))
            for answer in answers:
                self._hears(OF_ANSWERS, answer.content)
            self._enters(requests, answers, name, lost)
            self._perhaps_lose_answer(first)
            return answers
        except BaseException as error:
            if self._app is None or not _holds(error, ProcessEndedError):
                raise
            self._end()
            self._enters(requests, [], name, lost)
            raise httpx.ReadError("the server ended", request=first) from None
        finally:
            self._path = ""
            self._chance.step()

    def _enters(
        self, requests: Sequence[httpx.Request], answers: Sequence[httpx.Response], name: str,
        lost: int,
    ) -> None:  # fmt: skip
        """lost: how often the database had been, before they were asked."""
        if self.ledger is not None:
            sick = self.full or self.read_only or self.database_gone or self.lost > lost
            self.ledger.answered(requests, answers, name, sound=not sick)

    def _perhaps_cut_off(self, name: str) -> None:
        if self._cuts_off is not None and name.startswith(self._cuts_off):
            self._requests_left -= 1
            if self._requests_left < 0:
                self.cut_off, self._cuts_off = self._cuts_off, None
                self.unanswered += 1
                self.cuts += 1

    def _perhaps_lose_answer(self, request: httpx.Request) -> None:
        lost = self._met(ANSWER) is not None
        if self.answer_lost_at is not None:
            self.answer_lost_at -= 1
            if self.answer_lost_at < 0:
                self.answer_lost_at, lost = None, True
                self.answers_lost += 1
        if lost:
            self.unanswered += 1
            self.says("an answer of the server is lost")
            raise httpx.ReadTimeout("the answer was lost", request=request)

    def _met(self, what: str) -> Doom | None:
        """Of those that are aimed at a request, the one whose turn this is."""
        for one in self.aimed:
            if one.meets(what, self._path):
                self.aimed.remove(one)
                self.hit += 1
                return one
        return None

    def strike(self, what: str) -> None:
        """Raises ProcessEndedError where it is the server's doom."""
        met = self._met(what)
        if met is None and self.doom is not None and self.doom.meets(what, self._path):
            met, self.doom = self.doom, None
            self.went_away += met.away_s > 0
            self.ended_at_once += not met.away_s
        if met is not None:
            self._away_s, self._when = met.away_s, what
            raise ProcessEndedError(what)

    def _open(self) -> None:
        self._app = create_app(self.settings)
        self._living = self._app.router.lifespan_context(self._app)
        self._loop.run_until_complete(self._living.__aenter__())
        database: Database = self._app.state.server.database
        _watch_commits(database, self)
        event.listen(database.engine, "checkout", self._set_disk)
        event.listen(database.engine, "before_cursor_execute", self._perhaps_lose)

    def _end(self) -> None:
        """As a kill does: nothing is finished, and what was not committed is gone."""
        self.ended += 1
        state = self.state
        self._app = self._living = None
        state.database.engine.dispose()
        self.down = self._away_s > 0
        self.after_end(self._away_s, self._when)

    def _perhaps_lose(self, connection: Connection, *_: object) -> None:
        """As when the network to the database goes: SQLAlchemy finds a connection that is closed,
        and what was not committed is gone."""
        if self.loses_at is not None:
            self.loses_at -= 1
        if self.database_gone or (self.loses_at is not None and self.loses_at < 0):
            self.lost_once += self.loses_at is not None and self.loses_at < 0
            self.loses_at = None
            self.lost += 1
            raw = connection.connection.dbapi_connection
            assert raw is not None
            raw.close()

    def _set_disk(self, connection: sqlite3.Connection, record: Any, _proxy: object) -> None:
        """Before each transaction, how the disk is, where that has changed."""
        disk = (self.full, self.read_only)
        if record.info.get(_DISK) == disk:
            return
        most = 1 if self.full else _PAGES_NEVER  # SQLite takes at least what there is
        connection.execute(f"PRAGMA max_page_count={most}")
        connection.execute(f"PRAGMA query_only={int(self.read_only)}")
        record.info[_DISK] = disk


class _Way(httpx.BaseTransport):
    def __init__(self, house: House, name: str) -> None:
        self._house, self._name = house, name

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._house.answer(request, self._name)


async def _together(
    app: FastAPI, requests: Sequence[httpx.Request], name: str
) -> list[httpx.Response]:
    """All that are under way; where the process ends, none of them."""
    if len(requests) == 1:
        return [await _whole(app, requests[0], name)]
    tasks = [asyncio.ensure_future(_whole(app, one, name)) for one in requests]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


async def _whole(app: FastAPI, request: httpx.Request, name: str) -> httpx.Response:
    """One request and its whole answer, as a server of this interface (ASGI 3.0) would pass them
    on. name: of whoever asks. What httpx has for it looks for another library at each request."""
    url = request.url
    scope: dict[str, Any] = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1",
        "method": request.method, "scheme": url.scheme, "path": url.path,
        "raw_path": url.raw_path.split(b"?")[0], "query_string": url.query, "root_path": "",
        "headers": [(key.lower(), value) for key, value in request.headers.raw],
        "server": (url.host, url.port), "client": (name, 1),
    }  # fmt: skip
    waiting = [{"type": "http.request", "body": request.read(), "more_body": False}]
    over = asyncio.Event()
    head: dict[str, Any] = {}
    body = bytearray()

    async def receive() -> Any:
        if waiting:
            return waiting.pop()
        await over.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            head.update(message)
        else:
            body.extend(message.get("body", b""))
            if not message.get("more_body", False):
                over.set()

    await app(scope, receive, send)
    return httpx.Response(
        head["status"], headers=head.get("headers", []), content=bytes(body), request=request
    )


def in_order(file: Path) -> None:
    """Migrations make a table's indexes in the order of a set, which is another in each process.
    The same seed is to give the same bytes."""
    with closing(sqlite3.connect(file)) as database:
        lines = list(database.iterdump())
    file.unlink()
    file.touch(mode=0o600)
    begin = next(n for n, line in enumerate(lines) if line.startswith("CREATE INDEX"))
    rest = sorted(lines[begin:-1])
    with closing(sqlite3.connect(file)) as database:
        database.executescript("\n".join([*lines[:begin], *rest, lines[-1]]))


def _watch_commits(database: Database, house: House) -> None:
    """Have the house struck before and after each commit of a writing transaction."""
    write = database.write

    @contextmanager
    def struck(*gathered: GatheredRows) -> Iterator[Connection]:
        with write(*gathered) as connection:
            yield connection
            house.strike("before commit")
        house.strike("after commit")

    setattr(database, "write", struck)  # noqa: B010


def _holds(error: BaseException, kind: type[BaseException]) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_holds(one, kind) for one in error.exceptions)
    return isinstance(error, kind)


class _Ticks:
    """In place of `moments`, where a module looks how long it has tried: a second at each look, so
    that it ends."""

    def __init__(self) -> None:
        self._count = 0

    def steady(self) -> float:
        self._count += 1
        return float(self._count)


async def _at_once(work: Callable[..., Any], *words: Any, **_how: Any) -> Any:
    """In place of `anyio.to_thread.run_sync`: as there, in a copy of the context."""
    return contextvars.copy_context().run(work, *words)


def _in_its_turn(_hashing: Hashing, work: Callable[[], Any]) -> Any:
    """In place of `Hashing.run`: nobody else is there to wait for."""
    return contextvars.copy_context().run(work)


@contextmanager
def without_threads() -> Iterator[None]:
    """Nothing is carried out in a thread of its own."""
    with ExitStack() as stack:
        for place, name, instead in (
            (to_thread, "run_sync", _at_once), (Hashing, "run", _in_its_turn)
        ):  # fmt: skip
            stack.callback(setattr, place, name, getattr(place, name))
            setattr(place, name, instead)
        yield


@contextmanager
def without_waiting() -> Iterator[None]:
    """No simulated minute waits for a password's hash, for answers that are made even, or for a
    database that is away."""
    with ExitStack() as stack:
        stack.callback(setattr, group, "RECONNECT_S", group.RECONNECT_S)
        setattr(group, "RECONNECT_S", _TRIES_S)  # noqa: B010
        for name, instead in (("FIRST_PAUSE_S", 0.0), ("moments", _Ticks())):
            stack.callback(setattr, group, name, getattr(group, name))
            setattr(group, name, instead)
        stack.callback(setattr, passwords, "HASHER", passwords.HASHER)
        stack.callback(setattr, recovery, "EVENED_S", recovery.EVENED_S)
        stack.callback(passwords.nobody.cache_clear)
        cheap = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
        setattr(passwords, "HASHER", cheap)  # noqa: B010
        setattr(recovery, "EVENED_S", 0.0)  # noqa: B010
        passwords.nobody.cache_clear()
        yield
