"""The token behind PKCS #11 custody: where it is (RFC 7512), and what a key ceremony puts on it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass

from tallystick.common.errors import BadInputError
from tallystick.provisioning.custody.keyfile import MAX_VERSION, ServerSecrets
from tallystick.provisioning.custody.pkcs11_bounds import (
    MASTER_BOUNDS,
    NO_RIGHTS,
    SERVER_BOUNDS,
    make_bounded,
    mapper,
)

PKCS11_SCHEME = "pkcs11:"
AES_BITS = 128
TRANSPORT = "tally transport master"
PRE_SHARED_KEY = "tally server pre-shared key"
SERVER = "tally server"
TRIED = "tally restore tried"
_OURS = "tally "  # what every label of a station's objects begins with
_BLOCK = 16
_PROBES = bytes(_BLOCK), b"\x01" * _BLOCK  # what constants of a master are encryptions of

_TOKEN_KEY = {
    **NO_RIGHTS,
    Attribute.TOKEN: True,
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
    Attribute.MODIFIABLE: False,  # which SoftHSM does not take for a key that is derived
}
_MASTER = _TOKEN_KEY | {Attribute.DERIVE: True}
_READABLE = {
    Attribute.TOKEN: False,
    Attribute.SENSITIVE: False,
    Attribute.EXTRACTABLE: True,
}


def firm_label(version: int) -> str:
    return f"tally firm master {version:02X}"


@dataclass(frozen=True)
class Constants:
    """What is known of a master since its ceremony, so that nobody needs to encrypt with it: the
    encryption of sixteen 00 bytes (of which a CMAC takes its subkey, RFC 4493 section 2.3), and of
    sixteen 01 bytes (of which the check value is the first three)."""

    zeros: bytes
    ones: bytes

    @property
    def check_value(self) -> bytes:
        return self.ones[:3]


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


def find_token(uri: Uri) -> Any:
    """Raises BadInputError."""
    with _spoken(uri):
        return pkcs11.lib(uri.module).get_token(token_label=uri.token)


def open_session(uri: Uri, pin: str) -> Any:
    """A read-write session on the token, logged in. Raises BadInputError."""
    token = find_token(uri)
    with _spoken(uri):
        return token.open(user_pin=pin, rw=True, attribute_mapper=mapper())


@contextmanager
def _spoken(uri: Uri) -> Iterator[None]:
    """The module's errors, in words."""
    try:
        yield
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
        _write_data(session, TRIED, b"[]")  # first: whoever is killed after it has tried nothing
        _import(session, TRANSPORT, factory_master, _MASTER, MASTER_BOUNDS)
        _generate_master(session, firm_label(1))
        for label in (TRANSPORT, firm_label(1)):
            _note_constants(session, label)


def rotate(uri: Uri, pin: str) -> int:
    """Generate the next firm master inside; returns its version. Raises BadInputError."""
    session = open_session(uri, pin)
    with session:
        versions = _versions(session)
        if not versions or versions[-1] == MAX_VERSION:
            raise BadInputError("The token has no firm master to follow, or 7F was reached.")
        if read_tried(session) is None:
            _write_tried(session, versions)
        label = firm_label(versions[-1] + 1)
        _generate_master(session, label)
        _note_constants(session, label)
        return versions[-1] + 1


def note_tried(uri: Uri, pin: str) -> None:
    """A copy of all masters was tried. Raises BadInputError."""
    session = open_session(uri, pin)
    with session:
        _write_tried(session, _versions(session))


def read_tried(session: Any) -> frozenset[int] | None:
    """Versions whose copy was tried; None: the ceremony was before that was noted."""
    notes = [frozenset(json.loads(found[Attribute.VALUE])) for found in _notes_of_trials(session)]
    # Two: whoever wrote the second was killed. What both say holds.
    return frozenset.intersection(*notes) if notes else None


def _write_tried(session: Any, versions: Sequence[int]) -> None:
    before = _notes_of_trials(session)
    _write_data(session, TRIED, json.dumps(sorted(versions)).encode())
    for found in before:  # never without one: that would be a token from before these were noted
        found.destroy()


def _notes_of_trials(session: Any) -> list[Any]:
    return list(session.get_objects(_data(TRIED)))


def _versions(session: Any) -> list[int]:
    """Of the firm masters on the token, the newest last."""
    return [
        version
        for version in range(1, MAX_VERSION + 1)
        if find_key(session, firm_label(version)) is not None
    ]


def need_empty(uri: Uri, pin: str) -> None:
    """Raises BadInputError for a token that anything of a station is on."""
    session = open_session(uri, pin)
    with session:
        if _ours(session):
            raise BadInputError(
                f"The token {uri.token!r} holds a station's keys.",
                kept="They were not touched.",
                todo="Rehearse on a token that was initialised for that.",
            )


