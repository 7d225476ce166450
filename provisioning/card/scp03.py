"""Secure channel SCP03: GlobalPlatform Card Specification, Amendment D, S8 mode, level 33
(C-MAC, C-DECRYPTION, R-MAC, R-ENCRYPTION). Stricter than the specification asks of a host: every
9000 answer must carry a right R-MAC, also an empty one, and nothing else may carry data."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass

from tallystick.common import chance
from tallystick.common.errors import RefusedError
from tallystick.provisioning.card.connection import (
    MAX_SHORT_DATA,
    CardConnection,
    CommandApdu,
    Response,
    StatusWord,
)
from tallystick.provisioning.card.keys import ChannelKeys, Sealed
from tallystick.provisioning.card.t1 import Waiting

LEVEL = 0x33
MAC_SIZE = 8
BLOCK = 16
CURRENT_KEYS = 0x00
_PSEUDO_RANDOM = 0x10  # bit of the parameter i: a sequence counter ends the answer

DERIVE_CARD_CRYPTOGRAM = 0x00
DERIVE_HOST_CRYPTOGRAM = 0x01
DERIVE_S_ENC = 0x04
DERIVE_S_MAC = 0x06
DERIVE_S_RMAC = 0x07


class SecureChannelError(RefusedError):
    """The card's side of the channel is not genuine, or the line was tampered with."""


@dataclass(frozen=True)
class InitializeUpdate:
    """Answer of INITIALIZE UPDATE.

    diversification_data: 10 bytes (the serial number in ASCII on our cards).
    """

    diversification_data: bytes
    key_version: int
    parameter: int
    card_challenge: bytes
    card_cryptogram: bytes

    @classmethod
    def parse(cls, data: bytes) -> InitializeUpdate:
        """Raises SecureChannelError when `data` is no SCP03 answer."""
        if len(data) < 29 or data[11] != 3:
            raise SecureChannelError("The card does not speak SCP03.")
        parameter = data[12]
        if len(data) != (32 if parameter & _PSEUDO_RANDOM else 29):
            raise SecureChannelError("The card's answer to INITIALIZE UPDATE has a wrong length.")
        return cls(data[:10], data[10], parameter, data[13:21], data[21:29])


KeyDeriver = Callable[[InitializeUpdate, bytes], ChannelKeys]
"""(answer, context = host challenge ‖ card challenge) → session keys; raises when it holds no
keys for the card."""


def derivation_message(constant: int, bits: int, context: bytes, counter: int = 1) -> bytes:
    """Input of the data derivation KDF (Amendment D, section 4.1.5): 32 bytes and more."""
    return bytes(11) + bytes((constant, 0)) + bits.to_bytes(2, "big") + bytes((counter,)) + context


def pad(data: bytes) -> bytes:
    """ISO/IEC 9797-1 method 2: 80 and zeros up to the block."""
    return data + b"\x80" + bytes(-(len(data) + 1) % BLOCK)


def _unpad(data: bytes) -> bytes | None:
    stripped = data.rstrip(b"\0")
    if not stripped.endswith(b"\x80") or len(data) - len(stripped) >= BLOCK:
        return None
    return stripped[:-1]


