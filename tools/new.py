"""`tally new`: a project with a firmware, the parts on its board, and a first test."""

from __future__ import annotations

import re
from pathlib import Path

import click

from tallystick.common import console
from tallystick.common.errors import BadInputError
from tallystick.emulator import boards
from tallystick.emulator.boards.board import card_board
from tallystick.emulator.parts.soldered import kinds

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_MAIN = '''"""An LED that blinks, and goes faster with every press of the button."""

import time

from machine import Pin

lamp = Pin({lamp!r}, Pin.OUT)
button = Pin({button!r}, Pin.IN, Pin.PULL_UP)
pause_ms = 500


def pressed(pin):
    global pause_ms
    pause_ms = max(50, pause_ms // 2)
    print("pause", pause_ms)


button.irq(pressed, Pin.IRQ_FALLING)
while True:
    lamp.value(not lamp.value())
    time.sleep_ms(pause_ms)
'''
_BOARD = """# What is soldered to the board: {kinds}.
board = "{board}"

[[part]]
kind = "led"
name = "lamp"
pin = "{lamp}"

[[part]]
kind = "button"
name = "faster"
pin = "{button}"
bounce_us = 0
"""
_TEST = '''"""What the firmware does, on an emulated board: pytest."""


def test_the_lamp_blinks_every_half_second(board):
    lamp = board.part("lamp")
    before = lamp.changes
    board.pass_time(10)
    assert 19 <= lamp.changes - before <= 21


def test_a_press_makes_it_twice_as_fast(board):
    board.press_part("faster")
    assert board.console == "pause 250\\n"
    board.pass_time(1)
    lamp = board.part("lamp")
    before = lamp.changes
    board.pass_time(10)
    assert 39 <= lamp.changes - before <= 41
'''
_PROJECT = """[tool.pytest.ini_options]
testpaths = ["tests"]
addopts = "--tally-firmware=firmware"
"""
_README = """# {name}

    tally emulate card --firmware . --panel --watch    # its panel; a change starts it anew
    pytest                                             # its tests, in virtual time
    tally image build --firmware . --out build         # .uf2 or .hex for the board
"""
_PINS = {"littlefs": ("LED", "GP15"), "romfs": ("B5", "C5")}
"""LED and button, by what the board's MicroPython mounts: free pins of our boards."""


def files(name: str, board_name: str) -> dict[str, str]:
    """Path in the project → content. Raises BadInputError for a board that is not there."""
    board = card_board(boards.find(board_name))
    lamp, button = _PINS[board.image_format]
    if lamp not in board.pin_names and board.image_format == "littlefs":
        lamp = "GP16"
    words = {
        "name": name, "board": board_name, "lamp": lamp, "button": button,
        "kinds": ", ".join(sorted(kinds())),
    }  # fmt: skip
    return {
        "firmware/main.py": _MAIN.format(**words),
        "board.toml": _BOARD.format(**words),
        f"tests/test_{name.replace('-', '_').lower()}.py": _TEST,
        "pyproject.toml": _PROJECT,
        "README.md": _README.format(**words),
        ".gitignore": ".tally/\nbuild/\n__pycache__/\n",
    }


@click.command()
@click.argument("name")
@click.option("--board", default=boards.KIT, show_default=True, help="Board that it is for.")
def new(name: str, board: str) -> None:
    """Make the folder NAME: a firmware that blinks, its board.toml, a first test.

    Nothing that is there is touched.
    """
    if not _NAME.fullmatch(name):
        raise BadInputError(
            f"{name!r} is no name for a project.",
            kept="Nothing was written.",
            todo="Use letters, digits, - and _, a letter first.",
        )
    folder = Path(name)
    contents = files(name, board)
    try:
        folder.mkdir()
    except FileExistsError:
        raise BadInputError(
            f"{name} is there already.", kept="It was not touched.", todo="Choose another name."
        ) from None
    for place, text in contents.items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    console.out().print(f"{name}: {', '.join(contents)}", soft_wrap=True)
    console.out().print(f"next: cd {name} && pytest")
    console.out().print(
        "then: tally emulate card --firmware . --panel --watch   (pip install 'tallystick[panel]')",
        soft_wrap=True,
        markup=False,
    )
