"""Open a PSKC container (RFC 6030): what protects it is checked before any of it is believed.

The parsing is python-pskc's. What is checked here first: no DTD (so no entity tricks), a cipher
that is good enough, a MAC (or a key wrap, or a signature) that is right *before* anything is
decrypted.
"""

from __future__ import annotations

import hmac
import io
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn
from xml.parsers import expat

from pskc import PSKC
from pskc.exceptions import PSKCError
from pskc.key import EncryptedValue

from tallystick.common.secret import Secret
from tallystick.server.errors import NOT_REGISTERED, ApiError

# What python-pskc raises for input that is not what it should be.
UNREADABLE = (PSKCError, ValueError, TypeError, AttributeError, OverflowError)

XMLENC = "http://www.w3.org/2001/04/xmlenc#"
XMLDSIG_MORE = "http://www.w3.org/2001/04/xmldsig-more#"
AES_128_CBC = f"{XMLENC}aes128-cbc"
AES_CBC = {AES_128_CBC, f"{XMLENC}aes192-cbc", f"{XMLENC}aes256-cbc"}
# Key wrap (RFC 3394, RFC 5649) has a check value of its own: a changed one does not unwrap.
AES_KEY_WRAP = {f"{XMLENC}kw-aes{bits}" for bits in (128, 192, 256)}
OLD_CBC = {f"{XMLENC}tripledes-cbc"} | {
    f"{XMLDSIG_MORE}camellia{bits}-cbc" for bits in (128, 192, 256)
}
OLD_KEY_WRAP = {f"{XMLENC}kw-tripledes"} | {
    f"{XMLDSIG_MORE}kw-camellia{bits}" for bits in (128, 192, 256)
}
STATION_MACS = {
    "http://www.w3.org/2000/09/xmldsig#hmac-sha1": "sha1",
    f"{XMLDSIG_MORE}hmac-sha256": "sha256",
}
MACS = STATION_MACS | {f"{XMLDSIG_MORE}hmac-sha{bits}": f"sha{bits}" for bits in (224, 384, 512)}
OLD_MACS = {
    f"{XMLDSIG_MORE}hmac-md5": "md5",
    f"{XMLDSIG_MORE}hmac-ripemd160": "ripemd160",
}
PRF = re.compile(r"(.*#)?hmac-(sha1|sha224|sha256|sha384|sha512)")
MIN_ITERATIONS, MAX_ITERATIONS = 10_000, 10_000_000
MIN_SALT = 8  # RFC 8018 section 4.1


class Weakness(StrEnum):
    """What is refused unless the importer says that he takes it.

    plain: keys in clear. unauthenticated: encrypted, but changes would not be seen. old: 3DES,
    Camellia, HMAC-MD5 and HMAC-RIPEMD160, or a passphrase with few iterations.
    """

    PLAIN = "plain"
    UNAUTHENTICATED = "unauthenticated"
    OLD = "old"


@dataclass(frozen=True)
class Opening:
    """What opens a container: a pre-shared key (RFC 6030 section 6.1) or a passphrase (6.2), and
    the certificate (PEM) that must have signed it (7). station: only the profile that stations
    write is taken."""

    psk: Secret | None = None
    passphrase: Secret | None = None
    certificate: str = ""
    takes: frozenset[Weakness] = frozenset()
    station: bool = False


