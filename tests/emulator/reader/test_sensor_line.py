"""What comes on the sensor's line and is no whole answer: nobody is verified by that."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fido2.ctap import CtapError
from fido2.ctap2 import ClientPin
from fido2.ctap2.bio import CaptureError, FPBioEnrollment

from tallystick.emulator.clock import Clock
from tallystick.tools.campaign.reader.sensor import ScriptedSensor
from tests.emulator.reader import rig as rigs
from tests.emulator.reader.raw import ASSERT, HASH, INFO, SELECTION, Host, permitted, refused
from tests.emulator.reader.rig import Rig

_SEARCH, _MERGE, _PARAMETERS, _CAPTURE, _LIGHT = 0x04, 0x05, 0x0F, 0x28, 0x35
_EXTRACT, _STORE, _VERIFY = 0x02, 0x06, 0x13
_MATCH = b"\x00\x00\x00\x00\x64"  # page 0, with a score
_GET_ASSERTION = ClientPin.PERMISSION.GET_ASSERTION


def _packet(kind: int, payload: bytes, wrong: int = 0) -> bytes:
    body = bytes((kind,)) + (len(payload) + 2).to_bytes(2, "big") + payload
    return b"\xef\x01\xff\xff\xff\xff" + body + (sum(body) + wrong & 0xFFFF).to_bytes(2, "big")


def _verify(rig: Rig, finger: str, on_keepalive: Callable[[int], None] | None = None) -> int:
    """Status of a token by this finger."""
    try:
        ClientPin(rig.ctap()).get_uv_token(
            _GET_ASSERTION, "example.com", on_keepalive=on_keepalive or rig.pressing(finger)
        )
    except CtapError as error:
        return int(error.code)
    return 0


SPOILT = {
    "a wrong sum": _packet(7, _MATCH, wrong=1),
    "a sum that is off by 256": _packet(7, _MATCH, wrong=256),
    "a command": _packet(1, _MATCH),
    "data": _packet(2, _MATCH),
    "the end of data": _packet(8, _MATCH),
    "cut off": _packet(7, _MATCH)[:-1],
    "another start": b"\xef\x02" + _packet(7, _MATCH)[2:],
}


def _searches(rig: Rig, answer: Callable[[int, bytes], bytes]) -> list[bytes]:
    """What the sensor says to searches is `answer(how many there were, the true one)`. → the true
    ones, as they come"""
    genuine: list[bytes] = []

    def garble(packet: bytes) -> bytes:
        if rig.sensor.commands[-1] != _SEARCH:
            return packet
        genuine.append(packet)
        return answer(len(genuine), packet)

    rig.sensor.garble = garble
    return genuine


@pytest.mark.parametrize("name", SPOILT)
def test_what_is_no_answer_verifies_nobody(rig: Rig, name: str) -> None:
    """In place of the true one: it is asked again, and whom the reader does not know stays so."""
    searches = _searches(rig, lambda number, packet: SPOILT[name] if number == 1 else packet)
    assert _verify(rig, "stranger") == 0x2F  # pressed once, and nobody comes after that
    assert len(searches) == 2 and ClientPin(rig.ctap()).get_uv_retries() == 4
    assert _verify(rig, "thumb") == 0


@pytest.mark.parametrize("name", SPOILT)
def test_an_answer_right_behind_is_heard(rig: Rig, name: str) -> None:
    """Both come at once: nothing more does, and it is not asked again."""
    searches = _searches(rig, lambda _, packet: SPOILT[name] + packet)
    assert _verify(rig, "thumb") == 0
    assert len(searches) == 1


def _late(rig: Rig, packet: bytes) -> None:
    """Of what was asked twice, and comes when the next has been asked."""
    rig.reader.clock.after(10_000, lambda: rig.sensor._send(packet))


PARAMETERS = {"quiet": 0x0000, "open": 0x0004}  # what its register says
_MORE = b"\0\0\0\xc8\0\3\xff\xff\xff\xff\0\1\0\6"
LATE = {
    **{name: b"\x00" + word.to_bytes(2, "big") + _MORE for name, word in PARAMETERS.items()},
    "pages": b"\x00" + bytes(32),
    "good": b"\x00",
    "four bytes": _MATCH[:4],
    "six bytes": _MATCH + b"\0",
}


@pytest.mark.parametrize("name", LATE)
def test_a_late_answer_of_another_command_is_no_match(rig: Rig, name: str) -> None:
    """It is no answer to a search by its length: the true one is waited for."""
    late = _packet(7, LATE[name])

    searches = _searches(rig, lambda _, packet: late + packet)
    assert _verify(rig, "stranger") == 0x2F
    assert len(searches) == 1 and ClientPin(rig.ctap()).get_uv_retries() == 4
    assert _verify(rig, "thumb") == 0
    assert len(searches) == 2


def test_a_module_asked_twice_whether_it_is_there(rig: Rig) -> None:
    """A search is not answered; the question between both is answered twice, the second time while
    the search is awaited that is asked again."""
    said: list[bytes] = []

    def garble(packet: bytes) -> bytes:
        asked = rig.sensor.commands[-1]
        if asked == _SEARCH and not said:
            said.append(packet)
            return b""
        if asked == _PARAMETERS and said and len(said) == 1:
            said.append(packet)
            _late(rig, packet)
        return packet

    rig.sensor.garble = garble
    assert _verify(rig, "stranger") == 0x2F
    assert len(said) == 2 and ClientPin(rig.ctap()).get_uv_retries() == 4


def test_a_late_answer_of_a_search_is_no_parameters(rig: Rig) -> None:
    """It comes while the module is asked whether it is there: the search is asked again."""
    searches = _searches(rig, lambda number, packet: b"" if number == 1 else packet)
    late = _packet(7, _MATCH)
    own = rig.sensor.garble

    def garble(packet: bytes) -> bytes:
        again = rig.sensor.commands[-1] == _PARAMETERS and len(searches) == 1
        return late + packet if again else own(packet)

    rig.sensor.garble = garble
    assert _verify(rig, "stranger") == 0x2F
    assert len(searches) == 2 and ClientPin(rig.ctap()).get_uv_retries() == 4


def test_a_light_that_is_told_late_is_no_image(rig: Rig) -> None:
    """Taken for the image, everything would be one answer off, and the sample that is searched for
    the one of the thumb before."""
    assert _verify(rig, "thumb") == 0
    rig.reader.run_for(2000)  # it is lifted
    late: list[bytes] = []

    def garble(packet: bytes) -> bytes:
        if rig.sensor.commands[-1] != _LIGHT or late:
            return packet
        late.append(packet)
        return b""

    def asked(command: int) -> bool:
        if late and command in (_CAPTURE, _PARAMETERS) and len(late) == 1:
            late.append(b"")
            rig.reader.clock.after(5_000, lambda: rig.sensor._send(late[0]))
        return False

    def press(status: int) -> None:
        if status == 2 and not pressed:
            pressed.append(status)
            rig.sensor.press("stranger", ms=2000)

    pressed: list[int] = []
    rig.sensor.garble = garble
    rig.sensor.fault = asked
    assert _verify(rig, "stranger", press) == 0x2F
    assert len(late) == 2 and ClientPin(rig.ctap()).get_uv_retries() == 4


def test_lights_that_are_told_late_are_no_template(rig: Rig) -> None:
    """Two in a row, each slower than it is waited for: the first is taken for the second, and the
    second must not be for the merge, nor the merge for the store, which the module refuses.
    """
    clock, idle, lights = rig.reader.clock, 0, 0

    def garble(packet: bytes) -> bytes:
        nonlocal idle, lights
        asked = rig.sensor.commands[-1]
        if rig.sensor.commands.count(_EXTRACT) < 6:
            return packet
        lights += asked == _LIGHT
        idle = max(idle, clock.now) + (400_000 if asked == _LIGHT and lights <= 2 else 1_000)
        answer = _packet(7, b"\x18") if asked == _STORE else packet  # flash of its own that is worn
        clock.after(idle - clock.now, lambda: rig.sensor._send(answer))
        return b""

    rig.sensor.commands.clear()
    rig.sensor.garble = garble
    with pytest.raises(CtapError) as refused:
        rig.enrol("index")
    assert refused.value.code == CtapError.ERR.OTHER
    rig.sensor.garble = lambda packet: packet
    client, token = permitted(rig, ClientPin.PERMISSION.BIO_ENROLL)
    assert len(FPBioEnrollment(client.ctap, client.protocol, token).enumerate_enrollments()) == 1


class _Deaf:
    """The module hears nothing while it works, and says the answer to the `number`th `asked` once
    more, as soon as a `behind` comes."""

    def __init__(self, rig: Rig, asked: int, behind: int, number: int = 1) -> None:
        self._rig, self._asked, self._behind, self._left = rig, asked, behind, number
        self._works = 0  # at this command
        self._told = b""
        self.said = 0
        rig.sensor.fault, rig.sensor.garble = self._hear, self._say

    def _hear(self, command: int) -> bool:
        if command == self._behind and self._told:
            packet, self._told = self._told, b""
            self.said += 1
            self._rig.reader.clock.after(1_000, lambda: self._rig.sensor._send(packet))
        busy = bool(self._works)
        self._works = self._works or command
        return busy

    def _say(self, packet: bytes) -> bytes:
        asked, self._works = self._works, 0
        if asked != self._asked:
            return packet
        self._left -= 1
        if self._left:
            return packet
        self._told = packet
        return packet


def test_a_light_that_is_told_twice_is_no_image(rig: Rig) -> None:
    """What follows is not heard while the image is taken, and the image's answer would be the
    sample's: the one that is searched for would be the thumb's before."""
    assert _verify(rig, "thumb") == 0
    rig.reader.run_for(2000)  # it is lifted
    line = _Deaf(rig, _LIGHT, _CAPTURE)
    assert _verify(rig, "stranger") == 0x2F and line.said == 1
    assert ClientPin(rig.ctap()).get_uv_retries() == 4


def test_a_sample_that_is_told_twice_is_no_template(rig: Rig) -> None:
    """Everything behind it would be one answer off: the light's the merge's, and the merge's the
    store's, for which there is no room."""
    line = _Deaf(rig, _EXTRACT, _LIGHT, 6)
    rig.sensor.room = len(rig.sensor.templates)
    with pytest.raises(CaptureError):
        rig.enrol("index")
    assert line.said == 1 and len(rig.sensor.templates) == 1
    client, token = permitted(rig, ClientPin.PERMISSION.BIO_ENROLL)
    assert len(FPBioEnrollment(client.ctap, client.protocol, token).enumerate_enrollments()) == 1


