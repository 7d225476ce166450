"""`tally server doctor`: is everything that the server needs in order?"""

from __future__ import annotations

import os
import shutil
import smtplib
import socket
import ssl
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parseaddr
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from tallystick.common.errors import TallyError
from tallystick.common.failing import why
from tallystick.server.accounts import key_metadata
from tallystick.server.directory.ldap_directory import LdapDirectory
from tallystick.server.directory.settings import DirectorySettings, directories_from
from tallystick.server.messages import outbox
from tallystick.server.messages.gateways import gateway_from
from tallystick.server.messages.http_template import TemplateGateway
from tallystick.server.messages.modem import ModemGateway
from tallystick.server.operating import operations
from tallystick.server.settings import Settings
from tallystick.server.state import breached_by
from tallystick.server.stock.belonging import belongs
from tallystick.server.store import audit, keys, restored, schema
from tallystick.server.store.database import Database
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.store.opened import LOST_DATABASE
from tallystick.server.store.probe import must_take_writes
from tallystick.server.store.stream import sink_from
from tallystick.server.store.trouble import refusal, trouble_of
from tallystick.server.store.watch import clock_fault, clock_leap, in_hours, newest_entry

UNIT = Path("/sys/fs/cgroup/system.slice/tallystick.service")
BUSY_FILES, BUSY_PART = 800, 0.8  # as the alert has it: a worker serves 900 connections
LOW_DISK_BYTES = 500 * 1024 * 1024
CONNECT_TIMEOUT_S = 3
DEFAULT_PORTS = {"smtp": 25, "smtps": 465, "smpp": 2775, "http": 80, "https": 443}


@dataclass(frozen=True)
class DoctorFinding:
    """One thing looked at. state: ok, note (works, but think of it) or bad."""

    name: str
    state: str
    detail: str


def examine(settings: Settings) -> Iterator[DoctorFinding]:
    """Look at each thing in turn; one that is bad does not stop the others."""
    database = None if _no_file(settings) else Database(settings.db_url)
    if database is None or _is_fresh(database):
        if database is not None:
            database.close()
        yield _empty(settings)
    else:
        yield from _stored(settings, database)
    yield _apart(settings)
    yield _try("disk", lambda: _disk("disk", _place(settings)))
    yield from _other_disks(settings)
    yield from _stream(settings)
    yield from _read_at_start(settings)
    yield from _killed(UNIT)
    yield from _open_files(UNIT)
    yield _try("public URL", lambda: _public_url(settings))
    yield _proxies(settings)
    for name, url in (("SMS gateway", settings.sms), ("mail server", settings.smtp)):
        yield _try(name, lambda name=name, url=url: _gateway(name, url, settings.mail_from))  # type: ignore[misc]
    yield from _directories(settings)


def _no_file(settings: Settings) -> bool:
    """Whether an SQLite database is not there: to open it would make it, and as whoever asks."""
    url = make_url(settings.db_url)
    return url.get_backend_name() == "sqlite" and not Path(url.database or "").exists()


def _is_fresh(database: Database) -> bool:
    try:
        with database.read() as connection:
            return schema.revision(connection) is None
    except SQLAlchemyError:
        return False


def _empty(settings: Settings) -> DoctorFinding:
    if settings.key_file.exists():
        detail = f"empty, but {settings.key_file} has keys already: {LOST_DATABASE}"
        return DoctorFinding("database", "bad", detail)
    return DoctorFinding(
        "database", "note", "empty: the first start makes the schema, and the keys"
    )


def _directories(settings: Settings) -> Iterator[DoctorFinding]:
    """Each firm's directory, asked as it is read; one whose file is wrong."""
    try:
        named = directories_from(settings.directories) if settings.directories else {}
    except TallyError as error:
        yield DoctorFinding("directories", "bad", str(error))
        return
    for firm, one in named.items():
        name = f"directory of {firm}"
        yield _try(name, lambda name=name, one=one: _directory(name, one))  # type: ignore[misc]


def _directory(name: str, settings: DirectorySettings) -> DoctorFinding:
    found = LdapDirectory(settings).everybody()
    detail = f"{settings.url} answers: {len(found)} people"
    return DoctorFinding(name, "ok" if found else "note", detail)


def _stored(settings: Settings, database: Database) -> Iterator[DoctorFinding]:
    """What a database in use has to fulfil."""
    ring = _ring(settings)
    yield ring[0]
    try:
        for name, check in (
            ("database", lambda: _database(database)),
            ("restore", lambda: _restore(database)),
            ("durability", lambda: _durability(database)),
            ("writing", lambda: _writing(database)),
            ("clock", lambda: _clock(database, settings.clock())),
            ("messages", lambda: _messages(database, settings.clock())),
            ("encrypted values", lambda: _encrypted(database, ring[1])),
            ("audit log", lambda: _audit(database, ring[1])),
        ):
            yield _try(name, check)
    finally:
        database.close()


