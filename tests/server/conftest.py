"""A server on a database of its own, a clock that tests move, and containers to send to it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psycopg
import pytest
from argon2 import PasswordHasher
from playwright.sync_api import sync_playwright
from pskc import PSKC
from sqlalchemy import Connection

from tallystick.common.secret import Secret
from tallystick.server.accounts import hashing, passwords
from tallystick.server.accounts.credentials import NewCredential
from tallystick.server.messages import outbox
from tallystick.server.rules.otp import hotp
from tallystick.server.serving import lean
from tallystick.server.serving.running import add_credential, running_in_thread
from tallystick.server.settings import Settings, settings_from
from tallystick.server.signing_in import recovery
from tallystick.server.state import ServerState, open_state
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.store.opened import opened
from tests import needs
from tests.server.house import House, KnockedOutbox, UndoneDatabase
from tests.server.portal_driver import Browser, Portal

HOTP_URI = "urn:ietf:params:xml:ns:keyprov:pskc:hotp"
NOON = 1_800_000_000.0
FILES = ("server.db", "server.keys")
LOOKS_EVERY_S = 0.005


@dataclass
class Clock:
    """The server's time, moved by tests only."""

    now: float = NOON

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Container:
    """Builds a PSKC container the way a station does; attributes make it wrong on purpose."""

    psk: bytes
    entries: list[dict[str, object]] = field(default_factory=list)
    algorithm: str = "aes128-cbc"
    mac: str = "hmac-sha1"

    def add(self, serial: str, seed: bytes, /, **fields: object) -> Container:
        defaults: dict[str, object] = {
            "id": serial,
            "serial": serial,
            "secret": seed,
            "counter": 0,
            "algorithm": HOTP_URI,
            "response_encoding": "DECIMAL",
            "response_length": 6,
        }
        self.entries.append(defaults | fields)
        return self

    def bytes(self, folder: Path) -> bytes:
        document = PSKC()
        for entry in self.entries:
            document.add_key(**entry)
        document.mac.setup(algorithm=self.mac)
        document.encryption.setup_preshared_key(key=self.psk, algorithm=self.algorithm)
        target = folder / "container.xml"
        document.write(str(target))
        return target.read_bytes()


def bearer(credential: NewCredential) -> dict[str, str]:
    return {"authorization": f"Bearer {credential.token.reveal().decode()}"}


@dataclass
class Server:
    """A server in this process, its clients and what they own."""

    client: httpx.Client
    settings: Settings
    clock: Clock
    folder: Path
    station: NewCredential
    service: NewCredential
    admin: NewCredential

    def container(self) -> Container:
        assert self.station.psk
        return Container(self.station.psk.reveal())

    def register(self, container: Container | bytes, who: NewCredential | None = None):
        content = container if isinstance(container, bytes) else container.bytes(self.folder)
        headers = bearer(who or self.station) | {"content-type": "application/pskc+xml"}
        return self.client.post("/v1/cards", content=content, headers=headers)

    def card(self, serial: str = "1000000001", user: str | None = "ann", **fields: object) -> bytes:
        """Register a card and give it to a user. → its seed"""
        seed = Secret.random(20).reveal()
        assert self.register(self.container().add(serial, seed, **fields)).status_code == 201
        if user is not None:
            self.assign(serial, user).raise_for_status()
        return seed

    def assign(self, serial: str, user: str, who: NewCredential | None = None):
        return self.client.put(
            f"/v1/cards/{serial}/assignment",
            json={"user": user, "new_user": True},
            headers=bearer(who or self.station),
        )

    def verify(self, code: str, user: str | None = "ann", **more: object):
        body = {"code": code} | ({"user": user} if user else {}) | more
        return self.client.post("/v1/verify", json=body, headers=bearer(self.service))

    def resynchronise(self, *codes: str, user: str = "ann"):
        return self.client.post(
            "/v1/resynchronise",
            json={"user": user, "codes": list(codes)},
            headers=bearer(self.service),
        )

    def get(self, path: str, who: NewCredential | None = None):
        return self.client.get(path, headers=bearer(who or self.station))

    def reason(self, code: str, **more: object) -> str:
        return self.verify(code, **more).json()["reason"]


@pytest.fixture(scope="session", autouse=True)
def quick_ends() -> Iterator[None]:
    """uvicorn looks ten times a second whether it is to end, and waits a tenth of one once more:
    with a server for each test that is most of what a test takes. Here it looks more often."""

    def sleep(delay: float) -> Awaitable[None]:
        return asyncio.sleep(min(delay, LOOKS_EVERY_S))

    genuine = lean.uvicorn.server.asyncio
    lean.uvicorn.server.asyncio = SimpleNamespace(**vars(asyncio) | {"sleep": sleep})
    yield
    lean.uvicorn.server.asyncio = genuine


