"""The server's own keys: they encrypt what the database holds, and live outside it.

The key file is JSON, mode 0600, made at the first start. Encryption keys have ids, so that a new
one can be made while values under the old one are still read. The fingerprint and audit keys do
not rotate: their values are compared across years.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tallystick.common import chance
from tallystick.common.errors import BadInputError, TallyError
from tallystick.common.formats import number_of
from tallystick.common.process import shut_in
from tallystick.common.secret import Secret
from tallystick.server.store.synced import sync

FORMAT = "tallystick-server-keys/1"
KEY_SIZE = 32
NONCE_SIZE = 12
BLOCK_SIZE = {"sha1": 64, "sha256": 64, "sha512": 128}


class KeyFileError(BadInputError):
    """The key file is missing, unreadable, or open to others."""


class BoxError(TallyError):
    """An encrypted value does not open: wrong key, moved to another row, or damaged."""


@dataclass(frozen=True)
class Box:
    """An AES-256-GCM ciphertext: nonce (12) ‖ ciphertext ‖ tag (16), under the key `key_id`."""

    key_id: str
    blob: bytes


class ServerKeyRing:
    """Encrypts, decrypts and fingerprints. Holds key objects; shows none of them.

    With a path, the file is read again when it has changed, so that a running server follows a
    rotation without being told. Thread-safe: an encryption key is never taken away in use.
    """

    def __init__(
        self,
        active: str,
        encryption: Mapping[str, Secret],
        fingerprint: Secret,
        audit: Secret,
        path: Path | None = None,
    ) -> None:
        if active not in encryption:
            raise KeyFileError("The key file names an active key that it does not hold.")
        self.active = active
        self._ciphers = {key_id: AESGCM(key.reveal()) for key_id, key in encryption.items()}
        self._fingerprint = fingerprint
        self._audit = audit
        self._path = path
        self._seen_ns = path.stat().st_mtime_ns if path is not None else 0

    @property
    def key_ids(self) -> tuple[str, ...]:
        return tuple(self._ciphers)

    def _follow(self) -> None:
        """Read the file again if it was replaced."""
        if self._path is None:
            return
        try:
            changed_ns = self._path.stat().st_mtime_ns
            if changed_ns == self._seen_ns:
                return
            fresh = load(self._path)
        except (OSError, KeyFileError):
            return  # being replaced, or lost: what is in memory goes on working
        self._ciphers = {**self._ciphers, **fresh._ciphers}
        self.active = fresh.active
        self._seen_ns = changed_ns

    def __repr__(self) -> str:
        return f"KeyRing(active={self.active!r}, keys={len(self._ciphers)})"

    def encrypt(self, plaintext: bytes, bound_to: str) -> Box:
        """Encrypt under the active key. `bound_to` names the row; it is authenticated, so that a
        ciphertext copied to another row does not open."""
        self._follow()
        nonce = chance.token_bytes(NONCE_SIZE)
        sealed = self._ciphers[self.active].encrypt(nonce, plaintext, bound_to.encode())
        return Box(self.active, nonce + sealed)

    def decrypt(self, box: Box, bound_to: str) -> bytes:
        """Raises BoxError when the key is unknown or the value is not authentic."""
        if box.key_id not in self._ciphers:
            self._follow()
        cipher = self._ciphers.get(box.key_id)
        if cipher is None:
            raise BoxError(
                f"A stored value needs key {box.key_id!r}, which the key file lacks.",
                kept="Nothing was changed.",
                todo="Start the server with the key file that belongs to this database.",
            )
        try:
            return cipher.decrypt(box.blob[:NONCE_SIZE], box.blob[NONCE_SIZE:], bound_to.encode())
        except InvalidTag:
            raise BoxError(
                "A stored value is not authentic under the server's key.",
                kept="Nothing was changed.",
                todo="Check that key file and database belong together; else restore a backup.",
            ) from None

    def fingerprint(self, seed: bytes, algorithm: str = "sha1") -> bytes:
        """32 bytes that are equal for seeds that make the same codes, and say nothing without the
        key. algorithm: of the codes (sha1, sha256, sha512)."""
        return self._print(_as_hmac_sees(seed, algorithm))

    def fingerprints_as_given(self, seed: bytes, algorithm: str = "sha1") -> list[bytes]:
        """What older versions may have made of a seed that makes the same codes: they took it with
        the zeros at its end."""
        short = _as_hmac_sees(seed, algorithm)
        most = BLOCK_SIZE[algorithm] - len(short)
        return [self._print(short + bytes(zeros)) for zeros in range(1, most + 1)]

    def _print(self, seed: bytes) -> bytes:
        return hmac.digest(self._fingerprint.reveal(), seed, hashlib.sha256)

    def tag(self, purpose: str, data: bytes) -> bytes:
        """32 bytes that only this server can make for this purpose and data (HMAC-SHA-256 under a
        key that is derived for the purpose)."""
        key = hmac.digest(self._fingerprint.reveal(), b"tag|" + purpose.encode(), hashlib.sha256)
        return hmac.digest(key, data, hashlib.sha256)

    def audit_mac(self, previous: bytes, entry: bytes) -> bytes:
        """The link of the audit chain: HMAC-SHA-256 over the previous link and the entry."""
        return hmac.digest(self._audit.reveal(), previous + entry, hashlib.sha256)


def _as_hmac_sees(seed: bytes, algorithm: str) -> bytes:
    """A key longer than a block is hashed, a shorter one is filled up with zeros (RFC 2104, 2): so
    K and K with a zero after it are one key. → the shortest of those that are the same"""
    if len(seed) > BLOCK_SIZE[algorithm]:
        seed = hashlib.new(algorithm, seed).digest()
    return seed.rstrip(b"\0")


def load_or_create(path: Path) -> ServerKeyRing:
    """Read the key file, or make it (0600, synced) when there is none.

    Raises KeyFileError when it is damaged or others may read it.
    """
    if not path.exists():
        _create(path)
    return load(path)


def load(path: Path) -> ServerKeyRing:
    """Read the key file. From here on the process is shut in. Raises KeyFileError."""
    shut_in()
    return _parse(_read_private(path), path)


def add_encryption_key(path: Path) -> str:
    """Add a new encryption key and make it the active one; older ones stay readable. → its id."""
    document = _document(path)
    number = 1 + max(int(key_id.removeprefix("k")) for key_id in document["encryption"])
    key_id = f"k{number}"
    document["encryption"][key_id] = _new_key()
    document["active"] = key_id
    _replace(path, document)
    return key_id


def remove_encryption_key(path: Path, key_id: str) -> None:
    """Forget a key that nothing is encrypted under any more (the caller has made sure).
    Raises KeyFileError."""
    document = _document(path)
    if key_id == document["active"]:
        raise KeyFileError(f"Key {key_id!r} is the active one.", kept="It stays.")
    document["encryption"].pop(key_id, None)
    _replace(path, document)


def _new_key() -> str:
    return base64.b64encode(chance.token_bytes(KEY_SIZE)).decode()


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    document = {
        "format": FORMAT,
        "active": "k1",
        "encryption": {"k1": _new_key()},
        "fingerprint": _new_key(),
        "audit": _new_key(),
    }
    draft = _write_draft(path, document)
    try:
        # link() fails when another worker was first; then its keys are the ones to use.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    sync(path.parent)


def _replace(path: Path, document: Mapping[str, Any]) -> None:
    draft = _write_draft(path, document)
    draft.replace(path)
    sync(path.parent)


def _write_draft(path: Path, document: Mapping[str, Any]) -> Path:
    """Raises KeyFileError: nothing of it is left then."""
    draft = path.with_name(f".{path.name}.{chance.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise KeyFileError(
            f"The key file {path} cannot be written: {error.strerror}.",
            kept="No key was made, and no key file was changed.",
            todo="See whether there is room in its folder, and who may write there.",
        ) from None
    return draft


def _read_private(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if stat.S_IMODE(mode) & 0o077:
                raise KeyFileError(
                    f"The key file {path} may be read by others (mode {stat.S_IMODE(mode):o}).",
                    kept="The server did not start.",
                    todo=f"Run: chmod 600 {path}, and think about who may have read it.",
                )
            return file.read()
    except OSError as error:
        raise KeyFileError(
            f"The key file {path} cannot be read: {error.strerror}.",
            kept="The server did not start.",
            todo="Name the key file that belongs to this database with --key-file.",
        ) from None


def _parse(text: str | bytes, path: Path | None = None) -> ServerKeyRing:
    try:
        document = json.loads(text)
        if number_of(document["format"], FORMAT, "The server's key file") is None:
            raise ValueError
        encryption = {key_id: _decode(value) for key_id, value in document["encryption"].items()}
        fingerprint, audit = _decode(document["fingerprint"]), _decode(document["audit"])
        active = str(document["active"])
        if active not in encryption:
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise KeyFileError(
            "The key file is damaged, or is none.",
            kept="Nothing was changed.",
            todo="Restore it from your backup: without it, no stored seed can be read.",
        ) from None
    return ServerKeyRing(active, encryption, fingerprint, audit, path)


def _document(path: Path) -> dict[str, Any]:
    """A good key file's contents. Raises KeyFileError."""
    text = _read_private(path)
    _parse(text)
    document: dict[str, Any] = json.loads(text)
    return document


def _decode(value: str) -> Secret:
    raw = base64.b64decode(value, validate=True)
    if len(raw) != KEY_SIZE:
        raise ValueError
    return Secret(raw)
