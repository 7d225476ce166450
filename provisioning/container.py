"""The PSKC container (RFC 6030) in which a card's seed goes to the server: AES-128-CBC under the
station's pre-shared key, HMAC-SHA1 over the ciphertext, plain counter. The form that the widest
set of importers takes."""

from __future__ import annotations

import hashlib
import hmac
import io
from dataclasses import dataclass
from typing import Protocol

from pskc import PSKC
from pskc.key import EncryptedValue

from tallystick.common import chance
from tallystick.provisioning.credential import CodeKind, HmacHash
from tallystick.provisioning.custody.interface import Custody, Seed

MANUFACTURER = "Tallystick"
CONTENT_TYPE = "application/pskc+xml"
HOTP_PROFILE = "urn:ietf:params:xml:ns:keyprov:pskc:hotp"
_CIPHER = "http://www.w3.org/2001/04/xmlenc#aes128-cbc"
_MAC = "http://www.w3.org/2000/09/xmldsig#hmac-sha1"
_MAC_KEY_SIZE = 20
_PKCS5 = b"http://www.rsasecurity.com/rsalabs/pkcs/schemas/pkcs-5v2-0#"
_PBKDF2 = f"{_PKCS5.decode()}pbkdf2"
_THEIR_PARAMETERS = b"xenc11:PBKDF2-params"


def build(
    custody: Custody,
    seed: Seed,
    serial: str,
    kind: CodeKind,
    moving_factor: int,
    *,
    manufacturer: str = MANUFACTURER,
) -> bytes:
    """The container of one card as XML. moving_factor: of the next code that the card gives.

    The seed is encrypted by custody; this module sees ciphertext only.
    """
    mac_key = chance.token_bytes(_MAC_KEY_SIZE)
    container = PSKC()
    container.encryption.algorithm = _CIPHER
    container.encryption.key_name = custody.server().id
    container.mac.algorithm = _MAC
    container.mac.key = EncryptedValue(custody.encrypt_for_server(mac_key), None, _CIPHER)
    sealed = seed.for_server()
    value_mac = hmac.new(mac_key, sealed, hashlib.sha1).digest()
    key = container.add_key(
        manufacturer=manufacturer,
        serial=serial,
        id=serial,
        algorithm=HOTP_PROFILE,
        algorithm_suite=kind.hash.value,
        response_encoding="DECIMAL",
        response_length=kind.digits,
        counter=moving_factor,
    )
    # pskc's property takes an EncryptedValue, although its annotation does not say so
    key.secret = EncryptedValue(sealed, value_mac, _CIPHER)  # type: ignore[assignment]
    output = io.BytesIO()
    container.write(output)
    return output.getvalue()


class PassphraseKey(Protocol):
    """How a container's key comes of a passphrase: PBKDF2 with HMAC-SHA-1, the RFC's default."""

    @property
    def salt(self) -> bytes: ...

    @property
    def iterations(self) -> int: ...


def with_derivation(key: PassphraseKey, container: bytes) -> bytes:
    """The container saying how its key comes of a passphrase (RFC 6030, 6.2), so that whoever has
    that opens it with any importer. The ciphertext stays as it is."""
    document = PSKC(io.BytesIO(container))
    derivation = document.encryption.derivation
    derivation.algorithm = _PBKDF2
    derivation.pbkdf2_salt = key.salt
    derivation.pbkdf2_iterations = key.iterations
    derivation.pbkdf2_key_length = 16
    output = io.BytesIO()
    document.write(output)
    # The library has the parameters in another namespace than the RFC's figure 7, where FreeIPA
    # looks for them.
    content = output.getvalue()
    for end in (b"<", b"</"):
        assert content.count(end + _THEIR_PARAMETERS) == 1
    content = content.replace(b"</" + _THEIR_PARAMETERS, b"</pkcs5:PBKDF2-params")
    return content.replace(
        b"<" + _THEIR_PARAMETERS, b'<pkcs5:PBKDF2-params xmlns:pkcs5="' + _PKCS5 + b'"'
    )


@dataclass(frozen=True)
class Parts:
    """What a container that `build` made says. sealed: the encrypted seed."""

    serial: str
    kind: CodeKind
    moving_factor: int
    sealed: bytes


def parts(container: bytes) -> Parts:
    """Read a container of our own; its seed stays encrypted."""
    (key,) = PSKC(io.BytesIO(container)).keys
    sealed = key.__dict__["_secret"]  # the property would decrypt, which custody has to do
    assert key.serial is not None and key.response_length is not None and key.counter is not None
    kind = CodeKind(key.response_length, HmacHash(key.algorithm_suite or HmacHash.SHA1))
    return Parts(key.serial, kind, key.counter, sealed.cipher_value)


def journal_context(serial: str, container: bytes) -> bytes:
    """What a seed in the journal is bound to: its card and its container."""
    return f"{serial}|{parts(container).kind.digits}|".encode() + hashlib.sha256(container).digest()
