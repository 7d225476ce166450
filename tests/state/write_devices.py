"""Writes the flash of devices that run this version's firmware, as they are in the field, into the
folder of the version: `python -m tests.state.write_devices`. Run once for a release, committed, and
never again: `test_devices.py` starts, updates and brings back every one of them.

A card is in service, has the seed of RFC 4226 and has shown three codes; a reader has a PIN
and has spent one try of it. Their keys are the published development ones.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from fido2.ctap import CtapError
from fido2.ctap2.base import Ctap2
from fido2.ctap2.pin import ClientPin
from fido2.hid import CtapHidDevice

from tallystick import __version__
from tallystick.common.identity import DEVELOPMENT_MASTER, Identity
from tallystick.common.reader_identity import ReaderIdentity
from tallystick.common.secret import Secret
from tallystick.emulator.boards import BOARDS, READERS
from tallystick.emulator.chips.chip import OneTimeRows
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.image import Image
from tallystick.emulator.devices.reader import Reader
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.custody.keyfile import JOURNAL_KEY_SIZE, KeyRing
from tallystick.provisioning.custody.software import SoftwareCustody
from tallystick.tools.campaign.reader.host import DESCRIPTOR, Connection
from tallystick.tools.campaign.reader.sensor import ScriptedSensor
from tallystick.tools.docked import DockedLink
from tallystick.tools.image.build import build, write
from tallystick.tools.personalise import personalise, put_into_service

FOLDER = Path(__file__).parent / "devices"
CARD, READER = "TS00000001", "TR00000001"
PIN = "2468"
SHOWN = 3  # codes that the card has shown
SLEEP_MS = 40_000
_OTP_RANDOM = 0x40130008


@dataclass(frozen=True)
class KeptDevice:
    """A device of a released version, as it lies in somebody's drawer. rows: burnt once, row →
    bits; random: the chip's own number, four words."""

    version: str
    board: str
    flash: bytes
    rows: dict[int, int]
    random: list[int]

    @classmethod
    def load(cls, version: str, board: str) -> KeptDevice:
        folder = FOLDER / version
        told = json.loads((folder / f"{board}.json").read_text(encoding="utf-8"))
        rows = {int(row): bits for row, bits in told["rows"].items()}
        flash = gzip.decompress((folder / f"{board}.flash.gz").read_bytes())
        return cls(version, board, flash, rows, told["random"])

    def save(self) -> None:
        folder = FOLDER / self.version
        folder.mkdir(parents=True, exist_ok=True)
        told = {"board": self.board, "rows": self.rows, "random": self.random}
        (folder / f"{self.board}.json").write_text(json.dumps(told) + "\n", encoding="utf-8")
        packed = gzip.compress(self.flash, 9, mtime=0)
        (folder / f"{self.board}.flash.gz").write_bytes(packed)


def random_of(reader: Reader) -> list[int]:
    return [reader.mcu.registers.read(_OTP_RANDOM + 4 * word) for word in range(4)]


def custody() -> SoftwareCustody:
    """A firm whose ring depends on no chance."""
    firm = {1: Secret(bytes(range(16)))}
    return SoftwareCustody(
        KeyRing(Secret(DEVELOPMENT_MASTER), firm, 1, True, Secret(bytes(JOURNAL_KEY_SIZE)))
    )


def new_card(image: Image) -> Card:
    return Card(image, identity=Identity.derive(CARD, 20260101).encode(), seed=1)


def _card(board: str, folder: Path) -> KeptDevice:
    image = Image.load(write(build("card", board, __version__), folder)["bin"])
    with new_card(image) as card:
        card.power_on()
        personalise(card)
        with CardConnection(DockedLink(card)) as connection:
            put_into_service(connection, custody())
        card.run_for(SLEEP_MS)
        for _ in range(SHOWN):
            card.press()
            assert card.read_code()
            card.run_for(SLEEP_MS)
        card.power_off()
        return KeptDevice(__version__, board, bytes(card.flash.memory), {}, [])


def new_reader(image: Image) -> Reader:
    identity = ReaderIdentity.development(READER).encode()
    return Reader(image, identity=identity, sensor_for=ScriptedSensor, seed=1)


def connect(reader: Reader) -> Ctap2:
    return Ctap2(CtapHidDevice(DESCRIPTOR, Connection(reader)))


def _reader(board: str, folder: Path) -> KeptDevice:
    image = Image.load(write(build("reader", board, __version__), folder)["bin"])
    with new_reader(image) as reader:
        reader.power_on()
        client = ClientPin(connect(reader))
        client.set_pin(PIN)
        with pytest.raises(CtapError):
            client.get_pin_token("0000")
        reader.run_for(1_000)
        reader.power_off()
        assert isinstance(reader.mcu.registers, OneTimeRows)
        rows = dict(reader.mcu.registers.rows)
        return KeptDevice(__version__, board, bytes(reader.flash.memory), rows, random_of(reader))


def main() -> None:
    if (FOLDER / __version__).exists():
        sys.exit(f"{FOLDER / __version__} is there already: what was released stays as it was.")
    with tempfile.TemporaryDirectory() as name:
        for board in BOARDS:
            _card(board, Path(name) / board).save()
        for board in READERS:
            _reader(board, Path(name) / board).save()


if __name__ == "__main__":
    main()
