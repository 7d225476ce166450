"""The serial line as a log: T=1 blocks with the APDUs in them, in words, without secrets.

What is shown is chosen, not what is hidden: data of an instruction that is not known to be public,
or that is under secure messaging, appears as its length only. Codes never appear.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tallystick.emulator.chip.probe import Probe

_SECURE = 0x04  # of CLA
_INSTRUCTIONS = {
    0xA4: "SELECT", 0xCA: "GET DATA", 0x84: "GET CHALLENGE", 0x50: "INITIALIZE UPDATE",
    0x82: "EXTERNAL AUTHENTICATE", 0xD8: "PUT KEY", 0xF0: "SET STATUS", 0xF2: "GET STATUS",
    0x01: "PUT", 0x02: "DELETE", 0x03: "SET CODE", 0x04: "RESET", 0xA1: "LIST", 0xA2: "CALCULATE",
    0xA3: "VALIDATE", 0xA5: "SEND REMAINING", 0xC0: "GET RESPONSE",
}  # fmt: skip
_CALCULATE_ALL = (0xA4, 0x00)  # INS and P1
_PUBLIC_COMMAND = {0xA4, 0xCA, 0xF0, 0xF2, 0xA1}
_PUBLIC_ANSWER = {0xA4, 0xCA, 0xF2, 0xA1}
_BLOCKS = {0xC0: "RESYNCH", 0xC1: "IFS", 0xC2: "ABORT", 0xC3: "WTX"}
_MORE, _RESPONSE = 0x20, 0x20
_OVERHEAD = 5  # NAD, PCB, LEN, and two bytes of EDC
_HEX_SHOWN = 48  # bytes


def crc(data: bytes) -> bytes:
    """ISO/IEC 13239, most significant byte first."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x8408 if value & 1 else 0)
    return (value ^ 0xFFFF).to_bytes(2, "big")


@dataclass
class _Direction:
    received: bytearray = field(default_factory=bytearray)
    chained: bytearray = field(default_factory=bytearray)


class ApduLog(Probe):
    """One line a block, one line an APDU. `>` goes to the card, `<` comes from it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._to, self._from = _Direction(), _Direction()
        self._command: tuple[int, int, int] | None = None  # CLA, INS, P1 that the answer is to

    def serial(self, now_us: int, data: bytes, *, to_card: bool) -> None:
        side = self._to if to_card else self._from
        side.received += data
        while len(side.received) >= 3:
            size = _OVERHEAD + side.received[2]
            if len(side.received) < size:
                return
            block = bytes(side.received[:size])
            del side.received[:size]
            self._block(now_us, block, side, "> " if to_card else "< ")

    def close(self) -> None:
        self._file.close()

    def _write(self, now_us: int, words: str) -> None:
        self._file.write(f"{now_us / 1_000_000:12.6f}  {words}\n")
        self._file.flush()

    def _block(self, now_us: int, block: bytes, side: _Direction, arrow: str) -> None:
        pcb, body = block[1], block[3:-2]
        if crc(block[:-2]) != block[-2:]:
            self._write(now_us, f"{arrow}damaged block, {len(block)} bytes")
            side.received.clear()
        elif not pcb & 0x80:
            more = bool(pcb & _MORE)
            words = f"I({pcb >> 6 & 1}{', more' if more else ''}) {len(body)} bytes"
            self._write(now_us, arrow + words)
            side.chained += body
            if not more:
                apdu = bytes(side.chained)
                side.chained.clear()
                self._apdu(now_us, apdu, side is self._to)
        elif pcb & 0x40:
            kind = _BLOCKS.get(pcb & ~_RESPONSE, f"{pcb:02X}")
            value = f" {body[0]}" if body else ""
            role = "response" if pcb & _RESPONSE else "request"
            self._write(now_us, f"{arrow}S({kind} {role}){value}")
            if kind == "RESYNCH":
                side.chained.clear()
        else:
            self._write(
                now_us, f"{arrow}R({pcb >> 4 & 1}) {('ok', 'EDC', 'other')[min(pcb & 3, 2)]}"
            )

    def _apdu(self, now_us: int, apdu: bytes, command: bool) -> None:
        words = self._said(apdu) if command else self._answered(apdu)
        self._write(now_us, f"  {words}")

    def _said(self, apdu: bytes) -> str:
        if len(apdu) < 4:
            return f"not an APDU, {len(apdu)} bytes"
        cla, ins, p1, p2 = apdu[:4]
        self._command = (cla, ins, p1)
        name = _INSTRUCTIONS.get(ins, f"INS {ins:02X}")
        if (ins, p1) == _CALCULATE_ALL:
            name = "CALCULATE ALL"
        public = not cla & _SECURE and ins in _PUBLIC_COMMAND
        secure = ", secure messaging" if cla & _SECURE else ""
        return f"{name} P1={p1:02X} P2={p2:02X}{secure}{_shown(apdu[5:], public)}"

    def _answered(self, apdu: bytes) -> str:
        cla, ins, p1 = self._command or (_SECURE, 0, 0)
        public = not cla & _SECURE and ins in _PUBLIC_ANSWER and (ins, p1) != _CALCULATE_ALL
        return f"SW {apdu[-2:].hex().upper()}{_shown(apdu[:-2], public)}"


def _shown(data: bytes, public: bool) -> str:
    if not data:
        return ""
    if not public:
        return f" [{len(data)} bytes]"
    dots = "…" if len(data) > _HEX_SHOWN else ""
    return f" {data[:_HEX_SHOWN].hex(' ').upper()}{dots}"
