"""Which lines of the firmware were executed on MicroPython, in the formats of coverage.py."""
