"""How a journal settles after a cold start: its state moves to a sector of its own.

What was read may be a record that was cut, and reads otherwise at the next start; so may every slot
that reads as blank. Nothing that was there is relied on, nor touched, until the same state stands
elsewhere for good. With T the newest sector, X and Y two behind it in the ring:

1. erase Y, then X
2. the state into the first slot of X, with a sequence number that begins a thousand: a copy
3. zeros into the first slot of Y
4. erase all others
5. the state once more, behind the copy
6. erase Y

Whatever is cut in 1 and 2 leaves T as it was: a sector that has a copy and nothing else is not
believed while there is another, unless zeros stand in the sector behind it. They are programmed
only when X is done for good, and zeros may be programmed again: a start that finds them makes them
certain, goes by X, and moves on to two others. A start that does not find them erases Y before X,
so they are never there with an X that wavers. However many cuts follow one another: T or X is
whole. 5 is for a worn-out sector, which no erase reaches: X is believed beside what is left there.

A card whose very first start was cut has nothing to lose, and nothing that is whole: sector 0 is
then written first, which nothing else is moved to.
"""

from micropython import const

from lib.journal import SLOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lib.journal import Journal

_NOTHING = const(-1)
_THOUSAND = const(1024)  # as in lib/journal.py
# A copy's number is more than a thousand above all others. One of an older firmware, which knew no
# copies, may begin a thousand, too, and follows the one before it closely.
_GAP = const(512)


def find(journal: "Journal") -> None:
    """Says which sectors `load` overlooks: copies that were not finished, or, where one was, all
    others.
    """
    newest = finished = _NOTHING  # numbers
    lone: list[tuple[int, int]] = []
    for sector in range(journal.sectors):
        first, last = _numbers(journal, sector)
        journal.above = max(journal.above, last)
        copied = _is_copy(_number_at(journal, sector, 0))
        if copied and first > finished and _is_zero(journal, _behind(journal, sector)):
            finished = first
            journal.moved = sector
        if copied and first == last:
            lone.append((first, sector))
        else:
            newest = max(newest, last)
    # Zeros that could not be erased say nothing of what was written long after them.
    if journal.moved >= 0 and newest <= _numbers(journal, journal.moved)[1]:
        journal.overlooked = ~(1 << journal.moved)
        return
    journal.moved = _NOTHING
    lone.sort()
    for number, sector in lone:
        if newest >= 0 and number > newest + _GAP:
            journal.overlooked |= 1 << sector
        newest = max(newest, number)


def _numbers(journal: "Journal", sector: int) -> "tuple[int, int]":
    """The first and the last of its whole records, −1: there is none."""
    first = last = _NOTHING
    for slot in range(journal.slots):
        number = _number_at(journal, sector, slot)
        if number >= 0:
            if first < 0:
                first = number
            last = number
    return first, last


def _behind(journal: "Journal", sector: int) -> int:
    return (sector + 1) % journal.sectors


def settle(journal: "Journal", state: "bytes | bytearray") -> None:
    """The state, as `load` gave it, holds for good when this comes back. Raises OSError when no
    slot takes it.
    """
    if _is_new(journal):
        # What is in sector 0 may waver, or what reads as blank elsewhere, never both.
        blank = [_clear(journal, sector) for sector in range(1, journal.sectors)]
        if (all(blank) or not _held(journal)) and _clear(journal, 0):
            _copy(journal, 0, state)
    if journal.moved >= 0:
        _finish(journal, _behind(journal, journal.moved))
        _clear_others(journal, journal.moved)
    kept = _moved(journal, state)
    if kept >= 0:
        _clear_others(journal, kept)
        journal.append(state)
        _clear(journal, _behind(journal, kept))
        return
    _stay(journal, state)


def _stay(journal: "Journal", state: "bytes | bytearray") -> None:
    """Too few sectors, or too many are worn out: the state twice behind the newest record, as good
    as can.
    """
    for sector in range(journal.sectors):
        if journal.overlooked >> sector & 1:
            _clear(journal, sector)
    journal.append(state)
    journal.append(state)


