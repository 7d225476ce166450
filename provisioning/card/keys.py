"""What the secure channel needs of key custody. The keys themselves may be in a module that never
gives them out, so everything here is an operation, not a key."""

from __future__ import annotations

from typing import Protocol


class Sealed(Protocol):
    """A secret that goes into a command without its bytes being seen here. size: in bytes."""

    @property
    def size(self) -> int: ...


class ChannelKeys(Protocol):
    """The session keys S-ENC, S-MAC and S-RMAC of one SCP03 session."""

    def mac(self, message: bytes) -> bytes:
        """AES-CMAC under S-MAC, 16 bytes."""

    def response_mac(self, message: bytes) -> bytes:
        """AES-CMAC under S-RMAC, 16 bytes."""

    def encrypt_block(self, block: bytes) -> bytes:
        """One AES block under S-ENC."""

    def encrypt(self, iv: bytes, plaintext: bytes) -> bytes:
        """AES-CBC under S-ENC; `plaintext` is whole blocks."""

    def decrypt(self, iv: bytes, ciphertext: bytes) -> bytes:
        """AES-CBC under S-ENC; `ciphertext` is whole blocks."""

    def encrypt_sealed(self, iv: bytes, before: bytes, secret: Sealed, after: bytes) -> bytes:
        """AES-CBC under S-ENC over before ‖ secret ‖ after, whole blocks in all."""

    def close(self) -> None:
        """Forget the keys."""
