"""Other makers' FIDO2 keys on USB (CTAP 2 over HID), enrolled for people with a first PIN.

A new key has no PIN, and the server wants its user verified: the station gives it one of random
digits, which is on the disk before the key has it. Keys that can be told to are made to ask for
another PIN at the first use.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tallystick.common import base64url
from tallystick.common.errors import BadInputError, NoDeviceError, RefusedError, TallyError
from tallystick.provisioning.durable import write_durably
from tallystick.provisioning.journal import CardState, StationJournal
from tallystick.provisioning.people import CardsForPeople

PIN_DIGITS = 6
BATCH = "security-keys"
FORMAT = "tallystick first pins 1"

UNPROTECTED = (
    "each key gets a first PIN, which is kept in a file until its holder has it",
    "what a key says of its maker and model proves nothing, unless the firm's policy has somebody "
    "vouch for keys",
    "it can be reset by anybody who has it, which makes it useless, and tells nothing",
)
"""What whoever goes on consents to."""


class KeyRegistry(Protocol):
    """The part of the server that this needs."""

    url: str

    def check_user(self, user: str | None, *, new_user: bool = False) -> None: ...

    def key_options(self, user: str) -> dict[str, Any]: ...

    def register_key(self, user: str, serial: str, begun: Mapping[str, Any], answer: str) -> str:
        """→ the login that it is enrolled for"""


@dataclass(frozen=True)
class EnrolledKey:
    """changes: it asks for another PIN at its first use."""

    serial: str
    user: str
    changes: bool


class FirstPins:
    """First PINs of keys, by serial number, in a file that only its owner can read. Raises
    BadInputError for a file that is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pins: dict[str, dict[str, str]] = {}
        if path.exists():
            try:
                value = json.loads(path.read_bytes())
                assert value["format"] == FORMAT
                self._pins = {str(key): dict(one) for key, one in value["keys"].items()}
            except (OSError, ValueError, KeyError, TypeError, AssertionError, AttributeError):
                raise BadInputError(
                    f"{path} holds no first PINs.",
                    kept="It was not touched.",
                    todo="Name another file.",
                ) from None

    def of(self, serial: str) -> str | None:
        known = self._pins.get(serial)
        return known["pin"] if known else None

    def keep(self, serial: str, user: str, pin: str) -> None:
        """Durably, before the key has it."""
        self._pins[serial] = {"user": user, "pin": pin}
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_durably(self.path, json.dumps({"format": FORMAT, "keys": self._pins}).encode())


class HidPlaces:
    """FIDO keys that are plugged in. Implements foreign_batch.Places."""

    def __init__(self) -> None:
        self._found: dict[str, Any] = {}

    def names(self) -> Sequence[str]:
        """Raises NoDeviceError where USB cannot be looked at, BadInputError without the library."""
        hid = _library()
        try:
            self._found = {str(one.path): one for one in hid.list_descriptors()}
        except OSError as error:
            raise NoDeviceError(f"USB devices cannot be listed: {error}.") from None
        return sorted(self._found)

    def open(self, name: str) -> AbstractContextManager[Any]:
        """Raises NoDeviceError."""
        hid = _library()
        descriptor = self._found.get(name)
        try:
            if descriptor is None:
                raise OSError("it is gone")
            return closing(hid.CtapHidDevice(descriptor, hid.open_connection(descriptor)))
        except (OSError, ValueError, hid.ConnectionFailure) as error:
            raise NoDeviceError(
                f"The key at {name} cannot be opened: {error}.",
                todo="Plug it in again; on Linux, udev must let you use it.",
            ) from None


