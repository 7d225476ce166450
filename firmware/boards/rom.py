"""How MicroPython calls a function of the boot ROM (RP2350 data sheet, 5.4). Machine code: compiled
for armv7m, and imported by boards of this chip only.
"""

import micropython
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:

    def data(size: int, code: int) -> None: ...


@micropython.asm_thumb
def call(r0: int, r1: int, r2: int, r3: int) -> int:  # type: ignore[return]  # it is in r0
    """The function at r3, with three words. That assembler has no BLX, so it is a number."""
    data(2, 0x4798)  # BLX r3
