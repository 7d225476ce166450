"""Reset and clock control (RM0351, chapter 6): which clock runs, how fast, and what it feeds."""

from __future__ import annotations

from collections.abc import Callable

from tallystick.tools.second_opinion.cortex import Cortex
from tallystick.tools.second_opinion.registers import HasClock, Registers

BASE = 0x40021000
_CR, _CFGR, _PLLCFGR, _PLLSAI1CFGR, _CICR = 0x00, 0x08, 0x0C, 0x10, 0x20
_CCIPR, _BDCR, _CSR = 0x88, 0x90, 0x94
AHB1, AHB2, APB1, APB1_2, APB2 = 0x48, 0x4C, 0x58, 0x5C, 0x60  # enable registers
_KHZ = (100, 200, 400, 800, 1_000, 2_000, 4_000, 8_000, 16_000, 24_000, 32_000, 48_000)  # MSI
_FOUR_MHZ, _MSIRGSEL = 6, 1 << 3
_HSI_HZ, LSI_HZ = 16_000_000, 32_000
_ON_TO_READY = {0: 1, 8: 10, 24: 25, 26: 27, 28: 29}  # bits of RCC_CR; HSE has no crystal here
_MSI, _HSI, _HSE, _PLL = range(4)
# Reset flags in RCC_CSR.
PIN, BROWN_OUT, SOFTWARE, WATCHDOG = 1 << 26, 1 << 27, 1 << 28, 1 << 29
_FLAGS, _REMOVE_FLAGS = 0xFF << 24, 1 << 23
_BACKUP_RESET = 1 << 16

_RESET = {
    _CR: 0x63, 0x04: 0x10000000, _CFGR: 0, _PLLCFGR: 0x1000, _PLLSAI1CFGR: 0x1000, 0x14: 0x1000,
    0x18: 0, 0x1C: 0, _CICR: 0,
    0x28: 0, 0x2C: 0, 0x30: 0, 0x38: 0, 0x3C: 0, 0x40: 0,  # reset registers
    AHB1: 0x100, AHB2: 0, 0x50: 0, APB1: 0, APB1_2: 0, APB2: 0,
    0x68: 0x00011303, 0x6C: 0x000532FF, 0x70: 0x101, 0x78: 0xF2FECA3F, 0x7C: 0x25, 0x80: 0x01677C01,
    _CCIPR: 0, _BDCR: 0, _CSR: 0x0C000600,
}  # fmt: skip


