"""Answers do not depend on how a request was cut into packets, nor on what is read together."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from tallystick.server.serving import protocol
from tallystick.server.serving.protocol import BoundedProtocol

LIMIT = 160
AGAIN = b"GET /again HTTP/1.1\r\nhost: x\r\n\r\n"
REFUSED = b"POST /refused HTTP/1.1\r\nhost: x\r\ncontent-length: 400\r\n\r\n" + b"\r\n\r\nx" * 80
READ = REFUSED.replace(b"/refused", b"/read")
IN_CHUNKS = (
    b"POST /refused HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    b"4\r\n\r\n\r\n\r\n" + b"1\r\nx\r\n" * 60 + b"0\r\n\r\n"
)
HTTP_2 = b" HTTP/1.1\r\nhost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUPgrade: h2c\r\n"
WISHES = [
    b"GET /read" + HTTP_2 + b"\r\n",
    b"POST /hello" + HTTP_2 + b"content-length: 5\r\n\r\nhello",
    b"POST /hello" + HTTP_2 + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"POST /hello HTTP/1.1\r\nupgrade: h2c, x\r\nconnection: upgrade\r\n"
    b"upgrade-x: 1\r\nhost: x\r\nx: upgrade:\r\ncontent-length: 5\r\n\r\nhello",
]


CHUNKED = b"POST /hello HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n"
BODY = b"\r\n5\r\nhello\r\n0\r\n"
FIELDS = b"authorization: Bearer x\r\nx-forwarded-for: 192.0.2.1\r\nexpect: 100-continue\r\n\r\n"
READ_IN_ANOTHER_WAY = [
    (AGAIN.replace(b"host: x\r\n", b""), "400"),
    (AGAIN.replace(b"host: x\r\n", b"host: x\r\nHOST: x\r\n"), "400"),
    (CHUNKED.replace(b" chunked", b" gzip, chunked") + BODY + b"\r\n", "501"),
    (CHUNKED.replace(b" chunked", b" x") + BODY + b"\r\n", "501"),
    (CHUNKED + b"content-length: 5\r\n" + BODY + b"\r\n", "400"),
]


def head(size: int) -> bytes:
    start, end = b"GET /read HTTP/1.1\r\nhost: x\r\nx:", b"\r\n\r\n"
    return start + b" " * (size - len(start) - len(end)) + end


class Wire(asyncio.Transport):
    """What the other side would read."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.written += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def app(scope: Any, receive: Any, send: Any) -> None:
    """/refused is answered before its body is there, as what is too large is; /hello wants one."""
    body, more = b"", scope["path"] != "/refused"
    while more:
        event = await receive()
        body, more = body + event["body"], event.get("more_body", False)
    known = {"/refused": 413, "/hello": 200 if body == b"hello" else 422}
    status = known.get(scope["path"], 200)
    length = (b"content-length", b"0")
    await send({"type": "http.response.start", "status": status, "headers": [length]})
    await send({"type": "http.response.body", "body": b""})


served = app


async def has_answered(many: int = 1) -> None:
    for _ in range(4 * many):
        await asyncio.sleep(0)


async def answers(*parts: bytes) -> list[str]:
    config = uvicorn.Config(served, lifespan="off", log_config=None)
    spoken, wire = BoundedProtocol(config, ServerState(), {}), Wire()
    spoken.connection_made(wire)
    for part in parts:
        if not wire.closed:
            spoken.data_received(part)
        await has_answered()
    await has_answered(12)
    spoken.connection_lost(None)
    return re.findall(r"HTTP/1.1 (\d+)", wire.written.decode())


