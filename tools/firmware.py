"""Where the firmware's sources are, and which of them a device on a board needs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards.board import Board

# A board names drivers; the boot stage shows nothing, answers nobody and burns nothing.
_DRIVERS = (
    "boards/once.py", "boards/rom.py", "lib/memory_lcd.py", "lib/ssd1306.py", "lib/usbhid.py",
)  # fmt: skip
_ENTRY = {"card": "main.py", "reader": "program.py"}
# What every board's MicroPython has, as far as firmware may use it.
_BUILT_IN = {
    "array", "binascii", "collections", "cryptolib", "errno", "framebuf", "gc", "hashlib", "io",
    "machine", "micropython", "os", "select", "struct", "sys", "time", "uctypes", "vfs",
}  # fmt: skip


_root: Path | None = None


@contextmanager
def rooted(folder: Path) -> Iterator[None]:
    """Inside, `folder` is the firmware's source folder: a copy with changes, say."""
    global _root  # noqa: PLW0603
    before = _root
    _root = folder
    try:
        yield
    finally:
        _root = before


def root() -> Path:
    """The firmware's source folder: in a checkout, or shipped inside the installed package.
    Raises BadInputError."""
    if _root is not None:
        return _root
    package = Path(__file__).parents[1]
    for folder in (package.parent / "firmware", package / "_firmware"):
        if (folder / "main.py").is_file():
            return folder
    raise BadInputError(
        "The firmware's sources are not there.", todo="Work in a checkout, or reinstall tallystick."
    )


@dataclass(frozen=True)
class Source:
    """One file of the image: where it comes from and where it goes (`lib/tlv.py`)."""

    path: Path
    target: str


def sources(device: str, board: Board, *, typed: bool = False) -> list[Source]:
    """Every module that the device's `main.py`, or a reader's `program.py`, reaches through
    imports, sorted by target.

    typed: also those that only a type checker reads. Raises BadInputError for an import that
    neither the firmware nor the board's MicroPython has.
    """
    if device not in _ENTRY:
        raise BadInputError(
            f"There is no firmware for device {device!r}.", todo="Use card or reader."
        )
    folders = [root() / device, root()] if device == "reader" else [root()]
    return _reached(_ENTRY[device], folders, board, {"booted"}, typed)


def boot_sources(board: Board, *, typed: bool = False) -> list[Source]:
    """The same for the boot stage: `firmware/boot`, and what it needs of the rest."""
    stage = root() / "boot"
    folders = [stage / "reader"] if board.device == "reader" else []
    given = {_ENTRY["reader"].removesuffix(".py")}  # is in the slot
    found = _reached("boot.py", [*folders, stage, root()], board, given, typed)
    return [source for source in found if source.target not in _DRIVERS]


def _reached(
    entry: str, folders: list[Path], board: Board, given: set[str], typed: bool
) -> list[Source]:
    """Sources reached from `entry`. Modules are looked for in `folders`, in this order; `given` are
    there already when it starts."""
    board_file = root() / "boards" / f"{board.name}.py"
    if not board_file.is_file():
        raise BadInputError(
            f"There is no firmware for board {board.name!r}.", todo="See firmware/boards."
        )
    built_in = _BUILT_IN | board.chip.own_modules | given
    if typed:
        built_in |= {"typing", "_mpy_shed"}
    found: dict[str, Source] = {}
    todo = [(folders[0] / entry, entry)]
    while todo:
        path, target = todo.pop()
        if target in found:
            continue
        found[target] = Source(path, target)
        for module in _imports(path, typed):
            name = f"{module.replace('.', '/')}.py"
            file = next((f / name for f in folders if (f / name).is_file()), None)
            top = module.split(".")[0]
            if top == "board":
                todo.append((board_file, "board.py"))
            elif top in built_in:
                continue
            elif file is not None:
                todo.append((file, name))
            elif not any((folder / top).is_dir() for folder in folders):
                raise BadInputError(
                    f"{path.name} imports {module}, which the MicroPython of {board.name} does not "
                    "have.",
                    todo="Import only what the board's port declares.",
                )
    return [found[target] for target in sorted(found)]


def _imports(path: Path, typed: bool) -> set[str]:
    """Names imported anywhere in the file, under TYPE_CHECKING only when `typed`."""
    names: set[str] = set()

    def visit(node: ast.AST) -> None:
        if not typed and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                visit(other)
            return
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8"), str(path)))
    return names
