"""Custody in a PKCS #11 module: masters, card keys, session keys and seeds are objects that never
leave it in the clear.

Every key that SCP03 derives ends in one AES call, because the last step of a CMAC is one:
AES(K, last block ⊕ chain ⊕ K1). CKM_AES_ECB_ENCRYPT_DATA does that call inside the module and
makes its result a key object. The seed is 32 bytes and begins on a block boundary of the PUT
command and of the container, so that CKM_AES_CBC key wrapping encrypts it in place.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism

from tallystick.common import chance
from tallystick.common.errors import BadInputError, RefusedError
from tallystick.common.secret import Secret
from tallystick.provisioning.card.issuer import TRANSPORT_KEYS, WrappedKey
from tallystick.provisioning.card.keys import Sealed
from tallystick.provisioning.card.scp03 import (
    BLOCK,
    DERIVE_S_ENC,
    DERIVE_S_MAC,
    DERIVE_S_RMAC,
    InitializeUpdate,
    derivation_message,
)
from tallystick.provisioning.credential import CodeKind, HmacHash
from tallystick.provisioning.custody.interface import (
    KeyDescription,
    ServerCredential,
    UnknownKeyError,
)
from tallystick.provisioning.custody.pkcs11_bounds import (
    NO_RIGHTS,
    mapper,
    serves_any_mechanism,
)
from tallystick.provisioning.custody.pkcs11_token import (
    AES_BITS,
    PRE_SHARED_KEY,
    SERVER,
    TRANSPORT,
    Constants,
    Uri,
    find_key,
    find_token,
    firm_label,
    open_session,
    read_constants,
    read_data,
    read_tried,
)

SEED_SIZE = 32
_SEED_BITS = 8 * SEED_SIZE
_STATIC = {"enc": 1, "mac": 2, "dek": 3}
_PADDING = bytes((BLOCK,)) * BLOCK  # PKCS #7 after whole blocks
_SESSION_ONLY = {
    **NO_RIGHTS,
    Attribute.TOKEN: False,
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
}
_STATIC_KEY = _SESSION_ONLY | {Attribute.ENCRYPT: True, Attribute.DERIVE: True}
_MAC_KEY = _SESSION_ONLY | {Attribute.SIGN: True}
_CIPHER_KEY = _SESSION_ONLY | {
    Attribute.ENCRYPT: True,
    Attribute.DECRYPT: True,
    Attribute.WRAP: True,
}
# Of a card that is yet to be made: it is written into the card's flash.
_TOLD = _SESSION_ONLY | {Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
# extractable means: may be wrapped by another key of the module; its value is never readable
_WRAPPABLE = _SESSION_ONLY | {Attribute.EXTRACTABLE: True}


def _double(block: bytes) -> bytes:
    """Multiplication by x in GF(2^128), RFC 4493 section 2.3."""
    value = int.from_bytes(block, "big") << 1
    if value >> 128:
        value = value & ((1 << 128) - 1) ^ 0x87
    return value.to_bytes(BLOCK, "big")


def _xor(*blocks: bytes) -> bytes:
    value = 0
    for block in blocks:
        value ^= int.from_bytes(block, "big")
    return value.to_bytes(BLOCK, "big")


class Pkcs11Custody:
    """Implements custody.interface.Custody over a token. Safe for several threads: one operation
    at a time. It is logged in until it rests or is closed; what is done after a rest logs in again.
    What belongs to a card lives in a session of its own, and ends with it."""

    exports_seeds = False
    reopens_seeds = False

    def __init__(self, uri: Uri, pin: str) -> None:
        """Log in. Raises BadInputError for a wrong PIN, a missing token or missing keys."""
        self._lock = threading.RLock()
        self._uri = uri
        self._pin = Secret(pin.encode())
        self._pin.keep_in_memory()
        self._token = find_token(uri)
        self._login: Any | None = None
        self._kept: list[Any] = []  # sessions of cards under way
        with self._session() as session:
            self._constants = self._find_constants(session)
            self._tried = read_tried(session)
            self._unbounded = {
                version
                for version in self._constants
                if serves_any_mechanism(find_key(session, _master_label(version)))
            }
            server = read_data(session, SERVER)
            self._server = None if server is None else json.loads(server)

    @staticmethod
    def _find_constants(session: Any) -> dict[int, Constants]:
        """Per version of the masters on the token."""
        found = {}
        for version in (TRANSPORT_KEYS, *range(1, 0x80)):
            label = _master_label(version)
            key = find_key(session, label)
            if key is not None:
                found[version] = read_constants(session, label) or _encrypted(key)
        if TRANSPORT_KEYS not in found or len(found) < 2:
            raise BadInputError(
                "The token holds no station keys.", todo="Run `tally station keys create`."
            )
        return found

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else uses the module meanwhile. Its errors become BadInputError."""
        with self._lock:
            if self._login is None:
                self._login = open_session(self._uri, self._pin.reveal().decode())
            try:
                yield
            except pkcs11.PKCS11Error as error:
                raise BadInputError(
                    f"The key module refused an operation ({type(error).__name__}).",
                    todo="Check that it is connected and logged in, then resume.",
                ) from None

    def _opened(self) -> Any:
        return self._token.open(rw=True, attribute_mapper=mapper())

    @contextmanager
    def _session(self) -> Iterator[Any]:
        """A session for one act: what is made in it ends with it."""
        with self.locked(), self._opened() as session:
            yield session

    @contextmanager
    def _session_to_keep(self) -> Iterator[Any]:
        """A session that its user lets go, unless this fails."""
        with self.locked():
            session = self._opened()
            self._kept.append(session)
            try:
                yield session
            except BaseException:
                self.let_go(session)
                raise

    def let_go(self, session: Any) -> None:
        """What a card had in the module ends."""
        with self._lock:
            if session in self._kept:
                self._kept.remove(session)
                with self.locked():
                    session.close()

    def rest(self) -> None:
        """Nothing is done with keys for a while: log out of the module, unless a card is under
        way."""
        with self._lock:
            if not self._kept:
                self._log_out()

    def _log_out(self) -> None:
        login, self._login = self._login, None
        if login is not None:
            with suppress(pkcs11.PKCS11Error):  # a module that was pulled has forgotten it
                login.close()

    @property
    def firm_version(self) -> int:
        """Of the newest firm master, 1 to 7F hexadecimal."""
        return max(version for version in self._constants if version != TRANSPORT_KEYS)

    def describe(self) -> list[KeyDescription]:
        return [
            KeyDescription(
                "transport" if version == TRANSPORT_KEYS else "firm",
                version,
                constants.check_value.hex(),
                version in (TRANSPORT_KEYS, self.firm_version),
                self._tried is None or version == TRANSPORT_KEYS or version in self._tried,
                version in self._unbounded,
            )
            for version, constants in self._constants.items()
        ]

    def _static(
        self, session: Any, version: int, name: str, data: bytes, template: dict[Attribute, Any]
    ) -> Any:
        """A card's static key by KDF3: its message is just one block."""
        if version not in self._constants:
            raise UnknownKeyError(version)
        message = bytes((1, 0, 0, 0, _STATIC[name], 0)) + data
        master = _need(session, _master_label(version))
        subkey = _double(self._constants[version].zeros)
        return _ecb_derive(master, _xor(message, subkey), template, AES_BITS)

    def channel_keys(self, update: InitializeUpdate, context: bytes) -> Pkcs11ChannelKeys:
        version, data = update.key_version, update.diversification_data
        with self._session_to_keep() as session:
            enc = self._static(session, version, "enc", data, _STATIC_KEY)
            mac = self._static(session, version, "mac", data, _STATIC_KEY)

            def session_key(static: Any, constant: int, template: dict[Attribute, Any]) -> Any:
                return _derive(static, derivation_message(constant, AES_BITS, context), template)

            keys = Pkcs11ChannelKeys(
                self,
                session,
                session_key(enc, DERIVE_S_ENC, _CIPHER_KEY),
                session_key(mac, DERIVE_S_MAC, _MAC_KEY),
                session_key(mac, DERIVE_S_RMAC, _MAC_KEY),
            )
            enc.destroy()
            mac.destroy()
            return keys

    def transport_keys(self, serial: str) -> Secret:
        with self._session() as session:
            keys = [
                self._static(session, TRANSPORT_KEYS, name, serial.encode(), _TOLD)
                for name in ("enc", "mac", "dek")
            ]
            return Secret(b"".join(bytes(key[Attribute.VALUE]) for key in keys))

    def firm_keys(
        self, card_version: int, diversification_data: bytes
    ) -> tuple[WrappedKey, WrappedKey, WrappedKey]:
        with self._session() as session:
            wraps = _SESSION_ONLY | {Attribute.WRAP: True}
            dek = self._static(session, card_version, "dek", diversification_data, wraps)
            enc, mac, new_dek = (
                self._wrapped(session, dek, name, diversification_data) for name in _STATIC
            )
            return enc, mac, new_dek

    def _wrapped(self, session: Any, dek: Any, name: str, data: bytes) -> WrappedKey:
        template = _WRAPPABLE | {Attribute.ENCRYPT: True}
        key = self._static(session, self.firm_version, name, data, template)
        return WrappedKey(cbc_wrap(dek, bytes(BLOCK), key), _encrypted(key).check_value)

    def new_seed(self, serial: str, card_entropy: bytes) -> Pkcs11Seed:
        """A random key of the module, as a pseudo-random function over the card's entropy."""
        data = hashlib.sha256(b"tallystick seed 1 " + serial.encode() + card_entropy).digest()
        with self._session_to_keep() as session:
            template = _SESSION_ONLY | {Attribute.DERIVE: True}
            fresh = session.generate_key(KeyType.AES, 256, template=template)
            seed = _ecb_derive(
                fresh,
                data,
                _WRAPPABLE | {Attribute.SIGN: True},
                _SEED_BITS,
                KeyType.GENERIC_SECRET,
            )
            fresh.destroy()
            return Pkcs11Seed(self, session, seed)

    def reopen_seed(self, sealed: bytes, context: bytes) -> Pkcs11Seed:
        """Raises RefusedError, always."""
        raise _never_in_the_clear()

    def server(self) -> ServerCredential:
        """The server this station is enrolled with. Raises BadInputError without one."""
        if self._server is None:
            raise BadInputError(
                "This station is not enrolled with a server.",
                todo="Run `tally station enroll --server URL --credential FILE`.",
            )
        token = Secret(self._server["token"].encode())
        return ServerCredential(self._server["url"], self._server["id"], token)

    def encrypt_for_server(self, plaintext: bytes) -> bytes:
        iv = chance.token_bytes(BLOCK)
        size = BLOCK - len(plaintext) % BLOCK
        with self._session() as session:
            key = _need(session, PRE_SHARED_KEY)
            return iv + cbc(key, iv, plaintext + bytes((size,)) * size)

    def wrap_for_server(self, session: Any, seed: Any) -> bytes:
        iv = chance.token_bytes(BLOCK)
        with self.locked():
            key = _need(session, PRE_SHARED_KEY)
            wrapped = cbc_wrap(key, iv, seed)
            return iv + wrapped + cbc(key, wrapped[-BLOCK:], _PADDING)

    def open_for_export(self, sealed: bytes) -> Secret:
        """Raises RefusedError, always: seeds never leave the key module in the clear."""
        raise _never_in_the_clear()

    def close(self) -> None:
        with self._lock:
            self._log_out()
            self._pin.wipe()


