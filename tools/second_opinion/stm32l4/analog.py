"""ADC (RM0351, chapter 18), of which the internal reference is read; random numbers (27)."""

from __future__ import annotations

from collections.abc import Callable

from tallystick.tools.second_opinion.cortex import Cortex
from tallystick.tools.second_opinion.registers import Registers
from tallystick.tools.second_opinion.stm32l4.clocks import Clocks

ADC, RNG = 0x50040000, 0x50060800
_ISR, _IER, _CR, _SMPR1, _SMPR2, _SQR1, _DR, _CCR = 0, 4, 8, 0x14, 0x18, 0x30, 0x40, 0x308
_KEPT = (
    _ISR, _IER, 0x0C, 0x10, _SMPR1, _SMPR2, 0x20, 0x24, 0x28, _SQR1, 0x34, 0x38, 0x3C, _DR, 0x4C,
    0x60, 0x64, 0x68, 0x6C, 0x80, 0x84, 0x88, 0x8C, 0xA0, 0xA4, 0xB0, 0xB4, 0x300, _CCR, 0x30C,
)  # fmt: skip
_RESET = {**dict.fromkeys(_KEPT, 0), _CR: 0x20000000}
_ADEN, _ADDIS, _ADSTART, _ADSTP, _ADVREGEN, _DEEPPWD, _ADCAL = (
    1,
    2,
    4,
    16,
    1 << 28,
    1 << 29,
    1 << 31,
)
_ADRDY, _EOSMP, _EOC, _EOS = 1, 2, 4, 8
_VREFEN = 1 << 22
_SAMPLING = (2.5, 6.5, 12.5, 24.5, 47.5, 92.5, 247.5, 640.5)  # ADC clocks
_VREFINT, _NEEDS_US = 0, 4.0  # channel; least sampling time of VREFINT (DS10198, table 25)


class Adc(Registers):
    """`reference()` is what VREFINT reads as, 12 bits. Nothing is on the other channels."""

    def __init__(self, core: Cortex, clocks: Clocks, reference: Callable[[], int]) -> None:
        super().__init__(core, ADC, _RESET)
        self._clocks = clocks
        self._reference = reference
        self._generation = 0

    def on_reset(self) -> None:
        self._generation += 1  # what is under way is void

    def _clock_hz(self) -> float:
        mode = self.values[_CCR] >> 16 & 3
        clock = self._clocks.hclk / (1, 1, 2, 4)[mode] if mode else self._clocks.adc
        if not clock:
            raise self.core.error("converts without a clock for the ADC")
        divider = (1, 2, 4, 6, 8, 10, 12, 16, 32, 64, 128, 256)[self.values[_CCR] >> 18 & 15]
        return clock if mode else clock / divider

    def put(self, at: int, value: int) -> None:
        if at == _ISR:
            self.values[at] &= ~value
        elif at == _CR:
            self._control(value)
        elif at != _DR:
            self.values[at] = value

    def get(self, at: int) -> int:
        if at == _DR:
            self.values[_ISR] &= ~_EOC
        return self.values[at]

    def _control(self, value: int) -> None:
        before = self.values[_CR]
        if value & _ADDIS:
            value &= ~(_ADEN | _ADDIS)
            self._generation += 1
        if value & _ADSTP:
            value &= ~(_ADSTART | _ADSTP)
            self._generation += 1
        if value & (_ADEN | _ADCAL) and (value & _DEEPPWD or not value & _ADVREGEN):
            raise self.core.error("turned the ADC on without its regulator")
        self.values[_CR] = value
        if value & _ADCAL:
            self._soon(116, lambda: self._clear(_ADCAL))
        if value & _ADEN and not before & _ADEN:
            self._soon(10, lambda: self._flag(_ADRDY))
        if value & _ADSTART and not before & _ADSTART:
            self._convert()

    def _soon(self, clocks: float, action: Callable[[], None]) -> None:
        generation = self._generation

        def act() -> None:
            if generation == self._generation:
                action()

        self.core.after(clocks / self._clock_hz() * 1e9, act)

    def _clear(self, bits: int) -> None:
        self.values[_CR] &= ~bits

    def _flag(self, bits: int) -> None:
        self.values[_ISR] |= bits

    def _convert(self) -> None:
        if not self.values[_CR] & _ADEN:
            raise self.core.error("started a conversion of an ADC that is off")
        channel = self.values[_SQR1] >> 6 & 31
        register, at = (_SMPR1, 3 * channel) if channel < 10 else (_SMPR2, 3 * (channel - 10))
        sampling = _SAMPLING[self.values[register] >> at & 7]
        value = 0
        if channel == _VREFINT and self.values[_CCR] & _VREFEN:
            took_us = sampling / self._clock_hz() * 1e6
            if took_us < _NEEDS_US:
                self.core.fault(f"sampled the internal reference for {took_us:.1f} µs, of 4.0")
            value = self._reference()

        def done() -> None:
            self.values[_DR] = value
            self._clear(_ADSTART)
            self._flag(_EOSMP | _EOC | _EOS)

        self._soon(sampling + 12.5, done)


_RNG_CR, _RNG_SR, _RNG_DR = 0, 4, 8
_DRDY, _CECS = 1, 2
_ROUND = 42  # clocks of its 48 MHz for a word, about


class Rng(Registers):
    """`word()` gives 32 random bits. Without its 48 MHz it gives none."""

    def __init__(self, core: Cortex, clocks: Clocks, word: Callable[[], int]) -> None:
        super().__init__(core, RNG, {_RNG_CR: 0, _RNG_SR: 0, _RNG_DR: 0})
        self._clocks = clocks
        self._word = word
        self._ready_ns = 0.0

    def get(self, at: int) -> int:
        runs = self.values[_RNG_CR] & 4
        clock = self._clocks.clk48
        ready = runs and clock and self.core.now_ns >= self._ready_ns
        if at == _RNG_SR:
            return (_DRDY if ready else 0) | (0 if clock or not runs else _CECS)
        if at == _RNG_DR:
            if not ready:
                return 0
            self._ready_ns = self.core.now_ns + _ROUND / clock * 1e9
            return self._word()
        return self.values[at]

    def put(self, at: int, value: int) -> None:
        if at == _RNG_CR:
            if value & 4 and not self.values[at] & 4 and self._clocks.clk48:
                self._ready_ns = self.core.now_ns + _ROUND / self._clocks.clk48 * 1e9
            self.values[at] = value & 0x2C