def clear(uri: Uri, pin: str) -> None:
    """Destroy all of a station's objects on the token. Raises BadInputError."""
    session = open_session(uri, pin)
    with session:
        for found in _ours(session):
            found.destroy()


def _ours(session: Any) -> list[Any]:
    kinds = (ObjectClass.SECRET_KEY, ObjectClass.DATA)
    objects = [one for kind in kinds for one in session.get_objects({Attribute.CLASS: kind})]
    return [one for one in objects if str(one[Attribute.LABEL]).startswith(_OURS)]


def enroll(uri: Uri, pin: str, server: ServerSecrets) -> None:
    """Put the server's credential on the token, in place of an earlier one."""
    session = open_session(uri, pin)
    with session:
        for label, kind in ((PRE_SHARED_KEY, ObjectClass.SECRET_KEY), (SERVER, ObjectClass.DATA)):
            old = {Attribute.CLASS: kind, Attribute.LABEL: label}
            for found in list(session.get_objects(old)):
                found.destroy()
        template = _TOKEN_KEY | {Attribute.ENCRYPT: True, Attribute.WRAP: True}
        value = server.pre_shared_key.reveal()
        _import(session, PRE_SHARED_KEY, value, template, SERVER_BOUNDS)
        told = {"url": server.url, "id": server.id, "token": server.token.reveal().decode()}
        _write_data(session, SERVER, json.dumps(told).encode())


def find_key(session: Any, label: str) -> Any | None:
    """The secret key of that label, in this session. Raises BadInputError where there are two."""
    found = list(session.get_objects(_put_by_us(ObjectClass.SECRET_KEY, label)))
    if len(found) > 1:
        raise BadInputError(
            f"The token has {len(found)} keys that are called {label!r}.",
            kept="Nothing was done with either.",
            todo="Find out who put the other one there; the module's own tool removes it.",
        )
    return found[0] if found else None


def read_constants(session: Any, label: str) -> Constants | None:
    """Of the master of that label; None: its ceremony was before they were kept."""
    value = read_data(session, _constants_label(label))
    return None if value is None else Constants(value[:_BLOCK], value[_BLOCK:])


def _note_constants(session: Any, label: str) -> None:
    """As derived keys that are read and dropped: the master may not encrypt."""
    master, value = find_key(session, label), b""
    assert master is not None
    for probe in _PROBES:
        derived = master.derive_key(
            KeyType.GENERIC_SECRET,
            AES_BITS,
            mechanism=Mechanism.AES_ECB_ENCRYPT_DATA,
            mechanism_param=probe,
            template=_READABLE,
        )
        value += derived[Attribute.VALUE]
        derived.destroy()
    _write_data(session, _constants_label(label), value)


def _constants_label(label: str) -> str:
    return f"{label}, constants"


def _write_data(session: Any, label: str, value: bytes) -> None:
    session.create_object(
        {
            Attribute.CLASS: ObjectClass.DATA,
            Attribute.LABEL: label,
            Attribute.TOKEN: True,
            Attribute.PRIVATE: True,
            Attribute.VALUE: value,
        }
    )


def read_data(session: Any, label: str) -> bytes | None:
    """The value of a private data object."""
    for found in session.get_objects(_data(label)):
        value: bytes = found[Attribute.VALUE]
        return value
    return None


def _data(label: str) -> dict[Attribute, Any]:
    return _put_by_us(ObjectClass.DATA, label)


def _put_by_us(kind: ObjectClass, label: str) -> dict[Attribute, Any]:
    """What to look for. An object that is not private may be of somebody without the PIN."""
    return {
        Attribute.CLASS: kind,
        Attribute.LABEL: label,
        Attribute.TOKEN: True,
        Attribute.PRIVATE: True,
    }


def _import(
    session: Any,
    label: str,
    value: bytes,
    rights: dict[Attribute, Any],
    bounds: Mapping[Attribute, Any],
) -> None:
    key = {
        Attribute.CLASS: ObjectClass.SECRET_KEY,
        Attribute.KEY_TYPE: KeyType.AES,
        Attribute.LABEL: label,
        Attribute.VALUE: value,
    }
    make_bounded(session.create_object, rights | key, bounds)


def _generate_master(session: Any, label: str) -> None:
    def generate(template: dict[Attribute, Any]) -> None:
        session.generate_key(KeyType.AES, AES_BITS, label=label, store=True, template=template)

    make_bounded(generate, _MASTER, MASTER_BOUNDS)
