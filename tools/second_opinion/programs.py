"""Any MicroPython program on a chip that is not ours, and what it says.

The boards' MicroPython opens no prompt, so a program speaks on the card's serial line
(`machine.UART(board.uart, 115200)`), as a `main.py` in an image of its own:

    image = from_folder(folder, "nucleo_l476rg")      # tools/image/folder.py
    said = run_program(Path("firmware.hex"), image, end=b"\\nend\\n")

The same image runs in our emulator: `Card(image)`, with `card.mcu.uart.on_send`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards.board import card_board
from tallystick.emulator.devices.image import Image
from tallystick.tools.second_opinion.chip import Chip
from tallystick.tools.second_opinion.chips import make
from tallystick.tools.second_opinion.firmware import read_firmware

_STEP_MS = 50


def run_program(
    firmware: Path,
    image: Image,
    *,
    end: bytes,
    limit_ms: float = 60_000,
    ready: Callable[[Chip], None] | None = None,
) -> bytes:
    """What the program in `image` sent over the serial line, `end` (its last words) included, under
    the MicroPython in `firmware` (.uf2, .hex or .bin). `ready(chip)` is called before it has power.

    Raises BadInputError for what is no MicroPython for the board, without the package that its chip
    needs, or when `end` did not come in `limit_ms` of virtual time; ChipError when the program uses
    what the emulated chip does not have.
    """
    chip = make(card_board(image.board), [*read_firmware(firmware, image.board), *image.segments])
    if ready is not None:
        ready(chip)
    chip.power_on()
    while end not in chip.sent and chip.now_us < limit_ms * 1000:
        chip.run(_STEP_MS)
    if end not in chip.sent:
        said = chip.sent.decode(errors="replace").strip().rpartition("\n")[2]
        raise BadInputError(
            f"The program did not get to its end under {firmware} (it last said {said!r}).",
            todo="Is this the MicroPython for the board, and does the program say its last words?",
        )
    return bytes(chip.sent)
