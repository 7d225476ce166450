"""Runs the card's user interface on real MicroPython, and shows what it puts on its buses on the
emulated glass.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import segno

from tallystick.emulator import frames
from tallystick.emulator.frames import Frame, Palette
from tallystick.emulator.parts.memory_lcd import MemoryLcd
from tallystick.emulator.parts.ssd1306 import Ssd1306

ROOT = Path(__file__).parents[3]
RUN_MAIN = "import sys, micropython_run; sys.exit(micropython_run.run_main(sys.argv))"

# MicroPython's side: wires that print what passes over them, and one program a line from stdin.
SERVER = """
import json, sys
sys.path[:0] = %(path)r

class Spi:
    def write(self, data):
        print("spi", bytes(data).hex())

def cs(level):
    print("cs", level)

class I2c:
    def writeto(self, addr, data):
        print("i2c", addr, bytes(data).hex())

names = {"json": json, "Spi": Spi, "cs": cs, "I2c": I2c}
while True:
    line = sys.stdin.readline()
    if not line:
        break
    try:
        exec(json.loads(line), names)
    except Exception as error:
        print("error", repr(error))
    print("done")
"""


class MicroPython:
    """A long-lived interpreter with the firmware on its path, and room for the test's hex."""

    def __init__(self, heap: str = "256k") -> None:
        program = SERVER % {"path": [str(ROOT / "firmware")]}
        options = ["-X", f"heapsize={heap}", "-c", program]
        self._process = subprocess.Popen(
            [sys.executable, "-c", RUN_MAIN, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, source: str) -> list[str]:
        """What the program printed. Raises RuntimeError with the exception that it ended with."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(source) + "\n")
        self._process.stdin.flush()
        lines: list[str] = []
        for line in self._process.stdout:
            text = line.rstrip("\n")
            if text == "done":
                return lines
            if text.startswith("error "):
                self._process.stdout.readline()
                raise RuntimeError(f"{text[6:]} in {source}")
            lines.append(text)
        raise RuntimeError(f"MicroPython ended in {source}")

    def value(self, expression: str) -> Any:
        """The value of an expression that JSON can carry."""
        (line,) = self.run(f"print(json.dumps({expression}))")
        return json.loads(line)

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@dataclass
class Glass:
    """A display as the firmware's driver sees it, called `name` there, and the emulated part."""

    name: str
    micropython: MicroPython
    part: MemoryLcd | Ssd1306
    palette: Palette
    sent: list[str]

    def run(self, source: str) -> None:
        """Run firmware code, in which `D` is the driver, and let its bus traffic reach the part."""
        self.micropython.run(f"D = {self.name}")
        self.sent = self.micropython.run(source)
        for line in self.sent:
            kind, *words = line.split()
            if kind == "cs":
                self.part.spi_select(int(words[0]))
            elif kind == "spi":
                self.part.spi_write(bytes.fromhex(words[0]))
            elif kind == "i2c":
                assert self.part.i2c_write(int(words[0]), bytes.fromhex(words[1])), line
        assert self.part.errors == []

    @property
    def frame(self) -> Frame:
        return self.part.frame()

    def drawn(self) -> bytes:
        """The driver's frame buffer, read pixel by pixel, 1 where ink is."""
        self.micropython.run(f"D = {self.name}")
        rows = self.micropython.run(
            "for y in range(D.height):\n"
            "    print(bytes(D.fb.pixel(x, y) == D.ink for x in range(D.width)).hex())"
        )
        return bytes.fromhex("".join(rows))


@pytest.fixture(scope="session")
def micropython() -> Iterator[MicroPython]:
    interpreter = MicroPython()
    interpreter.run(
        "from lib.memory_lcd import MemoryLcd\n"
        "from lib.ssd1306 import Ssd1306\n"
        "from card import button, cell, digits, screens\n"
    )
    yield interpreter
    interpreter.close()


@pytest.fixture
def lcd(micropython: MicroPython) -> Glass:
    glass = Glass("lcd", micropython, MemoryLcd(), frames.MEMORY_LCD, [])
    micropython.run("lcd = MemoryLcd(Spi(), cs)")
    return glass


@pytest.fixture
def oled(micropython: MicroPython) -> Glass:
    glass = Glass("oled", micropython, Ssd1306(), frames.OLED, [])
    micropython.run("oled = None")
    glass.run("oled = Ssd1306(I2c())")
    return glass


@pytest.fixture(params=["lcd", "oled"])
def glass(request: pytest.FixtureRequest) -> Glass:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def qr() -> Callable[[str], bytes]:
    """The factory's bitmap of a serial number: 21 rows of 3 bytes, first module in the top bit."""

    def bitmap(serial: str) -> bytes:
        code = segno.make_qr(serial, version=1)
        rows = (int("".join(str(module) for module in row), 2) << 3 for row in code.matrix)
        return b"".join(row.to_bytes(3, "big") for row in rows)

    return bitmap
