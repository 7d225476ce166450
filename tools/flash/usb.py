"""The update of a reader: an image into its second slot, over USB.

The reader's own command of CTAPHID (docs/reference/protocols.md) carries it. The reader checks
everything itself; what is checked here spares a person a touch, and says more than a status can.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

from tallystick.common.errors import BadInputError, NoDeviceError, RefusedError, TallyError
from tallystick.common.reader_identity import AAGUID
from tallystick.provisioning.security_key import HidPlaces
from tallystick.tools.flash.field import Progress, Running, SlotState, Update
from tallystick.tools.image.header import Header

COMMAND = 0x55
CHUNK = 2048
_KEPT = "Nothing was sent to it, and it works as before."
_STAYS = "It works as before; credentials, fingers and PIN are untouched."


class UpdateStep(IntEnum):
    """First byte of a message."""

    BEGIN = 1
    LOAD = 2
    SWITCH = 3
    CONFIRM = 4
    STATUS = 5


class _Status(IntEnum):
    """CTAP 2.1, 8.2: those that mean something here."""

    OK = 0x00
    OPERATION_DENIED = 0x27
    TIMEOUT = 0x2F
    NOT_ALLOWED = 0x30
    PIN_AUTH_INVALID = 0x33
    PIN_NEEDED = 0x36
    INTEGRITY = 0x3D
    NEWER_STATE = 0xF0  # the reader's own: another firmware wrote what is stored


class ReaderRefusedError(RefusedError):
    """status: as the reader gave it, a byte."""

    def __init__(self, status: int, what: str, *, kept: str = "", todo: str = "") -> None:
        super().__init__(what, kept=kept, todo=todo)
        self.status = status


@dataclass(frozen=True)
class ReaderReport:
    """state_format: of what it remembers; 0 where it cannot read that. strange: because another
    firmware wrote it."""

    running: Running
    state_format: int
    strange: bool = False


@dataclass(frozen=True)
class UpdatePerson:
    """touch: a finger on the reader is wanted, for that. pin: gives it, where it is needed."""

    touch: Callable[[str], None]
    pin: Callable[[], str]


class Readers(Protocol):
    """Readers of ours on USB."""

    def find(self) -> AbstractContextManager[Any]:
        """The one that is meant, opened: python-fido2's CtapHidDevice. Raises NoDeviceError."""

    def find_again(self) -> AbstractContextManager[Any]:
        """The same after its restart. Raises NoDeviceError when it does not come back."""


class PluggedIn:
    """path: of its device node; None: the only one there is."""

    def __init__(
        self, path: str | None = None, *, patience_s: float = 20.0, restart_s: float = 1.0
    ) -> None:
        self._path = path
        self._patience_s = patience_s
        self._restart_s = restart_s  # until then it may still be there
        self._places = HidPlaces()
        self._others: Sequence[str] = ()

    def find(self) -> AbstractContextManager[Any]:
        """Raises NoDeviceError, BadInputError when it is not clear which is meant."""
        found = [
            name
            for name in self._places.names()
            if self._path in (None, name) and self._is_ours(name)
        ]
        if not found:
            where = f"at {self._path}" if self._path else "on USB"
            raise NoDeviceError(
                f"There is no reader {where}.",
                todo="Plug it in; on Linux, udev must let you use it.",
            )
        if len(found) > 1:
            raise BadInputError(
                f"There are {len(found)} readers: {', '.join(found)}.",
                kept="Nothing was sent to any of them.",
                todo="Plug in one only, or name it with --usb.",
            )
        self._others = [name for name in self._places.names() if name != found[0]]
        return self._places.open(found[0])

    def _is_ours(self, name: str) -> bool:
        """Keys of other makers are asked nothing but what every key answers."""
        from fido2.ctap import CtapError  # noqa: PLC0415 (an extra)
        from fido2.ctap2.base import Ctap2  # noqa: PLC0415

        try:
            with self._places.open(name) as device:
                return str(Ctap2(device).info.aaguid) == str(AAGUID)
        except (TallyError, OSError, ValueError, struct.error, CtapError):
            return False

    def find_again(self) -> AbstractContextManager[Any]:
        """What was there before is another one: the system may name it otherwise now. Raises
        NoDeviceError."""
        until = time.monotonic() + self._patience_s
        while True:
            time.sleep(self._restart_s)
            for name in self._places.names():
                if name not in self._others and self._is_ours(name):
                    return self._places.open(name)
            if time.monotonic() >= until:
                raise NoDeviceError(
                    "The reader did not come back after its restart.",
                    kept=_STAYS,
                    todo="Unplug it, plug it in, and look with the same command what it runs.",
                )


