"""The token behind PKCS #11 custody: where it is (RFC 7512), and what a key ceremony puts on it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote

import pkcs11
from pkcs11 import Attribute, KeyType, ObjectClass

from tallystick.common.errors import BadInputError
from tallystick.provisioning.custody.keyfile import MAX_VERSION, ServerSecrets

PKCS11_SCHEME = "pkcs11:"
AES_BITS = 128
TRANSPORT = "tally transport master"
PRE_SHARED_KEY = "tally server pre-shared key"
JOURNAL_WRAP = "tally journal wrapping key"
JOURNAL_MAC = "tally journal MAC key"
SERVER = "tally server"

_TOKEN_KEY = {
    Attribute.TOKEN: True,
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
}
_MASTER = _TOKEN_KEY | {Attribute.ENCRYPT: True, Attribute.DERIVE: True}


def firm_label(version: int) -> str:
    return f"tally firm master {version:02X}"


@dataclass(frozen=True)
class Uri:
    """`pkcs11:token=LABEL?module-path=FILE`, the part of RFC 7512 that names a token."""

    token: str
    module: str

    @classmethod
    def parse(cls, text: str) -> Uri:
        """Raises BadInputError."""
        path, _, query = text.removeprefix(PKCS11_SCHEME).partition("?")
        fields = dict(part.partition("=")[::2] for part in path.split(";") if part)
        module = parse_qs(query).get("module-path", [""])[0]
        if not text.startswith(PKCS11_SCHEME) or not fields.get("token") or not module:
            raise BadInputError(
                f"{text!r} does not name a token.",
                todo="Write it as pkcs11:token=LABEL?module-path=/usr/lib/softhsm/libsofthsm2.so.",
            )
        return cls(unquote(fields["token"]), module)


def open_session(uri: Uri, pin: str) -> Any:
    """A read-write session on the token, logged in. Raises BadInputError."""
    try:
        token = pkcs11.lib(uri.module).get_token(token_label=uri.token)
        return token.open(user_pin=pin, rw=True)
    except (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange):
        raise BadInputError(f"The PIN does not open the token {uri.token!r}.") from None
    except pkcs11.PinLocked:
        raise BadInputError(
            f"The token {uri.token!r} is locked after too many wrong PINs.",
            todo="Its security officer can unlock it.",
        ) from None
    except pkcs11.NoSuchToken:
        raise BadInputError(
            f"The module {uri.module} has no token {uri.token!r}.", todo="Initialise it first."
        ) from None
    except (pkcs11.PKCS11Error, RuntimeError, OSError) as error:
        raise BadInputError(
            f"The key module {uri.module} cannot be used ({type(error).__name__})."
        ) from None


def create_keys(uri: Uri, pin: str, factory_master: bytes) -> None:
    """Key ceremony: import the factory master, generate the rest inside. Raises BadInputError when
    there are station keys already."""
    session = open_session(uri, pin)
    with session:
        existing = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.LABEL: TRANSPORT}
        if list(session.get_objects(existing)):
            raise BadInputError(
                f"The token {uri.token!r} holds station keys already.",
                kept="They were not touched.",
            )
        _import(session, TRANSPORT, factory_master, _MASTER)
        _generate(session, firm_label(1), _MASTER)
        _generate(
            session, JOURNAL_WRAP, _TOKEN_KEY | {Attribute.WRAP: True, Attribute.UNWRAP: True}
        )
        _generate(session, JOURNAL_MAC, _TOKEN_KEY | {Attribute.SIGN: True})


def rotate(uri: Uri, pin: str) -> int:
    """Generate the next firm master inside; returns its version. Raises BadInputError."""
    session = open_session(uri, pin)
    with session:
        kind = {Attribute.CLASS: ObjectClass.SECRET_KEY}
        versions = [
            version
            for version in range(1, MAX_VERSION + 1)
            if list(session.get_objects(kind | {Attribute.LABEL: firm_label(version)}))
        ]
        if not versions or versions[-1] == MAX_VERSION:
            raise BadInputError("The token has no firm master to follow, or 7F was reached.")
        _generate(session, firm_label(versions[-1] + 1), _MASTER)
        return versions[-1] + 1


def enroll(uri: Uri, pin: str, server: ServerSecrets) -> None:
    """Put the server's credential on the token, in place of an earlier one."""
    session = open_session(uri, pin)
    with session:
        for label, kind in ((PRE_SHARED_KEY, ObjectClass.SECRET_KEY), (SERVER, ObjectClass.DATA)):
            old = {Attribute.CLASS: kind, Attribute.LABEL: label}
            for found in list(session.get_objects(old)):
                found.destroy()
        template = _TOKEN_KEY | {Attribute.ENCRYPT: True, Attribute.WRAP: True}
        _import(session, PRE_SHARED_KEY, server.pre_shared_key.reveal(), template)
        value = {"url": server.url, "id": server.id, "token": server.token.reveal().decode()}
        session.create_object(
            {
                Attribute.CLASS: ObjectClass.DATA,
                Attribute.LABEL: SERVER,
                Attribute.TOKEN: True,
                Attribute.PRIVATE: True,
                Attribute.VALUE: json.dumps(value).encode(),
            }
        )


def read_data(session: Any, label: str) -> bytes | None:
    """The value of a private data object."""
    wanted = {Attribute.CLASS: ObjectClass.DATA, Attribute.LABEL: label}
    for found in session.get_objects(wanted):
        value: bytes = found[Attribute.VALUE]
        return value
    return None


def _import(session: Any, label: str, value: bytes, template: dict[Attribute, Any]) -> None:
    session.create_object(
        template
        | {
            Attribute.CLASS: ObjectClass.SECRET_KEY,
            Attribute.KEY_TYPE: KeyType.AES,
            Attribute.LABEL: label,
            Attribute.VALUE: value,
        }
    )


def _generate(session: Any, label: str, template: dict[Attribute, Any]) -> None:
    session.generate_key(KeyType.AES, AES_BITS, label=label, store=True, template=template)
