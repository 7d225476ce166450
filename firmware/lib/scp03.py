"""The card's side of SCP03: GlobalPlatform Card Specification v2.3, Amendment D.

AES-128, S8 mode, all levels with a C-MAC. Session keys and the MAC chain are wiped by close().
"""

from cryptolib import aes
from micropython import const

from lib import wire
from lib.apdu import Refused
from lib.cmac import cmac, same

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from lib.apdu import Command
    from typed.kinds import Readable

_ECB = const(1)
_CBC = const(2)
_MAC = const(8)
_PAD = b"\x80" + bytes(15)

_CARD_CRYPTOGRAM = const(0x00)
_HOST_CRYPTOGRAM = const(0x01)
_S_ENC = const(0x04)
_S_MAC = const(0x06)
_S_RMAC = const(0x07)


def kdf(key: "Readable", constant: int, bits: int, context: bytes) -> bytes:
    """NIST SP 800-108 counter mode with CMAC (Amendment D, 4.1.5); bits at most 128."""
    label = bytes((0, constant, 0, bits >> 8, bits & 0xFF, 1))
    return cmac(key, bytes(10), label, context)[: bits // 8]


class Session:
    """A secure channel, from INITIALIZE UPDATE to close().

    open: the host has proved that it has the keys. level: what it asked for, of its commands and
    of the answers (Amendment D, 7.1.2).
    """

    def __init__(self, keys: bytes, host_challenge: "Readable", card_challenge: bytes) -> None:
        """keys: ENC, MAC and DEK, 48 bytes."""
        context = bytes(host_challenge) + card_challenge
        self.open = False
        self.level = 0
        self._enc = bytearray(kdf(keys[:16], _S_ENC, 0x80, context))
        self._mac = bytearray(kdf(keys[16:32], _S_MAC, 0x80, context))
        self._rmac = bytearray(kdf(keys[16:32], _S_RMAC, 0x80, context))
        self._chain = bytearray(16)
        self._counter = 0
        self._host_cryptogram = kdf(self._mac, _HOST_CRYPTOGRAM, 0x40, context)
        self.card_cryptogram = kdf(self._mac, _CARD_CRYPTOGRAM, 0x40, context)

    def authenticate(self, apdu: memoryview, command: "Command") -> None:
        """EXTERNAL AUTHENTICATE: open the channel, or raise Refused."""
        # Of wrong keys both are wrong, and the cryptogram's word says so.
        if not same(command.data[:8], self._host_cryptogram):
            raise Refused(wire.SW_NOT_AUTHENTICATED)
        if len(self._verified(apdu, command)) != 8:
            raise Refused(wire.SW_LENGTH)
        self.level = command.p1
        self.open = True

    def unwrap(self, apdu: memoryview, command: "Command") -> None:
        """Check the C-MAC and decrypt command.data in place; raises Refused(6988)."""
        data = self._verified(apdu, command)
        self._counter += 1
        size = len(data)
        if size and self.level & wire.SCP_C_DECRYPTION:
            if size % 16:
                raise Refused(wire.SW_SECURE_MESSAGING)
            aes(self._enc, _CBC, self._icv(0)).decrypt(data, data)
            while size and data[size - 1] == 0:
                size -= 1
            if size == 0 or data[size - 1] != 0x80:
                raise Refused(wire.SW_SECURE_MESSAGING)
            size -= 1
        command.data = data[:size]

    def wrap(self, answer: bytes) -> bytes:
        """The answer of a command that succeeded; by level encrypted, and with its R-MAC."""
        if not self.level & wire.SCP_R_MAC:
            return answer
        if answer and self.level & wire.SCP_R_ENCRYPTION:
            answer += _PAD[: 16 - len(answer) % 16]
            answer = aes(self._enc, _CBC, self._icv(0x80)).encrypt(answer)
        return answer + cmac(self._rmac, self._chain, answer, b"\x90\x00")[:_MAC]

    def close(self) -> None:
        """End the session and forget its keys."""
        self.open = False
        for secret in (self._enc, self._mac, self._rmac, self._chain):
            for i in range(16):
                secret[i] = 0

    def _verified(self, apdu: memoryview, command: "Command") -> memoryview:
        """command.data without its C-MAC, which was right; the chain moves on."""
        size = len(command.data) - _MAC
        if size < 0:
            raise Refused(wire.SW_SECURE_MESSAGING)
        mac = cmac(self._mac, self._chain, apdu[: command.head + size])
        if not same(command.data[size:], mac[:_MAC]):
            raise Refused(wire.SW_SECURE_MESSAGING)
        self._chain[:] = mac
        return command.data[:size]

    def _icv(self, direction: int) -> bytes:
        """The initial chaining value: the command counter, encrypted (Amendment D, 6.2.6)."""
        counter = direction << 120 | self._counter
        return aes(self._enc, _ECB).encrypt(counter.to_bytes(16, "big"))
