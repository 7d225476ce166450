"""Types of command-line options that are files."""

from __future__ import annotations

import os
from pathlib import Path

import click


class _OutputFile(click.Path):
    """Refused before any work is done when it could not be written at the end."""

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Path:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not path.parent.is_dir():
            self.fail(f"there is no folder {path.parent}.", param, ctx)
        return path


OUTPUT_FILE = _OutputFile(path_type=Path, dir_okay=False, writable=True)
