"""`machine.freq` that is given a frequency."""

import link
import machine

_KHZ = 12000  # of the crystal


def _check_rp2(hz):
    """Whether the PLL can make it (RP2040 data sheet, 2.18.2): a whole multiple of the crystal's,
    between 750 and 1,600 MHz, divided twice by 1 to 7."""
    khz = hz // 1000
    for by in range(1, 50):
        vco = khz * by
        if vco > 1600000:
            break
        if vco < 750000 or vco % _KHZ:
            continue
        if any(by % first == 0 and by // first < 8 for first in range(1, 8)):
            machine.set_hz = khz * 1000
            link.clock_mhz = link.call(link.OP_FREQ) // 1000000
            link.set_clock(khz / 1000)
            return
    raise ValueError("cannot change frequency")


def _check_stm32(hz):
    raise NotImplementedError("machine.freq set not supported yet")


check_freq = _check_rp2 if machine.closed_write else _check_stm32