def in_all_cuts(sent: bytes) -> set[tuple[str, ...]]:
    async def cut() -> set[tuple[str, ...]]:
        found = {tuple(await answers(sent))}
        found.add(tuple(await answers(*(bytes([byte]) for byte in sent))))
        for at in range(1, len(sent)):
            found.add(tuple(await answers(sent[:at], sent[at:])))
        return found

    return asyncio.run(cut())


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        (AGAIN * 12, ("200",) * 12),
        (REFUSED + AGAIN, ("413", "200")),
        (READ + AGAIN, ("200", "200")),
        (IN_CHUNKS + AGAIN, ("413", "200")),
        (head(LIMIT), ("200",)),
        (AGAIN + head(LIMIT), ("200", "200")),
        (head(LIMIT + 1), ("431",)),
        (b"\r\n" * LIMIT, ("431",)),
        (CHUNKED + BODY + b"x: y\r\n" * 12 + b"\r\n" + AGAIN, ("200", "200")),
    ],
)
def test_however_it_was_cut(
    monkeypatch: pytest.MonkeyPatch, sent: bytes, statuses: tuple[str, ...]
) -> None:
    monkeypatch.setattr(protocol, "HEAD_LIMIT", LIMIT)
    assert in_all_cuts(sent) == {statuses}


@pytest.mark.parametrize("sent", WISHES)
def test_a_wish_for_another_protocol_changes_nothing(sent: bytes) -> None:
    assert in_all_cuts(sent + AGAIN) == {("200", "200")}
    assert in_all_cuts(sent) == {("200",)}


@pytest.mark.parametrize(("sent", "status"), READ_IN_ANOTHER_WAY)
def test_what_others_read_in_another_way_is_refused(sent: bytes, status: str) -> None:
    """And what may be a next request is not read (RFC 9112 3.2, 6.1, 11.2)."""
    assert in_all_cuts(sent + AGAIN) == {(status,)}


def test_http_1_0_needs_no_host() -> None:
    sent = AGAIN.replace(b"1.1\r\nhost: x\r\n", b"1.0\r\n")
    assert in_all_cuts(sent) == {("200",)}


def test_fields_after_a_body_are_none_of_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client could add to what its proxy says of it."""
    heard: list[bytes] = []

    async def hearing(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)
        heard.extend(name for name, _ in scope["headers"])

    monkeypatch.setitem(globals(), "served", hearing)
    assert in_all_cuts(CHUNKED + BODY + FIELDS + AGAIN) == {("200", "200")}
    assert set(heard) == {b"host", b"transfer-encoding"}


@pytest.mark.parametrize(
    "around",
    [
        b"0\r\n" + b"x: " + b"y" * LIMIT,
        b"0\r\n" + b"x: y\r\n" * LIMIT,
        b"5;" + b"x" * LIMIT * 2,
        b"1\r\nx\r\n2;" + b"x" * LIMIT * 2,
    ],
)
def test_what_is_around_a_body_has_a_bound(monkeypatch: pytest.MonkeyPatch, around: bytes) -> None:
    monkeypatch.setattr(protocol, "HEAD_LIMIT", LIMIT)
    sent = CHUNKED + b"\r\n" + around
    bytewise = asyncio.run(answers(*(bytes([byte]) for byte in sent)))
    assert bytewise == ["431"]


def test_a_next_head_has_its_time_when_its_turn_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start of a next request, sent while the first is at work, ends nothing."""
    running: list[float | None] = []
    wait = BoundedProtocol._wait

    def noted(self: BoundedProtocol, seconds: float | None) -> None:
        running.append(seconds)
        wait(self, seconds)

    monkeypatch.setattr(BoundedProtocol, "_wait", noted)

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await may_go.wait()
        await app(scope, receive, send)

    async def run() -> tuple[float | None, float | None, list[str]]:
        config = uvicorn.Config(slow, lifespan="off", log_config=None)
        spoken, wire = BoundedProtocol(config, ServerState(), {}), Wire()
        spoken.connection_made(wire)
        spoken.data_received(AGAIN + AGAIN[:9])
        await has_answered()
        meanwhile = running[-1]
        may_go.set()
        await has_answered()
        after = running[-1]
        spoken.data_received(AGAIN[9:])
        await has_answered()
        spoken.connection_lost(None)
        return meanwhile, after, re.findall(r"HTTP/1.1 (\d+)", wire.written.decode())

    may_go = asyncio.Event()
    assert asyncio.run(run()) == (None, protocol.HEAD_S, ["200", "200"])
