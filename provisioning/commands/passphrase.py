"""The option for the keys' passphrase, by itself: commands that need nothing else of the station
have it too, where the station's libraries are not installed."""

from __future__ import annotations

from pathlib import Path

import click

passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with the keys' passphrase or PIN (else $TALLY_STATION_PASSPHRASE, else asked).",
)
