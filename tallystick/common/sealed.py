"""A secret in a file that a passphrase opens.

AES-256-GCM under a key that Argon2id (RFC 9106) makes of the passphrase. What stands beside it in
the clear cannot be changed unnoticed.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from argon2.exceptions import HashingError
from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tallystick.common import chance
from tallystick.common.errors import BadInputError
from tallystick.common.formats import number_of
from tallystick.common.private_files import others_may_read

COST = {"time": 3, "memory_kib": 65_536, "lanes": 4}
_TAG_SIZE = 16
# A manipulated file must not exhaust the computer.
_MOST = {"time": 64, "memory_kib": 1 << 21, "lanes": 16}


def seal(plain: bytes, passphrase: str, clear: dict[str, Any]) -> bytes:
    """What to write into the file. clear: what stands beside the secret, at least `format`. Raises
    BadInputError for an empty passphrase."""
    if not passphrase:
        raise BadInputError("An empty passphrase protects nothing.", todo="Give a longer one.")
    salt, nonce = chance.token_bytes(16), chance.token_bytes(12)
    kdf = {"name": "argon2id", **COST, "salt": _text(salt)}
    header = {**clear, "kdf": kdf, "nonce": _text(nonce)}
    sealed = AESGCM(_stretch(passphrase, kdf)).encrypt(nonce, plain, _associated(header))
    return json.dumps({**header, "sealed": _text(sealed)}, indent=2).encode() + b"\n"


def unseal(path: Path, passphrase: str, form: str, *, name: str, make: str) -> bytearray:
    """The secret in a file whose `format` is `form`, in a buffer that the caller zeroes. name: what
    such a file is called; make: the command that makes one.

    Raises BadInputError for a wrong passphrase, a damaged or changed file, or one that others may
    read; NewerStateError for a later format.
    """
    try:
        if others_may_read(path):
            raise BadInputError(
                f"Others may read the {name} {path}.", todo=f"Run `chmod 600 {path}`."
            )
        header = json.loads(path.read_bytes())
        if number_of(header["format"], form, f"The {name} {path}") is None:
            raise BadInputError(f"{path} is no {name}.", kept="It was not changed.")
        sealed, nonce = base64.b64decode(header.pop("sealed")), base64.b64decode(header["nonce"])
        kdf = header["kdf"]
        if kdf["name"] != "argon2id":
            raise ValueError
        if not all(0 < kdf[cost] <= most for cost, most in _MOST.items()):
            raise ValueError
        key = _stretch(passphrase, kdf)
    except FileNotFoundError:
        raise BadInputError(
            f"There is no {name} {path}.", todo=f"Make one with `{make}`."
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, HashingError):
        raise BadInputError(
            f"{path} is no {name}, or it is damaged.", todo="Restore it from its backup."
        ) from None
    try:
        plain = bytearray(len(sealed) - _TAG_SIZE)
        AESGCM(key).decrypt_into(nonce, sealed, _associated(header), plain)
        return plain
    except (InvalidTag, ValueError):
        raise BadInputError(
            f"The passphrase does not open {path}, or the file was changed.",
            kept="The file was not touched.",
        ) from None


def _stretch(passphrase: str, kdf: dict[str, Any]) -> bytes:
    salt = base64.b64decode(kdf["salt"])
    return hash_secret_raw(
        passphrase.encode(), salt, kdf["time"], kdf["memory_kib"], kdf["lanes"], 32, Type.ID
    )


def _associated(header: dict[str, Any]) -> bytes:
    return json.dumps(header, sort_keys=True).encode()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
