"""Serial numbers that a person names for something that is for ever: each of them, and no other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tallystick.common.errors import BadInputError
from tallystick.common.identity import check_serial
from tallystick.tools.image.cards import running_numbers

_KEPT = "Nothing was written, and nothing burnt."
_MOST = 100_000


@dataclass(frozen=True)
class NamedSerials:
    """`said`: as it was typed."""

    said: str
    serials: frozenset[str]

    @classmethod
    def parse(cls, said: str) -> NamedSerials:
        """Numbers and ranges with commas between them (TS00000001-TS00000500,TS00000777), or
        @FILE with one of these a line. Raises BadInputError."""
        text = said
        if said.startswith("@"):
            try:
                text = ",".join(Path(said[1:]).read_text(encoding="utf-8").split())
            except (OSError, UnicodeDecodeError) as error:
                raise BadInputError(f"{said[1:]} cannot be read: {error}.", kept=_KEPT) from None
        found = [one for part in text.split(",") if part.strip() for one in _of(part.strip())]
        if not found or len(found) > _MOST:
            raise BadInputError(
                f"--yes-for-ever names {len(found)} serial numbers.",
                kept=_KEPT,
                todo="Name each that is meant: TS00000001-TS00000500, or @FILE.",
            )
        return cls(said, frozenset(found))

    def __contains__(self, serial: object) -> bool:
        return serial in self.serials

    def missing(self, wanted: Iterable[str]) -> list[str]:
        """Of these, what was not named."""
        return [one for one in wanted if one not in self.serials]


def _of(part: str) -> list[str]:
    first, dash, last = part.partition("-")
    if not dash:
        return [check_serial(first)]
    check_serial(last)
    start, end = (int(one[_digits(one) :] or "0") for one in (first, last))
    if first[: _digits(first)] != last[: _digits(last)] or not 0 <= end - start < _MOST:
        raise BadInputError(
            f"{part} is no range of serial numbers.", kept=_KEPT, todo="Say FIRST-LAST."
        )
    return running_numbers(check_serial(first), end - start + 1)


def _digits(serial: str) -> int:
    """Where the running number begins."""
    return len(serial.rstrip("0123456789"))
