"""A cell that carries the processor, but not the processor and the flash: the supervisor stops the
chip in the middle of the program."""

from __future__ import annotations

import pytest

from tallystick.emulator.mcu import State
from tallystick.tools.campaign.flash_state import FlashState
from tallystick.tools.campaign.oracle import Oracle
from tallystick.tools.campaign.rig import SEEDS, PowerGoneError
from tallystick.tools.campaign.workshop import Workshop


@pytest.mark.parametrize("seed", range(6))
def test_the_flash_takes_the_cell_down(pico: Workshop, seed: int) -> None:
    known = pico.base("in service").known
    rig = pico.rig("in service")
    cell, board = rig.card.cell, rig.card.board
    rig.restore(FlashState(), Oracle(SEEDS, known), bytes([seed]))
    rig.start(full=True)
    rig.press()
    # 2.4 V under the processor's load, below the supervisor's threshold with the flash's on top.
    ohm = (2400 - board.brown_out_mv + 50) * 1000 / board.flash_timing.program_ua
    resistance = cell.resistance_ohm
    cell.resistance_ohm = lambda: ohm  # type: ignore[method-assign]
    cell.fixed_mv = round(2400 + board.currents.run * ohm / 1000)
    before = rig.range.capture()
    with pytest.raises(PowerGoneError):
        rig.press()
    assert rig.card.mcu.state is State.OFF
    assert any(event.kind == "brown-out" for event in rig.card.trace.events)
    torn = rig.range.capture()
    assert torn != before, "some of the record's bits are done"
    cell.resistance_ohm = resistance  # type: ignore[method-assign]
    cell.fixed_mv = None
    rig.oracle.cut()
    rig.restore(torn, rig.oracle, bytes([seed]))
    rig.start(full=True)
    assert rig.press() is not None, "and a new cell finds it in order"
    rig.close()
