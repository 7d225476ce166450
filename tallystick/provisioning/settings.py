"""Where a station keeps its files, and how it asks for the passphrase of its keys."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from tallystick.common.errors import BadInputError

PHRASE_VARIABLE = "TALLY_STATION_PASSPHRASE"


def default_folder() -> Path:
    return Path(click.get_app_dir("tallystick", force_posix=False)) / "station"


def default_keys() -> str:
    return str(default_folder() / "keys.json")


def default_journal() -> Path:
    return default_folder() / "journal.db"


def default_operator() -> Path:
    return default_folder() / "operator.json"


def read_passphrase(path: Path | None, *, confirm: bool = False) -> str:
    """The passphrase: from a file, from the environment, or asked for at the terminal.

    Raises BadInputError when there is neither and no terminal to ask at.
    """
    if path is not None:
        try:
            return path.read_text().rstrip("\r\n")
        except OSError as error:
            raise BadInputError(f"The passphrase file cannot be read: {error}.") from None
    if (value := os.environ.get(PHRASE_VARIABLE)) is not None:
        return value
    if not sys.stdin.isatty():
        raise BadInputError(
            "The station's keys need a passphrase, and there is no terminal to ask for it.",
            todo=f"Set {PHRASE_VARIABLE}, or give --passphrase-file.",
        )
    answer: str = click.prompt(
        "Passphrase (or PIN) of the station's keys",
        hide_input=True,
        confirmation_prompt=confirm,
        err=True,
    )
    return answer
