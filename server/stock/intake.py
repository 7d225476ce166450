"""Read the entries of a PSKC container (RFC 6030): check everything, then hand out the seeds."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import partial

from pskc.key import Key
from pskc.policy import Policy

from tallystick.common.secret import Secret
from tallystick.server.rules.judge import Generator
from tallystick.server.stock.containers import Container
from tallystick.server.stock.entry_parser import UNREADABLE, problem_of
from tallystick.server.stock.gathered import Gathered, Taken, Told
from tallystick.server.stock.gathering import (
    MAX_DRIFT,
    SERIAL,
    CardSeed,
    IntakeWish,
    checked_counter,
    checked_digits,
    checked_seed,
    checked_serial,
    checked_step,
    place,
)
from tallystick.server.stock.refusing import LEAVE_OUT, is_like_a_key, refuse, shown

# Names of RFC 6030 section 10.1 and of its drafts; TOTP's is of the profiles that followed it. In
# the first drafts the name stood alone.
PROFILE = re.compile(
    r"(?:urn:ietf:params:xml:(?:ns|schema):keyprov:pskc[:#]|http://www\.ietf\.org/keyprov/pskc#)?"
    r"(hotp|totp)",
    re.IGNORECASE,
)
SUITE = re.compile(r"(?:\S+#)?(?:HMAC[-_]?)?SHA[-_]?(1|256|512)(-TRUNC.*)?", re.IGNORECASE)

PLAINLY = IntakeWish()


def read_entries(container: Container, now: float, wanted: IntakeWish = PLAINLY) -> list[CardSeed]:
    """Every entry of the container, in order.

    Raises ApiError (422) naming the entry and what is wrong with it; nothing secret is in it.
    """
    return list(read_container(container, now, wanted).entries)


def read_container(
    container: Container, now: float, wanted: IntakeWish, tell: Told = lambda *_: None
) -> Taken:
    """As `read_entries`, with what was left out."""
    gathered = Gathered(wanted, tell=tell)
    for number, key in enumerate(container.keys(), start=1):
        gathered.add(
            number,
            _shown_serial(key),
            partial(_read_entry, number, key, container, now, wanted),
        )
    return gathered.finish("PSKC (RFC 6030)", container.signature)


def _read_entry(
    number: int, key: Key, container: Container, now: float, wanted: IntakeWish
) -> CardSeed:
    written = _written(key, container.opening.station)
    where = place(number, written)
    problem = problem_of(key)
    if problem is not None:
        refuse("unreadable-entry", f"{where} {problem}.", todo=LEAVE_OUT)
    # What it is comes before what is wrong with it: a PIN needs no counter and no random seed.
    generator = _generator(where, key, container)
    serial = checked_serial(where, written, wanted)
    valid_until = _usable_until(where, key, now)
    seed = _seed(where, key, container)
    key_id = "" if container.opening.station else (key.id or "").strip()
    if generator.step_s:
        drift = _number(where, container, key, "_time_drift") or 0
        if not -MAX_DRIFT <= drift <= MAX_DRIFT:
            refuse("bad-time", f"{where} has a clock that is {drift} steps off.", todo=LEAVE_OUT)
        return CardSeed(serial, seed, 0, generator, drift, valid_until, key_id)
    factor = checked_counter(
        where, _number(where, container, key, "_counter"), container.opening.takes
    )
    return CardSeed(serial, seed, factor, generator, valid_until=valid_until, key_id=key_id)


def _written(key: Key, station: bool = False) -> str:
    """Its serial number as it stands there; without one, the id of the key (RFC 6030 4.1).
    Stations always write one."""
    return (key.serial or "").strip() or ("" if station else (key.id or "").strip())


def _generator(where: str, key: Key, container: Container) -> Generator:
    algorithm, step_s = _algorithm(where, key, container)
    encoding = (key.response_encoding or "DECIMAL").upper()
    if encoding != "DECIMAL" or key.response_check:
        what = "with a check digit" if key.response_check else f"in {shown(encoding)}"
        refuse(
            "bad-format",
            f"{where} has codes {what}; plain decimal digits are supported.",
            todo=LEAVE_OUT,
        )
    digits = key.response_length if key.response_length is not None else 6
    return Generator(algorithm, step_s, checked_digits(where, digits))


def _algorithm(where: str, key: Key, container: Container) -> tuple[str, int]:
    """Its hash, and the seconds of a time step (0: HOTP). HOTP is of SHA-1 (RFC 4226), and sold
    with SHA-256 and SHA-512, too; TOTP may be of any of these (RFC 6238 1.2)."""
    profile = PROFILE.fullmatch((key.algorithm or "").strip())
    suite = SUITE.fullmatch((key.algorithm_suite or "SHA1").strip())
    hotp = profile is not None and profile.group(1).lower() == "hotp"
    if container.opening.station and not hotp:
        refuse("not-hotp", f"{where} is not of the HOTP profile.")
    if profile is None:
        named = f"is of the algorithm {shown(key.algorithm)}, neither HOTP nor TOTP"
        refuse(
            "not-otp",
            f"{where} {named if key.algorithm else 'names no algorithm'}.",
            todo=LEAVE_OUT,
        )
    if suite is None or (container.opening.station and suite.group(1) != "1"):
        refuse(
            "not-hotp" if hotp else "not-otp",
            f"{where} uses the hash {shown(key.algorithm_suite or '')}; SHA-1, SHA-256 and SHA-512 "
            "are supported" + (", SHA-1 of stations." if container.opening.station else "."),
            todo=LEAVE_OUT,
        )
    if hotp:
        return f"sha{suite.group(1)}", 0
    offset = _number(where, container, key, "_time_offset")
    if offset:
        refuse(
            "bad-time",
            f"{where} counts its time steps from {offset} steps after 1970; 0 is supported.",
            todo=LEAVE_OUT,
        )
    step_s = _number(where, container, key, "_time_interval")
    return f"sha{suite.group(1)}", checked_step(where, 30 if step_s is None else step_s)


def _usable_until(where: str, key: Key, now: float) -> int | None:
    """When the key expires. Raises ApiError for rules that this server could not keep: whoever does
    not understand a rule may not use the key (RFC 6030 section 5)."""
    policy = key.policy
    if policy.unknown_policy_elements or policy.number_of_transactions is not None:
        refuse(
            "unknown-policy",
            f"{where} has rules for its use that are not supported"
            + (
                f": {policy.number_of_transactions} uses at most."
                if policy.number_of_transactions is not None
                else "."
            ),
            todo=LEAVE_OUT,
        )
    if policy.key_usage and Policy.KEY_USE_OTP not in policy.key_usage:
        uses = ", ".join(str(one) for one in policy.key_usage)
        refuse(
            "not-otp",
            f"{where} may be used for {shown(uses)} only, not for one-time passwords.",
            todo=LEAVE_OUT,
        )
    if policy.pin_usage not in (None, Policy.PIN_USE_LOCAL):
        refuse(
            "needs-pin",
            f"{where} wants a PIN with each code ({shown(policy.pin_usage)}), which is not "
            "supported.",
            todo=LEAVE_OUT,
        )
    starts = [_seconds(one) for one in (policy.start_date, key.start_date) if one]
    ends = [_seconds(one) for one in (policy.expiry_date, key.expiry_date) if one]
    if any(start > now for start in starts):
        refuse(
            "not-yet-valid",
            f"{where} may not be used before {_day(max(starts))}.",
            todo=f"Import it then. {LEAVE_OUT}",
        )
    if any(end <= now for end in ends):
        refuse("expired", f"{where} has expired on {_day(min(ends))}.", todo=LEAVE_OUT)
    return min(ends, default=None)


def _day(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
    except (ValueError, OverflowError, OSError):
        return "a day that no calendar has"


def _seconds(when: datetime) -> int:
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())


def _seed(where: str, key: Key, container: Container) -> Secret:
    return checked_seed(where, container.reveal(where, getattr(key, "_secret", None)))


def _number(where: str, container: Container, key: Key, name: str) -> int | None:
    try:
        return container.number(where, getattr(key, name, None))
    except UNREADABLE:
        refuse("bad-counter", f"{where} has a number that cannot be read.", todo=LEAVE_OUT)


def _shown_serial(key: Key) -> str | None:
    written = _written(key)
    return written if SERIAL.fullmatch(written) and not is_like_a_key(written) else None
