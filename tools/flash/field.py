"""The update in the field: an image into a card's second slot, over the serial line, inside SCP03.

reference/updates.md has the commands and the argument. The card checks everything itself; what is
checked here spares a person a refusal after a minute of waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from tallystick.common.errors import BadInputError, RefusedError
from tallystick.provisioning.card.connection import (
    CardConnection,
    CommandApdu,
    Response,
    StatusWord,
    Transmitter,
)
from tallystick.provisioning.card.issuer import TRANSPORT_KEYS, IssuerSession
from tallystick.provisioning.card.scp03 import KeyDeriver, SecureChannel
from tallystick.provisioning.card.t1 import Waiting
from tallystick.tools.image.header import SIGNATURE_SIZE, SIZE, Header

INS_INSTALL = 0xE6
INS_LOAD = 0xE8
P1_LOAD = 0x02
P1_SWITCH = 0x0C
P1_CONFIRM = 0x40
_DATA_IMAGE = 0xDF25
_DATA_FORMAT = 0xDF26
_NO_DATA = 0x6A88
_NOT_AUTHENTICATED = 0x6300
CHUNK = 256

Progress = Callable[[int, int], None]
"""(bytes of the file system that are done, all of them)."""


class InterruptedUpdateError(RefusedError):
    """The card lost its power while an update was sent."""


class SlotState(IntEnum):
    CONFIRMED = 1
    TRIAL = 2
    TRIED = 3


@dataclass(frozen=True)
class Running:
    """What a device runs. `floor`: it takes no image of a lower security version. `header` is None
    when its slot was written without one."""

    slot: int
    state: SlotState
    floor: int
    header: Header | None

    @classmethod
    def parse(cls, data: bytes) -> Running:
        """6 bytes (slot, state, floor), then the image's header. Raises BadInputError for any other
        length."""
        if len(data) != 6 + SIZE:
            raise BadInputError("The device's report on its image is malformed.")
        floor = int.from_bytes(data[2:6], "big")
        return cls(data[0], SlotState(data[1]), floor, Header.decode(data[6:]))


@dataclass(frozen=True)
class Update:
    """The file `card.update` or `reader.update`: a signed header and the file system that it speaks
    of."""

    header: Header
    signed: bytes
    file_system: bytes

    @classmethod
    def parse(cls, data: bytes) -> Update:
        """Raises BadInputError when the file is not one, or was changed. The signature is the
        card's to check, and `tally image verify`'s."""
        header = Header.decode(data)
        at = SIZE + SIGNATURE_SIZE
        if header is None:
            raise BadInputError(
                "This is not an update file.",
                todo="`tally image build` writes card.update, or reader.update.",
            )
        fresh = Header.of(
            data[at:],
            device=header.device,
            board=header.board,
            version=header.version,
            security=header.security,
            formats=header.formats,
        )
        if fresh != header:
            raise BadInputError(
                "The update file is not what its header says: it was cut or changed.",
                kept="Nothing was sent.",
                todo="Copy or build it again.",
            )
        return cls(header, data[:at], data[at:])


def running(transmitter: Transmitter) -> Running:
    """What the card runs; needs no secure channel."""
    command = CommandApdu(0x80, 0xCA, _DATA_IMAGE >> 8, _DATA_IMAGE & 0xFF)
    return Running.parse(transmitter.transmit(command).require("tell which image it runs"))


def state_format(transmitter: Transmitter) -> int:
    """Of the card's state. Firmware of before formats were numbered tells none, and has 1."""
    command = CommandApdu(0x80, 0xCA, _DATA_FORMAT >> 8, _DATA_FORMAT & 0xFF)
    answer = transmitter.transmit(command)
    if answer.sw == _NO_DATA:
        return 1
    return answer.require("tell its state's format")[0]


