"""A credential: what its identifier says, and what is stored of a resident one.

Identifier (50 bytes): format (1) ‖ nonce (32) ‖ flags (1) ‖ MAC (16). Its keys are derived from the
reader's master secret, the nonce, the flags and the relying party, so a credential that is not
resident needs no storage, and the storage of a resident one holds no key.

Stored: nonce (32) ‖ flags (1) ‖ made (4) ‖ SHA-256 of the relying party's id (32) ‖ user id ‖
relying party ‖ name ‖ display name ‖ credBlob, each of the last five with its length in front (1).
An earlier firmware wrote no credBlob. Texts are cut at 64 bytes, between characters; a relying
party's id at its beginning.
"""

from hashlib import sha256

from micropython import const

from lib import ctap, p256
from reader.seal import equal

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from collections.abc import Iterator

    from reader.app import Reader
    from reader.store import Store
    from typed.kinds import Map

_FORMAT = const(1)
ID_SIZE = const(50)

RESIDENT = const(1)
BLOB = const(8)  # has a large-blob key
_EDDSA = const(16)  # its key is of Ed25519, otherwise of P-256
PAYMENT = const(32)  # thirdPartyPayment (CTAP 2.2, 12)
_PROTECT_SHIFT = const(1)  # credProtect, 1..3, in bits 1 and 2


def flags_of(resident: bool, protect: int, blob: bool, payment: bool, algorithm: int) -> int:
    """The byte of flags. protect: credProtect, 1..3. algorithm: ES256 or EDDSA."""
    flags = (RESIDENT if resident else 0) | protect << _PROTECT_SHIFT | (BLOB if blob else 0)
    flags |= PAYMENT if payment else 0
    return flags | (_EDDSA if algorithm == ctap.EDDSA else 0)


def cut(text: str) -> str:
    """At most 64 bytes of UTF-8."""
    data = text.encode()
    if len(data) <= ctap.MAX_NAME:
        return text
    end = ctap.MAX_NAME
    while data[end] & 0xC0 == 0x80:
        end -= 1
    return data[:end].decode()


class Credential:
    """slot: where it is stored, -1 when it is not resident."""

    def __init__(self, rp_hash: bytes, nonce: bytes, flags: int) -> None:
        self.rp_hash = rp_hash
        self.nonce = nonce
        self.flags = flags
        self.slot = -1
        self.made = 0
        self.user_id = self.cred_blob = b""
        self.rp_id = self.name = self.display_name = ""

    @property
    def protect(self) -> int:
        """credProtect, 1..3 (CTAP 2.1, 12.1)."""
        return self.flags >> _PROTECT_SHIFT & 3

    def _bound(self) -> bytes:
        return self.rp_hash + self.nonce + bytes((self.flags,))

    def identifier(self, store: "Store") -> bytes:
        """50 bytes, as the module says."""
        mac = store.derive(b"id", self._bound())[:16]
        return bytes((_FORMAT,)) + self.nonce + bytes((self.flags,)) + mac

    def _random(self, store: "Store") -> bytes:
        """48 bytes that its private key is made of."""
        bound = self._bound()
        return store.derive(b"key1", bound) + store.derive(b"key2", bound)[:16]

    def cose(self, reader: "Reader") -> "Map":
        """The public key, as COSE_Key (RFC 9052, 7)."""
        random = self._random(reader.store)
        if self.flags & _EDDSA:
            from lib import ed25519_sign

            key = ed25519_sign.scalar(random)
            public = ed25519_sign.public_key(key, reader.urandom, reader.pause)
            return {1: 1, 3: ctap.EDDSA, -1: 6, -2: public}
        public = p256.public_key(p256.scalar(random), reader.urandom, reader.pause)
        return {1: 2, 3: ctap.ES256, -1: 1, -2: public[:32], -3: public[32:]}

    def sign(self, reader: "Reader", message: bytes) -> bytes:
        """A signature, in the form that WebAuthn 6.5.5 wants of its algorithm."""
        random = self._random(reader.store)
        if self.flags & _EDDSA:
            from lib import ed25519_sign

            return ed25519_sign.sign(
                ed25519_sign.scalar(random), message, reader.urandom, reader.pause
            )
        digest = sha256(message).digest()
        return p256.der(*p256.sign(p256.scalar(random), digest, reader.urandom, reader.pause))

    def secret(self, store: "Store", with_uv: bool) -> bytes:
        """For hmac-secret: 32 bytes, of two kinds (CTAP 2.1, 12.5)."""
        return store.derive(b"hmac-uv" if with_uv else b"hmac", self._bound())

    def blob_key(self, store: "Store") -> bytes:
        """The large-blob key, 32 bytes (CTAP 2.1, 12.3)."""
        return store.derive(b"blob", self._bound())

    def user(self, whole: bool) -> "Map":
        """PublicKeyCredentialUserEntity; only the id unless `whole`."""
        entity: "Map" = {"id": self.user_id}
        if whole and self.name:
            entity["name"] = self.name
        if whole and self.display_name:
            entity["displayName"] = self.display_name
        return entity

    def encode(self) -> bytes:
        """What is stored of it, as the module says: 74 to 362 bytes."""
        out = self.nonce + bytes((self.flags,)) + self.made.to_bytes(4, "little") + self.rp_hash
        for part in (
            self.user_id,
            self.rp_id.encode(),
            self.name.encode(),
            self.display_name.encode(),
            self.cred_blob,
        ):
            out += bytes((len(part),)) + part
        return out


def stored(store: "Store", slot: int) -> Credential:
    """The credential in a slot. Raises journal.DamagedError, OSError."""
    data = store.credential(slot)
    found = Credential(data[37:69], data[:32], data[32])
    found.slot = slot
    found.made = int.from_bytes(data[33:37], "little")
    parts = []
    at = 69
    while at < len(data):
        end = at + 1 + data[at]
        parts.append(data[at + 1 : end])
        at = end
    found.user_id = parts[0]
    found.rp_id, found.name, found.display_name = [part.decode() for part in parts[1:4]]
    if len(parts) > 4:
        found.cred_blob = parts[4]
    return found


def resident(store: "Store", rp_hash: bytes) -> "Iterator[Credential]":
    """A relying party's credentials, one by one: a hundred do not fit into RAM at once. Raises
    journal.DamagedError, OSError.
    """
    for slot in store.slots_of(rp_hash):
        found = stored(store, slot)
        if found.rp_hash == rp_hash:
            yield found


def newest_first(store: "Store", rp_hash: bytes, most: int) -> "list[int]":
    """Slots of a relying party's credentials whose credProtect is at most `most`. Raises
    journal.DamagedError, OSError.
    """
    found = [(-one.made, one.slot) for one in resident(store, rp_hash) if one.protect <= most]
    found.sort()
    return [slot for _, slot in found]


def identified(store: "Store", rp_hash: bytes, identifier: bytes) -> "Credential | None":
    """The credential of an identifier, if it is one of ours, of this relying party, and not
    deleted. Raises journal.DamagedError, OSError.
    """
    if len(identifier) != ID_SIZE or identifier[0] != _FORMAT:
        return None
    found = Credential(rp_hash, bytes(identifier[1:33]), identifier[33])
    if not equal(found.identifier(store), identifier):
        return None
    if not found.flags & RESIDENT:
        return found
    for slot in store.slots_of(rp_hash):
        candidate = stored(store, slot)
        if candidate.nonce == found.nonce:
            return candidate
    return None