def _try(name: str, check: Callable[[], DoctorFinding]) -> DoctorFinding:
    try:
        return check()
    except TallyError as error:
        return DoctorFinding(name, "bad", str(error))
    except DBAPIError as error:
        return DoctorFinding(name, "bad", refusal(trouble_of(error)).what)
    except (SQLAlchemyError, OSError) as error:
        return DoctorFinding(name, "bad", why(error))


def _ring(settings: Settings) -> tuple[DoctorFinding, ServerKeyRing | None]:
    try:
        ring = keys.load(settings.key_file)
    except TallyError as error:
        return DoctorFinding("key file", "bad", str(error)), None
    mode = stat.S_IMODE(settings.key_file.stat().st_mode)
    detail = f"{settings.key_file}, mode {mode:o}, keys {', '.join(ring.key_ids)}"
    return DoctorFinding("key file", "ok", f"{detail}, active {ring.active}"), ring


def _apart(settings: Settings) -> DoctorFinding:
    name, folder = "keys and database", settings.key_file.absolute().parent
    if _place(settings) == folder and settings.db_url.startswith("sqlite"):
        todo = "whoever copies the folder has both; move the key file, and name it with --key-file"
        return DoctorFinding(name, "note", f"are both in {folder}: {todo}")
    return DoctorFinding(name, "ok", "are apart")


def _place(settings: Settings) -> Path:
    """The folder of an SQLite database; of another one, that of the key file."""
    url = make_url(settings.db_url)
    file = url.database if url.get_backend_name() == "sqlite" else None
    return Path(file or settings.key_file).absolute().parent


def _database(database: Database) -> DoctorFinding:
    with database.read() as connection:
        revision = schema.revision(connection)
    if revision == schema.HEAD:
        return DoctorFinding("database", "ok", f"schema {revision}")
    if revision is not None and revision > schema.HEAD:
        detail = f"schema {revision}, and this version knows {schema.HEAD}: install the newer one"
        return DoctorFinding("database", "bad", detail)
    return DoctorFinding(
        "database", "note", f"schema {revision}; the server migrates to {schema.HEAD}"
    )


def _restore(database: Database) -> DoctorFinding:
    restored.must_be_confirmed(database)
    return DoctorFinding("restore", "ok", "none waits to be confirmed")


def _durability(database: Database) -> DoctorFinding:
    with database.read() as connection:
        if database.is_sqlite:
            journal = connection.execute(text("PRAGMA journal_mode")).scalar()
            synchronous = connection.execute(text("PRAGMA synchronous")).scalar()
            good = journal == "wal" and synchronous == 2
            detail = f"journal {journal}, synchronous {synchronous}"
        else:
            names = ("fsync", "synchronous_commit", "full_page_writes")
            values = {n: connection.execute(text(f"SHOW {n}")).scalar() for n in names}
            good = "off" not in values.values()
            detail = ", ".join(f"{name} {value}" for name, value in values.items())
    state = "ok" if good else "bad"
    return DoctorFinding(
        "durability", state, detail if good else f"{detail}: used codes may come back"
    )


def _writing(database: Database) -> DoctorFinding:
    must_take_writes(database)
    return DoctorFinding("writing", "ok", "the database takes a transaction")


def _clock(database: Database, now: float) -> DoctorFinding:
    with database.read() as connection:
        newest = newest_entry(connection)
        leap = clock_leap(connection, now)
    fault = clock_fault(newest, now)
    if newest is None:
        return DoctorFinding("clock", "ok", "nothing to compare with yet")
    if not fault and leap:
        what = f"{in_hours(leap)} without an entry of the audit log before this week's"
        return DoctorFinding("clock", "note", f"{what}: did nobody ask, or is it ahead?")
    if not fault:
        return DoctorFinding("clock", "ok", "fits the audit log")
    if newest > now:
        todo = "set it right; where it is, it was ahead when that was written"
        return DoctorFinding("clock", "bad", f"{fault}: {todo}")
    return DoctorFinding("clock", "note", f"{fault}: is it right?")


def _encrypted(database: Database, ring: ServerKeyRing | None) -> DoctorFinding:
    with database.read() as connection:
        used = operations.use_of_keys(connection)
    if ring is None:
        return DoctorFinding("encrypted values", "bad", "not readable without the key file")
    with database.read() as connection:
        if not belongs(connection, ring):
            detail = "nothing opens: the key file is of another server"
            return DoctorFinding("encrypted values", "bad", detail)
    missing = sorted(set(used) - set(ring.key_ids))
    if missing:
        return DoctorFinding("encrypted values", "bad", f"the key file lacks {', '.join(missing)}")
    old = {key_id: count for key_id, count in used.items() if key_id != ring.active}
    if old:
        return DoctorFinding(
            "encrypted values",
            "note",
            f"{sum(old.values())} under older keys: run 'tally server keys rotate'",
        )
    return DoctorFinding("encrypted values", "ok", f"{sum(used.values())} under {ring.active}")


