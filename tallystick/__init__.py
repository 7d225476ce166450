"""Tallystick: make, test, provision and support hardware one-time-password devices."""

__version__ = "0.1.0"
