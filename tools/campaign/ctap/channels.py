"""Messages to an emulated reader as they are, on channels of one host, and a person who touches it
or does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from hmac import digest

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tallystick.emulator.devices.device import FirmwareCrashError
from tallystick.emulator.devices.reader import REPORT, Reader
from tallystick.tools.campaign.engine.subject import ViolationError

_CBOR, _INIT, _CANCEL, _KEEPALIVE, _ERROR = 0x90, 0x86, 0x91, 0xBB, 0xBF
_UP_NEEDED = 2
_LIMIT_MS = 40_000  # the longest command waits 30 s for a finger
_NONCE = b"tallysti"

# The platform's key agreement key is 1: its public key is the curve's base point (SP 800-186,
# 3.2.1.3), and what both share is the x coordinate of the reader's public key.
PLATFORM_KEY = {
    1: 2, 3: -25, -1: 1,
    -2: bytes.fromhex("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"),
    -3: bytes.fromhex("4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"),
}  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """status, and the encoded map behind it. asked: the reader wanted the user."""

    status: int
    body: bytes
    asked: bool


class HostChannels:
    """`opened` after each power-up: channels are given out by the reader."""

    def __init__(self, reader: Reader, names: str) -> None:
        self._reader = reader
        self._names = names
        self.numbers: dict[str, bytes] = {}

    def open(self) -> None:
        for name in self._names:
            self._reader.write_report(b"\xff" * 4 + bytes((_INIT, 0, 8)) + _NONCE)
            answer = self._read()
            if answer[:5] != b"\xff" * 4 + bytes((_INIT,)) or answer[7:15] != _NONCE:
                raise ViolationError("hid", f"INIT was answered with {answer.hex()}")
            self.numbers[name] = answer[15:19]

    def begin_anew(self, name: str) -> None:
        """11.2.9.1.3: INIT on a channel that was given. Raises ViolationError."""
        number = self.numbers[name]
        self._reader.write_report(number + bytes((_INIT, 0, 8)) + _NONCE)
        answer = self._read()
        if answer[:5] != number + bytes((_INIT,)) or answer[7:19] != _NONCE + number:
            raise ViolationError("hid", f"INIT was answered with {answer.hex()}")

    def ask(self, name: str, message: bytes, on_asked: Callable[[], bool] | None = None) -> Answer:
        """on_asked: what the person does when the reader wants the user; False: nothing, and the
        host gives up. Raises ViolationError."""
        number = self.numbers[name]
        self._write(number, message)
        asked = False
        got, size = b"", -1
        while size < 0 or len(got) < size:
            report = self._read()
            if report[:4] != number:
                raise ViolationError("channel", f"{name} asked, {report[:4].hex()} was answered")
            if size >= 0:
                got += report[5:]
            elif report[4] == _KEEPALIVE:
                if report[7] == _UP_NEEDED and not asked:
                    asked = True
                    if on_asked is None or not on_asked():
                        self._reader.write_report(number + bytes((_CANCEL, 0, 0)))
            elif report[4] == _CBOR:
                size = report[5] << 8 | report[6]
                got = report[7:]
            else:
                raise ViolationError("hid", f"answered with {report[4]:02x} {report[7]:02x}")
        if size < 1:
            raise ViolationError("hid", "an answer without a status")
        return Answer(got[0], got[1:size], asked)

    def _write(self, number: bytes, message: bytes) -> None:
        head = bytes((_CBOR, len(message) >> 8, len(message) & 0xFF))
        at, sequence = 0, 0
        while True:
            room = REPORT - 4 - len(head)
            self._reader.write_report(number + head + message[at : at + room])
            at += room
            if at >= len(message):
                return
            head = bytes((sequence,))
            sequence += 1

    def _read(self) -> bytes:
        reports = self._reader.reports
        try:
            came = bool(reports) or self._reader.run_until(
                lambda: bool(reports), limit_ms=_LIMIT_MS
            )
        except FirmwareCrashError as error:
            raise ViolationError("crash", error.what) from error
        if not came:
            raise ViolationError("mute", "the reader answers nothing")
        return reports.popleft()


class Shared:
    """What platform and reader share, by PIN/UV auth protocol 2 (6.5.7). x: of the reader's key."""

    def __init__(self, x: bytes) -> None:
        extract = digest(bytes(32), x, "sha256")
        self._mac = digest(extract, b"CTAP2 HMAC key\x01", "sha256")
        self._aes = digest(extract, b"CTAP2 AES key\x01", "sha256")

    def authenticate(self, message: bytes) -> bytes:
        return authenticate(self._mac, message)

    def encrypt(self, data: bytes) -> bytes:
        vector = sha256(data).digest()[:16]
        encryptor = Cipher(AES(self._aes), CBC(vector)).encryptor()
        return vector + encryptor.update(data) + encryptor.finalize()

    def decrypt(self, data: bytes) -> bytes:
        decryptor = Cipher(AES(self._aes), CBC(data[:16])).decryptor()
        return decryptor.update(data[16:]) + decryptor.finalize()


def opened(sealed: bytes, token: bytes, info: bytes) -> bytes:
    """CTAP 2.2, 6.4: what getInfo tells to who holds the persistent token. sealed: initial vector
    (16) ‖ ciphertext."""
    key = HKDF(SHA256(), 16, bytes(32), info).derive(token)
    decryptor = Cipher(AES(key), CBC(sealed[:16])).decryptor()
    return decryptor.update(sealed[16:]) + decryptor.finalize()


def authenticate(key: bytes, message: bytes) -> bytes:
    """Protocol 2."""
    return digest(key, message, "sha256")