def _master_label(version: int) -> str:
    return TRANSPORT if version == TRANSPORT_KEYS else firm_label(version)


def _never_in_the_clear() -> RefusedError:
    return RefusedError(
        "Seeds never leave the key module in the clear.",
        kept="The card has no seed that anybody needs.",
        todo="Use the server, or PSKC containers (--registry pskc:FOLDER).",
    )


def _need(session: Any, label: str) -> Any:
    key = find_key(session, label)
    if key is None:
        raise BadInputError(
            f"The token has no key {label!r}.",
            todo="Run `tally station enroll` or `tally station keys create`.",
        )
    return key


def _encrypted(key: Any) -> Constants:
    """Of a key that may encrypt: a card's, or a master of an older ceremony."""
    zeros = key.encrypt(bytes(BLOCK), mechanism=Mechanism.AES_ECB)
    return Constants(zeros, key.encrypt(b"\x01" * BLOCK, mechanism=Mechanism.AES_ECB))


def _derive(key: Any, message: bytes, template: dict[Attribute, Any]) -> Any:
    """The CMAC of `message` (whole blocks) under `key`, as a key object."""
    subkey = _double(key.encrypt(bytes(BLOCK), mechanism=Mechanism.AES_ECB))
    chain = bytes(BLOCK)
    for at in range(0, len(message) - BLOCK, BLOCK):
        block = _xor(message[at : at + BLOCK], chain)
        chain = key.encrypt(block, mechanism=Mechanism.AES_ECB)
    return _ecb_derive(key, _xor(message[-BLOCK:], chain, subkey), template, AES_BITS)


