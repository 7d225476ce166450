"""authenticatorGetAssertion and authenticatorGetNextAssertion (CTAP 2.1, 6.2 and 6.3)."""

from lib import cbor, ctap
from reader import consent, credential
from reader.refused import Refused
from reader.salts import Salted
from reader.sequence import ASSERTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from reader.app import Reader
    from reader.store import Store
    from typed.kinds import Map


class Pending:
    """What is left of an assertion with several credentials."""

    def __init__(
        self,
        slots: "list[int]",
        data_hash: bytes,
        flags: int,
        extensions: "Map",
        secret: "Salted | None",
    ) -> None:
        self.slots = slots
        self.data_hash = data_hash
        self.flags = flags
        self.extensions = extensions
        self.secret = secret


def handle(reader: "Reader", request: "Map") -> "Map":
    """Raises Refused."""
    store = reader.store
    rp_id = consent.need(request, 1, str)
    data_hash = consent.need(request, 2, bytes)
    listed = consent.optional(request, 3, list, [])
    # One that names only what this reader does not know names nothing, and not every credential.
    allowed = consent.descriptors(listed) if listed else None
    extensions = consent.optional(request, 4, dict, {})
    rk, up, uv = consent.options(consent.optional(request, 5, dict, {}))
    signature, version = consent.token_parameter(reader, request, 6, 7)
    if len(data_hash) != 32:
        raise Refused(ctap.INVALID_LENGTH)
    if rk is not None:
        raise Refused(ctap.UNSUPPORTED_OPTION)
    up = up is not False
    if not consent.optional(extensions, "largeBlobKey", bool, True):
        raise Refused(ctap.INVALID_OPTION)
    for name in ("credBlob", "thirdPartyPayment"):
        consent.optional(extensions, name, bool, False)
    if up or uv:
        uv = consent.wants_uv(reader, uv, signature)
    by_user = consent.verified(reader, rp_id, data_hash, signature, version, bool(uv), ctap.GA)
    one, slots = _applicable(store, consent.hash_of(rp_id), allowed, by_user)
    secret = _salted(reader, extensions, up)
    if up:
        consent.ensure_present(reader, bool(uv), signature is not None)
        reader.token.spend()
    flags = (ctap.UP if up else 0) | (ctap.UV if by_user else 0)
    answer = _assertion(reader, one, data_hash, flags, extensions, secret, bool(slots))
    if slots:
        answer[5] = len(slots) + 1
        pending = Pending(slots, data_hash, flags, extensions, secret)
        reader.begin_sequence(ASSERTIONS, pending, signature is not None)
    return answer


def next_one(reader: "Reader") -> "Map":
    """Raises Refused."""
    sequence = reader.take_sequence(ASSERTIONS)
    if sequence is None:
        raise Refused(ctap.NOT_ALLOWED)
    pending: Pending = sequence.content
    one = credential.stored(reader.store, pending.slots.pop(0))
    if pending.slots:
        reader.keep_sequence(sequence)
    return _assertion(
        reader, one, pending.data_hash, pending.flags, pending.extensions, pending.secret, True
    )


def _applicable(
    store: "Store", rp_hash: bytes, allowed: "list[bytes] | None", by_user: bool
) -> "tuple[credential.Credential, list[int]]":
    """The credential to use, and the slots of others, newest first. allowed: None when the platform
    names none. Raises Refused when there is none.
    """
    if allowed is None:
        slots = credential.newest_first(store, rp_hash, 3 if by_user else 1)
        if slots:
            return credential.stored(store, slots[0]), slots[1:]
        raise Refused(ctap.NO_CREDENTIALS)
    for identifier in allowed:
        one = credential.identified(store, rp_hash, identifier)
        if one is not None and (by_user or one.protect < 3):
            return one, []
    raise Refused(ctap.NO_CREDENTIALS)


def _salted(reader: "Reader", extensions: "Map", up: bool) -> "Salted | None":
    """What hmac-secret asks for. Raises Refused."""
    if "hmac-secret" not in extensions:
        return None
    consent.of_type(extensions["hmac-secret"], dict)
    if not up:
        raise Refused(ctap.UNSUPPORTED_OPTION)
    return Salted(reader, extensions["hmac-secret"])


def _assertion(
    reader: "Reader",
    one: credential.Credential,
    data_hash: bytes,
    flags: int,
    extensions: "Map",
    secret: "Salted | None",
    several: bool,
) -> "Map":
    store = reader.store
    output: "Map" = {}
    if secret is not None:
        output["hmac-secret"] = secret.answer(reader, one, bool(flags & ctap.UV))
    if extensions.get("credBlob"):
        output["credBlob"] = one.cred_blob
    if extensions.get("thirdPartyPayment"):
        output["thirdPartyPayment"] = bool(one.flags & credential.PAYMENT)
    count = consent.count_signature(reader)
    encoded = cbor.encode(output) if output else b""
    data = consent.authenticator_data(one.rp_hash, flags, count, b"", encoded)
    signature = one.sign(reader, data + data_hash)
    answer: "Map" = {
        1: {"id": one.identifier(store), "type": "public-key"},
        2: data,
        3: signature,
    }
    if one.slot >= 0:
        answer[4] = one.user(several and bool(flags & ctap.UV))
    if "largeBlobKey" in extensions and one.flags & credential.BLOB:
        answer[7] = one.blob_key(store)
    return answer
