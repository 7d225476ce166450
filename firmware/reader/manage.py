"""authenticatorCredentialManagement (CTAP 2.1, 6.8)."""

from micropython import const

from lib import cbor, ctap
from reader import consent, credential, protocol
from reader.refused import Refused
from reader.sequence import CREDENTIALS, PARTIES

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from reader.app import Reader
    from typed.kinds import Map

_METADATA = const(1)
_RPS_BEGIN = const(2)
_RPS_NEXT = const(3)
_CREDENTIALS_BEGIN = const(4)
_CREDENTIALS_NEXT = const(5)
_DELETE = const(6)
_UPDATE = const(7)
_LOOKS = (_METADATA, _RPS_BEGIN, _CREDENTIALS_BEGIN)
_NEEDED = {_CREDENTIALS_BEGIN: (1,), _DELETE: (2,), _UPDATE: (2, 3)}


def handle(reader: "Reader", request: "Map") -> "Map":
    """One sub-command. Raises Refused."""
    command = consent.need(request, 1, int)
    if command == _RPS_NEXT:
        return _party(reader, _next(reader, PARTIES))
    if command == _CREDENTIALS_NEXT:
        return _credential(reader, _next(reader, CREDENTIALS))
    if not _METADATA <= command <= _UPDATE:
        raise Refused(ctap.INVALID_SUBCOMMAND)
    parameters = consent.optional(request, 2, dict, None)
    if command in _NEEDED:
        parameters = consent.need_all(request, 4, parameters, _NEEDED[command])
    allowed = _Allowed(reader, request, command, parameters)
    if command == _METADATA:
        allowed.any_party()
        return {1: len(reader.store.slots()), 2: reader.store.room()}
    if command == _RPS_BEGIN:
        allowed.any_party()
        return _list_parties(reader, allowed)
    assert parameters is not None  # as the command needs some
    if command == _CREDENTIALS_BEGIN:
        return _list_credentials(reader, allowed, consent.need(parameters, 1, bytes))
    one = _named(reader, allowed, consent.need(parameters, 2, dict))
    if command == _DELETE:
        reader.store.count_change()
        reader.store.delete(one.slot)
        return {}
    return _update(reader, one, consent.need(parameters, 3, dict))


def _next(reader: "Reader", kind: int) -> int:
    """The next slot of a list. Raises Refused."""
    sequence = reader.take_sequence(kind)
    if sequence is None:
        raise Refused(ctap.NOT_ALLOWED)
    slots: "list[int]" = sequence.content
    slot = slots.pop(0)
    if slots:
        reader.keep_sequence(sequence)
    return slot


class _Allowed:
    """The token that came with a request allows it: one of now, for all relying parties or for one,
    or the persistent one, which only looks (CTAP 2.2, perCredMgmtRO).
    """

    def __init__(
        self, reader: "Reader", request: "Map", command: int, parameters: "Map | None"
    ) -> None:
        """Raises Refused."""
        self._reader = reader
        signature, version = consent.token_parameters(request, 4, 3)
        message = bytes((command,))
        if command >= _CREDENTIALS_BEGIN and parameters is not None:
            message += cbor.encode(parameters)
        self._persistent = command in _LOOKS and protocol.verifies(
            version, reader.store.persistent_token(), message, signature
        )
        self._party: "str | None" = None
        if not self._persistent:
            reader.token.verify(version, message, signature, ctap.CM)
            self._party = reader.token.rp_id

    def any_party(self) -> None:
        """A token for one relying party is not for a look at all of them. Raises Refused."""
        if self._party is not None:
            raise Refused(ctap.PIN_AUTH_INVALID)

    def only(self, rp_hash: bytes) -> None:
        """Raises Refused when it is for another relying party."""
        if self._party is not None and consent.hash_of(self._party) != rp_hash:
            raise Refused(ctap.PIN_AUTH_INVALID)

    def begin(self, kind: int, slots: "list[int]") -> None:
        """The rest of a list, as a sequence."""
        if slots:
            self._reader.begin_sequence(kind, slots, not self._persistent)


def _list_parties(reader: "Reader", allowed: "_Allowed") -> "Map":
    """One credential of each relying party stands for it."""
    slots, seen = [], []
    for slot in reader.store.slots():
        tag = reader.store.party_tag(slot)
        if tag not in seen:
            seen.append(tag)
            slots.append(slot)
    if not slots:
        raise Refused(ctap.NO_CREDENTIALS)
    answer = _party(reader, slots[0])
    answer[5] = len(slots)
    allowed.begin(PARTIES, slots[1:])
    return answer


def _party(reader: "Reader", slot: int) -> "Map":
    one = credential.stored(reader.store, slot)
    return {3: {"id": one.rp_id}, 4: one.rp_hash}


def _list_credentials(reader: "Reader", allowed: "_Allowed", rp_hash: bytes) -> "Map":
    allowed.only(rp_hash)
    slots = credential.newest_first(reader.store, rp_hash, 3)
    if not slots:
        raise Refused(ctap.NO_CREDENTIALS)
    answer = _credential(reader, slots[0])
    answer[9] = len(slots)
    allowed.begin(CREDENTIALS, slots[1:])
    return answer


def _credential(reader: "Reader", slot: int) -> "Map":
    store = reader.store
    one = credential.stored(store, slot)
    answer: "Map" = {
        6: one.user(True),
        7: {"id": one.identifier(store), "type": "public-key"},
        8: one.cose(reader),
        10: one.protect,
    }
    if one.flags & credential.BLOB:
        answer[11] = one.blob_key(store)
    answer[12] = bool(one.flags & credential.PAYMENT)
    return answer


def _named(reader: "Reader", allowed: "_Allowed", descriptor: "Map") -> credential.Credential:
    """The stored credential of a descriptor. Raises Refused."""
    identifier, known = consent.descriptor(descriptor)
    for slot in reader.store.slots() if known else ():
        one = credential.stored(reader.store, slot)
        if one.nonce == identifier[1:33] and one.identifier(reader.store) == identifier:
            allowed.only(one.rp_hash)
            return one
    raise Refused(ctap.NO_CREDENTIALS)


def _update(reader: "Reader", one: credential.Credential, user: "Map") -> "Map":
    if consent.need(user, "id", bytes) != one.user_id:
        raise Refused(ctap.INVALID_PARAMETER)
    consent.optional(user, "icon", str, "")
    one.name = credential.cut(consent.optional(user, "name", str, ""))
    one.display_name = credential.cut(consent.optional(user, "displayName", str, ""))
    reader.store.count_change()
    reader.store.put_credential(one.slot, one.rp_hash, one.encode())
    return {}
