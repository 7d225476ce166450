"""authenticatorClientPIN (CTAP 2.1, 6.5.5): setting and changing the PIN, and the tokens that PIN
and finger give.

A retry counter goes down in flash before anything is compared, and up again only after it was
right.
"""

from hashlib import sha256

from micropython import const

from lib import ctap
from reader import consent, protocol
from reader.refused import Refused
from reader.seal import equal
from reader.store import FORCE_PIN_CHANGE

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from reader.app import Reader
    from reader.store import Store
    from typed.kinds import Map

_RETRIES = const(1)
_KEY_AGREEMENT = const(2)
_SET = const(3)
_CHANGE = const(4)
_TOKEN = const(5)
_UV_TOKEN = const(6)
_UV_RETRIES = const(7)
_PIN_TOKEN = const(9)
# What a sub-command cannot do without, which is asked before anything else (6.5.5).
_NEEDED = {
    _KEY_AGREEMENT: (1,),
    _SET: (1, 3, 4, 5),
    _CHANGE: (1, 3, 4, 5, 6),
    _TOKEN: (1, 3, 6),
    _UV_TOKEN: (1, 3, 9),
    _PIN_TOKEN: (1, 3, 6, 9),
}

_MC_GA = const(3)
_HASH_SIZE = const(16)  # bytes of a PIN's hash that are compared


def handle(reader: "Reader", request: "Map") -> "Map":
    """One sub-command. Raises Refused."""
    command = consent.need(request, 2, int)
    store = reader.store
    if command == _RETRIES:
        return {3: store.pin_retries, 4: reader.wrong_pins >= ctap.PIN_RETRIES_IN_A_ROW}
    if command == _UV_RETRIES:
        return {5: store.uv_retries}
    if command not in _NEEDED:
        raise Refused(ctap.INVALID_SUBCOMMAND)
    for key in _NEEDED[command]:
        if key not in request:
            raise Refused(ctap.MISSING_PARAMETER)
    version = protocol.check_version(request, 1)
    if command == _KEY_AGREEMENT:
        return {1: reader.agreement.cose()}
    if command == _SET:
        return _set(reader, version, request)
    if command == _CHANGE:
        return _change(reader, version, request)
    return _token(reader, version, command, request)


def _need(request: "Map", *keys: int) -> "list[bytes]":
    """Byte strings. Raises Refused."""
    return [consent.need(request, key, bytes) for key in keys]


def _set(reader: "Reader", version: int, request: "Map") -> "Map":
    peer = consent.need(request, 3, dict)
    signature, encrypted = _need(request, 4, 5)
    if reader.store.pin_length:
        raise Refused(ctap.PIN_AUTH_INVALID)
    secret = reader.agreement.agree(version, peer)
    secret.verify(encrypted, signature)
    pin = _new_pin(reader.store, secret.decrypt(encrypted))
    _write(reader.store, pin)
    return {}


def _new_pin(store: "Store", padded: bytes) -> bytes:
    """The PIN, checked against the policy. Raises Refused."""
    if len(padded) != 64:
        raise Refused(ctap.INVALID_PARAMETER)
    end = padded.find(b"\0")
    pin = padded[:end]
    if end < 0 or padded[end:] != bytes(64 - end):
        raise Refused(ctap.PIN_POLICY_VIOLATION)
    if _characters(pin) < store.min_pin:
        raise Refused(ctap.PIN_POLICY_VIOLATION)
    return pin


def _characters(pin: bytes) -> int:
    return sum(1 for byte in pin if byte & 0xC0 != 0x80)


def _write(store: "Store", pin: bytes) -> None:
    store.change(
        pin_check=store.check_of_pin(sha256(pin).digest()[:16]),
        pin_length=_characters(pin),
        pin_retries=ctap.PIN_RETRIES,
        uv_retries=ctap.UV_RETRIES,
        verified=0,
        pins=store.pins + 1,
        flags=store.flags & ~FORCE_PIN_CHANGE,
    )


def _check_open(reader: "Reader") -> None:
    """Raises Refused when no PIN may be tried now."""
    if not reader.store.pin_length:
        raise Refused(ctap.PIN_NOT_SET)
    if not reader.store.pin_retries or reader.store.tries_ended():
        raise Refused(ctap.PIN_BLOCKED)
    if reader.wrong_pins >= ctap.PIN_RETRIES_IN_A_ROW:
        raise Refused(ctap.PIN_AUTH_BLOCKED)


