"""Which ports there are: a list, a pattern, or every USB serial port, looked at again and again so
that ports may come and go."""

from __future__ import annotations

import glob
from typing import Protocol

from serial.tools.list_ports import comports


class PortSource(Protocol):
    def ports(self) -> list[str]:
        """The ports there are now, in a stable order."""


class FixedPorts:
    """A list, which may hold pyserial URLs. Ports that are not there yet are tried all the same."""

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def ports(self) -> list[str]:
        return self._names


class MatchingPorts:
    """Whatever matches a shell pattern, such as /dev/ttyUSB*."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern

    def ports(self) -> list[str]:
        return sorted(glob.glob(self._pattern))  # noqa: PTH207 (pathlib takes no absolute pattern)


class UsbPorts:
    """Every USB serial port of the computer. Built-in ports are left alone: nobody knows what
    hangs on them."""

    def ports(self) -> list[str]:
        return sorted(port.device for port in comports() if port.vid is not None)


def source_for(text: str) -> PortSource:
    """`auto`, a pattern, or names separated by commas."""
    if text == "auto":
        return UsbPorts()
    if "://" not in text and any(sign in text for sign in "*?["):
        return MatchingPorts(text)
    return FixedPorts([name for name in text.split(",") if name])
