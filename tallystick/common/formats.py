"""What a file on disk is: a kind and a number, as text (`tallystick station keys 1`).

A program reads the numbers up to its own. What a later one wrote it leaves alone, and says so: to
read half of it, or to write it anew, would lose what it does not know.
"""

from __future__ import annotations

import re

from tallystick.common.errors import RefusedError

_TEXT = re.compile(r"(?P<kind>[a-z -]{1,48})[ /](?P<number>[0-9]{1,6})")


class NewerStateError(RefusedError):
    """Written by a later version of this program."""

    def __init__(self, what: str, found: int | str, known: int | str) -> None:
        super().__init__(
            f"{what} was written by a newer Tallystick: its format is {found}, this one knows up "
            f"to {known}.",
            kept="It was not changed.",
            todo="Use the newer version, or restore a copy from before it.",
        )


def number_of(found: object, newest: str, what: str) -> int | None:
    """The number in `found`, of the kind that `newest` is; None when it is of no such kind.

    newest: the format that this program writes. what: the file, for the message. Raises
    NewerStateError.
    """
    known, one = _TEXT.fullmatch(newest), _TEXT.fullmatch(found) if isinstance(found, str) else None
    assert known is not None
    if one is None or one["kind"] != known["kind"]:
        return None
    number, most = int(one["number"]), int(known["number"])
    if number > most:
        raise NewerStateError(what, number, most)
    return number or None