@dataclass
class KeyWork:
    """Enrols one key after another. ask_serial: for a key that tells no number: a person scans or
    types what is printed on it. touch: it waits to be touched. Implements foreign_batch.Work."""

    registry: KeyRegistry
    journal: StationJournal
    pins: FirstPins
    ask_serial: Callable[[str], str]
    touch: Callable[[str], None]
    user: str | None = None
    people: CardsForPeople | None = None
    batch: str = BATCH

    def serial(self, device: Any) -> str:
        """As the key tells it; else the place it is plugged in, until somebody has said."""
        told = str(device.descriptor.serial_number or "").strip()
        return told or f"at {device.descriptor.path}"

    def provision(self, device: Any, serial: str) -> EnrolledKey:
        """Raises RefusedError, NoDeviceError, UnreachableError; each says what was kept."""
        if serial.startswith("at "):
            serial = self.ask_serial(serial)
        record = self.journal.open_run(serial)
        repeated = record is not None
        if record is None:
            turn: AbstractContextManager[str | None] = nullcontext(self.user)
            if self.people is not None:
                turn = self.people.next(self.journal, self.batch)
            with turn as user:
                self.registry.check_user(user)
                record = self.journal.begin(serial, self.batch, self.registry.url, user)
        user = record.user
        assert user is not None
        try:
            made = self._enrol(device, serial, user, repeated=repeated)
        except TallyError as error:
            if not isinstance(error, NoDeviceError):
                self.journal.fail(record, error.what)
            raise
        self.journal.finish(record, CardState.LOCKED)
        return made

    def _enrol(self, device: Any, serial: str, user: str, *, repeated: bool) -> EnrolledKey:
        """repeated: of a run that was broken off, maybe after the server had taken the key."""
        from fido2.ctap import CtapError  # noqa: PLC0415 (an extra)
        from fido2.ctap2.base import Ctap2  # noqa: PLC0415
        from fido2.ctap2.pin import ClientPin  # noqa: PLC0415

        try:
            ctap = Ctap2(device)
            if "clientPin" not in ctap.info.options:
                raise RefusedError(
                    f"The key {serial} takes no PIN.",
                    kept="Nothing was written to it.",
                    todo="Have its holder enrol it in the portal.",
                )
            pin = self._first_pin(ctap, ClientPin(ctap), serial, user)
            if repeated and ctap.info.force_pin_change:  # which is told to it last of all
                return EnrolledKey(serial, user, changes=True)
            begun = self.registry.key_options(user)
            login = user
            try:
                answer = _made(ctap, ClientPin(ctap), begun, pin, lambda: self.touch(serial))
            except CtapError as error:
                # It holds a credential that the server has of this very person.
                if error.code != CtapError.ERR.CREDENTIAL_EXCLUDED:
                    raise
                if not repeated:
                    raise _known(serial, user) from None
            else:
                login = self.registry.register_key(user, serial, begun, answer)
            return EnrolledKey(serial, login, _have_it_changed(ctap, pin))
        except CtapError as error:
            raise RefusedError(
                f"The key {serial} refused: {error.code.name if error.code else error}.",
                kept="The server has nothing of it.",
                todo="Plug it in again and repeat it; reset it with its maker's tool if that does "
                "not help.",
            ) from None
        except (OSError, _library().ConnectionFailure):
            raise NoDeviceError(
                f"The key {serial} went away.",
                kept="Its first PIN is kept; the server may have nothing of it.",
                todo="Plug it in again, and repeat the command.",
            ) from None

    def _first_pin(self, ctap: Any, client: Any, serial: str, user: str) -> str:
        known = self.pins.of(serial)
        if ctap.info.options.get("clientPin"):
            if known is None:
                raise RefusedError(
                    f"The key {serial} has a PIN already, which this station did not give it.",
                    kept="Nothing was written to it.",
                    todo="Reset it with its maker's tool, if it is new to the firm.",
                )
            return known
        longest = max(PIN_DIGITS, int(ctap.info.min_pin_length or 4))
        pin = known or "".join(secrets.choice("0123456789") for _ in range(longest))
        self.pins.keep(serial, user, pin)
        client.set_pin(pin)
        return pin


def _made(
    ctap: Any, client: Any, begun: Mapping[str, Any], pin: str, touch: Callable[[], None]
) -> str:
    """Have the key make a credential. → its answer, JSON as a browser would send it"""
    from fido2.ctap2.pin import ClientPin  # noqa: PLC0415
    from fido2.webauthn import AttestationObject, CollectedClientData  # noqa: PLC0415

    wanted = begun["options"]
    data = CollectedClientData.create("webauthn.create", wanted["challenge"], begun["origin"])
    token = client.get_pin_token(pin, ClientPin.PERMISSION.MAKE_CREDENTIAL, wanted["rp"]["id"])
    person = {**wanted["user"], "id": base64url.decode(wanted["user"]["id"])}
    exclude = [
        {**one, "id": base64url.decode(one["id"])} for one in wanted.get("excludeCredentials") or ()
    ]
    asked = False

    def waits(status: int) -> None:
        nonlocal asked
        if not asked:
            asked = True
            touch()

    made = ctap.make_credential(
        data.hash, wanted["rp"], person, wanted["pubKeyCredParams"],
        exclude_list=exclude or None,
        options={"rk": True} if ctap.info.options.get("rk") else None,
        pin_uv_param=client.protocol.authenticate(token, data.hash),
        pin_uv_protocol=client.protocol.VERSION, on_keepalive=waits,
    )  # fmt: skip
    attestation = AttestationObject.create(made.fmt, made.auth_data, made.att_stmt)
    assert made.auth_data.credential_data is not None
    identifier = base64url.encode(made.auth_data.credential_data.credential_id)
    return json.dumps(
        {
            "id": identifier,
            "rawId": identifier,
            "type": "public-key",
            "response": {
                "clientDataJSON": base64url.encode(bytes(data)),
                "attestationObject": base64url.encode(bytes(attestation)),
            },
        }
    )


def _known(serial: str, user: str) -> RefusedError:
    return RefusedError(
        f"The key {serial} is enrolled for {user} already.",
        kept="Nothing was changed on it or on the server.",
        todo="If it is to be enrolled anew, have it removed in the portal first.",
    )


def _have_it_changed(ctap: Any, pin: str) -> bool:
    """Have the key ask for another PIN at its first use (CTAP 2.1, authenticatorConfig). → False
    where it cannot: then its holder has to be told to"""
    from fido2.ctap import CtapError  # noqa: PLC0415
    from fido2.ctap2.config import Config  # noqa: PLC0415
    from fido2.ctap2.pin import ClientPin  # noqa: PLC0415

    if not ctap.info.options.get("setMinPINLength"):
        return False
    try:
        client = ClientPin(ctap)
        token = client.get_pin_token(pin, ClientPin.PERMISSION.AUTHENTICATOR_CFG)
        Config(ctap, client.protocol, token).set_min_pin_length(force_change_pin=True)
    except (CtapError, OSError, _library().ConnectionFailure):
        return False
    return True


def _library() -> Any:
    try:
        from fido2 import hid  # noqa: PLC0415
    except ImportError:
        raise BadInputError(
            "Security keys need the package fido2.",
            todo="Install it with `pip install 'tallystick[station]'`.",
        ) from None
    return hid
