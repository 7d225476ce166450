"""The firmware's version, as GET DATA DF21 and the information screen give it."""

VERSION = (0, 1, 0)
