"""The STM32L4 (RM0351). What is particular to it: flash controller, wake-up pins and their pulls in
Shutdown, clocks, the real-time clock and its backup registers, the ADC on the internal reference.

What the chip protects is protected here too: the flash and the clock against writing without their
keys, the backup registers without DBP and their clocks. Clocks and DBP are off after every reset.
Shutdown keeps the backup domain and nothing else, and ends as power-on does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tallystick.emulator.chips.chip import Chip, OpenOcd, Surroundings
from tallystick.emulator.chips.pins import PinTable
from tallystick.emulator.chips.stm32l476_pins import PINS

PWRON_RESET = 1
WDT_RESET = 3
SOFT_RESET = 0

_TIMER = re.compile(r"TIM(\d+)_CH([1-4])")

_FLASH = 0x40022000
_ACR, _KEYR, _SR, _CR = _FLASH, _FLASH + 0x08, _FLASH + 0x10, _FLASH + 0x14
_PWR = 0x40007000
_CR1, _CR3, _CR4 = _PWR, _PWR + 0x08, _PWR + 0x0C
_PDCR = _PWR + 0x24  # of port A; the next port's is 8 bytes on
_CR1_DBP, _CR3_APC = 1 << 8, 1 << 10
_RCC = 0x40021000
_RCC_CR, _RCC_CFGR, _RCC_PLLCFGR = _RCC, _RCC + 0x08, _RCC + 0x0C
_APB1ENR1, _CLOCKS_ON = _RCC + 0x58, 1 << 10 | 1 << 28  # RTCAPBEN, PWREN
_PLLON, _PLLRDY = 1 << 24, 1 << 25
_RTC = 0x40002800
_RTC_CR, _RTC_WPR, _BACKUP, _RTC_END = _RTC + 0x08, _RTC + 0x24, _RTC + 0x50, _RTC + 0xD0
_RTC_KEYS = (0xCA, 0x53)
_ADC = 0x50040000
_ADC_ISR, _ADC_CR, _ADC_SMPR1, _ADC_SQR1 = _ADC, _ADC + 0x08, _ADC + 0x14, _ADC + 0x30
_ADC_DR, _ADC_CCR = _ADC + 0x40, _ADC + 0x308
_ADEN, _ADDIS, _ADSTART, _DEEPPWD, _EOC, _VREFEN = 1, 2, 4, 1 << 29, 4, 1 << 22
_LONG_SAMPLE = 6  # 247.5 clocks, and the shortest that the internal reference takes at 26 MHz
_FLOATING_US = 900_000  # a pin without a pull wakes the chip every now and then
_VREFINT_CAL = 0x1FFF75AA  # VREFINT read at 3.0 V, 12 bits
_FLASH_BASE = 0x08000000
_KEYS = (0x45670123, 0xCDEF89AB)
_CR_PG, _CR_PER, _CR_BKER, _CR_STRT, _CR_LOCK = 1, 2, 1 << 11, 1 << 16, 1 << 31
_SR_EOP, _SR_PROGERR, _SR_WRPERR, _SR_PGAERR, _SR_PGSERR = 1, 1 << 3, 1 << 4, 1 << 5, 1 << 7
_CALIBRATION = 1655
FACTORY_WORDS = {_VREFINT_CAL: _CALIBRATION}
"""Words of system memory, which never change."""
_PWR_SR2, _PWR_SCR, _PUCRA, _PDCRH = _PWR + 0x14, _PWR + 0x18, _PWR + 0x20, _PWR + 0x5C
_RCC_CCIPR = _RCC + 0x88
_USART1_CR1, _USART1_BRR = 0x40013800, 0x4001380C
_SYSTICK_LOAD = 0xE000E014
_MODELLED = (
    (_FLASH_BASE, _FLASH_BASE + (1 << 20) - 4), (_VREFINT_CAL, _VREFINT_CAL), (_RTC, _RTC_END - 4),
    (_PUCRA, _PDCRH),
    *(
        (register, register)
        for register in (
            _ACR, _KEYR, _SR, _CR, _CR1, _CR3, _CR4, _PWR_SR2, _PWR_SCR, _RCC_CR, _RCC_CFGR,
            _RCC_PLLCFGR, _APB1ENR1, _RCC_CCIPR, _ADC_ISR, _ADC_CR, _ADC_SMPR1, _ADC_SQR1, _ADC_DR,
            _ADC_CCR, _USART1_CR1, _USART1_BRR, _SYSTICK_LOAD,
        )
    ),
)  # fmt: skip
"""First and last register of each range that has an effect, or keeps what is written."""
# As the board's MicroPython leaves them: 26 MHz from the PLL, voltage range 2.
_AT_START = {
    _RCC_CR: 0x63 | _PLLON, _RCC_CFGR: 3, _RCC_PLLCFGR: 26 << 8 | 1 << 25, _CR1: 2 << 9,
    _ACR: 0x703, _ADC_CR: _DEEPPWD,
}  # fmt: skip
# Wake-up pins in the numbering of the port: WKUP1 is PA0, WKUP2 PC13, WKUP4 PA2, WKUP5 PC5.
_WAKE_PINS = {0x00: 0, 0x2D: 1, 0x02: 3, 0x25: 4}


class Stm32L4:
    detunes_uart = False

    def __init__(self, chip: Surroundings) -> None:
        self._flash = chip.flash
        self._program = chip.program
        self._erase = chip.erase
        self._supply_mv = chip.supply_mv
        self.power_up()

    def power_up(self) -> None:
        self.cause = PWRON_RESET
        self._registers = dict(_AT_START)
        self._reset_flash()

    def reset(self, *, from_deep_sleep: bool) -> None:
        """Out of Shutdown, or of the firmware's own doing, which leaves PWR's settings alone."""
        self.cause = PWRON_RESET if from_deep_sleep else SOFT_RESET
        kept = {
            address: value
            for address, value in self._registers.items()
            if _RTC <= address < _RTC_END or (not from_deep_sleep and _CR1 < address < _PWR + 0x80)
        }
        self._registers = _AT_START | kept
        self._reset_flash()

    def _reset_flash(self) -> None:
        self._keys = 0
        self._cr = _CR_LOCK
        self._sr = 0
        self._first_word: tuple[int, int] | None = None
        self._rtc_keys = 0

    def light_sleep(self, duration_us: int) -> None:
        """The port arms the real-time clock's timer, which stands still in Shutdown."""

    def standby_us(self) -> int | None:
        """How long Shutdown lasts if nobody does anything (µs); None: for good."""
        enabled = self._registers.get(_CR3, 0)
        floating = any(
            enabled >> number & 1 and not self._pulled(pin) for pin, number in _WAKE_PINS.items()
        )
        return _FLOATING_US if floating else None

    def _pulled(self, pin: int) -> bool:
        pulls = self._registers.get(_PDCR + 8 * (pin >> 4), 0)
        return bool(self._registers.get(_CR3, 0) & _CR3_APC and pulls >> (pin & 15) & 1)

    def _backup_open(self) -> bool:
        clocks = self._registers.get(_APB1ENR1, 0) & _CLOCKS_ON == _CLOCKS_ON
        return clocks and bool(self._registers.get(_CR1, 0) & _CR1_DBP)

    def read(self, address: int) -> int:
        if address == _SR:
            return self._sr
        if address == _CR:
            return self._cr
        if address in FACTORY_WORDS:
            return FACTORY_WORDS[address]
        if _FLASH_BASE <= address < _FLASH_BASE + self._flash.size:
            at = address - _FLASH_BASE
            return int.from_bytes(self._flash.memory[at : at + 4], "little")
        return self._register(address)

    def _register(self, address: int) -> int:
        value = self._registers.get(address, 0)
        if address == _RCC_CR:
            value = value & ~_PLLRDY | (_PLLRDY if value & _PLLON else 0)
        elif address == _RCC_CFGR:
            value = value & ~12 | (value & 3) << 2  # SWS follows SW
        elif address == _ADC_DR:
            self._registers[_ADC_ISR] = 0
        return value

    def write(self, address: int, value: int) -> None:
        if address == _KEYR:
            self._keys = self._keys + 1 if self._keys < 2 and value == _KEYS[self._keys] else 3
            if self._keys == 2:
                self._cr &= ~_CR_LOCK
        elif address == _SR:
            self._sr &= ~value
        elif address == _CR:
            self._control(value)
        elif _FLASH_BASE <= address < _FLASH_BASE + self._flash.size:
            self._word(address - _FLASH_BASE, value)
        elif _RTC <= address < _RTC_END:
            self._write_rtc(address, value)
        elif address == _ADC_CR:
            self._adc_control(value)
        else:
            self._registers[address] = value

    def _write_rtc(self, address: int, value: int) -> None:
        if not self._backup_open():
            return
        if address == _RTC_WPR:
            expected = _RTC_KEYS[self._rtc_keys] if self._rtc_keys < 2 else -1
            self._rtc_keys = self._rtc_keys + 1 if value == expected else 0
        elif address >= _BACKUP or self._rtc_keys == 2:
            self._registers[address] = value

    # -- flash -----------------------------------------------------------------------------------

    def _control(self, value: int) -> None:
        if self._cr & _CR_LOCK:
            return
        self._cr = value & ~_CR_STRT
        if value & _CR_LOCK:
            self._keys = 0
        elif value & _CR_PER and value & _CR_STRT:
            page = (value >> 3 & 0xFF) + (256 if value & _CR_BKER else 0)
            self._sr |= _SR_EOP if self._erase(page * self._flash.timing.sector) else _SR_WRPERR

    def double_word(self, address: int, data: bytes) -> None:
        """Both halves of 8 bytes of flash are written, one after the other."""
        if self._cr & _CR_LOCK or not self._cr & _CR_PG or self._first_word is not None:
            self._sr |= _SR_PGSERR
        else:
            good = self._program(address - _FLASH_BASE, data)
            self._sr |= _SR_EOP if good else _SR_PROGERR

    def _word(self, at: int, value: int) -> None:
        """A double word is programmed when its second half is written (RM0351, 3.3.7)."""
        first, self._first_word = self._first_word, None
        if self._cr & _CR_LOCK or not self._cr & _CR_PG:
            self._sr |= _SR_PGSERR
        elif at != first[0] + 4 if first else at % 8:
            self._sr |= _SR_PGAERR
        elif first is None:
            self._first_word = (at, value)
        else:
            data = first[1].to_bytes(4, "little") + value.to_bytes(4, "little")
            self._sr |= _SR_EOP if self._program(first[0], data) else _SR_PROGERR

    # -- sleep and the supply --------------------------------------------------------------------

    def wakes(self, pin: int, level: int) -> bool:
        """True when this edge ends Shutdown: EWUP in PWR_CR3, polarity in PWR_CR4."""
        number = _WAKE_PINS.get(pin)
        if number is None or not self._registers.get(_CR3, 0) >> number & 1:
            return False
        falling = self._registers.get(_CR4, 0) >> number & 1
        return level != falling

    def kept_pulls(self) -> list[int]:
        """Wake-up pins that are pulled down in Shutdown."""
        return [pin for pin in _WAKE_PINS if self._pulled(pin)]

    def adc(self, cell_mv: int) -> int:
        """What `ADC(CORE_VREF).read_u16()` leaves behind, and reads: converter and reference are
        on, but MicroPython 1.28 asks this family's ADC for channel 1, where nothing is."""
        self._registers |= {_ADC_CR: 1 << 28 | _ADEN, _ADC_CCR: _VREFEN, _ADC_SQR1: 1 << 6}
        return 0

    def _adc_control(self, value: int) -> None:
        registers = self._registers
        if value & _ADSTART and registers[_ADC_CR] & _ADEN:
            is_reference = (
                not registers.get(_ADC_SQR1, 0)
                and registers.get(_ADC_SMPR1, 0) & 7 >= _LONG_SAMPLE
                and registers.get(_ADC_CCR, 0) & _VREFEN
            )
            mv = max(1, self._supply_mv())
            registers[_ADC_DR] = min(4095, _CALIBRATION * 3000 // mv) if is_reference else 0
            registers[_ADC_ISR] = _EOC
        registers[_ADC_CR] = 0 if value & _ADDIS else value & ~_ADSTART


def _pwm(pins: PinTable, pin: int) -> list[str]:
    """Timer, channel and alternate function of a pin's PWM: MicroPython takes the second that it
    has, where it has two."""
    found = [
        f"{signal[1]}.{signal[2]}.{number}"
        for number, name in pins.signals[pin].items()
        if (signal := _TIMER.fullmatch(name))
    ]
    return found[:2][-1:]


def _pin_settings(pins: PinTable, names: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    return {
        "machine_stm32": {
            "adc_pins": list(pins.channels),
            "adc_channels": list(pins.channels.values()),
            # One text: the port's heap is small.
            "alternates": "".join(
                f"{pins.names[pin]}:{n}_{name} "
                for pin, functions in pins.alternates.items()
                for n, name in functions.items()
            ),
            "pwm_pins": " ".join(
                f"{pins.names[pin]}:{place}" for pin in pins.names for place in _pwm(pins, pin)
            ),
        }
    }


CHIP = Chip(
    name="stm32l4",
    clock_hz=26_000_000,
    registers=Stm32L4,
    pins=PINS,
    pin_settings=_pin_settings,
    modelled=tuple(address for first, last in _MODELLED for address in (first, last + 3)),
    watchdog_cause=WDT_RESET,
    epoch_year=2000,
    epoch_s=473_385_600,  # 1 January 2015, counted from 2000
    flash_base=_FLASH_BASE,
    reports_flash_errors=True,
    factory_words=FACTORY_WORDS,
    own_modules=frozenset({"stm"}),
    port_modules=("machine_stm32", "stm"),
    platform="pyboard",
    stubs="stm32",
    pin_lacks=(
        *("DRIVE_0", "DRIVE_1", "DRIVE_2", "IRQ_HIGH_LEVEL", "IRQ_LOW_LEVEL", "PULL_HOLD"),
        *("drive", "toggle"),
    ),
    openocd=OpenOcd(
        "interface/stlink.cfg",
        "target/stm32l4x.cfg",
        identity_register=0xE0042000,  # DBGMCU_IDCODE (RM0351, section 48.6.1)
        identity=0x415,  # STM32L475, L476, L486
        unique_register=0x1FFF7590,  # RM0351, section 49.1
    ),
    dfu=True,
    lock="option bytes",
)
