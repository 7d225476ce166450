"""The boot ROM, played by the host: a table of our own, whose functions are a BKPT each (RP2350
data sheet, 5.4). Nothing of Raspberry Pi's ROM is here."""

from __future__ import annotations

import struct
from collections.abc import Callable

from tallystick.tools.second_opinion.cortex import Cortex
from tallystick.tools.second_opinion.rp2350.otp import OtpControl
from tallystick.tools.second_opinion.rp2350.qspi import FlashChip
from tallystick.tools.second_opinion.rp2350.registers import PeripheralMemory

SIZE = 0x8000
_NO_STACK = 0xF0000000  # what word 0 says: each core sets its own
_MAGIC, _LOOKUP_POINTER = 0x10, 0x16  # 5.4.1
_FUNCTIONS = 0x100  # where ours begin, four bytes each
_DATA = 0x400
_XIP_SETUP = 0x400E0000  # boot RAM, 5.4.8: a function that sets flash reading up again
_BREAK, _RETURN = bytes.fromhex("00be"), bytes.fromhex("7047")  # BKPT, BX LR
_FLASH_INFO = 0x400E0500  # FLASH_DEVINFO's copy in boot RAM
_CHIP_INFO, _CRITICAL, _CPU, _FLASH, _RANDOM, _BOOT = 1, 2, 4, 8, 16, 64  # get_sys_info
_CALL_NS = 1_000  # a call of the ROM that does little
_INVALID_ARG = -5
_LOCKS, _LOCKS_END = 0x80C, 0x82C


class BootRam(PeripheralMemory):
    """A kilobyte, and eight locks: reading one takes it, writing it lets go (5.4.4)."""

    def __init__(self, core: Cortex) -> None:
        super().__init__(core, "BOOTRAM", 0x1000)
        self._taken: set[int] = set()

    def clear(self) -> None:
        self.data[:] = bytes(len(self.data))
        self._taken.clear()

    def read_some(self, offset: int, size: int) -> int:
        if not _LOCKS <= offset < _LOCKS_END:
            return super().read_some(offset, size)
        if offset in self._taken:
            return 0
        self._taken.add(offset)
        return 1 << (offset - _LOCKS >> 2)

    def write_some(self, offset: int, alias: int, size: int, value: int) -> None:
        if _LOCKS <= offset < _LOCKS_END:
            self._taken.discard(offset)
        else:
            super().write_some(offset, alias, size, value)


class BootRom:
    """Functions by their two letters. `random` gives the number that the ROM made at boot."""

    def __init__(self, core: Cortex, flash: FlashChip, otp: OtpControl, unique_id: bytes) -> None:
        self._core = core
        self._flash = flash
        self._otp = otp
        self._id = unique_id
        self.boot_random = bytes(16)
        self.boot_type = 0
        self.on_reboot: Callable[[int, int, int, int], None] = lambda *_args: None
        self._elsewhere: dict[int, Callable[[], None]] = {}
        nothing = self._nothing
        self._functions: dict[str, Callable[[], int | None]] = {
            "lookup": self._lookup, "IF": nothing, "EX": nothing, "FC": nothing, "CX": nothing,
            "XM": nothing, "RA": nothing, "SR": nothing, "RE": self._erase, "RP": self._program,
            "GS": self._system_info, "RB": self._reboot, "OA": self._otp_access, "RC": nothing,
        }  # fmt: skip
        self._at = {name: _FUNCTIONS + 4 * n for n, name in enumerate(self._functions)}
        self._data = {"FD": _DATA, "XF": _DATA + 4, "GR": _DATA + 8}

    def install(self) -> None:
        """Puts the ROM into memory, and the host behind its functions."""
        self._core.memory(0, SIZE, writable=False)
        # TinyUSB writes to the null pointer, and the real ROM does not mind.
        self._core.on_write_protected(0, SIZE, lambda _address, _size, _value: None)
        self._core.load(0, self._image())
        self._core.on_breakpoint = self._play

    def _image(self) -> bytes:
        rom = bytearray(SIZE)
        struct.pack_into("<I", rom, 0, _NO_STACK)
        rom[_MAGIC : _MAGIC + 4] = b"Mu\x02\x02"  # the version of stepping A2
        struct.pack_into("<H", rom, _LOOKUP_POINTER, self._at["lookup"] | 1)
        for at in self._at.values():
            rom[at : at + 4] = _BREAK + _RETURN
        struct.pack_into("<III", rom, _DATA, _FLASH_INFO, _XIP_SETUP, 0)
        return bytes(rom)

    def boot_ram(self, memory: bytearray) -> None:
        """What the ROM leaves in boot RAM."""
        memory[0:2] = _RETURN
        struct.pack_into("<H", memory, _FLASH_INFO & 0xFFF, 0x000C)

    def also(self, address: int, play: Callable[[], None]) -> None:
        """A function elsewhere that the host plays: a BKPT is at its address."""
        self._elsewhere[address & ~1] = play

    def _play(self, pc: int) -> bool:
        if pc in self._elsewhere:
            self._elsewhere[pc]()
            return True
        for name, at in self._at.items():
            if at == pc:
                result = self._functions[name]()
                self._core.stall(_CALL_NS)
                if result is not None:
                    self._core.set_reg(0, result)
                return True
        return False

    def _arguments(self, count: int) -> list[int]:
        return [self._core.reg(n) for n in range(count)]

    def _nothing(self) -> int:
        return 0

    def _lookup(self) -> int:
        """rom_table_lookup(code, mask)."""
        code, mask = self._arguments(2)
        name = bytes([code & 0xFF, code >> 8 & 0xFF]).decode("latin-1")
        if mask & 0x40:
            where, found = self._data, self._data.get(name)
        else:
            where, found = self._at, self._at.get(name)
            found = None if found is None else found | 1
        if found is None:
            raise self._core.error(f"asks the boot ROM for {name!r}, not one of {sorted(where)}")
        return found

    def _erase(self) -> None:
        address, size, _block, _command = self._arguments(4)
        self._flash.erase(address, size)

    def _program(self) -> None:
        address, data, size = self._arguments(3)
        self._flash.program(address, self._core.peek(data, size))

    def _system_info(self) -> int:
        """get_sys_info(buffer, words, flags): the flags, then what each asks for."""
        buffer, room, flags = self._arguments(3)
        parts = {
            _CHIP_INFO: struct.pack("<I", 0) + self._id,
            _CRITICAL: bytes(4), _CPU: bytes(4), _FLASH: struct.pack("<I", 0x000C),
            _RANDOM: self.boot_random,
            _BOOT: struct.pack("<bBbBIII", -1, self.boot_type, -1, 0, 0, 0, 0),
        }  # fmt: skip
        known = flags & sum(parts)
        words = struct.pack("<I", known)
        for flag, part in parts.items():
            if flags & flag:
                words += part
        if len(words) > 4 * room:
            return _INVALID_ARG
        self._core.load(buffer, words)
        return len(words) // 4

    def _reboot(self) -> int:
        flags, delay_ms, first, second = self._arguments(4)
        self.on_reboot(flags, delay_ms, first, second)
        return 0

    def _otp_access(self) -> int:
        return self._otp.access(*self._arguments(3))
