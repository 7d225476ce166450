"""APDUs (ISO/IEC 7816-4) over T=1: commands short or extended, responses put together from 61xx."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol, Self

from tallystick.common.closing import Closing
from tallystick.common.errors import RefusedError
from tallystick.provisioning.card.link import ByteLink, SerialLink
from tallystick.provisioning.card.t1 import T1, Waiting

INS_GET_RESPONSE = 0xC0
INS_SEND_REMAINING = 0xA5
MAX_SHORT_DATA = 255
MAX_SHORT_LE = 256
MAX_RESPONSE = 65_536


class StatusWord(IntEnum):
    """Status words of reference/protocols.md, section 3. Unknown values are kept as they are."""

    OK = 0x9000
    FLASH_FAILURE = 0x6581
    WRONG_LENGTH = 0x6700
    SECURITY_NOT_SATISFIED = 0x6982
    BLOCKED = 0x6983
    NO_SUCH_CREDENTIAL = 0x6984
    CONDITIONS_NOT_SATISFIED = 0x6985
    SECURE_MESSAGING_INCORRECT = 0x6988
    INCORRECT_DATA = 0x6A80
    APPLET_NOT_FOUND = 0x6A82
    NO_SPACE = 0x6A84
    WRONG_P1P2 = 0x6A86
    NO_SUCH_DATA = 0x6A88
    INS_NOT_SUPPORTED = 0x6D00
    CLA_NOT_SUPPORTED = 0x6E00
    INTERNAL = 0x6F00

    @classmethod
    def _missing_(cls, value: object) -> StatusWord | None:
        if not isinstance(value, int) or not 0 <= value <= 0xFFFF:
            return None
        unknown = int.__new__(cls, value)
        unknown._name_ = f"SW_{value:04X}"
        unknown._value_ = value
        return unknown


_MEANING = {
    StatusWord.FLASH_FAILURE: "its flash failed; nothing was changed",
    StatusWord.WRONG_LENGTH: "wrong length",
    StatusWord.SECURITY_NOT_SATISFIED: "it asks for a secure channel with the right keys",
    StatusWord.BLOCKED: "too many tries with wrong keys; it takes the next ones when it has been "
    "out of its dock",
    StatusWord.NO_SUCH_CREDENTIAL: "it holds no such credential",
    StatusWord.CONDITIONS_NOT_SATISFIED: "no press came, or its life cycle forbids it",
    StatusWord.SECURE_MESSAGING_INCORRECT: "a message was damaged or forged",
    StatusWord.INCORRECT_DATA: "incorrect data",
    StatusWord.APPLET_NOT_FOUND: "it has no such applet",
    StatusWord.NO_SPACE: "it already holds another credential",
    StatusWord.NO_SUCH_DATA: "it has no such data or key",
    StatusWord.INS_NOT_SUPPORTED: "it does not know the command",
    StatusWord.CLA_NOT_SUPPORTED: "it does not know the command's class",
    StatusWord.INTERNAL: "internal error",
}


class CardRefusedError(RefusedError):
    """The card answered a command with another status word than 9000."""

    def __init__(self, doing: str, sw: int, *, kept: str = "", todo: str = "") -> None:
        self.sw = StatusWord(sw)
        meaning = _MEANING.get(self.sw, "status word not in our list")
        super().__init__(
            f"The card refused to {doing}: {meaning} ({sw:04X}).", kept=kept, todo=todo
        )


@dataclass(frozen=True)
class CommandApdu:
    """A command APDU. le: None for no answer data, up to 256 for short, 65,536 for extended."""

    cla: int
    ins: int
    p1: int = 0
    p2: int = 0
    data: bytes = field(default=b"", repr=False)
    le: int | None = None

    @property
    def header(self) -> bytes:
        return bytes((self.cla, self.ins, self.p1, self.p2))

    def encode(self) -> bytes:
        """Short form where it fits, extended form otherwise."""
        le = self.le
        if len(self.data) <= MAX_SHORT_DATA and (le or 0) <= MAX_SHORT_LE:
            lc = bytes((len(self.data),)) + self.data if self.data else b""
            return self.header + lc + (bytes((le & 0xFF,)) if le is not None else b"")
        lc = b"\0" + len(self.data).to_bytes(2, "big") + self.data if self.data else b""
        if le is None:
            return self.header + lc
        return self.header + (lc or b"\0") + (le & 0xFFFF).to_bytes(2, "big")


@dataclass(frozen=True)
class Response:
    """A response APDU."""

    data: bytes = field(repr=False)
    sw: int

    def require(self, doing: str, *, kept: str = "", todo: str = "") -> bytes:
        """The data of a 9000 answer. Raises CardRefusedError for any other status word."""
        if self.sw != StatusWord.OK:
            raise CardRefusedError(doing, self.sw, kept=kept, todo=todo)
        return self.data


def whole(first: Response, send: Callable[[bytes], Response], remaining_ins: int) -> Response:
    """The answer that begins with `first`, put together: 61xx says that more is waiting."""
    response, data = first, first.data
    while response.sw >> 8 == 0x61 and len(data) <= MAX_RESPONSE:
        response = send(CommandApdu(0, remaining_ins, le=response.sw & 0xFF).encode())
        data += response.data
    return Response(data, response.sw)


class Transmitter(Protocol):
    """Whatever carries commands: the plain connection or a secure channel."""

    def transmit(self, command: CommandApdu, waiting: Waiting | None = None) -> Response: ...


class CardConnection(Closing):
    """A connection to one card. Opening it finds the card (S(RESYNCH)).

    apdus: commands sent so far, GET RESPONSE counted.
    """

    def __init__(self, link: ByteLink) -> None:
        self.t1 = T1(link)
        self.apdus = 0
        self.remaining_ins = INS_GET_RESPONSE
        self.t1.resynchronise()

    @classmethod
    def open(cls, port: str) -> Self:
        """Open a port and find the card on it. Raises NoDeviceError."""
        link = SerialLink(port)
        try:
            return cls(link)
        except BaseException:
            link.close()
            raise

    @property
    def port(self) -> str:
        return self.t1.link.name

    @property
    def wire_bytes(self) -> int:
        """Bytes on the wire so far, both ways."""
        return self.t1.sent + self.t1.received

    def send(self, apdu: bytes, waiting: Waiting | None = None) -> Response:
        """One exchange of raw APDUs. Raises CardRefusedError."""
        self.apdus += 1
        raw = self.t1.exchange(apdu, waiting)
        if len(raw) < 2:
            raise CardRefusedError("answer with a status word", StatusWord.INTERNAL)
        return Response(raw[:-2], int.from_bytes(raw[-2:], "big"))

    def transmit(self, command: CommandApdu, waiting: Waiting | None = None) -> Response:
        return whole(self.send(command.encode(), waiting), self.send, self.remaining_ins)

    def close(self) -> None:
        self.t1.link.close()