class Container:
    """A parsed container with the key that opens it. Each value's protection is checked before it
    is decrypted."""

    def __init__(self, content: bytes, opening: Opening) -> None:
        """Raises ApiError (422); nothing secret is in it."""
        prf = _scan(content)
        try:
            document = PSKC(io.BytesIO(content))
        except UNREADABLE:
            refuse("malformed-container", "The body is not a PSKC container (RFC 6030).")
        self.opening = opening
        self.signed = bool(document.signature.is_signed)
        self.verified = False
        if opening.certificate:
            document = _signed_part(document, opening.certificate)
            self.verified = True
        self.document: PSKC = document
        given = document.encryption.derivation
        given.pbkdf2_prf = given.pbkdf2_prf or prf
        if document.encryption.iv and not self.verified:
            # A MAC covers the ciphertext: an initialisation vector outside it could be changed.
            refuse("bad-cipher", "The container has an initialisation vector of its own.")
        self._set_key()
        self._mac = self._mac_method()

    @property
    def signature(self) -> str:
        """none, verified, or not-checked: signed, but nobody said by whom it should be."""
        if self.verified:
            return "verified"
        return "not-checked" if self.signed else "none"

    def reveal(self, where: str, value: EncryptedValue | bytes | None) -> bytes:
        """The bytes of a key's secret."""
        if isinstance(value, EncryptedValue):
            return self._decrypt(where, value)
        if value is None:
            refuse("no-key", f"{where} has no key in it.")
        if Weakness.PLAIN not in self.opening.takes:
            refuse("unencrypted", f"{where} is not encrypted.", takes=Weakness.PLAIN)
        return bytes(value)

    def number(self, where: str, value: EncryptedValue | int | None) -> int | None:
        """A counter or a time. Encrypted, it is in network byte order (RFC 6030 section 4.2); some
        write decimal digits instead: what could be read as either is refused, not guessed at."""
        if not isinstance(value, EncryptedValue):
            return value
        raw = self._decrypt(where, value)
        binary = int.from_bytes(raw, "big")
        if raw.isdigit() and len(raw) not in (4, 8) and int(raw) != binary:
            refuse(
                "bad-counter",
                f"{where} has an encrypted number that can be read in two ways.",
                todo="Have it made with the numbers in clear, or with 8 bytes.",
            )
        return binary

    def _set_key(self) -> None:
        """Give the document the key that its values are encrypted under."""
        encryption, opening = self.document.encryption, self.opening
        derived = encryption.derivation.algorithm
        if not derived:
            if opening.psk is None and opening.passphrase is not None and encryption.algorithm:
                refuse("needs-key", "The container is encrypted under a key, not a passphrase.")
            encryption.key = opening.psk.reveal() if opening.psk is not None else None
            return
        if opening.passphrase is None:
            refuse("needs-passphrase", "The container is encrypted under a passphrase.")
        self._check_derivation(derived)
        try:
            encryption.derive_key(opening.passphrase.reveal())
        except UNREADABLE:
            refuse("malformed-container", "The key cannot be derived from a passphrase.")

    def _check_derivation(self, algorithm: str) -> None:
        given = self.document.encryption.derivation
        if not algorithm.endswith("#pbkdf2") or not PRF.fullmatch(given.pbkdf2_prf or "hmac-sha1"):
            refuse("bad-derivation", "The key is derived in a way that is not supported.")
        iterations, salt = given.pbkdf2_iterations or 0, given.pbkdf2_salt or b""
        if iterations > MAX_ITERATIONS or (given.pbkdf2_key_length or 0) > 64:
            refuse("bad-derivation", "Deriving the key would take too long.")
        weak = iterations < MIN_ITERATIONS or len(salt) < MIN_SALT
        if weak and Weakness.OLD not in self.opening.takes:
            refuse(
                "weak-derivation",
                f"The passphrase is protected by {iterations} iterations and {len(salt)} bytes of "
                f"salt; at least {MIN_ITERATIONS} and {MIN_SALT} are accepted.",
                takes=Weakness.OLD,
            )

    def _mac_method(self) -> tuple[bytes, str] | None:
        """Key and hash of the MACs, or None where the container has none."""
        mac, opening = self.document.mac, self.opening
        taken = STATION_MACS if opening.station else MACS
        name = taken.get(mac.algorithm or "")
        if name is None and Weakness.OLD in opening.takes:
            name = OLD_MACS.get(mac.algorithm or "")
        if name is None:
            if opening.station:
                refuse("no-mac", "The container has no MACMethod with HMAC-SHA1 or HMAC-SHA256.")
            if mac.algorithm:
                old = mac.algorithm in OLD_MACS
                refuse(
                    "weak-mac" if old else "bad-mac",
                    "The container's MACs are of a kind that is not accepted.",
                    takes=Weakness.OLD if old else None,
                )
            return None
        stored = getattr(mac, "_key", None)
        if isinstance(stored, EncryptedValue):
            self._check_cipher("The container's MAC key", stored.algorithm, code="no-mac")
        elif opening.station or self.document.encryption.key is None:
            refuse("no-mac", "The container's MAC key is missing.")
        try:
            key = mac.key  # without a key of their own, MACs are made with the encryption key
        except UNREADABLE:
            key = None
        if not key:
            _wrong_key(opening)
        return bytes(key), name

    def _decrypt(self, where: str, value: EncryptedValue) -> bytes:
        algorithm = value.algorithm or self.document.encryption.algorithm
        if self.opening.station and algorithm != AES_128_CBC:
            refuse("unencrypted", f"{where} is not encrypted with AES-128-CBC.")
        wrapped = self._check_cipher(where, algorithm)
        checked = self._check_mac(where, value)
        known = checked or wrapped or self.verified
        if not known and Weakness.UNAUTHENTICATED not in self.opening.takes:
            refuse("no-mac", f"{where} has no ValueMAC.", takes=Weakness.UNAUTHENTICATED)
        try:
            return bytes(self.document.encryption.decrypt_value(value.cipher_value, algorithm))
        except UNREADABLE:
            if checked:
                refuse("malformed-container", f"{where} does not decrypt.")
            _wrong_key(self.opening)

    def _check_mac(self, where: str, value: EncryptedValue) -> bool:
        """True when a MAC is there and right. Over the ciphertext only (RFC 6030 section 6)."""
        if self._mac is None or not value.mac_value:
            if self.opening.station:
                refuse("no-mac", f"{where} has no ValueMAC.")
            return False
        key, name = self._mac
        expected = hmac.digest(key, value.cipher_value or b"", name)
        if not hmac.compare_digest(expected, value.mac_value):
            refuse(
                "wrong-mac",
                f"{where} does not match its MAC.",
                todo="It was changed on the way, or made for another station: make it again.",
            )
        return True

    def _check_cipher(self, where: str, algorithm: str | None, *, code: str = "") -> bool:
        """Raises ApiError for a cipher that is not accepted. → whether it authenticates, too"""
        if self.opening.station:
            if algorithm != AES_128_CBC:
                refuse(code or "unencrypted", f"{where} is not encrypted with AES-128-CBC.")
            return False
        if algorithm in OLD_CBC | OLD_KEY_WRAP:
            if Weakness.OLD not in self.opening.takes:
                refuse(
                    "weak-cipher",
                    f"{where} is encrypted with a cipher that is out of use.",
                    takes=Weakness.OLD,
                )
        elif algorithm not in AES_CBC | AES_KEY_WRAP:
            refuse("bad-cipher", f"{where} is encrypted in a way that is not supported.")
        return algorithm in AES_KEY_WRAP | OLD_KEY_WRAP


