"""An RP2350 at the level of its instructions. Figures and registers: RP2350 data sheet, by section."""
