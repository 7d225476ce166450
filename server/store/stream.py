"""The audit log as it is written: to syslog (RFC 5424), or to a file. And failed tries to get in as
lines of the server's own log, whatever is streamed.

A thread sends what is committed. It keeps a bounded number of entries while the receiver is away;
what is dropped then is counted, and stays in the database: `chain` and `number` show the gap.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import queue
import re
import socket
import ssl
import sys
import termios
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import SplitResult

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from tallystick.common import beside, moments
from tallystick.common.errors import BadInputError
from tallystick.common.failing import why
from tallystick.common.urls import parsed
from tallystick.server import metrics
from tallystick.server.rules.acts import FAILURES, failed, in_words, stand_alone
from tallystick.server.store import whole_lines
from tallystick.server.store.database import Database
from tallystick.server.store.models import AuditEntry, CredentialRow, Firm, PersonRow
from tallystick.server.store.models_login import OidcClient
from tallystick.server.wording.worded import worded

log = logging.getLogger(__name__)
failures = logging.getLogger("tallystick.auth")

Entry = Mapping[str, Any]

KEPT = 10_000
KNOWN_S = 10.0
SERVICE = re.compile(r"oc-[0-9a-f]{16}")
RENAMES = "person-changed"
TIMEOUT_S = 5.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
FACILITY = 10  # authpriv (RFC 5424, 6.2.1)
NOTICE, WARNING = 5, 4
SD_ID = "tallystick@32473"  # 32473 is the enterprise number for documentation (RFC 5612)
PORTS = {"syslog": 514, "syslog+tcp": 601, "syslog+tls": 6514}


class Sink(Protocol):
    """Takes one entry, or raises OSError; then the same one comes again."""

    def send(self, entry: Entry) -> None: ...

    def look(self) -> str:
        """That it would take one, as far as that shows; "" where nothing does. Raises OSError."""

    def close(self) -> None: ...


def sink_from(url: str) -> Sink:
    """file:///path; syslog://host[:port] (UDP), syslog+tcp://…, syslog+tls://…, syslog:///dev/log.
    Raises BadInputError."""
    parts = parsed(url, "Where the audit log is streamed to")
    if parts.scheme == "file" and parts.path:
        return FileStream(Path(parts.path))
    if parts.scheme == "syslog" and not parts.hostname and parts.path:
        return Syslog(parts)
    if parts.scheme in PORTS and parts.hostname:
        return Syslog(parts)
    raise BadInputError(
        f"The audit log cannot be streamed to {parts.scheme!r}.",
        todo="Use file:///path, syslog://host, syslog+tcp://host, syslog+tls://host or "
        "syslog:///dev/log.",
    )


class FileStream:
    """A line of JSON for each entry. A file that was moved away is begun anew."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def send(self, entry: Entry) -> None:
        line = json.dumps(entry, ensure_ascii=False) + "\n"
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            whole_lines.append(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def look(self) -> str:
        # It is not made: whoever looks may be another than who writes.
        place = self._path if self._path.exists() else self._path.parent
        if not os.access(place, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return f"{self._path} can be written"

    def close(self) -> None:
        """Nothing is open between two entries."""


class Syslog:
    """RFC 5424 over UDP (RFC 5426), TCP (RFC 6587, counted), TLS (RFC 5425), or a local socket.

    Syslog has no answers. Of a stream the kernel knows what the receiver's machine has taken: what
    was on its way when the connection broke goes out again, and may come twice.
    """

    def __init__(self, parts: SplitResult) -> None:
        self._parts = parts
        self._on_its_way: deque[bytes] = deque()
        self._size = 0  # of these, bytes
        self._host = socket.gethostname()[:255] or "-"
        self._socket: socket.socket | None = None

    def send(self, entry: Entry) -> None:
        message = syslog_message(entry, self._host)
        try:
            if self._socket is None:
                self._socket = self._connect()
                for earlier in tuple(self._on_its_way):
                    self._socket.sendall(earlier)
            if not self._counted:
                self._socket.sendall(message)
                return
            message = b"%d " % len(message) + message
            self._socket.sendall(message)
            self._on_its_way.append(message)
            self._size += len(message)
            self._forget_all_but(not_taken(self._socket))
        except OSError:
            self.close()
            raise

    def _forget_all_but(self, left: int) -> None:
        """left: bytes, at the end of what was sent. Under TLS they are more than what they hold."""
        while self._on_its_way and self._size - len(self._on_its_way[0]) >= left:
            self._size -= len(self._on_its_way.popleft())

    def look(self) -> str:
        self._socket = self._connect()
        return f"{self._parts.hostname} answers" if self._counted else ""

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @property
    def _counted(self) -> bool:
        return self._parts.scheme != "syslog"

    def _connect(self) -> socket.socket:
        if not self._parts.hostname:
            local = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            local.connect(self._parts.path)
            return local
        where = (self._parts.hostname, self._parts.port or PORTS[self._parts.scheme])
        if not self._counted:
            family, kind, number, _, address = socket.getaddrinfo(*where, type=socket.SOCK_DGRAM)[0]
            datagrams = socket.socket(family, kind, number)
            datagrams.connect(address)
            return datagrams
        stream = socket.create_connection(where, timeout=TIMEOUT_S)
        # Of a receiver that has gone without a word TCP would tell after a quarter of an hour.
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(TIMEOUT_S * 1000))
        if self._parts.scheme == "syslog+tls":
            context = ssl.create_default_context()
            return context.wrap_socket(stream, server_hostname=self._parts.hostname)
        return stream


def not_taken(stream: socket.socket) -> int:
    """Bytes that the receiver's machine has not acknowledged (tcp(7), SIOCOUTQ)."""
    left = fcntl.ioctl(stream.fileno(), termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(left, sys.byteorder)


def syslog_message(entry: Entry, host: str) -> bytes:
    """One entry as RFC 5424 has it: who, what, whom and from where as structured data, and a
    sentence for people."""
    severity = WARNING if entry["failed"] else NOTICE
    wanted = ("chain", "number", "firm", "actor", "act", "subject", "address", "browser")
    data = " ".join(f'{name}="{_escaped(str(entry[name]))}"' for name in wanted if entry[name])
    sentence = " ".join(str(entry["sentence"]).split())
    head = f"<{FACILITY * 8 + severity}>1 {entry['at']} {host} tallystick {os.getpid()}"
    return f"{head} {entry['act'][:32]} [{SD_ID} {data}] \ufeff{sentence}".encode()


def _escaped(value: str) -> str:
    for char in '\\"]':
        value = value.replace(char, "\\" + char)
    return "".join(char if char.isprintable() else " " for char in value)


class AuditStream:
    """Listens to what the database commits, and sends it."""

    def __init__(
        self, database: Database, sink: Sink | None, *, pause_s: float = FIRST_PAUSE_S
    ) -> None:
        self._names = Names(database)
        self._sink = sink
        self._pause_s = pause_s
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue(KEPT)
        self._closing = threading.Event()
        self._thread = beside.Thread(target=self._work, name="audit-stream", daemon=True)
        if sink is not None:
            self._thread.start()
        self._database = database
        database.listen(self.written)
        if sink is not None:
            database.listen_for_chains(self.chain_written)

    def written(self, rows: Sequence[dict[str, Any]]) -> None:
        """Entries were committed. Called in the thread that did it."""
        for row in rows:
            _log_failure(row)
            if row["action"] == RENAMES:
                self._names.forget()
            if self._sink is None:
                continue
            try:
                self._queue.put_nowait(row)
            except queue.Full:
                metrics.STREAM.labels("dropped").inc()

    def chain_written(self, chain: str) -> None:
        """A whole chain was: it may be longer than what is kept, so that it is read as it is sent.
        Whoever wrote it waits, for as long as the receiver takes entries."""
        after = 0
        while True:
            query = select(*AuditEntry.__table__.columns).where(
                AuditEntry.chain == chain, AuditEntry.number > after
            )
            try:
                with self._database.read() as connection:
                    rows = connection.execute(query.order_by(AuditEntry.number).limit(1000)).all()
            except DBAPIError:
                return
            for row in rows:
                after = row.number
                try:
                    self._queue.put(dict(row._mapping), timeout=TIMEOUT_S)
                except queue.Full:
                    metrics.STREAM.labels("dropped").inc()
                    return
            if not rows:
                return

    def close(self) -> None:
        """Send what is there, unless the receiver is away."""
        self._closing.set()
        if self._sink is not None:
            with suppress(queue.Full):
                self._queue.put_nowait(None)
            self._thread.join(TIMEOUT_S)
            self._sink.close()

    def _work(self) -> None:
        while (row := self._queue.get()) is not None:
            entry = entry_of(row, self._names)
            if not self._deliver(entry):
                return

    def _deliver(self, entry: Entry) -> bool:
        """→ False: it could not be sent before the end"""
        assert self._sink is not None
        pause, told = self._pause_s, False
        while True:
            try:
                self._sink.send(entry)
            except OSError as error:
                metrics.STREAM.labels("failed").inc()
                if not told:
                    log.warning("the audit log is not streamed now: %s", why(error))
                told = True
                if self._closing.wait(pause):
                    return False
                pause = min(2 * pause, LONGEST_PAUSE_S)
            else:
                metrics.STREAM.labels("sent").inc()
                if told:
                    log.warning("the audit log is streamed again")
                return True


def entry_of(row: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """An entry with names in words, as streams and exports have it."""
    facts = facts_of(row["detail"])
    address, browser = facts.pop("from", ""), facts.pop("browser", "")
    actor, subject = names.of(row["actor"]), names.of(row["subject"], row["action"])
    at = datetime.fromtimestamp(row["at_ms"] / 1000, UTC)
    return {
        "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "chain": row["chain"],
        "number": row["number"],
        "firm": names.firm(row["firm_id"]),
        "actor": actor,
        "act": row["action"],
        "subject": subject,
        "address": address,
        "browser": browser,
        "detail": facts,
        "failed": failed(row["action"], facts),
        "sentence": sentence(actor, row["action"], subject, address),
    }


def sentence(actor: str, act: str, subject: str, address: object) -> str:
    """Who did what to whom, and from where."""
    whom = "" if subject == actor and stand_alone(act) else f" {subject}"
    return f"{actor} {in_words(act)}{whom}" + (f" from {address}" if address else "")


def facts_of(detail: str) -> dict[str, Any]:
    """An entry's detail."""
    try:
        facts = json.loads(detail) if detail else {}
    except ValueError:
        return {"detail": detail}
    return facts if isinstance(facts, dict) else {"detail": detail}


class Names:
    """Who is meant by `person:3`, or by the id of a credential or service: as it is called now.
    Each is looked up once in KNOWN_S, for another worker may rename it."""

    def __init__(self, database: Database, clock: Callable[[], float] = moments.steady) -> None:
        self._database = database
        self._clock = clock
        self._known: dict[str, str] = {}
        self._until = 0.0

    def forget(self) -> None:
        """Somebody may be called otherwise now."""
        self._known.clear()

    def of(self, text: str, act: str = "") -> str:
        if act == "policy-changed":
            return worded("the policy")
        if text.startswith("person:") and text[7:].isdecimal():
            return self._look(
                text, lambda: select(PersonRow.login).where(PersonRow.id == int(text[7:]))
            )
        if SERVICE.fullmatch(text):
            query = select(OidcClient.name).where(OidcClient.id == text)
            return self._look(text, lambda: query)
        if len(text) == 15 and text[2] == "-":
            return self._look(text, lambda: _credential(text))
        return {
            "unknown": worded("somebody"),
            "console": worded("the console"),
            "server": worded("the server"),
        }.get(text, text)

    def firm(self, firm_id: int | None) -> str:
        if firm_id is None:
            return ""
        return self._look(f"firm {firm_id}", lambda: select(Firm.name).where(Firm.id == firm_id))

    def _look(self, text: str, query: Callable[[], Any]) -> str:
        if self._clock() >= self._until:
            self.forget()
            self._until = self._clock() + KNOWN_S
        if text not in self._known:
            try:
                with self._database.read() as connection:
                    row = connection.execute(query()).one_or_none()
            except DBAPIError:
                return text
            if len(self._known) > KEPT:
                self.forget()
            name = " ".join(str(value) for value in row) if row else text
            self._known[text] = name
            return name
        return self._known.get(text, text)


def _login(person_id: int) -> Any:
    return select(PersonRow.login).where(PersonRow.id == person_id)


def _credential(credential_id: str) -> Any:
    return select(CredentialRow.role, CredentialRow.name).where(CredentialRow.id == credential_id)


def _log_failure(row: Mapping[str, Any]) -> None:
    """One line of a form that stays as it is: fail2ban reads it."""
    if row["action"] not in FAILURES and row["action"] != "factor-checked":
        return
    facts = facts_of(row["detail"])
    if not failed(row["action"], facts):
        return
    address = facts.get("from") or "-"
    failures.warning("failed act=%s from=%s who=%s", row["action"], address, row["actor"])
