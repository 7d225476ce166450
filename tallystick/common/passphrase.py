"""Where a command gets a passphrase from."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from tallystick.common.errors import BadInputError


def read_passphrase(
    path: Path | None, variable: str, what: str, *, new: bool, option: str = "--passphrase-file"
) -> str:
    """From a file, from the environment variable, or asked for at the terminal. what: the thing
    that it opens. option: what names the file. new: something is to be sealed under it, so that it
    is asked for twice, and must not be soon guessed.

    Raises BadInputError when there is neither and no terminal to ask at, and for a new one that is
    soon guessed.
    """
    secret = _read(path, variable, what, option, confirm=new)
    if new:
        check_new(secret, what)
    return secret


def _read(path: Path | None, variable: str, what: str, option: str, *, confirm: bool) -> str:
    if path is not None:
        try:
            return path.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInputError(f"The passphrase file cannot be read: {error}.") from None
    if (value := os.environ.get(variable)) is not None:
        return value
    if not sys.stdin.isatty():
        raise BadInputError(
            f"There is no passphrase for {what}, and no terminal to ask for it.",
            todo=f"Set {variable}, or give {option}.",
        )
    answer: str = click.prompt(
        f"Passphrase of {what}", hide_input=True, confirmation_prompt=confirm, err=True
    )
    return answer


MIN_LENGTH = 12
GUESSES = 10**10  # of somebody who knows words, names, keyboards and dates
_ESTIMATED = 72  # characters; the estimate's time grows with their square


def check_new(passphrase: str, what: str) -> None:
    """A passphrase that something is to be sealed under. Whoever gets hold of the file guesses as
    fast as he can pay for. Raises BadInputError for one that is soon guessed."""
    said = passphrase.strip().lower()
    few = len(set(said)) < 6 or said in (said + said)[1:-1]  # also one word again and again
    short = len(said) < MIN_LENGTH or few or said.isdigit()
    if short or _guesses(said) < GUESSES:
        raise BadInputError(
            f"That passphrase is too easy to guess for {what}.",
            kept="Nothing was written.",
            todo=f"Take at least {MIN_LENGTH} characters: four or five words that have nothing to "
            "do with one another.",
        )


def _guesses(passphrase: str) -> int:
    """How many it takes to come to this one."""
    from zxcvbn import zxcvbn  # noqa: PLC0415  (0.1 s, and only new passphrases need it)

    return int(zxcvbn(passphrase[:_ESTIMATED], user_inputs=["tally", "tallystick"])["guesses"])
