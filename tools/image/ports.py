"""Holds the firmware's types to what each board's MicroPython has; `make lint` runs it.

mypy checks the modules of every image, strictly, against the published stubs of the board's port,
which lie in a folder of their own for each port (`make lint` installs them). Whatever it finds in
our own files counts: a name or an argument that the port does not declare, a value of another type
than promised, a function without annotations.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tallystick.emulator.boards import ALL
from tallystick.emulator.boards.board import Board
from tallystick.emulator.chips.chip import Chip
from tallystick.tools import firmware

# What the published stubs do not say, or say of another board than ours: hashes take and give
# bytes on every port; our own board definition turns cryptolib and VfsRom on for the STM32L4
# (boards.md). A folder for all ports and one for each, which come before the published ones.
_STRICTER = "typed/stubs"
# Memory by address is whole numbers; the published stubs say that anything may be there.
_OPEN_MEMORY = re.compile(r"^(mem\d+): Incomplete", re.MULTILINE)
_MEMORY = r"from _mpy_shed.mp_mem import _MemoryObject as _Memory\n\1: _Memory"
_FINDING = re.compile(r"^(?P<file>[^:]+):(?P<rest>\d+: error: .*)$")
_SETTINGS = """[mypy]
python_version = 3.11
strict = True
custom_typeshed_dir = {stubs}
no_site_packages = True
explicit_package_bases = True
cache_dir = {cache}
"""


def check(board: Board, stubs: Path, cache: Path) -> list[str]:
    """What is wrong with the types of the board's firmware, one line a finding.

    stubs: the folder of its port. cache: folder that makes the next run quick; one for each board.
    """
    checked = sources(board)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for target, path in checked.items():
            place = folder / "firmware" / target
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
        _overlay(folder / "stricter", stubs, board.chip)
        settings = folder / "mypy.ini"
        settings.write_text(
            _SETTINGS.format(stubs=stubs.resolve(), cache=cache.resolve()), encoding="utf-8"
        )
        result = subprocess.run(
            [sys.executable, "-m", "mypy", "--config-file", str(settings), "."],
            cwd=folder / "firmware",
            capture_output=True,
            text=True,
            check=False,
            env={"MYPYPATH": f"{folder / 'stricter'}:{stubs.resolve()}", "PATH": ""},
            encoding="utf-8",
        )
    if result.returncode > 1:
        return [f"{board.name}: mypy failed: {(result.stdout + result.stderr)[-500:]}"]
    return [f"{board.name}: {line}" for line in _findings(result.stdout, checked)]


def _overlay(folder: Path, stubs: Path, chip: Chip) -> None:
    """Stubs that come before the published ones."""
    shutil.copytree(stubs / "_mpy_shed", folder / "_mpy_shed")
    for name in (f"{module}.pyi" for module in ("machine", *sorted(chip.own_modules))):
        if (stubs / name).exists():
            (folder / name).write_text(
                _OPEN_MEMORY.sub(_MEMORY, (stubs / name).read_text(encoding="utf-8")),
                encoding="utf-8",
            )
    for stricter in (firmware.root() / _STRICTER / "all", firmware.root() / _STRICTER / chip.stubs):
        if stricter.is_dir():
            shutil.copytree(stricter, folder, dirs_exist_ok=True)


def sources(board: Board) -> dict[str, Path]:
    """What is checked for a board: place in its file system → file in the checkout."""
    found = firmware.sources(board.device, board, typed=True)
    if board.slots:
        found += firmware.boot_sources(board, typed=True)
    folder = board.start_folder or board.chip.stubs
    start = firmware.root() / "boards/micropython" / folder / "_boot.py"
    return {source.target: source.path for source in found} | {"_boot.py": start}


def _findings(output: str, ours: dict[str, Path]) -> Iterator[str]:
    """Findings in our files, under the names that those have in the checkout."""
    for line in output.splitlines():
        match = _FINDING.match(line)
        if match is not None and match["file"] in ours:
            path = ours[match["file"]].relative_to(firmware.root().parent)
            yield f"{path}:{match['rest']}"


def main(stubs: Path, cache: Path) -> int:
    """Checks every board. stubs: a folder for each port. Returns the exit code."""
    boards = list(ALL.values())
    with ThreadPoolExecutor(2) as workers:
        found = workers.map(
            lambda board: check(board, stubs / board.chip.stubs, cache / board.name), boards
        )
        lines = [line for findings in found for line in findings]
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
