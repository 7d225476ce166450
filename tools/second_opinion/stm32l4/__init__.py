"""An STM32L476 at the level of its instructions, from its reference manual (RM0351) and data sheet
(DS10198)."""
