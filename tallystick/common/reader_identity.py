"""The per-reader segment: serial number, model (AAGUID), and the batch's attestation key and
certificate.

Layout: `TSRD` 01 ‖ serial number, 10 ASCII characters ‖ AAGUID (16) ‖ P-256 private key (32) ‖
length of the certificate (2, little endian) ‖ certificate (DER) ‖ CRC-32 (4, little endian).
`firmware/reader/identity.py` reads it. With 02 in place of 01 the key is in rows of the chip that
are burnt once, and zeros stand here.

All readers of a batch share key and certificate (at least 100,000 readers, so that none can be told
from another by its attestation; WebAuthn 14.4.1).
"""

from __future__ import annotations

import binascii
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tallystick.common.errors import BadInputError
from tallystick.common.identity import check_serial
from tallystick.common.secret import Secret

MAGIC = b"TSRD\x01"
MAGIC_BURNT = b"TSRD\x02"
AAGUID = uuid.UUID("7a1157ec-0001-4c4b-9d5f-5449434b2001")  # the model's, for every reader of it
MAX_CERTIFICATE = 1024
_HEAD = 65  # bytes before the certificate
AAGUID_EXTENSION = x509.ObjectIdentifier("1.3.6.1.4.1.45724.1.1.4")  # id-fido-gen-ce-aaguid

