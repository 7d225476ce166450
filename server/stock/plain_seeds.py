"""One entry of a file that is no PSKC: its texts, and the card that they make."""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tallystick.server.rules.judge import Generator
from tallystick.server.stock.gathering import (
    CardSeed,
    IntakeWish,
    checked_counter,
    checked_digits,
    checked_seed,
    checked_serial,
    checked_step,
)
from tallystick.server.stock.intake import SUITE
from tallystick.server.stock.refusing import LEAVE_OUT, Weakness, refuse, shown

HEX, BASE32, BASE64 = "hexadecimal digits", "base 32", "base 64"
BLANKS = re.compile(r"[\s:-]")
HEX_DIGITS = re.compile(r"(0[xX])?((?:[0-9A-Fa-f]{2})+)")
BASE32_DIGITS = re.compile(r"([A-Za-z2-7]+)={0,6}")
HOTP_NAMES = {"", "hotp", "oath-hotp", "hmac", "event"}
TOTP_NAMES = {"totp", "oath-totp", "time"}
BASE32_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
MOSTLY = 0.85
USER = re.compile(r"[^\x00-\x1f\x7f]{0,255}")
NUMBER = re.compile(r"[0-9]{1,20}")


@dataclass(frozen=True)
class PlainEntry:
    """Texts as they stand in the file; empty: not there. written_in: how the seed is written.
    counter, step, digits: decimal. kind: the name of the algorithm. why_not: why it is none for
    this server at all. key_id: names it among the keys of its device."""

    number: int
    serial: str
    seed: str
    written_in: str = HEX
    kind: str = "hotp"
    digits: str = ""
    counter: str = ""
    step: str = ""
    hash: str = ""
    user: str = ""
    why_not: str = ""
    key_id: str = ""

    def __repr__(self) -> str:
        return f"PlainEntry({self.number})"


def read_plain(
    where: str, entry: PlainEntry, takes: Iterable[Weakness], wanted: IntakeWish
) -> CardSeed:
    """Raises ApiError (422) naming what is wrong; the seed is never in it."""
    kind = entry.kind.strip().lower()
    if entry.why_not:
        refuse("not-otp", f"{where} {entry.why_not}.", todo=LEAVE_OUT)
    if kind not in HOTP_NAMES | TOTP_NAMES:
        refuse(
            "not-otp",
            f"{where} is of the algorithm {shown(entry.kind)}, neither HOTP nor TOTP.",
            todo=LEAVE_OUT,
        )
    serial = checked_serial(where, entry.serial, wanted)
    if not USER.fullmatch(entry.user):
        refuse("bad-user", f"{where} has a user of {shown(entry.user)}.", todo=LEAVE_OUT)
    digits = checked_digits(where, _number(where, "digits", entry.digits, 6))
    suite = SUITE.fullmatch(entry.hash.strip() or "SHA1")
    if suite is None:
        refuse(
            "not-otp",
            f"{where} uses the hash {shown(entry.hash)}; SHA-1, SHA-256 and SHA-512 are supported.",
            todo=LEAVE_OUT,
        )
    seed = checked_seed(where, seed_bytes(where, entry.seed, entry.written_in))
    name = f"sha{suite.group(1)}"
    if kind in TOTP_NAMES:
        step_s = checked_step(where, _number(where, "seconds", entry.step, 30))
        generator = Generator(name, step_s, digits)
        return CardSeed(serial, seed, 0, generator, key_id=entry.key_id, user=entry.user)
    factor = checked_counter(where, _number(where, "counter", entry.counter, 0), takes)
    generator = Generator(name, 0, digits)
    return CardSeed(serial, seed, factor, generator, key_id=entry.key_id, user=entry.user)


def seed_bytes(where: str, text: str, written_in: str) -> bytes:
    """Raises ApiError (422)."""
    bare = BLANKS.sub("", text)
    try:
        if written_in == HEX and (found := HEX_DIGITS.fullmatch(bare)):
            return bytes.fromhex(found.group(2))
        if written_in == BASE32 and (found := BASE32_DIGITS.fullmatch(bare)):
            given = found.group(1).upper()
            return base64.b32decode(given + "=" * (-len(given) % 8))
        if written_in == BASE64:
            return base64.b64decode(bare, validate=True)
    except (binascii.Error, ValueError):
        pass
    refuse(
        "unreadable-entry",
        f"{where} has a seed of {len(bare)} characters that is not written in {written_in}"
        + (", as the others are." if bare else ": there is none."),
        todo=LEAVE_OUT,
    )
    return None


def writing_of(seeds: Iterable[str]) -> str:
    """How the seeds of a file are written, by the characters of them all: one way for the whole
    file, as a single seed could be read as both, and a slip in one must not change how it is
    read. Of seeds in base 64, a third of the characters are hexadecimal digits, and half of base
    32."""
    letters: Counter[str] = Counter()
    for seed in seeds:
        letters.update(_in_one_case(BLANKS.sub("", seed).rstrip("=")))
    for name, alphabet in ((HEX, "0123456789ABCDEFabcdefxX"), (BASE32, BASE32_ALPHABET)):
        if sum(letters[one] for one in alphabet) >= MOSTLY * letters.total():
            return name
    return BASE64


def _in_one_case(seed: str) -> str:
    """Lower case is as good as upper case where a seed has no other: it is not of base 64 then."""
    return seed.upper() if seed == seed.lower() else seed


def _number(where: str, what: str, text: str, missing: int) -> int:
    text = text.strip()
    if not text:
        return missing
    if not NUMBER.fullmatch(text):
        refuse(
            "unreadable-entry",
            f"{where} has {shown(text)} where its {what} should be.",
            todo=LEAVE_OUT,
        )
    return int(text)