def _clear_others(journal: "Journal", kept: int) -> None:
    """Erases all sectors but one and the one behind it, also those that read as blank: what an
    erase that was cut left may come back. Backwards, so that zeros go before the copies that they
    speak of.
    """
    for step in range(journal.sectors - 1, 1, -1):
        _clear(journal, (kept + step) % journal.sectors)


def _moved(journal: "Journal", state: "bytes | bytearray") -> int:
    """The sector that has it now, −1: none could take it."""
    if journal.moved >= 0:
        held = [journal.moved, _behind(journal, journal.moved)]
    else:
        held = _held(journal)
        _clear_flags(journal, held)
    newest = held[0] if held else _NOTHING
    for step in range(1, journal.sectors):
        target = (newest + step) % journal.sectors
        flag = _behind(journal, target)
        if target in held or flag in held or not target:
            continue
        if (
            _clear(journal, flag)
            and _clear(journal, target)
            and _copy(journal, target, state)
            and _finish(journal, flag)
        ):
            return target
    return _NOTHING


def _clear_flags(journal: "Journal", held: "list[int]") -> None:
    """What would say that a copy is finished goes before the copy does, which may be in the sector
    that says so of another: backwards. A copy whose flag cannot be erased stays.
    """
    newest = held[0] if held else _NOTHING
    for step in range(journal.sectors - 1, 0, -1):
        sector = (newest + step) % journal.sectors
        flag = _behind(journal, sector)
        if journal.overlooked >> sector & 1 and flag not in held and not _clear(journal, flag):
            held.append(sector)


# -- a sector, a slot ------------------------------------------------------------------------------


def _is_copy(number: int) -> bool:
    """Whether a sequence number is one that only copies have."""
    return number >= 0 and not number & _THOUSAND - 1


def _is_new(journal: "Journal") -> bool:
    """Whether nothing can be lost: at most a copy of what comes from the factory. It is in sector
    0, which nothing else is moved to.
    """
    for sector in range(1, journal.sectors):
        if journal.last_written(sector) >= 0:
            return False
    numbers = [_number_at(journal, 0, slot) for slot in range(journal.slots)]
    return all(number < 0 or _is_copy(number) for number in numbers)


def _number_at(journal: "Journal", sector: int, slot: int) -> int:
    """The number of the whole record in a slot, −1: there is none."""
    journal.flash.read(sector * journal.flash.SECTOR + slot * SLOT, journal.seen)
    payload = journal.payload
    whole = journal.seen != journal.blank and journal.valid()
    journal.payload = payload  # of the state, whatever else is there
    return int.from_bytes(journal.seen[:4], "little") if whole else _NOTHING


def _is_zero(journal: "Journal", sector: int) -> bool:
    """Whether its first slot holds zeros."""
    journal.flash.read(sector * journal.flash.SECTOR, journal.seen)
    return journal.seen == bytes(len(journal.seen))


def _held(journal: "Journal") -> "list[int]":
    """The sectors that the state may be in: the one that it was read from, and the one before it
    where nothing is before it in its own.
    """
    found: list[int] = []
    order = journal.by_age()
    for sector in order[order.index(journal.held) :] if journal.held >= 0 else ():
        whole = sum(_number_at(journal, sector, slot) >= 0 for slot in range(journal.slots))
        if whole:
            found.append(sector)
            if len(found) > 1 or whole > 1:
                break
    return found


def _clear(journal: "Journal", sector: int) -> bool:
    """Erases a sector, whatever it reads as."""
    done = journal.erased(sector)
    journal.dead += not done
    return done


def _copy(journal: "Journal", sector: int, state: "bytes | bytearray") -> bool:
    """The state into the first slot of a sector that is blank. Writing goes on behind it."""
    # Not the next thousand: a record that reads as blank now may begin it.
    number = (max(journal.sequence, journal.above) | _THOUSAND - 1) + 1 + _THOUSAND
    if not journal.written_as(number, state, sector * journal.flash.SECTOR):
        journal.dead += 1
        return False
    journal.sector = journal.held = sector
    journal.next = 1
    journal.skipped = 0
    return True


def _finish(journal: "Journal", sector: int) -> bool:
    """Zeros into the first slot of a sector, whatever is there."""
    return journal.written(sector * journal.flash.SECTOR, bytes(len(journal.seen)))
