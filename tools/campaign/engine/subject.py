"""What a campaign works on: a device of some kind, its scenarios, and how it is judged after a cut.

The card's is `card.workshop.CardWorkshop`, the reader's `reader.workshop.ReaderWorkshop`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self

from tallystick.emulator.devices.device import Device
from tallystick.emulator.devices.image import Image
from tallystick.emulator.parts.nor_flash import Cut, Failure, FlashOperation
from tallystick.tools import firmware
from tallystick.tools.campaign.engine.flash_state import FlashRange, FlashState
from tallystick.tools.image.build import build

Fault = Cut | Failure | None


def image_under_test(device: str, board: str, root: Path | None, *, readable: bool) -> Image:
    """Of the firmware in `root` (default: the one in this repository). `readable`: tracebacks name
    lines. That takes RAM which the shipped image has for itself: it has twice the heap."""
    with firmware.rooted(root or firmware.root()):
        built = build(device, board, "0.1.0", readable=readable)
    used = replace(built.board, heap=2 * built.board.heap) if readable else built.board
    return Image(used, ((built.board.storage.address, built.flash),), "0.1.0")


class ViolationError(Exception):
    """The guarantee does not hold. `kind` is one word; the message says what was seen."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(what)
        self.kind = kind


class PowerGoneError(Exception):
    """The power went, as planned; what the scenario wanted to do next is void."""


class Knowledge(Protocol):
    """What is known of a device from outside. Equal knowledge has an equal `repr`."""

    def after_cut(self) -> Self: ...


@dataclass(frozen=True)
class Node:
    """A device whose power was cut. `path`: the faults that led here, each `operation` + `variant`
    (faults.py): operations of the scenario for the first, of the recovery after that."""

    scenario: str
    path: tuple[str, ...]
    flash: FlashState
    known: Knowledge

    @cached_property
    def digest(self) -> bytes:
        """16 bytes: equal for states that cannot be told apart."""
        rest = f"{self.scenario} {self.known}".encode()
        return hashlib.blake2b(self.flash.digest + rest, digest_size=16).digest()


class Rig(Protocol):
    """One device, used again and again. `on_operation` is told of every flash operation, and may
    answer with a fault. `worn`: addresses of sectors at their end. `settled`: address of the record
    written before the one in hand."""

    range: FlashRange
    worn: frozenset[int]
    settled: int | None
    on_operation: Callable[[FlashOperation], Fault] | None

    @property
    def device(self) -> Device: ...

    @property
    def known(self) -> Knowledge: ...

    def look(self) -> object:
        """Takes note of what the device shows by itself."""

    def flipped(self, bits: Iterable[int]) -> bytes:
        """The record at `settled` with these bits flipped."""

    def power_for_prompt(self) -> None:
        """Lets the device start, so that somebody can look around in its firmware."""

    def close(self) -> None: ...


class Scenario(Protocol):
    """What is done to the device while its power may go."""

    @property
    def name(self) -> str: ...

    @property
    def sentence(self) -> str: ...

    @property
    def start(self) -> str: ...

    @property
    def rots(self) -> bool:
        """Whether the record before may have lost several bits, and nothing else may go wrong."""

    @property
    def run(self) -> Callable[[Any], None]: ...


class Subject(Protocol):
    """Makes rigs, and begins and judges what is done on them. Worker processes get a copy."""

    image: Image

    def scenario(self, name: str) -> Any:
        """Raises KeyError."""

    def rig(self, start: Any) -> Any:
        """A rig whose states are told by what differs from this start."""

    def begin(self, rig: Any, scenario: Any, seed: int) -> None:
        """The device lies there without power, as the scenario finds it."""

    def resume(self, rig: Any, node: Node) -> None:
        """The device lies there as a cut has left it."""

    def judge(self, rig: Any, scenario: Any, node: Node) -> None:
        """Lets it start, and looks. Raises ViolationError."""

    def cut_at_rest(self, node: Node) -> bool:
        """Whether power is cut again where `judge` leaves it, and what is there then is a state of
        its own."""