def _ecb_derive(
    key: Any,
    data: bytes,
    template: dict[Attribute, Any],
    bits: int,
    kind: KeyType = KeyType.AES,
) -> Any:
    return key.derive_key(
        kind,
        bits,
        mechanism=Mechanism.AES_ECB_ENCRYPT_DATA,
        mechanism_param=data,
        template=template,
    )


def cbc(key: Any, iv: bytes, plaintext: bytes) -> bytes:
    """AES-CBC over whole blocks."""
    done: bytes = key.encrypt(plaintext, mechanism=Mechanism.AES_CBC, mechanism_param=iv)
    return done


def cbc_wrap(key: Any, iv: bytes, wrapped: Any) -> bytes:
    """AES-CBC over the value of a key object of whole blocks."""
    done: bytes = key.wrap_key(wrapped, mechanism=Mechanism.AES_CBC, mechanism_param=iv)
    return done


class Pkcs11ChannelKeys:
    """Session keys inside the module. Implements card.keys.ChannelKeys."""

    def __init__(self, custody: Pkcs11Custody, session: Any, enc: Any, mac: Any, rmac: Any) -> None:
        self._custody, self._session = custody, session
        self._enc, self._mac, self._rmac = enc, mac, rmac

    def mac(self, message: bytes) -> bytes:
        return self._sign(self._mac, message)

    def response_mac(self, message: bytes) -> bytes:
        return self._sign(self._rmac, message)

    def _sign(self, key: Any, message: bytes) -> bytes:
        with self._custody.locked():
            tag: bytes = key.sign(message, mechanism=Mechanism.AES_CMAC)
            return tag

    def encrypt_block(self, block: bytes) -> bytes:
        return self.encrypt(bytes(BLOCK), block)

    def encrypt(self, iv: bytes, plaintext: bytes) -> bytes:
        with self._custody.locked():
            return cbc(self._enc, iv, plaintext)

    def decrypt(self, iv: bytes, ciphertext: bytes) -> bytes:
        with self._custody.locked():
            plain: bytes = self._enc.decrypt(
                ciphertext, mechanism=Mechanism.AES_CBC, mechanism_param=iv
            )
            return plain

    def encrypt_sealed(self, iv: bytes, before: bytes, secret: Sealed, after: bytes) -> bytes:
        if not isinstance(secret, Pkcs11Seed) or len(before) % BLOCK or len(after) % BLOCK:
            raise TypeError("the module wraps its own seeds, on block boundaries")
        with self._custody.locked():
            done = cbc(self._enc, iv, before) if before else b""
            done += cbc_wrap(self._enc, done[-BLOCK:] or iv, secret.handle)
            return done + cbc(self._enc, done[-BLOCK:], after)

    def close(self) -> None:
        self._custody.let_go(self._session)


