"""`cryptolib` of the board: the built-in AES, with the chip's CPU time charged."""

import link
import ucryptolib

# µs to set up a key, and for one 16-byte block; set by boot.py from the host's cost table.
key_us = 0
block_us = 0


class aes:  # noqa: N801
    def __init__(self, key, mode, iv=None):
        link.charge(key_us)
        self._inner = ucryptolib.aes(key, mode, iv) if iv is not None else ucryptolib.aes(key, mode)

    def encrypt(self, data, out=None):
        link.charge(block_us * (len(data) >> 4))
        return self._inner.encrypt(data) if out is None else self._inner.encrypt(data, out)

    def decrypt(self, data, out=None):
        link.charge(block_us * (len(data) >> 4))
        return self._inner.decrypt(data) if out is None else self._inner.decrypt(data, out)
