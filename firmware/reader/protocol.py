"""PIN/UV auth protocols 1 and 2 (CTAP 2.1, 6.5.6 and 6.5.7), and the reader's key agreement."""

from hashlib import sha256

from cryptolib import aes
from micropython import const

from lib import ctap, hmac, p256
from reader.refused import Refused
from reader.seal import equal

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typed.kinds import Item, Map, Pause, Random

_CBC = const(2)


class Secret:
    """What a platform and the reader share for one exchange. version: 1 or 2."""

    def __init__(self, version: int, x: bytes) -> None:
        self.version = version
        if version == 1:
            self._cipher = self._mac = sha256(x).digest()
        else:
            extract = hmac.digest(sha256, bytes(32), x)
            self._mac = hmac.digest(sha256, extract, b"CTAP2 HMAC key\x01")
            self._cipher = hmac.digest(sha256, extract, b"CTAP2 AES key\x01")

    def verify(self, message: bytes, signature: bytes) -> None:
        """Raises Refused(PIN_AUTH_INVALID)."""
        verify(self.version, self._mac, message, signature)

    def encrypt(self, data: bytes, urandom: "Random") -> bytes:
        """data: whole blocks."""
        if self.version == 1:
            return aes(self._cipher, _CBC, bytes(16)).encrypt(data)
        iv = urandom(16)
        return iv + aes(self._cipher, _CBC, iv).encrypt(data)

    def size(self, data: bytes) -> int:
        """Bytes that `decrypt` makes of it, -1 when it is not whole blocks."""
        size = len(data) - (16 if self.version == 2 else 0)
        return -1 if size < 16 or size & 15 else size

    def decrypt(self, data: bytes) -> bytes:
        """Raises Refused(PIN_AUTH_INVALID)."""
        if self.size(data) < 0:
            raise Refused(ctap.PIN_AUTH_INVALID)
        iv = bytes(16)
        if self.version == 2:
            iv, data = data[:16], data[16:]
        return aes(self._cipher, _CBC, iv).decrypt(data)


def verifies(version: int, key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the signature is of this key."""
    expected = hmac.digest(sha256, key, message)
    return equal(expected[:16] if version == 1 else expected, signature)


def verify(version: int, key: bytes, message: bytes, signature: bytes) -> None:
    """Raises Refused(PIN_AUTH_INVALID)."""
    if not verifies(version, key, message, signature):
        raise Refused(ctap.PIN_AUTH_INVALID)


def check_version(request: "Map", key: int, default: "int | None" = None) -> int:
    """pinUvAuthProtocol. Raises Refused."""
    version = request.get(key, default)
    if version is None and key not in request:
        raise Refused(ctap.MISSING_PARAMETER)
    if isinstance(version, bool) or not isinstance(version, int):
        raise Refused(ctap.UNEXPECTED_TYPE)
    if version not in (1, 2):
        raise Refused(ctap.INVALID_PARAMETER)
    assert isinstance(version, int)
    return version


def _is(value: object, number: int) -> bool:
    """True is not 1 here."""
    return value == number and not isinstance(value, bool)


class KeyAgreement:
    """A key pair of this power-up, made when idle; a wrong PIN makes it anew."""

    def __init__(self, urandom: "Random", pause: "Pause") -> None:
        self._urandom = urandom
        self._pause = pause
        self._private = 0
        self._public = b""

    def renew(self) -> None:
        """Forgets the key pair; `prepare` makes another."""
        self._private = 0

    def prepare(self) -> None:
        """Makes the key pair, if there is none: work for an idle moment."""
        if not self._private:
            private = p256.scalar(self._urandom(48))
            self._public = p256.public_key(private, self._urandom, self._pause)
            self._private = private

    def cose(self) -> "Map":
        """The public key, as COSE_Key with the algorithm that CTAP names."""
        self.prepare()
        return {1: 2, 3: -25, -1: 1, -2: self._public[:32], -3: self._public[32:]}

    def agree(self, version: int, peer: "Item") -> Secret:
        """With a platform's COSE_Key. Raises Refused."""
        if not isinstance(peer, dict):
            raise Refused(ctap.UNEXPECTED_TYPE)
        x, y = peer.get(-2), peer.get(-3)
        if (
            not _is(peer.get(1), 2)
            or not _is(peer.get(-1), 1)
            or not isinstance(peer.get(3, -25), int)  # CTAP names −25; some platforms say −7
            or not isinstance(x, bytes)
            or not isinstance(y, bytes)
            or len(x) != 32
            or len(y) != 32
        ):
            raise Refused(ctap.INVALID_PARAMETER)
        self.prepare()
        try:
            shared = p256.shared_x(self._private, x + y, self._urandom, self._pause)
        except p256.InvalidError:
            raise Refused(ctap.INVALID_PARAMETER)
        return Secret(version, shared)
