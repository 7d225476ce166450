"""Open a PSKC container (RFC 6030): what protects it is checked before any of it is believed.

The parsing is python-pskc's. What is checked here first: no DTD (so no entity tricks), a cipher
that is good enough, a MAC (or a key wrap, or a signature) that is right *before* anything is
decrypted.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from pskc import PSKC
from pskc.algorithms import normalise_algorithm
from pskc.device import Device
from pskc.encryption import algorithm_key_lengths
from pskc.key import EncryptedValue, Key
from pskc.xml import remove_namespaces

from tallystick.common.secret import Secret
from tallystick.server.stock.encodings import XmlText
from tallystick.server.stock.entry_parser import UNREADABLE, EntryParser, said
from tallystick.server.stock.refusing import LEAVE_OUT, Weakness, refuse, shown
from tallystick.server.stock.xml_limits import Looked, elements_of, look_through
from tallystick.server.store.sealed_file import SealedFile

ROOTS = ("KeyContainer", "SecretContainer")  # the second: of the first drafts
PACKAGES = ("KeyPackage", "Device")  # what has the keys; the second: of the first drafts
SIGNED_LIMIT = 32 * 1024 * 1024  # a signature is checked over the whole, in memory
VALUES = ("_secret", "_counter", "_time_offset", "_time_interval", "_time_drift")

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
BARE_CAMELLIA = re.compile(r"(^|#)camellia(128|192|256)$", re.IGNORECASE)
PRF = re.compile(r"(.*#)?hmac-(sha1|sha224|sha256|sha384|sha512)")
MIN_ITERATIONS = 10_000
MAX_ITERATIONS = 4_000_000  # some seconds, with the slowest of the hashes
MAX_DERIVED = 64  # bytes
MIN_SALT = 8  # RFC 8018 section 4.1


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
    """A container with the key that opens it. Its keys are read one after the other, and each
    value's protection is checked before it is decrypted."""

    def __init__(self, content: bytes | SealedFile, opening: Opening) -> None:
        """Raises ApiError (422); nothing secret is in it."""
        file = SealedFile.of(content) if isinstance(content, bytes) else content
        self.opening = opening
        self._pieces: Callable[[], Iterator[str]] = XmlText(file).pieces
        looked = look_through(self._pieces(), PACKAGES)
        if looked.root.tag not in ROOTS:
            refuse(
                "malformed-container",
                "The body is not a PSKC container (RFC 6030): its first element is "
                f"{shown(looked.root.tag)}.",
            )
        document = _beginning(looked)
        self.signed = bool(document.signature.is_signed)
        self.verified = False
        if opening.certificate:
            if file.size > SIGNED_LIMIT:
                refuse(
                    "too-large-to-verify",
                    "A signature is checked over the whole container, which may have "
                    f"{SIGNED_LIMIT // 2**20} MiB at most.",
                    todo="Have the maker send it in parts, or leave the certificate away.",
                )
            signed = _signed_part("".join(self._pieces()), opening.certificate)
            self._pieces = lambda: iter([signed])
            looked = look_through(self._pieces(), PACKAGES)
            document = _beginning(looked)
            self.verified = True
        self.document: PSKC = document
        given = document.encryption.derivation
        given.pbkdf2_prf = given.pbkdf2_prf or looked.prf.strip() or None
        if document.encryption.iv and not self.verified:
            # A MAC covers the ciphertext: an initialisation vector outside it could be changed.
            refuse("bad-cipher", "The container has an initialisation vector of its own.")
        self._opened = False
        self._mac: tuple[bytes, str] | None = None

    def keys(self) -> Iterator[Key]:
        """In their order. Raises ApiError (422) for what is wrong with the whole container."""
        # Nothing is asked for, and no MAC is looked for, where nothing is encrypted.
        if self.opening.station:
            self._open()
        for package in elements_of(self._pieces()):
            remove_namespaces(package)
            if package.tag not in PACKAGES:
                continue
            device = Device(self.document)
            EntryParser.parse_key_package(device, package)
            if not self._opened and any(map(_is_encrypted, device.keys)):
                self._open()
            yield from device.keys

    def _open(self) -> None:
        self._opened = True
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
            refuse("no-key", f"{where} has no key in it.", todo=LEAVE_OUT)
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
            refuse(
                "bad-derivation",
                f"The key is derived by {shown(algorithm)} with "
                f"{shown(given.pbkdf2_prf or 'hmac-sha1')}; PBKDF2 with HMAC-SHA-1 or -2 is taken.",
            )
        iterations, salt = given.pbkdf2_iterations or 0, given.pbkdf2_salt or b""
        if not 0 <= iterations <= MAX_ITERATIONS or (given.pbkdf2_key_length or 0) > MAX_DERIVED:
            refuse(
                "bad-derivation",
                f"Deriving a key of {given.pbkdf2_key_length} bytes in {iterations} iterations "
                f"would take too long; {MAX_DERIVED} and {MAX_ITERATIONS} are the most.",
            )
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
                    f"The container's MACs are {shown(mac.algorithm)}, which is not accepted.",
                    takes=Weakness.OLD if old else None,
                )
            return None
        stored = getattr(mac, "_key", None)
        if isinstance(stored, EncryptedValue):
            self._check_cipher("The container's MAC key", stored.algorithm, code="no-mac")
        elif opening.station or self.document.encryption.key is None:
            refuse("no-mac", "The container's MAC key is missing.")
        try:
            # Without a key of their own, MACs are made with the encryption key.
            key = (
                self._plain(stored, cipher_named(stored.algorithm))
                if isinstance(stored, EncryptedValue)
                else mac.key
            )
        except UNREADABLE:
            key = None
        if not key:
            self._wrong_key(stored.algorithm if isinstance(stored, EncryptedValue) else None)
        return bytes(key), name

    def _decrypt(self, where: str, value: EncryptedValue) -> bytes:
        algorithm = cipher_named(value.algorithm or self.document.encryption.algorithm)
        wrapped = self._check_cipher(where, algorithm)
        over_plaintext = Weakness.MAC_OVER_PLAINTEXT in self.opening.takes
        has_mac = self._mac is not None and bool(value.mac_value)
        checked = has_mac and self._mac_is_right(value, value.cipher_value or b"")
        if has_mac and not checked and not over_plaintext:
            self._refuse_mac(where, value, algorithm)
        if not has_mac and self.opening.station:
            refuse("no-mac", f"{where} has no ValueMAC.")
        known = checked or has_mac or wrapped or self.verified
        if not known and Weakness.UNAUTHENTICATED not in self.opening.takes:
            refuse("no-mac", f"{where} has no ValueMAC.", takes=Weakness.UNAUTHENTICATED)
        try:
            plain = self._plain(value, algorithm)
        except UNREADABLE:
            if checked:
                refuse("malformed-container", f"{where} does not decrypt.")
            self._wrong_key(algorithm)
        if has_mac and not checked and not self._mac_is_right(value, plain):
            self._refuse_mac(where, value, algorithm)
        return plain

    def _plain(self, value: EncryptedValue, algorithm: str | None) -> bytes:
        return bytes(self.document.encryption.decrypt_value(value.cipher_value, algorithm))

    def _mac_is_right(self, value: EncryptedValue, covered: bytes) -> bool:
        """covered: the ciphertext (RFC 6030 section 6), or the plaintext (draft 02)."""
        assert self._mac is not None and value.mac_value is not None
        key, name = self._mac
        return hmac.compare_digest(hmac.digest(key, covered, name), value.mac_value)

    def _refuse_mac(self, where: str, value: EncryptedValue, algorithm: str | None) -> NoReturn:
        if not self.opening.station and Weakness.MAC_OVER_PLAINTEXT not in self.opening.takes:
            try:
                of_the_draft = self._mac_is_right(value, self._plain(value, algorithm))
            except UNREADABLE:
                of_the_draft = False
            if of_the_draft:
                refuse(
                    "mac-over-plaintext",
                    f"{where} has a MAC over its plaintext, as a draft had it; RFC 6030 has MACs "
                    "over the ciphertext.",
                    takes=Weakness.MAC_OVER_PLAINTEXT,
                )
        refuse(
            "wrong-mac",
            f"{where} does not match its MAC.",
            todo="It was changed on the way, or made for another station: make it again."
            if self.opening.station
            else "It was changed on the way: have the maker send the file again. Nobody else can.",
        )

    def _check_cipher(self, where: str, algorithm: str | None, *, code: str = "") -> bool:
        """Raises ApiError for a cipher that is not accepted. → whether it authenticates, too"""
        algorithm = cipher_named(algorithm)
        if self.opening.station:
            if algorithm != AES_128_CBC:
                refuse(code or "unencrypted", f"{where} is not encrypted with AES-128-CBC.")
            return False
        if algorithm in OLD_CBC | OLD_KEY_WRAP:
            if Weakness.OLD not in self.opening.takes:
                refuse(
                    "weak-cipher",
                    f"{where} is encrypted with {shown(algorithm)}, which is out of use.",
                    takes=Weakness.OLD,
                )
        elif algorithm not in AES_CBC | AES_KEY_WRAP:
            refuse(
                "bad-cipher",
                f"{where} is encrypted with {shown(algorithm or 'no named cipher')}, which is not "
                "supported.",
                todo="Have the maker send it under AES-CBC with MACs, or AES key wrap.",
            )
        return algorithm in AES_KEY_WRAP | OLD_KEY_WRAP

    def _wrong_key(self, algorithm: str | None) -> NoReturn:
        opening = self.opening
        if opening.station:
            refuse(
                "wrong-mac",
                "The container does not open under this station's pre-shared key.",
                todo="Check that the station uses the key that came with its token.",
            )
        if opening.psk is None and opening.passphrase is None:
            refuse(
                "needs-key",
                "The container is encrypted: its key or passphrase is needed.",
                todo="Give it with --psk-file or --passphrase-file; it comes by another way.",
            )
        refuse(
            "wrong-mac",
            "The container does not open under this key or passphrase."
            + self._wrong_length(algorithm),
            todo="Check the key: it comes by another way than the container.",
        )

    def _wrong_length(self, algorithm: str | None) -> str:
        key = self.document.encryption.key
        algorithm = algorithm or self.document.encryption.algorithm
        try:
            lengths = list(algorithm_key_lengths(cipher_named(algorithm)))
        except UNREADABLE:
            return ""
        if key is None or len(key) in lengths:
            return ""
        return (
            f" The key has {len(key)} bytes; {shown(algorithm)} takes "
            f"{' or '.join(map(str, lengths))}."
        )


