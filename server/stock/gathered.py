"""Entries of a token file, gathered: what repeats, and what is left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tallystick.server.errors import (
    ApiError,
    EntryProblem,
    entry_lines,
    entry_problems,
)
from tallystick.server.stock.gathering import (
    OF_ONE_ENTRY,
    TELLING_ID,
    CardSeed,
    IntakeWish,
    caught,
    checked_serial,
    named,
    place,
)
from tallystick.server.stock.refusing import LEAVE_OUT, is_like_a_key, refuse
from tallystick.server.stock.staged import StagedEntries
from tallystick.server.store.batches import BATCH

Told = Callable[[str, int, int], None]  # what is done, how many of them, of how many (0: unknown)
Bad = tuple[int, str | None, ApiError]
MOST_PROBLEMS = 10_000  # then the file is another than it should be


@dataclass(frozen=True)
class Taken:
    """What a token file gave. kind: what it was recognised as. signature: none, verified, or
    not-checked."""

    kind: str
    entries: StagedEntries
    left_out: list[EntryProblem]
    signature: str = "none"


@dataclass
class Gathered:
    """Entries that are good so far, and what is wrong with the others, by their numbers. unit: what
    is numbered. tell: is called now and then, and may end it all by an exception."""

    wanted: IntakeWish
    unit: str = "Entry"
    tell: Told = lambda *_: None
    good: StagedEntries = field(default_factory=StagedEntries)
    bad: list[Bad] = field(default_factory=list)

    def add(self, number: int, serial: str | None, read: Callable[[], CardSeed]) -> None:
        if number % BATCH == 0:
            self.tell("read", number, 0)
        try:
            self.good.put(number, read())
        except ApiError as error:
            self._complain(number, serial, error)
            if len(self.bad) > MOST_PROBLEMS:
                raise entry_problems(self.bad) from None

    def _complain(self, number: int, serial: str | None, error: ApiError) -> None:
        """What could be a key is no serial number to show, here as in `place`."""
        self.bad.append((number, None if is_like_a_key(serial or "") else serial, error))

    def finish(self, kind: str, signature: str = "none") -> Taken:
        """Raises ApiError (422) for entries that are bad and not left out, naming each."""
        self._name_keys_of_one_device()
        self._refuse_repeats()
        self.bad.sort(key=lambda one: one[0])
        lasting = [one for one in self.bad if one[2].code not in OF_ONE_ENTRY]
        if self.bad and (lasting or not self.wanted.skip_unusable):
            raise entry_problems(lasting if self.wanted.skip_unusable else self.bad)
        if not self.bad and not self.good:
            refuse("empty-container", "The container has no keys in it.")
        if not self.good:
            raise entry_problems(self.bad)
        return Taken(kind, self.good, entry_lines(self.bad), signature)

    def _name_keys_of_one_device(self) -> None:
        """Two keys of one device have its serial number: their ids name them (RFC 6030 4.1)."""
        renamed: list[tuple[int, str, str]] = []
        for alike in self.good.of_one_serial():
            names = {key_id for _, _, key_id in alike}
            if len(names) < len(alike) or "" in names:
                continue
            for number, serial, key_id in alike:
                telling = len(key_id) >= TELLING_ID and self.good.is_only_key_id(key_id)
                renamed.append((number, serial, key_id if telling else f"{serial}-{key_id}"))
        for number, serial, name in renamed:
            try:
                where = place(number, serial, self.unit)
                self.good.rename(number, checked_serial(where, name, self.wanted))
            except ApiError as error:
                self.good.drop(number)
                self._complain(number, serial, error)

    def _refuse_repeats(self) -> None:
        first: dict[object, int] = {}
        out: dict[int, ApiError] = {}
        repeated = {number: (serial, seed) for number, serial, seed in self.good.repeats()}
        for number, (serial, seed) in repeated.items():
            for code, key in (("serial", serial), ("seed", seed)):
                earlier = first.setdefault((code, key), number)
                if earlier == number or number in out:
                    continue
                other = repeated[earlier]
                out[number] = _repeat(self.unit, code, number, serial, earlier)
                if self.wanted.skip_unusable and other != (serial, seed):  # which one is right?
                    out.setdefault(earlier, _repeat(self.unit, code, earlier, other[0], number))
        for number, error in out.items():
            self._complain(number, self.good.drop(number), error)


def _repeat(unit: str, what: str, number: int, serial: str, other: int) -> ApiError:
    first = f"{unit.lower()} {other}"
    said = (
        f"{unit} {number} repeats serial {named(serial)} of {first}."
        if what == "serial"
        else f"{place(number, serial, unit)} repeats another's seed: that of {first}."
    )
    return caught(lambda: refuse(f"duplicate-{what}", said, todo=LEAVE_OUT))
