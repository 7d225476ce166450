"""Cards in a firm's service, and images to update them with."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tallystick.common.identity import DEVELOPMENT_MASTER, Identity
from tallystick.emulator import boards
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.image import Image
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.card.issuer import IssuerSession, LifeCycle
from tallystick.provisioning.card.scp03 import SecureChannel
from tallystick.provisioning.custody.keyfile import KeyRing
from tallystick.provisioning.custody.software import SoftwareCustody
from tallystick.tools.docked import DockedLink
from tallystick.tools.flash.drive import INFORMATION
from tallystick.tools.flash.field import Update
from tallystick.tools.image.build import build, write
from tallystick.tools.personalise import personalise
from tests.tools.flash import programs

BOARDS = tuple(boards.BOARDS)


@pytest.fixture(scope="session")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Path]]:
    """Builds an image once: outputs(board, version, **options) → paths by kind."""

    @cache
    def made(board: str, version: str, **options: object) -> dict[str, Path]:
        folder = tmp_path_factory.mktemp("image")
        return write(build("card", board, version, **options), folder)

    return made


@pytest.fixture(scope="session")
def custody() -> SoftwareCustody:
    """A firm's keys."""
    return SoftwareCustody(KeyRing.create(DEVELOPMENT_MASTER))


class Firm:
    """One firm's cards. Each call of `card` gives a card in the same state, quickly."""

    def __init__(self, outputs: Callable[..., dict[str, Path]], custody: SoftwareCustody) -> None:
        self.outputs = outputs
        self.custody = custody
        self._flash: dict[tuple[str, LifeCycle], bytes] = {}

    def update(self, board: str, version: str = "0.2.0", **options: object) -> Update:
        return Update.parse(self.outputs(board, version, **options)["update"].read_bytes())

    def blank(self, board: str) -> Card:
        """Fresh from the factory, not powered."""
        image = Image.load(self.outputs(board, "0.1.0")["bin"])
        return Card(image, identity=Identity.derive("TS00000001", 20260101).encode(), seed=1)

    def card(self, board: str, state: LifeCycle = LifeCycle.INITIALIZED) -> Card:
        """With the seed of RFC 4226, the firm's keys, and version 0.1.0; asleep."""
        card = self.blank(board)
        if (board, state) not in self._flash:
            self._personalise(card, state)
            card.power_off()
            self._flash[board, state] = bytes(card.flash.memory)
            card.close()
            card = self.blank(board)
        card.flash.load(0, self._flash[board, state])
        card.power_on()
        return card

    def _personalise(self, card: Card, state: LifeCycle) -> None:
        card.power_on()
        personalise(card)
        with CardConnection(DockedLink(card)) as connection:
            self.put_keys(connection)
            if state is LifeCycle.SECURED:
                channel = SecureChannel.open(connection, self.custody.channel_keys)
                IssuerSession(channel).set_status(state)
        card.run_for(1000)

    def put_keys(self, connection: CardConnection) -> None:
        channel = SecureChannel.open(connection, self.custody.channel_keys)
        version, data = channel.update.key_version, channel.update.diversification_data
        keys = self.custody.firm_keys(version, data)
        IssuerSession(channel).put_key(self.custody.firm_version, keys)


@pytest.fixture(scope="session")
def firm(outputs: Callable[..., dict[str, Path]], custody: SoftwareCustody) -> Firm:
    return Firm(outputs, custody)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Stands for OpenOCD or dfu-util: program(name, body) → the folder of its files."""
    return lambda name, body: programs.install(tmp_path / "bin", monkeypatch, name, body)


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """The boot ROM of an RP2040, as a folder."""
    folder = tmp_path / "media" / "someone" / "RPI-RP2"
    folder.mkdir(parents=True)
    (folder / INFORMATION).write_text(
        "UF2 Bootloader v3.0\r\nModel: Raspberry Pi RP2\r\nBoard-ID: RPI-RP2\r\n"
    )
    return folder


def press(card: Card) -> str | None:
    """Presses, reads the code, and waits until the card sleeps again."""
    card.press()
    code = card.read_code()
    card.run_for(40_000)
    return code