def install(
    connection: CardConnection,
    derive: KeyDeriver,
    update: Update,
    *,
    progress: Progress = lambda done, total: None,
    waiting: Waiting | None = None,
    host_challenge: Callable[[], bytes | None] = lambda: None,
) -> Running:
    """Sends the update, has the card start it, and confirms it; returns what then runs.

    derive: the firm's keys. waiting: for the press that a card in service asks for.
    host_challenge: for runs that have to be the same again, in place of a random one. The line
    stays open over the card's restart: a card that is undocked on trial goes back. Running it again
    after a failure goes on or begins anew; the card meanwhile works with the image it had. Raises
    RefusedError and whatever the line raises.
    """
    _check(connection, update.header)
    channel = SecureChannel.open(connection, derive, host_challenge=host_challenge())
    _send(channel, update, progress, waiting)
    channel.close()
    connection.t1.resynchronise()  # asks until the card has started again
    if running(connection).header != update.header:
        raise RefusedError(
            "The card did not start the new image, and went back to the one before.",
            kept="It works as before; keys, seed and moving factor are untouched.",
            todo="Try again; if it happens again, the image does not run on this card.",
        )
    channel = SecureChannel.open(connection, derive, host_challenge=host_challenge())
    _install(channel, P1_CONFIRM).require("confirm its new image")
    channel.close()
    return running(connection)


def _check(connection: CardConnection, header: Header) -> None:
    session = IssuerSession(connection)
    board = session.version().board
    now = running(connection)
    kept = "Nothing was sent to it."
    if header.device != "card" or header.board != board:
        raise RefusedError(
            f"The update is for a {header.device} on {header.board}; this is a card on {board}.",
            kept=kept,
            todo=f"Build one: tally image build --device card --board {board}.",
        )
    if header.security < now.floor:
        raise RefusedError(
            f"The update has security version {header.security}; this card takes none below "
            f"{now.floor}.",
            kept=kept,
            todo="Use a newer image. No option changes this: the card itself refuses.",
        )
    number = state_format(connection)
    if not header.formats.read(number):
        raise RefusedError(
            f"The card's state has format {number}; the update reads {header.formats}.",
            kept=f"{kept} Seed, keys and moving factor are as they were.",
            todo="Use an image of this card's own version or a newer one.",
        )
    if session.key_versions().get(1) == TRANSPORT_KEYS:
        raise RefusedError(
            "The card has no keys of a firm yet, and takes updates from its firm only.",
            kept=kept,
            todo="Provision it first, or flash it: tally flash.",
        )


def _send(
    channel: SecureChannel, update: Update, progress: Progress, waiting: Waiting | None
) -> None:
    content = update.file_system
    begin = _install(channel, P1_LOAD, update.signed, waiting)
    if begin.sw == _NOT_AUTHENTICATED:
        raise RefusedError(
            f"The card trusts another signing key than the update's ({begin.sw:04X}).",
            kept="Nothing was erased; it works as before.",
            todo="Build the image with the key that the card's own was built with.",
        )
    start = int.from_bytes(begin.require("take the update"), "big")
    for at in range(0, len(content), CHUNK):
        chunk = content[at : at + CHUNK]
        # Erased flash is FF already.
        if at >= start and chunk.strip(b"\xff"):
            command = CommandApdu(0x80, INS_LOAD, 0, 0, at.to_bytes(4, "big") + chunk)
            _still_there(channel.transmit(command)).require("store a part of the update")
        progress(min(len(content), at + CHUNK), len(content))
    _still_there(_install(channel, P1_SWITCH)).require(
        "switch to its new image", kept="It keeps running the one it has."
    )


def _still_there(response: Response) -> Response:
    """Raises InterruptedUpdateError when the card has started anew meanwhile: the channel that it
    asks for was open a moment ago."""
    if response.sw == StatusWord.SECURITY_NOT_SATISFIED:
        raise InterruptedUpdateError(
            "The card started anew in the middle of the update: it lost power, or left its dock "
            f"for a moment ({response.sw:04X}).",
            kept="It works with the image that it had; its keys and seed are as they were.",
            todo="Put it firmly into the dock, and run the same command again.",
        )
    return response


def _install(
    channel: SecureChannel, p1: int, data: bytes = b"", waiting: Waiting | None = None
) -> Response:
    return channel.transmit(CommandApdu(0x80, INS_INSTALL, p1, 0, data), waiting)