class _Mute(ScriptedSensor):
    """Nothing is heard of it until its `fault` is another."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.fault = lambda command: True


def test_a_new_module_that_answers_late_is_given_its_password(
    monkeypatch: pytest.MonkeyPatch, new_rig: Callable[..., Rig]
) -> None:
    """It is asked twice whether it has none. What it says to the second is not its word on the
    reader's own, which it has not heard."""
    monkeypatch.setattr(rigs, "ScriptedSensor", _Mute)
    fresh = new_rig()
    sensor, clock = fresh.sensor, fresh.reader.clock
    heard: list[int] = []
    said: list[bytes] = []

    def late(packet: bytes) -> bytes:
        said.append(packet)
        if len(said) == 2:
            clock.after(100_000, lambda: sensor._send(packet))
        return packet if len(said) > 2 else b""

    def hear(command: int) -> bool:
        heard.append(command)
        if len(heard) == 2:
            clock.after(1_000, lambda: sensor._send(said[0]))
        return len(heard) == 3

    sensor.garble, sensor.fault = late, hear
    fresh.reader.run_for(8000)
    assert heard[:3] == [_VERIFY] * 3 and sensor.password


FLOODS = {
    "noise": b"\xef" * 40,
    "starts": b"\xef\x01" * 20,
    "a huge length": b"\xef\x01\xff\xff\xff\xff\x07\xff\xff" + bytes(31),
    "no length": b"\xef\x01\xff\xff\xff\xff\x07\x00\x00" + bytes(31),
    "the longest, cut off": b"\xef\x01\xff\xff\xff\xff\x07\x00\x30" + bytes(31),
    "good": _packet(7, b"\x00") * 3,
    "one byte too many": _packet(7, _MATCH + b"\0") * 2,
    "matches": _packet(7, _MATCH) * 2,
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_line_that_is_never_silent(rig: Rig, name: str) -> None:
    """As many bytes as it can carry. Every command is answered soon, and the firmware goes on."""
    on = True

    def flood() -> None:
        if on and rig.sensor.on_send is not None:
            rig.sensor.on_send(FLOODS[name])
            rig.reader.clock.after(len(FLOODS[name]) * 174, flood)

    host = Host(rig)
    flood()
    for command, request in (
        (INFO, None),
        (SELECTION, None),
        (ASSERT, {1: "example.com", 2: HASH, 5: {"uv": True}}),
        (INFO, None),
    ):
        began = rig.reader.clock.now
        host.status(command, request, press="thumb")
        # Where everything is said to be good, the next finger is waited for.
        assert rig.reader.clock.now - began < (31_000_000 if name == "good" else 5_000_000)
    on = False
    rig.reader.run_for(4500)
    assert host.ask(INFO)[1][4]["uv"] is True
    assert _verify(rig, "thumb") == 0
    assert rig.reader.mcu.boots == 1


def test_a_merge_is_asked_for_once(rig: Rig) -> None:
    """It uses the samples up: what a second one says is of nothing. The enrolment ends."""
    rig.sensor.fault = lambda command: command == _MERGE
    with pytest.raises(CtapError) as refused:
        rig.enrol("index")
    assert refused.value.code == CtapError.ERR.OPERATION_DENIED
    assert rig.sensor.commands.count(_MERGE) == 1
    rig.sensor.fault = lambda command: False
    assert len(rig.sensor.templates) == 1
    rig.enrol("index")
    assert _verify(rig, "index") == 0


def test_a_module_that_started_anew_unheard_ends_an_enrolment(rig: Rig) -> None:
    """Its samples are gone, and it is locked: nothing goes on, and nothing goes wrong."""
    client, token = permitted(rig, ClientPin.PERMISSION.BIO_ENROLL)
    bio = FPBioEnrollment(client.ctap, client.protocol, token)
    pressing = rig.pressing("index")
    finger, _, _ = bio.enroll_begin(on_keepalive=pressing)
    rig.sensor.power(False)
    rig.sensor.power(True, long_ago=True)
    assert refused(lambda: bio.enroll_capture_next(finger, on_keepalive=pressing)) == 0x02
    assert bio.enroll_begin(on_keepalive=pressing)[1] == 0
