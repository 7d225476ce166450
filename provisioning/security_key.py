"""Other makers' FIDO2 keys on USB (CTAP 2 over HID), enrolled for people with a first PIN.

A new key has no PIN, and the server wants its user verified: the station gives it one of random
digits, which is on the disk before the key has it. Keys that can be told to are made to ask for
another PIN at the first use.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from tallystick.common import base64url, chance
from tallystick.common.errors import (
    BadInputError,
    NoDeviceError,
    RefusedError,
    TallyError,
    UnreachableError,
)
from tallystick.provisioning.durable import alone_with, write_durably
from tallystick.provisioning.journal import FINISHED, CardRecord, CardState, StationJournal
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
    """First PINs of keys, by serial number, in a file that only its owner can read. Stations that
    share it take turns. Raises BadInputError for a file that is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pins = self._read()

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            value = json.loads(self.path.read_bytes())
            assert value["format"] == FORMAT
            return {str(key): dict(one) for key, one in value["keys"].items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AssertionError, AttributeError):
            raise BadInputError(
                f"{self.path} holds no first PINs.",
                kept="It was not touched.",
                todo="Name another file.",
            ) from None

    def of(self, serial: str) -> str | None:
        known = self._pins.get(serial)
        return str(known["pin"]) if known else None

    def shortest(self, serial: str) -> int | None:
        """Characters that a PIN of this one must have, where that was noted."""
        known = self._pins.get(serial, {}).get("shortest")
        return None if known is None else int(known)

    def keep(self, serial: str, user: str, pin: str) -> None:
        """Durably, before the key has it. One that it had before stays beside it: it may be that of
        another key, whose number was mistaken for this one's. Raises BadInputError."""

        def one(before: dict[str, Any] | None) -> dict[str, Any]:
            earlier = [*before.get("earlier", ()), before["pin"]] if before else []
            return {"user": user, "pin": pin} | ({"earlier": earlier} if earlier else {})

        self._change(serial, one, kept="Nothing was written to the key.")

    def note_shortest(self, serial: str, characters: int) -> None:
        """For whoever writes its letter, later too. Raises BadInputError."""
        self._change(
            serial, lambda before: {**(before or {}), "shortest": characters},
            kept="The key is ready, and its first PIN is in the file.",
        )  # fmt: skip

    def _change(
        self, serial: str, change: Callable[[dict[str, Any] | None], dict[str, Any]], *, kept: str
    ) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with alone_with(self.path):
                self._pins = self._read()
                self._pins[serial] = change(self._pins.get(serial))
                content = json.dumps({"format": FORMAT, "keys": self._pins}).encode()
                write_durably(self.path, content)
        except OSError as error:
            raise BadInputError(
                f"{self.path} cannot be written: {error}.", kept=kept,
                todo="Make room on the disk, or name another file.",
            ) from None  # fmt: skip


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
        from fido2.ctap import CtapError  # noqa: PLC0415 (an extra)

        descriptor = self._found.get(name)
        try:
            if descriptor is None:
                raise OSError("it is gone")
            return closing(hid.CtapHidDevice(descriptor, hid.open_connection(descriptor)))
        except (OSError, ValueError, struct.error, CtapError, hid.ConnectionFailure) as error:
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
    device_kind: ClassVar[str] = "key"

    def serial(self, device: Any) -> str:
        """As the key tells it; else the place it is plugged in, until somebody has said."""
        told = str(device.descriptor.serial_number or "").strip()
        return told or f"at {device.descriptor.path}"

    def provision(self, device: Any, serial: str) -> EnrolledKey:
        """Raises RefusedError, NoDeviceError, UnreachableError; each says what was kept."""
        from fido2.ctap import CtapError  # noqa: PLC0415 (an extra)
        from fido2.ctap2.base import Ctap2  # noqa: PLC0415

        if serial.startswith("at "):
            serial = self.ask_serial(serial)
        try:
            ctap = Ctap2(device)
            self.check(ctap, serial)
            begun = self.journal.open_run(serial)
            record = self._run_of(serial, blank=not ctap.info.options.get("clientPin"))
            repeated = begun is not None and begun.id == record.id
            return self._finish(ctap, record, repeated=repeated)
        except CtapError as error:
            raise RefusedError(
                f"The key {serial} refused: {error.code.name if error.code else error}.",
                kept="The run in the journal, and the first PIN if it has one.",
                todo="Plug it in again and repeat it; reset it with its maker's tool if that does "
                "not help.",
            ) from None
        except (ValueError, TypeError, LookupError, AttributeError, struct.error) as error:
            raise RefusedError(
                f"What was plugged in as {serial} says what no key says ({type(error).__name__}).",
                kept="The run in the journal, and the first PIN if it has one.",
                todo="Take another one; this one may be broken, or no FIDO2 key.",
            ) from None
        except (OSError, _library().ConnectionFailure):
            raise NoDeviceError(
                f"The key {serial} went away.",
                kept="Its first PIN is kept; the server may have nothing of it.",
                todo="Plug it in again, and repeat the command.",
            ) from None

    def check(self, ctap: Any, serial: str) -> None:
        """Raises RefusedError for what is not enrolled this way."""
        if "clientPin" not in ctap.info.options:
            raise RefusedError(
                f"The key {serial} takes no PIN.",
                kept="Nothing was written to it.",
                todo="Have its holder enrol it in the portal.",
            )

    def begin_anew(self, earlier: CardRecord) -> None:
        """Before a key that has no PIN begins again, though this station gave it one, or has begun
        with it for somebody else. Raises RefusedError where that needs a person's word."""

    def demand(self, ctap: Any, record: CardRecord, pin: str) -> bool:
        """The last that is asked of the key: another PIN at its first use. → whether it will"""
        return _have_it_changed(ctap, pin)

    def first_pin(self, ctap: Any) -> str:
        """Of random digits, as long as the key demands."""
        longest = max(PIN_DIGITS, int(ctap.info.min_pin_length or 4))
        return random_pin(longest)

    def _run_of(self, serial: str, *, blank: bool) -> CardRecord:
        """The run to go on with, or a new one. blank: the key has no PIN, and so no credential that
        was made with it. Raises RefusedError, UnreachableError."""
        latest = self.journal.latest(serial)
        begun = self.journal.open_run(serial)
        if latest is not None and latest.device != self.device_kind and not self._is_older(latest):
            raise RefusedError(
                f"{serial} is the number of a {latest.device} that this station has made.",
                kept="Nothing was written to it.",
                todo="Look at its label once more.",
            )
        if begun is not None and self._is_meant(begun):
            return begun
        if latest is not None and (begun is not None or latest.state in FINISHED):
            how = "half-way" if begun is not None else "enrolled"
            if not blank:
                raise RefusedError(
                    f"The key {serial} is {how} for {latest.user} already.",
                    kept="Nothing was written to it.",
                    todo="Take the other one; or finish it for whom it was begun, or reset it.",
                )
            self.begin_anew(latest)
        turn: AbstractContextManager[str | None] = nullcontext(self.user)
        if self.people is not None:
            turn = self.people.next(self.journal, self.batch)
        with turn as user:
            self.registry.check_user(user)
            if begun is not None:
                self.journal.fail(begun, "begun anew, without a PIN, for somebody else")
            return self.journal.begin(
                serial, self.batch, self.registry.url, user, device=self.device_kind
            )

    def _is_older(self, latest: CardRecord) -> bool:
        """A run of this batch from before journals told keys from cards."""
        return latest.batch == self.batch and latest.digits is None

    def _is_meant(self, begun: CardRecord) -> bool:
        """A run that was broken off is for somebody whom this command is for, on this server."""
        wanted = self.people.logins if self.people is not None else (self.user or "",)
        known = {login.lower() for login in wanted}
        return begun.server == self.registry.url and (begun.user or "").lower() in known

    def _finish(self, ctap: Any, record: CardRecord, *, repeated: bool) -> EnrolledKey:
        """Whatever of the run is still to be done. What the server or the key refuses ends the run;
        where no answer came, the same command goes on with it. repeated: it was broken off."""
        from fido2.ctap import CtapError  # noqa: PLC0415

        serial, user = record.serial, str(record.user)
        if record.state is not CardState.REGISTERED:
            try:
                pin, login = self._enrol(ctap, serial, user, repeated=repeated)
            except CtapError as error:
                self.journal.fail(record, f"it refused: {error.code!r}")
                raise
            except TallyError as error:
                if not isinstance(error, NoDeviceError | UnreachableError):
                    self.journal.fail(record, error.what)
                raise
            record = self.journal.advance(record, CardState.REGISTERED)
        else:
            pin, login = self.pins.of(serial) or "", user
        changes = self.demand(ctap, record, pin)
        self.journal.finish(record, CardState.LOCKED)
        return EnrolledKey(serial, login, changes)

    def _enrol(self, ctap: Any, serial: str, user: str, *, repeated: bool) -> tuple[str, str]:
        """→ its first PIN, and the login that it is enrolled for"""
        from fido2.ctap import CtapError  # noqa: PLC0415
        from fido2.ctap2.pin import ClientPin  # noqa: PLC0415

        pin = self._give_pin(ctap, ClientPin(ctap), serial, user)
        begun = self.registry.key_options(user)
        try:
            answer = _made(ctap, ClientPin(ctap), begun, pin, lambda: self.touch(serial))
        except CtapError as error:
            if error.code != CtapError.ERR.CREDENTIAL_EXCLUDED:
                raise
            if not repeated:
                raise _known(serial, user) from None
            return pin, user  # the server has it already: its answer did not arrive the last time
        return pin, self.registry.register_key(user, serial, begun, answer)

    def _give_pin(self, ctap: Any, client: Any, serial: str, user: str) -> str:
        known = self.pins.of(serial)
        if ctap.info.options.get("clientPin"):
            if known is None:
                raise RefusedError(
                    f"The key {serial} has a PIN already, which this station did not give it.",
                    kept="Nothing was written to it.",
                    todo="Reset it with its maker's tool, if it is new to the firm.",
                )
            return known
        pin = self.first_pin(ctap)  # another one than before: whoever had the key knows that
        self.pins.keep(serial, user, pin)
        client.set_pin(pin)
        return pin


def _known(serial: str, user: str) -> RefusedError:
    return RefusedError(
        f"The key {serial} is enrolled for {user} already.",
        kept="Nothing was changed on it or on the server.",
        todo="If it is to be enrolled anew, have it removed in the portal first.",
    )


def random_pin(digits: int) -> str:
    return "".join(chance.choice("0123456789") for _ in range(digits))


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
