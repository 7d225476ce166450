"""T=1 block protocol, interface device side: ISO/IEC 7816-3, clause 11, in the profile of
reference/protocols.md, section 2 (CRC-16, 254-byte fields from the start, S(RESYNCH) to begin)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import NoReturn

from tallystick.common.errors import NoDeviceError, TallyError
from tallystick.provisioning.card.link import ByteLink

TRAFFIC = 5  # below logging.DEBUG: blocks as they are on the wire
logger = logging.getLogger(__name__)

MAX_FIELD = 254
PROLOGUE = 3
EPILOGUE = 2
BLOCK_WAITING_S = 1.0
CHARACTER_WAITING_S = 0.1
RETRIES = 3
FIND_RETRIES = 3
MAX_STALE_BLOCKS = 4  # blocks from before a S(RESYNCH) that may still be under way
MAX_EXTENSIONS = 600  # S(WTX) in one command: a card that asks for ever does not hold the port

_MORE = 0x20
_RESPONSE = 0x20
_OTHER_ERROR = 2


class SType(IntEnum):
    """Types of S-block."""

    RESYNCH = 0
    IFS = 1
    ABORT = 2
    WTX = 3


@dataclass(frozen=True)
class Waiting:
    """How to spend the time while the card waits for its button.

    keepalive is called each time the card asks for more time; setting `cancel` ends the wait.
    """

    keepalive: Callable[[], None] | None = None
    cancel: threading.Event | None = None


class AnswerLostError(NoDeviceError):
    """The line failed in the middle of a command and was synchronised again. The card may or may
    not have executed the command."""


class CancelledError(TallyError):
    """The user cancelled a command that was waiting."""


@dataclass(frozen=True)
class Block:
    """One received block: protocol control byte and information field."""

    pcb: int
    inf: bytes

    @property
    def is_information(self) -> bool:
        return not self.pcb & 0x80

    @property
    def is_supervisory(self) -> bool:
        return self.pcb & 0xC0 == 0xC0

    @property
    def sequence(self) -> int:
        """N(S) of an I-block, N(R) of an R-block."""
        return (self.pcb >> 6 if self.is_information else self.pcb >> 4) & 1

    @property
    def more(self) -> bool:
        return bool(self.pcb & _MORE)


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x8408 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC_TABLE = _crc_table()


def crc16(data: bytes) -> int:
    """CRC-16 of ISO/IEC 13239 ("X-25"); 0x906E over the ASCII digits 1 to 9."""
    value = 0xFFFF
    for byte in data:
        value = value >> 8 ^ _CRC_TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFF


def encode(pcb: int, inf: bytes = b"") -> bytes:
    """One block as bytes: NAD PCB LEN INF EDC."""
    block = bytes((0, pcb, len(inf))) + inf
    return block + crc16(block).to_bytes(EPILOGUE, "big")


def _i_block(sequence: int, more: bool, inf: bytes) -> bytes:
    return encode(sequence << 6 | (_MORE if more else 0), inf)


def _r_block(expected: int, error: int = 0) -> bytes:
    return encode(0x80 | expected << 4 | error)


def _s_block(kind: SType, *, response: bool = False, inf: bytes = b"") -> bytes:
    return encode(0xC0 | (_RESPONSE if response else 0) | kind, inf)


class T1:
    """Exchanges APDUs over a line. Not safe for use by several threads at once.

    sent, received: bytes on the wire so far, all blocks counted.
    """

    def __init__(self, link: ByteLink) -> None:
        self.link = link
        self.sent = 0
        self.received = 0
        self._buffer = bytearray()
        self._next = 0  # N(S) of our next I-block
        self._expected = 0  # N(S) that the card's next I-block must carry
        self._field = MAX_FIELD
        self._garbage = 0

    def resynchronise(self) -> None:
        """Find the card and set both sequence numbers to 0. Raises NoDeviceError."""
        self._garbage = 0
        for _ in range(FIND_RETRIES):
            self._start_over()
            self._send(_s_block(SType.RESYNCH))
            for _ in range(MAX_STALE_BLOCKS):
                block = self._receive(BLOCK_WAITING_S)
                if block is None:
                    break
                if block.pcb == 0xC0 | _RESPONSE | SType.RESYNCH and not block.inf:
                    self._next = self._expected = 0
                    self._field = MAX_FIELD
                    return
        raise self._no_answer()

    def exchange(self, apdu: bytes, waiting: Waiting | None = None) -> bytes:
        """Send a command APDU, return the response APDU.

        Raises AnswerLostError when the line failed but the card is still there, NoDeviceError
        when it is not, CancelledError when `waiting.cancel` was set.
        """
        self._start_over()
        waiting = waiting or Waiting()
        field = self._field
        chunks = [apdu[i : i + field] for i in range(0, len(apdu), field)] or [b""]
        for chunk in chunks[:-1]:
            self._send_chunk(chunk, waiting)
        block = self._transact(_i_block(self._next, False, chunks[-1]), waiting)
        self._next ^= 1
        response = bytearray(block.inf)
        while block.more:
            block = self._transact(_r_block(self._expected), waiting)
            response += block.inf
        return bytes(response)

    def _send_chunk(self, chunk: bytes, waiting: Waiting) -> None:
        """Send one block of a chain and wait for its acknowledgement."""
        self._transact(_i_block(self._next, True, chunk), waiting, acknowledge=True)
        self._next ^= 1

    def _transact(self, block: bytes, waiting: Waiting, *, acknowledge: bool = False) -> Block:
        """Send a block until the wanted reply comes: the card's next I-block, or with
        `acknowledge` an R-block that asks for our next one."""
        self._send(block)
        wait_s = BLOCK_WAITING_S
        failures = extensions = 0
        while failures <= RETRIES and extensions <= MAX_EXTENSIONS:
            reply = self._receive(wait_s)
            wait_s = BLOCK_WAITING_S
            if reply is None:
                failures += 1
                if failures <= RETRIES:
                    self._send(_r_block(self._expected, _OTHER_ERROR))
            elif reply.is_supervisory:
                extensions += 1
                wait_s *= self._serve(reply, waiting)
            elif reply.is_information:
                if not acknowledge and reply.sequence == self._expected:
                    self._expected ^= 1
                    return reply
                failures += 1  # a late copy of a block that was already taken: wait on
            elif acknowledge and reply.sequence != self._next:
                return reply
            else:
                failures += 1
                if failures <= RETRIES:
                    unseen = reply.sequence == self._next  # it has not had our block, or damaged
                    self._send(block if unseen else _r_block(self._expected))
        return self._give_up()

    def _serve(self, request: Block, waiting: Waiting) -> int:
        """Answer the card's S-request; returns the multiple of the block waiting time to allow."""
        kind = request.pcb & 0x1F
        if request.pcb & _RESPONSE:
            return 1  # a late answer to an earlier S(RESYNCH): wait on
        if kind == SType.WTX and len(request.inf) == 1:
            if waiting.cancel is not None and waiting.cancel.is_set():
                self.resynchronise()
                raise CancelledError("Cancelled while the card waited for its button.")
            if waiting.keepalive is not None:
                waiting.keepalive()
            self._send(_s_block(SType.WTX, response=True, inf=request.inf))
            return max(1, request.inf[0])
        if kind == SType.IFS and len(request.inf) == 1 and 1 <= request.inf[0] <= MAX_FIELD:
            self._field = request.inf[0]
            self._send(_s_block(SType.IFS, response=True, inf=request.inf))
            return 1
        if kind == SType.ABORT:
            self._send(_s_block(SType.ABORT, response=True))
            self.resynchronise()
            raise AnswerLostError(
                f"The card on {self.link.name} broke off the command.", todo="Try again."
            )
        return 1

    def _give_up(self) -> NoReturn:
        self.resynchronise()
        raise AnswerLostError(
            f"The line on {self.link.name} lost a command or its answer.",
            kept="The card is still there.",
            todo="Try again; if it happens often, clean the contacts or use a shorter cable.",
        )

    def _start_over(self) -> None:
        self._buffer.clear()
        self.link.drain()

    def _send(self, block: bytes) -> None:
        logger.log(TRAFFIC, "> %s", block.hex())
        self.sent += len(block)
        self.link.write(block)

    def _receive(self, wait_s: float) -> Block | None:
        """The next valid block, or None after silence or damage (which is then drained)."""
        block = self._next_block(wait_s)
        if block is None:
            self._discard()
            return None
        logger.log(TRAFFIC, "< %s", block.hex())
        return Block(block[1], block[PROLOGUE:-EPILOGUE])

    def _next_block(self, wait_s: float) -> bytes | None:
        if not self._fill(PROLOGUE, wait_s):
            return None
        length = self._buffer[2]
        if self._buffer[0] != 0 or length > MAX_FIELD:
            return None
        total = PROLOGUE + length + EPILOGUE
        if not self._fill(total, CHARACTER_WAITING_S):
            return None
        block = bytes(self._buffer[:total])
        if crc16(block[:-EPILOGUE]).to_bytes(EPILOGUE, "big") != block[-EPILOGUE:]:
            return None
        del self._buffer[:total]
        return block

    def _fill(self, size: int, wait_s: float) -> bool:
        """Have `size` bytes in the buffer; False when the line falls silent first."""
        while len(self._buffer) < size:
            data = self.link.read(CHARACTER_WAITING_S if self._buffer else wait_s)
            if not data:
                return False
            self.received += len(data)
            self._buffer += data
        return True

    def _discard(self) -> None:
        """Forget a damaged block: wait for silence, so that its rest is not taken for a block. A
        line that is never silent is read for at most ten times the largest block."""
        seen = len(self._buffer)
        while seen and seen < 10 * (PROLOGUE + MAX_FIELD + EPILOGUE):
            data = self.link.read(CHARACTER_WAITING_S)
            if not data:
                break
            self.received += len(data)
            seen += len(data)
        self._garbage += seen
        self._buffer.clear()

    def _no_answer(self) -> NoDeviceError:
        if self._garbage:
            return NoDeviceError(
                f"Something on {self.link.name} sends data, but not as a card does "
                f"({self._garbage} bytes that are no T=1 blocks).",
                kept="Nothing was written to it.",
                todo="Check that the port is the card's, its speed is 115200 baud, "
                "and the contacts are clean.",
            )
        return NoDeviceError(
            f"No card answered on {self.link.name}.",
            kept="Nothing was written.",
            todo="Put a card in the dock, or choose another port. If one lies there, press its "
            "button: its glass says why it does not answer.",
        )
