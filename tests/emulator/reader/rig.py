"""An emulated reader with a scripted sensor, and python-fido2 on the other end of the bus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fido2.client import DefaultClientDataCollector, Fido2Client, UserInteraction
from fido2.ctap2 import ClientPin, Ctap2
from fido2.ctap2.bio import FPBioEnrollment
from fido2.ctap2.credman import CredentialManagement
from fido2.hid import CtapHidDevice
from fido2.server import Fido2Server

from tallystick.common.reader_identity import ReaderIdentity
from tallystick.emulator.devices.image import Image
from tallystick.emulator.devices.reader import Reader
from tallystick.tools.campaign.reader.host import DESCRIPTOR, Connection
from tallystick.tools.campaign.reader.sensor import ScriptedSensor

PIN = "2468"
IDENTITY = ReaderIdentity.development("TR00000001").encode()
ORIGIN = "https://example.com"


class Person(UserInteraction):
    """Does as asked, with the finger that it has."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.finger = "thumb"
        self.pin: str | None = PIN

    def prompt_up(self) -> None:
        self._rig.sensor.press(self.finger)

    def request_pin(self, permissions: Any, rp_id: str | None) -> str | None:
        return self.pin

    def request_uv(self, permissions: Any, rp_id: str | None) -> bool:
        self._rig.sensor.press(self.finger)
        return True


class Rig:
    """A reader, plugged in. `flash` and `sensor` continue the life of another. spared: of firmware
    as it is now, whose memory is not looked at (`Mcu.spare_host`)."""

    def __init__(
        self,
        image: Image,
        flash: bytes | None = None,
        sensor: ScriptedSensor | None = None,
        seed: int = 0,
        spared: bool = False,
    ) -> None:
        self._closed = False
        self.reader = Reader(image, identity=IDENTITY, seed=seed)
        if spared:
            self.reader.mcu.spare_host()
        if flash is not None:
            self.reader.flash.load(0, flash)
        self.sensor = ScriptedSensor(self.reader.clock)
        if sensor is not None:
            self.sensor.templates = dict(sensor.templates)
            self.sensor.password = sensor.password
        self.reader.plug_sensor(self.sensor)
        self.person = Person(self)
        self.server = Fido2Server({"id": "example.com", "name": "Example"}, attestation="direct")
        self.reader.power_on()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.reader.close()

    def image_of_flash(self) -> bytes:
        return self.reader.flash.memory[:]

    # -- the host ------------------------------------------------------------------------------

    def device(self) -> CtapHidDevice:
        return CtapHidDevice(DESCRIPTOR, Connection(self.reader))

    def ctap(self) -> Ctap2:
        return Ctap2(self.device())

    def replug(self) -> None:
        self.reader.power_off()
        self.reader.run_for(100)
        self.reader.power_on()

    def pressing(self, finger: str | None = None) -> Callable[[int], None]:
        """An on_keepalive that presses whenever the reader asks for the user."""
        return lambda status: (
            self.sensor.press(finger or self.person.finger) if status == 2 else None
        )

    def token(self, permissions: int, pin: str = PIN) -> tuple[ClientPin, bytes]:
        client_pin = ClientPin(self.ctap())
        return client_pin, client_pin.get_pin_token(pin, permissions)

    def enrol(self, finger: str = "thumb") -> bytes:
        """Sets no PIN: there must be one. Returns the template's id."""
        client_pin, token = self.token(ClientPin.PERMISSION.BIO_ENROLL)
        bio = FPBioEnrollment(client_pin.ctap, client_pin.protocol, token)
        enroller = bio.enroll()
        while True:
            template = enroller.capture(on_keepalive=self.pressing(finger))
            if template is not None:
                return template

    def management(self) -> CredentialManagement:
        client_pin, token = self.token(ClientPin.PERMISSION.CREDENTIAL_MGMT)
        return CredentialManagement(client_pin.ctap, client_pin.protocol, token)

    def client(self) -> Fido2Client:
        return Fido2Client(
            self.device(), DefaultClientDataCollector(ORIGIN), user_interaction=self.person
        )

    def register(self, user: bytes = b"user-1", resident: str = "required", **options: Any) -> Any:
        """Registers; the server has checked it. Returns the AuthenticatorData."""
        entity = {"id": user, "name": user.decode(), "displayName": user.decode().title()}
        begin, state = self.server.register_begin(
            entity, resident_key_requirement=resident, user_verification="required", **options
        )
        answer = self.client().make_credential(begin.public_key)
        return self.server.register_complete(state, answer)

    def log_in(
        self, credentials: list[Any], listed: bool = False, verification: str = "required"
    ) -> Any:
        """Logs in; the server has checked it. Returns the credential used."""
        begin, state = self.server.authenticate_begin(
            credentials if listed else None, user_verification=verification
        )
        answer = self.client().get_assertion(begin.public_key).get_response(0)
        return self.server.authenticate_complete(state, credentials, answer)
