"""A line for each request, without secrets (plain ASGI).

What was asked for is told by the route (`/p/{firm}/people/{person_id}`), never by what was typed: a
path, a query, a header and a body can each hold a code or a token. The file is opened anew when it
has got another name, as logrotate gives it.
"""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tallystick.common import moments
from tallystick.common.errors import BadInputError
from tallystick.server import metrics
from tallystick.server.store import whole_lines

UNKNOWN = "-"  # no route: whatever was typed
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

log = logging.getLogger(__name__)


class RequestLogFile(WatchedFileHandler):
    """Lines for several processes: each is one write at the file's end. A line that cannot be
    written, as on a full disk, is counted and holds up nobody."""

    def __init__(self, path: Path) -> None:
        """Raises BadInputError."""
        self._told = False
        try:
            super().__init__(path, encoding="utf-8")
        except OSError as error:
            raise BadInputError(
                f"The request log {path} cannot be written: {error.strerror}.",
                kept="The server did not start.",
                todo="Make its folder, owned by the server's user, or name another with "
                "TALLY_SERVER_REQUEST_LOG.",
            ) from None

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)
        try:
            whole_lines.end_the_last(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        return open(descriptor, "a", encoding="utf-8")  # noqa: PTH123

    def line(self, text: str) -> None:
        """Write it, and a line end."""
        self.handle(logging.LogRecord("requests", logging.INFO, "", 0, text, None, None))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.reopenIfNeeded()
            if self.stream is None:
                self.stream = self._open()
            self.stream.write(record.getMessage() + "\n")
            self.stream.flush()
            self._told = False
        except OSError as error:
            self._give_up()
            metrics.REQUEST_LOG_LOST.inc()
            if not self._told:
                log.warning("the request log cannot be written: %s", error.strerror)
            self._told = True

    def _give_up(self) -> None:
        """What is buffered of a line that failed must not come later, in the middle of others."""
        stream, self.stream = self.stream, None
        try:
            if stream is not None:
                stream.close()
        except OSError:
            return


class RequestLog:
    """{"at", "from", "method", "route", "status", "ms"}: ms until the answer's end; status 0: the
    connection ended without one."""

    def __init__(self, app: ASGIApp, file: RequestLogFile) -> None:
        self._app = app
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0
        began = moments.steady()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            self._file.line(_line(scope, status, moments.steady() - began))


def route_of(scope: Scope) -> str:
    """The route's pattern; where there is none, nothing of what was typed."""
    route = scope.get("route")
    return str(getattr(route, "path", UNKNOWN))


def _line(scope: Scope, status: int, seconds: float) -> str:
    client = scope.get("client") or (UNKNOWN, 0)
    method = scope["method"] if scope["method"] in METHODS else UNKNOWN
    return json.dumps(
        {
            "at": datetime.fromtimestamp(moments.now(), UTC).isoformat(timespec="milliseconds"),
            "from": client[0],
            "method": method,
            "route": route_of(scope),
            "status": status,
            "ms": round(seconds * 1000, 1),
        },
        separators=(",", ":"),
    )
