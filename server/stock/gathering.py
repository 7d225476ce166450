"""Entries of a token file: what each is, and what it must keep."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tallystick.common.secret import Secret
from tallystick.server.errors import ApiError
from tallystick.server.rules.judge import HOTP, Generator
from tallystick.server.stock.refusing import LEAVE_OUT, Weakness, is_like_a_key, refuse, shown
from tallystick.server.store.keys import Box

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
class SealedCard:
    """An entry that is ready for the database: its seed is encrypted. number: of the entry.
    fingerprint: of the seed; older: those that older versions may have made of it."""

    number: int
    serial: str
    moving_factor: int
    generator: Generator
    drift: int
    valid_until: int | None
    user: str
    fingerprint: bytes
    box: Box
    older: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Judged:
    """status, factor: what becomes of the card."""

    card: SealedCard
    status: str
    factor: int


@dataclass(frozen=True)
class IntakeWish:
    """skip_unusable: leave out what this server has no use for, and say so. rewrite_serials:
    characters that a serial number cannot have become hyphens."""

    skip_unusable: bool = False
    rewrite_serials: bool = False


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
