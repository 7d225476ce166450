"""Two numbers that only grow, in rows that are burnt once: thermometers. What the flash chip says
is compared with them, so that an old copy of it is known for one.

Each number is a bit for each time, in words of 24 bits that are three rows each: two of three rows
count. So a row that fails, or a bit whose pulse was cut, changes nothing that was counted. The
highest bit that is set is the number; bits below it that could not be burnt are passed over.
"""

from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typed.board import Once

_BITS = const(24)
_COPIES = const(3)
_FULL = const(0xFFFFFF)
_ATTEMPTS = const(4)  # bits that may fail in a row

# Of wrong tries, 23,040; of states that may not come back, 2,040: first row, words.
TRIES = (0, 960)
STATES = (2880, 85)
_SPARE = const(3135)  # a row that no number has


class BurntMeter:
    """place: TRIES or STATES. once: the rows."""

    def __init__(self, once: "Once", place: "tuple[int, int]") -> None:
        self._once = once
        self._first, self._words = place
        self.value = self._read()

    def _word(self, word: int) -> int:
        row = self._first + word * _COPIES
        one, two, three = [self._once.read(row + copy) for copy in range(_COPIES)]
        return one & two | two & three | one & three

    def _read(self) -> int:
        low, high = (
            0,
            self._words,
        )  # below `low` all have a bit, from `high` on none
        while low < high:
            middle = (low + high) // 2
            if self._word(middle):
                low = middle + 1
            else:
                high = middle
        if not low:
            return 0
        word, length = self._word(low - 1), _BITS
        while not word >> (length - 1) & 1:
            length -= 1
        return (low - 1) * _BITS + length

    @property
    def ended(self) -> bool:
        """It cannot grow any more."""
        return self.value >= self._words * _BITS

    def grow(self) -> None:
        """By one. Raises OSError when no bit can be burnt."""
        for _ in range(_ATTEMPTS):
            if self.ended:
                break
            bit = self.value
            self._pulse(bit)
            self.value = bit + 1  # whether it took or not, the next one comes after it
            if self._word(bit // _BITS) >> (bit % _BITS) & 1:
                return
        raise OSError(5)

    def look_busy(self) -> None:
        """As many pulses as `grow` gives, on a bit that is set already: from outside, the same. Of
        a number that is 0, on the row that is left over.
        """
        if self.value:
            self._pulse(self.value - 1)
        else:
            for _ in range(_COPIES):
                self._once.burn(_SPARE, 1)

    def _pulse(self, bit: int) -> None:
        row = self._first + bit // _BITS * _COPIES
        for copy in range(_COPIES):
            self._once.burn(row + copy, 1 << bit % _BITS)
