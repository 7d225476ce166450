"""What stands at both ends of the relay: a station with its journal and a registry, and cards with
the real firmware."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pyotp

from tallystick.common.identity import DEVELOPMENT_MASTER, Identity, kdf3
from tallystick.common.secret import Secret
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.image import Image
from tallystick.provisioning import container
from tallystick.provisioning.card.connection import CommandApdu, Response
from tallystick.provisioning.card.keys import ChannelKeys, Sealed
from tallystick.provisioning.card.scp03 import InitializeUpdate, SecureChannel
from tallystick.provisioning.card.t1 import Waiting
from tallystick.provisioning.custody.derivation import SoftwareChannelKeys
from tallystick.provisioning.custody.keyfile import KeyRing, parse_credential
from tallystick.provisioning.custody.software import SoftwareCustody, SoftwareSeed
from tallystick.provisioning.journal import StationJournal
from tallystick.provisioning.registry import DuplicateSerialError, Registered
from tallystick.provisioning.server_link import RegistryRefusedError

URL = "http://127.0.0.1:9"
SERIAL, OTHER = "TS00000001", "TS00000002"
_PSK = "000102030405060708090a0b0c0d0e0f"
_NAMES = ("ENC", "MAC", "DEK")
_PRESS_MS = 120
_PRESSES = 4  # of one run: whoever presses is no machine


class WatchedKeys:
    """Session keys whose use is noted. Implements card.keys.ChannelKeys."""

    def __init__(self, keys: SoftwareChannelKeys, custody: WatchedCustody) -> None:
        self._keys, self._custody = keys, custody
        self._used: set[bytes] = set()

    def mac(self, message: bytes) -> bytes:
        return self._keys.mac(message)

    def response_mac(self, message: bytes) -> bytes:
        return self._keys.response_mac(message)

    def encrypt_block(self, block: bytes) -> bytes:
        return self._keys.encrypt_block(block)

    def encrypt(self, iv: bytes, plaintext: bytes) -> bytes:
        self._note(iv)
        return self._keys.encrypt(iv, plaintext)

    def decrypt(self, iv: bytes, ciphertext: bytes) -> bytes:
        return self._keys.decrypt(iv, ciphertext)

    def encrypt_sealed(self, iv: bytes, before: bytes, secret: Sealed, after: bytes) -> bytes:
        self._note(iv)
        return self._keys.encrypt_sealed(iv, before, secret, after)

    def close(self) -> None:
        self._keys.close()

    def _note(self, iv: bytes) -> None:
        if iv in self._used:
            self._custody.problems.append(("nonce", "an initial value was used for two commands"))
        self._used.add(iv)


class WatchedCustody(SoftwareCustody):
    """Notes every secret that it makes. secrets: name → values."""

    def __init__(self, ring: KeyRing) -> None:
        super().__init__(ring)
        self.ring = ring
        self.secrets: dict[str, set[bytes]] = {"seed": set(), "session key": set()}
        self.problems: list[tuple[str, str]] = []

    def channel_keys(self, update: InitializeUpdate, context: bytes) -> ChannelKeys:  # type: ignore[override]
        keys = super().channel_keys(update, context)
        self.secrets["session key"] |= {keys._enc, keys._mac, keys._rmac}
        return WatchedKeys(keys, self)

    def new_seed(self, serial: str, card_entropy: bytes) -> SoftwareSeed:
        seed = super().new_seed(serial, card_entropy)
        self.secrets["seed"].add(seed.reveal())
        return seed

    def secrets_of(self, serial: str) -> Iterator[tuple[str, bytes]]:
        """What a relay must not learn, by its name."""
        masters = [self.ring.transport_master, *self.ring.firm.values()]
        for master in masters:
            yield "master", master.reveal()
            for name, key in zip(
                ("ENC", "MAC", "DEK"), kdf3(master.view(), serial.encode()), strict=True
            ):
                yield f"card key {name}", key
        for name, values in self.secrets.items():
            for value in values:
                yield name, value


class WireRegistry:
    """The server's contract in memory. seeds: as decrypted, by serial number."""

    def __init__(self, custody: SoftwareCustody) -> None:
        self._custody = custody
        self.containers: dict[str, bytes] = {}

    def check(self) -> None:
        pass

    def check_user(self, user: str | None, *, new_user: bool = False) -> None:
        pass

    def lookup(self, serial: str) -> Registered | None:
        return _registered(serial) if serial in self.containers else None

    def register(self, serial: str, container: bytes) -> Registered:
        """Raises DuplicateSerialError."""
        if self.containers.setdefault(serial, container) != container:
            raise DuplicateSerialError("It has another seed.", "409")
        return _registered(serial)

    def withdraw(self, serial: str) -> None:
        """Raises RegistryRefusedError."""
        if self.containers.pop(serial, None) is None:
            raise RegistryRefusedError("There is no such card.", "404")

    def assign(self, serial: str, user: str, *, new_user: bool = False) -> Registered:
        return _registered(serial)

    def close(self) -> None:
        pass

    def codes(self, serial: str, count: int) -> list[str]:
        """The first codes of the seed that is registered."""
        sealed = container.parts(self.containers[serial]).sealed
        with self._custody.open_for_export(sealed) as seed:
            hotp = pyotp.HOTP(base64.b32encode(seed.reveal()).decode())
        return [hotp.at(factor) for factor in range(count)]


