"""Firmware images: compiled, packed, the same bytes on any machine."""