def refuse(code: str, what: str, *, todo: str = "", takes: Weakness | None = None) -> NoReturn:
    """Raise ApiError (422). takes: with what the importer could take it all the same."""
    if takes is not None:
        todo = f"Ask for one that is protected better, or take it with “{takes.value}”."
    raise ApiError(
        422,
        code,
        what,
        kept=NOT_REGISTERED,
        todo=todo or "Correct the container and send it again.",
    ) from None


def _wrong_key(opening: Opening) -> NoReturn:
    if opening.station:
        refuse(
            "wrong-mac",
            "The container does not open under this station's pre-shared key.",
            todo="Check that the station uses the key that came with its token.",
        )
    if opening.psk is None and opening.passphrase is None:
        refuse("needs-key", "The container is encrypted: its key or passphrase is needed.")
    refuse(
        "wrong-mac",
        "The container does not open under this key or passphrase.",
        todo="Check the key: it comes by another way than the container.",
    )


def _signed_part(document: PSKC, certificate: str) -> PSKC:
    """What the certificate's owner has signed: nothing beside it is read."""
    try:
        import signxml  # noqa: F401, PLC0415
    except ImportError:
        refuse(
            "no-signatures",
            "This server cannot check signatures.",
            todo="Install tallystick[signature].",
        )
    try:
        document.signature.verify(certificate=certificate)
        signed = document.signature.signed_pskc
    except Exception:  # whatever is wrong with a signature: it does not hold
        refuse(
            "wrong-signature",
            "The container is not signed by the owner of this certificate.",
            todo="Check the certificate, and that the container was not changed on the way.",
        )
    return signed


def _scan(content: bytes) -> str | None:
    """Refuse a DTD. → the text of a PRF element: python-pskc writes the name of the pseudorandom
    function there, and reads it from an attribute only."""
    inside = False
    text = ""

    def found(*_: object) -> NoReturn:
        refuse("malformed-container", "The container has a document type declaration.")

    def start(name: str, _attributes: object) -> None:
        nonlocal inside
        inside = name.rsplit(":", 1)[-1] == "PRF"

    def end(_name: str) -> None:
        nonlocal inside
        inside = False

    def characters(data: str) -> None:
        nonlocal text
        text += data if inside else ""

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = found
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = characters
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, ValueError, LookupError) as error:  # an unknown encoding
        refuse("malformed-container", f"The body is not well-formed XML ({error}).")
    return text.strip() or None
