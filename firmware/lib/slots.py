"""The boot record: which of the two slots runs, and whether it has proved itself. A journal.

    CONFIRMED n   slot n runs, the other one is free to be written
    TRIAL n       slot n was written and verified, and is to run at the next start
    TRIED n       slot n was started once; unless it is confirmed, the next start goes back

`format (1) ‖ state (1) ‖ slot (1) ‖ 0 ‖ floor (4, little endian)`. The floor is the security
version below which no image is taken. Every change is written twice: a first record that was cut
may read as valid now and not later, the second one makes it certain (lib/journal.py).
"""

from micropython import const

from lib import wire
from lib.journal import DamagedError, Journal, StrangeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typed.board import Flash, Slots

_FORMAT = const(1)
_SIZE = const(8)


class Record:
    """`state`, `slot` and `floor` as in flash. A device from the factory runs slot 0, floor 0."""

    def __init__(self, flash: "Flash") -> None:
        """Raises DamagedError when there are records and none is whole, StrangeError when another
        firmware wrote it.
        """
        self._journal = Journal(flash, _SIZE)
        self.state = wire.CONFIRMED
        self.slot = 0
        self.floor = 0
        record = self._journal.load()
        if record is not None:
            if record[0] != _FORMAT:
                raise StrangeError
            self.state = record[1]
            self.slot = record[2] & 1
            self.floor = int.from_bytes(record[4:8], "little")

    def write(self, state: int, slot: int, floor: int) -> None:
        """Raises OSError when flash fails; the attributes then stay."""
        record = bytes((_FORMAT, state, slot, 0)) + floor.to_bytes(4, "little")
        self._journal.append(record)
        self._journal.append(record)
        self.state = state
        self.slot = slot
        self.floor = floor


def choose(board: "Slots") -> int:
    """The slot to run now. Notes that a trial begins, or that it is over without success."""
    try:
        record = Record(board.boot_record())
    except DamagedError:
        return 0
    slot = record.slot
    if record.state == wire.TRIAL:
        try:
            record.write(wire.TRIED, slot, record.floor)
        except OSError:
            return 1 - slot  # a trial that cannot be noted could not be ended
    elif record.state == wire.TRIED:
        slot = 1 - slot
        try:
            record.write(wire.CONFIRMED, slot, record.floor)
        except OSError:
            pass  # still tried: the next start comes here again
    return slot


def settled(board: "Slots") -> bool:
    """The running image is confirmed: nothing leads back to another one."""
    import booted

    try:
        record = Record(board.boot_record())
    except DamagedError:
        return False
    return record.state == wire.CONFIRMED and record.slot == booted.slot
