"""How a journal settles after a cold start: its state moves to a sector of its own.

What was read may be a record that was cut, and reads otherwise at the next start; so may every slot
that reads as blank. Nothing that was there is relied on, nor touched, until the same state stands
elsewhere for good. With T the newest sectors, X and Y the two behind them in the ring:

1. erase Y, then X
2. the state into the first two slots of X, with sequence numbers 0 and 1 of a thousand
3. zeros into the first slot of Y
4. erase all but X, Y last

Whatever is cut in 1 and 2 leaves T as it was: a sector with such numbers alone is not believed
while there is another, unless zeros stand in the sector behind it. They are programmed only when X
is done for good, and zeros may be programmed again: a start that finds them makes them certain, and
goes on with 4. A start that does not find them erases Y before X, so they are never there with an X
that wavers. However many cuts follow one another: T or X is whole.
"""

from micropython import const

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lib.journal import Journal

_COPIES = const(2)
_NOTHING = const(-1)
# A copy's number is more than a thousand above all others. One of an older firmware, which knew no
# copies, may begin a thousand, too, and follows the one before it closely.
_GAP = const(512)


def find(journal: "Journal") -> None:
    """Says which sectors `load` overlooks: copies that were not finished, or, where one was, all
    others.
    """
    journal.moved = _NOTHING
    journal.overlooked = 0
    newest = _NOTHING  # number of a record that is no such copy
    lone: list[tuple[int, int]] = []
    for sector in range(journal.sectors):
        first, last, own = _numbers(journal, sector)
        journal.above = max(journal.above, last)
        if last < 0:
            continue
        if not own:
            newest = max(newest, last)
        elif _is_finished(journal, sector):
            journal.moved = sector
        else:
            lone.append((first, sector))
    if journal.moved >= 0:
        journal.overlooked = ~(1 << journal.moved)
        return
    lone.sort()
    for number, sector in lone:
        if newest >= 0 and number > newest + _GAP:
            journal.overlooked |= 1 << sector
        newest = max(newest, number)


def _numbers(journal: "Journal", sector: int) -> "tuple[int, int, bool]":
    """Of its whole records the lowest and the highest number, −1: there is none; and whether all
    are copies of a handover.
    """
    first = last = _NOTHING
    own = True
    for slot in range(journal.slots):
        number = journal.number_at(sector, slot)
        if number >= 0:
            if first < 0:
                first = number
            last = number
            own = own and slot < _COPIES and journal.is_copy(number)
    return first, last, own


def _is_finished(journal: "Journal", sector: int) -> bool:
    return journal.is_zero((sector + 1) % journal.sectors)


def settle(journal: "Journal", state: "bytes | bytearray") -> None:
    """The state, as `load` gave it, holds for good when this comes back. Raises OSError when no
    slot takes it.
    """
    if journal.is_new():
        # What is in sector 0 may waver, or what reads as blank elsewhere, never both.
        blank = [journal.clear(sector) for sector in range(1, journal.sectors)]
        if all(blank) or not journal.held():
            if journal.clear(0) and journal.copy(0, state, _COPIES):
                return
    kept = journal.moved
    if kept < 0:
        kept = _moved(journal, state)
    elif not journal.finish((kept + 1) % journal.sectors):
        kept = _NOTHING
    if kept < 0:
        # Too few sectors, or too many are worn out: two copies behind one another, as good as can.
        for sector in range(journal.sectors):
            if journal.overlooked >> sector & 1:
                journal.clear(sector)
        journal.append(state)
        journal.append(state)
        return
    _clear_others(journal, kept)
    journal.moved = _NOTHING
    journal.overlooked = 0


def _clear_others(journal: "Journal", kept: int) -> None:
    """Erases all sectors but one, also those that read as blank: what an erase that was cut left
    may come back. Backwards, so that zeros go before the copies that they speak of, and those that
    speak of this one last.
    """
    for step in range(journal.sectors - 1, 0, -1):
        journal.clear((kept + step) % journal.sectors)


def _moved(journal: "Journal", state: "bytes | bytearray") -> int:
    """The sector that has it now, −1: none could take it."""
    held = journal.held()
    newest = held[0] if held else _NOTHING
    # What says that a copy is finished goes before the copy does, which may be in the sector that
    # says so of another: backwards.
    for step in range(journal.sectors - 1, 0, -1):
        sector = (newest + step) % journal.sectors
        flag = (sector + 1) % journal.sectors
        if journal.overlooked >> sector & 1 and flag not in held and not journal.clear(flag):
            journal.clear(sector)  # worn out: what it speaks of goes at once
    for step in range(1, journal.sectors - 1):
        target = (newest + step) % journal.sectors
        flag = (target + 1) % journal.sectors
        if target in held or flag in held or not target:
            continue
        if (
            journal.clear(flag)
            and journal.clear(target)
            and journal.copy(target, state, _COPIES)
            and journal.finish(flag)
        ):
            return target
    return _NOTHING
