"""The OATH applet's published command set (YKOATH protocol), for one HOTP credential."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from tallystick.common.errors import BadInputError
from tallystick.provisioning.card import tlv
from tallystick.provisioning.card.connection import CommandApdu, Transmitter
from tallystick.provisioning.card.issuer import select
from tallystick.provisioning.card.keys import Sealed
from tallystick.provisioning.card.scp03 import SecureChannel
from tallystick.provisioning.card.t1 import Waiting
from tallystick.provisioning.credential import CodeKind, HmacHash

AID = bytes.fromhex("A0000005272101")
TAG_NAME = 0x71
TAG_NAME_LIST = 0x72
TAG_KEY = 0x73
TAG_CHALLENGE = 0x74
TAG_TRUNCATED = 0x76
TAG_VERSION = 0x79
HOTP_SHA1 = 0x11
HOTP = {HmacHash.SHA1: HOTP_SHA1, HmacHash.SHA256: 0x12, HmacHash.SHA512: 0x13}  # YKOATH, PUT

INS_PUT = 0x01
INS_DELETE = 0x02
INS_RESET = 0x04
INS_RENAME = 0x05
INS_LIST = 0xA1
INS_CALCULATE = 0xA2


class OathKind(IntEnum):
    """Kind of a credential, high nibble of its type byte."""

    HOTP = 0x10
    TOTP = 0x20


@dataclass(frozen=True)
class Selected:
    """Answer of SELECT. identifier: 8 bytes; locked: an access code is set."""

    version: tuple[int, int, int]
    identifier: bytes
    locked: bool


@dataclass(frozen=True)
class OathCredential:
    """One entry of LIST."""

    name: str
    kind: OathKind
    hash_id: int


def parse_select(data: bytes) -> Selected:
    """Raises BadInputError for anything but an OATH applet's answer."""
    version = tlv.first(data, TAG_VERSION)
    if len(version) != 3:
        raise BadInputError("The OATH applet's version is malformed.")
    locked = any(tag == TAG_CHALLENGE for tag, _ in tlv.decode(data))
    return Selected((version[0], version[1], version[2]), tlv.first(data, TAG_NAME), locked)


def parse_code(data: bytes) -> str:
    """The code in a truncated response: digits, then 31 bits big endian (RFC 4226, 5.3).
    Raises BadInputError."""
    value = tlv.first(data, TAG_TRUNCATED)
    if len(value) != 5 or not 6 <= value[0] <= 8:
        raise BadInputError("The card's code is malformed.")
    number = int.from_bytes(value[1:], "big") & 0x7FFF_FFFF
    return str(number % 10 ** value[0]).zfill(value[0])


def _parse_entry(value: bytes) -> OathCredential:
    try:
        return OathCredential(value[1:].decode(), OathKind(value[0] & 0xF0), value[0] & 0x0F)
    except (IndexError, ValueError):
        raise BadInputError("The card's list of credentials is malformed.") from None


def select_oath(transmitter: Transmitter) -> Selected:
    """Select the OATH applet; ends any secure channel."""
    return parse_select(select(transmitter, AID))


class OathSession:
    """OATH commands over a connection on which the applet is selected."""

    def __init__(self, transmitter: Transmitter) -> None:
        self._transmitter = transmitter

    def list(self) -> list[OathCredential]:
        data = self._transmitter.transmit(CommandApdu(0, INS_LIST)).require("list its credentials")
        return [_parse_entry(value) for tag, value in tlv.decode(data) if tag == TAG_NAME_LIST]

    def calculate(self, name: str, waiting: Waiting | None = None) -> str:
        """The next code; the card moves its moving factor first. Outside provisioning it waits
        for a press: 30 s, `waiting.keepalive` meanwhile."""
        data = tlv.encode(TAG_NAME, name.encode()) + tlv.encode(TAG_CHALLENGE, b"")
        command = CommandApdu(0, INS_CALCULATE, 0, 1, data)
        return parse_code(self._transmitter.transmit(command, waiting).require("give a code"))

    def rename(self, old: str, new: str, waiting: Waiting | None = None) -> None:
        """Gives a credential another name, of 1 to 64 bytes; what it computes stays."""
        names = tlv.encode(TAG_NAME, old.encode()) + tlv.encode(TAG_NAME, new.encode())
        command = CommandApdu(0, INS_RENAME, data=names)
        self._transmitter.transmit(command, waiting).require("rename its credential")

    def delete(self, name: str, waiting: Waiting | None = None) -> None:
        command = CommandApdu(0, INS_DELETE, data=tlv.encode(TAG_NAME, name.encode()))
        self._transmitter.transmit(command, waiting).require("delete its credential")

    def reset(self, waiting: Waiting | None = None) -> None:
        """Delete every credential; keys and life cycle stay."""
        command = CommandApdu(0, INS_RESET, 0xDE, 0xAD)
        self._transmitter.transmit(command, waiting).require("delete its credentials")


def put_hotp(
    channel: SecureChannel,
    name: str,
    seed: Sealed,
    kind: CodeKind,
    waiting: Waiting | None = None,
) -> None:
    """Store a HOTP credential with moving factor 0, replacing one of the same name."""
    head = tlv.encode(TAG_NAME, name.encode())
    head += bytes((TAG_KEY, seed.size + 2, HOTP[kind.hash], kind.digits))
    command = CommandApdu(0, INS_PUT, data=head)
    channel.transmit_sealed(command, seed, waiting=waiting).require("take its seed")
