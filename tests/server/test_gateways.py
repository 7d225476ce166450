"""Messages go out: SMTP to a real SMTP server, SMS by HTTP and SMPP, and the outbox between."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import smpp34
from aiosmtpd.controller import Controller
from sqlalchemy import func, select

from tallystick.common.errors import BadInputError, UnreachableError
from tallystick.server.messages import gateways, outbox
from tallystick.server.messages.gateways import Letter, gateway_from
from tallystick.server.messages.outbox import Outbox
from tallystick.server.serving.running import running_in_thread
from tallystick.server.store.models_login import MessageRow
from tallystick.server.store.opened import opened
from tests.server.portal_driver import Browser, Portal

LETTER = Letter("ann@elsewhere.example", "Ein Gruß", "123456 – café")


class Mailbox:
    """Handler of aiosmtpd that keeps what it gets."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.arrived = threading.Semaphore(0)

    async def handle_DATA(self, server, session, envelope) -> str:
        self.got.append(envelope.content)
        self.arrived.release()
        return "250 OK"


class SmtpServer(Controller):
    """On a free port."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@pytest.fixture
def smtp() -> Iterator[SmtpServer]:
    controller = SmtpServer(Mailbox(), hostname="127.0.0.1", port=0)
    controller.start()
    yield controller
    controller.stop()


def text_of(message) -> str:
    """The plain text, beside which there is a twin in HTML."""
    return message.get_payload(0).get_payload(decode=True).decode()


def test_mail_arrives_at_a_real_server(smtp):
    gateway = gateway_from(f"smtp://127.0.0.1:{smtp.port}", sender="firm@firm.example")
    gateway.send(LETTER)
    (raw,) = smtp.handler.got
    message = message_from_bytes(raw)
    assert message["to"] == LETTER.to
    assert message["from"] == "firm@firm.example"
    assert message["auto-submitted"] == "auto-generated"
    assert text_of(message).strip() == LETTER.text


def test_header_injection_is_impossible(smtp):
    gateway = gateway_from(f"smtp://127.0.0.1:{smtp.port}", sender="firm@firm.example")
    with pytest.raises(ValueError, match="Header"):
        gateway.send(Letter("ann@elsewhere.example\nbcc: eve@evil.example", "s", "t"))
    assert smtp.handler.got == []


def test_no_mail_in_clear_over_the_network(smtp, monkeypatch):
    gateway = gateway_from(f"smtp://mail.example:{smtp.port}", sender="firm@firm.example")
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *more, **named: resolve("127.0.0.1", *more, **named)
    )
    with pytest.raises(UnreachableError):
        gateway.send(LETTER)
    assert smtp.handler.got == []


@pytest.mark.parametrize("url", ["smtp://127.0.0.1:1", "http://127.0.0.1:1/", "smpp://127.0.0.1:1"])
def test_unreachable_gateways_say_so_without_the_text(url):
    with pytest.raises(UnreachableError) as error:
        gateway_from(url, sender="x").send(LETTER)
    assert "123456" not in str(error.value)


def test_unknown_kinds_are_refused():
    with pytest.raises(BadInputError, match="gopher"):
        gateway_from("gopher://x", sender="x")


def test_sms_over_http():
    got: list[tuple[str, str, dict]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            got.append((self.path, self.headers["authorization"], body))
            self.send_response(200 if len(got) == 1 else 500)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://user:s3cret@127.0.0.1:{server.server_port}/send?x=1"
        gateway = gateway_from(url, sender="x")
        gateway.send(Letter("+4740000089", "", "hello"))
        assert got == [("/send?x=1", "Bearer s3cret", {"to": "+4740000089", "text": "hello"})]
        with pytest.raises(UnreachableError):
            gateway.send(Letter("+4740000089", "", "hello"))
        server.shutdown()


class MessageCentre:
    """An SMS centre that is not ours (smpp34), in a thread of its own. It offers no port 0, so a
    free one is looked for; another process may be quicker, hence the tries."""

    def __init__(self, status: int) -> None:
        self.port = 0
        self.got: list[tuple[str, str, int, int, bytes]] = []
        self._status = status
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> MessageCentre:
        self._thread.start()
        assert self._ready.wait(60), "the SMS centre does not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._serving.cancel)
        self._thread.join(10)
        self._loop.close()

    def _run(self) -> None:
        self._serving = self._loop.create_task(self._serve())
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._serving)

    async def _serve(self) -> None:
        for _ in range(5):
            with socket.create_server(("127.0.0.1", 0)) as free:
                self.port = free.getsockname()[1]
            server = smpp34.Server("127.0.0.1", self.port, system_id="centre")
            try:
                await server.start()
                break
            except (OSError, smpp34.SmppError):
                continue
        self._ready.set()
        try:
            while True:
                event = await server.next()
                if isinstance(event, smpp34.SubmitSmEvent):
                    self.got.append(
                        (
                            event.source_addr,
                            event.destination_addr,
                            event.data_coding,
                            event.esm_class,
                            bytes(event.short_message),
                        )
                    )
                    if self._status:
                        event.reject(self._status)
                    else:
                        event.accept(message_id="id")
        finally:
            await server.stop()


def send_by_smpp(text: str, status: int = 0) -> list[tuple[str, str, int, int, bytes]]:
    with MessageCentre(status) as centre:
        url = f"smpp://me:pw@127.0.0.1:{centre.port}?sender=FIRM"
        gateway = gateway_from(url, sender="x")
        if status:
            with pytest.raises(UnreachableError):
                gateway.send(Letter("+4740000089", "", text))
        else:
            gateway.send(Letter("+4740000089", "", text))
        return centre.got


def test_sms_over_smpp():
    (got,) = send_by_smpp("123456 is your code")
    assert got == ("FIRM", "4740000089", 0, 0, b"123456 is your code")


@pytest.mark.parametrize("status", [smpp34.ESME_RTHROTTLED, smpp34.ESME_RINVDSTADR])
def test_sms_over_smpp_refused(status):
    """The message is kept, and tried again."""
    assert len(send_by_smpp("123456 is your code", status)) == 1


def test_long_sms_over_smpp_in_other_scripts():
    """UCS-2 in parts, each with its header (3GPP TS 23.040, 9.2.3.24.1)."""
    text = "123456 – код для входа в Ёлочка. " * 4
    parts = send_by_smpp(text)
    assert len(parts) == 2
    assert {(coding, kind) for _, _, coding, kind, _ in parts} == {(8, 0x40)}
    headers = [body[:6] for *_, body in parts]
    assert [header[3:] for header in headers] == [b"\xf0\x02\x01", b"\xf0\x02\x02"] or [
        header[4:] for header in headers
    ] == [b"\x02\x01", b"\x02\x02"]
    assert b"".join(body[6:] for *_, body in parts).decode("utf-16-be") == text


def test_the_outbox_sends_once_and_keeps_nothing(settings, clock, smtp):
    gateway = gateway_from(f"smtp://127.0.0.1:{smtp.port}", sender="firm@firm.example")
    with opened(settings) as parts:
        with parts.database.write() as connection:
            outbox.post(
                connection,
                parts.ring,
                firm_id=1,
                channel=outbox.EMAIL,
                letter=LETTER,
                now=clock(),
            )
        stored = parts.database.engine.raw_connection()
        assert "123456" not in str(stored.execute("SELECT * FROM message").fetchall())
        stored.close()
        boxes = [Outbox(parts.database, parts.ring, {"email": gateway}, clock) for _ in range(2)]
        for box in boxes:
            box.wake()
        assert smtp.handler.arrived.acquire(timeout=60)
        for box in boxes:
            box.close()
        assert len(smtp.handler.got) == 1
        with parts.database.read() as connection:
            assert connection.scalar(select(func.count()).select_from(MessageRow)) == 0


def test_a_failed_message_is_tried_again_later(settings, clock):
    class Failing:
        tries = 0
        tried = threading.Semaphore(0)

        def send(self, letter: Letter) -> None:
            self.tries += 1
            self.tried.release()
            raise UnreachableError("down")

    failing = Failing()
    with opened(settings) as parts:
        with parts.database.write() as connection:
            outbox.post(
                connection,
                parts.ring,
                firm_id=1,
                channel=outbox.SMS,
                letter=LETTER,
                now=clock(),
                life_s=300,
            )
        box = Outbox(parts.database, parts.ring, {"sms": failing}, clock)
        box.wake()
        assert failing.tried.acquire(timeout=60)
        clock.advance(61)
        box.wake()
        assert failing.tried.acquire(timeout=60)
        box.close()
        assert failing.tries == 2
        with parts.database.read() as connection:
            assert connection.scalar(select(MessageRow.tries)) == 2


def test_an_e_mail_code_through_a_real_mail_server(settings, clock, smtp, tmp_path):
    settings = replace(settings, smtp=f"smtp://127.0.0.1:{smtp.port}", mail_from="f@firm.example")
    with running_in_thread(settings) as url:
        Portal(url, settings, clock, tmp_path).person("ann")
        browser = Browser(url).sign_in("ann").get("/enrol/email")
        browser.post("/enrol/email", address="ann@elsewhere.example")
        assert smtp.handler.arrived.acquire(timeout=60)
        text = text_of(message_from_bytes(smtp.handler.got[0]))
        key = re.search(r"/enrol/email/(\d+)/confirm", browser.page.text).group(1)
        code = re.search(r"\b\d{6}\b", text).group()
        browser.post(f"/enrol/email/{key}/confirm", code=code)
        assert "is enrolled" in browser.page.text
        assert smtp.handler.arrived.acquire(timeout=60)  # the notice of it
        notice = text_of(message_from_bytes(smtp.handler.got[1]))
        assert "a way to sign in was added" in notice
        Browser.close_all()


def listening(answer: bytes = b"") -> socket.socket:
    """A mail server that takes a connection, says this much, and then nothing."""
    server = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                kept.append(connection)
                connection.sendall(answer)
        for connection in kept:
            connection.close()

    kept: list[socket.socket] = []
    threading.Thread(target=accept, daemon=True).start()
    return server


def test_a_mail_server_that_hangs_holds_up_no_sms(settings, clock, tmp_path):
    sink = tmp_path / "sms.jsonl"
    with listening() as hangs, opened(settings) as parts:
        ways = {
            outbox.EMAIL: gateway_from(f"smtp://127.0.0.1:{hangs.getsockname()[1]}", sender="x"),
            outbox.SMS: gateway_from(f"file://{sink}", sender="x"),
        }
        with parts.database.write() as connection:
            for channel in (outbox.EMAIL, outbox.SMS):
                outbox.post(
                    connection, parts.ring, firm_id=1, channel=channel, letter=LETTER, now=clock()
                )
        sending = Outbox(parts.database, parts.ring, ways, clock)
        sending.wake()
        for _ in range(int(gateways.TIMEOUT_S / 2 / 0.02)):  # well before the other one gives up
            if sink.exists():
                break
            threading.Event().wait(0.02)
        assert LETTER.text in json.loads(sink.read_text())["text"]
        hangs.shutdown(socket.SHUT_RDWR)
        sending.close()


def test_a_mail_server_that_trickles_is_cut_off(monkeypatch):
    """Each answer comes in time; all of them together do not."""
    monkeypatch.setattr(gateways, "DEADLINE_S", 0.3)
    server = socket.create_server(("127.0.0.1", 0))

    def trickle() -> None:
        connection, _ = server.accept()
        with contextlib.suppress(OSError), connection:
            connection.sendall(b"220 here\r\n")
            connection.recv(1000)
            connection.sendall(b"250 here\r\n")
            connection.recv(1000)
            while True:  # a long answer to the next word
                connection.sendall(b"250-x\r\n")
                threading.Event().wait(0.05)

    threading.Thread(target=trickle, daemon=True).start()
    gateway = gateway_from(f"smtp://127.0.0.1:{server.getsockname()[1]}", sender="x@x")
    with server, pytest.raises(UnreachableError):
        gateway.send(LETTER)
