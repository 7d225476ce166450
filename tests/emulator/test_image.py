"""Images that the emulator takes, and those it refuses."""

from pathlib import Path

import pytest

from tallystick.common.errors import BadInputError
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.image import Image
from tallystick.tools.image.build import build, write


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write(build("card", "pico", "9.8.7"), tmp_path_factory.mktemp("image"))


@pytest.mark.parametrize("kind", ["bin", "hex", "uf2"])
def test_every_format_boots_the_same(outputs: dict[str, Path], kind: str) -> None:
    image = Image.load(outputs[kind])
    assert image.version == "9.8.7" and image.board.name == "pico"
    with Card(image) as card:
        card.power_on()
        assert not card.frame().blank, "a card without identity says so"
        assert card.flash.memory[:] is not None


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"no image .*none\.bin"):
        Image.load(tmp_path / "none.bin")


def test_another_board(outputs: dict[str, Path]) -> None:
    with pytest.raises(BadInputError, match="for pico, not for nucleo_l476rg") as refused:
        Image.load(outputs["bin"], "nucleo_l476rg")
    assert "--board pico" in refused.value.todo


def test_board_unknown(tmp_path: Path, outputs: dict[str, Path]) -> None:
    lonely = tmp_path / "card.bin"
    lonely.write_bytes(outputs["bin"].read_bytes())
    with pytest.raises(BadInputError, match="which board"):
        Image.load(lonely)


def test_a_file_that_its_manifest_does_not_know(tmp_path: Path, outputs: dict[str, Path]) -> None:
    changed = bytearray(outputs["bin"].read_bytes())
    changed[1000] ^= 1
    (tmp_path / "card.bin").write_bytes(changed)
    (tmp_path / "manifest.json").write_bytes(outputs["manifest"].read_bytes())
    with pytest.raises(BadInputError, match="SHA-256 differs"):
        Image.load(tmp_path / "card.bin")


def test_damaged_files(tmp_path: Path, outputs: dict[str, Path]) -> None:
    (tmp_path / "cut.uf2").write_bytes(outputs["uf2"].read_bytes()[:-7])
    with pytest.raises(BadInputError, match="whole UF2"):
        Image.load(tmp_path / "cut.uf2", "pico")
    text = outputs["hex"].read_text().replace(":10", ":1F", 1)
    (tmp_path / "bad.hex").write_text(text)
    with pytest.raises(BadInputError, match="not Intel HEX"):
        Image.load(tmp_path / "bad.hex", "pico")
    (tmp_path / "far.hex").write_text(":020000040000FA\n:0400000001020304F2\n:00000001FF\n")
    with pytest.raises(BadInputError, match="outside the flash"):
        Image.load(tmp_path / "far.hex", "pico")
