"""The flash chip of the Raspberry Pi boards: W25Q16JV and W25Q32 (data sheets:
256-byte page 0.4 ms typical, 4 KiB sector erase 45 ms, 100,000 cycles)."""

from tallystick.emulator.parts.nor_flash import FlashTiming

SECTOR = 4096
TIMING = FlashTiming(
    program_unit=256,
    program_us=640,
    sector=SECTOR,
    erase_us=45_000,
    program_ua=15_000,
    erase_ua=15_000,
    endurance=100_000,
)
