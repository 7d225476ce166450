"""The key that an RP2350's boot ROM checks signatures with: ECDSA over secp256k1 and SHA-256.

The file is a private key in PEM, as picotool takes it. The chip keeps the SHA-256 of the public
point, x ‖ y, 32 bytes each, big endian (RP2350 data sheet, 5.10.1 and 13.10: BOOTKEY0).
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tallystick.common.errors import BadInputError

# Published on purpose, as the other development keys: nothing is ever locked to it.
_DEVELOPMENT = int.from_bytes(hashlib.sha256(b"tallystick development boot key").digest(), "big")
_DIGEST = ec.ECDSA(Prehashed(hashes.SHA256()), deterministic_signing=True)


@dataclass(frozen=True)
class BootKey:
    """`public`: x ‖ y, 64 bytes. The private half shows in no repr."""

    public: bytes
    _private: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def of(cls, private: ec.EllipticCurvePrivateKey) -> BootKey:
        numbers = private.public_key().public_numbers()
        return cls(numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big"), private)

    @classmethod
    def generate(cls) -> BootKey:
        return cls.of(ec.generate_private_key(ec.SECP256K1()))

    @classmethod
    def development(cls) -> BootKey:
        return cls.of(ec.derive_private_key(_DEVELOPMENT, ec.SECP256K1()))

    @property
    def is_development(self) -> bool:
        return self.public == BootKey.development().public

    @property
    def digest(self) -> bytes:
        """What the chip keeps of it, 32 bytes."""
        return hashlib.sha256(self.public).digest()

    def sign(self, digest: bytes) -> bytes:
        """r ‖ s, 32 bytes each, big endian, of a SHA-256. Deterministic (RFC 6979)."""
        r, s = decode_dss_signature(self._private.sign(digest, _DIGEST))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def save(self, path: Path) -> None:
        """Writes it in PEM, for its owner only. Raises BadInputError when the file is there."""
        data = self._private.private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        )
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise BadInputError(
                f"The key file {path} exists already.",
                kept="It was not touched.",
                todo="Choose another name: chips that are locked to the old key start no other.",
            ) from None
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def read(path: Path) -> BootKey:
    """Raises BadInputError for a file that is no such key, or that others may read."""
    try:
        if path.stat().st_mode & 0o077:
            raise BadInputError(
                f"Others may read {path}, and whoever has it signs for every locked chip.",
                todo=f"chmod 600 {path}, if nobody has read it.",
            )
        key = load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256K1):
        raise BadInputError(
            f"{path} is no boot key: an unencrypted private key of secp256k1 in PEM.",
            kept="Nothing was signed.",
            todo="Make one: tally image keys boot FILE.",
        )
    return BootKey.of(key)


def is_signed(public: bytes, digest: bytes, signature: bytes) -> bool:
    """Whether r ‖ s is a signature over the SHA-256 by the key x ‖ y."""
    x, y = (int.from_bytes(public[at : at + 32], "big") for at in (0, 32))
    r, s = (int.from_bytes(signature[at : at + 32], "big") for at in (0, 32))
    try:
        key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256K1()).public_key()
        key.verify(encode_dss_signature(r, s), digest, ec.ECDSA(Prehashed(hashes.SHA256())))
    except (InvalidSignature, ValueError):
        return False
    return True