def reader_state(device: Any) -> ReaderReport:
    """Raises RefusedError for firmware that takes no updates over USB."""
    from fido2.ctap import CtapError  # noqa: PLC0415 (an extra)

    try:
        answer = _ask(device, UpdateStep.STATUS).data
    except CtapError as error:
        raise RefusedError(
            f"The reader takes no updates over USB ({error.code!r}): its firmware is older.",
            kept=_KEPT,
            todo="Flash it once, with BOOTSEL held: tally flash. It keeps what it remembers.",
        ) from None
    running, number = Running.parse(answer[1:]), answer[0]
    if number:
        return ReaderReport(running, number)
    # Nothing is sent with it: it is asked for the reason that it gives to every command.
    told = _ask(device, UpdateStep.LOAD).status
    return ReaderReport(running, 0, strange=told == _Status.NEWER_STATE)


def install(
    readers: Readers,
    update: Update,
    person: UpdatePerson,
    *,
    progress: Progress = lambda done, total: None,
) -> tuple[Running, Running]:
    """Sends the update, has the reader start it, and confirms it; returns what ran, and what runs.

    Run again after a failure it begins anew; the reader meanwhile works with the image that it had.
    One whose trial is still going on is only confirmed. Raises RefusedError, NoDeviceError.
    """
    try:
        with readers.find() as device:
            before = reader_state(device)
            if not _is_trial_of(before.running, update.header):
                _check(before, update.header)
                _send(device, update, person, progress)
        with readers.find_again() as device:
            now = reader_state(device).running
            if now.header != update.header:
                raise RefusedError(
                    "The reader did not start the new image, and went back to the one before.",
                    kept=_STAYS,
                    todo="Try again; if it happens again, the image does not run on this reader.",
                )
            _confirm(device, person)
            return before.running, reader_state(device).running
    except (OSError, ValueError, struct.error) as error:
        raise NoDeviceError(
            f"The reader went away in the middle of the update ({error}).",
            kept=_STAYS,
            todo="Plug it in again, and run the same command within ten seconds.",
        ) from None


def _is_trial_of(now: Running, header: Header) -> bool:
    return now.header == header and now.state is SlotState.TRIED


def _check(now: ReaderReport, header: Header) -> None:
    runs = now.running.header
    board = runs.board if runs is not None else "an unknown board"
    if header.device != "reader" or header.board != board:
        raise RefusedError(
            f"The update is for a {header.device} on {header.board}; this is a reader on {board}.",
            kept=_KEPT,
            todo=f"Build one: tally image build --device reader --board {board}.",
        )
    if now.running.state is not SlotState.CONFIRMED:
        raise RefusedError(
            "The reader has another new image on trial.",
            kept=_KEPT,
            todo="Confirm that one, or unplug the reader and plug it in: then it goes back.",
        )
    if header.security < now.running.floor:
        raise RefusedError(
            f"The update has security version {header.security}; this reader takes none below "
            f"{now.running.floor}.",
            kept=_KEPT,
            todo="Use a newer image. No option changes this: the reader itself refuses.",
        )
    if now.strange:
        raise RefusedError(
            "The reader's state is of a newer firmware than the one that it runs.",
            kept="Nothing was sent to it, and nothing of what it remembers is lost.",
            todo="Flash the newer firmware, with BOOTSEL held: tally flash. One that is locked has "
            "no boot loader any more: return it.",
        )
    if not now.state_format:
        raise RefusedError(
            "The reader cannot read its own state: it is damaged.",
            kept="Nothing was sent to it.",
            todo="Reset it first, within ten seconds of plugging it in: it forgets what it had.",
        )
    if not header.formats.read(now.state_format):
        raise RefusedError(
            f"The reader's state has format {now.state_format}; the update reads {header.formats}.",
            kept=f"{_KEPT} Credentials, fingers and PIN are as they were.",
            todo="Use an image of this reader's own version or a newer one.",
        )