@pytest.fixture(scope="session", autouse=True)
def busy_as_others() -> None:
    """The thread that hashes passwords yields to all others; beside other workers' tests it would
    seldom have its turn."""
    genuine, hashing.NICENESS = hashing.NICENESS, 0
    passwords._hashing().run(lambda: None)
    hashing.NICENESS = genuine


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty database with its keys: copied for each test."""
    folder = tmp_path_factory.mktemp("template")
    with opened(settings_from(f"sqlite:///{folder / 'server.db'}", folder / "server.keys")):
        pass
    return folder


@pytest.fixture(autouse=True)
def quick_passwords(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Real argon2id with little memory, but for tests that measure it."""
    if "full_cost_passwords" not in request.fixturenames:
        quick = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
        monkeypatch.setattr(passwords, "HASHER", quick)
    passwords.nobody.cache_clear()


@pytest.fixture
def full_cost_passwords() -> None:
    """Ask for it to have passwords hashed at the cost of production."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings(template: Path, tmp_path: Path, clock: Clock) -> Settings:
    for name in FILES:
        shutil.copy(template / name, tmp_path / name)
    return replace(settings_from(f"sqlite:///{tmp_path / 'server.db'}"), clock=clock)


@dataclass
class Enrolled:
    """A folder with a server's files, and the credentials that its database knows."""

    folder: Path
    credentials: dict[str, NewCredential]


