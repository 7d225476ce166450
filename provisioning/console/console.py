"""The console: what its pages share."""

from __future__ import annotations

import getpass
import itertools
from pathlib import Path

from tallystick.common.secret import Secret
from tallystick.provisioning.console.gate import BrowserSession, Gate, Signing
from tallystick.provisioning.console.workshop import Workshop
from tallystick.provisioning.custody.interface import ServerCredential
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
        self._kept: tuple[Signing, Desk] | None = None
        self._left: list[Desk] = []

    def desk(self, session: BrowserSession) -> Desk | None:
        """Acts with the credential of whoever is at work in this session; where nobody ever gave
        one here, with the one that is kept on this computer now. None where there is none.

        That one has no PIN: it is locked once nobody did anything for a while.

        Looked at anew each time: somebody may have signed out in the terminal, and somebody else
        in. Raises BadInputError for a file that others may read.
        """
        if session.seats.people:
            session.kept.locked = self._signing()  # nobody falls back to it
            seat = session.seats.at_work()
            return seat.desk if seat is not None else None
        signing = self._signing()
        if signing is None:
            self._forget_kept()
            return None
        if session.asked and signing == session.kept.locked:
            return None
        session.asked = False
        return self._kept_desk(signing) if session.kept.open(signing, self.gate.now) else None

    def who_works(self, session: BrowserSession) -> str:
        """The id of the credential of whoever is at work; "" where nobody said."""
        desk = self.desk(session)
        return desk.credential_id if desk is not None else ""

    def kept_is_locked(self, session: BrowserSession) -> bool:
        """Whether the credential kept on this computer waits for its owner in the terminal."""
        signing = self._signing()
        return signing is not None and signing == session.kept.locked

    def acted(self) -> None:
        """Something was done at the desk."""
        self.acts = next(self._counter)

    def _signing(self) -> Signing | None:
        """Who signed in in the terminal, and when. Raises BadInputError."""
        try:
            written = self._operator_file.stat().st_mtime_ns
        except OSError:
            return None
        kept = operator.load(self._operator_file)
        return kept.url, kept.id, kept.token.reveal(), written

    def _kept_desk(self, signing: Signing) -> Desk:
        if self._kept is None or self._kept[0] != signing:
            self._forget_kept()
            url, name, token, _ = signing
            self._kept = (signing, Desk(ServerCredential(url, name, Secret(token))))
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
