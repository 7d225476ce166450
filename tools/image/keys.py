"""Signing keys of images: Ed25519 (RFC 8032), in a file that a passphrase opens.

The private key is sealed (`common/sealed.py`). The public half lies beside it in the clear; it goes
into every image built with it.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tallystick.common.errors import BadInputError
from tallystick.common.process import shut_in
from tallystick.common.sealed import seal, unseal
from tallystick.common.secret import Secret

_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
_FORMAT = "tallystick signing key 1"

# Published on purpose: what it signs is for emulated devices and for boards on a desk. `verify`,
# `flash` and `update` take it only with an explicit option.
_DEVELOPMENT = b"tallystick development signing 1"


@dataclass(frozen=True)
class SigningKey:
    """`public` is 32 bytes. The private half shows in no repr."""

    public: bytes
    _private: Secret

    @classmethod
    def of(cls, private: bytes) -> SigningKey:
        """The key of 32 private bytes."""
        return cls(public_key(private), Secret(private))

    @classmethod
    def generate(cls) -> SigningKey:
        return cls.of(secrets.token_bytes(32))

    @classmethod
    def development(cls) -> SigningKey:
        return cls.of(_DEVELOPMENT)

    @property
    def is_development(self) -> bool:
        return self.public == DEVELOPMENT_PUBLIC

    def sign(self, message: bytes) -> bytes:
        """64 bytes. Deterministic: the same message gives the same signature."""
        return Ed25519PrivateKey.from_private_bytes(self._private.reveal()).sign(message)

    def save(self, path: Path, passphrase: str) -> None:
        """Writes the key file, readable by its owner only. Raises BadInputError when it exists."""
        clear = {"format": _FORMAT, "public": self.public.hex()}
        content = seal(self._private.reveal(), passphrase, clear)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise BadInputError(
                f"The key file {path} exists already.",
                kept="It was not touched.",
                todo="Choose another name: devices in the field trust the old key.",
            ) from None
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def load(path: Path, passphrase: str) -> SigningKey:
    """Opens a key file. Raises BadInputError for a wrong passphrase, a damaged or changed file, or
    one that others may read."""
    shut_in()
    private = unseal(
        path, passphrase, _FORMAT, name="signing key file", make="tally image keys create FILE"
    )
    try:
        return SigningKey.of(bytes(private))
    finally:
        private[:] = bytes(len(private))


def public_key(private: bytes) -> bytes:
    key = Ed25519PrivateKey.from_private_bytes(private).public_key()
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def is_signed(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` over `message` was made with the private half of `public`."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def point_x(public: bytes) -> int:
    """The x coordinate of a public key's point (RFC 8032, section 5.1.3). Raises BadInputError for
    bytes that no point has, or one of the few points that would accept anything."""
    y = int.from_bytes(public, "little") & ((1 << 255) - 1)
    u, v = y * y - 1, _D * y * y + 1
    x = u * pow(v, 3, _P) * pow(u * pow(v, 7, _P), (_P - 5) // 8, _P) % _P
    if (v * x * x - u) % _P:
        x = x * pow(2, (_P - 1) // 4, _P) % _P
    if len(public) != 32 or y >= _P or (v * x * x - u) % _P or _is_small(x, y):
        raise BadInputError(
            "This is no public key of Ed25519.", todo="Make one: tally image keys create."
        )
    return _P - x if x & 1 != public[31] >> 7 else x


def _is_small(x: int, y: int) -> bool:
    """Whether eight times the point is the neutral one."""
    for _ in range(3):
        t = _D * x * x * y * y % _P
        x, y = (
            2 * x * y * pow(1 + t, -1, _P) % _P,
            (y * y + x * x) * pow(1 - t, -1, _P) % _P,
        )
    return x == 0 and y == 1


def read_public(text: str) -> bytes:
    """A public key from 64 hex digits, from a key file of that name, or from a file that has what
    `tally image keys show` printed. Raises BadInputError."""
    path = Path(text)
    try:
        value = bytes.fromhex(_digits(path.read_text(encoding="utf-8")) if path.is_file() else text)
    except (ValueError, KeyError, TypeError):
        value = b""
    if len(value) != 32:
        raise BadInputError(
            f"{text} is neither a public key (64 hex digits) nor a file that has one.",
            todo="`tally image keys show FILE` prints it.",
        )
    return value


def _digits(content: str) -> str:
    """The public half in a key file, in what `keys show` printed (words or JSON), or by itself."""
    if content.lstrip().startswith("{"):
        clear = json.loads(content)
        return str(clear.get("public") or clear["public_key"])
    return content.rsplit(maxsplit=1)[-1] if content.strip() else ""


DEVELOPMENT_PUBLIC = SigningKey.development().public
