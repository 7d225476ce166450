"""Run the server: in this process for `tally server run`, or in a child for tests and the demo."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import make_url

from tallystick.common import beside
from tallystick.common.errors import BadInputError, TallyError
from tallystick.common.tidying import nothing_to_tidy
from tallystick.server.accounts import credentials, firms, people
from tallystick.server.accounts.credentials import NewCredential, Role
from tallystick.server.serving import logs
from tallystick.server.serving.lean import uvicorn
from tallystick.server.serving.prefork import prefork
from tallystick.server.settings import ENV_DB, ENV_KEY_FILE, Settings, settings_from
from tallystick.server.stock.belonging import must_belong
from tallystick.server.store import restored
from tallystick.server.store.opened import opened

log = logging.getLogger(__name__)

# One that ends says so by its end; this is for one that hangs. A loaded machine is no such fault.
START_TIMEOUT_S = 120.0
MOST_FILES = 4096
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - a folder with a name of its own is made there
MOST_CONNECTIONS = 900  # of a worker: below the number of files that a process may usually open


def listen(host: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """A bound socket; port 0 lets the system choose. Raises BadInputError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, kind)
    if kind == socket.SOCK_STREAM:  # two of UDP would share the packets
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise BadInputError(
            f"The server cannot listen on {host} port {port}: {error.strerror}.",
            todo="Choose another --port (0 lets the system choose), or an address of this machine "
            "with --host (of IPv6 without brackets).",
        ) from None
    return sock


