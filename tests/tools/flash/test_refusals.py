"""What `tally flash` refuses, on every way to a board, before anything is written; and the word
that lets it happen all the same. The wire's own refusals are in test_field.py."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tallystick.emulator.boards import find
from tallystick.tools.flash.cli_update import update
from tallystick.tools.flash.drive import INFORMATION
from tallystick.tools.image.build import build, write
from tallystick.tools.image.header import Header
from tallystick.tools.image.keys import SigningKey
from tallystick.tools.line.cli import flash
from tests.tools.flash.fake_prompt import Flash, Prompt
from tests.tools.flash.programs import DFU, OPENOCD

WAYS = ("prompt", "drive", "openocd", "dfu-util")
NEXT = "passphrase"  # of the station's keys: what a right update is asked for
TELLS = ("prompt", "openocd", "dfu-util")  # what is in flash


class Way:
    """One way to a board. options: of the command. wrote: whether anything was written."""

    board = "nucleo_l476rg"

    def __init__(self, *options: str) -> None:
        self.options = options

    def wrote(self) -> bool:
        raise NotImplementedError

    def be_another_board(self) -> None:
        raise NotImplementedError

    def hold(self, header: bytes) -> None:
        """The board has an image with this header in its first slot."""
        raise NotImplementedError

    def close(self) -> None:
        """Ends what runs."""


class PromptWay(Way):
    board = "pico"

    def __init__(self) -> None:
        self.fake = Prompt("Raspberry Pi Pico with RP2040", Flash(find("pico").storage.size, 4096))
        super().__init__("--port", self.fake.port)

    def wrote(self) -> bool:
        return bool(self.fake.flash.writes)

    def be_another_board(self) -> None:
        self.fake.machine = "Raspberry Pi Pico2 with RP2350"

    def hold(self, header: bytes) -> None:
        board = find("pico")
        at = board.slots[0].address - board.storage.address
        self.fake.flash.data[at : at + len(header)] = header

    def close(self) -> None:
        self.fake.close()


class DriveWay(Way):
    board = "pico"

    def __init__(self, folder: Path) -> None:
        super().__init__("--drive", str(folder))
        self._folder = folder

    def wrote(self) -> bool:
        return {path.name for path in self._folder.iterdir()} != {INFORMATION}

    def be_another_board(self) -> None:
        (self._folder / INFORMATION).write_text("Board-ID: RP2350\r\n")


class OpenOcdWay(Way):
    def __init__(self, folder: Path) -> None:
        super().__init__("--program", "openocd")
        self._folder = folder

    def wrote(self) -> bool:
        calls = self._folder / "calls"
        text = calls.read_text() if calls.exists() else ""
        return "write_image" in text or "erase_address" in text

    def be_another_board(self) -> None:
        (self._folder / "id").write_text("20036411")

    def hold(self, header: bytes) -> None:
        (self._folder / "header").write_bytes(header)


class DfuWay(Way):
    def __init__(self, folder: Path) -> None:
        super().__init__("--program", "dfu-util")
        self._flash = folder / "flash.bin"
        self._layout = folder / "layout"

    def wrote(self) -> bool:
        calls = self._flash.with_name("calls")
        return calls.exists() and '"-D"' in calls.read_text()

    def be_another_board(self) -> None:
        self._layout.write_text("/0x08000000/04*016Kg,01*064Kg,03*128Kg")

    def hold(self, header: bytes) -> None:
        memory = bytearray(self._flash.read_bytes())
        at = find(self.board).slots[0].address
        memory[at : at + len(header)] = header
        self._flash.write_bytes(memory)


@pytest.fixture
def way(request, drive, program):
    made = {
        "prompt": PromptWay,
        "drive": lambda: DriveWay(drive),
        "openocd": lambda: OpenOcdWay(program("openocd", OPENOCD)),
        "dfu-util": lambda: DfuWay(program("dfu-util", DFU)),
    }[request.param]()
    yield made
    made.close()


every_way = pytest.mark.parametrize("way", WAYS, indirect=True)
ways_that_tell = pytest.mark.parametrize("way", TELLS, indirect=True)


@pytest.fixture
def image(outputs: Callable[..., dict[str, Path]], way: Way) -> Path:
    return outputs(way.board, "0.2.0", security=2)["manifest"].parent


def command(way: Way, image: Path, *more: str) -> Result:
    return CliRunner().invoke(flash, [str(image), *way.options, *more])


def refused(way: Way, result: Result, what: str) -> None:
    assert result.exit_code != 0
    assert what in result.output + str(result.exception), result.output
    assert not way.wrote()


@every_way
def test_what_is_right_is_written(way, image):
    result = command(way, image, "--development", "--board", way.board, "--device", "card")
    assert result.exit_code == 0, result.output
    assert way.wrote()


@every_way
def test_another_board(way, image):
    way.be_another_board()
    refused(way, command(way, image, "--development"), "says it is")
    assert command(way, image, "--development", "--allow-board").exit_code == 0
    assert way.wrote()


@every_way
def test_another_board_than_the_one_that_was_meant(way, image):
    refused(
        way, command(way, image, "--development", "--board", "pico2_card"), "not for pico2_card"
    )


@every_way
def test_another_device_than_the_one_that_was_meant(way, image):
    refused(way, command(way, image, "--development", "--device", "reader"), "not for a reader")


@ways_that_tell
def test_a_board_that_has_been_another_device(way, image):
    other = Header.of(b"", device="card", board="pico2_card", version="9.0.0", security=9)
    way.hold(other.encode())
    refused(way, command(way, image, "--development"), "has been a card on pico2_card")


@ways_that_tell
def test_a_downgrade(way, image, outputs):
    newer = outputs(way.board, "0.3.0", security=5)["update"].read_bytes()
    way.hold(newer[:128])
    refused(way, command(way, image, "--development"), "security version 2; the board has had 5")
    result = command(way, image, "--development", "--allow-downgrade")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("way", ["drive"], indirect=True)
def test_a_way_that_cannot_notice_a_downgrade_says_so(way, image):
    result = command(way, image, "--development")
    assert "No downgrade would have been noticed" in " ".join(result.output.split())


@every_way
@pytest.mark.parametrize("name", ["manifest.json", "manifest.sig", "card.bin", "card.update"])
def test_an_altered_image(way, image, tmp_path, name):
    folder = altered(image, tmp_path, name)
    refused(way, command(way, folder, "--development"), "")


@every_way
def test_an_image_without_a_signature(way, image, tmp_path):
    folder = tmp_path / "image"
    shutil.copytree(image, folder)
    (folder / "manifest.sig").unlink()
    refused(way, command(way, folder, "--development"), "not a signed image")


@every_way
def test_an_image_that_anybody_can_sign(way, image):
    refused(way, command(way, image), "published development key")


@every_way
def test_an_image_of_another_firm(way, tmp_path):
    theirs, ours = SigningKey.generate(), SigningKey.generate()
    write(build("card", way.board, "0.2.0", key=theirs), tmp_path / "image")
    result = command(way, tmp_path / "image", "--public-key", ours.public.hex())
    refused(way, result, "signed with another key")


# -- the wire: what `tally update` refuses before it opens keys and port --------------------------


@pytest.mark.parametrize("name", ["manifest.json", "manifest.sig", "card.bin", "card.update"])
def test_an_altered_update(outputs, tmp_path, name):
    folder = altered(outputs("pico", "0.2.0")["manifest"].parent, tmp_path, name)
    result = over_the_wire(folder, tmp_path, "--development")
    assert result.exit_code != 0 and NEXT not in str(result.exception)


def test_a_right_update_gets_further(outputs, tmp_path):
    folder = outputs("pico", "0.2.0")["manifest"].parent
    assert NEXT in str(over_the_wire(folder, tmp_path, "--development").exception)


def test_an_update_that_anybody_can_sign(outputs, tmp_path):
    result = over_the_wire(outputs("pico", "0.2.0")["manifest"].parent, tmp_path)
    assert "published development key" in str(result.exception)


def test_an_update_of_another_firm(outputs, tmp_path):
    folder = outputs("pico", "0.2.0")["manifest"].parent
    result = over_the_wire(folder, tmp_path, "--public-key", SigningKey.generate().public.hex())
    assert "signed with another key" in str(result.exception)


def over_the_wire(folder: Path, tmp_path: Path, *more: str) -> Result:
    arguments = [str(folder), "--port", str(tmp_path / "port"), *more]
    return CliRunner().invoke(update, arguments)


def altered(image: Path, tmp_path: Path, name: str) -> Path:
    folder = tmp_path / "image"
    shutil.copytree(image, folder)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    return folder
