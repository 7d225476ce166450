"""Which files of a project lie on its board.

A folder that is called `firmware` is the board's file system: all of it goes there. A folder of
another name has tests, a virtual environment and the like beside main.py: only its modules go, and
what `files` of board.toml names. Hidden files and folders never go.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tallystick.common.errors import BadInputError

_FIRMWARE = "firmware"
_OF_PYTHON = ("__pycache__", "site-packages", "node_modules")
_TESTS = ("tests", "test")


@dataclass(frozen=True)
class ProjectFiles:
    """folder: with main.py. patterns: `files` of board.toml; None: none were given. parts: modules
    with parts of the board, which are not the firmware's."""

    folder: Path
    patterns: tuple[str, ...] | None = None
    parts: frozenset[str] = frozenset()

    def modules(self) -> dict[str, Path]:
        """Sources: path in the file system → file."""
        return {name: path for name, path in self._all().items() if name.endswith(".py")}

    def data(self) -> dict[str, Path]:
        """All else, bytecode that was there before among it. Raises BadInputError for a pattern
        that fits nothing."""
        every = {name: path for name, path in self._all().items() if not name.endswith(".py")}
        found = {name: path for name, path in every.items() if name.endswith(".mpy")}
        if self.patterns is None:
            return every if self._apart else found
        for pattern in self.patterns:
            try:
                there = {path for path in self.folder.glob(pattern) if path.is_file()}
            except (ValueError, NotImplementedError):
                there = set()
            if not there:
                raise BadInputError(
                    f"`files` of board.toml: {pattern!r} fits no file in {self.folder}.",
                    kept="Nothing was started.",
                    todo='Patterns are such as "*.bin" or "www/**/*", from main.py on.',
                )
            found |= {path.relative_to(self.folder).as_posix(): path for path in there}
        return dict(sorted(found.items()))

    @property
    def _apart(self) -> bool:
        return self.folder.resolve().name == _FIRMWARE

    def _all(self) -> dict[str, Path]:
        found = {path.relative_to(self.folder).as_posix(): path for path in self._walk()}
        return dict(sorted(found.items()))

    def _walk(self) -> Iterator[Path]:
        for place, folders, names in os.walk(self.folder):
            here = Path(place)
            folders[:] = [one for one in folders if self._goes_into(here, one)]
            for name in names:
                if not name.startswith(".") and self._is_firmware(here, name):
                    yield here / name

    def _goes_into(self, here: Path, name: str) -> bool:
        if name.startswith(".") or name in _OF_PYTHON or (here / name / "pyvenv.cfg").exists():
            return False
        return self._apart or here != self.folder or name not in _TESTS

    def _is_firmware(self, here: Path, name: str) -> bool:
        if here != self.folder:
            return True
        if name == "board.toml" or name in self.parts:
            return False
        a_test = name == "conftest.py" or (name.startswith("test_") and name.endswith(".py"))
        return self._apart or not a_test
