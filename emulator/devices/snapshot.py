"""The same start of a chip, many times: it is run once up to the first look at a range of flash,
and forked there. What the firmware did until then cannot depend on what the range holds."""

from __future__ import annotations

import copy
from typing import Any

from tallystick.emulator.chip.mcu import ChipState
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.device import Device
from tallystick.emulator.interpreter import micropython

_PLAIN = (int, float, str, bytes, bool, tuple, type(None))
_KEPT_APART = {"boots", "crash", "held", "printed"}


def values(part: object) -> dict[str, Any]:
    """The attributes of a part that hold plain values, copied."""
    found: dict[str, Any] = {}
    for name, value in vars(part).items():
        if name in _KEPT_APART:
            continue
        if isinstance(value, _PLAIN) or (
            isinstance(value, list | dict | bytearray | set)
            and not name.startswith(("on_", "_hand"))
        ):
            found[name] = copy.copy(value)
    return found


class Snapshot:
    """A device that is held at its first look at flash (`Mcu.hold_at_look`), and can be again.

    Flash is not part of it: that is what differs. parts: what else of it remembers something.
    Raises MissingMicroPythonError where this MicroPython cannot be forked.
    """

    def __init__(self, device: Device, *parts: object) -> None:
        mcu = device.mcu
        assert mcu.held and mcu.link is not None
        assert device.clock.next_event() is None, "nothing may be under way"
        mcu.hold_at_look(0, 0)  # later starts run through
        self._device = device
        self._hold = micropython.hold(mcu.link)
        self._parts = (
            *(mcu, mcu.console, mcu.timers, mcu.watchdog, mcu.pins, mcu.uart, mcu.registers),
            *(device.clock, *parts),
        )
        self._values = [values(part) for part in self._parts]
        mcu.link = None  # it stays as it is

    def resume(self) -> None:
        """Ends what the device does, and lets it go on from here, with the flash as it is now."""
        device, mcu = self._device, self._device.mcu
        mcu.power_off()
        device.clock.clear()
        for part, kept in zip(self._parts, self._values, strict=True):
            for name, value in kept.items():
                setattr(part, name, copy.copy(value))
        mcu.crash = ""
        mcu.link = self._hold.start(device.flash.shared, mcu.console.descriptor)
        mcu.state = ChipState.RUNNING
        mcu.held = True
        mcu.release()

    def close(self) -> None:
        self._hold.close()


class CardSnapshot(Snapshot):
    """With what a card has around its chip."""

    def __init__(self, card: Card) -> None:
        super().__init__(card, card.cell, card.supply, card.button)
        self._card = card

    def resume(self) -> None:
        card = self._card
        card.mcu.power_off()
        card.display.power(False)
        card.display.power(card.board.display_power_pin < 0)
        super().resume()
