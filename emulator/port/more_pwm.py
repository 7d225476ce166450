"""`machine.PWM`: a counter for each slice of an RP2 (RP2040 data sheet, section 4.5) or timer of an
STM32, and for each of its channels the count at which the output changes."""

import link
import machine

_is_rp2 = machine.closed_write is not None
_TOP = 65534  # counts of a period, with a divisor
_WIDE = (2, 5)  # timers of 32 bits
_counters = {}  # slice or timer → (Hz of its counter, counts of a period, Hz of a period)
_outputs = {}  # (slice or timer, channel) → what was made for it last


def _slice_counter(clock, freq):
    """Divisors are in 16ths. The smallest that does, so that a period has many counts."""
    div, top = 16, (clock + freq // 2) // freq
    if top >= _TOP:
        div = -(-16 * clock // (_TOP * freq))
        top = (16 * clock + div * freq // 2) // (div * freq)
    if div >= 256 * 16:
        raise ValueError("freq too small")
    top = max(top, 1)
    return (16 * clock + div // 2) // div, top, (16 * clock + div * top // 2) // (div * top)


def _timer_counter(clock, freq, timer):
    """5 and 3 divide it first where they leave nothing."""
    scale, top = 1, (clock + freq // 2) // freq
    while top > 0xFFFF and timer not in _WIDE:
        by = 2 if top % 5 and top % 3 else 3 if top % 5 else 5
        scale, top = scale * by, top // by
    if top <= 1:
        raise ValueError("freq too large")
    return clock // scale, top, clock // (scale * top)


class PWM:
    def __init__(self, pin, *args, **kw):
        pin = machine.pin_of(pin)
        self._n = n = pin._n
        self._slice, self._channel, alt = machine.pwm_place(n)
        self._duty = None  # and whether it was given in ns
        self._count = 0
        self._invert = False
        before = _outputs.get((self._slice, self._channel))
        if before and not _is_rp2 and not args and not kw:  # goes on as it was
            self._duty, self._count, self._invert = before._duty, before._count, before._invert
        _outputs[self._slice, self._channel] = self
        self.init(*args, **kw)
        machine._driven.pop(n, None)
        machine.set_to(n, machine.Pin.ALT, machine.setting(n, 1), alt)
        link.set_pin(n, 3)
        self._tell()

    def init(self, freq=None, *, duty_u16=None, duty_ns=None, invert=None):
        if freq is not None:
            self._set_freq(freq)
        if duty_u16 is not None:
            self._set_duty(duty_u16, False)
        if duty_ns is not None:
            self._set_duty(duty_ns, True)
        if invert is not None:
            self._invert = bool(invert)
        self._tell()

    def _set_freq(self, freq):
        clock = machine.freq()
        clock = clock[0] if isinstance(clock, tuple) else clock
        if not isinstance(freq, int):
            raise TypeError("can't convert %s to int" % type(freq).__name__)
        if freq <= 0:
            raise ValueError("freq too small")
        of = _slice_counter(clock, freq) if _is_rp2 else _timer_counter(clock, freq, self._slice)
        _counters[self._slice] = of
        for (where, _), output in _outputs.items():
            if where == self._slice and output._duty is not None:
                output._set_duty(*output._duty)
                output._tell()

    def _set_duty(self, value, in_ns):
        if not isinstance(value, int):
            raise TypeError("can't convert %s to int" % type(value).__name__)
        self._duty = (value, in_ns)
        if self._slice not in _counters:
            return
        hz, top, _ = _counters[self._slice]
        if in_ns:
            count = (value * hz + 500000000) // 1000000000
        else:
            count = (min(value, 65535) * top + 32767) // 65535
        self._count = max(0, min(count, top))

    def _tell(self):
        if self._duty is None or self._slice not in _counters:
            return
        duty = self.duty_u16()
        if self._invert:
            duty = 65535 - duty
        link.post(link.OP_PWM, self._n, self.freq(), duty.to_bytes(2, "little"))

    def __repr__(self):
        where = (self._slice, self._channel)
        if _is_rp2:
            return "<PWM slice=%d channel=%d invert=%d>" % (where + (self._invert,))
        return "<PWM TIM%d_CH%d>" % where

    def freq(self, value=None):
        if value is not None:
            self._set_freq(value)
            self._tell()
            return None
        return _counters[self._slice][2] if self._slice in _counters else 0

    def _says(self):
        return self._duty is not None and self._slice in _counters

    def duty_u16(self, value=None):
        if value is not None:
            self._set_duty(value, False)
            self._tell()
            return None
        if not self._says():
            return 0
        top = _counters[self._slice][1]
        return (self._count * 65535 + top // 2) // top

    def duty_ns(self, value=None):
        if value is not None:
            self._set_duty(value, True)
            self._tell()
            return None
        if not self._says():
            return 0
        hz = _counters[self._slice][0]
        return (self._count * 1000000000 + hz // 2) // hz

    def deinit(self):
        link.post(link.OP_PWM, self._n, 0, b"\0\0")
