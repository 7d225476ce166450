"""authenticatorMakeCredential (CTAP 2.1, 6.1)."""

from hashlib import sha256

from lib import cbor, ctap, p256
from reader import consent, credential
from reader.refused import Refused
from reader.salts import Salted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from reader.app import Reader
    from reader.store import Store
    from typed.kinds import Item, Map


def handle(reader: "Reader", request: "Map") -> "Map":
    """Raises Refused."""
    store = reader.store
    data_hash = consent.need(request, 1, bytes)
    rp = consent.need(request, 2, dict)
    user = consent.need(request, 3, dict)
    rp_id = consent.need(rp, "id", str)
    consent.optional(rp, "name", str, "")
    user_id = consent.need(user, "id", bytes)
    name = consent.optional(user, "name", str, "")
    display_name = consent.optional(user, "displayName", str, "")
    for entity in (rp, user):
        consent.optional(entity, "icon", str, "")
    parameters = consent.need(request, 4, list)
    excluded = consent.descriptors(consent.optional(request, 5, list, []))
    extensions = consent.optional(request, 6, dict, {})
    rk, up, uv = consent.options(consent.optional(request, 7, dict, {}))
    enterprise = consent.optional(request, 10, int, None)
    unattested = _declines(consent.optional(request, 11, list, []))
    signature, version = consent.token_parameter(reader, request, 8, 9)
    if len(data_hash) != 32 or not user_id or len(user_id) > 64:
        raise Refused(ctap.INVALID_LENGTH)
    algorithm = _algorithm(parameters)
    if up is False:
        raise Refused(ctap.INVALID_OPTION)
    wishes = _Wishes(extensions, bool(rk))
    uv = consent.wants_uv(reader, uv, signature)
    protected = store.pin_length or store.fingers()
    if rk and protected and signature is None and not uv:
        raise Refused(ctap.PUAT_REQUIRED)
    if enterprise is not None:
        raise Refused(ctap.INVALID_PARAMETER)  # there is none
    by_user = consent.verified(reader, rp_id, data_hash, signature, version, uv, ctap.MC)
    rp_hash = consent.hash_of(rp_id)
    for identifier in excluded:
        known = credential.identified(store, rp_hash, identifier)
        if known is not None and (by_user or known.protect < 3):
            # Whether somebody comes or not (6.1.2, step 12).
            late = ctap.CREDENTIAL_EXCLUDED
            consent.ensure_present(reader, uv, signature is not None, late)
            raise Refused(late)
    salted = None if wishes.salts is None else Salted(reader, wishes.salts)
    consent.ensure_present(reader, uv, signature is not None)
    reader.token.spend()
    flags = ctap.UP | (ctap.UV if by_user else 0)
    made = credential.Credential(
        rp_hash,
        reader.urandom(32),
        credential.flags_of(bool(rk), wishes.protect, wishes.blob_key, wishes.payment, algorithm),
    )
    if rk:
        made.user_id = user_id
        made.rp_id = _cut_party(rp_id)
        made.name = credential.cut(name)
        made.display_name = credential.cut(display_name)
        made.cred_blob = wishes.kept_blob() or b""
        _keep(store, made)
    output = wishes.output(store, rp_hash)
    if salted is not None:
        output["hmac-secret-mc"] = salted.answer(reader, made, by_user)
    return _answer(reader, made, flags, data_hash, output, unattested)


def _cut_party(rp_id: str) -> str:
    """A relying party's id in at most 64 bytes: what is left of its end says whose it is, and a
    scheme stays in front (CTAP 2.1, 6.8.7).
    """
    data = rp_id.encode()
    if len(data) <= ctap.MAX_NAME:
        return rp_id
    kept = data[: data.find(b":") + 1] + b"\xe2\x80\xa6"  # an ellipsis
    if len(kept) >= ctap.MAX_NAME:
        return credential.cut(rp_id)
    start = len(data) - (ctap.MAX_NAME - len(kept))
    while start < len(data) and data[start] & 0xC0 == 0x80:
        start += 1
    return (kept + data[start:]).decode()


def _declines(formats: "list[Item]") -> bool:
    """attestationFormatsPreference (CTAP 2.2, 6.1.2): the platform wants no attestation. Raises
    Refused.
    """
    for name in formats:
        consent.of_type(name, str)
    return formats == ["none"]