def _audit(database: Database, ring: ServerKeyRing | None) -> DoctorFinding:
    if ring is None:
        return DoctorFinding("audit log", "bad", "not checkable without the key file")
    with database.snapshot() as connection:
        if not belongs(connection, ring):
            return DoctorFinding("audit log", "bad", "not checkable with another server's keys")
        reports = audit.check(connection, ring)
    broken = [report for report in reports if report.broken_at is not None]
    if broken:
        where = ", ".join(f"{report.chain} at {report.broken_at}" for report in broken[:5])
        return DoctorFinding("audit log", "bad", f"changed or incomplete: chain {where}")
    entries = sum(report.entries for report in reports)
    return DoctorFinding("audit log", "ok", f"{entries} entries in {len(reports)} chains")


def _disk(name: str, place: Path) -> DoctorFinding:
    free = shutil.disk_usage(_there(place)).free
    state = "ok" if free > LOW_DISK_BYTES else "bad"
    return DoctorFinding(name, state, f"{free // 1024**2} MiB free")


def _there(place: Path) -> Path:
    while not place.exists():
        place = place.parent
    return place


def _other_disks(settings: Settings) -> Iterator[DoctorFinding]:
    """Of what else the server writes, where that is not on the database's."""
    places = {}
    if settings.request_log is not None:
        places["disk of the request log"] = settings.request_log.absolute()
    stream = urlsplit(settings.audit_stream)
    if stream.scheme == "file":
        places["disk of the audit stream"] = Path(stream.path)
    seen = {_there(_place(settings)).stat().st_dev}
    for name, file in places.items():
        disk = _there(file.parent).stat().st_dev
        if disk not in seen:
            seen.add(disk)
            yield _try(name, lambda name=name, file=file: _disk(name, file.parent))  # type: ignore[misc]


def _read_at_start(settings: Settings) -> Iterator[DoctorFinding]:
    """Files without which nothing is served."""
    breached, metadata, log = settings.breach_list, settings.key_metadata, settings.request_log
    if breached is not None:
        yield _try("breach list", lambda: _loaded("breach list", breached, breached_by(breached)))
    if metadata is not None:
        name = "metadata of security keys"
        yield _try(
            name,
            lambda: _loaded(name, metadata[0], key_metadata.load(*metadata, settings.clock())),
        )
    if log is not None:
        yield _request_log(log)


def _loaded(name: str, where: Path | str, _loaded: object) -> DoctorFinding:
    return DoctorFinding(name, "ok", str(where))


def _request_log(file: Path) -> DoctorFinding:
    """Looked at only: opened by root, it would be root's."""
    there = file if file.exists() else file.parent
    if os.access(there, os.W_OK) and not file.is_dir():
        return DoctorFinding("request log", "ok", str(file))
    return DoctorFinding("request log", "bad", f"{file} cannot be written: the server needs that")


def _stream(settings: Settings) -> Iterator[DoctorFinding]:
    """Whether whoever receives the audit log is there, as far as can be seen without sending."""
    if settings.audit_stream:
        yield _try("audit stream", lambda: _receiver(settings.audit_stream))


def _receiver(url: str) -> DoctorFinding:
    sink = sink_from(url)
    try:
        told = sink.look()
    finally:
        sink.close()
    return DoctorFinding(
        "audit stream", "ok" if told else "note", told or "a datagram tells nothing"
    )


def _killed(unit: Path) -> Iterator[DoctorFinding]:
    """What the kernel has counted of the running unit, if there is one here."""
    try:
        text_of = (unit / "memory.events").read_text(encoding="ascii")
    except OSError:
        return
    counted = dict(line.split() for line in text_of.splitlines())
    killed = int(counted.get("oom_kill", 0))
    detail = f"{killed} processes of the unit were killed for want of it since it started"
    if killed:
        todo = "give more (MemoryMax in the unit), or fewer workers"
        yield DoctorFinding("memory", "bad", f"{detail}: {todo}")
    else:
        yield DoctorFinding("memory", "ok", detail)


def _open_files(unit: Path) -> Iterator[DoctorFinding]:
    """Of the running unit's processes the one that is nearest to its limit, if one may be looked
    at."""
    try:
        processes = (unit / "cgroup.procs").read_text(encoding="ascii").split()
    except OSError:
        return
    seen = [one for process in processes if (one := _files_of(Path("/proc", process)))]
    if not seen:
        return
    files, limit = max(seen, key=lambda one: one[0] / one[1])
    detail = f"{files} of {limit} that a process of the unit may have"
    if files > min(BUSY_FILES, BUSY_PART * limit):
        todo = "who holds so many connections? Start more workers, or allow more (LimitNOFILE)"
        yield DoctorFinding("open files", "bad", f"{detail}: {todo}")
    else:
        yield DoctorFinding("open files", "ok", detail)


