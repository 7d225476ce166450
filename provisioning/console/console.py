"""The console: what its pages share."""

from __future__ import annotations

import getpass
from pathlib import Path

from tallystick.provisioning.console.gate import BrowserSession, Gate
from tallystick.provisioning.console.workshop import Workshop
from tallystick.provisioning.desk import operator
from tallystick.provisioning.desk.client import Desk
from tallystick.provisioning.ready import ReadyStation


class Console:
    """What its pages share. ports: suggested for a batch."""

    def __init__(self, ready: ReadyStation, gate: Gate, operator_file: Path, ports: str) -> None:
        self.ready = ready
        self.journal = ready.journal
        self.gate = gate
        self.ports = ports
        self.workshop = Workshop(ready)
        self.who = getpass.getuser()
        self._operator_file = operator_file
        self._kept: Desk | None = None

    def desk(self, session: BrowserSession) -> Desk | None:
        """Acts with the credential given in this session, or with the one kept on this computer;
        None where there is neither. Raises BadInputError for a file that others may read."""
        if session.desk is not None:
            return session.desk
        if self._kept is None and self._operator_file.exists():
            self._kept = Desk(operator.load(self._operator_file))
        return self._kept

    def close(self) -> None:
        self.workshop.close()
        if self._kept is not None:
            self._kept.close()