class Clocks(Registers):
    """`on_backup_reset` is called for the backup domain, `backup_open` says whether it may be
    written."""

    def __init__(
        self, core: Cortex, backup_open: Callable[[], bool], on_backup_reset: Callable[[], None]
    ) -> None:
        super().__init__(core, BASE, _RESET)
        self._backup_open = backup_open
        self._on_backup_reset = on_backup_reset
        self._start_range = _FOUR_MHZ
        self.on_change: list[Callable[[], None]] = []  # of any clock
        self.resets: dict[tuple[int, int], Registers] = {}  # reset register and bit → whom

    def power_up(self, flags: int) -> None:
        """After power-on (or Shutdown, which is like it): with these reset flags."""
        self._restart(0x600 | flags, _FOUR_MHZ)

    def system_reset(self, flags: int) -> None:
        """Keeps the flags of earlier resets, and the backup domain."""
        self._restart(self.values[_CSR] & _FLAGS | 0x600 | flags, _FOUR_MHZ)

    def leave_standby(self) -> None:
        """LSI runs on; MSI begins at the frequency that was chosen for it (MSISRANGE)."""
        status = self.values[_CSR]
        self._restart(status, status >> 8 & 15)

    def enter_shutdown(self) -> None:
        """Nothing but a crystal runs there, and there is none."""
        self.values[_CSR] &= ~1
        self._changed()

    def _restart(self, status: int, msi_range: int) -> None:
        self._start_range = msi_range
        self.values = {**_RESET, _BDCR: self.values[_BDCR], _CSR: status}
        self.core.set_clock(self.hclk)
        self._changed()

    def _changed(self) -> None:
        for changed in self.on_change:
            changed()

    def backup_power_up(self) -> None:
        self.values[_BDCR] = 0

    def stop(self) -> None:
        """What Stop modes leave: MSI or HSI16 when it wakes, no PLL (5.3.6)."""
        wake_hsi = self.values[_CFGR] >> 15 & 1
        self.values[_CR] &= ~(0x3F00_0000 | 1 << 16)
        self.values[_CR] |= 1 << 8 if wake_hsi else 1
        self.values[_CFGR] = self.values[_CFGR] & ~3 | wake_hsi

    def has(self, register: int, bit: int) -> HasClock:
        """Whether a peripheral is clocked, as a function."""
        return lambda: bool(self.values[register] >> bit & 1)

    def get(self, at: int) -> int:
        value = self.values[at]
        if at == _CR:
            for on, ready in _ON_TO_READY.items():
                value = value & ~(1 << ready) | (value >> on & 1) << ready
        elif at == _CFGR:
            value = value & ~0xC | (value & 3) << 2
        elif at == _CSR:
            value = value & ~2 | (value & 1) << 1
        elif at == _BDCR:
            value &= ~2  # no crystal: LSE never gets ready
        return value

    def put(self, at: int, value: int) -> None:
        if at == _BDCR:
            self._put_backup(value)
        elif at == _CSR:
            kept = 0 if value & _REMOVE_FLAGS else self.values[_CSR] & _FLAGS
            if not self.values[_CR] & _MSIRGSEL:
                value = value & ~0xF00 | self.values[_CSR] & 0xF00
            self.values[_CSR] = value & ~_FLAGS & ~_REMOVE_FLAGS | kept
        else:
            self.values[at] = value
            for (register, bit), device in self.resets.items():
                if register == at and value >> bit & 1:
                    device.reset()
        if at in (_CR, _CFGR, _PLLCFGR, _PLLSAI1CFGR, _CCIPR, _CSR, _BDCR):
            if self.hclk != self.core.hz:
                self.core.set_clock(self.hclk)
            self._changed()

    def _put_backup(self, value: int) -> None:
        if not self._backup_open():
            return
        if value & _BACKUP_RESET:
            self.values[_BDCR] = _BACKUP_RESET
            self._on_backup_reset()
            return
        source = self.values[_BDCR] & 0x300 or value & 0x300  # once, until the domain is reset
        self.values[_BDCR] = value & ~0x300 | source

    # -- frequencies, Hz; 0: it does not run ----------------------------------------------------

    @property
    def msi(self) -> int:
        """Hz."""
        control = self.values[_CR]
        index = control >> 4 & 15 if control & 8 else self._start_range
        return _KHZ[min(index, 11)] * 1000 if control & 1 else 0

    @property
    def hsi(self) -> int:
        """Hz."""
        return _HSI_HZ if self.values[_CR] >> 8 & 1 else 0

    def _vco(self, register: int, on: int) -> float:
        source = (0, self.msi, self.hsi, 0)[self.values[_PLLCFGR] & 3]
        multiplier = self.values[register] >> 8 & 0x7F
        runs = self.values[_CR] >> on & 1
        return source / ((self.values[_PLLCFGR] >> 4 & 7) + 1) * multiplier if runs else 0

    def _divided(self, register: int, on: int, enable: int) -> float:
        """Outputs Q (enable bit 20) and R (24) of a PLL."""
        value = self.values[register]
        return (
            self._vco(register, on) / (((value >> enable + 1 & 3) + 1) * 2) * (value >> enable & 1)
        )

    @property
    def sysclk(self) -> float:
        """Hz."""
        return (self.msi, self.hsi, 0, self._divided(_PLLCFGR, 24, 24))[self.values[_CFGR] & 3]

    @property
    def hclk(self) -> float:
        """Hz, of core and buses."""
        prescaler = self.values[_CFGR] >> 4 & 15
        shift = (1, 2, 3, 4, 6, 7, 8, 9)[prescaler - 8] if prescaler & 8 else 0
        clock = self.sysclk / (1 << shift)
        if not clock:
            raise self.core.error("took its clock from a source that does not run")
        return clock

    def _apb(self, at: int) -> float:
        prescaler = self.values[_CFGR] >> at & 7
        return self.hclk / (2 << (prescaler & 3) if prescaler & 4 else 1)

    @property
    def pclk1(self) -> float:
        """Hz."""
        return self._apb(8)

    @property
    def pclk2(self) -> float:
        """Hz."""
        return self._apb(11)

    def kernel(self, pclk: float, at: int) -> float:
        """Hz, of a serial interface: `pclk` (Hz) or another, chosen by the two bits `at`
        in RCC_CCIPR."""
        return (pclk, self.sysclk, self.hsi, 0)[self.values[_CCIPR] >> at & 3]

    @property
    def clk48(self) -> float:
        """Hz, of the random number generator."""
        sources = (
            0, self._divided(_PLLSAI1CFGR, 26, 20), self._divided(_PLLCFGR, 24, 20), self.msi,
        )  # fmt: skip
        return sources[self.values[_CCIPR] >> 26 & 3]

    @property
    def adc(self) -> float:
        """Hz, asynchronous clock of the ADC; 0 where there is none."""
        return (0, self._divided(_PLLSAI1CFGR, 26, 24), 0, self.sysclk)[
            self.values[_CCIPR] >> 28 & 3
        ]

    @property
    def rtc(self) -> float:
        """Hz."""
        control = self.values[_BDCR]
        lsi = LSI_HZ if self.values[_CSR] & 1 else 0
        return (0, 0, lsi, 0)[control >> 8 & 3] if control >> 15 & 1 else 0
