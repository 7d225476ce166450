"""The firmware's version, major, minor and patch a byte each."""

NUMBER = 0x000100