def _send(device: Any, update: Update, person: UpdatePerson, progress: Progress) -> None:
    begin = _begin(device, update.signed, person)
    if begin.status == _Status.INTEGRITY:
        raise ReaderRefusedError(
            begin.status,
            "The reader trusts another signing key than the update's.",
            kept="Nothing was erased; it works as before.",
            todo="Build the image with the key that the reader's own was built with.",
        )
    begin.require("take the update")
    content = update.file_system
    for at in range(0, len(content), CHUNK):
        chunk = content[at : at + CHUNK]
        if chunk.strip(b"\xff"):  # erased flash is FF already
            _ask(device, UpdateStep.LOAD, at.to_bytes(4, "big") + chunk).require(
                "store a part of the update"
            )
        progress(min(len(content), at + CHUNK), len(content))
    _ask(device, UpdateStep.SWITCH).require("switch to its new image")


def _begin(device: Any, signed: bytes, person: UpdatePerson) -> _Answer:
    """With a touch; and with the PIN when the reader asks for it."""
    asked = _touching(device, person, "to let it take the new firmware")
    first = asked(UpdateStep.BEGIN, signed)
    if first.status != _Status.PIN_NEEDED:
        return first
    return asked(UpdateStep.BEGIN, signed + _proof(device, person.pin(), signed))


def _proof(device: Any, pin: str, signed: bytes) -> bytes:
    """That whoever has the PIN wants this very image: protocol (1) and pinUvAuthParam. Raises
    RefusedError when it is wrong."""
    from fido2.ctap import CtapError  # noqa: PLC0415 (an extra)
    from fido2.ctap2.base import Ctap2  # noqa: PLC0415
    from fido2.ctap2.pin import ClientPin  # noqa: PLC0415

    client = ClientPin(Ctap2(device))
    try:
        token = client.get_pin_token(pin, ClientPin.PERMISSION.AUTHENTICATOR_CFG)
    except CtapError as error:
        raise RefusedError(
            f"The reader did not take the PIN ({error.code!r}).",
            kept=f"{_KEPT} A wrong PIN has cost one try.",
            todo="Try again; or unplug it, plug it in and run the command within ten seconds: then "
            "it needs no PIN.",
        ) from None
    message = b"\xff" * 32 + bytes((COMMAND, UpdateStep.BEGIN)) + signed
    return bytes((client.protocol.VERSION,)) + client.protocol.authenticate(token, message)


def _confirm(device: Any, person: UpdatePerson) -> None:
    asked = _touching(device, person, "to keep the new firmware")
    asked(UpdateStep.CONFIRM).require("confirm its new image")


# -- one message ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Answer:
    status: int
    data: bytes

    def require(self, doing: str) -> bytes:
        """Raises ReaderRefusedError."""
        if self.status == _Status.OK:
            return self.data
        why, todo = _WHY.get(self.status, (f"status {self.status:02X}", "Run the command again."))
        raise ReaderRefusedError(
            self.status, f"The reader did not {doing}: {why}.", kept=_STAYS, todo=todo
        )


_WHY: dict[int, tuple[str, str]] = {
    _Status.OPERATION_DENIED: ("its sensor does not answer", "Plug it in again and repeat this."),
    _Status.TIMEOUT: (
        "nobody touched it",
        "Run the command again, and touch it when its light flashes.",
    ),
    _Status.NOT_ALLOWED: (
        "it was plugged in too long ago and has no PIN, or another program came between",
        "Unplug it, plug it in, and run the command within ten seconds.",
    ),
    _Status.PIN_AUTH_INVALID: ("the PIN's token is over", "Run the command again."),
    _Status.INTEGRITY: ("what arrived is not what was signed", "Run the command again."),
}


def _ask(
    device: Any,
    step: UpdateStep,
    data: bytes = b"",
    on_keepalive: Callable[[int], None] | None = None,
) -> _Answer:
    answer = device.call(COMMAND, bytes((step,)) + data, on_keepalive=on_keepalive)
    if not answer:
        raise ValueError("an empty answer")
    return _Answer(answer[0], answer[1:])


def _touching(device: Any, person: UpdatePerson, why: str) -> Callable[..., _Answer]:
    """A question during which the person is asked to touch the reader."""

    def told(status: int) -> None:
        if status == 2:
            person.touch(why)

    return lambda step, data=b"": _ask(device, step, data, told)
