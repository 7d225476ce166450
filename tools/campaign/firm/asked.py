"""What the server said, as whoever asked it has it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ServerSaid:
    """What the server said of a check. status 0: nothing. asked: whether it may have heard it."""

    status: int
    accepted: bool = False
    reason: str = ""
    serial: str | None = None
    retry_after_s: int = 0
    asked: bool = True
