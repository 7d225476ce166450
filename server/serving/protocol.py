"""HTTP/1.1 with bounds that the parser lacks, and without what others may read in another way."""

from __future__ import annotations

import asyncio
import re
from asyncio.events import TimerHandle

from tallystick.server.serving.lean import HttpToolsProtocol
from tallystick.server.serving.streamed import is_streamed

HEAD_LIMIT = 32 * 1024
HEAD_END = b"\r\n\r\n"
HEAD_S = 10.0
BODY_S = 120.0
METRICS = "/v1/metrics"
# The parser takes what follows an upgrade for another protocol's, the body as well. We have none
# to change to, and are free to ignore the wish (RFC 9110, section 7.8): it is given another name.
# Java's client wishes for HTTP/2 with each request by default, curl with --http2.
UPGRADE = b"\nupgrade:"
IGNORED = b"\nignored:"
WISH = re.compile(UPGRADE, re.IGNORECASE)
ANSWERS = {
    400: b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    408: b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    431: b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n"
    b"content-length: 0\r\n\r\n",
    501: b"HTTP/1.1 501 Not Implemented\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
}


class BoundedProtocol(HttpToolsProtocol):
    """A request's head is at most HEAD_LIMIT bytes and is there within HEAD_S seconds, its body
    within BODY_S, or, of a file of any size, the next piece; otherwise the connection is closed. A
    connection that says nothing is, too.

    What arrives whole, as nearly every request does, costs no timer. What arrives is given to the
    parser head by head and body by body: how it was cut into packets, and what was read together,
    changes no answer.
    """

    _deadline: TimerHandle | None = None
    _head_bytes = 0
    _head_end = b""  # what the last piece ended with, of HEAD_END
    _held = b""  # the start of UPGRADE, whose rest has not come
    _in_body = False
    _body_left: int | None = None  # None: in chunks
    _around = 0  # bytes since the last ones of a body in chunks: what is around it
    _unbounded = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait(HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        while data and not self.transport.is_closing():
            size = self._next(data)
            piece, data = (data, b"") if size >= len(data) else (data[:size], data[size:])
            if self._in_body:
                self._body_received(piece)
            else:
                self._head_received(piece)
        if self._in_body or self.transport.is_closing():
            return
        if not self._head_bytes:
            self._wait(None)
        elif self._deadline is None and self._is_answered():
            self._wait(HEAD_S)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # The start of a next head may have come meanwhile. Its time does not run before.
        if self._head_bytes and self._deadline is None and self._is_answered():
            self._wait(HEAD_S)

    def _is_answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _next(self, data: bytes) -> int:
        """How much of it is of this head, or of this body."""
        if self._in_body and self._body_left is not None:
            return max(self._body_left, 1)
        # A body in chunks ends with the same bytes as a head. In its middle they do no harm.
        found = (self._head_end + data).find(HEAD_END)
        if found >= 0:
            size = found + len(HEAD_END) - len(self._head_end)
            self._head_end = b""
            return size
        self._head_end = (self._head_end + data)[1 - len(HEAD_END) :]
        return len(data)

    def _head_received(self, piece: bytes) -> None:
        room = HEAD_LIMIT - self._head_bytes
        self._head_bytes += len(piece)
        if room:
            super().data_received(self._without_wish(piece[:room]))
        if len(piece) > room and not self.transport.is_closing():
            self._end(431)

    def _body_received(self, piece: bytes) -> None:
        """Of a body in chunks, what is no body (its sizes, and the fields after it) is bounded as a
        head is: no limit for bodies counts it."""
        self._around += len(piece) if self._body_left is None else 0
        super().data_received(piece)
        if self._around > HEAD_LIMIT and not self.transport.is_closing():
            self._end(431)

    def on_header(self, name: bytes, value: bytes) -> None:
        # Fields that come after a body (RFC 9110 6.5.1) are left out. Among the others they would
        # be believed: a client could add to what its proxy says.
        if not self._in_body:
            super().on_header(name, value)

    def _without_wish(self, piece: bytes) -> bytes:
        """The head's next bytes for the parser. What may become a wish is held until then."""
        piece = WISH.sub(IGNORED, self._held + piece)
        self._held = b""
        if self._head_end:  # more of this head is to come
            tail = piece[1 - len(UPGRADE) :].lower()
            starts = (tail[cut:] for cut in range(len(tail)))
            size = len(next(filter(UPGRADE.startswith, starts), b""))
            piece, self._held = piece[: len(piece) - size], piece[len(piece) - size :]
        return piece

    def on_headers_complete(self) -> None:
        self._in_body, self._head_bytes, self._head_end = True, 0, b""
        self._around = 0
        lengths = [value for name, value in self.headers if name == b"content-length"]
        self._body_left = int(lengths[0]) if lengths else None
        refused = self._refused()
        if refused:
            self._end(refused)
            return
        self._wait(BODY_S)
        path = self.url.split(b"?")[0].decode("latin-1")
        self._unbounded = is_streamed(path)
        # Who watches learns of too many connections from what is counted.
        self.limit_concurrency = None if path == METRICS else self.config.limit_concurrency
        super().on_headers_complete()

    def _refused(self) -> int:
        """Of a head: 400 without one Host (RFC 9112 3.2), 501 for a body that is not in chunks only
        (6.1); else 0."""
        named = [name for name, _ in self.headers]
        if self.parser.get_http_version() == "1.1" and named.count(b"host") != 1:
            return 400
        coded = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
        return 501 if coded not in ([], [b"chunked"]) else 0

    def on_body(self, body: bytes) -> None:
        self._around = 0
        if self._body_left is not None:
            self._body_left -= len(body)
        if self._unbounded and self.cycle is not None and not self.cycle.response_complete:
            self._wait(BODY_S)  # for the next piece
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body = False
        self._wait(None)
        if not self.transport.is_closing():
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        if not self.transport.is_closing():  # a refusal of ours was it already
            super().send_400_response(msg)

    def _wait(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._late)

    def _late(self) -> None:
        self._end(408)

    def _end(self, status: int) -> None:
        self._wait(None)
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(ANSWERS[status])
        self.transport.close()
