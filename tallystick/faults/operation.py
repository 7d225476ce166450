"""A change of flash, as a fault sees it."""

from __future__ import annotations

from typing import Literal, Protocol


class Operation(Protocol):
    """One program or erase. old, new: what the range at `address` holds before it, and what it
    would hold once it is complete; equally long."""

    @property
    def kind(self) -> Literal["program", "erase"]: ...

    @property
    def address(self) -> int: ...

    @property
    def old(self) -> bytes: ...

    @property
    def new(self) -> bytes: ...
