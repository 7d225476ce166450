"""Read the entries of a PSKC container (RFC 6030): check everything, then hand out the seeds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from pskc.key import Key
from pskc.policy import Policy

from tallystick.common.secret import Secret
from tallystick.server.errors import ApiError, entry_problems
from tallystick.server.rules.judge import HOTP, Generator
from tallystick.server.stock.containers import UNREADABLE, Container, refuse

# Names of RFC 6030 section 10.1 and of its drafts; TOTP's is of the profiles that followed it.
HOTP_PROFILES = {
    "urn:ietf:params:xml:ns:keyprov:pskc:hotp",
    "urn:ietf:params:xml:ns:keyprov:pskc#hotp",
    "http://www.ietf.org/keyprov/pskc#hotp",
}
TOTP_PROFILES = {
    "urn:ietf:params:xml:ns:keyprov:pskc:totp",
    "urn:ietf:params:xml:ns:keyprov:pskc#totp",
    "http://www.ietf.org/keyprov/pskc#totp",
}
SUITE = re.compile(r"(HMAC-)?SHA-?(1|256|512)(-TRUNC.*)?", re.IGNORECASE)
SERIAL = re.compile(r"[A-Za-z0-9._-]{1,64}")
MIN_SEED, MAX_SEED = 16, 64  # RFC 4226 section 4, R6: at least 128 bits
MIN_DISTINCT_BYTES = 6  # a random 16-byte seed has fewer with a chance of 1e-17
MAX_MOVING_FACTOR = 2**63 - 1_000_000
STEPS_S = (30, 60)
MAX_DRIFT = 1000


@dataclass(frozen=True)
class CardSeed:
    """One entry of a container. moving_factor: the next one the card will use (0
    for TOTP: the clock decides). drift: in time steps. valid_until: seconds since 1970."""

    serial: str
    seed: Secret
    moving_factor: int
    generator: Generator = HOTP
    drift: int = 0
    valid_until: int | None = None


def read_entries(container: Container, now: float) -> list[CardSeed]:
    """Every entry of the container, in order.

    Raises ApiError (422) naming the entry and what is wrong with it; nothing secret is in it.
    """
    entries: list[CardSeed] = []
    problems: list[tuple[int, str | None, ApiError]] = []
    seen = _Seen()
    for number, key in enumerate(container.document.keys, start=1):
        try:
            entry = _read_entry(number, key, container, now)
            seen.refuse_repeat(number, entry)
            entries.append(entry)
        except ApiError as error:
            problems.append((number, _shown_serial(key), error))
    if problems:
        raise entry_problems(problems)
    if not entries:
        refuse("empty-container", "The container has no keys in it.")
    return entries


def _read_entry(number: int, key: Key, container: Container, now: float) -> CardSeed:
    serial = key.serial or ""
    where = f"Entry {number} (serial {serial})" if SERIAL.fullmatch(serial) else f"Entry {number}"
    if not SERIAL.fullmatch(serial):
        refuse("bad-serial", f"{where} has no serial number of 1 to 64 letters, digits, '._-'.")
    generator = _generator(where, key, container)
    valid_until = _usable_until(where, key, now)
    seed = _seed(where, key, container)
    if generator.step_s:
        drift = _number(where, container, key, "_time_drift") or 0
        if not -MAX_DRIFT <= drift <= MAX_DRIFT:
            refuse("bad-time", f"{where} has a clock that is {drift} steps off.")
        return CardSeed(serial, seed, 0, generator, drift, valid_until)
    factor = _number(where, container, key, "_counter")
    if factor is None or not 0 <= factor <= MAX_MOVING_FACTOR:
        refuse("bad-counter", f"{where} has no usable Counter.")
    return CardSeed(serial, seed, factor, generator, valid_until=valid_until)


def _generator(where: str, key: Key, container: Container) -> Generator:
    algorithm, step_s = _algorithm(where, key, container)
    if key.response_encoding not in (None, "DECIMAL") or key.response_check:
        refuse("bad-format", f"{where} has codes that are not plain decimal digits.")
    digits = key.response_length if key.response_length is not None else 6
    if not 6 <= digits <= 8:
        refuse("bad-digits", f"{where} has codes of {digits} digits; 6 to 8 are supported.")
    return Generator(algorithm, step_s, digits)


def _algorithm(where: str, key: Key, container: Container) -> tuple[str, int]:
    """Its hash, and the seconds of a time step (0: HOTP). HOTP is SHA-1 (RFC 4226); TOTP may be of
    SHA-1, SHA-256 or SHA-512 (RFC 6238 1.2)."""
    suite = SUITE.fullmatch(key.algorithm_suite or "SHA1")
    if key.algorithm in HOTP_PROFILES:
        if suite is None or suite.group(2) != "1":
            refuse("not-hotp", f"{where} uses a hash other than SHA-1.")
        return "sha1", 0
    if container.opening.station:
        refuse("not-hotp", f"{where} is not of the HOTP profile.")
    if key.algorithm not in TOTP_PROFILES:
        refuse("not-otp", f"{where} is of neither the HOTP nor the TOTP profile.")
    if suite is None:
        refuse("not-otp", f"{where} uses a hash other than SHA-1, SHA-256 and SHA-512.")
    step_s = _number(where, container, key, "_time_interval") or 30
    if step_s not in STEPS_S or _number(where, container, key, "_time_offset"):
        refuse("bad-time", f"{where} has no time steps of 30 or 60 seconds since 1970.")
    return f"sha{suite.group(2)}", step_s


def _usable_until(where: str, key: Key, now: float) -> int | None:
    """When the key expires. Raises ApiError for rules that this server could not keep: whoever does
    not understand a rule may not use the key (RFC 6030 section 5)."""
    policy = key.policy
    if policy.unknown_policy_elements or policy.number_of_transactions is not None:
        refuse("unknown-policy", f"{where} has rules for its use that are not supported.")
    if policy.key_usage and Policy.KEY_USE_OTP not in policy.key_usage:
        refuse("not-otp", f"{where} may not be used for one-time passwords.")
    if policy.pin_usage not in (None, Policy.PIN_USE_LOCAL):
        refuse("needs-pin", f"{where} wants a PIN with each code, which is not supported.")
    starts = [_seconds(one) for one in (policy.start_date, key.start_date) if one]
    ends = [_seconds(one) for one in (policy.expiry_date, key.expiry_date) if one]
    if any(start > now for start in starts):
        refuse("not-yet-valid", f"{where} may not be used yet.", todo="Import it when it may.")
    if any(end <= now for end in ends):
        refuse("expired", f"{where} has expired.", todo="Take it out, and send the rest again.")
    return min(ends, default=None)


def _seconds(when: datetime) -> int:
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())


def _seed(where: str, key: Key, container: Container) -> Secret:
    raw = container.reveal(where, getattr(key, "_secret", None))
    if not MIN_SEED <= len(raw) <= MAX_SEED:
        refuse("weak-seed", f"{where} has a seed of {len(raw)} bytes; 16 to 64 are accepted.")
    if len(set(raw)) < MIN_DISTINCT_BYTES:
        refuse("weak-seed", f"{where} has a seed that is not random.")
    return Secret(raw)


def _number(where: str, container: Container, key: Key, name: str) -> int | None:
    try:
        return container.number(where, getattr(key, name, None))
    except UNREADABLE:
        refuse("bad-counter", f"{where} has a number that cannot be read.")


class _Seen:
    """Serials and seeds of the container so far."""

    def __init__(self) -> None:
        self._serials: set[str] = set()
        self._seeds: set[bytes] = set()

    def refuse_repeat(self, number: int, entry: CardSeed) -> None:
        if entry.serial in self._serials:
            refuse("duplicate-serial", f"Entry {number} repeats serial {entry.serial}.")
        if entry.seed.reveal() in self._seeds:
            refuse("duplicate-seed", f"Entry {number} ({entry.serial}) repeats another's seed.")
        self._serials.add(entry.serial)
        self._seeds.add(entry.seed.reveal())


def _shown_serial(key: Key) -> str | None:
    serial = key.serial or ""
    return serial if SERIAL.fullmatch(serial) else None
