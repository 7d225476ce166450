"""Parts on I²C that are read: registers behind one address, a thermometer, an EEPROM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tallystick.common.errors import BadInputError
from tallystick.emulator.parts.part import Bench, BoardPart


class I2cRegisters(BoardPart):
    """Registers of a byte each: a write gives the number of the first and then contents, a read
    goes on from there. What most sensors do; subclass it, or set registers from a test.

    bus: the pins of SCL and SDA. registers: number → content, or a list of contents from it on.
    """

    kind = "i2c-registers"

    def __init__(
        self, bus: Sequence[str | int], address: int, registers: Mapping[str, Any] | None = None
    ) -> None:
        self._bus, self._address = bus, address
        self.registers = bytearray(256)
        for number, content in (registers or {}).items():
            self.put(int(number, 0), content)
        self._at = 0
        self._powered = False

    def wire(self, bench: Bench) -> None:
        scl, sda = (bench.pin(pin) for pin in self._bus)
        bench.i2c(scl, sda, self)

    def power(self, on: bool) -> None:
        self._powered = on
        self._at = 0

    def put(self, number: int, content: int | Sequence[int]) -> None:
        """Sets registers from `number` on. Raises BadInputError for what is no byte."""
        values = [content] if isinstance(content, int) else list(content)
        try:
            part = bytes(values)
        except (ValueError, TypeError):
            part = b""
        if not part or not 0 <= number <= 256 - len(part):
            raise BadInputError(
                f"{self.name}: register {number:#x} cannot be {content}.",
                kept="It is as it was.",
                todo="Registers are 0 to 255, and hold a byte each.",
            )
        self.registers[number : number + len(part)] = part

    def i2c_write(self, address: int, data: bytes) -> bool:
        if address != self._address or not self._powered:
            return False
        if data:
            self._at = data[0]
            self.written(data[0], data[1:])
        return True

    def written(self, number: int, data: bytes) -> None:
        """Firmware writes registers; a sensor with rules of its own overrides this."""
        for value in data:
            self.registers[number & 0xFF] = value
            number += 1
        self._at = number & 0xFF

    def i2c_read(self, address: int, count: int) -> bytes | None:
        if address != self._address or not self._powered:
            return None
        found = bytes(self.registers[(self._at + n) & 0xFF] for n in range(count))
        self._at = (self._at + count) & 0xFF
        return found

    def state(self) -> Mapping[str, Any]:
        return {"registers": self.registers.rstrip(b"\0").hex()}

    def do(self, action: str, value: Any = None) -> None:
        """set: {"0x10": 7, "0x20": [1, 2]}."""
        if action != "set" or not isinstance(value, Mapping):
            raise self.unknown(action)
        for number, content in value.items():
            self.put(int(number, 0) if isinstance(number, str) else number, content)


class Tmp102(BoardPart):
    """A TMP102 thermometer (Texas Instruments SBOS397, 6.4 and 6.5): 12 bits of a sixteenth of a
    degree, a pointer register, configuration and two limits."""

    kind = "tmp102"

    def __init__(
        self, bus: Sequence[str | int], address: int = 0x48, celsius: float = 21.0
    ) -> None:
        self._bus, self._address = bus, address
        self.celsius = celsius
        self._powered = False
        self._reset()

    def _reset(self) -> None:
        self._pointer = 0
        self._registers = [0, 0x60A0, 0x4B00, 0x5000]  # after reset: 75 and 80 degrees

    def wire(self, bench: Bench) -> None:
        scl, sda = (bench.pin(pin) for pin in self._bus)
        bench.i2c(scl, sda, self)

    def power(self, on: bool) -> None:
        self._powered = on
        self._reset()

    def i2c_write(self, address: int, data: bytes) -> bool:
        if address != self._address or not self._powered:
            return False
        if data:
            self._pointer = data[0] & 3
        if len(data) >= 3 and self._pointer:
            self._registers[self._pointer] = data[1] << 8 | data[2]
        return True

    def i2c_read(self, address: int, count: int) -> bytes | None:
        if address != self._address or not self._powered:
            return None
        value = self._registers[self._pointer]
        if not self._pointer:
            extended = bool(self._registers[1] & 0x10)
            low, high = (-880, 2400) if extended else (-880, 2047)  # −55 °C to 150, to 128
            sixteenths = max(low, min(high, round(self.celsius * 16)))
            value = (sixteenths << 3 | 1) & 0xFFFF if extended else sixteenths << 4 & 0xFFFF
        return (value.to_bytes(2, "big") * -(-count // 2))[:count]

    def state(self) -> Mapping[str, Any]:
        return {"celsius": self.celsius}

    def do(self, action: str, value: Any = None) -> None:
        """set: degrees Celsius."""
        if action != "set" or not isinstance(value, int | float):
            raise self.unknown(action)
        self.celsius = float(value)


class Eeprom(BoardPart):
    """A serial EEPROM of the 24LC256 kind (Microchip DS20001203): address of two bytes, pages of
    64 in which a write goes round, 5 ms after a write in which it answers to nothing."""

    kind = "eeprom"

    def __init__(
        self, bus: Sequence[str | int], address: int = 0x50, size: int = 32768, page: int = 64
    ) -> None:
        self._bus, self._address, self._page = bus, address, page
        self.memory = bytearray(b"\xff" * size)
        self._at = 0
        self._busy_until = 0
        self.writes = 0
        self._powered = False

    def wire(self, bench: Bench) -> None:
        self._bench = bench
        scl, sda = (bench.pin(pin) for pin in self._bus)
        bench.i2c(scl, sda, self)

    def power(self, on: bool) -> None:
        self._powered = on
        self._busy_until = 0

    def _hears(self, address: int) -> bool:
        busy = self._bench.clock.now < self._busy_until
        return self._powered and address == self._address and not busy

    def i2c_write(self, address: int, data: bytes) -> bool:
        if not self._hears(address):
            return False
        if len(data) >= 2:
            self._at = (data[0] << 8 | data[1]) % len(self.memory)
        content = data[2:]
        if content:
            first = self._at - self._at % self._page
            for value in content:
                self.memory[self._at] = value
                self._at = first + (self._at + 1 - first) % self._page
            self._busy_until = self._bench.clock.now + 5_000
            self.writes += 1
        return True

    def i2c_read(self, address: int, count: int) -> bytes | None:
        if not self._hears(address):
            return None
        size = len(self.memory)
        found = bytes(self.memory[(self._at + n) % size] for n in range(count))
        self._at = (self._at + count) % size
        return found

    def state(self) -> Mapping[str, Any]:
        return {"writes": self.writes, "used": len(self.memory.rstrip(b"\xff"))}

    def do(self, action: str, value: Any = None) -> None:
        """set: content from address 0 on, in hexadecimal digits."""
        try:
            content = bytes.fromhex(value) if action == "set" else None
        except (ValueError, TypeError):
            content = None
        if content is None or len(content) > len(self.memory):
            raise self.unknown(action)
        self.memory[: len(content)] = content
