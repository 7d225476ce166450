"""Entries of a token file, gathered: what each must keep, what repeats, what is left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial

from tallystick.common.secret import Secret
from tallystick.server.errors import ApiError, EntryProblem, entry_lines, entry_problems
from tallystick.server.rules.judge import HOTP, Generator
from tallystick.server.stock.refusing import LEAVE_OUT, Weakness, is_like_a_key, refuse, shown

SERIAL = re.compile(r"[A-Za-z0-9._-]{1,64}")
NOT_OF_A_SERIAL = re.compile(r"[^A-Za-z0-9._-]+")
TELLING_ID = 6  # characters: a shorter key id, such as “1” or “totp”, goes behind the serial number
MIN_SEED, MAX_SEED = 16, 64  # RFC 4226 section 4, R6: at least 128 bits
MIN_DISTINCT_BYTES = 6  # a random 16-byte seed has fewer with a chance of 1e-17
MAX_MOVING_FACTOR = 2**63 - 1_000_000
STEPS_S = (30, 60)
MAX_DRIFT = 1000
# What is wrong with one entry alone: it can be left out. A wrong key, or a MAC that does not fit,
# says something about the whole file.
OF_ONE_ENTRY = {
    "bad-counter",
    "bad-digits",
    "bad-format",
    "bad-serial",
    "bad-time",
    "bad-user",
    "duplicate-seed",
    "duplicate-serial",
    "expired",
    "needs-pin",
    "no-key",
    "not-hotp",
    "not-otp",
    "not-yet-valid",
    "unknown-policy",
    "unreadable-entry",
    "weak-seed",
}


@dataclass(frozen=True)
class CardSeed:
    """One entry of a container. moving_factor: the next one the card will use (0
    for TOTP: the clock decides). drift: in time steps. valid_until: seconds since 1970. key_id:
    what names it among the keys of its device. user: who is to have it, as the file says."""

    serial: str
    seed: Secret
    moving_factor: int
    generator: Generator = HOTP
    drift: int = 0
    valid_until: int | None = None
    key_id: str = ""
    user: str = ""


@dataclass(frozen=True)
class IntakeWish:
    """skip_unusable: leave out what this server has no use for, and say so. rewrite_serials:
    characters that a serial number cannot have become hyphens."""

    skip_unusable: bool = False
    rewrite_serials: bool = False


@dataclass(frozen=True)
class Taken:
    """What a token file gave. kind: what it was recognised as. signature: none, verified, or
    not-checked."""

    kind: str
    entries: list[CardSeed]
    left_out: list[EntryProblem]
    signature: str = "none"


@dataclass
class Gathered:
    """Entries that are good so far, and what is wrong with the others, by their numbers. unit: what
    is numbered."""

    wanted: IntakeWish
    unit: str = "Entry"
    good: dict[int, CardSeed] = field(default_factory=dict)
    bad: list[tuple[int, str | None, ApiError]] = field(default_factory=list)

    def add(self, number: int, serial: str | None, read: Callable[[], CardSeed]) -> None:
        try:
            self.good[number] = read()
        except ApiError as error:
            self.bad.append((number, serial, error))

    def finish(self, kind: str, signature: str = "none") -> Taken:
        """Raises ApiError (422) for entries that are bad and not left out, naming each."""
        self._name_keys_of_one_device()
        self._refuse_repeats()
        # What could be a key is no serial number to show, here as in `place`.
        safe = [(n, None if is_like_a_key(s or "") else s, error) for n, s, error in self.bad]
        self.bad = sorted(safe, key=lambda one: one[0])
        lasting = [one for one in self.bad if one[2].code not in OF_ONE_ENTRY]
        if self.bad and (lasting or not self.wanted.skip_unusable):
            raise entry_problems(lasting if self.wanted.skip_unusable else self.bad)
        if not self.bad and not self.good:
            refuse("empty-container", "The container has no keys in it.")
        if not self.good:
            raise entry_problems(self.bad)
        return Taken(kind, list(self.good.values()), entry_lines(self.bad), signature)

    def _name_keys_of_one_device(self) -> None:
        """Two keys of one device have its serial number: their ids name them (RFC 6030 4.1)."""
        of_device: dict[str, list[CardSeed]] = {}
        for entry in self.good.values():
            of_device.setdefault(entry.serial, []).append(entry)
        ids = Counter(entry.key_id for entry in self.good.values())
        for number, entry in list(self.good.items()):
            alike = of_device[entry.serial]
            names = {one.key_id for one in alike}
            if len(alike) == 1 or len(names) < len(alike) or "" in names:
                continue
            telling = len(entry.key_id) >= TELLING_ID and ids[entry.key_id] == 1
            name = entry.key_id if telling else f"{entry.serial}-{entry.key_id}"
            del self.good[number]
            self.add(number, entry.serial, partial(self._renamed, entry, name, number))
        self.good = dict(sorted(self.good.items()))

    def _renamed(self, entry: CardSeed, name: str, number: int) -> CardSeed:
        serial = checked_serial(place(number, entry.serial, self.unit), name, self.wanted)
        return replace(entry, serial=serial)

    def _refuse_repeats(self) -> None:
        first: dict[object, int] = {}
        out: dict[int, ApiError] = {}
        for number, entry in self.good.items():
            for code, key in (("serial", entry.serial), ("seed", entry.seed.reveal())):
                earlier = first.setdefault((code, key), number)
                if earlier == number or number in out:
                    continue
                other = self.good[earlier]
                out[number] = _repeat(self.unit, code, number, entry.serial, earlier)
                same = other.serial == entry.serial and other.seed == entry.seed
                if self.wanted.skip_unusable and not same:  # which of the two is right?
                    out.setdefault(earlier, _repeat(self.unit, code, earlier, other.serial, number))
        for number, error in out.items():
            self.bad.append((number, self.good.pop(number).serial, error))


def _repeat(unit: str, what: str, number: int, serial: str, other: int) -> ApiError:
    first = f"{unit.lower()} {other}"
    said = (
        f"{unit} {number} repeats serial {named(serial)} of {first}."
        if what == "serial"
        else f"{place(number, serial, unit)} repeats another's seed: that of {first}."
    )
    return caught(lambda: refuse(f"duplicate-{what}", said, todo=LEAVE_OUT))


def caught(raises: Callable[[], object]) -> ApiError:
    try:
        raises()
    except ApiError as error:
        return error
    raise AssertionError("nothing was raised")


def place(number: int, written: str, unit: str = "Entry") -> str:
    """How a message names an entry. A serial number that could be a key is not shown: columns may
    be in another order than they should."""
    if not written:
        return f"{unit} {number}"
    return f"{unit} {number} (serial {named(written)})"


def named(written: str) -> str:
    """A serial number in a message."""
    return written if SERIAL.fullmatch(written) and not is_like_a_key(written) else shown(written)


def checked_serial(where: str, written: str, wanted: IntakeWish) -> str:
    """The serial number that a card is known by. Raises ApiError (422)."""
    if SERIAL.fullmatch(written):
        return written
    rewritten = NOT_OF_A_SERIAL.sub("-", written.strip())
    usable = bool(SERIAL.fullmatch(rewritten)) and rewritten.strip("-._") != ""
    if usable and wanted.rewrite_serials:
        return rewritten
    allowed = "1 to 64 letters, digits, '.', '_' and '-' are allowed"
    if not written:
        refuse(
            "bad-serial", f"{where} has no serial number and no key id; {allowed}.", todo=LEAVE_OUT
        )
    refuse(
        "bad-serial",
        f"{where} has a serial number of {shown(written)}; {allowed}.",
        todo=f"Take it as {shown(rewritten)} with --rewrite-serials. {LEAVE_OUT}"
        if usable
        else LEAVE_OUT,
    )
    return None


def checked_seed(where: str, raw: bytes) -> Secret:
    """Raises ApiError (422)."""
    if not MIN_SEED <= len(raw) <= MAX_SEED:
        refuse(
            "weak-seed",
            f"{where} has a seed of {len(raw)} bytes; {MIN_SEED} to {MAX_SEED} are accepted.",
            todo=LEAVE_OUT,
        )
    if len(set(raw)) < MIN_DISTINCT_BYTES:
        refuse("weak-seed", f"{where} has a seed that is not random.", todo=LEAVE_OUT)
    return Secret(raw)


def checked_digits(where: str, digits: int) -> int:
    """Raises ApiError (422)."""
    if not 6 <= digits <= 8:
        refuse(
            "bad-digits",
            f"{where} has codes of {digits} digits; 6 to 8 are supported.",
            todo=LEAVE_OUT,
        )
    return digits


def checked_step(where: str, step_s: int) -> int:
    """Raises ApiError (422)."""
    if step_s not in STEPS_S:
        refuse(
            "bad-time",
            f"{where} has time steps of {step_s} seconds; {' and '.join(map(str, STEPS_S))} are "
            "supported.",
            todo=LEAVE_OUT,
        )
    return step_s


def checked_counter(where: str, factor: int | None, takes: Iterable[Weakness]) -> int:
    """Raises ApiError (422)."""
    if factor is None and Weakness.NO_COUNTER in takes:
        return 0
    if factor is None:
        refuse(
            "bad-counter",
            f"{where} has no Counter: it does not say which code comes next.",
            todo="If the cards are new, take them from 0 with --take no-counter; otherwise have "
            "the maker send the counters.",
        )
    if not 0 <= factor <= MAX_MOVING_FACTOR:
        refuse(
            "bad-counter",
            f"{where} has a counter of {factor}; 0 to {MAX_MOVING_FACTOR} are accepted.",
            todo=LEAVE_OUT,
        )
    return factor
