"""The console: what its pages share."""

from __future__ import annotations

import getpass
import itertools
from pathlib import Path

from tallystick.provisioning.console.gate import BrowserSession, Gate
from tallystick.provisioning.console.workshop import Workshop
from tallystick.provisioning.desk import operator
from tallystick.provisioning.desk.client import Desk
from tallystick.provisioning.ready import ReadyStation


class Console:
    """What its pages share. ports: suggested for a batch. acts: counts what was done at the desk,
    so that every page sees that something was."""

    def __init__(self, ready: ReadyStation, gate: Gate, operator_file: Path, ports: str) -> None:
        self.ready = ready
        self.journal = ready.journal
        self.gate = gate
        self.ports = ports
        self.workshop = Workshop(ready)
        self.who = getpass.getuser()
        self.acts = 0
        self._counter = itertools.count(1)
        self._operator_file = operator_file
        self._kept: tuple[tuple[str, str, bytes], Desk] | None = None
        self._left: list[Desk] = []

    def desk(self, session: BrowserSession) -> Desk | None:
        """Acts with the credential of whoever is at work in this session; where nobody ever gave
        one here, with the one that is kept on this computer now. None where there is none.

        Looked at anew each time: somebody may have signed out in the terminal, and somebody else
        in. Raises BadInputError for a file that others may read.
        """
        if session.seats.people or session.asked:
            seat = session.seats.at_work()
            return seat.desk if seat is not None else None
        return self._kept_desk()

    @property
    def keeps_one(self) -> bool:
        """Whether a credential is kept on this computer."""
        return self._operator_file.exists()

    def acted(self) -> None:
        """Something was done at the desk."""
        self.acts = next(self._counter)

    def _kept_desk(self) -> Desk | None:
        if not self._operator_file.exists():
            self._forget_kept()
            return None
        kept = operator.load(self._operator_file)
        known = (kept.url, kept.id, kept.token.reveal())
        if self._kept is None or self._kept[0] != known:
            self._forget_kept()
            self._kept = (known, Desk(kept))
        return self._kept[1]

    def _forget_kept(self) -> None:
        """Closed at the end only: an act may be under way with it."""
        if self._kept is not None:
            self._left.append(self._kept[1])
            self._kept = None

    def close(self) -> None:
        self.workshop.close()
        self._forget_kept()
        for desk in self._left:
            desk.close()
