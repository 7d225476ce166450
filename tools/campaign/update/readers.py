"""Readers in somebody's service, for the campaign of cuts during an update: with a PIN of which one
try is spent, a finger, and a credential.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fido2.ctap import CtapError
from fido2.ctap2.base import Ctap2
from fido2.ctap2.bio import FPBioEnrollment
from fido2.ctap2.pin import ClientPin
from fido2.hid import CtapHidDevice

from tallystick.common.errors import NoDeviceError, RefusedError
from tallystick.common.reader_identity import ReaderIdentity
from tallystick.emulator.chips.chip import OneTimeRows
from tallystick.emulator.devices.reader import Reader
from tallystick.tools.campaign.reader.host import DESCRIPTOR, Connection
from tallystick.tools.campaign.reader.sensor import ScriptedSensor
from tallystick.tools.campaign.update.rig import UpdateRig
from tallystick.tools.flash.field import Running
from tallystick.tools.flash.usb import UpdatePerson, install, reader_state

_PIN, _WRONG, _FINGER = "2468", "0000", "thumb"
_PARTY, _HASH = "example.com", b"\x07" * 32
_TRIES = 7  # of eight
_SERIAL = "TR00000001"


class ReaderUpdates(UpdateRig[Reader]):
    """A reader that is plugged in when it is looked at. `sensor` keeps what it holds between two of
    them."""

    def __init__(self, board: str, folder: Path) -> None:
        self._templates: dict[int, str] = {}
        self._password = 0
        self._rows: dict[int, int] = {}
        self._tries = _TRIES
        self._signatures = 0
        super().__init__("reader", board, folder)

    def make(self) -> Reader:
        identity = ReaderIdentity.development(_SERIAL).encode()
        reader = Reader(self.image, identity=identity, seed=1)
        sensor = ScriptedSensor(reader.clock)
        sensor.templates, sensor.password = dict(self._templates), self._password
        reader.plug_sensor(sensor)
        if isinstance(reader.mcu.registers, OneTimeRows):
            reader.mcu.registers.rows = dict(self._rows)
        self._tries, self._signatures = _TRIES, 1
        return reader

    def put_into_service(self, device: Reader) -> None:
        device.power_on()
        ctap = Ctap2(_device(device))
        client = ClientPin(ctap)
        client.set_pin(_PIN)
        token = client.get_pin_token(_PIN, ClientPin.PERMISSION.BIO_ENROLL)
        enroller = FPBioEnrollment(ctap, client.protocol, token).enroll()
        while enroller.capture(on_keepalive=_pressing(device)) is None:
            pass
        ctap.make_credential(
            _HASH, {"id": _PARTY, "name": "Example"}, {"id": b"u", "name": "n", "displayName": "N"},
            [{"type": "public-key", "alg": -7}], options={"rk": True, "uv": True},
            on_keepalive=_pressing(device),
        )  # fmt: skip
        with suppress(CtapError):
            client.get_pin_token(_WRONG)
        self.stop(device)
        sensor = _sensor(device)
        self._templates, self._password = dict(sensor.templates), sensor.password
        if isinstance(device.mcu.registers, OneTimeRows):
            self._rows = dict(device.mcu.registers.rows)

    def start(self, device: Reader) -> None:
        device.power_on()

    def stop(self, device: Reader) -> None:
        device.power_off()
        device.run_for(100)

    def install(self, device: Reader) -> int:
        """Within ten seconds of a start."""
        self.stop(device)
        self.start(device)
        at: list[int] = []

        def touch(_why: str) -> None:
            at.append(device.flash.operations)
            _sensor(device).press(_FINGER)

        install(_UpdateBus(device), self.update, UpdatePerson(touch, lambda: _PIN))
        return at[-1]

    def running(self, device: Reader) -> tuple[Running, str]:
        bus = _device(device)
        return reader_state(bus).running, ".".join(str(part) for part in bus.device_version)

    def look(self, device: Reader) -> Iterator[str]:
        try:
            yield from self._look(device)
        except CtapError as error:
            yield f"answers {error}"

    def _look(self, device: Reader) -> Iterator[str]:
        ctap = Ctap2(_device(device))
        client = ClientPin(ctap)
        tries = client.get_pin_retries()[0]
        if tries != self._tries:
            yield f"has {tries} tries of its PIN, not {self._tries}"
        if not client.get_pin_token(_PIN):
            yield "does not know its PIN"
        self._tries = 8
        answer = ctap.get_assertion(
            _PARTY, _HASH, options={"uv": True}, on_keepalive=_pressing(device)
        )
        if not answer.auth_data.is_user_verified():
            yield "does not know its finger"
        if answer.auth_data.counter <= self._signatures:
            yield f"signs with the number {answer.auth_data.counter} once more"
        self._signatures = answer.auth_data.counter
        if _sensor(device).templates != self._templates:
            yield "has lost a template"


class _UpdateBus:
    """Implements flash.usb.Readers."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    @contextmanager
    def find(self) -> Iterator[CtapHidDevice]:
        try:
            yield _device(self._reader)
        except CtapError as error:
            raise RefusedError(f"the reader answers {error}") from error

    @contextmanager
    def find_again(self) -> Iterator[CtapHidDevice]:
        self._reader.run_for(1_000)
        with self.find() as device:
            yield device


def _device(reader: Reader) -> CtapHidDevice:
    if not reader.powered:
        raise NoDeviceError("the reader is gone")
    return CtapHidDevice(DESCRIPTOR, Connection(reader))


def _sensor(reader: Reader) -> ScriptedSensor:
    assert isinstance(reader.sensor, ScriptedSensor)
    return reader.sensor


def _pressing(reader: Reader) -> Callable[[int], None]:
    return lambda status: _sensor(reader).press(_FINGER) if status == 2 else None
