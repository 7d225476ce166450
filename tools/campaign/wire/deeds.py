"""One deed of a relay, as a word that can be written down."""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.common.errors import BadInputError

TO_CARD, TO_STATION = ">", "<"


@dataclass(frozen=True)
class Deed:
    """`name` to the block number `at` of the way; `number` chooses among the deed's forms."""

    way: str
    at: int
    name: str
    number: int

    def __str__(self) -> str:
        return f"{self.way}{self.at}.{self.name}.{self.number}"

    @classmethod
    def parse(cls, text: str) -> Deed:
        """Raises BadInputError."""
        try:
            at, name, number = text[1:].split(".")
            deed = cls(text[0], int(at), name, int(number))
        except (ValueError, IndexError):
            deed = None
        if deed is None or deed.way not in (TO_CARD, TO_STATION) or deed.at < 0:
            raise BadInputError(
                f"{text!r} is no deed of a relay.", todo="Write it as a violation has it: >3.drop.0"
            )
        return deed
