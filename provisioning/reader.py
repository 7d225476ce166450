"""Our own readers, made ready for people before they are sent out: enrolled with the server, with a
PIN policy, and with a first PIN that opens nothing until its holder has changed it.

A reader tells no number of its own (none can be told from another by what it says), so that a
person scans its label. That can be the wrong one: nothing here is overwritten because of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tallystick.common.errors import RefusedError
from tallystick.common.reader_identity import AAGUID
from tallystick.provisioning.journal import CardRecord
from tallystick.provisioning.security_key import PIN_DIGITS, KeyWork, random_pin

READERS = "readers"
SHORTEST, LONGEST = 4, 16  # characters of a PIN that a policy may ask for


@dataclass
class ReaderWork(KeyWork):
    """min_pin: characters that a PIN must have from now on. reused: one that was enrolled before
    may come back."""

    device_kind: ClassVar[str] = "reader"
    batch: str = READERS
    min_pin: int = PIN_DIGITS
    reused: bool = False

    def check(self, ctap: Any, serial: str) -> None:
        """Raises RefusedError for what is no reader of ours."""
        if str(ctap.info.aaguid) != str(AAGUID):
            raise RefusedError(
                f"What was plugged in as {serial} is no reader of this make.",
                kept="Nothing was written to it.",
                todo="`tally station security-keys` enrols keys of other makers.",
            )
        if ctap.info.min_pin_length > LONGEST:
            raise RefusedError(
                f"The reader {serial} asks for PINs of {ctap.info.min_pin_length} characters.",
                kept="Nothing was written to it.",
                todo="Reset it: only that makes the number smaller.",
            )

    def _is_older(self, latest: CardRecord) -> bool:
        return False

    def begin_anew(self, earlier: CardRecord) -> None:
        """Raises RefusedError: without a PIN it may be another reader, whose label was mixed up
        with this one's."""
        if not self.reused:
            raise RefusedError(
                f"The reader {earlier.serial} was made ready for {earlier.user} before, and the "
                "one that is plugged in is blank.",
                kept="Nothing was written to it, and the first PIN from then is kept.",
                todo="Look at its label once more. If it came back and was reset, add --reused.",
            )

    def first_pin(self, ctap: Any) -> str:
        return random_pin(max(PIN_DIGITS, self.min_pin, int(ctap.info.min_pin_length or 4)))

    def demand(self, ctap: Any, record: CardRecord, pin: str) -> bool:
        """The policy, and a change of the PIN at the first use, in one command. Raises
        RefusedError."""
        from fido2.ctap import CtapError  # noqa: PLC0415 (an extra)
        from fido2.ctap2.config import Config  # noqa: PLC0415
        from fido2.ctap2.pin import ClientPin  # noqa: PLC0415

        serial = record.serial
        info = ctap.get_info()
        if not info.force_pin_change:  # else it was the answer that got lost
            client = ClientPin(ctap)
            try:
                token = client.get_pin_token(pin, ClientPin.PERMISSION.AUTHENTICATOR_CFG)
                Config(ctap, client.protocol, token).set_min_pin_length(
                    min_pin_length=max(self.min_pin, info.min_pin_length), force_change_pin=True
                )
            except CtapError as error:
                raise RefusedError(
                    f"The reader {serial} is enrolled for {record.user}, but does not ask for "
                    f"another PIN ({error.code.name if error.code else error}).",
                    kept="The run in the journal, and the first PIN.",
                    todo="Do not send it out. Plug it in again and repeat the command.",
                ) from None
            info = ctap.get_info()
        if not info.force_pin_change or info.min_pin_length < self.min_pin:
            raise RefusedError(
                f"The reader {serial} asks for a PIN of {info.min_pin_length} characters, and not "
                f"of {self.min_pin}.",
                kept=f"It is enrolled for {record.user}, and has its first PIN.",
                todo=f"Repeat the command with --min-pin {info.min_pin_length}, or reset it and "
                "begin anew with --reused.",
            )
        if self.pins.of(serial) is not None:
            self.pins.note_shortest(serial, info.min_pin_length)
        return True
