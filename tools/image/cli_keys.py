"""`tally image keys`: the keys that images are signed with."""

from __future__ import annotations

from pathlib import Path

import click

from tallystick.common import console
from tallystick.common.groups import Group
from tallystick.common.passphrase import read_passphrase
from tallystick.tools.image.keys import SigningKey, load, read_public
from tallystick.tools.lock.boot_key import BootKey

PHRASE_VARIABLE = "TALLY_SIGNING_PASSPHRASE"

key_option = click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="TALLY_SIGNING_KEY",
    show_envvar=True,
    help="Signing key file.",
)
passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"File with the passphrase of the key file (else ${PHRASE_VARIABLE}, else asked).",
)


@click.group(cls=Group)
def keys() -> None:
    """The keys that images are signed with. The private half is never shown."""


@keys.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@passphrase_option
@console.json_option
def create(file: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """Make a key and write it to FILE, encrypted. Keep a copy: devices trust this key only."""
    key = SigningKey.generate()
    key.save(file, _passphrase(passphrase_file, new=True))
    _show(file, key.public, as_json)


@keys.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@console.json_option
def show(file: Path, as_json: bool) -> None:
    """Print the public half; needs no passphrase."""
    _show(file, read_public(str(file)), as_json)


@keys.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@console.json_option
def boot(file: Path, as_json: bool) -> None:
    """Make the key of secure boot and write it to FILE, in PEM, not encrypted.

    The chip's makers' own program takes it so. Keep it off line: chips that are locked to it start
    nothing else.
    """
    key = BootKey.generate()
    key.save(file)
    if as_json:
        console.print_json({"file": str(file), "digest": key.digest.hex()})
    else:
        console.out().print(f"{file}\nboot key, SHA-256 {key.digest.hex()}")


def _show(file: Path, public: bytes, as_json: bool) -> None:
    if as_json:
        console.print_json({"file": str(file), "public_key": public.hex()})
    else:
        console.out().print(f"{file}\npublic key {public.hex()}")


def open_key(file: Path | None, passphrase_file: Path | None) -> SigningKey:
    """The key of a file, or the published development key. Raises BadInputError."""
    if file is None:
        return SigningKey.development()
    return load(file, _passphrase(passphrase_file))


def _passphrase(path: Path | None, *, new: bool = False) -> str:
    return read_passphrase(path, PHRASE_VARIABLE, "the signing key", new=new)
