"""What the published stubs of a port declare, by name: `emulator/chips/stubs/PORT.txt`. The
emulator says of a name in it that it lacks, that it is not emulated.

    python -m tallystick.tools.upkeep.declared .venv/stubs     # writes the lists anew
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from tallystick.emulator.chip.declared import FOLDER
from tallystick.emulator.chips import CHIPS

# Of `os` the stubs have what CPython has; this is MicroPython's.
_OS = (
    "chdir", "dupterm", "dupterm_notify", "getcwd", "ilistdir", "listdir", "mkdir", "remove",
    "rename", "rmdir", "stat", "statvfs", "sync", "uname", "unlink", "urandom",
)  # fmt: skip
_COMMON = ("machine", "time", "select", "vfs", "hashlib", "cryptolib", "os")


def names(stubs: Path, modules: tuple[str, ...]) -> list[str]:
    """`module.name` and `module.Class.name` of these modules; stubs: the folder of one port."""
    found: set[str] = set()
    for module in modules:
        for path in (
            stubs / f"{module}.pyi", stubs / module / "__init__.pyi",
            stubs / "stdlib" / module / "__init__.pyi",
        ):  # fmt: skip
            if path.is_file():
                tree = ast.parse(path.read_text(encoding="utf-8"))
                found |= {f"{module}.{name}" for name in _declared(tree.body)}
                break
    ours = {f"os.{name}" for name in _OS}
    return sorted(name for name in found if not name.startswith("os.") or name in ours)


def _declared(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            if node.name.startswith("_"):
                continue
            yield node.name
            for name in _declared(node.body):
                yield f"{node.name}.{name}"
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            aliased = "TypeAlias" in ast.unparse(node.annotation)
            if not node.target.id.startswith("_") and not aliased:
                yield node.target.id


def modules_of(port: str) -> tuple[str, ...]:
    """Those whose names are listed."""
    own = {name for chip in CHIPS.values() if chip.stubs == port for name in chip.own_modules}
    return (*_COMMON, *sorted(own))


def text(stubs: Path, port: str) -> str:
    of_port = [chip for chip in CHIPS.values() if chip.stubs == port]
    absent = {f"machine.Pin.{name}" for chip in of_port for name in chip.pin_lacks}
    found = [name for name in names(stubs / port, modules_of(port)) if name not in absent]
    return "\n".join(found) + "\n"


def main() -> None:
    stubs = Path(sys.argv[1])
    for port in sorted({chip.stubs for chip in CHIPS.values()}):
        (FOLDER / f"{port}.txt").write_text(text(stubs, port), encoding="utf-8")


if __name__ == "__main__":
    main()
