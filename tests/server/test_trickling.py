"""Whoever says a little now and then, and never all of it, is cut off: time-outs are for each step
of a conversation, and one that has an end for the whole of it holds up nobody."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tallystick.common.errors import UnreachableError
from tallystick.server.accounts import breached_ranges
from tallystick.server.accounts.breached_ranges import BreachedRanges
from tallystick.server.messages import gateways, http_template, logouts
from tallystick.server.messages.gateways import Letter, gateway_from

TOO_LONG_S = 20.0  # to be told from a test that takes its time


@contextmanager
def trickling(first: bytes, then: bytes = b"x") -> Iterator[int]:
    """A server that says `first` to whoever comes, and a byte more twenty times a second. → port"""
    over = threading.Event()

    def to(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.sendall(first)
            while not over.wait(0.05):
                connection.sendall(then)

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=to, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]
        over.set()
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)


def ends(work) -> BaseException | None:
    """What it raises; it does not go on for ever."""
    raised: list[BaseException | None] = []

    def run() -> None:
        try:
            work()
        except Exception as error:
            raised.append(error)
        else:
            raised.append(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(TOO_LONG_S)
    assert raised, "it goes on and on"
    return raised[0]


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    for module in (gateways, http_template, logouts, breached_ranges):
        monkeypatch.setattr(module, "DEADLINE_S", 0.5)


@pytest.mark.parametrize(
    ("scheme", "first"),
    [
        ("smtp", b"220-"),  # the greeting has no end
        ("smtp", b"220 here\r\n250-"),  # nor what it can do
        ("http", b"HTTP/1.1 200 OK\r\nX: "),
        ("smpp", b"\0\0\xff\xff"),
    ],
)
def test_a_gateway(scheme, first):
    with trickling(first) as port:
        gateway = gateway_from(f"{scheme}://127.0.0.1:{port}", sender="Firm")
        error = ends(lambda: gateway.send(Letter("+4740000089", "", "a text")))
    assert isinstance(error, UnreachableError) and "does not answer in time" in error.what


def test_a_provider_whose_answer_has_no_end(tmp_path):
    with trickling(b"HTTP/1.1 200 OK\r\ncontent-length: 999999\r\n\r\n") as port:
        file = tmp_path / "provider.toml"
        file.write_text(
            f'url = "http://127.0.0.1:{port}/"\n[json]\nto = "{{to}}"\ntext = "{{text}}"\n'
        )
        gateway = gateway_from(f"template://{file}", sender="Firm")
        error = ends(lambda: gateway.send(Letter("+4740000089", "", "a text")))
    assert isinstance(error, UnreachableError) and "does not answer in time" in error.what


def test_a_service_that_is_told_of_a_sign_out():
    """One of them does not keep the others from being told."""
    with trickling(b"HTTP/1.1 200 OK\r\nX: ") as port:
        error = ends(lambda: logouts._post(f"http://127.0.0.1:{port}/", "token"))
    assert isinstance(error, OSError)


def test_whoever_knows_breached_passwords():
    with trickling(b"HTTP/1.1 200 OK\r\ncontent-length: 999999\r\n\r\n") as port:
        ranges = BreachedRanges(f"http://127.0.0.1:{port}/")
        assert ends(lambda: ranges.has("plain violet harbour")) is None