def url_of(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    settings: Settings,
    sock: socket.socket,
    *,
    workers: int = 1,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGINT or SIGTERM; requests under way are answered first. `ready` is called once
    nothing is left that could refuse it.

    Raises BadInputError, KeyFileError, NewerStateError or RefusedError before anything is served.
    """
    settings = _with_public_url(settings, sock)
    if workers == 1:
        _prepare(settings)
        ready()
        _import_the_application()
        _serve_here(settings, sock)
        return
    with _counted_together():
        _prepare(settings)
        ready()
        # Once, before the fork: into memory that the workers share.
        _import_the_application()
        assert _is_counted_together(), "the metrics library was imported too early"
        prefork(workers, lambda: _serve_here(settings, sock), ended=_count_worker)


@contextmanager
def _counted_together() -> Iterator[None]:
    """A folder by which the workers' metrics are summed. The metrics library decides at its import
    whether there are several: whoever imports it before counts for nobody. It writes to its files
    as to memory, so where their disk is full the kernel ends the worker: they are in memory."""
    in_memory = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="tally-metrics-", dir=in_memory) as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        try:
            yield
        finally:
            del os.environ["PROMETHEUS_MULTIPROC_DIR"]


def _is_counted_together() -> bool:
    from prometheus_client import values  # noqa: PLC0415 - as in `_counted_together`

    return values.ValueClass is not values.MutexValue


def _prepare(settings: Settings) -> None:
    """All that could refuse the start. Keys are made and the schema is migrated once, before any
    worker starts."""
    from tallystick.server.state import must_be_usable  # noqa: PLC0415 - it counts, too

    must_be_usable(settings)
    _tell_how_it_ended(settings)
    with nothing_to_tidy(), opened(settings) as parts:
        restored.must_be_confirmed(parts.database)
        with parts.database.read() as connection:
            must_belong(connection, parts.ring)
    _more_files()


def _import_the_application() -> None:
    """And leave what was made by then out of all searches after this."""
    with nothing_to_tidy():
        importlib.import_module("tallystick.server.serving.app")
    gc.freeze()


def _count_worker() -> None:
    from tallystick.server import metrics  # noqa: PLC0415 - as below

    metrics.WORKERS_ENDED.inc()


def _tell_how_it_ended(settings: Settings) -> None:
    """A log beside the database is left by whoever was killed with it open, or has it open now."""
    url = make_url(settings.db_url)
    if url.get_backend_name() != "sqlite" or not url.database:
        return
    left = Path(f"{Path(url.database).resolve()}-wal")
    if left.exists() and left.stat().st_size:
        log.warning(
            "the database was not closed (killed, a power cut, or another process has it open): "
            "what was acknowledged is in its log, and is kept"
        )


def _more_files() -> None:
    """As many open files as this process may have: 1,024 is what many start with, and a worker's
    connections with its database's files come near."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(MOST_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _serve_here(settings: Settings, sock: socket.socket) -> None:
    uvicorn.Server(config_of(settings)).run(sockets=[sock])


def _with_public_url(settings: Settings, sock: socket.socket) -> Settings:
    """Where nothing else was said, browsers on this machine are served. WebAuthn wants a name."""
    if settings.public_url:
        return settings
    return replace(settings, public_url=url_of(sock).replace("127.0.0.1", "localhost"))


def config_of(settings: Settings) -> uvicorn.Config:
    # Imported late: see `_counted_together`.
    from tallystick.server.serving.app import create_app  # noqa: PLC0415
    from tallystick.server.serving.protocol import BoundedProtocol  # noqa: PLC0415

    return uvicorn.Config(
        create_app(settings),
        http=BoundedProtocol,
        proxy_headers=False,  # `serving.client` believes those whom settings name, nobody else
        limit_concurrency=MOST_CONNECTIONS,
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )


@contextmanager
def running_in_thread(settings: Settings) -> Iterator[str]:
    """A server in a thread of this process, so that a test can move its clock. → its URL"""
    with listen("127.0.0.1", 0) as sock:
        sock.listen(128)
        server = uvicorn.Server(config_of(_with_public_url(settings, sock)))
        thread = beside.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
        thread.start()
        try:
            yield url_of(sock)
        finally:
            server.should_exit = True
            thread.join()


@dataclass(frozen=True)
class RunningServer:
    """A server process that someone else started. url has no trailing slash."""

    url: str
    settings: Settings
    process: subprocess.Popen[str]

    def add_credential(self, role: Role | str, name: str) -> NewCredential:
        """Make a credential straight in the database, as `tally server credential add` does."""
        return add_credential(self.settings, role, name)

    def make_known(self, login: str) -> None:
        """Make a user, straight in the database; one that is known already: nothing."""
        make_known(self.settings, login)

    def stop(self) -> None:
        """Let it finish what is under way. One that has ended already: nothing."""
        self.process.send_signal(signal.SIGTERM)
        self._wait()

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self._wait()

    def _wait(self) -> None:
        self.process.wait(timeout=10)
        if self.process.stdout:
            self.process.stdout.close()


def add_credential(
    settings: Settings, role: Role | str, name: str, *, firm: str = "default"
) -> NewCredential:
    """Make a credential. Migrates the database if needed. Raises ApiError, KeyFileError."""
    with opened(settings) as parts, parts.database.write() as connection:
        return credentials.add(
            connection,
            parts.ring,
            role=Role(role),
            name=name,
            now=settings.clock(),
            actor="console",
            firm_id=firms.by_name(connection, firm).id,
        )


def make_known(settings: Settings, login: str) -> None:
    """Make a user of the default firm; one that is known already: nothing."""
    with opened(settings) as parts, parts.database.write() as connection:
        firm = firms.by_name(connection, "default")
        people.ensure(connection, firm.id, login, settings.clock())


@contextmanager
def running(
    folder: Path | None = None, *, db: str | None = None, workers: int = 1
) -> Iterator[RunningServer]:
    """A real server on a free port of 127.0.0.1, in a process of its own, stopped at the end.

    Give a folder for an SQLite database in it, or a database URL.
    Raises TallyError when it does not start.
    """
    url = db or f"sqlite:///{(folder or Path.cwd()) / 'server.db'}"
    settings = settings_from(url, (folder / "server.keys") if folder else None)
    server = start(settings, workers=workers)
    try:
        yield server
    finally:
        server.stop()


def start(settings: Settings, *, workers: int = 1, port: int = 0) -> RunningServer:
    """Start a server process and wait until it answers. The caller stops it. Raises TallyError."""
    command = [sys.executable, "-m", "tallystick.server.serving.running", str(workers), str(port)]
    # By the environment: everybody may read a process's arguments.
    named = {ENV_DB: settings.db_url, ENV_KEY_FILE: str(settings.key_file)}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **named}, encoding="utf-8"
    )
    assert process.stdout
    ready, _, _ = select.select([process.stdout], [], [], START_TIMEOUT_S)
    url = process.stdout.readline().strip() if ready else ""
    if not url:
        process.kill()
        process.wait()
        raise TallyError("The server process did not start.", todo="Its error is above.")
    return RunningServer(url, settings, process)


def _main(arguments: list[str]) -> None:
    workers, port = arguments
    sock = listen("127.0.0.1", int(port))
    # Connections queue on the socket from here on, so the URL can be used at once.
    sock.listen(128)
    sys.stdout.write(url_of(sock) + "\n")
    sys.stdout.flush()
    logs.set_up(as_json=False)
    serve(settings_from(None), sock, workers=int(workers))


if __name__ == "__main__":
    _main(sys.argv[1:])
