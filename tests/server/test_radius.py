"""RADIUS, with FreeRADIUS' radclient where it is installed, and raw packets."""

from __future__ import annotations

import re
import secrets
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from pyrad import packet
from pyrad.dictionary import Dictionary

from tallystick.common.secret import Secret
from tallystick.server.rules.otp import hotp
from tallystick.server.services.radius import DICTIONARY, Mode, RadiusServer, RadiusSettings
from tallystick.server.serving.running import running_in_thread
from tallystick.server.state import open_state
from tests import needs
from tests.server.portal_driver import PASSWORD, Browser, Portal
from tests.server.test_portal import register_card

SECRET = secrets.token_hex(16)


class Vpn:
    """A network access server that asks."""

    def __init__(self, port: int) -> None:
        self.port = port

    def radclient(self, **attributes: str) -> str:
        """→ everything that radclient prints: the reply's kind and attributes."""
        lines = "\n".join(
            f"{name.replace('_', '-')} = {value if value.startswith('0x') else repr(value)}"
            for name, value in attributes.items()
        ).replace("'", '"')
        done = subprocess.run(
            ["radclient", "-x", "-r", "1", "-t", "5", f"127.0.0.1:{self.port}", "auth", SECRET],
            input=f"{lines}\nMessage-Authenticator = 0x00\n",
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return done.stdout + done.stderr

    def raw(self, data: bytes, wait_s: float = 5) -> bytes | None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(wait_s)
            sock.sendto(data, ("127.0.0.1", self.port))
            try:
                return sock.recv(4096)
            except TimeoutError:
                return None

    def request(self, secret: str = SECRET, *, signed: bool = True, **attributes: object):
        request = packet.AuthPacket(secret=secret.encode(), dict=Dictionary(str(DICTIONARY)))
        if signed:
            request.add_message_authenticator()
        for name, value in attributes.items():
            request[name.replace("_", "-")] = (
                request.PwCrypt(value) if name == "User_Password" else value
            )
        return request


@pytest.fixture
def mode() -> Mode:
    return Mode.CHALLENGE


@pytest.fixture
def vpn(portal, mode) -> Iterator[Vpn]:
    state = open_state(portal.settings)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        settings = RadiusSettings("default", Secret(SECRET.encode()), ("127.0.0.1/32",), mode)
        server = RadiusServer(state, settings, sock)
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        yield Vpn(sock.getsockname()[1])
        server.close()
        thread.join()
    state.close()


@pytest.fixture
def portal(settings, clock, tmp_path) -> Iterator[Portal]:
    sink = f"file://{tmp_path / 'sent.jsonl'}"
    settings = replace(settings, sms=sink, smtp=sink)
    with running_in_thread(settings) as url:
        yield Portal(url, settings, clock, tmp_path)
        Browser.close_all()


@pytest.fixture
def seed(portal, container_class) -> bytes:
    """ann has a card, whose next moving factor is 2."""
    seed = register_card(portal, container_class)
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann").get("/enrol/card").post("/enrol/card", serial="A1")
    browser.post("/enrol/card/A1/confirm", code=hotp(seed, 0, 6), second_code=hotp(seed, 1, 6))
    assert "is enrolled" in browser.page.text
    return seed


@needs.radclient.mark
def test_password_then_challenge(vpn, seed):
    asked = vpn.radclient(User_Name="ann", User_Password=PASSWORD)
    assert "Access-Challenge" in asked
    assert "Card A1" in asked
    state = re.search(r"State = (0x\w+)", asked).group(1)
    wrong = vpn.radclient(User_Name="ann", User_Password="000000", State=state)
    assert "Access-Reject" in wrong
    right = vpn.radclient(User_Name="ann", User_Password=hotp(seed, 2, 6), State=state)
    assert "Received Access-Accept" in right
    again = vpn.radclient(User_Name="ann", User_Password=hotp(seed, 3, 6), State=state)
    assert "Access-Reject" in again  # the attempt is over


@needs.radclient.mark
@pytest.mark.parametrize("mode", [Mode.APPEND])
def test_code_appended_to_the_password(vpn, seed):
    ask = lambda secret: vpn.radclient(User_Name="ann", User_Password=secret)  # noqa: E731
    assert "Access-Reject" in ask(PASSWORD)
    assert "Access-Reject" in ask(PASSWORD + "000000")
    assert "Access-Reject" in ask("wrong password" + hotp(seed, 2, 6))
    assert "Received Access-Accept" in ask(PASSWORD + hotp(seed, 2, 6))
    assert "Access-Reject" in ask(PASSWORD + hotp(seed, 2, 6))


@needs.radclient.mark
def test_without_a_second_factor_there_is_no_vpn(vpn, portal):
    portal.person("bob")
    assert "Access-Reject" in vpn.radclient(User_Name="bob", User_Password=PASSWORD)
    portal.policy(minimum_methods=0)
    assert "Received Access-Accept" in vpn.radclient(User_Name="bob", User_Password=PASSWORD)


@needs.radclient.mark
def test_a_code_by_sms(vpn, portal):
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann").get("/enrol/sms")
    browser.post("/enrol/sms", address="+4740000089")
    key = re.search(r"/enrol/sms/(\d+)/confirm", browser.page.text).group(1)
    browser.post(f"/enrol/sms/{key}/confirm", code=portal.code(1))
    asked = vpn.radclient(User_Name="ann", User_Password=PASSWORD)
    assert "was sent to you" in asked
    state = re.search(r"State = (0x\w+)", asked).group(1)
    answer = vpn.radclient(User_Name="ann", User_Password=portal.code(2), State=state)
    assert "Received Access-Accept" in answer


@pytest.mark.parametrize("mode", [Mode.APPEND])
def test_a_packet_that_comes_twice_is_judged_once(vpn, seed):
    request = vpn.request(User_Name="ann", User_Password=PASSWORD + hotp(seed, 2, 6))
    data = request.RequestPacket()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        for _ in range(3):
            sock.sendto(data, ("127.0.0.1", vpn.port))
        answers = {sock.recv(4096) for _ in range(3)}
    (answer,) = answers
    assert answer[0] == packet.AccessAccept
    assert answer[20] == 80  # Message-Authenticator comes first
    reply = request.CreateReply(packet=answer)
    assert request.VerifyReply(reply, answer, enforce_ma=True)


def test_what_is_dropped(vpn, seed):
    unsigned = vpn.request(signed=False, User_Name="ann", User_Password=PASSWORD)
    foreign = vpn.request("another secret", User_Name="ann", User_Password=PASSWORD)
    signed = vpn.request(User_Name="ann", User_Password=PASSWORD).RequestPacket()
    changed = signed[:-1] + bytes([signed[-1] ^ 1])
    for data in (
        b"",
        b"\x01\x02\x00\x14",
        bytes(20),
        secrets.token_bytes(100),
        unsigned.RequestPacket(),
        foreign.RequestPacket(),
        changed,
    ):
        assert vpn.raw(data, 0.1) is None
    assert vpn.raw(signed)[0] == packet.AccessChallenge
