"""A cell that carries the processor but not the flash as well, or a contact that bounces: the
supervisor stops the chip where it is, and lets it start again."""

from __future__ import annotations

import pytest

from tallystick.emulator.chip.mcu import ChipState
from tallystick.emulator.devices.card import Card
from tallystick.tools.campaign.card.oracle import CardOracle
from tallystick.tools.campaign.card.rig import SEEDS
from tallystick.tools.campaign.card.workshop import CardWorkshop
from tallystick.tools.campaign.engine.flash_state import FlashState
from tallystick.tools.fresh import card as fresh_card


def weaken(card: Card) -> None:
    """2.4 V under the processor's load, below the supervisor's threshold with the flash's on
    top."""
    board = card.board
    ohm = (2400 - board.brown_out_mv + 50) * 1000 / board.flash_timing.program_ua
    card.cell.fixed_ohm = ohm
    card.cell.fixed_mv = round(2400 + board.currents.run * ohm / 1000)


def events(card: Card, detail: str) -> int:
    return sum(event.detail == detail or event.kind == detail for event in card.trace.events)


@pytest.mark.parametrize("seed", range(4))
def test_the_flash_takes_the_cell_down(workshop: CardWorkshop, seed: int) -> None:
    known = workshop.base("in service").known
    rig = workshop.rig("in service")
    rig.restore(FlashState(), CardOracle(SEEDS, known), bytes([seed]))
    rig.start(full=True)
    rig.press()
    weaken(rig.card)
    before = rig.range.capture()
    assert rig.press() is None
    assert events(rig.card, "brown-out") > 0
    assert events(rig.card, "after a brown-out") > 0, "the chip starts again by itself"
    torn = rig.range.capture()
    assert torn != before, "some of the record's bits are done"
    rig.card.cell.fixed_ohm = rig.card.cell.fixed_mv = None
    rig.restore(torn, rig.oracle, bytes([seed]))
    rig.start(full=True)
    assert rig.press() is not None, "and a new cell finds it in order"
    rig.close()


@pytest.mark.parametrize("load", ["flash", "display"])
def test_a_contact_bounces_and_the_card_goes_on(workshop: CardWorkshop, load: str) -> None:
    known = workshop.base("in service").known
    rig = workshop.rig("in service")
    rig.restore(FlashState(), CardOracle(SEEDS, known), b"bounce")
    rig.start(full=True)
    first = rig.press()
    rig.press_with_bounce(load)
    second = rig.press()
    assert first is not None and second is not None and first != second
    rig.close()


def test_a_cell_that_cannot_carry_the_chip_is_given_up() -> None:
    with fresh_card("nucleo_l476rg") as card:
        card.power_on()
        card.run_for(1000)
        run_ma = card.board.currents.run / 1000
        card.cell.fixed_ohm = 1000 / run_ma
        card.cell.fixed_mv = 2400  # 1.4 V while it runs, 2.4 V while it does not
        card.press()
        card.run_for(60_000)
        assert card.mcu.state is ChipState.OFF and not card.powered
        assert 1 < events(card, "after a brown-out") < 50
        card.cell.fixed_ohm = 10.0
        card.power_on()
        card.run_for(1000)
        card.press()
        assert not card.frame().blank
