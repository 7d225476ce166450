"""The zoo: firmwares broken on purpose, each by a small patch. What ships must not be one of them;
what the campaign must do is catch every one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tallystick.common.errors import BadInputError
from tallystick.emulator import boards
from tallystick.tools import firmware


@dataclass(frozen=True)
class Patch:
    """In `file` (of firmware/), `old`, which is there once, becomes `new`."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Animal:
    """`scenarios`: where it is looked for first."""

    name: str
    sentence: str
    patches: tuple[Patch, ...]
    scenarios: tuple[str, ...] = ("press",)
    board: str = boards.KIT

    @contextmanager
    def firmware(self) -> Iterator[Path]:
        """A firmware folder with this animal in it. Raises BadInputError when it does not fit any
        more."""
        with TemporaryDirectory() as name:
            root = Path(name) / "firmware"
            shutil.copytree(firmware.root(), root, ignore=shutil.ignore_patterns("__pycache__"))
            for patch in self.patches:
                file = root / patch.file
                text = file.read_text(encoding="utf-8")
                if text.count(patch.old) != 1:
                    raise BadInputError(
                        f"The zoo's {self.name} does not fit {patch.file} any more.",
                        todo="Write its patch anew, in `animals.py` of its device.",
                    )
                file.write_text(text.replace(patch.old, patch.new), encoding="utf-8")
            yield root


@dataclass(frozen=True)
class Broken:
    """A program of the host's side. change: what is put in place of what, while it lasts."""

    name: str
    sentence: str
    change: Callable[[], AbstractContextManager[None]]


def in_place_of(owner: Any, name: str, make: Callable[[Any], Any]) -> Callable[..., Any]:
    """make: the genuine function → the broken one"""

    @contextmanager
    def change() -> Iterator[None]:
        genuine = getattr(owner, name)
        setattr(owner, name, make(genuine))
        try:
            yield
        finally:
            setattr(owner, name, genuine)

    return change
