"""The microcontroller: pins, clock, peripherals, and what is seen of them."""
