"""How well the emulated sensor tells synthetic fingers apart, measured."""