@pytest.fixture(scope="session")
def enrolled(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Enrolled:
    """The template once more, with a station, a service and an administrator's script."""
    folder = tmp_path_factory.mktemp("enrolled")
    for name in FILES:
        shutil.copy(template / name, folder / name)
    settings = replace(settings_from(f"sqlite:///{folder / 'server.db'}"), clock=Clock())
    roles = ("station", "service", "admin")
    return Enrolled(folder, {role: add_credential(settings, role, role) for role in roles})


@pytest.fixture
def server(
    enrolled: Enrolled, settings: Settings, clock: Clock, tmp_path: Path
) -> Iterator[Server]:
    for name in FILES:
        shutil.copy(enrolled.folder / name, tmp_path / name)
    made = enrolled.credentials
    with running_in_thread(settings) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield Server(client, settings, clock, tmp_path, **made)


@pytest.fixture
def wrong_code() -> Callable[[bytes, int], str]:
    """A code that a seed does not give anywhere near a moving factor."""

    def make(seed: bytes, near: int = 0) -> str:
        taken = {hotp(seed, factor, 6) for factor in range(max(0, near - 50), near + 400)}
        return next(code for code in (f"{n:06}" for n in range(1000)) if code not in taken)

    return make


@pytest.fixture
def container_class() -> type[Container]:
    return Container


@pytest.fixture
def portal_url(settings: Settings) -> Iterator[str]:
    """A server whose messages go to the file sent.jsonl, by a name that WebAuthn takes."""
    sink = f"file://{settings.key_file.with_name('sent.jsonl')}"
    with running_in_thread(replace(settings, sms=sink, smtp=sink)) as url:
        yield url.replace("127.0.0.1", "localhost")


@pytest.fixture
def portal(settings: Settings, clock: Clock, tmp_path: Path) -> Iterator[Portal]:
    """A server to drive without a browser; its messages go to a file."""
    sink = f"file://{tmp_path / 'sent.jsonl'}"
    settings = replace(settings, sms=sink, smtp=sink)
    with running_in_thread(settings) as url:
        yield Portal(url, settings, clock, tmp_path)
        Browser.close_all()


@pytest.fixture
def house(settings: Settings, clock: Clock, tmp_path: Path) -> Iterator[House]:
    sink = f"file://{tmp_path / 'sent.jsonl'}"
    state = open_state(replace(settings, sms=sink, smtp=sink))
    yield House(state, clock)
    state.close()


@pytest.fixture(scope="module")
def founded(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerState]:
    """A server's state of this module's own, which nothing is written to for good."""
    folder = tmp_path_factory.mktemp("founded")
    for name in FILES:
        shutil.copy(template / name, folder / name)
    sink = f"file://{folder / 'sent.jsonl'}"
    settings = settings_from(f"sqlite:///{folder / 'server.db'}")
    state = open_state(replace(settings, sms=sink, smtp=sink, background=False))
    yield state
    state.close()


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The messages of `outbox.post`."""
    found: list[dict[str, Any]] = []
    genuine = outbox.post

    def post(connection: Connection, ring: ServerKeyRing, **more: Any) -> Any:
        found.append(more)
        return genuine(connection, ring, **more)

    monkeypatch.setattr(outbox, "post", post)
    return found


@pytest.fixture
def quick_house(
    founded: ServerState, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[House]:
    """As `house`, in milliseconds: for what needs no second connection to the database. Recoveries
    are not evened out."""
    monkeypatch.setattr(recovery, "EVENED_S", 0.0)
    with founded.database.engine.connect() as connection, connection.begin() as everything:
        database = UndoneDatabase(connection)
        yield House(
            replace(
                founded,
                settings=replace(founded.settings, clock=clock),
                database=database,
                outbox=KnockedOutbox(founded.outbox.channels, database),
            ),
            clock,
        )
        everything.rollback()


@pytest.fixture
def page(portal_url: str) -> Iterator[Any]:
    """A page of a real Chromium. Errors of scripts, and what the CSP refuses, fail the test."""
    needs.chromium.or_skip()
    with sync_playwright() as driver:
        browser = needs.launch(driver)
        context = browser.new_context(base_url=portal_url)
        context.set_default_timeout(60_000)
        page = context.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console",
            lambda m: problems.append(m.text) if "Content Security Policy" in m.text else None,
        )
        yield page
        assert problems == []
        browser.close()


@pytest.fixture(scope="session")
def postgresql_tools() -> dict[str, str]:
    needs.postgresql.or_skip()
    return {name: str(needs.program(name)) for name in needs.POSTGRESQL}


@pytest.fixture(scope="session")
def postgresql(postgresql_tools: dict[str, str]) -> Iterator[Postgresql]:
    """A PostgreSQL cluster of this session's own, on a socket in a temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="tally-pg-"))
    cluster = Postgresql(folder, postgresql_tools)
    cluster.make()
    cluster.start()
    yield cluster
    cluster.stop("immediate")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def replicated(postgresql_tools: dict[str, str]) -> Iterator[tuple[Postgresql, Postgresql]]:
    """A primary of this test's own, and a standby that every commit waits for."""
    folder = Path(tempfile.mkdtemp(prefix="tally-pg-"))
    folder.chmod(0o755)
    pair = []
    for name in ("primary", "standby"):
        (folder / name).mkdir()
        pair.append(Postgresql(folder / name, postgresql_tools))
    primary, standby = pair
    primary.make()
    primary.start()
    try:
        standby.follow(primary)
        standby.start()
        primary.wait_for_standby()
        yield primary, standby
    finally:
        for cluster in pair:
            if cluster.running:
                cluster.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Postgresql:
    """Starts, stops and crashes. PostgreSQL refuses to run as root: then user postgres runs it."""

    folder: Path
    tools: dict[str, str]
    databases: int = 0
    running: bool = False

    def make(self) -> None:
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres")
        data = str(self.folder / "data")
        self._run(self.tools["initdb"], "-D", data, "-A", "trust", "-U", "tally", "--no-sync")

    def start(self) -> None:
        options = f"-c listen_addresses='' -k {self.folder} -c max_connections=100"
        self._control("-o", options, "-l", str(self.folder / "log"), "-w", "start")
        self.running = True

    def stop(self, mode: str = "fast") -> None:
        """mode `immediate` is a crash: recovery runs at the next start."""
        self._control("-m", mode, "-w", "stop")
        self.running = False

    def new_database(self, *others: Postgresql) -> str:
        """→ the URL of an empty database, on whichever of several hosts takes writes"""
        self.databases += 1
        name = f"t{os.getpid()}_{self.databases}"
        self._run(self.tools["createdb"], "-h", str(self.folder), "-U", "tally", name)
        hosts = "&".join(f"host={one.folder}" for one in (self, *others))
        last = "&target_session_attrs=read-write" if others else ""
        return f"postgresql+psycopg://tally@/{name}?{hosts}{last}"

    def follow(self, primary: Postgresql) -> None:
        """Be a standby: a copy of the primary that streams what it writes."""
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres")
        source = f"host={primary.folder} user=tally application_name=standby"
        data = str(self.folder / "data")
        self._run(
            *(self.tools["pg_basebackup"], "-d", source, "-D", data),
            *("-R", "-X", "stream", "-c", "fast", "--no-sync"),
        )

    def wait_for_standby(self) -> None:
        """From now on each commit waits until the standby has it on its disk."""
        self.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        self.sql("SELECT pg_reload_conf()")
        deadline = time.monotonic() + 30
        while "sync" not in self.sql("SELECT sync_state FROM pg_stat_replication"):
            assert time.monotonic() < deadline, "the standby does not follow"
            time.sleep(0.05)

    def promote(self) -> None:
        """The standby takes writes from now on."""
        self._control("-w", "promote")

    def kill(self) -> None:
        """End it as a power cut would: no signal that it could handle."""
        pid = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        self.running = False

    def freeze(self) -> None:
        """Nothing of it runs any more, and nothing is closed: the kernel answers for it."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def kill_all(self) -> None:
        """The machine is gone, with every process."""
        self._signal(signal.SIGKILL)
        self.running = False

    def _signal(self, number: int) -> None:
        pid = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, number)
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(child), number)

    def sql(self, statement: str) -> list[str]:
        """→ the first column of the answer"""
        with psycopg.connect(
            host=str(self.folder), user="tally", dbname="postgres", autocommit=True
        ) as connection:
            cursor = connection.execute(statement)
            return [str(row[0]) for row in cursor.fetchall()] if cursor.description else []

    def _control(self, *words: str) -> None:
        self._run(self.tools["pg_ctl"], "-D", str(self.folder / "data"), *words)

    def _run(self, *words: str) -> None:
        as_postgres = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        subprocess.run(
            [*as_postgres, *words],
            check=True,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=60,
        )
