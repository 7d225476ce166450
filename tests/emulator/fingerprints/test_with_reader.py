"""The reader's firmware with this sensor: enrolment, every feedback code, log-in and refusal,
driven by python-fido2. Nothing here knows the outcome but the pictures of the fingers."""

from __future__ import annotations

import pytest
from fido2.client import ClientError
from fido2.ctap2 import ClientPin
from fido2.ctap2.bio import CaptureError, FPBioEnrollment

from tallystick import __version__
from tallystick.emulator.devices.hand import Hand
from tallystick.emulator.devices.image import Image
from tallystick.emulator.parts.r503 import R503
from tallystick.tools.image.build import build, write
from tests.emulator.reader.rig import PIN, Rig

THUMB, OTHER = "right-thumb", "left-index"


class Fingers:
    """Stands where the rig expects its scripted sensor: `press("dry right-thumb")`."""

    def __init__(self, hand: Hand) -> None:
        self._hand = hand

    def leave(self, name: str) -> None:
        """A finger that was there before anybody asked, and stays."""
        self._hand.press(name, manner="still", ms=9000)

    def press(self, what: str) -> None:
        manner, _, name = what.rpartition(" ")
        ms = 9000 if manner == "slow" else None
        self._hand.press(name, manner=manner or "usual", ms=ms, after_ms=300)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reader-image")
    return Image.load(write(build("reader", "pico2", __version__), folder)["bin"])


@pytest.fixture(scope="module")
def rig(image):
    """A reader with a PIN and a thumb, in front of a person with ten fingers."""
    rig = Rig(image, seed=11)
    rig.reader.power_off()
    sensor = R503(rig.reader.clock, seed=11)
    rig.reader.plug_sensor(sensor)
    rig.reader.power_on()
    rig.module = sensor
    rig.sensor = Fingers(Hand(rig.reader.clock, sensor, seed=11))
    rig.person.finger = THUMB
    ClientPin(rig.ctap()).set_pin(PIN)
    enroller = begin(rig)
    captures = 0
    while capture(rig, enroller, THUMB) != "enrolled":
        captures += 1
    assert captures < 12
    yield rig
    rig.close()


def begin(rig):
    client_pin, token = rig.token(ClientPin.PERMISSION.BIO_ENROLL)
    return FPBioEnrollment(client_pin.ctap, client_pin.protocol, token).enroll(timeout=8000)


def capture(rig, enroller, what):
    """The feedback code of one sample, or "enrolled"."""
    pressing = rig.pressing(what) if what else None
    try:
        return 0 if enroller.capture(on_keepalive=pressing) is None else "enrolled"
    except CaptureError as error:
        return int(error.code)


def test_the_sensor_keeps_the_thumb_and_wants_a_password(rig):
    assert list(rig.module.flash.templates) == [0]
    assert rig.module.flash.password != 0


def test_log_in_with_the_thumb(rig):
    credential = rig.register(user=b"with-thumb")
    assert credential.is_user_verified()
    assert rig.log_in([credential.credential_data])


def test_a_wrong_finger_does_not_log_in(rig):
    credential = rig.register(user=b"wrong-finger")
    rig.person.finger, rig.person.pin = OTHER, None
    try:
        with pytest.raises(ClientError):
            rig.log_in([credential.credential_data])
    finally:
        rig.person.finger, rig.person.pin = THUMB, PIN
    assert rig.log_in([credential.credential_data])


@pytest.mark.parametrize(
    ("manner", "code"),
    [
        ("high", 1), ("low", 2), ("left", 3), ("right", 4), ("quick", 5), ("slow", 6), ("dry", 7),
        ("wet", 7), ("slide", 8), ("tip", 9),
    ],
)  # fmt: skip
def test_what_a_finger_does_is_what_the_person_is_told(rig, manner, code):
    enroller = begin(rig)
    assert capture(rig, enroller, f"{manner} {OTHER}") == code
    assert enroller.remaining == 6 if enroller.remaining is not None else True
    enroller.cancel()


def test_an_enrolled_finger_nobody_and_two_fingers(rig):
    enroller = begin(rig)
    assert capture(rig, enroller, f"still {THUMB}") == 0x0B
    assert capture(rig, enroller, None) == 0x0D
    rig.sensor.leave(OTHER)
    rig.reader.run_for(10)
    assert capture(rig, enroller, None) == 0x0E
    rig.reader.run_for(6000)
    codes = [
        capture(rig, enroller, f"still {f}") for f in (OTHER, "left-ring", OTHER, OTHER, OTHER)
    ]
    assert codes == [0] * 5
    assert capture(rig, enroller, f"still {OTHER}") == 0x0A
    enroller.cancel()