def cipher_named(algorithm: str | None) -> str | None:
    """The name that python-pskc knows a cipher by. Camellia stands under xmlenc# as well as under
    xmldsig-more#, with and without the mode."""
    if algorithm and BARE_CAMELLIA.search(algorithm):
        algorithm += "-cbc"
    return normalise_algorithm(algorithm)


def _beginning(looked: Looked) -> PSKC:
    """What stands beside the entries."""
    document = PSKC()
    try:
        EntryParser.parse_document(document, looked.root)
    except UNREADABLE as error:
        refuse(
            "malformed-container",
            f"What stands before the entries of the PSKC container cannot be read ({said(error)}).",
        )
    return document


def _is_encrypted(key: Key) -> bool:
    return any(isinstance(getattr(key, name, None), EncryptedValue) for name in VALUES)


def _signed_part(text: str, certificate: str) -> str:
    """What the certificate's owner has signed: nothing beside it is read."""
    try:
        import signxml  # noqa: F401, PLC0415
        from lxml import etree  # type: ignore[import-untyped] # noqa: PLC0415
        from pskc.signature import verify_x509  # noqa: PLC0415
    except ImportError:
        refuse(
            "no-signatures",
            "This server cannot check signatures.",
            todo="Install tallystick[signature].",
        )
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
    try:
        tree = etree.ElementTree(etree.fromstring(text.encode(), parser))
        signed: Any = verify_x509(tree, certificate, None)
        return str(etree.tostring(signed, encoding="unicode"))
    except Exception:  # whatever is wrong with a signature: it does not hold
        refuse(
            "wrong-signature",
            "The container is not signed by the owner of this certificate.",
            todo="Check the certificate, and that the container was not changed on the way.",
        )
