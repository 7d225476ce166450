"""What a card does that was never personalised, whose flash is gone, or takes nothing any more: it
says so on its display, shows no code, and loses nothing that it still has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tallystick.emulator.devices.card import Card
from tallystick.emulator.parts.nor_flash import Failure, FlashOperation
from tallystick.provisioning.card.connection import (
    CardConnection,
    CardRefusedError,
    CommandApdu,
    StatusWord,
)
from tallystick.provisioning.card.issuer import IssuerSession
from tallystick.tools import fresh
from tallystick.tools.docked import DockedLink
from tallystick.tools.personalise import RFC4226_SEED, personalise, personalise_over

CODES = ("755224", "287082", "359152")  # of that seed: RFC 4226, appendix D
GOLDEN = json.loads((Path(__file__).parents[1] / "firmware" / "ui" / "golden.json").read_text())


def journal(card: Card) -> bytes:
    region = card.board.journal
    return bytes(card.flash.memory[region.address : region.address + region.size])


def shows(card: Card, screen: str) -> bool:
    glass = "oled" if card.board.display == "ssd1306" else "lcd"
    return bool(card.frame().sha256() == GOLDEN[f"{screen}-{glass}"])


def press(card: Card) -> str | None:
    card.press()
    shown = card.read_code()
    card.run_for(31_000)
    assert card.frame().blank
    return shown


@contextmanager
def worn_out(card: Card) -> Iterator[None]:
    """Every program and erase of the journal fails meanwhile, and leaves what was there. The
    RP2040's flash says nothing of it: what was written has to be read back."""
    region = card.board.journal

    def fail(operation: FlashOperation) -> Failure | None:
        if not region.address <= operation.address < region.address + region.size:
            return None
        return Failure(operation.old, reported=card.board.chip.reports_flash_errors)

    card.flash.fault_plan, card.flash.can_fail = fail, True
    yield
    card.flash.fault_plan, card.flash.can_fail = None, False


@pytest.fixture
def mine(emulated_card: Card) -> Card:
    """In service: the seed of RFC 4226, next code 0."""
    personalise(emulated_card)
    return emulated_card


@pytest.mark.parametrize("board", ["nucleo_l476rg", "pico"])
def test_without_factory_data_it_says_so_and_writes_nothing(board: str) -> None:
    with Card(fresh.image(board), seed=1) as card:
        before = journal(card)
        card.power_on()
        assert shows(card, "no-id")
        card.run_for(31_000)
        card.press()
        assert shows(card, "no-id")
        assert journal(card) == before


def test_when_no_record_can_be_read_it_says_so_and_leaves_them(mine: Card) -> None:
    mine.power_off()
    region, sector = mine.board.journal, mine.flash.timing.sector
    for at in range(region.address, region.address + 2 * sector, 256):
        # Of the first sector alone it could be a first start that was cut.
        mine.flash.load(at, bytes(byte & 0x0F for byte in mine.flash.memory[at : at + 256]))
    before = journal(mine)
    mine.power_on()
    assert shows(mine, "damaged")
    mine.run_for(31_000)
    mine.press()
    assert shows(mine, "damaged")
    assert mine.read_code() is None
    assert journal(mine) == before


def test_a_press_on_worn_out_flash_shows_no_code_and_skips_none(mine: Card) -> None:
    assert press(mine) == CODES[0]
    with worn_out(mine):
        mine.press()
        assert shows(mine, "worn-out")
        mine.run_for(31_000)
        assert press(mine) is None
    assert press(mine) == CODES[1]


def test_a_start_on_worn_out_flash_shows_no_code(mine: Card) -> None:
    assert press(mine) == CODES[0]
    mine.power_off()
    with worn_out(mine):
        mine.power_on()
        assert shows(mine, "worn-out")
        mine.run_for(31_000)
        mine.press()
        assert mine.read_code() is None
        mine.run_for(31_000)
        mine.power_off()
    mine.power_on()
    assert press(mine) in (CODES[1], CODES[2])


def test_a_seed_that_flash_does_not_take_leaves_the_old_one(mine: Card) -> None:
    assert press(mine) == CODES[0]
    with CardConnection(DockedLink(mine)) as connection:
        state = IssuerSession(connection).life_cycle()
        with worn_out(mine), pytest.raises(CardRefusedError, match="6581"):
            personalise_over(connection, RFC4226_SEED, digits=8)
        assert IssuerSession(connection).life_cycle() == state
        mine.press()  # on the dock: it has not been started again since
        assert mine.read_code() == CODES[1]
    mine.run_for(31_000)
    assert press(mine) == CODES[2]


def test_a_press_on_the_dock_on_worn_out_flash_says_so_and_skips_none(mine: Card) -> None:
    assert press(mine) == CODES[0]
    with CardConnection(DockedLink(mine)) as connection:
        with worn_out(mine):
            for _ in range(2):
                mine.press()
                assert shows(mine, "worn-out")
                assert IssuerSession(connection).serial()  # it serves on
        mine.press()
        assert mine.read_code() == CODES[1]


def test_a_damaged_boot_record_is_told_as_such(mine: Card) -> None:
    """It runs slot 0, and serves; only what image runs cannot be said."""
    region = mine.board.record
    mine.power_off()
    mine.flash.load(region.address, b"\x0f" * region.size)
    mine.power_on()
    mine.run_for(31_000)
    with CardConnection(DockedLink(mine)) as connection:
        response = connection.transmit(CommandApdu(0x80, 0xCA, 0xDF, 0x25))
        assert response.sw == StatusWord.FLASH_FAILURE
        assert IssuerSession(connection).life_cycle()
    assert press(mine) == CODES[0]