class SecureChannel:
    """An open SCP03 session. Any irregularity closes it for good."""

    def __init__(
        self, connection: CardConnection, keys: ChannelKeys, update: InitializeUpdate
    ) -> None:
        self.connection = connection
        self.update = update
        self._keys = keys
        self._chain = bytes(BLOCK)
        self._counter = 0
        self._open = True

    @classmethod
    def open(
        cls,
        connection: CardConnection,
        derive: KeyDeriver,
        *,
        key_version: int = CURRENT_KEYS,
        host_challenge: bytes | None = None,
    ) -> SecureChannel:
        """Authenticate both sides.

        Raises SecureChannelError when the card has other keys than `derive` gives or its answer
        is malformed, CardRefusedError when it refuses, and what `derive` raises.
        """
        challenge = host_challenge or chance.token_bytes(8)
        answer = connection.transmit(CommandApdu(0x80, 0x50, key_version, 0, challenge)).require(
            "open a secure channel"
        )
        update = InitializeUpdate.parse(answer)
        context = challenge + update.card_challenge
        keys = derive(update, context)
        channel = cls(connection, keys, update)
        try:
            channel._authenticate(context)
        except BaseException:
            channel.close()
            raise
        return channel

    def _authenticate(self, context: bytes) -> None:
        expected = self._keys.mac(derivation_message(DERIVE_CARD_CRYPTOGRAM, 64, context))
        if not hmac.compare_digest(expected[:MAC_SIZE], self.update.card_cryptogram):
            raise SecureChannelError(
                "The card does not prove that it has the keys this station expects "
                f"(key version {self.update.key_version:02X}).",
                kept="Nothing was written to it.",
                todo="Check that it is your firm's card and that this is the right key file.",
            )
        host = self._keys.mac(derivation_message(DERIVE_HOST_CRYPTOGRAM, 64, context))[:MAC_SIZE]
        command = self._sign(CommandApdu(0x84, 0x82, LEVEL, 0, host))
        data = self.connection.transmit(command).require(
            "accept this station", kept="Nothing was written to it."
        )
        if data:
            raise SecureChannelError("The card's answer to EXTERNAL AUTHENTICATE carries data.")

    def transmit(self, command: CommandApdu, waiting: Waiting | None = None) -> Response:
        """Send a command through the channel.

        Raises SecureChannelError for a missing or wrong R-MAC, and for data without one.
        """
        iv = self._next_iv()
        data = self._keys.encrypt(iv, pad(command.data)) if command.data else b""
        return self._exchange(command, data, waiting)

    def transmit_sealed(
        self,
        command: CommandApdu,
        secret: Sealed,
        after: bytes = b"",
        waiting: Waiting | None = None,
    ) -> Response:
        """Send a command whose data is command.data ‖ secret ‖ after."""
        iv = self._next_iv()
        size = len(command.data) + secret.size + len(after)
        tail = after + pad(bytes(size))[size:]
        data = self._keys.encrypt_sealed(iv, command.data, secret, tail)
        return self._exchange(command, data, waiting)

    def close(self) -> None:
        """Forget the session keys. The card ends its side with the next SELECT or session."""
        if self._open:
            self._open = False
            self._keys.close()

    def _next_iv(self) -> bytes:
        if not self._open:
            raise SecureChannelError("The secure channel is closed.")
        self._counter += 1
        return self._keys.encrypt_block(self._counter.to_bytes(BLOCK, "big"))

    def _exchange(self, command: CommandApdu, data: bytes, waiting: Waiting | None) -> Response:
        wrapped = CommandApdu(
            command.cla | 0x04, command.ins, command.p1, command.p2, data, command.le
        )
        try:
            return self._unwrap(self.connection.transmit(self._sign(wrapped), waiting))
        except BaseException:
            self.close()  # the two sides may no longer agree on counter and chain
            raise

    def _sign(self, command: CommandApdu) -> CommandApdu:
        """Append the C-MAC, and make the whole MAC the next chaining value."""
        size = len(command.data) + MAC_SIZE
        lc = bytes((size,)) if size <= MAX_SHORT_DATA else b"\0" + size.to_bytes(2, "big")
        self._chain = self._keys.mac(self._chain + command.header + lc + command.data)
        signed = command.data + self._chain[:MAC_SIZE]
        return CommandApdu(command.cla, command.ins, command.p1, command.p2, signed, command.le)

    def _unwrap(self, response: Response) -> Response:
        data = response.data
        if response.sw != StatusWord.OK:
            if data:
                raise SecureChannelError("The card's error answer carries data.")
            return response
        if len(data) % BLOCK != MAC_SIZE:
            raise SecureChannelError("The card's answer carries no proof of where it comes from.")
        body, mac = data[:-MAC_SIZE], data[-MAC_SIZE:]
        signed = self._chain + body + response.sw.to_bytes(2, "big")
        if not hmac.compare_digest(self._keys.response_mac(signed)[:MAC_SIZE], mac):
            raise SecureChannelError(
                "The card's answer was forged, replayed or damaged (its R-MAC is wrong)."
            )
        if not body:
            return Response(b"", response.sw)
        iv = self._keys.encrypt_block(b"\x80" + self._counter.to_bytes(BLOCK - 1, "big"))
        plain = _unpad(self._keys.decrypt(iv, body))
        if plain is None:
            raise SecureChannelError("The card's answer is wrongly padded.")
        return Response(plain, response.sw)
