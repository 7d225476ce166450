"""An RP2350 at the level of its instructions. Registers and figures: RP2350 data sheet."""
