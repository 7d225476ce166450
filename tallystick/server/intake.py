"""Read a station's PSKC container (RFC 6030): check everything, then hand out the seeds.

The parsing is python-pskc's. What is checked here first: no DTD (so no entity tricks), each secret
encrypted with AES-128-CBC, each MAC present and right *before* anything is decrypted under it.
"""

from __future__ import annotations

import hmac
import io
import re
from dataclasses import dataclass
from typing import NoReturn
from xml.parsers import expat

from pskc import PSKC
from pskc.exceptions import PSKCError
from pskc.key import EncryptedValue, Key

from tallystick.common.secret import Secret
from tallystick.server.errors import NOT_REGISTERED, ApiError, entry_problems

AES_128_CBC = "http://www.w3.org/2001/04/xmlenc#aes128-cbc"
MAC_ALGORITHMS = {
    "http://www.w3.org/2000/09/xmldsig#hmac-sha1": "sha1",
    "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256": "sha256",
}
# RFC 6030 section 10.1's name, and the two that drafts of it used.
HOTP_ALGORITHMS = (
    "urn:ietf:params:xml:ns:keyprov:pskc:hotp",
    "urn:ietf:params:xml:ns:keyprov:pskc#hotp",
    "http://www.ietf.org/keyprov/pskc#hotp",
)
SUITES = (None, "", "SHA1", "HMAC-SHA1")
SERIAL = re.compile(r"[A-Za-z0-9._-]{1,64}")
MIN_SEED, MAX_SEED = 16, 64  # RFC 4226 section 4, R6: at least 128 bits
MIN_DISTINCT_BYTES = 6  # a random 16-byte seed has fewer with a chance of 1e-17
MAX_MOVING_FACTOR = 2**63 - 1_000_000


@dataclass(frozen=True)
class CardSeed:
    """One entry of a container. digits: 6 to 8. moving_factor: the next one the card will use."""

    serial: str
    seed: Secret
    digits: int
    moving_factor: int


def read_container(container: bytes, psk: Secret) -> list[CardSeed]:
    """Every entry of the container, in order.

    Raises ApiError (422) naming the entry and what is wrong with it; nothing secret is in it.
    """
    _forbid_dtd(container)
    try:
        document = PSKC(io.BytesIO(container))
    except (PSKCError, ValueError, TypeError, AttributeError, OverflowError):
        _refuse("malformed-container", "The body is not a PSKC container (RFC 6030).")
    document.encryption.key = psk.reveal()
    hash_name = MAC_ALGORITHMS.get(document.mac.algorithm or "")
    if hash_name is None:
        _refuse("no-mac", "The container has no MACMethod with HMAC-SHA1 or HMAC-SHA256.")
    mac_key = _mac_key(document)
    entries: list[CardSeed] = []
    problems: list[tuple[int, str | None, ApiError]] = []
    seen = _Seen()
    for number, key in enumerate(document.keys, start=1):
        try:
            entry = _read_entry(number, key, mac_key, hash_name)
            seen.refuse_repeat(number, entry)
            entries.append(entry)
        except ApiError as error:
            problems.append((number, _shown_serial(key), error))
    if problems:
        raise entry_problems(problems)
    if not entries:
        _refuse("empty-container", "The container has no keys in it.")
    return entries


def _forbid_dtd(container: bytes) -> None:
    def refuse(*_: object) -> NoReturn:
        _refuse("malformed-container", "The container has a document type declaration.")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(container, True)
    except (expat.ExpatError, ValueError) as error:
        _refuse("malformed-container", f"The body is not well-formed XML ({error}).")


def _mac_key(document: PSKC) -> bytes:
    stored = getattr(document.mac, "_key", None)
    if not isinstance(stored, EncryptedValue) or stored.algorithm != AES_128_CBC:
        _refuse("no-mac", "The container's MAC key is missing or not encrypted with AES-128-CBC.")
    try:
        key = document.mac.key
    except (PSKCError, ValueError, TypeError):
        key = None
    if not key:
        _refuse(
            "wrong-mac",
            "The container does not open under this station's pre-shared key.",
            todo="Check that the station uses the key that came with its token.",
        )
    return bytes(key)


