"""The flash chip behind the QMI: mapped for reading, spoken to in direct mode (RP2350 data sheet,
12.14; W25Q32 data sheet for its commands)."""

from __future__ import annotations

from collections.abc import Callable

from tallystick.emulator.parts.nor_flash import NorFlash
from tallystick.tools.second_opinion.cortex import Cortex
from tallystick.tools.second_opinion.rp2350.registers import RegisterBlock

_ENABLE, _SELECT = 1, 1 << 2
_RX_EMPTY, _TX_EMPTY = 1 << 16, 1 << 11
_STATUS, _STATUS_2, _JEDEC, _UNIQUE = 0x05, 0x35, 0x9F, 0x4B
_QUAD_ENABLED = 0x02  # as boards are delivered
_ANSWERS = {
    _STATUS: bytes(1),
    _STATUS_2: bytes([_QUAD_ENABLED]),
    _JEDEC: bytes.fromhex("ef4016"),
    _UNIQUE: bytes(4) + bytes.fromhex("e66118604b2a5f31"),
}


class Qmi(RegisterBlock):
    """Direct mode answers what tells the chip's identity; writing is the boot ROM's."""

    def __init__(self, core: Cortex) -> None:
        super().__init__(core, "QMI", {
            0x00: 0x01800000, 0x0C: 0x40000004, 0x10: 0x1000, 0x14: 0xA003, 0x18: 0x1000,
            0x1C: 0xA002, 0x20: 0x40000004, 0x24: 0x1000, 0x28: 0xA003, 0x2C: 0x1000, 0x30: 0xA002,
            **{0x34 + 4 * n: 0x400 << 16 | 0x400 * (n & 3) for n in range(8)},
        })  # fmt: skip
        self._sent = bytearray()
        self._received: list[int] = []
        self.reads[0x00] = self._status
        self.writes[0x00] = self._control
        self.writes[0x04] = self._send
        self.reads[0x08] = lambda: self._received.pop(0) if self._received else 0

    def _control(self, value: int) -> None:
        if not value & _SELECT:
            self._sent.clear()

    def _status(self) -> int:
        return self.kept[0x00] & ~(_RX_EMPTY | 2) | _TX_EMPTY | (not self._received) << 16

    def _send(self, value: int) -> None:
        if not self.kept[0x00] & _ENABLE:
            raise self.core.error("sends to QMI outside its direct mode")
        self._sent.append(value & 0xFF)
        answer = _ANSWERS.get(self._sent[0])
        if answer is None:
            raise self.core.error(f"sends {bytes(self._sent).hex()} to the flash chip: not known")
        at = len(self._sent) - 2
        self._received.append(answer[at % len(answer)] if at >= 0 else 0)


class Xip(RegisterBlock):
    """XIP_CTRL, 4.4: the cache, whose effect on time is not modelled."""

    def __init__(self, core: Cortex) -> None:
        super().__init__(core, "XIP_CTRL", {0x00: 0x83, 0x0C: 0, 0x10: 0, 0x14: 0, 0x18: 0})
        self.reads[0x08] = lambda: 2


class FlashChip:
    """Erase and program, with the time that they take."""

    def __init__(self, core: Cortex, flash: NorFlash) -> None:
        self._core = core
        self._flash = flash
        self.on_operation: Callable[[str, int, int, int], None] = lambda *_args: None

    def erase(self, address: int, size: int) -> None:
        sector = self._flash.timing.sector
        for at in range(address, address + size, sector):
            self.on_operation("erase", at, sector, self._flash.timing.erase_us)
            self._core.stall(self._flash.timing.erase_us * 1000)
            self._flash.erase(at)

    def program(self, address: int, data: bytes) -> None:
        unit = self._flash.timing.program_unit
        for at in range(0, len(data), unit):
            self.on_operation("program", address + at, unit, self._flash.timing.program_us)
            self._core.stall(self._flash.timing.program_us * 1000)
            self._flash.program(address + at, data[at : at + unit])
