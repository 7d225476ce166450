"""A chip has one place, a board another, and nothing else names one (docs/guides/porting.md)."""

import re
from dataclasses import replace

import pytest

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards import ALL, BOARDS, READERS
from tallystick.emulator.boards.board import card_board, reader_board
from tallystick.emulator.chips import CHIPS
from tests.house import sources

# A chip, a board, a maker's family; `rp2` and `stm` are what MicroPython calls its ports' modules.
_NAMES = re.compile(
    r"rp2040|rp2350|stm32|stm_|_stm(?!t)|\bstm\b|\brp2\b|nucleo|\bpico|_pico|raspberry",
    re.IGNORECASE,
)
PLACES = ("emulator/chips/", "emulator/boards/")
EXCEPTIONS = {
    "emulator/port/": "plays MicroPython's modules, which are named after families of chips",
    "tools/flash/repl.py": "what it runs at the prompt of a board is MicroPython's module",
    "tools/lock/": "is what two families of chips are locked with, for ever",
    "tools/line/locking.py": "runs a program that is named after its maker's boards",
    "tools/upkeep/locks.py": "packages of stubs, and an extra, are named after them",
    "tools/second_opinion/": "is about the one chip that the other emulator plays",
}


def _named() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in sources.files("emulator", "tools", "provisioning", "server"):
        where = str(path.relative_to(sources.ROOT))
        for line, text in sources.words(sources.parsed(path)):
            if _NAMES.search(text):
                found.setdefault(where, []).append(f"{where}:{line}: {text[:60]!r}")
    return found


def test_only_its_record_names_a_chip_and_only_its_file_a_board() -> None:
    found = _named()
    wrong = [
        line
        for where, lines in found.items()
        if not where.startswith((*PLACES, *EXCEPTIONS))
        for line in lines
    ]
    assert not wrong, "\n".join(wrong)
    idle = [name for name in EXCEPTIONS if not any(where.startswith(name) for where in found)]
    assert not idle, "these exceptions are none any more"


def test_a_chip_is_one_file_and_a_board_is_one() -> None:
    """Beside its table, a chip that others are derived from is named by those alone."""
    for name in CHIPS:
        assert (sources.ROOT / "emulator/chips" / f"{name}.py").is_file()
    for name, board in ALL.items():
        assert (sources.ROOT / "emulator/boards" / f"{name}.py").is_file()
        assert board.chip is CHIPS[board.chip.name]


@pytest.mark.parametrize("chip", ["stm32g0", replace(CHIPS["rp2040"], name="rp2060")])
def test_a_chip_without_a_record_is_refused(chip: object) -> None:
    with pytest.raises(BadInputError, match=r"of which there is no record") as caught:
        replace(BOARDS["pico"], chip=chip)
    assert "emulator/chips/" in caught.value.todo


def test_a_board_of_another_device_is_refused() -> None:
    with pytest.raises(BadInputError, match="pico2 is a reader's board, not a card's"):
        card_board(READERS["pico2"])
    with pytest.raises(BadInputError, match="pico is a card's board, not a reader's"):
        reader_board(BOARDS["pico"])
