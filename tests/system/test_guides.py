"""The first pages: every command in them runs, in order, and ends in something that works."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from tests import needs
from tests.system.guide import Block, Reader, blocks
from tests.system.pictures import IMAGES, screens

GUIDES = Path(__file__).resolve().parents[2] / "docs" / "guides"
FIRST = ("employee", "support", "administrator", "ci", "hardware", "bench")

pytestmark = [
    pytest.mark.slow,
    needs.curl.mark,
]


@pytest.mark.parametrize("name", FIRST)
def test_a_first_page_can_be_followed(name: str, tmp_path: Path) -> None:
    with Reader(tmp_path) as reader:
        said = reader.follow(GUIDES / f"{name}.md")
    assert said


def test_every_first_page_has_pictures() -> None:
    for name in FIRST:
        if name == "bench":
            continue  # its picture would be the reader's own board
        assert "![" in (GUIDES / f"{name}.md").read_text(encoding="utf-8"), name


def test_the_displays_in_the_pictures_are_what_the_firmware_shows() -> None:
    for name, png in screens().items():
        assert _pixels(png) == _pixels((IMAGES / name).read_bytes()), name


def _pixels(png: bytes) -> bytes:
    with Image.open(io.BytesIO(png)) as picture:
        return picture.convert("RGB").tobytes()


def test_a_command_that_fails_and_words_that_do_not_come_are_found(tmp_path: Path) -> None:
    with Reader(tmp_path) as reader:
        with pytest.raises(AssertionError, match=r"(?i)no such file"):
            reader.run(Block("cat nothing-here\n", "", ""))
        with pytest.raises(AssertionError, match="'later' is not in"):
            reader.run(Block("echo now\n", "shows", "later"))


def test_blocks_are_found_in_order(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        '# P\n\n```\nnot this\n```\n\n<!-- run -->\n```\na\n```\n\n<!-- run: until "x y" -->\n'
        "```sh\nb \\\n  c\n```\n"
    )
    assert list(blocks(page)) == [Block("a\n", "", ""), Block("b \\\n  c\n", "until", "x y")]