def _files_of(process: Path) -> tuple[int, int] | None:
    """(open, limit); None: it has ended, is somebody else's, or has no limit."""
    try:
        lines = (process / "limits").read_text(encoding="ascii").splitlines()
        files = sum(1 for _ in (process / "fd").iterdir())
    except OSError:
        return None
    limit = next(line.split()[3] for line in lines if line.startswith("Max open files"))
    return (files, int(limit)) if limit.isdigit() else None


def _public_url(settings: Settings) -> DoctorFinding:
    url = settings.public_url
    if not url:
        return DoctorFinding("public URL", "note", "not set: browsers on this machine only")
    if urlsplit(url).scheme != "https":
        return DoctorFinding("public URL", "note", f"{url} is not https: cookies travel in clear")
    return DoctorFinding("public URL", "ok", url)


def _proxies(settings: Settings) -> DoctorFinding:
    if settings.trusted_proxies:
        return DoctorFinding("proxies", "ok", f"believed: {', '.join(settings.trusted_proxies)}")
    if settings.public_url.startswith("https"):
        detail = "none named: limits count everybody behind a proxy as one"
        return DoctorFinding("proxies", "note", f"{detail} (TALLY_SERVER_TRUSTED_PROXIES)")
    return DoctorFinding("proxies", "ok", "none named")


def _messages(database: Database, now: float) -> DoctorFinding:
    """A gateway that answers, and refuses what is sent, shows in what waits."""
    with database.read() as connection:
        waiting = outbox.refused(connection, now)
    if not waiting:
        return DoctorFinding("messages", "ok", "none waits after a try that failed")
    told = ", ".join(f"{count} by {channel}" for channel, count in sorted(waiting.items()))
    return DoctorFinding(
        "messages", "bad", f"the gateway did not take {told}: try tally server message test"
    )


def _gateway(name: str, url: str, sender: str) -> DoctorFinding:
    if not url:
        return DoctorFinding(name, "note", "none: this method cannot be used")
    gateway_from(url, sender=sender)  # as the server will at its start
    parts = urlsplit(url)
    if parts.scheme == "file":
        return DoctorFinding(
            name, "note", f"messages go to the file {parts.path}: for development only"
        )
    if parts.scheme == "modem":
        said = ModemGateway.named(parts).look()
        return DoctorFinding(name, "note", f"it answers {said}; try it: tally server message test")
    if parts.scheme == "template":
        # Read as the server reads it; what the provider says shows only when something is sent.
        parts = urlsplit(TemplateGateway(Path(parts.path), "").url)
    port = parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
    host = parts.hostname or ""
    there = f"{parts.scheme}://{host}:{port} answers"
    if parts.scheme in ("smtp", "smtps"):
        _greet(parts, host, port, sender)
        return DoctorFinding(name, "ok", f"{there}; try it: tally server message test")
    with socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S) as sock:
        if parts.scheme == "https":
            with ssl.create_default_context().wrap_socket(sock, server_hostname=host):
                pass
    # Whether it takes our name and our messages only a message tells, and that may cost money.
    return DoctorFinding(name, "note", f"{there}; whether it takes any: tally server message test")


def _greet(parts: SplitResult, host: str, port: int, sender: str) -> None:
    """As far as a message would go before it is named to whom: greeting, TLS, our name and
    password, our sender. Raises OSError."""
    context = ssl.create_default_context()
    try:
        if parts.scheme == "smtps":
            connection: smtplib.SMTP = smtplib.SMTP_SSL(
                host, port, timeout=CONNECT_TIMEOUT_S, context=context
            )
        else:
            connection = smtplib.SMTP(host, port, timeout=CONNECT_TIMEOUT_S)
        with connection:
            connection.ehlo_or_helo_if_needed()
            if parts.scheme == "smtp" and connection.has_extn("starttls"):
                connection.starttls(context=context)
            if parts.username:
                connection.login(unquote(parts.username), unquote(parts.password or ""))
            code, words = connection.mail(parseaddr(sender)[1])
            if code >= 400:
                raise OSError(0, f"refuses our sender: {code} {words.decode('ascii', 'replace')}")
            connection.rset()
    except smtplib.SMTPException as error:
        raise OSError(0, _of_smtp(error)) from None


def _of_smtp(error: smtplib.SMTPException) -> str:
    words = why(error)
    return f"does not speak SMTP: {words}" if words == type(error).__name__ else words
