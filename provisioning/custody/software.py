"""Custody in this process's memory, from the masters of an opened key file."""

from __future__ import annotations

import base64
import hmac

import pyotp
from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import (
    aes_key_unwrap_with_padding,
    aes_key_wrap_with_padding,
)

from tallystick.common import chance
from tallystick.common.identity import kdf3
from tallystick.common.secret import Secret
from tallystick.provisioning.card.issuer import TRANSPORT_KEYS, WrappedKey
from tallystick.provisioning.card.scp03 import BLOCK, InitializeUpdate
from tallystick.provisioning.credential import CodeKind
from tallystick.provisioning.custody.derivation import (
    SoftwareChannelKeys,
    SoftwareSealed,
    aes_cbc,
    aes_cbc_decrypt,
    aes_cmac,
    check_value,
)
from tallystick.provisioning.custody.interface import (
    KeyDescription,
    ServerCredential,
    UnknownKeyError,
    journal_was_changed,
)
from tallystick.provisioning.custody.keyfile import KeyRing

SEED_SIZE = 20  # RFC 4226 recommends 160 bits, the output size of SHA-1
STATION_ENTROPY = 32


class SoftwareSeed(SoftwareSealed):
    """A seed in memory. Implements custody.interface.Seed."""

    def __init__(self, value: Secret, custody: SoftwareCustody) -> None:
        self._value = value
        self._custody = custody

    def reveal(self) -> bytes:
        return self._value.reveal()

    def codes(self, first: int, count: int, kind: CodeKind) -> list[str]:
        key = base64.b32encode(self.reveal()).decode()
        hotp = pyotp.HOTP(key, digits=kind.digits, digest=kind.hash.function)
        return [hotp.at(factor) for factor in range(first, first + count)]

    def for_server(self) -> bytes:
        return self._custody.encrypt_for_server(self.reveal())

    def for_journal(self, context: bytes) -> bytes:
        return self._custody.seal(self.reveal(), context)

    def wipe(self) -> None:
        self._value.wipe()


class SoftwareCustody:
    """Implements custody.interface.Custody over a key ring."""

    exports_seeds = True
    reopens_seeds = True

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    @property
    def firm_version(self) -> int:
        """Of the newest firm master, 1 to 7F hexadecimal."""
        return self._ring.firm_version

    def describe(self) -> list[KeyDescription]:
        rows = [self._description("transport", TRANSPORT_KEYS, self._ring.transport_master)]
        rows += [self._description("firm", v, k) for v, k in sorted(self._ring.firm.items())]
        return rows

    def _description(self, name: str, version: int, key: Secret) -> KeyDescription:
        current = version in (TRANSPORT_KEYS, self.firm_version)
        tried = self._ring.is_tried(version)
        return KeyDescription(name, version, check_value(key.view()).hex(), current, tried)

    def _master(self, version: int) -> memoryview:
        if version == TRANSPORT_KEYS:
            return self._ring.transport_master.view()
        if version not in self._ring.firm:
            raise UnknownKeyError(version)
        return self._ring.firm[version].view()

    def channel_keys(self, update: InitializeUpdate, context: bytes) -> SoftwareChannelKeys:
        master = self._master(update.key_version)
        enc, mac, _ = kdf3(master, update.diversification_data)
        return SoftwareChannelKeys(enc, mac, context)

    def transport_keys(self, serial: str) -> Secret:
        return Secret(b"".join(kdf3(self._master(TRANSPORT_KEYS), serial.encode())))

    def firm_keys(
        self, card_version: int, diversification_data: bytes
    ) -> tuple[WrappedKey, WrappedKey, WrappedKey]:
        _, _, dek = kdf3(self._master(card_version), diversification_data)
        enc, mac, new_dek = (
            WrappedKey(aes_cbc(dek, bytes(BLOCK), key), check_value(key))
            for key in kdf3(self._master(self.firm_version), diversification_data)
        )
        return enc, mac, new_dek

    def new_seed(self, serial: str, card_entropy: bytes) -> SoftwareSeed:
        """HKDF-SHA-256 (RFC 5869) over station entropy ‖ card entropy: as long as one of the two
        is unknown to an attacker, so is the seed."""
        derive = HKDF(hashes.SHA256(), SEED_SIZE, None, b"tallystick seed 1 " + serial.encode())
        entropy = chance.token_bytes(STATION_ENTROPY) + card_entropy
        return SoftwareSeed(Secret(derive.derive(entropy)), self)

    def seal(self, seed: bytes, context: bytes) -> bytes:
        """AES key wrap (RFC 5649) ‖ AES-CMAC over it and `context`."""
        wrap, mac = self._journal_keys()
        wrapped = aes_key_wrap_with_padding(wrap, seed)
        return wrapped + aes_cmac(mac, wrapped + context)

    def reopen_seed(self, sealed: bytes, context: bytes) -> SoftwareSeed:
        wrap, mac = self._journal_keys()
        wrapped, tag = sealed[:-BLOCK], sealed[-BLOCK:]
        if not hmac.compare_digest(aes_cmac(mac, wrapped + context), tag):
            raise journal_was_changed()
        return SoftwareSeed(Secret(aes_key_unwrap_with_padding(wrap, wrapped)), self)

    def _journal_keys(self) -> tuple[memoryview, memoryview]:
        key = self._ring.journal_key.view()
        return key[:BLOCK], key[BLOCK:]

    def server(self) -> ServerCredential:
        server = self._ring.require_server()
        return ServerCredential(server.url, server.id, server.token)

    def encrypt_for_server(self, plaintext: bytes) -> bytes:
        padder = padding.PKCS7(8 * BLOCK).padder()
        iv = chance.token_bytes(BLOCK)
        key = self._ring.require_server().pre_shared_key.view()
        return iv + aes_cbc(key, iv, padder.update(plaintext) + padder.finalize())

    def open_for_export(self, sealed: bytes) -> Secret:
        key = self._ring.require_server().pre_shared_key.view()
        unpadder = padding.PKCS7(8 * BLOCK).unpadder()
        padded = aes_cbc_decrypt(key, sealed[:BLOCK], sealed[BLOCK:])
        return Secret(unpadder.update(padded) + unpadder.finalize())

    def rest(self) -> None:
        """Keys of a file are in this process, at work or not."""

    def close(self) -> None:
        self._ring.wipe()
