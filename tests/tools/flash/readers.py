"""An emulated reader in somebody's service, and images to update it with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from fido2.hid import CtapHidDevice

from tallystick.emulator.boards import DEFAULT_READER, find
from tallystick.emulator.devices.reader import Reader
from tallystick.tools.campaign.reader.sensor import ScriptedSensor
from tallystick.tools.flash.field import Update
from tallystick.tools.flash.usb import COMMAND, UpdatePerson, UpdateStep
from tallystick.tools.image import filesystem
from tallystick.tools.image.build import build, write
from tallystick.tools.image.header import Header
from tallystick.tools.image.keys import SigningKey
from tests.emulator.reader.rig import PIN

BOARD = DEFAULT_READER


@dataclass
class Images:
    """Builds each once."""

    folder: Path

    def __post_init__(self) -> None:
        self.outputs = cache(self._outputs)

    def _outputs(self, version: str, security: int = 0) -> dict[str, Path]:
        folder = self.folder / f"{version}-{security}"
        return write(build("reader", BOARD, version, security=security), folder)

    def update(self, version: str = "0.2.0", security: int = 0) -> Update:
        return Update.parse(self.outputs(version, security)["update"].read_bytes())


def signed(header: Header, content: bytes, key: SigningKey | None = None) -> Update:
    plain = header.encode()
    return Update(header, plain + (key or SigningKey.development()).sign(plain), content)


def of_program(source: str, security: int = 0) -> Update:
    """Signed and whole, with this for a program."""
    board = find(BOARD)
    room = board.slots[0].size - board.flash_timing.sector
    content = filesystem.pack({"program.py": source.encode()}, board, room=room, what="test")
    return signed(
        Header.of(content, device="reader", board=BOARD, version="9.9.9", security=security),
        content,
    )


def changed(update: Update, **changes: Any) -> Update:
    """With another header, signed by the right key."""
    return signed(replace(update.header, **changes), update.file_system)


class PluggedReader(Protocol):
    """What a bench has at hand."""

    @property
    def reader(self) -> Reader: ...

    @property
    def sensor(self) -> ScriptedSensor: ...

    def device(self) -> CtapHidDevice: ...


class Bench:
    """A reader on the bus, and a person beside it. `asked`: what the person was asked for.
    Implements usb.Readers."""

    def __init__(self, rig: PluggedReader, *, touches: bool = True, pin: str = PIN) -> None:
        self.rig = rig
        self.touches = touches
        self.asked: list[str] = []
        self.opened = 0
        self.person = UpdatePerson(self._touch, lambda: self._say(pin))

    def _touch(self, why: str) -> None:
        self.asked.append("touch")
        if self.touches:
            self.rig.sensor.press("thumb")

    def _say(self, pin: str) -> str:
        self.asked.append("pin")
        return pin

    @contextmanager
    def find(self) -> Iterator[CtapHidDevice]:
        self.opened += 1
        yield self.rig.device()

    @contextmanager
    def find_again(self) -> Iterator[CtapHidDevice]:
        self.rig.reader.run_for(1_000)
        yield self.rig.device()

    def pressing(self, status: int) -> None:
        if status == 2:
            self._touch("")


def ask(device: CtapHidDevice, step: int, data: bytes = b"", on_keepalive: Any = None) -> bytes:
    return device.call(COMMAND, bytes((step,)) + data, on_keepalive=on_keepalive)


def load_all(device: CtapHidDevice, update: Update) -> None:
    for at in range(0, len(update.file_system), 2048):
        part = update.file_system[at : at + 2048]
        if part.strip(b"\xff"):
            assert ask(device, UpdateStep.LOAD, at.to_bytes(4, "big") + part) == b"\x00"


def begin_trial(bench: Bench, update: Update) -> None:
    """All of it but the confirmation."""
    with bench.find() as device:
        assert ask(device, UpdateStep.BEGIN, update.signed, bench.pressing) == b"\x00"
        load_all(device, update)
        assert ask(device, UpdateStep.SWITCH) == b"\x00"
    bench.rig.reader.run_for(1_000)