def _read_entry(number: int, key: Key, mac_key: bytes, hash_name: str) -> CardSeed:
    serial = key.serial or ""
    where = f"Entry {number} (serial {serial})" if SERIAL.fullmatch(serial) else f"Entry {number}"
    if not SERIAL.fullmatch(serial):
        _refuse("bad-serial", f"{where} has no serial number of 1 to 64 letters, digits, '._-'.")
    if key.algorithm not in HOTP_ALGORITHMS:
        _refuse("not-hotp", f"{where} is not of the HOTP profile.")
    if key.algorithm_suite not in SUITES:
        _refuse("not-hotp", f"{where} uses a hash other than SHA-1.")
    if key.response_encoding not in (None, "DECIMAL") or key.response_check:
        _refuse("bad-format", f"{where} has codes that are not plain decimal digits.")
    digits = key.response_length if key.response_length is not None else 6
    if not 6 <= digits <= 8:
        _refuse("bad-digits", f"{where} has codes of {digits} digits; 6 to 8 are supported.")
    seed = _open_secret(where, key, mac_key, hash_name)
    return CardSeed(serial, seed, digits, _moving_factor(where, key))


def _open_secret(where: str, key: Key, mac_key: bytes, hash_name: str) -> Secret:
    stored = getattr(key, "_secret", None)
    if not isinstance(stored, EncryptedValue) or stored.algorithm != AES_128_CBC:
        _refuse("unencrypted", f"{where} is not encrypted with AES-128-CBC.")
    if not stored.mac_value:
        _refuse("no-mac", f"{where} has no ValueMAC.")
    expected = hmac.digest(mac_key, stored.cipher_value or b"", hash_name)
    if not hmac.compare_digest(expected, stored.mac_value):
        _refuse(
            "wrong-mac",
            f"{where} does not match its MAC.",
            todo="It was changed on the way, or made for another station: make it again.",
        )
    try:
        seed = Secret(key.secret or b"")
    except (PSKCError, ValueError, TypeError):
        _refuse("malformed-container", f"{where} does not decrypt.")
    raw = seed.reveal()
    if not MIN_SEED <= len(raw) <= MAX_SEED:
        _refuse("weak-seed", f"{where} has a seed of {len(raw)} bytes; 16 to 64 are accepted.")
    if len(set(raw)) < MIN_DISTINCT_BYTES:
        _refuse("weak-seed", f"{where} has a seed that is not random.")
    return seed


def _moving_factor(where: str, key: Key) -> int:
    try:
        value = key.counter
    except (PSKCError, ValueError, TypeError):
        value = None
    if value is None or not 0 <= value <= MAX_MOVING_FACTOR:
        _refuse("bad-counter", f"{where} has no usable Counter.")
    return value


class _Seen:
    """Serials and seeds of the container so far."""

    def __init__(self) -> None:
        self._serials: set[str] = set()
        self._seeds: set[bytes] = set()

    def refuse_repeat(self, number: int, entry: CardSeed) -> None:
        if entry.serial in self._serials:
            _refuse("duplicate-serial", f"Entry {number} repeats serial {entry.serial}.")
        if entry.seed.reveal() in self._seeds:
            _refuse("duplicate-seed", f"Entry {number} ({entry.serial}) repeats another's seed.")
        self._serials.add(entry.serial)
        self._seeds.add(entry.seed.reveal())


def _shown_serial(key: Key) -> str | None:
    serial = key.serial or ""
    return serial if SERIAL.fullmatch(serial) else None


def _refuse(code: str, what: str, *, todo: str = "") -> NoReturn:
    raise ApiError(
        422,
        code,
        what,
        kept=NOT_REGISTERED,
        todo=todo or "Correct the container and send it again.",
    ) from None
