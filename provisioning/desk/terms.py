"""The firm's terms of loans, as the server tells them, and ends of loans by them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import time
from zoneinfo import ZoneInfo

from tallystick.common import moments
from tallystick.common.moments import LocalTime, how_long, in_words, parse_moment

SHORT_S = 3600
PRESETS = ("today", "tomorrow", "Monday")


@dataclass(frozen=True)
class Terms:
    """day_end: when a loan ends that names no end, seconds since 1970. ahead_s: how far the
    server's clock, which counts, is ahead of this computer's. counts: cards by where they are."""

    firm: str
    contact: str
    languages: tuple[str, ...]
    zone: ZoneInfo
    day_ends: time
    day_end: int
    loan_max_s: int
    resync_window: int
    without_code_per_day: int
    pool_minimum: int
    counts: dict[str, int]
    ahead_s: float

    @property
    def now(self) -> float:
        """By the server's clock."""
        return moments.now() + self.ahead_s

    @property
    def here(self) -> LocalTime:
        """Now, where the firm is."""
        return LocalTime(self.now, self.zone, self.day_ends)

    @property
    def short(self) -> str:
        """That cards run out; empty where enough are there."""
        left = self.counts.get("pool", 0)
        if left >= self.pool_minimum:
            return ""
        cards = "card is" if left == 1 else "cards are"
        return f"{left} {cards} left in the pool, of {self.pool_minimum}: have more made."

    def words(self, seconds: float) -> str:
        """A moment with weekday and the firm's zone."""
        return in_words(seconds, self.zone)

    def end(self, text: str) -> int:
        """The end that a person means, seconds since 1970. Raises BadInputError."""
        found = parse_moment(text, self.here)
        return self.day_end if found is None else found

    def shown(self, end: int) -> str:
        """An end before it holds: when that is and how long it is to then, and what is odd."""
        left = end - self.now
        if left <= 0:
            return f"{self.words(end)}: that is over already"
        odd = ""
        if left > self.loan_max_s:
            odd = f"; longer than the {how_long(self.loan_max_s)} that policy allows"
        elif left < SHORT_S:
            odd = "; that is soon"
        return f"{self.words(end)}, in {how_long(left)}{odd}"
