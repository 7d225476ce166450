"""A tray of boards, one after another: a line in the log for each, and a running tally."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tallystick.common.errors import TallyError
from tallystick.tools.flash.job import Job, Progress, Target, check


@dataclass(frozen=True)
class FlashOutcome:
    """One board. `result`: "verified", "written" (where it cannot be read back) or "failed".
    `compared`: its security version was known, and is not above the image's."""

    number: int
    time: str
    target: str
    says: str
    board: str
    device: str
    version: str
    result: str
    seconds: float
    compared: bool
    error: str = ""


@dataclass
class Tally:
    good: int = 0
    failed: int = 0
    outcomes: list[FlashOutcome] = field(default_factory=list)

    def add(self, outcome: FlashOutcome) -> None:
        self.outcomes.append(outcome)
        if outcome.result == "failed":
            self.failed += 1
        else:
            self.good += 1


def flash_one(
    job: Job,
    open_target: Callable[[], Target],
    tally: Tally,
    *,
    device: str | None = None,
    downgrade: bool = False,
    other: bool = False,
    progress: Progress = lambda done, total: None,
    log: Path | None = None,
) -> FlashOutcome:
    """Checks, writes, reads back, restarts. Never raises a TallyError: the outcome has it."""
    begin = time.monotonic()
    name, says, result, error = "", "", "failed", ""
    compared = False
    try:
        target = open_target()
        try:
            name = target.name
            compared = target.read_back and bool(job.board.slots)
            says = check(job, target, device=device, downgrade=downgrade, other=other)
            target.write(job, progress)
            target.verify(job, progress)
            target.restart()
            result = "verified" if target.read_back else "written"
        finally:
            target.close()
    except TallyError as failure:
        error = str(failure)
    outcome = FlashOutcome(
        number=len(tally.outcomes) + 1,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        target=name,
        says=says,
        board=job.board.name,
        device=job.device,
        version=job.version,
        result=result,
        seconds=round(time.monotonic() - begin, 1),
        compared=compared,
        error=error,
    )
    tally.add(outcome)
    if log is not None:
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")
    return outcome
