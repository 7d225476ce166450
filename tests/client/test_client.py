"""The verify API's client against a real server, over a network that loses answers."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import socket
import ssl
import subprocess
import sys
import threading
import traceback
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from tallystick.client import (
    AsyncVerifyClient,
    CheckRefusedError,
    NoAnswerError,
    Patience,
    VerifyClient,
)
from tallystick.client.calls import RESYNCHRONISE, CheckedCode, TryLater, check_of, read
from tallystick.common.errors import BadInputError
from tallystick.common.secret import Secret
from tallystick.server.rules.judge import CodePolicy
from tallystick.server.rules.otp import hotp
from tests.server.conftest import clock, enrolled, server, settings, template, wrong_code

__all__ = [
    "clock",
    "enrolled",
    "server",
    "settings",
    "template",
    "wrong_code",
]  # fixtures of theirs
OK = CheckedCode(accepted=True, reason="ok", method="card", serial="1000000001")


class Losing(httpx.BaseTransport):
    """A network: each request arrives, and the answers to those in `lost` do not."""

    def __init__(self, lost: Container[int] = ()) -> None:
        self.lost = lost
        self.sent = 0
        self._real = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        number, self.sent = self.sent, self.sent + 1
        answer = self._real.handle_request(request)
        if number in self.lost:
            answer.read()
            raise httpx.ReadTimeout("lost")
        return answer

    def close(self) -> None:
        self._real.close()


class AsyncLosing(httpx.AsyncBaseTransport):
    """The same for asyncio."""

    def __init__(self, lost: Container[int] = ()) -> None:
        self.lost = lost
        self.sent = 0
        self._real = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        number, self.sent = self.sent, self.sent + 1
        answer = await self._real.handle_async_request(request)
        if number in self.lost:
            await answer.aread()
            raise httpx.ReadTimeout("lost")
        return answer

    async def aclose(self) -> None:
        await self._real.aclose()


@pytest.fixture
def url(server) -> str:
    return str(server.client.base_url).rstrip("/")


@pytest.fixture
def token(server) -> str:
    return server.service.token.reveal().decode()


@pytest.fixture(params=["waits", "asyncio"])
def ask(request, url, token):
    """One check by one of the clients, with a network of its own and no waiting.
    → what it says, and how often it asked"""

    def by_waiting(what: str, *codes: str, lost: Container[int] = (), **more: object):
        network, pauses = Losing(lost), more.pop("pauses", [])
        patience = more.pop("patience", None)
        with VerifyClient(
            url, token, transport=network, pause=pauses.append, patience=patience
        ) as client:
            return getattr(client, what)(*codes, **more), network.sent

    def by_asyncio(what: str, *codes: str, lost: Container[int] = (), **more: object):
        network, pauses = AsyncLosing(lost), more.pop("pauses", [])
        patience = more.pop("patience", None)

        async def pause(seconds: float) -> None:
            pauses.append(seconds)

        async def run():
            async with AsyncVerifyClient(
                url, token, transport=network, pause=pause, patience=patience
            ) as client:
                return await getattr(client, what)(*codes, **more)

        return asyncio.run(run()), network.sent

    return by_waiting if request.param == "waits" else by_asyncio


def test_a_right_code_is_right_once(ask, server):
    seed = server.card()
    assert ask("verify", hotp(seed, 0, 6), user="ann") == (OK, 1)
    said, _ = ask("verify", hotp(seed, 0, 6), user="ann")
    assert not said and said.reason == "replayed"
    said, _ = ask("verify", hotp(seed, 1, 6), serial="1000000001")
    assert said and said.serial == "1000000001"


def test_the_answer_that_was_lost_is_the_one_that_is_given(ask, server):
    """The code was accepted: whoever asks again hears that, and it is used once."""
    seed, pauses = server.card(), []
    assert ask("verify", hotp(seed, 0, 6), user="ann", lost=(0, 1), pauses=pauses) == (OK, 3)
    assert server.get("/v1/cards/1000000001").json()["moving_factor"] == 1
    assert server.reason(hotp(seed, 0, 6)) == "replayed"  # by anybody else
    assert ask("verify", hotp(seed, 0, 6), user="ann")[0].reason == "replayed"  # another check
    assert 0.05 <= pauses[0] <= 0.1 <= pauses[1] <= 0.2


def test_a_wrong_code_is_one_guess_however_often_it_is_asked(ask, server, wrong_code):
    seed = server.card()
    wrong = wrong_code(seed)
    for _ in range(CodePolicy().max_failures - 1):
        said, sent = ask("verify", wrong, user="ann", lost=(0, 1, 2))
        assert (said.reason, sent) == ("wrong", 4)
    assert ask("verify", hotp(seed, 0, 6), user="ann")[0]


def test_resynchronisation_with_its_answer_lost(ask, server):
    seed = server.card()
    assert ask("verify", hotp(seed, 30, 6), user="ann")[0].reason == "resynchronise"
    codes = hotp(seed, 31, 6), hotp(seed, 32, 6)
    assert ask("resynchronise", *codes, user="ann", lost=(0,)) == (OK, 2)
    assert server.get("/v1/cards/1000000001").json()["moving_factor"] == 33


def test_whoever_has_to_wait_is_told_how_long(ask, server, wrong_code):
    seed = server.card()
    for _ in range(CodePolicy().max_failures):
        server.verify(wrong_code(seed))
    said, sent = ask("verify", hotp(seed, 0, 6), user="ann")
    assert (said.accepted, said.reason, said.retry_after_s, sent) == (False, "throttled", 60, 1)


def test_when_no_answer_comes_in_time(ask, server):
    seed = server.card()
    patience = Patience(total_s=0.5, answer_s=0.2, pause_s=0.3, longest_pause_s=0.3)
    with pytest.raises(NoAnswerError, match="used up") as caught:
        ask("verify", hotp(seed, 0, 6), user="ann", lost=range(1_000_000), patience=patience)
    assert hotp(seed, 0, 6) not in str(caught.value)


@pytest.mark.parametrize(
    "code", ["", "12345", "123456789", "12345a", "１２３４５６", "123 456", "1\n"]
)
def test_what_is_no_code_is_not_asked_about(ask, code):
    said, sent = ask("verify", code, user="ann")
    assert (said.accepted, said.reason, sent) == (False, "not-a-code", 0)


def test_a_code_of_the_wrong_length_is_no_guess(ask, server):
    server.card()
    said, sent = ask("verify", "12345678", user="ann")
    assert (said.accepted, said.reason, sent) == (False, "wrong-length", 1)


def test_either_a_user_or_a_card(ask):
    for who in ({}, {"user": "ann", "serial": "1"}):
        with pytest.raises(BadInputError, match="either"):
            ask("verify", "123456", **who)


def test_a_name_that_the_server_refuses(ask):
    with pytest.raises(CheckRefusedError) as caught:
        ask("verify", "123456", user="a\0b")
    assert caught.value.status == 422


@pytest.mark.parametrize("role", ["station", "admin"])
def test_another_role_is_refused_at_once(url, server, role):
    other = getattr(server, role).token
    with VerifyClient(url, other) as client, pytest.raises(CheckRefusedError) as caught:
        client.verify("123456", user="ann")
    assert caught.value.status == 403 and "service" in str(caught.value)


def test_nothing_secret_is_shown(url, token, server, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    code = hotp(server.card(), 0, 6)
    with VerifyClient(url, Secret(token.encode()), transport=Losing({0})) as client:
        assert client.verify(code, user="ann")
        shown = [repr(client), str(client), repr(check_of(RESYNCHRONISE, (code, code), "a", None))]
        with pytest.raises(CheckRefusedError) as refused:
            client.verify("123456", user="a\0b")
    shown += traceback.format_exception(refused.value)
    with VerifyClient(url, "tally_" + "x" * 40) as client, pytest.raises(CheckRefusedError) as no:
        client.verify(code, user="ann")
    shown += traceback.format_exception(no.value)
    printed = capsys.readouterr()
    for text in (*shown, caplog.text, printed.out, printed.err):
        assert token not in text and code not in text and "x" * 40 not in text
    with pytest.raises(TypeError):
        pickle.dumps(client)


@pytest.mark.parametrize("bad", ["", "to ken", "tök", "a\nb", "a\0"])
def test_a_token_that_is_none_is_not_shown(url, bad):
    with pytest.raises(BadInputError) as caught:
        VerifyClient(url, bad)
    assert not bad or bad not in str(caught.value)


@pytest.mark.parametrize(
    "bad",
    ["http://id.example", "id.example", "ftp://x", "", "http://[", "http://127.0.0.1.evil.example"],
)
def test_the_token_goes_nowhere_in_clear(bad, token):
    with pytest.raises(BadInputError):
        VerifyClient(bad, token)


@contextmanager
def answering(
    *parts: bytes, hold: bool = False, drip: bytes = b"", tls: ssl.SSLContext | None = None
) -> Iterator[tuple[str, list[bytes]]]:
    """A program on the server's port that is no server of ours: the same bytes to everybody. drip:
    again and again, for ever."""
    asked: list[bytes] = []
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while not over.is_set():
                try:
                    peer, _ = listening.accept()
                    if tls is not None:
                        peer = tls.wrap_socket(peer, server_side=True)
                except ssl.SSLError:
                    asked.append(b"")
                    continue
                except OSError:
                    return
                with peer, suppress(ConnectionError):
                    asked.append(peer.recv(65536))
                    for part in parts:
                        peer.sendall(part)
                    while drip and not over.wait(0.02):
                        peer.sendall(drip)
                    if hold:
                        over.wait(60)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        scheme = "http" if tls is None else "https"
        yield f"{scheme}://localhost:{listening.getsockname()[1]}", asked
        over.set()
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def http(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


SHORT = Patience(total_s=0.6, answer_s=0.2, pause_s=0.01, longest_pause_s=0.02)


@pytest.mark.parametrize(
    "parts",
    [
        (), (b"nonsense\r\n\r\n",), (http("502 Bad Gateway"),), (http("503 Busy"),),
        (http("500 Oops", b"<html>"),), (http("200 OK", b'{"accepted": true')[:-5],),
        (http("200 OK", b"none", "content-encoding: gzip"),), (http("429 Busy", b"<html>"),),
        (http("503 Busy", b"", "retry-after: Wed, 21 Oct 2099 07:28:00 GMT"),),
    ],
)  # fmt: skip
def test_what_may_pass_is_tried_again(parts):
    with answering(*parts) as (url, asked):
        with VerifyClient(url, "token", patience=SHORT) as client, pytest.raises(NoAnswerError):
            client.verify("123456", user="ann")
        names = {line for one in asked for line in one.split(b"\r\n") if b"dempotency" in line}
        assert len(asked) > 1 and len(names) == 1


def test_a_server_that_says_nothing_is_not_waited_for_for_ever():
    with answering(hold=True) as (url, asked):
        with VerifyClient(url, "token", patience=SHORT) as client, pytest.raises(NoAnswerError):
            client.verify("123456", user="ann")
        assert asked


@pytest.mark.parametrize(
    ("begins", "drip"),
    [
        (b"HTTP/1.1 200 OK\r\nx: ", b"a"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"0"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n", b" "),
    ],
)
@pytest.mark.parametrize("kind", ["waits", "asyncio"])
def test_an_answer_that_comes_byte_by_byte_is_not_waited_for_for_ever(begins, drip, kind):
    """Each byte comes in time; the answer never does."""

    once = Patience(total_s=0.4, answer_s=0.4)

    async def by_asyncio(url: str) -> None:
        async with AsyncVerifyClient(url, "token", patience=once) as client:
            await client.verify("123456", user="ann")

    with answering(begins, drip=drip) as (url, asked):
        with pytest.raises(NoAnswerError, match="not whole in time"):
            if kind == "asyncio":
                asyncio.run(by_asyncio(url))
            with VerifyClient(url, "token", patience=once) as client:
                client.verify("123456", user="ann")
        assert asked


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """For `localhost`, signed by itself. → its file, and what a server does with it"""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "server.pem", folder / "server.key"
    public.write_bytes(made.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return public, context


def test_a_certificate_that_is_not_trusted_is_told_at_once(tmp_path):
    """No time is spent on asking again, and no code: nothing was sent."""
    ca_file, tls = certificate(tmp_path)
    yes = http("200 OK", b'{"accepted": true, "reason": "ok"}')
    patience = Patience(total_s=60)
    with answering(yes, tls=tls) as (url, asked):
        with VerifyClient(url, "token", ca_file=ca_file, patience=patience) as client:
            assert client.verify("123456", user="ann")
        before = len(asked)  # the answer's end may be lost in TLS: then it was asked again
        with (
            VerifyClient(url, "token", patience=patience) as client,
            pytest.raises(NoAnswerError) as caught,
        ):
            client.verify("123456", user="ann")
    assert asked[before:] == [b""]
    error = caught.value
    assert "not trusted" in error.what and "asked once" in error.what
    assert "not used" in error.kept and "--ca-file" in error.todo


def test_a_file_of_certificates_that_is_none(tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")
    for name in ("ca.pem", "missing.pem"):
        with pytest.raises(BadInputError, match=name):
            VerifyClient("https://id.example", "token", ca_file=tmp_path / name)


@pytest.mark.parametrize("value", [b'"soon"', b"[1]", b"-3", b"null", b"true", b"1e400"])
def test_a_time_to_wait_that_is_none(value):
    body = b'{"accepted": false, "reason": "throttled", "retry_after_s": %s}' % value
    said = read(429, httpx.Headers(), body)
    assert isinstance(said, CheckedCode) and said.reason == "throttled"
    assert said.retry_after_s in (0, 1)


def test_why_there_was_no_answer_is_told():
    away = http("503 Busy", b'{"error": {"what": "The database does not answer now."}}')
    for parts, says in (
        ((away,), "The database does not answer now."),
        ((), "RemoteProtocolError"),
    ):
        with answering(*parts) as (url, _):
            client = VerifyClient(url, "token", patience=SHORT)
            with client, pytest.raises(NoAnswerError, match=says) as caught:
                client.verify("123456", user="ann")
            assert "123456" not in str(caught.value)
    with (
        VerifyClient("http://127.0.0.1:1", "token", patience=SHORT) as client,
        pytest.raises(NoAnswerError, match="refused"),
    ):
        client.verify("123456", user="ann")


@pytest.mark.parametrize(
    "answer",
    [
        http("200 OK", b"<html>hello</html>"), http("200 OK", b"{}"), http("200 OK", b"[1]"),
        http("200 OK", b'{"accepted": "yes", "reason": "ok"}'), http("200 OK", b'{"accepted": 1}'),
        http("302 Found", b"", "location: http://127.0.0.1:1/"), http("404 Not Found"),
        http("200 OK", b'{"accepted": true}'), http("204 No Content"), http("401 No"),
        http("200 OK", b"[" * 60_000),
    ],
)  # fmt: skip
def test_what_no_server_of_ours_says_accepts_nothing(answer):
    """And a redirect is not followed: the token goes nowhere else."""
    with answering(answer) as (url, asked):
        with (
            VerifyClient(url, "token", patience=SHORT) as client,
            pytest.raises(CheckRefusedError) as caught,
        ):
            client.verify("123456", user="ann")
        assert len(asked) == 1 and caught.value.todo == "Check the server's URL."


@given(st.integers(100, 599), st.binary(max_size=200))
def test_no_bytes_are_taken_for_an_acceptance(status, content):
    try:
        said = read(status, httpx.Headers(), content)
    except CheckRefusedError:
        return
    assert isinstance(said, TryLater) or not said.accepted


@given(
    st.integers(100, 599),
    st.dictionaries(
        st.sampled_from(["accepted", "reason", "retry_after_s", "error", "method", "serial"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text() | st.floats(),
            lambda one: st.lists(one) | st.dictionaries(st.sampled_from(["code", "what"]), one),
        )
        | st.sampled_from(["throttled", "ok"]),
    ),
)
def test_whatever_json_an_answer_is_it_is_read(status, body):
    try:
        said = read(status, httpx.Headers(), json.dumps(body).encode())
    except CheckRefusedError as error:
        assert error.todo
        return
    accepted = isinstance(said, CheckedCode) and said.accepted
    assert not accepted or (status == 200 and body["accepted"] is True)


def test_a_server_that_asks_for_time_gets_it():
    busy = http("503 Busy", b"", "retry-after: 2")
    pauses: list[float] = []
    patience = Patience(total_s=1.5, answer_s=0.5)
    with answering(busy) as (url, asked):
        client = VerifyClient(url, "t", patience=patience, pause=pauses.append)
        with client, pytest.raises(NoAnswerError):
            client.verify("123456", user="ann")
        assert (len(asked), pauses) == (1, [])  # there was no time for another try


def test_a_server_that_cannot_be_reached_has_used_no_code():
    client = VerifyClient("http://127.0.0.1:1", "token", patience=SHORT)
    with client, pytest.raises(NoAnswerError, match="not reached, and the code not used"):
        client.verify("123456", user="ann")


def test_several_threads_share_a_client(url, token, server):
    seed = server.card()
    codes = [hotp(seed, n, 6) for n in range(6)]
    said: list[CheckedCode] = []
    with VerifyClient(url, token) as client:
        threads = [
            threading.Thread(target=lambda c=c: said.append(client.verify(c, user="ann")))
            for c in codes * 2
        ]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert sum(map(bool, said)) <= len(codes) and any(said)


PROGRAM = """
from tallystick.client import AsyncVerifyClient, CheckedCode, VerifyClient

with VerifyClient("https://id.example", "token") as client:
    answer: CheckedCode = client.verify("123456", user="ann")
    reveal_type(answer.accepted)
    client.verify(123456, user="ann")


async def ask() -> str:
    async with AsyncVerifyClient("https://id.example", "token") as client:
        return await client.verify("123456", serial="1")
"""


@pytest.mark.slow
def test_who_uses_it_is_type_checked(tmp_path):
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent",
         "--cache-dir", str(tmp_path / "cache"), str(file)],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert 'Revealed type is "bool"' in done.stdout, done.stdout + done.stderr
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert len(errors) == 2 and '"int"; expected "str"' in errors[0], errors
    assert "CheckedCode" in errors[1]