_HMAC = {
    HmacHash.SHA1: Mechanism.SHA_1_HMAC,
    HmacHash.SHA256: Mechanism.SHA256_HMAC,
    HmacHash.SHA512: Mechanism.SHA512_HMAC,
}


class Pkcs11Seed:
    """A seed inside the module. Implements custody.interface.Seed."""

    size = SEED_SIZE

    def __init__(self, custody: Pkcs11Custody, session: Any, handle: Any) -> None:
        self._custody, self._session = custody, session
        self.handle = handle

    def codes(self, first: int, count: int, kind: CodeKind) -> list[str]:
        return [self._code(factor, kind) for factor in range(first, first + count)]

    def _code(self, factor: int, kind: CodeKind) -> str:
        """RFC 4226, section 5.3; pyotp would need the seed's bytes."""
        with self._custody.locked():
            mac = self.handle.sign(factor.to_bytes(8, "big"), mechanism=_HMAC[kind.hash])
        at = mac[-1] & 0x0F
        number = int.from_bytes(mac[at : at + 4], "big") & 0x7FFF_FFFF
        return str(number % 10**kind.digits).zfill(kind.digits)

    def for_server(self) -> bytes:
        return self._custody.wrap_for_server(self._session, self.handle)

    def for_journal(self, context: bytes) -> bytes:
        """Nothing: a key that could open it again could open it for anybody who is logged in."""
        return b""

    def wipe(self) -> None:
        self._custody.let_go(self._session)
