"""HTTP/1.1 with bounds that the parser lacks: how long a head is, and how long it takes to come."""

from __future__ import annotations

import asyncio
from asyncio.events import TimerHandle

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tallystick.server.serving.streamed import is_streamed

HEAD_LIMIT = 32 * 1024
HEAD_S = 10.0
BODY_S = 120.0
METRICS = "/v1/metrics"
ANSWERS = {
    408: b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    431: b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n"
    b"content-length: 0\r\n\r\n",
}


class BoundedProtocol(HttpToolsProtocol):
    """A request's head is at most HEAD_LIMIT bytes and is there within HEAD_S seconds, its body
    within BODY_S, or, of a file of any size, the next piece; otherwise the connection is closed. A
    connection that says nothing is, too.

    What arrives whole, as nearly every request does, costs no timer.
    """

    _deadline: TimerHandle | None = None
    _head_bytes = 0
    _in_head = True
    _in_body = False
    _unbounded = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait(HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_LIMIT:
                self._end(431)
            elif self._deadline is None:
                self._wait(HEAD_S)
        elif not self._in_body:
            self._wait(None)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        self._in_head, self._in_body, self._head_bytes = False, True, 0
        if size > HEAD_LIMIT:
            self._end(431)
            return
        self._wait(BODY_S)
        path = self.url.split(b"?")[0].decode("latin-1")
        self._unbounded = is_streamed(path)
        # Who watches learns of too many connections from what is counted.
        self.limit_concurrency = None if path == METRICS else self.config.limit_concurrency
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._unbounded and self.cycle is not None and not self.cycle.response_complete:
            self._wait(BODY_S)  # for the next piece
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body = False
        self._wait(None)
        if not self.transport.is_closing():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # The next request's head: its first byte starts the clock (`data_received`).
        self._in_head = not self._in_body

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
