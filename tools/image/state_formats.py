"""Which formats of a device's state a firmware reads, as its own sources say it."""

from __future__ import annotations

import ast

from tallystick.common.errors import BadInputError
from tallystick.tools import firmware
from tallystick.tools.image.header import StateFormats

_STORES = {"card": "card/store.py", "reader": "reader/store.py"}


def read_by(device: str) -> StateFormats:
    """Of the firmware's sources: every one from 1 on to the store's `_FORMAT`. Raises
    BadInputError for a store that names none."""
    path = firmware.root() / _STORES[device]
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case ast.Assign(
                targets=[ast.Name("_FORMAT")], value=ast.Call(args=[ast.Constant(int() as number)])
            ):
                return StateFormats(1, number)
    raise BadInputError(
        f"{path} does not say which format its state has.", todo="Name it: _FORMAT = const(1)."
    )


def card_sizes() -> tuple[int, ...]:
    """Bytes of a card's state in each format that the sources know, from format 1 on: what a format
    is, it stays. Raises BadInputError for a store that does not say."""
    path = firmware.root() / _STORES["card"]
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case ast.Assign(targets=[ast.Name("_SIZES")], value=ast.Tuple() as sizes):
                return tuple(int(size) for size in ast.literal_eval(sizes))
    raise BadInputError(
        f"{path} does not say how long its states are.", todo="Name them: _SIZES = (200,)."
    )
