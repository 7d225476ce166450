"""The table of docs/reference/threat-model.md: a downgrade, an old copy, a swapped chip. Every
cell is tried on the emulated board, and what the page says of it must be what happened."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from fido2.ctap import CtapError
from fido2.ctap2.pin import ClientPin

from tallystick.common.errors import RefusedError
from tallystick.emulator.boards import ALL, BOARDS, READERS, find
from tallystick.emulator.boards.board import Board, Region
from tallystick.emulator.chips.chip import OneTimeRows
from tallystick.emulator.devices.image import Image
from tallystick.provisioning.card.connection import CardConnection
from tallystick.tools.docked import DockedLink
from tallystick.tools.flash.field import running
from tallystick.tools.flash.job import Job, check
from tallystick.tools.image.build import build, write
from tallystick.tools.image.verify import verify
from tallystick.tools.lock import option_bytes
from tests.state.test_devices import (
    CODES,
    flash_reader,
    kept_card,
    kept_reader,
    press,
    update_reader,
    update_to,
)
from tests.state.write_devices import FOLDER, PIN, SHOWN, KeptDevice, connect, new_reader

PAGE = Path(__file__).parents[2] / "docs/reference/threat-model.md"
RELEASE = sorted(path.name for path in FOLDER.iterdir())[-1]
TOLD, SILENT, NO_WAY = "told", "not told", "no way"
OTHER_PIN = "97531"


@dataclass(frozen=True)
class Images:
    """Of one board: what came first, and what is newer and has a higher security version."""

    older: dict[str, Path]
    newer: dict[str, Path]


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Callable[[str], Images]:
    made: dict[str, Images] = {}

    def of(board: str) -> Images:
        if board not in made:
            device = find(board).device
            older = write(build(device, board, "1.0.0"), tmp_path_factory.mktemp("older"))
            newer = build(device, board, "2.0.0", security=5)
            made[board] = Images(older, write(newer, tmp_path_factory.mktemp("newer")))
        return made[board]

    return of


def over_the_wire(board: str, images: Images) -> str:
    if board in READERS:
        with kept_reader(RELEASE, board, images.older["bin"]) as reader:
            flash_reader(reader, images.older)
            update_reader(reader, images.newer)
            try:
                update_reader(reader, images.older)
            except RefusedError:
                return TOLD
            return SILENT
    with kept_card(RELEASE, board, images.older["bin"]) as card:
        card.power_on()
        update_to(card, images.newer)
        try:
            update_to(card, images.older)
        except RefusedError:
            return TOLD
        return SILENT


class FlashTarget:
    """A board whose flash can be read."""

    name, read_back = "desk", True

    def __init__(self, board: Board, flash: bytes) -> None:
        self.board, self.flash = board, flash

    def identify(self) -> str:
        return self.board.name

    def expected(self, board: Board) -> str:
        return board.name

    def read(self, board: Board, region: Region) -> bytes:
        return self.flash[region.address : region.end]


def at_the_desk(board: str, images: Images) -> str:
    job = Job.of(verify(images.older["manifest"].parent, development=True))
    try:
        check(
            job, FlashTarget(find(board), Image.load(images.newer["bin"]).content()),
            device=None, downgrade=False,
        )  # fmt: skip
    except RefusedError:
        return TOLD
    return SILENT


def by_itself(board: str, images: Images) -> str:
    """The device, flashed with what is older."""
    device = (kept_card if board in BOARDS else kept_reader)(RELEASE, board, images.newer["bin"])
    with device:
        for version in (images.newer, images.older):
            for address, part in Image.load(version["bin"]).segments:
                device.flash.load(address, part)
        device.power_on()
        if board in BOARDS:
            return SILENT if press(device) == CODES[SHOWN] else TOLD
        return SILENT if ClientPin(connect(device)).get_pin_token(PIN) else TOLD


def old_copy(board: str, images: Images) -> str:
    if board in BOARDS:
        with kept_card(RELEASE, board, images.older["bin"]) as card:
            card.power_on()
            copy = bytes(card.flash.memory)
            assert press(card) == CODES[SHOWN]
            card.power_off()
            card.flash.load(0, copy)
            card.power_on()
            again = press(card)  # what the server has had: a replay
            return SILENT if again in CODES[: SHOWN + 1] else TOLD
    with kept_reader(RELEASE, board, images.older["bin"]) as reader:
        reader.power_on()
        client = ClientPin(connect(reader))
        copy = bytes(reader.flash.memory)
        client.change_pin(PIN, OTHER_PIN)
        reader.power_off()
        reader.flash.load(0, copy)
        reader.power_on()
        return TOLD if "clientPin" not in connect(reader).info.options else SILENT


def other_chip(board: str, images: Images) -> str:
    """Its flash, with another microcontroller of the same kind."""
    if find(board).chip.name == "stm32l4":
        return NO_WAY  # the flash is in the chip; what reads it out, the lock keeps out
    if board in BOARDS:
        with kept_card(RELEASE, board, images.older["bin"]) as card:
            card.power_on()
            return SILENT if press(card) == CODES[SHOWN] else TOLD
    with new_reader(Image.load(images.older["bin"])) as reader:
        registers = reader.mcu.registers
        assert isinstance(registers, OneTimeRows)
        registers._random = [word ^ 1 for word in registers._random]
        reader.flash.load(0, KeptDevice.load(RELEASE, board).flash)
        reader.power_on()
        ctap = connect(reader)
        with pytest.raises(CtapError):
            ctap.selection()
        return TOLD if "clientPin" not in ctap.info.options else SILENT


ROWS: dict[str, Callable[[str, Images], str]] = {
    "a downgrade over the wire": over_the_wire,
    "a downgrade at the desk, to the host": at_the_desk,
    "a downgrade at the desk, to the device": by_itself,
    "an old copy of its flash, to the device": old_copy,
    "its flash at another chip, to the device": other_chip,
}


def table() -> dict[str, dict[str, str]]:
    """Row → board → cell."""
    text = PAGE.read_text(encoding="utf-8")
    section = text.split("## A downgrade, an old copy, a swapped chip", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    boards = [name.strip("`") for name in cells[0][1:]]
    return {row[0]: dict(zip(boards, row[1:], strict=True)) for row in cells[2:]}


def test_the_page_has_every_row_and_every_board():
    found = table()
    assert list(found) == list(ROWS)
    for row in found.values():
        assert set(row) == set(ALL)


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("board", ALL)
def test_what_the_page_says_is_what_happens(row, board, images):
    cell = re.sub(r"\*", "", table()[row][board])
    assert cell.startswith((TOLD, SILENT, NO_WAY))
    assert cell.startswith(ROWS[row](board, images(board)))


def test_a_lock_closes_the_ways_to_the_flash_of_an_stm32():
    assert option_bytes.plan(find("nucleo_l476rg"), 2).last.value == option_bytes.READ_OUT[2]


def test_a_card_that_went_back_says_which_image_it_runs(images):
    """What a firm can look at, where the device itself is silent."""
    made = images("pico")
    with kept_card(RELEASE, "pico", made.newer["bin"]) as card:
        for address, part in Image.load(made.older["bin"]).segments:
            card.flash.load(address, part)
        card.power_on()
        with CardConnection(DockedLink(card)) as line:
            header = running(line).header
        assert header is not None and header.version == "1.0.0"
