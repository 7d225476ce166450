"""What an instrument hears from the chip. Every method is a test point; none changes anything."""

from __future__ import annotations


class Probe:
    """Times are virtual, µs. Instruments override what they measure."""

    def pin(self, now_us: int, pin: int, level: int) -> None:
        """The level of a pin changed, driven from either side."""

    def bus(self, now_us: int, name: str, data: bytes, byte_us: float) -> None:
        """`data` has gone over the bus `name`, its last byte now, each taking `byte_us`."""

    def pwm(self, now_us: int, pin: int, freq_hz: int, duty: int) -> None:
        """A pin gives out pulses, high for `duty` parts of 65,535. 0 Hz: no more."""

    def serial(self, now_us: int, data: bytes, *, to_card: bool) -> None:
        """Bytes went over the serial line."""

    def flash(self, now_us: int, kind: str, address: int, size: int, duration_us: int) -> None:
        """A program or an erase began."""

    def state(self, now_us: int, state: str) -> None:
        """The chip runs, waits, sleeps lightly or deeply, or is off."""

    def current(self, now_us: int, duration_us: int, currents_ua: list[float]) -> None:
        """From now on, for `duration_us`, the parts take these currents."""

    def close(self) -> None:
        """The run is over: write what is left."""
