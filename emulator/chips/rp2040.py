"""The RP2040: watchdog scratch registers, reset causes, light sleep, its record."""

from __future__ import annotations

from tallystick.emulator.chips.chip import Chip

PWRON_RESET = 1
WDT_RESET = 3


class Rp2040:
    """Scratch registers survive a reset, not a power cycle. No pin ends deep sleep on this chip."""

    detunes_uart = True  # light sleep leaves the peripheral clock at the system's, not at 48 MHz
    scratch_address = 0x4005800C  # WATCHDOG_SCRATCH0 (RP2040 data sheet, 4.7.6)

    def __init__(self) -> None:
        self.scratch = [0] * 8
        self.cause = PWRON_RESET

    def power_up(self) -> None:
        self.scratch = [0] * 8
        self.cause = PWRON_RESET

    def reset(self, *, from_deep_sleep: bool) -> None:
        self.cause = WDT_RESET

    def read(self, address: int) -> int:
        index = (address - self.scratch_address) >> 2
        return self.scratch[index] if 0 <= index < 8 else 0

    def write(self, address: int, value: int) -> None:
        index = (address - self.scratch_address) >> 2
        if 0 <= index < 8:
            self.scratch[index] = value

    def light_sleep(self, duration_us: int) -> None:
        """Leaves nothing armed."""

    def standby_us(self) -> int | None:
        """There is no deep sleep that ends by itself."""
        return None

    def wakes(self, pin: int, level: int) -> bool:
        return False

    def adc(self, cell_mv: int) -> int:
        """Reading (0..65535) of the cell: VSYS over three, against 3.3 V, in twelve bits of which
        MicroPython makes sixteen."""
        raw = min(4095, cell_mv * 4096 // 9900)
        return raw << 4 | raw >> 8


CHIP = Chip(
    name="rp2040",
    clock_hz=125_000_000,
    registers=lambda _: Rp2040(),
    flash_base=0x10000000,
    reports_flash_errors=False,
    own_modules=frozenset({"rp2"}),
    port_modules=("machine_rp2", "rp2"),
    more_built_in=("_thread",),
    stubs="rp2",
    build_options=("-DPICO_NO_PICOTOOL=1",),
    uf2_family=0xE48BFF56,
    drive="RPI-RP2",  # RP2040 data sheet, 2.8.4
    prompt="with RP2040",
)
