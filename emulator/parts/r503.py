"""An R503-class fingerprint module (ZhianTec, GROW): UART, touch output, ring light, its own flash.

Electrical side and behaviour in time; what each command does is in `r503_commands`. Times are the
limits that the manual states (version 1.2.2), on the virtual clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from tallystick.emulator.clock import Clock
from tallystick.emulator.fingerprints.impression import Press, usual_press
from tallystick.emulator.fingerprints.master import Master
from tallystick.emulator.fingerprints.matcher import Matcher
from tallystick.emulator.parts.r503_commands import Commands, DataPacket, Reply
from tallystick.emulator.parts.r503_flash import SensorFlash
from tallystick.emulator.parts.r503_packets import Packet, PacketReader, Pid, encode
from tallystick.emulator.parts.r503_state import Resting, SensorState

START_US = 50_000  # from power-on to the byte 55
READY = b"\x55"
BITS_PER_BYTE = 10
GAP_US = 100_000  # a packet that pauses longer than this is dropped [our choice]
QUEUE = 4  # packets kept while a command runs [our choice]

ACTIVE_UA = 20_000
STANDBY_UA = 2  # the touch circuit alone

_CANCEL = 0x30


class R503:
    """The module. Power is off until `power(True)`.

    `receive` takes bytes off the UART, `on_send` gets what the module sends, when it is sent.
    `touch` is True while a finger is felt, and `on_touch` hears of changes; the touch circuit has
    its own supply, so it works with the module's power off. The output pin is low while touched
    (`touch` is its meaning, the level is the board's matter). `test_mode` lets images and
    templates leave the module.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        on_send: Callable[[bytes], None] | None = None,
        on_touch: Callable[[bool], None] | None = None,
        seed: int = 0,
        flash: SensorFlash | None = None,
        matcher: Matcher | None = None,
        test_mode: bool = False,
    ) -> None:
        self.clock = clock
        self.on_send = on_send
        self.on_touch = on_touch
        self.state = SensorState(clock, flash, matcher, seed, self._reset, test_mode=test_mode)
        self.powered = False
        self.commands = Commands(self.state)
        self._np = np.random.default_rng((0x503, seed))
        self._reader = PacketReader()
        self._waiting: list[Packet] = []
        self._job: Iterator[int | Reply | DataPacket] | None = None
        self._epoch = 0  # counts power-ups, resets and cancels: older events are void
        self._ready = False
        self._heard_us = 0

    # the world outside

    def power(self, on: bool) -> None:
        """Power on or off. What was being written to flash when it went is not there."""
        if on == self.powered:
            return
        self.powered = on
        self._reset()

    def present(self, master: Master, press: Press | None = None, *, creep_ms: int = 0) -> None:
        """A finger comes down, as its owner usually does unless `press` says otherwise; it is felt
        at once and meets the glass `creep_ms` later."""
        if press is None:
            press = usual_press(self._np, master.traits)
        landed = self.clock.now + creep_ms * 1000
        self.state.finger = Resting(master, press, landed, int(self._np.integers(1 << 32)))
        self._feel(True)

    def lift(self) -> None:
        self.state.finger = None
        self._feel(False)

    def current_ua(self) -> int:
        """Supply and touch supply together, µA."""
        return ACTIVE_UA if self.powered else STANDBY_UA

    @property
    def flash(self) -> SensorFlash:
        """What it keeps without power."""
        return self.state.flash

    @flash.setter
    def flash(self, value: SensorFlash) -> None:
        self.state.flash = value

    @property
    def touch(self) -> bool:
        return self.state.touch

    @property
    def baud(self) -> int:
        return 9600 * self.flash.baud_n

    @property
    def light(self) -> tuple[int, int, int, int] | None:
        """The ring light as last set: control, speed, colour, times (AuraLed); None since
        power-up."""
        return self.commands.light if self.powered else None

    @property
    def at_work(self) -> bool:
        """A command runs."""
        return self._job is not None

    def close(self) -> None:
        """What it keeps is kept at each change."""

    def _feel(self, touched: bool) -> None:
        if touched != self.touch:
            self.state.touch = touched
            if self.on_touch:
                self.on_touch(touched)

    # the wire

    def receive(self, data: bytes) -> None:
        """Bytes from the UART, the last of them arriving now."""
        if not self._ready:
            return
        if self.clock.now - self._heard_us > GAP_US:
            self._reader.clear()
        self._heard_us = self.clock.now
        for packet in self._reader.feed(data):
            self._accept(packet)

    def _accept(self, packet: Packet) -> None:
        if self._job is not None and packet.intact and packet.payload[:1] == bytes([_CANCEL]):
            self._stop()
        if self._job is None:
            self._run(packet)
        elif len(self._waiting) < QUEUE:
            self._waiting.append(packet)

    def _run(self, packet: Packet) -> None:
        self._job = self.commands.handle(packet)
        self._step(self._epoch)

    def _step(self, epoch: int) -> None:
        """Runs the job to its next pause."""
        if epoch != self._epoch or self._job is None:
            return
        step = next(self._job, None)
        if step is None:
            self._job = None
            if self._waiting:
                self._run(self._waiting.pop(0))
            return
        if isinstance(step, int):
            self.clock.after(step, lambda: self._step(epoch))
            return
        pid = Pid.ACKNOWLEDGE
        if isinstance(step, DataPacket):
            pid = Pid.END_OF_DATA if step.last else Pid.DATA
        self._send(encode(self.flash.address, pid, step.payload), epoch)

    def _send(self, data: bytes, epoch: int) -> None:
        def sent() -> None:
            if epoch == self._epoch:
                if self.on_send:
                    self.on_send(data)
                self._step(epoch)

        self.clock.after(round(len(data) * BITS_PER_BYTE * 1_000_000 / self.baud), sent)

    # power and reset

    def _reset(self) -> None:
        self._stop()
        self._ready = False
        self._reader.clear()
        self.commands = Commands(self.state)
        if self.powered:
            epoch = self._epoch
            self.clock.after(START_US, lambda: self._started(epoch))

    def _started(self, epoch: int) -> None:
        if epoch == self._epoch:
            self._ready = True
            self._heard_us = self.clock.now
            if self.on_send:
                self.on_send(READY)

    def _stop(self) -> None:
        """Drops the running command and what waits behind it."""
        self._epoch += 1
        self._job = None
        self._waiting.clear()


def settle(clock: Clock) -> None:
    """Lets virtual time run until nothing is left to happen: for a module that stands alone behind
    a serial port and answers at once."""
    while (due := clock.next_event()) is not None:
        clock.now = max(clock.now, due)
        clock.run_due()


__all__ = ["R503", "SensorFlash", "settle"]
