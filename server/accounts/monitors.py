"""Who may read the metrics, also while the database that knows it does not answer."""

from __future__ import annotations

from tallystick.common import moments

KNOWN_S = 3600.0


class KnownMonitors:
    """Credentials that could read the metrics a while ago. A monitor that is told nothing as long
    as the database is away learns of a fault when it is over."""

    def __init__(self) -> None:
        self._until: dict[bytes, float] = {}  # by token hash

    def note(self, token_hash: bytes) -> None:
        """It has just been looked up, and may."""
        self._until[token_hash] = moments.steady() + KNOWN_S

    def knows(self, token_hash: bytes) -> bool:
        return self._until.get(token_hash, 0.0) > moments.steady()
