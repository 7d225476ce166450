"""Raspberry Pi Pico 2 (RP2350) as a card, wired as the Pico, with the Pico's flash map at the start
of its larger storage area.

Figures: RP2350 data sheet (run about 26 mA at 150 MHz with the board's regulator); CPU costs are
scaled from those of the RP2040 by clock.
"""

from dataclasses import replace

from tallystick.emulator.boards import pico, pico2
from tallystick.emulator.boards.board import Region
from tallystick.emulator.chips import rp2350

_STORAGE = 0x100000  # 4 MiB of flash, the last 3 MiB for storage
_MOVED = _STORAGE - pico.BOARD.storage.address
_CLOCK = 150 / 125  # over the Pico's


def _moved(region: Region | None) -> Region:
    assert region is not None
    return Region(region.address + _MOVED, region.size)


BOARD = replace(
    pico.BOARD,
    name="pico2_card",
    machine="Raspberry Pi Pico2 with RP2350",
    micropython="RPI_PICO2",
    chip=rp2350.CHIP,
    flash_size=4 * 1024 * 1024,
    storage=Region(_STORAGE, 768 * 4096),
    file_system=_moved(pico.BOARD.file_system),
    boot=_moved(pico.BOARD.boot),
    slots=(_moved(pico.BOARD.slots[0]), _moved(pico.BOARD.slots[1])),
    record=_moved(pico.BOARD.record),
    identity=_moved(pico.BOARD.identity),
    journal=_moved(pico.BOARD.journal),
    currents=replace(
        pico.BOARD.currents, run=26_000, idle=14_000, light_sleep=1_500, deep_sleep=1_500
    ),
    boot_us=round(pico.BOARD.boot_us / _CLOCK),
    read_us_per_256=round(pico.BOARD.read_us_per_256 / _CLOCK),
    import_us_per_256=round(pico.BOARD.import_us_per_256 / _CLOCK),
    costs={
        module: {name: round(us / _CLOCK) for name, us in costs.items()}
        for module, costs in pico.BOARD.costs.items()
    },
    call_us=pico2.BOARD.call_us,
)