def _registered(serial: str) -> Registered:
    return Registered(serial, "registered", 6, 2, None, "station")


class WireJournal(StationJournal):
    """What a power cut leaves of it is another campaign's matter: here nothing waits for a disk."""

    def _prepare(self) -> None:
        super()._prepare()
        self._database.execute("PRAGMA synchronous=OFF")


@cache
def _fresh_journal() -> bytes:
    """One that nothing was written to. To make its tables takes as long as the rest of a run."""
    with TemporaryDirectory() as name:
        path = Path(name) / "journal.db"
        WireJournal(path).close()
        return path.read_bytes()


def key_ring(versions: int = 1) -> KeyRing:
    """versions: firm masters, the last of them current."""
    ring = KeyRing.create(DEVELOPMENT_MASTER)
    ring.firm = {n: Secret(bytes(range(16 * n, 16 * n + 16))) for n in range(1, versions + 1)}
    ring.firm_version = versions
    value = {"id": "station", "role": "station", "token": "a-token", "psk": _PSK}
    ring.enroll(parse_credential(URL, value))
    return ring


def new_card(
    image: Image, serial: str = SERIAL, flash: bytes | None = None, *, seed: int = 0
) -> Card:
    """A card on its dock that has power; flash: as another one left it. seed: of its randomness,
    which must not come again with what was heard before."""
    card = Card(image, identity=Identity.derive(serial, 20260101).encode(), seed=seed)
    if flash is not None:
        card.flash.load(0, flash)
    card.dock()  # first, or it starts once for its holder and once more for the dock
    card.power_on()
    return card


def finger(card: Card) -> Waiting:
    """Presses when the station asks for it, a few times."""
    left = _PRESSES

    def press() -> None:
        nonlocal left
        if left and card.powered:
            left -= 1
            card.button.push()
            card.run_for(_PRESS_MS)
            card.button.release()

    return Waiting(press)


Taken = tuple[bytes, bytes]
"""A command as it was sent, and the answer as the station took it: both whole, as on the wire."""


@contextmanager
def watched_answers() -> Iterator[list[Taken]]:
    """What secure channels of this process take for a card's word, from now on."""
    taken: list[Taken] = []
    genuine = SecureChannel._exchange

    def exchange(
        self: SecureChannel, command: CommandApdu, data: bytes, waiting: Waiting | None
    ) -> Response:
        connection, seen = self.connection, []
        send = connection.transmit

        def transmit(signed: CommandApdu, waiting: Waiting | None = None) -> Response:
            response = send(signed, waiting)
            seen.append((signed.encode(), response.data + response.sw.to_bytes(2, "big")))
            return response

        connection.transmit = transmit  # type: ignore[method-assign,assignment]
        try:
            response = genuine(self, command, data, waiting)
        finally:
            connection.transmit = send  # type: ignore[method-assign]
        if response.sw == 0x9000:
            taken.extend(seen)
        return response

    SecureChannel._exchange = exchange  # type: ignore[method-assign]
    try:
        yield taken
    finally:
        SecureChannel._exchange = genuine  # type: ignore[method-assign]


def open_journal(folder: Path, content: bytes) -> WireJournal:
    """A journal of its own, as another one was left."""
    path = folder / "journal.db"
    for stale in folder.iterdir():
        stale.unlink()
    path.write_bytes(content or _fresh_journal())
    return WireJournal(path)
