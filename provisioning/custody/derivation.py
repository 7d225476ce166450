"""Key derivations of SCP03 in software, for keys that are at hand as bytes."""

from __future__ import annotations

from abc import ABC, abstractmethod

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.cmac import CMAC

from tallystick.provisioning.card.keys import Sealed
from tallystick.provisioning.card.scp03 import (
    BLOCK,
    DERIVE_S_ENC,
    DERIVE_S_MAC,
    DERIVE_S_RMAC,
    derivation_message,
)

Key = bytes | memoryview


def aes_cmac(key: Key, message: bytes) -> bytes:
    """AES-CMAC, RFC 4493 (and its 192- and 256-bit forms); 16 bytes."""
    mac = CMAC(AES(key))
    mac.update(message)
    return mac.finalize()


def aes_cbc(key: Key, iv: bytes, plaintext: bytes) -> bytes:
    cipher = Cipher(AES(key), CBC(iv)).encryptor()
    return cipher.update(plaintext) + cipher.finalize()


def aes_cbc_decrypt(key: Key, iv: bytes, ciphertext: bytes) -> bytes:
    cipher = Cipher(AES(key), CBC(iv)).decryptor()
    return cipher.update(ciphertext) + cipher.finalize()


def aes_block(key: Key, block: bytes) -> bytes:
    """AES of a single block (CBC with a zero IV is just that)."""
    return aes_cbc(key, bytes(BLOCK), block)


def check_value(key: Key) -> bytes:
    """Key check value of an AES key: 3 bytes of the encryption of sixteen 01 bytes."""
    return aes_block(key, b"\x01" * BLOCK)[:3]


def _session_key(static: bytes, constant: int, context: bytes) -> bytes:
    size = len(static)
    blocks = range(1, -(-size // BLOCK) + 1)
    parts = (derivation_message(constant, 8 * size, context, block) for block in blocks)
    return b"".join(aes_cmac(static, part) for part in parts)[:size]


class SoftwareChannelKeys:
    """Session keys in this process's memory. Implements card.keys.ChannelKeys."""

    def __init__(self, static_enc: bytes, static_mac: bytes, context: bytes) -> None:
        self._enc = _session_key(static_enc, DERIVE_S_ENC, context)
        self._mac = _session_key(static_mac, DERIVE_S_MAC, context)
        self._rmac = _session_key(static_mac, DERIVE_S_RMAC, context)

    def mac(self, message: bytes) -> bytes:
        return aes_cmac(self._mac, message)

    def response_mac(self, message: bytes) -> bytes:
        return aes_cmac(self._rmac, message)

    def encrypt_block(self, block: bytes) -> bytes:
        return aes_block(self._enc, block)

    def encrypt(self, iv: bytes, plaintext: bytes) -> bytes:
        return aes_cbc(self._enc, iv, plaintext)

    def decrypt(self, iv: bytes, ciphertext: bytes) -> bytes:
        return aes_cbc_decrypt(self._enc, iv, ciphertext)

    def encrypt_sealed(self, iv: bytes, before: bytes, secret: Sealed, after: bytes) -> bytes:
        if not isinstance(secret, SoftwareSealed):
            raise TypeError("a seed of another custody")
        return aes_cbc(self._enc, iv, before + secret.reveal() + after)

    def close(self) -> None:
        self._enc = self._mac = self._rmac = b""


class SoftwareSealed(ABC):
    """A sealed secret whose bytes are at hand, for SoftwareChannelKeys only."""

    @property
    def size(self) -> int:
        return len(self.reveal())

    @abstractmethod
    def reveal(self) -> bytes: ...
