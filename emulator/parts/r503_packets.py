"""Framing of the R503 class's serial protocol (manual 1.2.2, chapter IV), big endian:
`EF01 ‖ address 4 ‖ PID ‖ length 2 ‖ payload ‖ sum 2`. The length counts payload and sum; the sum is
over PID, length and payload."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

HEADER = b"\xef\x01"
MAX_PAYLOAD = 256


class Pid(IntEnum):
    COMMAND = 0x01
    DATA = 0x02
    ACKNOWLEDGE = 0x07
    END_OF_DATA = 0x08


@dataclass(frozen=True)
class Packet:
    """`intact` is False when the sum does not fit or the payload is empty."""

    address: int
    pid: int
    payload: bytes
    intact: bool = True


def encode(address: int, pid: int, payload: bytes) -> bytes:
    body = bytes([pid]) + (len(payload) + 2).to_bytes(2, "big") + payload
    return HEADER + address.to_bytes(4, "big") + body + (sum(body) & 0xFFFF).to_bytes(2, "big")


class PacketReader:
    """Cuts a byte stream into packets and finds its way back after noise."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def clear(self) -> None:
        self._bytes.clear()

    def feed(self, data: bytes) -> list[Packet]:
        """The packets that are complete with `data`."""
        self._bytes += data
        packets = []
        while (packet := self._next()) is not None:
            packets.append(packet)
        return packets

    def _next(self) -> Packet | None:
        while True:
            start = self._bytes.find(HEADER)
            if start < 0:
                # the last byte may be the first half of a header
                del self._bytes[: len(self._bytes) - (self._bytes[-1:] == HEADER[:1])]
                return None
            del self._bytes[:start]
            if len(self._bytes) < 9:
                return None
            length = int.from_bytes(self._bytes[7:9], "big")
            if not 2 <= length <= MAX_PAYLOAD + 2:
                del self._bytes[:2]  # no packet has this length: look for the next header
                continue
            if len(self._bytes) < 9 + length:
                return None
            packet = self._decode(length)
            # the true header of a damaged packet may lie within it
            del self._bytes[: 9 + length if packet.intact else 2]
            return packet

    def _decode(self, length: int) -> Packet:
        raw = bytes(self._bytes[: 9 + length])
        body, check = raw[6:-2], int.from_bytes(raw[-2:], "big")
        intact = length > 2 and sum(body) & 0xFFFF == check
        return Packet(int.from_bytes(raw[2:6], "big"), raw[6], raw[9:-2], intact)
