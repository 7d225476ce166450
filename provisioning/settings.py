"""Where a station keeps its files, and how it asks for the passphrase of its keys."""

from __future__ import annotations

from pathlib import Path

import click

from tallystick.common import passphrase

PHRASE_VARIABLE = "TALLY_STATION_PASSPHRASE"


def default_folder() -> Path:
    return Path(click.get_app_dir("tallystick", force_posix=False)) / "station"


def default_keys() -> str:
    return str(default_folder() / "keys.json")


def default_journal() -> Path:
    return default_folder() / "journal.db"


def default_operator() -> Path:
    return default_folder() / "operator.json"


def read_passphrase(path: Path | None, *, new: bool = False) -> str:
    """From a file, from the environment, or asked for at the terminal. Raises BadInputError when
    there is none of them, and for a new one that is soon guessed."""
    what = "the firm's master keys" if new else "the station's keys (or PIN of its token)"
    return passphrase.read_passphrase(path, PHRASE_VARIABLE, what, new=new)


CONTAINER_VARIABLE = "TALLY_REGISTRY_PASSPHRASE"


def read_container_passphrase(path: Path | None, new: bool) -> str:
    """Of a folder of containers: as `read_passphrase`."""
    option = "--registry-passphrase-file"
    return passphrase.read_passphrase(
        path, CONTAINER_VARIABLE, "the containers", new=new, option=option
    )
