"""authenticatorConfig (CTAP 2.1, 6.11)."""

from micropython import const

from lib import cbor, ctap
from reader import consent
from reader.refused import Refused
from reader.store import ALWAYS_UV, FORCE_PIN_CHANGE

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from reader.app import Reader
    from typed.kinds import Item, Map

_ALWAYS_UV = const(2)
_MIN_PIN = const(3)


def handle(reader: "Reader", request: "Map") -> "Map":
    """Raises Refused."""
    command = consent.need(request, 1, int)
    parameters = consent.optional(request, 2, dict, None)
    if command not in (_ALWAYS_UV, _MIN_PIN):
        raise Refused(ctap.INVALID_PARAMETER)
    store = reader.store
    # With alwaysUv only its own switch needs no token, where there is no PIN to give one.
    always = store.flags & ALWAYS_UV and command != _ALWAYS_UV
    if 4 in request or store.pin_length or store.fingers() or always:
        signature, version = consent.token_parameters(request, 4, 3)
        message = b"\xff" * 32 + bytes((ctap.CONFIG, command))
        if parameters is not None:
            message += cbor.encode(parameters)
        reader.token.verify(version, message, signature, ctap.ACFG)
    if command == _ALWAYS_UV:
        store.flag(ALWAYS_UV, not store.flags & ALWAYS_UV)
        return {}
    if parameters is None:
        raise Refused(ctap.MISSING_PARAMETER)
    return _set_min_pin(reader, parameters)


def _set_min_pin(reader: "Reader", parameters: "Map") -> "Map":
    """The least length only grows; a PIN that is too short now must be changed, and until it is,
    nothing that the old one opened stays open.
    """
    store = reader.store
    length = consent.optional(parameters, 1, int, store.min_pin)
    parties = consent.optional(parameters, 2, list, None)
    force = consent.optional(parameters, 3, bool, False)
    if consent.optional(parameters, 4, bool, False):
        raise Refused(ctap.INVALID_PARAMETER)  # no PIN complexity policy (CTAP 2.2)
    hashes = None if parties is None else _hashes(parties)
    if length < store.min_pin or length > 63:
        raise Refused(ctap.PIN_POLICY_VIOLATION)
    if force and not store.pin_length:
        raise Refused(ctap.PIN_NOT_SET)
    flags = store.flags
    if force or 0 < store.pin_length < length:
        flags |= FORCE_PIN_CHANGE
    if hashes is not None:
        store.put_parties(hashes)
    forced = bool(flags & FORCE_PIN_CHANGE)
    store.commit(min_pin=length, flags=flags, pins=store.pins + 1 if forced else store.pins)
    if forced:
        reader.token.reset()
    return {}


def _hashes(parties: "list[Item]") -> "list[bytes]":
    """Of the relying parties that may be told the least length (minPinLength, 12.4). Raises
    Refused.
    """
    hashes = [consent.hash_of(consent.of_type(party, str)) for party in parties]
    if len(hashes) > ctap.MAX_PARTIES:
        raise Refused(ctap.KEY_STORE_FULL)
    return hashes
