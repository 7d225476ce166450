"""Custody for a registry that is not our server: containers are closed under a key of the
registry's own, so that no server has to be enrolled with. Masters, card keys and seeds stay the
station's."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import padding

from tallystick.common import chance
from tallystick.common.errors import BadInputError
from tallystick.common.formats import number_of
from tallystick.common.passphrase import check_new
from tallystick.common.secret import Secret
from tallystick.provisioning.card.issuer import WrappedKey
from tallystick.provisioning.card.keys import ChannelKeys
from tallystick.provisioning.card.scp03 import BLOCK, InitializeUpdate
from tallystick.provisioning.credential import CodeKind
from tallystick.provisioning.custody.derivation import aes_cbc, aes_cbc_decrypt
from tallystick.provisioning.custody.interface import KeyDescription, ServerCredential
from tallystick.provisioning.custody.software import SoftwareCustody, SoftwareSeed
from tallystick.provisioning.durable import write_durably

_FOLDER_KEY = "container-key.json"
KEY_SIZE = 16
ITERATIONS = 1_300_000  # of PBKDF2-HMAC-SHA-1, as OWASP has it; no importer is sure to take SHA-2
FOLDER_FORMAT = "tallystick container key 1"
JOURNAL_FORMAT = "tallystick registry key 1"
_CONTEXT = b"tallystick registry key|"


@dataclass(frozen=True)
class Derivation:
    """How the key of a folder's containers comes of its passphrase: PBKDF2 (RFC 8018, 5.2) as RFC
    6030, 6.2 writes it. salt: bytes."""

    salt: bytes
    iterations: int = ITERATIONS

    def key(self, passphrase: str) -> Secret:
        raw = passphrase.encode()
        return Secret(hashlib.pbkdf2_hmac("sha1", raw, self.salt, self.iterations, KEY_SIZE))


def has_key(folder: Path) -> bool:
    """Whether a folder of containers has its passphrase already."""
    return (folder / _FOLDER_KEY).exists()


def folder_key(folder: Path, passphrase: str) -> tuple[Secret, Derivation]:
    """The key of a folder's containers, by its passphrase; a new folder takes the one given.

    Raises BadInputError for a short passphrase of a new folder, for one that is not the folder's,
    and NewerStateError.
    """
    path = folder / _FOLDER_KEY
    if not has_key(folder):
        check_new(passphrase, "seeds")
        derivation = Derivation(chance.token_bytes(16))
        key = derivation.key(passphrase)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        value = {
            "format": FOLDER_FORMAT,
            "derivation": "PBKDF2-HMAC-SHA-1 (RFC 8018), 16 bytes",
            "salt": base64.b64encode(derivation.salt).decode(),
            "iterations": derivation.iterations,
            "check": _check(key),
        }
        write_durably(path, json.dumps(value, indent=2).encode())
        return key, derivation
    try:
        value = json.loads(path.read_bytes())
        if number_of(value["format"], FOLDER_FORMAT, f"The key file {path}") is None:
            raise ValueError
        derivation = Derivation(base64.b64decode(value["salt"]), int(value["iterations"]))
        check = str(value["check"])
    except (OSError, ValueError, KeyError, TypeError):
        raise BadInputError(
            f"{path} does not say how this folder's key is made.",
            kept="It was not touched.",
            todo="Restore it, or take a new folder.",
        ) from None
    key = derivation.key(passphrase)
    if not hmac.compare_digest(_check(key), check):
        raise BadInputError(
            f"That is not the passphrase of the containers in {folder}.",
            kept="Nothing was written.",
            todo="Give the one that the folder was begun with, or take a new folder.",
        )
    return key, derivation


def journal_key(path: Path, custody: SoftwareCustody) -> Secret:
    """The key of containers that only this station's journal keeps, until their card is finished:
    made once, sealed under the station's keys. path: of the file it is in.

    Raises BadInputError where it was sealed by other keys.
    """
    context = _CONTEXT + path.name.encode()
    if path.exists():
        try:
            value = json.loads(path.read_bytes())
            if number_of(value["format"], JOURNAL_FORMAT, f"The key file {path}") is None:
                raise ValueError
            sealed = base64.b64decode(value["sealed"])
        except (OSError, ValueError, KeyError, TypeError):
            raise BadInputError(
                f"{path} holds no key of a registry.",
                kept="It was not touched.",
                todo="Restore it; cards that stopped half-way need it.",
            ) from None
        return Secret(custody.reopen_seed(sealed, context).reveal())
    key = Secret.random(KEY_SIZE)
    text = base64.b64encode(custody.seal(key.reveal(), context)).decode()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_durably(path, json.dumps({"format": JOURNAL_FORMAT, "sealed": text}).encode())
    return key


def _check(key: Secret) -> str:
    return hmac.new(key.reveal(), b"tallystick container key check", "sha256").hexdigest()[:16]


class OwnKeySeed(SoftwareSeed):
    """A seed that goes into a container under the registry's key."""

    def __init__(self, seed: SoftwareSeed, custody: OwnKeyCustody) -> None:
        self._seed = seed
        self._own = custody

    def reveal(self) -> bytes:
        return self._seed.reveal()

    def codes(self, first: int, count: int, kind: CodeKind) -> list[str]:
        return self._seed.codes(first, count, kind)

    def for_server(self) -> bytes:
        return self._own.encrypt_for_server(self.reveal())

    def for_journal(self, context: bytes) -> bytes:
        return self._seed.for_journal(context)

    def wipe(self) -> None:
        self._seed.wipe()


class OwnKeyCustody:
    """Implements custody.interface.Custody. name: what the key is called in containers."""

    exports_seeds = True
    reopens_seeds = True

    def __init__(self, custody: SoftwareCustody, key: Secret, name: str) -> None:
        self._custody = custody
        self._key = key
        self._name = name

    @property
    def firm_version(self) -> int:
        return self._custody.firm_version

    def describe(self) -> list[KeyDescription]:
        return self._custody.describe()

    def channel_keys(self, update: InitializeUpdate, context: bytes) -> ChannelKeys:
        return self._custody.channel_keys(update, context)

    def firm_keys(
        self, card_version: int, diversification_data: bytes
    ) -> tuple[WrappedKey, WrappedKey, WrappedKey]:
        return self._custody.firm_keys(card_version, diversification_data)

    def transport_keys(self, serial: str) -> Secret:
        return self._custody.transport_keys(serial)

    def new_seed(self, serial: str, card_entropy: bytes) -> OwnKeySeed:
        return OwnKeySeed(self._custody.new_seed(serial, card_entropy), self)

    def reopen_seed(self, sealed: bytes, context: bytes) -> OwnKeySeed:
        return OwnKeySeed(self._custody.reopen_seed(sealed, context), self)

    def server(self) -> ServerCredential:
        """No server: only the key's name."""
        return ServerCredential("", self._name, Secret(b""))

    def encrypt_for_server(self, plaintext: bytes) -> bytes:
        padder = padding.PKCS7(8 * BLOCK).padder()
        iv = chance.token_bytes(BLOCK)
        padded = padder.update(plaintext) + padder.finalize()
        return iv + aes_cbc(self._key.reveal(), iv, padded)

    def open_for_export(self, sealed: bytes) -> Secret:
        unpadder = padding.PKCS7(8 * BLOCK).unpadder()
        padded = aes_cbc_decrypt(self._key.reveal(), sealed[:BLOCK], sealed[BLOCK:])
        return Secret(unpadder.update(padded) + unpadder.finalize())

    def rest(self) -> None:
        self._custody.rest()

    def close(self) -> None:
        self._key.wipe()
