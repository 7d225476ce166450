"""What another program, or the same one, says at any instant of a command."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from fido2 import cbor

from tests.emulator.reader.raw import (
    ASSERT,
    ES256,
    HASH,
    INFO,
    MAKE,
    PARTY,
    PIN,
    SELECTION,
    USER,
    Host,
)
from tests.emulator.reader.rig import Rig

_PING, _LOCK, _INIT, _WINK, _CBOR, _CANCEL = 0x81, 0x84, 0x86, 0x88, 0x90, 0x91
_ERROR, _KEEPALIVE, _GO_ON = 0xBF, 0xBB, 0x00
_ALL = b"\xff" * 4
_INSTANTS = 8  # of each command and interruption
_SHORTLY_US = 100_000  # before the end: what comes then may wait for that

_VERIFIED = {"uv": True}
_REGISTER = {1: HASH, 2: PARTY, 3: USER, 4: ES256, 7: {"rk": True, "uv": True}}
COMMANDS = {
    "register": (MAKE, _REGISTER),
    "log in": (ASSERT, {1: "example.com", 2: HASH, 5: _VERIFIED}),
    "touch": (SELECTION, None),
    "information": (INFO, None),
    "key agreement": (PIN, {1: 2, 2: 2}),
}


class _Bus:
    """Packets in and out, by channel."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.mine, self.other = (Host(rig).device._channel_id.to_bytes(4, "big") for _ in range(2))

    def message(self, channel: bytes, command: int, data: bytes) -> None:
        head = channel + bytes((command,)) + len(data).to_bytes(2, "big")
        packets = [head + data[:57]]
        rest = data[57:]
        for number in range((len(rest) + 58) // 59):
            part = rest[number * 59 : number * 59 + 59]
            packets.append(channel + bytes((number,)) + part)
        for packet in packets:
            self.rig.reader.write_report(packet.ljust(64, b"\0"))

    def answers(self, channel: bytes) -> list[bytes]:
        """Whole messages: command and content; no keep-alives."""
        found: list[bytes] = []
        left = 0
        for report in self.rig.reader.reports:
            if report[:4] != channel or report[4] == _KEEPALIVE:
                continue
            if report[4] & 0x80:
                left = int.from_bytes(report[5:7], "big")
                found.append(report[4:5] + report[7 : 7 + left])
                left -= 57
            else:
                found[-1] += report[5 : 5 + max(0, left)]
                left -= 59
        return found


def _own(answers: list[bytes]) -> list[bytes]:
    """Answers of the command itself, one at most; not of what came meanwhile."""
    return [one[1:2] for one in answers if one[:1] == bytes((_CBOR,))]


def _say(channel: str, command: int, data: bytes = b"") -> Callable[[_Bus], None]:
    def say(bus: _Bus) -> None:
        where = {"mine": bus.mine, "other": bus.other, "all": _ALL}[channel]
        bus.message(where, command, data)

    return say


def _half(bus: _Bus) -> None:
    bus.rig.reader.write_report(bus.other + bytes((_PING, 0, 100)) + bytes(57))


def _goes_on(bus: _Bus) -> None:
    for number in (0, 1, 0x7F):
        for channel in (bus.other, bus.mine, bytes(4), _ALL):
            bus.rig.reader.write_report(channel + bytes((number,)) + bytes(59))


_BUSY = bytes((_ERROR, 0x06))
MEANWHILE: dict[str, tuple[Callable[[_Bus], None], set[bytes]]] = {
    # what is said, and what the other channel may hear
    "cancel, another": (_say("other", _CANCEL), set()),
    "ping, another": (_say("other", _PING, b"ab"), {_BUSY, bytes((_PING,)) + b"ab"}),
    "wink, another": (_say("other", _WINK), {_BUSY, bytes((_WINK,))}),
    "lock, another": (_say("other", _LOCK, b"\x05"), {_BUSY, bytes((_ERROR, 0x01))}),
    "command, another": (_say("other", _CBOR, bytes((INFO,))), {_BUSY, bytes((_CBOR, 0))}),
    "half, another": (_half, {_BUSY, bytes((_ERROR, 0x05))}),
    "goes on with nothing": (_goes_on, set()),
}


def _run(bus: _Bus, name: str, at_us: int, say: Callable[[_Bus], None]) -> int:
    """The command, somebody who presses, and what is said meanwhile. → µs from that to the
    answer."""
    rig = bus.rig
    number, request = COMMANDS[name]
    pressed = False
    take, over = rig.reader.on_report, 0

    def press(report: bytes) -> None:
        nonlocal pressed, over
        if report[:5] == bus.mine + bytes((_CBOR,)):
            over = rig.reader.clock.now
        if report[4] == _KEEPALIVE and report[7] == 2 and not pressed:
            pressed = True
            rig.sensor.press("thumb", after_ms=300)
        take(report)

    rig.reader.on_report = press
    rig.reader.reports.clear()
    body = b"" if request is None else cbor.encode(request)
    bus.message(bus.mine, _CBOR, bytes((number,)) + body)
    said = rig.reader.clock.now + at_us
    rig.reader.clock.after(at_us, lambda: say(bus))
    rig.reader.run_for(4000)
    rig.reader.on_report = take
    return over - said


def _lasts(bus: _Bus, name: str) -> int:
    return _run(bus, name, 0, lambda _: None)


@pytest.fixture
def bus(rig: Rig) -> _Bus:
    rig.register()
    return _Bus(rig)


def _whole(bus: _Bus) -> None:
    """Nothing is left of it, and no try was lost."""
    bus.rig.reader.reports.clear()
    bus.rig.sensor.lift()
    host = Host(bus.rig)
    assert host.status(INFO) == 0
    assert host.ask(PIN, {1: 2, 2: 7})[1] == {5: 5}
    assert host.ask(PIN, {2: 1})[1] == {3: 8, 4: False}
    assert bus.rig.reader.mcu.boots == 1
    bus.message(bus.mine, _CBOR, bytes((INFO,)))
    bus.rig.reader.run_for(500)
    assert _own(bus.answers(bus.mine)) == [b"\0"]


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("said", MEANWHILE)
def test_another_channel_changes_nothing(bus: _Bus, name: str, said: str) -> None:
    """11.2.5.3 and 11.2.9.1: it hears that the reader is busy, or an answer of its own."""
    say, allowed = MEANWHILE[said]
    rng = random.Random(name + said)
    lasts = _lasts(bus, name)
    for _ in range(_INSTANTS):
        late = _run(bus, name, rng.randrange(lasts), say) < _SHORTLY_US
        assert _own(bus.answers(bus.mine)) == [b"\0"]
        heard = [one[:2] if one[0] == _CBOR else one for one in bus.answers(bus.other)]
        assert set(heard) <= allowed and len(heard) == bool(allowed)
        assert late or not allowed or heard == [_BUSY]
        _whole(bus)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_second_message_finds_the_channel_busy(bus: _Bus, name: str) -> None:
    rng = random.Random(name)
    lasts = _lasts(bus, name)
    for _ in range(_INSTANTS):
        late = _run(bus, name, rng.randrange(lasts), _say("mine", _PING, b"ab")) < _SHORTLY_US
        answers = bus.answers(bus.mine)
        assert _own(answers) == [b"\0"]
        (heard,) = [one for one in answers if one[0] != _CBOR]
        assert heard == _BUSY or (late and heard == bytes((_PING,)) + b"ab")
        _whole(bus)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_cancelled_or_done(bus: _Bus, name: str) -> None:
    """11.2.9.1.5: one answer, and none to CANCEL itself."""
    rng = random.Random(name)
    lasts = _lasts(bus, name)
    seen = set()
    for _ in range(3 * _INSTANTS):
        _run(bus, name, rng.randrange(lasts), _say("mine", _CANCEL))
        (status,) = _own(bus.answers(bus.mine))
        assert len(bus.answers(bus.mine)) == 1 and not bus.answers(bus.other)
        seen.add(status)
        _whole(bus)
    assert seen == ({b"\0", b"\x2d"} if name in ("register", "log in", "touch") else {b"\0"})


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("channel", ["mine", "other", "all"])
def test_a_channel_is_begun_anew_at_once(bus: _Bus, name: str, channel: str) -> None:
    """11.2.9.1.3: also while a command runs. Its own channel hears nothing of that afterwards."""
    rng = random.Random(name + channel)
    lasts = _lasts(bus, name)
    number = {"mine": bus.mine, "other": bus.other, "all": _ALL}[channel]
    for _ in range(_INSTANTS):
        say = _say(channel, _INIT, b"12345678")
        late = _run(bus, name, rng.randrange(lasts), say) < _SHORTLY_US
        answers = bus.answers(number)
        (begun,) = [one for one in answers if one[0] == _INIT]
        assert begun[1:9] == b"12345678"
        mine = bus.answers(bus.mine)
        if channel == "mine":
            assert [one[0] for one in mine] in ([_INIT], [_CBOR, _INIT][1 - late :])
        else:
            assert _own(mine) == [b"\0"]
        _whole(bus)


def test_a_finger_that_the_sensor_does_not_see_is_cancelled(bus: _Bus) -> None:
    """While it is felt, and asked for again and again."""
    rig = bus.rig
    rig.sensor.quality = 2  # no finger
    bus.message(bus.mine, _CBOR, bytes((ASSERT,)) + cbor.encode(COMMANDS["log in"][1]))
    rig.reader.clock.after(300_000, lambda: rig.sensor.present("thumb"))
    rig.reader.clock.after(900_000, lambda: bus.message(bus.mine, _CANCEL, b""))
    rig.reader.run_for(1_500)
    assert _own(bus.answers(bus.mine)) == [b"\x2d"]
    rig.sensor.quality = 0
    _whole(bus)
