"""CTAPHID packet by packet. Sections are of CTAP 2.1."""

from __future__ import annotations

import pytest
from fido2.ctap2 import ClientPin

from tests.emulator.reader.raw import CONFIG, PIN, Host
from tests.emulator.reader.rig import PIN as RIGHT
from tests.emulator.reader.rig import Rig

_PING, _INIT, _CBOR, _ERROR, _KEEPALIVE = 0x81, 0x86, 0x90, 0xBF, 0xBB
_NONCE = b"12345678"
_ALL = b"\xff" * 4


class Wire:
    """What a program writes, and what comes of it."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.channel = self.opened()

    def opened(self) -> bytes:
        (answer,) = self.say(_ALL, _INIT, _NONCE)
        return answer[15:19]

    def say(self, channel: bytes, first: int, data: bytes, size: int | None = None) -> list[bytes]:
        """The first packet of a message. size: what it says of itself, when it is not true."""
        said = len(data) if size is None else size
        return self.write(channel + bytes((first,)) + said.to_bytes(2, "big") + data)

    def go_on(self, channel: bytes, number: int, data: bytes = b"") -> list[bytes]:
        return self.write(channel + bytes((number,)) + data)

    def write(self, packet: bytes) -> list[bytes]:
        reports = self._rig.reader.reports
        reports.clear()
        self._rig.reader.write_report(packet.ljust(64, b"\0"))
        self._rig.reader.run_for(20)
        found = [one for one in reports if one[4] != _KEEPALIVE]
        reports.clear()
        return found


def _refused(answers: list[bytes], channel: bytes, code: int) -> bool:
    return [one[:8] for one in answers] == [channel + bytes((_ERROR, 0, 1, code))]


@pytest.fixture
def wire(rig: Rig) -> Wire:
    return Wire(rig)


def test_a_channel_is_given_and_begun_anew(wire: Wire) -> None:
    """11.2.9.1.3."""
    other = wire.opened()
    assert len({wire.channel, other, _ALL, bytes(4)}) == 4
    (answer,) = wire.say(other, _INIT, _NONCE)
    assert answer[:4] == other and answer[7:19] == _NONCE + other
    for size in (0, 7, 9):
        for channel in (other, _ALL):
            assert _refused(wire.say(channel, _INIT, _NONCE, size), channel, 0x03)


@pytest.mark.parametrize("channel", [bytes(4), _ALL, b"\x11\x22\x33\x44"])
def test_a_channel_that_was_not_given(wire: Wire, channel: bytes) -> None:
    """11.2.9.1.6, ERR_INVALID_CHANNEL. What goes on with nothing is left unanswered."""
    for first in (_PING, _CBOR, 0x88, 0x91):
        assert _refused(wire.say(channel, first, b"\x04"), channel, 0x0B)
    assert wire.go_on(channel, 0) == []


@pytest.mark.parametrize("number", range(3))
def test_nothing_is_done_twice(rig: Rig, number: int) -> None:
    """A packet that goes on with nothing, on channel 0, which is the one of no message: the last
    command, with the proof that came with it, is not what it goes on with."""
    client = ClientPin(rig.ctap())
    token = client.get_pin_token(RIGHT, ClientPin.PERMISSION.AUTHENTICATOR_CFG)
    proof = client.protocol.authenticate(token, b"\xff" * 32 + b"\x0d\x02")
    wire = Wire(rig)
    fill = {5: bytes(30 * number)}  # so that the next packet would have this number
    assert Host(rig).status(CONFIG, {1: 2, 3: 2, 4: proof, **fill}) == 0
    assert wire.go_on(bytes(4), number) == []
    rig.reader.run_for(1000)
    assert not rig.reader.reports
    assert rig.ctap().info.options["alwaysUv"]


@pytest.mark.parametrize("waits", [True, False])
def test_others_hear_that_the_reader_is_busy(wire: Wire, waits: bool) -> None:
    """11.2.5.3: with a message that is half there, or a command that waits for a touch."""
    other = wire.opened()
    if waits:
        assert wire.say(wire.channel, _CBOR, b"\x0b") == []
    else:
        assert wire.say(wire.channel, _PING, bytes(57), 100) == []
    for first in (_PING, _CBOR, 0x88):
        assert _refused(wire.say(other, first, b"\x04"), other, 0x06)
    if not waits:
        answers = wire.go_on(wire.channel, 0)
        assert [one[4] for one in answers] == [_PING, 0]


def test_a_message_out_of_its_order(wire: Wire) -> None:
    """11.2.9.1.6, ERR_INVALID_SEQ: a packet that is not next, and a new message inside of one."""
    for number in (1, 2, 0x7F):
        assert wire.say(wire.channel, _PING, bytes(57), 200) == []
        assert _refused(wire.go_on(wire.channel, number), wire.channel, 0x04)
        assert wire.go_on(wire.channel, 0) == []  # it is over
    assert wire.say(wire.channel, _PING, bytes(57), 200) == []
    assert wire.go_on(wire.channel, 0) == []
    assert _refused(wire.go_on(wire.channel, 0), wire.channel, 0x04)
    assert wire.say(wire.channel, _PING, bytes(57), 200) == []
    assert _refused(wire.say(wire.channel, _PING, b"new"), wire.channel, 0x04)
    (answer,) = wire.say(wire.channel, _PING, b"new")
    assert answer[7:10] == b"new"


def test_a_message_that_is_too_long(wire: Wire) -> None:
    """11.2.4: 7609 bytes are the most."""
    for size in (7610, 0xFFFF):
        assert _refused(wire.say(wire.channel, _PING, bytes(57), size), wire.channel, 0x03)
    assert _refused(wire.say(wire.channel, _CBOR, b"", 0), wire.channel, 0x03)
    assert _refused(wire.say(wire.channel, 0x83, b"\0"), wire.channel, 0x01)  # U2F


_SPOILED = {
    "no kind": {1: None}, "another kind": {1: 1}, "kind by true": {1: True},
    "no curve": {-1: None}, "another curve": {-1: 2}, "curve by true": {-1: True},
    "algorithm by text": {3: "-25"}, "no x": {-2: None}, "short x": {-2: bytes(31)},
    "long y": {-3: bytes(33)}, "y by number": {-3: 1}, "off the curve": {-3: b"\1" * 32},
}  # fmt: skip


@pytest.mark.parametrize("name", _SPOILED)
def test_a_platforms_key_that_is_none(rig: Rig, name: str) -> None:
    """6.5.6, decapsulate: INVALID_PARAMETER. It costs no try."""
    client = ClientPin(rig.ctap())
    keys, _ = client._get_shared_secret()
    spoiled = {key: value for key, value in {**keys, **_SPOILED[name]}.items() if value is not None}
    host = Host(rig)
    assert host.status(PIN, {1: 2, 2: 9, 3: spoiled, 6: bytes(32), 9: 4}) == 0x02
    assert host.status(PIN, {1: 2, 2: 6, 3: spoiled, 9: 4}) == 0x02
    assert client.get_pin_retries()[0] == 8
