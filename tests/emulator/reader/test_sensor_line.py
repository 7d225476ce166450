"""What comes on the sensor's line and is no whole answer: nobody is verified by that."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fido2.ctap import CtapError
from fido2.ctap2 import ClientPin
from fido2.ctap2.bio import FPBioEnrollment

from tests.emulator.reader.raw import permitted, refused
from tests.emulator.reader.rig import Rig

_SEARCH, _MERGE = 0x04, 0x05
_MATCH = b"\x00\x00\x00\x00\x64"  # page 0, with a score
_GET_ASSERTION = ClientPin.PERMISSION.GET_ASSERTION


def _packet(kind: int, payload: bytes, wrong: int = 0) -> bytes:
    body = bytes((kind,)) + (len(payload) + 2).to_bytes(2, "big") + payload
    return b"\xef\x01\xff\xff\xff\xff" + body + (sum(body) + wrong & 0xFFFF).to_bytes(2, "big")


def _verify(rig: Rig, finger: str) -> int:
    """Status of a token by this finger."""
    try:
        ClientPin(rig.ctap()).get_uv_token(
            _GET_ASSERTION, "example.com", on_keepalive=rig.pressing(finger)
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
