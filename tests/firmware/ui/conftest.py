"""Runs the card's user interface on real MicroPython, and shows what it puts on its buses on the
emulated glass.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tallystick.emulator.parts.memory_lcd import MemoryLcd
from tallystick.emulator.parts.ssd1306 import Ssd1306
from tallystick.emulator.seeing import frames
from tallystick.emulator.seeing.frames import Frame, Palette

# MicroPython's side: wires that print what passes over them, and one program a line from stdin.
SERVER = """
import json, sys

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


class Session:
    """A long-lived MicroPython with the compiled firmware on its path. Programs in, lines out."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

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
    session: Session
    part: MemoryLcd | Ssd1306
    palette: Palette
    sent: list[str]

    def run(self, source: str) -> None:
        """Run firmware code, in which `D` is the driver, and let its bus traffic reach the part."""
        self.session.run(f"D = {self.name}")
        self.sent = self.session.run(source)
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
        self.session.run(f"D = {self.name}")
        rows = self.session.run(
            "for y in range(D.height):\n"
            "    print(bytes(D.fb.pixel(x, y) == D.ink for x in range(D.width)).hex())"
        )
        return bytes.fromhex("".join(rows))


@pytest.fixture(scope="session")
def session(micropython: Any) -> Iterator[Session]:
    # Room for the bus traffic in hex, which no board has to hold.
    session = Session(micropython.start("-c", SERVER, heap="256k"))
    session.run(
        "from lib.memory_lcd import MemoryLcd\n"
        "from lib.ssd1306 import Ssd1306\n"
        "from card import button, cell, digits, screens\n"
    )
    yield session
    session.close()


@pytest.fixture
def lcd(session: Session) -> Glass:
    glass = Glass("lcd", session, MemoryLcd(), frames.MEMORY_LCD, [])
    session.run("lcd = MemoryLcd(Spi(), cs)")
    return glass


@pytest.fixture
def oled(session: Session) -> Glass:
    glass = Glass("oled", session, Ssd1306(), frames.OLED, [])
    session.run("oled = None")
    glass.run("oled = Ssd1306(I2c())")
    return glass


@pytest.fixture(params=["lcd", "oled"])
def glass(request: pytest.FixtureRequest) -> Glass:
    return request.getfixturevalue(request.param)
