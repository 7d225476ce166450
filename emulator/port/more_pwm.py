"""`machine.PWM`. Two pins of a slice have one frequency; the counter's steps are those of the
RP2040 data sheet, section 4.5."""

import link
import machine

_TOP = 65534
_freqs = {}  # slice → Hz


class PWM:
    def __init__(self, pin, freq=None, duty_u16=None, duty_ns=None, invert=False):
        self._n = machine.pin_of(pin)._n
        machine._driven.pop(self._n, None)
        machine.set_to(self._n, machine.Pin.ALT, machine.setting(self._n, 1), 4)
        self._slice = machine.pwm_slice(self._n)
        self._duty = None  # of 65535
        self._invert = invert
        link.set_pin(self._n, 3)
        self.init(freq, duty_u16, duty_ns, invert)

    def init(self, freq=None, duty_u16=None, duty_ns=None, invert=None):
        if invert is not None:
            self._invert = invert
        if freq is not None:
            self._set_freq(freq)
        if duty_u16 is not None:
            self._duty = min(duty_u16, 65535)
        elif duty_ns is not None:
            self._duty = min(duty_ns * _freqs[self._slice] * 65535 // 1000000000, 65535)
        self._tell()

    def _set_freq(self, freq):
        clock = machine.freq()
        clock = clock[0] if isinstance(clock, tuple) else clock
        if freq <= 0 or clock // freq // 256 > _TOP:
            raise ValueError("freq too small")
        if clock // freq < 2:
            raise ValueError("freq too large")
        _freqs[self._slice] = freq

    def _tell(self):
        freq = _freqs.get(self._slice, 0)
        duty = self._duty
        if duty is None or not freq:
            return
        if self._invert:
            duty = 65535 - duty
        link.post(link.OP_PWM, self._n, freq, duty.to_bytes(2, "little"))

    def __repr__(self):
        return "<PWM slice=%d channel=%d invert=%d>" % (self._slice, self._n & 1, self._invert)

    def freq(self, value=None):
        if value is None:
            return _freqs.get(self._slice, 0)
        self._set_freq(value)
        self._tell()

    def duty_u16(self, value=None):
        if value is None:
            return self._duty or 0
        self._duty = min(value, 65535)
        self._tell()

    def duty_ns(self, value=None):
        freq = _freqs.get(self._slice, 0)
        if value is None:
            return (self._duty or 0) * 1000000000 // 65535 // freq if freq else 0
        self._duty = min(value * freq * 65535 // 1000000000, 65535)
        self._tell()

    def deinit(self):
        link.post(link.OP_PWM, self._n, 0, b"\0\0")