# Published on purpose: an attestation with this key proves nothing, and its certificate says so.
_DEVELOPMENT_ROOT = 0x5441_4C4C_5953_5449_434B_2D44_4556_2D52_4F4F_54
_DEVELOPMENT_BATCH = 0x5441_4C4C_5953_5449_434B_2D44_4556_2D42_4154_4348
_FROM, _UNTIL = datetime(2026, 1, 1, tzinfo=UTC), datetime(2056, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class ReaderIdentity:
    """`certificate` is DER. The private key does not show in a repr. burnt: it is in the chip, and
    here are zeros."""

    serial: str
    certificate: bytes
    key: Secret = field(repr=False)
    aaguid: uuid.UUID = AAGUID
    burnt: bool = False

    @classmethod
    def development(cls, serial: str) -> ReaderIdentity:
        """With the published development batch."""
        root, batch = _key(_DEVELOPMENT_ROOT), _key(_DEVELOPMENT_BATCH)
        certificate = issue(root, "Tallystick DEVELOPMENT root", batch, AAGUID, "DEVELOPMENT")
        return cls(
            check_serial(serial),
            certificate.public_bytes(Encoding.DER),
            Secret(_DEVELOPMENT_BATCH.to_bytes(32, "big")),
        )

    @property
    def is_development(self) -> bool:
        """Whether anybody has its key, whoever issued the certificate; that tells it of a key which
        is burnt."""
        if self.key.reveal() == _DEVELOPMENT_BATCH.to_bytes(32, "big"):
            return True
        try:
            public = x509.load_der_x509_certificate(self.certificate).public_key()
        except (ValueError, UnsupportedAlgorithm):
            return False
        return public == _key(_DEVELOPMENT_BATCH).public_key()

    @classmethod
    def decode(cls, segment: bytes) -> ReaderIdentity:
        """Raises BadInputError when `segment` is not what `encode` makes."""
        size = int.from_bytes(segment[_HEAD - 2 : _HEAD], "little")
        end = _HEAD + size
        if (
            not segment.startswith((MAGIC, MAGIC_BURNT))
            or not 0 < size <= MAX_CERTIFICATE
            or len(segment) != end + 4
            or binascii.crc32(segment[:end]) != int.from_bytes(segment[end:], "little")
        ):
            raise BadInputError(
                "This is not a reader's segment.",
                kept="Nothing was changed.",
                todo="Make one with tally image readers.",
            )
        return cls(
            check_serial(segment[5:15].decode("ascii", "replace")),
            segment[_HEAD:end],
            Secret(segment[31:63]),
            uuid.UUID(bytes=segment[15:31]),
            segment.startswith(MAGIC_BURNT),
        )

    def check(self) -> None:
        """Raises BadInputError when certificate, key and model do not belong together: nobody would
        believe what such a reader attests."""
        fault = self._fault()
        if fault:
            raise BadInputError(
                f"This segment is no reader's identity: {fault}.",
                kept="Nothing was changed.",
                todo="Make one with tally image readers.",
            )

    def _fault(self) -> str:
        try:
            certificate = x509.load_der_x509_certificate(self.certificate)
            public, extensions = certificate.public_key(), certificate.extensions
        except (ValueError, UnsupportedAlgorithm):
            return "its certificate cannot be read"
        if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name != "secp256r1":
            return "its certificate is for no key of P-256"
        if not self.burnt and not self._has_key_of(public):
            return "its key is not the certificate's"
        return "" if self._is_model_of(extensions) else "its certificate is for another model"

    def _has_key_of(self, public: ec.EllipticCurvePublicKey) -> bool:
        try:
            return _key(int.from_bytes(self.key.reveal(), "big")).public_key() == public
        except ValueError:
            return False  # 0, or more than the curve has

    def _is_model_of(self, extensions: x509.Extensions) -> bool:
        """As far as they say: a certificate need not name a model (WebAuthn 8.2.1)."""
        try:
            model = extensions.get_extension_for_oid(AAGUID_EXTENSION).value
        except x509.ExtensionNotFound:
            return True
        return model.public_bytes() == b"\x04\x10" + self.aaguid.bytes

    def encode(self) -> bytes:
        """The segment. Raises BadInputError for a certificate that is too long for the reader."""
        if len(self.certificate) > MAX_CERTIFICATE:
            raise BadInputError(
                f"The certificate has {len(self.certificate)} bytes; a reader has room for "
                f"{MAX_CERTIFICATE}.",
                todo="Issue one with a shorter subject or fewer extensions.",
            )
        magic, key = MAGIC, self.key.reveal()
        if self.burnt:
            magic, key = MAGIC_BURNT, bytes(len(key))
        body = magic + check_serial(self.serial).encode() + self.aaguid.bytes + key
        body += len(self.certificate).to_bytes(2, "little") + self.certificate
        return body + binascii.crc32(body).to_bytes(4, "little")


def segment_size(content: bytes) -> int:
    """Bytes of the segment at the start of what a board holds, as it says itself."""
    return _HEAD + int.from_bytes(content[_HEAD - 2 : _HEAD], "little") + 4


def _key(number: int) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(number, ec.SECP256R1())


def development_root() -> x509.Certificate:
    """The published root under which the development batch is issued, self-signed."""
    root = _key(_DEVELOPMENT_ROOT)
    name = _name("Tallystick DEVELOPMENT root", "Authenticator Attestation Root")
    builder = _builder(name, name, root.public_key()).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    return builder.sign(root, hashes.SHA256(), ecdsa_deterministic=True)


def _name(common_name: str, unit: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tallystick"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _builder(
    issuer: x509.Name, subject: x509.Name, public: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(public)
        .serial_number(1)
        .not_valid_before(_FROM)
        .not_valid_after(_UNTIL)
    )


def issue(
    root: ec.EllipticCurvePrivateKey,
    root_name: str,
    batch: ec.EllipticCurvePrivateKey,
    aaguid: uuid.UUID,
    batch_name: str,
) -> x509.Certificate:
    """A batch's attestation certificate (WebAuthn 8.2.1), the same bytes for the same keys."""
    return (
        _builder(
            _name(root_name, "Authenticator Attestation Root"),
            _name(f"Tallystick reader {batch_name}", "Authenticator Attestation"),
            batch.public_key(),
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.UnrecognizedExtension(AAGUID_EXTENSION, b"\x04\x10" + aaguid.bytes), critical=False
        )
        .sign(root, hashes.SHA256(), ecdsa_deterministic=True)
    )
