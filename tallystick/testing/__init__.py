"""Tests of devices: the pytest plugin (`plugin.py`) and what its fixtures give.

Written for firmware projects of their own: nothing to copy, `pip install tallystick` is enough.
docs/guides/testing.md is the guide, examples/ has a suite of another firmware.
"""
