"""How long a cell lasts: the firmware run through years of presses."""
