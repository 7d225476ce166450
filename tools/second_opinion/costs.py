"""What the cost table of our emulator says, and what the same work takes on the other one."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards import find
from tallystick.emulator.boards.board import Board, card_board
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.image import Image
from tallystick.tools import firmware
from tallystick.tools.image.folder import from_folder
from tallystick.tools.second_opinion.chip import Chip
from tallystick.tools.second_opinion.chips import make
from tallystick.tools.second_opinion.costs_program import COSTS, LONG_MODULES, MAIN, MODULES
from tallystick.tools.second_opinion.firmware import read_firmware

_FINE_MS, _STEP_MS, _LIMIT_MS = 0.1, 50, 20_000
_END = b"end\n"
_PINS: dict[str, int | str] = {"rp2040": 2, "rp2350": 2, "stm32l4": "A0"}
_NAMES = {
    "main": "from reset to the first line of main.py",
    "call": "calling a function that does nothing",
    "sha1_block": "SHA-1, a block more",
    "sha1_one": "SHA-1 of 64 bytes: object, two blocks, digest",
    "sha256_block": "SHA-256, a block more",
    "sha256_one": "SHA-256 of 64 bytes: object, two blocks, digest",
    "aes_key": "AES-256, key",
    "aes_block": "AES-256, a block more",
    "pin": "reading a pin",
    "clock": "reading the clock",
    "collect": "collecting garbage",
    "imports": f"importing {len(MODULES)} modules of the firmware",
}


@dataclass(frozen=True)
class Cost:
    """µs of CPU time: as our emulator charges it, and as it was measured."""

    name: str
    us: float
    other_us: float

    @property
    def words(self) -> str:
        return _NAMES.get(self.name, f"{self.name}()")


def compare_costs(uf2: Path, board_name: str) -> list[Cost]:
    """Runs the measuring program on both. Raises BadInputError for what is no MicroPython for the
    board, without the package of its chip, or when the program does not get to its end.
    """
    board = card_board(find(board_name))
    segments = read_firmware(uf2, board)
    image = measuring_image(board)
    other = _measured(uf2, make(board, [*segments, *image.segments]))
    return [Cost(name, us, other[name]) for name, us in charged(image).items()]


def charged(image: Image) -> dict[str, float]:
    """What our cost table makes of the measuring program: name → µs."""
    sent = bytearray()
    first_us: list[int] = []
    with Card(image, seed=1) as card:

        def hear(data: bytes) -> None:
            first_us.append(card.mcu.cpu_us)
            sent.extend(data)

        card.mcu.uart.on_send = hear
        card.power_on()
        while _END not in sent and card.clock.now < _LIMIT_MS * 1000:
            card.run_for(_STEP_MS)
    return _figures(bytes(sent), first_us[0])


def measuring_image(board: Board) -> Image:
    """The measuring program, as an image for `board`."""
    sources = firmware.root() / "lib"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "lib").mkdir()
        modules = [f"lib.{module}" for module in MODULES]
        (folder / "main.py").write_text(
            MAIN.format(uart=board.uart, modules=modules), encoding="utf-8"
        )
        (folder / "costs.py").write_text(
            COSTS.replace("PIN", repr(_PINS[board.chip.name])), encoding="utf-8"
        )
        for module in (*MODULES, *LONG_MODULES):
            shutil.copy(sources / f"{module}.py", folder / "lib")
        return from_folder(folder, board.name)


def _measured(uf2: Path, chip: Chip) -> dict[str, float]:
    chip.power_on()
    while not chip.sent and chip.now_us < _LIMIT_MS * 1000:
        chip.run(_FINE_MS)
    first_us = chip.cpu_us
    while _END not in chip.sent and chip.now_us < _LIMIT_MS * 1000:
        chip.run(_STEP_MS)
    if _END not in chip.sent:
        said = chip.sent.decode(errors="replace").strip().rpartition("\n")[2]
        raise BadInputError(
            f"The measuring program did not get to its end under {uf2} (it last said {said!r}).",
            todo="Use the MicroPython that was built for the board.",
        )
    return _figures(bytes(chip.sent), first_us)


def _figures(said: bytes, main_us: float) -> dict[str, float]:
    pairs = (line.split(" ") for line in said.decode().splitlines() if " " in line)
    return {"main": main_us, **{name: float(us) for name, us in pairs}}
