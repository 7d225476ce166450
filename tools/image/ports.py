"""Holds the firmware to what each board's MicroPython has; `make lint` runs it.

mypy checks the modules of every image against the published stubs of the board's port, which lie in
a folder of their own for each port (`make lint` installs them). Only names are looked at: a module,
class, function, argument or constant that the port does not declare.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tallystick.emulator.boards import BOARDS, READERS
from tallystick.emulator.boards.board import Board
from tallystick.tools import firmware

PORTS = {"rp2040": "rp2", "rp2350": "rp2", "stm32l4": "stm32"}
# What our own board definition turns on (firmware/boards/micropython, docs/boards.md): module →
# what it declares beyond the port's stub.
_TURNED_ON: dict[str, dict[str, str]] = {
    "stm32": {
        "cryptolib": "def __getattr__(name: str): ...\n",
        "vfs": "class VfsRom:\n    def __init__(self, image: object) -> None: ...\n",
    },
    "rp2": {},
}
_LOOKED_AT = {"attr-defined", "import-not-found", "name-defined", "call-arg"}
_FINDING = re.compile(r"^(?P<file>[^:]+):\d+: error: (?P<what>.*)  \[(?P<code>[a-z-]+)\]$")
# Ours to find with other means: attributes that are None at first, functions of our own.
_OURS = re.compile(r'^"None" has no attribute|for "_\w+"$')
_SETTINGS = """[mypy]
python_version = 3.11
custom_typeshed_dir = {stubs}
no_site_packages = True
check_untyped_defs = True
explicit_package_bases = True
cache_dir = {cache}
"""


def check(board: Board, stubs: Path) -> list[str]:
    """What the board's MicroPython does not declare, one line a finding.

    stubs: the folder of its port.
    """
    sources = {source.target: source.path for source in _sources(board)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for target, path in sources.items():
            place = folder / "firmware" / target
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(path.read_text())
        for module, more in _TURNED_ON[PORTS[board.chip]].items():
            declared = stubs / f"{module}.pyi"
            text = declared.read_text() if declared.exists() else ""
            (folder / "firmware" / f"{module}.pyi").write_text(f"{text}\n{more}")
        settings = folder / "mypy.ini"
        settings.write_text(_SETTINGS.format(stubs=stubs.resolve(), cache=folder / "cache"))
        command = [sys.executable, "-m", "mypy", "--config-file", str(settings), "."]
        result = subprocess.run(
            command,
            cwd=folder / "firmware",
            capture_output=True,
            text=True,
            check=False,
            env={"MYPYPATH": f"{folder / 'firmware'}:{stubs.resolve()}", "PATH": ""},
        )
        if result.returncode > 1:
            return [f"{board.name}: mypy failed: {(result.stdout + result.stderr)[-500:]}"]
        return [f"{board.name}: {line}" for line in _findings(result.stdout, set(sources))]


def _sources(board: Board) -> Iterator[firmware.Source]:
    yield from firmware.sources(board.device, board.name, board.chip)
    if board.slots:
        yield from firmware.boot_sources(board.name, board.chip)


def _findings(output: str, ours: set[str]) -> Iterator[str]:
    for line in output.splitlines():
        match = _FINDING.match(line)
        if match is None or match["file"] not in ours or match["code"] not in _LOOKED_AT:
            continue
        if not _OURS.search(match["what"]):
            yield line


def main(stubs: Path) -> int:
    found = []
    for board in (BOARDS | READERS).values():
        found += check(board, stubs / PORTS[board.chip])
    sys.stdout.writelines(f"{line}\n" for line in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
