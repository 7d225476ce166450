"""Statements that somebody signs and anybody checks: JSON Web Signatures (RFC 7515) with Ed25519
(RFC 8037), compact for one signature, general JSON for several."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tallystick.common import base64url
from tallystick.common.errors import BadInputError

if TYPE_CHECKING:  # an extra, which only those have who sign or check
    from joserfc.jwk import OKPKey

_ALGORITHM = "Ed25519"  # RFC 9864
KEY_SIZE = 32


def public_of(private: bytes) -> bytes:
    """32 bytes, of 32 private ones."""
    key = Ed25519PrivateKey.from_private_bytes(private).public_key()
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def key_id(public: bytes) -> str:
    """By which a signature names its key: 16 hex digits of its SHA-256."""
    return hashlib.sha256(public).hexdigest()[:16]


def to_jwk(public: bytes) -> dict[str, str]:
    """The public key as JSON (RFC 8037)."""
    return {"kty": "OKP", "crv": "Ed25519", "x": base64url.encode(public)}


def from_jwk(value: Any) -> bytes:
    """The 32 bytes of a public key. Raises BadInputError."""
    try:
        public = base64url.decode(value["x"])
        if value["crv"] != "Ed25519" or len(public) != KEY_SIZE:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise BadInputError("That is no public key of Ed25519 (a JSON Web Key).") from None
    return public


def compact(kind: str, statement: Mapping[str, Any], private: bytes) -> str:
    """header.payload.signature. kind: `typ` of the header."""
    from joserfc import jws  # noqa: PLC0415

    header = {"alg": _ALGORITHM, "typ": kind, "kid": key_id(public_of(private))}
    return jws.serialize_compact(header, _payload(statement), _private(private), [_ALGORITHM])


def read_compact(kind: str, text: str, publics: Mapping[str, bytes]) -> dict[str, Any]:
    """What was signed, by one of the keys. publics: by key id. Raises BadInputError."""
    from joserfc import jws  # noqa: PLC0415
    from joserfc.errors import JoseError  # noqa: PLC0415

    try:
        header = jws.extract_compact(text.strip().encode()).headers()
        public = publics[str(header.get("kid"))]
        found = jws.deserialize_compact(text.strip(), _public(public), [_ALGORITHM])
        if header.get("typ") != kind:
            raise KeyError
        value = json.loads(found.payload)
    except KeyError:
        raise _unsigned(kind, "by a key that is known here") from None
    except (JoseError, ValueError, TypeError):
        raise _unsigned(kind, "as it stands: it was changed, or is none") from None
    if not isinstance(value, dict):
        raise _unsigned(kind, "as it stands")
    return value


def begin(kind: str, statement: Mapping[str, Any]) -> dict[str, Any]:
    """A statement that nobody has signed yet, for `add_signature`."""
    return {"typ": kind, "statement": dict(statement), "signatures": []}


def add_signature(document: dict[str, Any], private: bytes) -> dict[str, Any]:
    """The document with one more signature. A key signs once. Raises BadInputError."""
    kid = key_id(public_of(private))
    if any(one.get("kid") == kid for one in document["signatures"]):
        raise BadInputError("That key has signed it already.", kept="It was not changed.")
    signature = compact(document["typ"], document["statement"], private)
    others = [*document["signatures"], {"kid": kid, "jws": signature}]
    return {**document, "signatures": others}


def signers(
    kind: str, document: Any, publics: Mapping[str, bytes]
) -> tuple[dict[str, Any], set[str]]:
    """The statement, and the ids of the keys that signed exactly it. Raises BadInputError when the
    document is none, or one of its signatures is wrong."""
    try:
        statement = document["statement"]
        texts = {str(one["kid"]): str(one["jws"]) for one in document["signatures"]}
        whole = document["typ"] == kind and isinstance(statement, dict)
    except (TypeError, KeyError, AttributeError):
        whole = False
    if not whole:
        raise _unsigned(kind, "as it stands")
    for kid, text in texts.items():
        known = {kid: publics[kid]} if kid in publics else {}
        if read_compact(kind, text, known) != statement:
            raise _unsigned(kind, "as it stands: a signature is of another one")
    return statement, set(texts)


def _payload(statement: Mapping[str, Any]) -> bytes:
    return json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()


def _private(private: bytes) -> OKPKey:
    from joserfc.jwk import OKPKey  # noqa: PLC0415

    return OKPKey.import_key({**to_jwk(public_of(private)), "d": base64url.encode(private)})


def _public(public: bytes) -> OKPKey:
    from joserfc.jwk import OKPKey  # noqa: PLC0415

    return OKPKey.import_key({**to_jwk(public)})


def _unsigned(kind: str, why: str) -> BadInputError:
    return BadInputError(f"This {kind} is not signed {why}.", todo="Ask whoever gave it to you.")
