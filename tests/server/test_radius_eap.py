"""EAP-GTC within RADIUS: RFC 3579, RFC 3748."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyrad import packet
from pyrad.dictionary import Dictionary

from tallystick.server.rules.otp import hotp
from tallystick.server.services import radius_eap
from tallystick.server.services.radius import DICTIONARY
from tallystick.server.services.radius_clients import Mode
from tests.server.portal_driver import PASSWORD
from tests.server.test_radius import SECRET, Vpn, mode, portal, seed, terms, vpn

__all__ = ["mode", "portal", "seed", "terms", "vpn"]
ALLOWED = pytest.mark.parametrize("terms", [{"eap_gtc": True}])
APPEND = pytest.mark.parametrize("mode", [Mode.APPEND])


def response(identifier: int, kind: int, data: bytes) -> bytes:
    return bytes([2, identifier]) + (5 + len(data)).to_bytes(2, "big") + bytes([kind]) + data


class Peer:
    """A VPN server that passes on what its client says."""

    def __init__(self, vpn: Vpn, name: str = "ann") -> None:
        self.vpn, self.name, self.state = vpn, name, b""
        self.identifier = 7

    def send(self, eap: bytes, wait_s: float = 5, **more: object):
        state = {"State": self.state} if self.state else {}
        request = self.vpn.request(User_Name=self.name, **state, **more)
        for part in radius_eap.attributes(eap) if eap else [b""]:
            request.AddAttribute("EAP-Message", part)
        data = self.vpn.raw(request.RequestPacket(), wait_s)
        if data is None:
            return None, b""
        answer = request.CreateReply(packet=data)
        assert request.VerifyReply(answer, data) and "Reply-Message" not in answer
        self.state = answer.get("State", [b""])[0]
        message = b"".join(answer["EAP-Message"])
        self.identifier = message[1]
        return answer.code, message

    def say(self, text: str | bytes):
        data = text if isinstance(text, bytes) else text.encode()
        return self.send(response(self.identifier, radius_eap.GTC, data))

    def begin(self):
        return self.send(response(7, radius_eap.IDENTITY, self.name.encode()))


def test_rfc_3748_forms():
    answer = radius_eap.heard([response(3, 1, b"a" * 252), b"b"][:1])
    assert (answer.identifier, answer.kind, answer.data) == (3, 1, b"a" * 252)
    assert radius_eap.question(answer, "Code:") == b"\x01\x04\x00\x0a\x06Code:"
    assert radius_eap.question(radius_eap.EapAnswer(255, 6, b""), "") == b"\x01\x00\x00\x05\x06"
    assert radius_eap.verdict(answer, accepted=True) == b"\x03\x03\x00\x04"
    assert radius_eap.verdict(answer, accepted=False) == b"\x04\x03\x00\x04"


@given(st.integers(0, 255), st.integers(1, 255), st.binary(max_size=700))
def test_over_several_attributes(identifier, kind, data):
    parts = list(radius_eap.attributes(response(identifier, kind, data)))
    assert all(len(part) <= 253 for part in parts)
    assert radius_eap.heard(parts) == radius_eap.EapAnswer(identifier, kind, data)


@given(st.lists(st.binary(max_size=20), max_size=4))
def test_any_bytes_are_read_or_refused(parts):
    try:
        answer = radius_eap.heard(parts)
    except ValueError:
        return
    assert answer.kind >= 0 and len(answer.data) <= sum(map(len, parts))


@ALLOWED
@APPEND
def test_password_and_code_in_one(vpn, seed):
    peer = Peer(vpn)
    code, asked = peer.begin()
    assert (
        code == packet.AccessChallenge and asked[4:].decode("latin-1") == "\x06Password and code:"
    )
    code, said = peer.say(f"{PASSWORD}000000")
    assert (code, said[0]) == (packet.AccessReject, radius_eap.FAILURE)
    right = Peer(vpn)
    right.begin()
    code, said = right.say(PASSWORD + hotp(seed, 2, 6))
    assert (code, said[0], said[1]) == (packet.AccessAccept, radius_eap.SUCCESS, 8)
    again = Peer(vpn)
    again.begin()
    assert again.say(PASSWORD + hotp(seed, 2, 6))[0] == packet.AccessReject


@ALLOWED
def test_password_then_code(vpn, seed):
    peer = Peer(vpn)
    code, asked = peer.send(b"")  # EAP-Start
    assert code == packet.AccessChallenge and asked[5:] == b"Password:"
    code, asked = peer.say(PASSWORD)
    assert code == packet.AccessChallenge and b"Card A1" in asked
    code, said = peer.say(hotp(seed, 2, 6))
    assert (code, said[0]) == (packet.AccessAccept, radius_eap.SUCCESS)


@ALLOWED
@APPEND
@pytest.mark.parametrize(
    "eap",
    [
        response(7, radius_eap.IDENTITY, b"bob"), response(7, radius_eap.NAK, b"\x1a"),
        response(7, 26, b"x"), response(7, radius_eap.GTC, b"x"),
    ],
)  # fmt: skip
def test_what_is_refused(vpn, seed, eap):
    """Another name than RADIUS', another method, an answer to no question."""
    code, said = Peer(vpn).send(eap)
    assert (code, said[0]) == (packet.AccessReject, radius_eap.FAILURE)


@ALLOWED
@APPEND
@pytest.mark.parametrize("eap", ["0107000501", "02", "02070004", "0207ffff01"])
def test_what_is_no_eap_is_dropped(vpn, seed, eap):
    assert Peer(vpn).send(bytes.fromhex(eap), wait_s=0.3) == (None, b"")


@ALLOWED
@APPEND
def test_what_is_not_utf_8_is_refused(vpn, seed, caplog):
    peer = Peer(vpn)
    peer.begin()
    code, said = peer.say(b"\xff\xfe")
    assert (code, said[0]) == (packet.AccessReject, radius_eap.FAILURE)
    assert "not UTF-8" in caplog.text


@APPEND
def test_unless_the_client_may(vpn, seed, caplog):
    code, said = Peer(vpn).begin()
    assert (code, said[0]) == (packet.AccessReject, radius_eap.FAILURE)
    assert "eap_gtc" in caplog.text


@APPEND
@pytest.mark.parametrize("terms", [{"eap_gtc": True, "allow_unsigned": True}])
def test_eap_is_never_let_in_unsigned(vpn, seed):
    request = packet.AuthPacket(secret=SECRET.encode(), dict=Dictionary(str(DICTIONARY)))
    request["User-Name"] = "ann"
    request.AddAttribute("EAP-Message", response(7, 1, b"ann"))
    assert vpn.raw(request.RequestPacket(), 0.3) is None


@ALLOWED
def test_that_passwords_travel_in_clear_is_said_loudly(vpn, caplog):
    assert any("in clear" in one.message for one in caplog.get_records("setup"))
