"""An emulated card that lives in the real world: a serial port, a control interface, real time.

Virtual time stands still while nothing can happen, so that a code stays on the display until
somebody has read it. It flows with real time while a program has the serial port open (both sides
wait for one another), and always with `real_time`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from tallystick.common.errors import TallyError
from tallystick.emulator.devices.card import Card
from tallystick.emulator.serving.device_service import DeviceService, T
from tallystick.emulator.serving.serial_port import SerialPort

_LOOK_FOR_PEER_S = 0.02
_US = 1_000_000
_SLICE_S = 0.05
_LONGEST_ADVANCE_S = 45


class Service(DeviceService[Card]):
    """A card with what holds it: a serial port, a person."""

    def __init__(
        self, card: Card, port: SerialPort | None = None, *, real_time: bool = False
    ) -> None:
        super().__init__(card)
        self.card = card
        self._port = port
        self._real_time = real_time
        self._docked = False
        self.noise = 0.0  # part of the bytes to the card that arrive changed
        self._noise_rng = random.Random(0)

    def advance(self, ms: int) -> None:
        """Lets virtual time pass in slices, between which the service goes on serving others.

        Raises TallyError when wall time runs out: what has passed by then has passed.
        """
        until = self.call(lambda card: card.clock.now) + ms * 1000
        end = time.monotonic() + _LONGEST_ADVANCE_S
        while not self.call(lambda card: card.advance(until, _SLICE_S)):
            if time.monotonic() >= end:
                left = (until - self.call(lambda card: card.clock.now)) // 1000
                raise TallyError(
                    f"Time is passing too slowly: {left} ms of {ms} are left after "
                    f"{_LONGEST_ADVANCE_S} s.",
                    kept="The time that has passed stays passed.",
                    todo="Undock the card (close its serial port), or ask for less at a time.",
                )

    line = None  # see `Holder`

    def start(self) -> None:
        """Before `run`: powers it on."""
        self.guard(self.card.power_on)

    def first(self, action: Callable[[Card], T]) -> T:
        """Before `run`, in its thread: something is done to the card."""
        return action(self.card)

    def look(self, action: Callable[[Card], T]) -> T:
        """As `call`, of what changes nothing."""
        return self.call(action)

    def pass_time(self, ms: float) -> None:
        self.call(lambda card: card.run_for(ms))

    def turn(self) -> None:
        self._follow_peer()
        self._let_time_pass()

    def close(self) -> None:
        if self._port is not None:
            self._port.close()
        super().close()

    def _follow_peer(self) -> None:
        if self._port is None:
            return
        connected = self._port.connected()
        if connected and not self._docked:
            self._docked = True
            self.guard(lambda: self.card.dock(self._port.write if self._port else None))
        elif not connected and self._docked:
            self._docked = False
            self.guard(self.card.undock)

    @property
    def flowing(self) -> bool:
        """Virtual time goes on with real time."""
        return self._docked or self._real_time

    def _disturbed(self, data: bytes) -> bytes:
        if not self.noise:
            return data
        rng = self._noise_rng
        return bytes(
            byte ^ 1 << rng.randrange(8) if rng.random() < self.noise else byte for byte in data
        )

    def _let_time_pass(self) -> None:
        """Waits for the outside; as long as the firmware waits when time flows."""
        flowing = self.flowing
        due = self.card.next_time() if flowing else None
        if due is None:
            limit = _LOOK_FOR_PEER_S if self._port is not None else 1.0
        else:
            limit = min(max(0.0, (due - self.card.clock.now) / _US), 0.5)
        port = self._port.fileno() if self._docked and self._port is not None else -1
        begin = time.monotonic()
        ready = self.wait([port] if port >= 0 else [], limit)
        if due is not None:
            elapsed = round((time.monotonic() - begin) * _US)
            until = min(due, self.card.clock.now + elapsed)
            if not ready and elapsed >= limit * _US and limit < 0.5:
                until = due
            self.guard(lambda: self.card.run_to(until))
        if self._port is not None and port in ready:
            data = self._disturbed(self._port.read())
            if data:
                self.guard(lambda: self.card.send(data))
