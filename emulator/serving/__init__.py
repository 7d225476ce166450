"""Devices to the outside: serial ports, USB, HTTP."""
