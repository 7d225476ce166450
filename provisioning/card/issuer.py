"""Issuer functions of the card: docs/reference/protocols.md, section 3.1 (GlobalPlatform Card
Specification v2.3, chapter 11)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from tallystick.common.errors import BadInputError
from tallystick.common.identity import check_serial
from tallystick.provisioning.card import tlv
from tallystick.provisioning.card.connection import CommandApdu, Transmitter
from tallystick.provisioning.card.t1 import Waiting

AID = bytes.fromhex("A000000151000000")
TRANSPORT_KEYS = 0xFF

_KEY_TYPE_AES = 0x88
_P2_MULTIPLE_KEYS = 0x81  # three keys from identifier 1 on


class DataObject(IntEnum):
    """Tags of GET DATA."""

    SERIAL = 0xDF20
    VERSION = 0xDF21
    CELL = 0xDF22
    WEAR = 0xDF23
    LIFE_CYCLE = 0xDF24
    KEY_INFORMATION = 0x00E0


class LifeCycle(IntEnum):
    """Life cycle of a card; it never goes back. Unknown values are refused by `parse`."""

    OP_READY = 0x01
    INITIALIZED = 0x07
    SECURED = 0x0F
    TERMINATED = 0xFF


class CellState(IntEnum):
    NORMAL = 0
    LOW = 1
    CRITICAL = 2


@dataclass(frozen=True, order=True)
class FirmwareVersion:
    """Version of the card's firmware, and the board it was built for."""

    major: int
    minor: int
    patch: int
    board: str = ""

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


@dataclass(frozen=True)
class CellReading:
    """The card's coin cell. loaded_mv: millivolts under the load of the running card."""

    loaded_mv: int
    state: CellState


@dataclass(frozen=True)
class Wear:
    """Counters of use."""

    presses: int
    largest_erase_count: int
    cold_starts: int
    dead_sectors: int


@dataclass(frozen=True)
class WrappedKey:
    """A key for PUT KEY: AES-CBC under the DEK of the set in use, and its check value (3 bytes)."""

    ciphertext: bytes
    check_value: bytes


def parse_serial(data: bytes) -> str:
    """Ten characters out of 0-9 and A-Z. Raises BadInputError."""
    return check_serial(data.decode("ascii", "replace"))


def parse_version(data: bytes) -> FirmwareVersion:
    """Three bytes (major, minor, patch), then text in ASCII. Raises BadInputError for fewer."""
    if len(data) < 3:
        raise BadInputError("The card's version is too short.")
    return FirmwareVersion(data[0], data[1], data[2], data[3:].decode("ascii", "replace"))


def parse_life_cycle(data: bytes) -> LifeCycle:
    """One byte of the card. Raises BadInputError for any other answer."""
    try:
        (value,) = data
        return LifeCycle(value)
    except ValueError:
        raise BadInputError("The card's life cycle is unknown to this station.") from None


def _parse_cell(data: bytes) -> CellReading:
    if len(data) != 3 or data[2] > CellState.CRITICAL:
        raise BadInputError("The card's cell report is malformed.")
    return CellReading(int.from_bytes(data[:2], "big"), CellState(data[2]))


def _parse_wear(data: bytes) -> Wear:
    if len(data) != 13:
        raise BadInputError("The card's wear report is malformed.")
    presses, erases, starts = (int.from_bytes(data[i : i + 4], "big") for i in (0, 4, 8))
    return Wear(presses, erases, starts, data[12])


def select(transmitter: Transmitter, aid: bytes = AID) -> bytes:
    """Select an applet by its identifier; returns its answer."""
    return transmitter.transmit(CommandApdu(0, 0xA4, 4, 0, aid)).require("select the applet")


class IssuerSession:
    """Issuer commands over a plain connection or a secure channel; needs no SELECT of its own."""

    def __init__(self, transmitter: Transmitter) -> None:
        self._transmitter = transmitter

    def get_data(self, tag: DataObject) -> bytes:
        command = CommandApdu(0x80, 0xCA, tag >> 8, tag & 0xFF)
        return self._transmitter.transmit(command).require(f"tell its {tag.name.lower()}")

    def serial(self) -> str:
        return parse_serial(self.get_data(DataObject.SERIAL))

    def version(self) -> FirmwareVersion:
        return parse_version(self.get_data(DataObject.VERSION))

    def life_cycle(self) -> LifeCycle:
        return parse_life_cycle(self.get_data(DataObject.LIFE_CYCLE))

    def cell(self) -> CellReading:
        return _parse_cell(self.get_data(DataObject.CELL))

    def wear(self) -> Wear:
        """Only inside a secure channel."""
        return _parse_wear(self.get_data(DataObject.WEAR))

    def key_versions(self) -> dict[int, int]:
        """Key identifier → key version, of the set in use. Raises BadInputError."""
        template = tlv.first(self.get_data(DataObject.KEY_INFORMATION), 0xE0)
        entries = [value for tag, value in tlv.decode(template) if tag == 0xC0]
        if any(len(entry) < 2 for entry in entries):
            raise BadInputError("The card's key information is malformed.")
        return {entry[0]: entry[1] for entry in entries}

    def get_challenge(self, size: int) -> bytes:
        """`size` (1 to 32) random bytes made by the card. Raises BadInputError."""
        command = CommandApdu(0x00, 0x84, le=size)
        data = self._transmitter.transmit(command).require("give random bytes")
        if len(data) != size:
            raise BadInputError("The card gave fewer random bytes than were asked for.")
        return data

    def put_key(
        self,
        key_version: int,
        keys: tuple[WrappedKey, WrappedKey, WrappedKey],
        waiting: Waiting | None = None,
    ) -> None:
        """Replace the key set (ENC, MAC, DEK). The card must confirm every check value.

        Raises BadInputError when it confirms others.
        """
        data = bytes((key_version,))
        for key in keys:
            data += bytes((_KEY_TYPE_AES, len(key.ciphertext))) + key.ciphertext
            data += bytes((len(key.check_value),)) + key.check_value
        command = CommandApdu(0x80, 0xD8, 0, _P2_MULTIPLE_KEYS, data)
        answer = self._transmitter.transmit(command, waiting).require("take its new keys")
        if answer != bytes((key_version,)) + b"".join(key.check_value for key in keys):
            raise BadInputError("The card confirmed other keys than it was sent.")

    def set_status(self, state: LifeCycle, waiting: Waiting | None = None) -> None:
        """waiting: a card in service is wiped with a press only."""
        command = CommandApdu(0x80, 0xF0, 0x80, state)
        response = self._transmitter.transmit(command, waiting)
        response.require(f"enter life cycle {state.name}")