def _algorithm(parameters: "list[Item]") -> int:
    """The first one in the platform's list that the reader has. Raises Refused."""
    found = 0
    for item in parameters:
        consent.of_type(item, dict)
        assert isinstance(item, dict)
        kind, algorithm = consent.need(item, "type", str), consent.need(item, "alg", int)
        if not found and kind == "public-key" and algorithm in (ctap.ES256, ctap.EDDSA):
            found = algorithm
    if not found:
        raise Refused(ctap.UNSUPPORTED_ALGORITHM)
    return found


class _Wishes:
    """The extensions that a platform asks for. rk: of a resident credential."""

    def __init__(self, extensions: "Map", rk: bool) -> None:
        """Raises Refused."""
        self._rk = rk
        self._says_protect = "credProtect" in extensions
        self.protect = consent.optional(extensions, "credProtect", int, 1)
        if not 1 <= self.protect <= 3:
            raise Refused(ctap.INVALID_OPTION)
        self.blob_key = consent.optional(extensions, "largeBlobKey", bool, False)
        if "largeBlobKey" in extensions and not (self.blob_key and rk):
            raise Refused(ctap.INVALID_OPTION)
        self._hmac_secret = consent.optional(extensions, "hmac-secret", bool, False)
        self.salts = consent.optional(extensions, "hmac-secret-mc", dict, None)
        if self.salts is not None and not self._hmac_secret:
            raise Refused(ctap.MISSING_PARAMETER)
        self._blob = consent.optional(extensions, "credBlob", bytes, None)
        self._min_pin = consent.optional(extensions, "minPinLength", bool, False)
        self.payment = consent.optional(extensions, "thirdPartyPayment", bool, False)

    def kept_blob(self) -> "bytes | None":
        """The credBlob that is stored; None when there is none, or it is too long, or the
        credential is not stored itself.
        """
        blob = self._blob
        return blob if blob is not None and self._rk and len(blob) <= ctap.MAX_CRED_BLOB else None

    def output(self, store: "Store", rp_hash: bytes) -> "Map":
        """What is said of them. Raises journal.DamagedError, OSError."""
        output: "Map" = {}
        if self._says_protect:
            output["credProtect"] = self.protect
        if self._hmac_secret:
            output["hmac-secret"] = True
        if self._blob is not None:
            output["credBlob"] = self.kept_blob() is not None
        if self._min_pin and rp_hash in store.parties():
            output["minPinLength"] = store.min_pin
        if self.payment:
            output["thirdPartyPayment"] = True
        return output


def _keep(store: "Store", made: credential.Credential) -> None:
    """Stores a resident credential; one of the same user and relying party is replaced in the same
    commit.
    """
    slot = -1
    for known in credential.resident(store, made.rp_hash):
        if known.user_id == made.user_id:
            slot = known.slot
            break
    if slot < 0:
        slot = store.free_slot()
    # The number that orders credentials is spent first: it may be lost, it is never given twice.
    made.made = store.made + 1
    store.commit(made=made.made)
    store.put_credential(slot, made.rp_hash, made.encode())


def _answer(
    reader: "Reader",
    made: credential.Credential,
    flags: int,
    data_hash: bytes,
    output: "Map",
    unattested: bool,
) -> "Map":
    store = reader.store
    count = consent.count_signature(reader)
    identifier = made.identifier(store)
    key = cbor.encode(made.cose(reader))
    attested = reader.identity.aaguid + len(identifier).to_bytes(2, "big") + identifier + key
    extensions = cbor.encode(output) if output else b""
    data = consent.authenticator_data(made.rp_hash, flags, count, attested, extensions)
    answer: "Map" = {1: "none", 2: data, 3: {}}
    if not unattested and reader.identity.present:
        answer[1] = "packed"
        answer[3] = _statement(reader, data + data_hash)
    if made.flags & credential.BLOB:
        answer[5] = made.blob_key(store)
    return answer


def _statement(reader: "Reader", message: bytes) -> "Map":
    """The batch's key says that a reader of the batch said `message` (WebAuthn 8.2)."""
    digest = sha256(message).digest()
    r, s = p256.sign(reader.identity.attestation_key(), digest, reader.urandom, reader.pause)
    return {"alg": ctap.ES256, "sig": p256.der(r, s), "x5c": [reader.identity.certificate()]}
