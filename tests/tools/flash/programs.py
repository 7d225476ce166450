"""Scripts that stand for OpenOCD and dfu-util: they record how they were called, and answer from
files beside them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

SCRIPT = """#!{python}
import json, pathlib, sys
here = pathlib.Path(__file__).parent
flash = here / "flash.bin"
with open(here / "calls", "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
{body}
"""
OPENOCD = """
for command in sys.argv:
    if command.startswith("mdw"):
        print("0xe0042000: " + (here / "id").read_text())
    if command.startswith("dump_image"):
        name, where = command.split("{")[1].split("}")
        at, size = (int(number, 0) for number in where.split())
        at -= 0x08000000
        found = flash.read_bytes()[at : at + size]
        if size == 64 and not found.strip(b"\\xff"):
            found = (here / "header").read_bytes()
        pathlib.Path(name).write_bytes(found)
    if command.startswith("verify_image") and (here / "differs").exists():
        sys.exit("Error: checksum mismatch - attempting binary compare")
"""
DFU = """
args = sys.argv
if "-l" in args:
    layout = (here / "layout").read_text()
    print('Found DFU: [0483:df11] alt=0, name="@Internal Flash  ' + layout + '"')
elif "-D" in args:
    data = pathlib.Path(args[args.index("-D") + 1]).read_bytes()
    memory = bytearray(flash.read_bytes())
    at = int(args[args.index("-s") + 1], 16) - 0x08000000
    memory[at : at + len(data)] = data
    flash.write_bytes(memory)
elif "-U" in args:
    where, size = args[args.index("-s") + 1].split(":")
    at = int(where, 16) - 0x08000000
    pathlib.Path(args[args.index("-U") + 1]).write_bytes(flash.read_bytes()[at : at + int(size)])
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, body: str) -> Path:
    """Puts the script `name` first in the search path; returns the folder of its files."""
    folder.mkdir()
    path = folder / name
    path.write_text(SCRIPT.format(python=sys.executable, body=body))
    path.chmod(0o755)
    (folder / "flash.bin").write_bytes(b"\xff" * (1 << 20))
    (folder / "id").write_text("10076415")
    (folder / "layout").write_text("/0x08000000/512*0002Kg")
    (folder / "header").write_bytes(b"\xff" * 64)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder
