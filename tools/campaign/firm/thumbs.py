"""Readers that the station enrols for people: a first PIN, another one and a thumb on the first
day, then log-ins at the portal with a password and the thumb."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from fido2.ctap import CtapError
from fido2.ctap2.base import AssertionResponse
from fido2.ctap2.bio import CaptureError, FPBioEnrollment
from fido2.ctap2.pin import ClientPin
from fido2.webauthn import CollectedClientData

from tallystick.common import base64url
from tallystick.common.reader_identity import ReaderIdentity
from tallystick.emulator.devices.image import Image
from tallystick.emulator.devices.reader import Reader
from tallystick.emulator.parts.nor_flash import Cut, FlashOperation
from tallystick.provisioning.security_key import FirstPins, KeyWork
from tallystick.tools.campaign.firm.ground import URL
from tallystick.tools.campaign.firm.parts import StationDesk, power_cut, spared
from tallystick.tools.thumbed import Host

_PIN = "135791"
_SAMPLES = 20
_LIFTED_MS = 3_000
_STRANGER = 77


@dataclass
class ThumbReader:
    """number: whose it is; also whose thumb. known: the server knows it for this person.
    pin_is_own: its holder has chosen it."""

    reader: Reader
    host: Host
    number: int
    serial: str
    known: bool = False
    in_service: bool = False
    first_pin: str | None = None
    pin_is_own: bool = False
    tries: int = 0
    answered: str | None = None  # what it last said for a browser
    key: str | None = None  # the id of its holder's credential
    cut: Callable[[FlashOperation], Cut | None] | None = None  # armed: when its power goes
    cuts: int = 0

    @classmethod
    def fresh(cls, image: Image, number: int, seed: int) -> ThumbReader:
        serial = f"TR{number + 1:08}"
        identity = ReaderIdentity.development(serial).encode()
        reader = Reader(image, identity=identity, seed=seed + number)
        if spared(number):
            reader.mcu.spare_host()
        host = Host(reader, serial=serial, seed=1 + number, person=number)
        reader.power_off()  # plugged in when it is first used
        return cls(reader, host, number, serial)

    def at(self, us: int) -> None:
        """Plugged in, at this instant of the firm."""
        if self.reader.clock.now < us:
            self.reader.run_to(us)
        if not self.reader.powered:
            self.reader.power_on()
        self.reader.flash.fault_plan = self.cut

    def loses_power(self, draw: int, among: int) -> None:
        """At one of so many of its next writes, in however many uses these are."""
        self.cut = power_cut(random.Random(draw), among)

    def put_away(self) -> None:
        """Pulled out, until it is used again."""
        if not self.reader.powered:
            self.cuts += 1
            self.cut = None
        self.reader.flash.fault_plan = None
        self.reader.power_off()

    def enrolled_by(self, station: StationDesk, user: str) -> None:
        """The station gives it a first PIN, and registers it for its holder. Raises TallyError;
        ConnectionError where its power goes; ProcessEndedError where the station ends."""
        event = station.watched()
        with closing(station.registry()) as server, closing(station.journal()) as journal:
            server.tell(event)
            journal.tell(event)
            pins = FirstPins(station.file.with_suffix(".pins"))
            work = KeyWork(
                server, journal, pins, ask_serial=str, touch=lambda _serial: None, user=user
            )
            work.provision(self.host.device(), self.serial)
        self.known = True
        self.first_pin = pins.of(self.serial)

    def taken_into_service(self) -> None:
        """Its holder chooses a PIN, and lays a thumb on it. Raises CtapError; ConnectionError where
        its power goes."""
        client = ClientPin(self.host.ctap())
        assert self.first_pin is not None
        if not self.pin_is_own:
            self._choose_pin(client)
        token = client.get_pin_token(_PIN, ClientPin.PERMISSION.BIO_ENROLL)
        enroller = FPBioEnrollment(client.ctap, client.protocol, token).enroll()
        for _ in range(_SAMPLES):
            with suppress(CaptureError):  # the thumb lay badly: once more
                if enroller.capture() is not None:
                    self.in_service = True
                    return

    def _choose_pin(self, client: ClientPin) -> None:
        """A change that was broken off may have come about."""
        assert self.first_pin is not None
        try:
            client.change_pin(self.first_pin, _PIN)
        except CtapError as error:
            if error.code is not CtapError.ERR.PIN_INVALID or not self.tries:
                raise
        self.pin_is_own = True

    def assertion(
        self, options: Mapping[str, Any], *, stranger: bool = False, meant: bool = False
    ) -> str | None:
        """What a browser would send; None where the reader does not know the thumb. meant: its own
        credential is asked for, whichever the options name."""
        data = CollectedClientData.create("webauthn.get", str(options["challenge"]), URL)
        allowed: list[Mapping[str, Any]] = [
            {"type": "public-key", "id": base64url.decode(str(one["id"]))}
            for one in options.get("allowCredentials") or ()
        ]
        if meant and self.key is not None:
            allowed = [{"type": "public-key", "id": base64url.decode(self.key)}]
        self.host.person = _STRANGER if stranger else self.number
        try:
            made = self.host.ctap().get_assertion(
                str(options["rpId"]), data.hash, allowed or None, options={"uv": True}
            )
        except CtapError as error:
            # Too many wrong thumbs: the browser asks for the PIN, which a stranger does not know.
            if error.code is not CtapError.ERR.PUAT_REQUIRED or stranger:
                return None
            return self._by_pin(str(options["rpId"]), data, allowed)
        except ConnectionError:
            return None
        finally:
            self.host.person = self.number
            self.reader.run_for(_LIFTED_MS)
        said = _answer(made, data)
        if not meant:
            self.answered, self.key = said, base64url.encode(made.credential["id"])
        return said

    def _by_pin(
        self, party: str, data: CollectedClientData, allowed: list[Mapping[str, Any]]
    ) -> str | None:
        """PIN and a touch: with them the thumb has its tries again."""
        try:
            ctap = self.host.ctap()
            client = ClientPin(ctap)
            token = client.get_pin_token(_PIN, ClientPin.PERMISSION.GET_ASSERTION, party)
            proof = client.protocol.authenticate(token, data.hash)
            made = ctap.get_assertion(
                party, data.hash, allowed or None,
                pin_uv_param=proof, pin_uv_protocol=client.protocol.VERSION,
            )  # fmt: skip
        except (CtapError, ConnectionError):
            return None
        return _answer(made, data)

    def close(self) -> None:
        self.reader.close()


def _answer(made: AssertionResponse, data: CollectedClientData) -> str:
    """What a browser sends for it."""
    identifier = base64url.encode(made.credential["id"])
    return json.dumps(
        {
            "id": identifier,
            "rawId": identifier,
            "type": "public-key",
            "response": {
                "clientDataJSON": base64url.encode(bytes(data)),
                "authenticatorData": base64url.encode(bytes(made.auth_data)),
                "signature": base64url.encode(made.signature),
            },
        }
    )
