"""What a port's stubs declare and the emulator does not have: found by asking an emulated board,
and kept in docs/guides/emulator.md.

    python -m tallystick.tools.upkeep.emulated      # writes the list in the document anew
"""

from __future__ import annotations

import ast
import tempfile
from itertools import groupby
from pathlib import Path

from tallystick.emulator.boards import BOARDS
from tallystick.emulator.chip import declared
from tallystick.emulator.chips import CHIPS
from tallystick.emulator.devices.card import Card
from tallystick.tools.firmware import root
from tallystick.tools.image.folder import from_folder

PAGE = root().parent / declared.PAGE
BEGIN, END = "<!-- not emulated: generated -->\n", "<!-- end -->\n"
# What they make is a class on the board and a function's result here.
_FUNCTIONS = ("hashlib.sha1.", "hashlib.sha256.", "select.poll.")
_MANY = 60  # names of registers that need not be listed one by one
_AT_A_TIME = 60  # names in one program: it shares the board's heap
_ASK = """
def there(name):
    module, *rest = name.split(".")
    thing = __import__(module)
    for one in rest:
        try:
            thing = getattr(thing, one)
        except AttributeError:
            more = getattr(thing, "__getattr__", None)
            if more is None or not isinstance(thing, type):
                raise
            thing = more(thing, one)
def asked(name):
    try:
        there(name)
        return True
    except (AttributeError, ImportError):
        return False
print([name for name in NAMES if not asked(name)])
"""


def missing(port: str) -> list[str]:
    """Names that the stubs of the port declare and firmware does not find."""
    board = next(board for board in BOARDS.values() if board.chip.stubs == port)
    names = declared.names(port)
    found: list[str] = []
    for at in range(0, len(names), _AT_A_TIME):
        with tempfile.TemporaryDirectory() as folder:
            source = f"NAMES = {tuple(names[at : at + _AT_A_TIME])!r}\n{_ASK}"
            (Path(folder) / "main.py").write_text(source, encoding="utf-8")
            with Card(from_folder(Path(folder), board.name), seed=1) as card:
                card.power_on()
                card.run_for(1000)
                found += ast.literal_eval(card.console)
    return found


def text() -> str:
    """The list, a table for each port."""
    lines = ["| port | module or class | not emulated |", "|---|---|---|"]
    for port in sorted({chip.stubs for chip in CHIPS.values()}):
        gone = missing(port)
        whole = {name for name in gone if any(one.startswith(f"{name}.") for one in gone)}
        left = [
            name
            for name in gone
            if name.rpartition(".")[0] not in whole and not name.startswith(_FUNCTIONS)
        ]
        for owner, names in groupby(sorted(left, key=_owner), key=_owner):
            every = [f"`{name.rpartition('.')[2]}`" for name in names]
            if len(every) > _MANY:
                every = [f"{len(every)} addresses and offsets of registers"]
            words = ", ".join(every)
            lines.append(f"| `{port}` | `{owner}` | {words} |")
    return "\n".join(lines) + "\n"


def _owner(name: str) -> str:
    return name.rpartition(".")[0]


def listed() -> str:
    """What the document has now."""
    return PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]


def main() -> None:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(before + BEGIN + text() + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
