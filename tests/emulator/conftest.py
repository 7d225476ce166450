"""Firmware of a test's own, on an emulated board."""

import pytest

from tallystick.emulator.devices.card import Card
from tallystick.tools.image.folder import from_folder


@pytest.fixture
def foreign(tmp_path):
    """foreign(source, board): a card that boots it; not powered yet."""
    cards = []

    def make(source, board="pico", **files):
        folder = tmp_path / f"firmware{len(cards)}"
        folder.mkdir()
        (folder / "main.py").write_text(source)
        for name, text in files.items():
            (folder / f"{name}.py").write_text(text)
        card = Card(from_folder(folder, board), seed=1)
        cards.append(card)
        return card

    yield make
    for card in cards:
        card.close()
