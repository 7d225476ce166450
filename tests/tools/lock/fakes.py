"""OpenOCD and picotool as we believe that they answer, each with one board behind it: a flash,
registers that are written once, and rows that only ever get more bits."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

_HEAD = """#!{python} -SI
import json, pathlib, sys
here = pathlib.Path(__file__).parent
flash = here / "flash.bin"
with open(here / "calls", "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
state = json.loads((here / "state").read_text())
if state.get("gone"):
    sys.exit("Error: init mode failed (unable to connect to the target)")
def keep():
    (here / "state").write_text(json.dumps(state))
def pulled():
    # The cable goes at this write, of so many that are left to it.
    if "pull" in state:
        state["pull"] -= 1
        keep()
        if state["pull"] < 0:
            del state["pull"]
            keep()
            sys.exit("Error: the cable was pulled")
def store(at, data):
    with open(flash, "r+b") as file:
        file.seek(at)
        file.write(data)
"""

OPENOCD = """
waiting = {}
for command in sys.argv[1:]:
    words = command.split()
    if words[0] == "mdw" and len(words) == 3:
        print(words[1] + ": " + " ".join(state["chip"]))
    elif words[:3] == ["flash", "write_image", "erase"]:
        pulled()
        high = 0
        for line in open(command.split("{")[1].split("}")[0]):
            row = bytes.fromhex(line[1:])
            at, kind, data = int.from_bytes(row[1:3], "big"), row[3], row[4:-1]
            if kind == 4:
                high = int.from_bytes(data, "big") << 16
            elif kind == 0 and not state.get("deaf"):
                store(high + at - 0x08000000, data)
        pulled()
    elif words[:2] == ["flash", "erase_address"]:
        store(int(words[2], 0) - 0x08000000, b"\\xff" * int(words[3], 0))
    elif words[0] == "mdw":
        address = int(words[1], 0)
        value = 0x10076415 if address == 0xe0042000 else state["registers"].get(words[1], 0)
        print("%s: %08x" % (words[1], value))
    elif words[0] == "dump_image":
        name, where = command.split("{")[1].split("}")
        at, size = (int(number, 0) for number in where.split())
        at -= 0x08000000
        with open(flash, "rb") as file:
            file.seek(at)
            pathlib.Path(name).write_bytes(file.read(size))
    elif words[0] == "verify_image":
        name, where = command.split("{")[1].split("}")
        at = int(where.split()[0], 0) - 0x08000000
        data = pathlib.Path(name).read_bytes()
        if flash.read_bytes()[at : at + len(data)] != data:
            sys.exit("Error: checksum mismatch - attempting binary compare")
    elif words[:2] == ["stm32l4x", "option_write"]:
        offset, value, mask = (int(word, 0) for word in words[3:6])
        if offset not in state.get("stuck", []):
            waiting.setdefault(offset, []).append((value, mask))
    elif words[:2] == ["stm32l4x", "option_load"]:
        for offset, writes in waiting.items():
            key = hex(0x40022000 + offset)
            for value, mask in writes:
                old = state["registers"].get(key, 0)
                state["registers"][key] = old & ~mask | value
        if state["registers"].get("0x40022020", 0) & 0xFF == 0xCC:
            state["gone"] = True
        keep()
"""

PICOTOOL = """
def uf2(path):
    data = pathlib.Path(path).read_bytes()
    for at in range(0, len(data), 512):
        address = int.from_bytes(data[at + 12 : at + 16], "little")
        yield address - 0x10000000, data[at + 32 : at + 288]
arguments = sys.argv[1:]
if arguments[0] == "save":
    start, end = (int(word, 16) - 0x10000000 for word in arguments[2:4])
    pathlib.Path(arguments[4]).write_bytes(flash.read_bytes()[start:end])
elif arguments[0] == "verify":
    content = flash.read_bytes()
    for at, data in uf2(arguments[1]):
        if at < len(content) and content[at : at + 256] != data:
            sys.exit("ERROR: The device contents did not match the file")
elif arguments[0] == "load":
    pulled()
    at = int(arguments[arguments.index("-o") + 1], 16) - 0x10000000
    if not state.get("deaf"):
        store(at, pathlib.Path(arguments[2]).read_bytes())
elif arguments[:2] == ["otp", "load"]:
    if state.get("cut") == pathlib.Path(arguments[2]).name:
        sys.exit("ERROR: The device went away")
    for row, value in json.loads(pathlib.Path(arguments[2]).read_text()).items():
        state["rows"][row] = value
    keep()
"""


DFU = """
arguments = sys.argv[1:]
if "-l" in arguments:
    print('Found DFU: [0483:df11] alt=0, name="@Internal Flash  /0x08000000/512*0002Kg"')
elif "-D" in arguments:
    pulled()
    at = int(arguments[arguments.index("-s") + 1], 16) - 0x08000000
    store(at, pathlib.Path(arguments[arguments.index("-D") + 1]).read_bytes())
    pulled()
elif "-U" in arguments:
    where, size = arguments[arguments.index("-s") + 1].split(":")
    at = int(where, 16) - 0x08000000
    with open(flash, "rb") as file:
        file.seek(at)
        pathlib.Path(arguments[arguments.index("-U") + 1]).write_bytes(file.read(int(size)))
"""


def write(folder: Path, name: str, body: str) -> None:
    """The script, and a board that is as it comes."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(_HEAD.replace("{python}", sys.executable) + body)
    path.chmod(0o755)
    fresh = {
        "registers": {"0x40022020": 0xFFEFF8AA, "0x4002202c": 0xFF00FFFF},
        "rows": {},
        "chip": ["00000001", "00000002", "00000003"],
    }
    (folder / "state").write_text(json.dumps(fresh))


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, body: str) -> Path:
    """First in the search path; → the folder of its files."""
    write(folder, name, body)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def calls(folder: Path) -> list[list[str]]:
    path = folder / "calls"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def state(folder: Path) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads((folder / "state").read_text())
    return found
