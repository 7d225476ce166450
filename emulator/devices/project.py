"""A firmware of one's own with the board that it is for: a folder with `board.toml`.

    board = "pico"

    [[part]]
    kind = "led"
    name = "lamp"
    pin = "LED"

docs/guides/bench.md has every kind and key.
"""

from __future__ import annotations

import contextlib
import inspect
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from tallystick.common.errors import BadInputError
from tallystick.common.modules import load_module
from tallystick.emulator.boards import DEFAULT
from tallystick.emulator.devices.card import Fittings
from tallystick.emulator.devices.project_files import ProjectFiles
from tallystick.emulator.parts.cells import CELLS, CellType
from tallystick.emulator.parts.part import BoardPart
from tallystick.emulator.parts.soldered import kinds

FILE = "board.toml"
MAIN = "main.py"
GROUP = "tallystick.parts"
"""Entry points of other wheels: the name of a kind, and a subclass of `BoardPart`."""


@dataclass(frozen=True)
class Project:
    """`firmware` has the main.py. board_file: its board.toml, None where there is none."""

    firmware: Path
    board_file: Path | None
    board: str
    kit: bool
    cell: CellType | None = None
    patterns: tuple[str, ...] | None = None
    _parts: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def find(cls, folder: Path, board: str | None = None) -> Project:
        """folder: that of the firmware, or one with `firmware` in it. board: wins over
        board.toml's. Raises BadInputError."""
        firmware = folder if (folder / MAIN).is_file() else folder / "firmware"
        if not (firmware / MAIN).is_file():
            raise BadInputError(
                f"{folder} has no {MAIN}, and no firmware/{MAIN}.",
                todo="Name the firmware's own folder; `tally new NAME` makes one.",
            )
        places = (firmware / FILE, firmware.resolve().parent / FILE)
        file = next((one for one in places if one.is_file()), None)
        content = _read(file) if file is not None else {}
        named = board or content.get("board") or DEFAULT
        parts = content.get("part", [])
        kit = content.get("kit", file is None)
        cell, files = content.get("cell"), content.get("files")
        if (
            not isinstance(named, str)
            or not isinstance(kit, bool)
            or not isinstance(parts, list)
            or not (files is None or _texts(files))
            or set(content) - {"board", "kit", "cell", "files", "part"}
        ):
            raise BadInputError(
                f"{file} has something else than `board`, `kit`, `cell`, `files` and [[part]].",
                kept="Nothing was started.",
                todo="docs/guides/bench.md has an example.",
            )
        if cell is not None and cell not in CELLS:
            raise BadInputError(
                f"{file}: there is no cell {cell!r}.",
                kept="Nothing was started.",
                todo=f"Use one of: {', '.join(CELLS)}.",
            )
        return cls(
            firmware, file, named, kit, CELLS[cell] if cell is not None else None,
            tuple(files) if files is not None else None, parts,
        )  # fmt: skip

    @property
    def on_board(self) -> ProjectFiles:
        """What lies on the board."""
        kinds_named = [str(one.get("kind", "")) for one in self._parts if isinstance(one, dict)]
        modules = {f"{kind.partition(':')[0]}.py" for kind in kinds_named if ":" in kind}
        return ProjectFiles(self.firmware, self.patterns, frozenset(modules))

    @property
    def name(self) -> str:
        """Of the folder around it."""
        folder = self.firmware.resolve()
        return folder.parent.name if folder.name == "firmware" else folder.name

    def fittings(self) -> Fittings:
        """Its parts, made anew. Raises BadInputError for a part that is wrong."""
        parts: list[BoardPart] = []
        for number, keys in enumerate(self._parts, 1):
            part = self._part(number, dict(keys))
            if any(other.name == part.name for other in parts):
                raise self._wrong(f"two parts are called {part.name!r}")
            parts.append(part)
        return Fittings(tuple(parts), self.kit, self.cell)

    def _part(self, number: int, keys: dict[str, Any]) -> BoardPart:
        kind = keys.pop("kind", None)
        if not isinstance(kind, str):
            raise self._wrong(f"part {number} has no kind")
        make = self._kind(kind)
        name = keys.pop("name", f"{kind.rpartition(':')[2]}{number}")
        try:
            inspect.signature(make).bind(**keys)
            part = make(**keys)
        except (TypeError, ValueError) as error:
            raise self._wrong(f"part {number} ({kind}): {error}", _keys_of(make)) from None
        part.name = str(name)
        return part

    def _kind(self, kind: str) -> Callable[..., BoardPart]:
        """Ours, another wheel's, or `FILE:CLASS` of a Python file beside board.toml."""
        if kind in kinds():
            return kinds()[kind]
        found: object
        others = entry_points(group=GROUP)
        if ":" in kind and self.board_file is not None:
            file, _, name = kind.partition(":")
            found = getattr(
                load_module(self.board_file.parent / f"{file}.py", f"tally_parts_{file}"),
                name,
                None,
            )
        elif kind in others.names:
            found = others[kind].load()
        else:
            known = ", ".join((*kinds(), *sorted(others.names)))
            raise self._wrong(f"there is no kind {kind!r}; there are {known}")
        if not (isinstance(found, type) and issubclass(found, BoardPart)):
            raise self._wrong(f"{kind} is no BoardPart")
        return found

    def _wrong(self, what: str, todo: str = "") -> BadInputError:
        return BadInputError(
            f"{self.board_file}: {what}.",
            kept="Nothing was started.",
            todo=todo or "docs/guides/bench.md lists the kinds and their keys.",
        )

    def files(self) -> list[Path]:
        """What a change of is to be noticed."""
        files = self.on_board
        found = list(files.modules().values())
        with contextlib.suppress(BadInputError):
            found += files.data().values()
        return list(dict.fromkeys([*found, *self.wiring()]))

    def wiring(self) -> list[Path]:
        """What says which parts there are: board.toml, and the files of one's own parts."""
        if self.board_file is None:
            return []
        return [
            self.board_file, *(self.board_file.parent / name for name in self.on_board.parts)
        ]  # fmt: skip


def _keys_of(make: Callable[..., BoardPart]) -> str:
    """Of a kind, in words: a wheel brings no documents."""
    keys = [
        key.name if key.default is key.empty else f"{key.name} ({key.default!r})"
        for key in inspect.signature(make).parameters.values()
    ]
    return f"Its keys: {', '.join([*keys, 'name'])}."


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _read(file: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise BadInputError(
            f"{file} cannot be read: {error}.", kept="Nothing was started."
        ) from None