def _compare(reader: "Reader", secret: protocol.Secret, encrypted: bytes) -> None:
    """Tries a PIN: costs a retry, in flash, before it is looked at. What can be no PIN costs none.
    Raises Refused.
    """
    if secret.size(encrypted) != _HASH_SIZE:
        raise Refused(ctap.INVALID_PARAMETER)
    store = reader.store
    fingers = store.uv_retries
    store.pay(store.verified)
    reader.wrong_pins += 1  # whatever happens from here on, unless it is right
    # Which of the two it is cannot be seen from outside before the bit is burnt: who would cut the
    # power at that moment does not know yet whether he has guessed right.
    if not equal(store.check_of_pin(secret.decrypt(encrypted)), store.pin_check):
        store.burn()
        store.commit(uv_retries=fingers)
        reader.agreement.renew()
        if not store.pin_retries:
            raise Refused(ctap.PIN_BLOCKED)
        if reader.wrong_pins >= ctap.PIN_RETRIES_IN_A_ROW:
            raise Refused(ctap.PIN_AUTH_BLOCKED)
        raise Refused(ctap.PIN_INVALID)
    burnt = store.burn_nothing()
    reader.wrong_pins = 0
    store.commit(pin_retries=ctap.PIN_RETRIES, uv_retries=ctap.UV_RETRIES, verified=0, burnt=burnt)


def _change(reader: "Reader", version: int, request: "Map") -> "Map":
    peer = consent.need(request, 3, dict)
    signature, encrypted, hash_encrypted = _need(request, 4, 5, 6)
    _check_open(reader)
    store = reader.store
    secret = reader.agreement.agree(version, peer)
    secret.verify(encrypted + hash_encrypted, signature)
    _compare(reader, secret, hash_encrypted)
    pin = _new_pin(store, secret.decrypt(encrypted))
    if store.flags & FORCE_PIN_CHANGE:
        if equal(store.check_of_pin(sha256(pin).digest()[:16]), store.pin_check):
            raise Refused(ctap.PIN_POLICY_VIOLATION)
    reader.token.reset()  # before: it may be another PIN already when a row fails to burn
    _write(store, pin)
    return {}


def _permissions(reader: "Reader", command: int, request: "Map") -> "tuple[int, str | None]":
    """What the token is to be good for. Raises Refused."""
    if command == _TOKEN:
        if 9 in request or 10 in request:
            raise Refused(ctap.INVALID_PARAMETER)
        return _MC_GA, None
    permissions = consent.need(request, 9, int)
    rp_id = consent.optional(request, 10, str, None)
    if permissions <= 0:
        raise Refused(ctap.INVALID_PARAMETER)
    if command == _UV_TOKEN and permissions & ctap.ACFG:
        raise Refused(ctap.UNAUTHORIZED_PERMISSION)  # no uvAcfg: what the PIN guards, a PIN changes
    permissions &= ctap.ALL_PERMISSIONS | ctap.PCMR  # others are ignored
    if permissions & ctap.PCMR:
        if permissions != ctap.PCMR:
            raise Refused(ctap.UNAUTHORIZED_PERMISSION)
        return permissions, None
    if permissions & _MC_GA and rp_id is None:
        raise Refused(ctap.MISSING_PARAMETER)
    return permissions, rp_id


def _token(reader: "Reader", version: int, command: int, request: "Map") -> "Map":
    permissions, rp_id = _permissions(reader, command, request)
    store = reader.store
    if command == _UV_TOKEN:
        peer = consent.need(request, 3, dict)
        if not reader.user.can_verify():
            raise Refused(ctap.NOT_ALLOWED)
        if store.flags & FORCE_PIN_CHANGE:
            raise Refused(ctap.PIN_POLICY_VIOLATION)
        if not store.uv_retries:
            raise Refused(ctap.UV_BLOCKED)
        secret = reader.agreement.agree(version, peer)
        reader.user.verify()
    else:
        peer = consent.need(request, 3, dict)
        (hash_encrypted,) = _need(request, 6)
        _check_open(reader)
        secret = reader.agreement.agree(version, peer)
        _compare(reader, secret, hash_encrypted)
        if store.flags & FORCE_PIN_CHANGE:
            raise Refused(ctap.PIN_POLICY_VIOLATION if command == _PIN_TOKEN else ctap.PIN_INVALID)
    if permissions == ctap.PCMR:
        value = store.persistent_token()
    else:
        value = reader.token.issue(version, permissions, rp_id, command == _UV_TOKEN)
    return {2: secret.encrypt(value, reader.urandom)}
