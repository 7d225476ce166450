"""What can happen to flash when its power goes: the faults alone, without a device around them.

Needs nothing else of Tallystick, so that any store can be put on it (docs/findings/faults.md).
`kinds` names the faults and what each leaves; `flash` is a NOR flash in memory that has them;
`search` puts every one of them under a store.
"""

from tallystick.faults.kinds import (
    CLEAN,
    END,
    Left,
    NoFaultError,
    apply,
    check,
    clean,
    flipped_bits,
    phase,
    rotten,
    variants,
)
from tallystick.faults.operation import Operation

__all__ = [
    "CLEAN", "END", "Left", "NoFaultError", "Operation", "apply", "check", "clean", "flipped_bits",
    "phase", "rotten", "variants",
]  # fmt: skip
