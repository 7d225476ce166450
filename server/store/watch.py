"""The ground is looked at now and then, also when nobody asks for anything: whether the database
takes what is written, and whether the clock goes as it should."""

from __future__ import annotations

import logging
from collections.abc import Callable

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import DBAPIError

from tallystick.common import moments
from tallystick.server.errors import ApiError
from tallystick.server.open_files import open_files
from tallystick.server.store import trouble
from tallystick.server.store.database import Database
from tallystick.server.store.models import AuditEntry, AuditHead
from tallystick.server.store.periodic import PeriodicThread
from tallystick.server.store.probe import WriteProbe

EVERY_S = 30.0
CLOCK_BEHIND_S = 60.0
CLOCK_AHEAD_S = 30 * 86400.0
WEEK_S = 7 * 86400.0
BUSY_PART = 0.8  # of the files that a process may have open

log = logging.getLogger(__name__)


def newest_entry(connection: Connection) -> float | None:
    """When the audit log was last written to, in seconds since 1970. The ends of its chains are
    looked at: the log may be long."""
    newest = connection.scalar(
        select(func.max(AuditEntry.at_ms)).join(
            AuditHead,
            (AuditHead.chain == AuditEntry.chain) & (AuditHead.number == AuditEntry.number),
        )
    )
    return None if newest is None else newest / 1000


def clock_leap(connection: Connection, now: float) -> float:
    """How many seconds without an entry there are before those of the last week, where so long a
    time says that the clock was set; 0 otherwise. A server whose clock is far ahead writes entries
    that fit it. Reads the log: for whoever has time."""
    week_ms = int((now - WEEK_S) * 1000)
    first = connection.scalar(select(func.min(AuditEntry.at_ms)).where(AuditEntry.at_ms >= week_ms))
    if first is None:
        return 0.0
    before = connection.scalar(select(func.max(AuditEntry.at_ms)).where(AuditEntry.at_ms < first))
    passed = 0.0 if before is None else (first - before) / 1000
    return passed if passed > CLOCK_AHEAD_S else 0.0


def clock_fault(newest: float | None, now: float) -> str:
    """What is odd about the clock, beside the newest entry of the audit log; "" for nothing.
    newest, now: seconds since 1970."""
    if newest is None:
        return ""
    if newest - now > CLOCK_BEHIND_S:
        return f"{in_hours(newest - now)} behind the newest entry of the audit log"
    if now - newest > CLOCK_AHEAD_S:
        return f"{in_hours(now - newest)} after the newest entry of the audit log"
    return ""


def in_hours(seconds: float) -> str:
    """As people say it."""
    hours = seconds / 3600
    return f"{hours / 24:.0f} days" if hours >= 48 else f"{hours:.1f} hours"


class GroundWatch:
    """Tells the log and the metrics. clock: of the server; steady: one that nobody sets. A
    machine that slept has a clock that went forward, as it seems from here."""

    def __init__(
        self,
        database: Database,
        probe: WriteProbe,
        clock: Callable[[], float],
        *,
        steady: Callable[[], float] = moments.steady,
        background: bool = True,
    ) -> None:
        self._database = database
        self._probe = probe
        self._clock, self._steady = clock, steady
        self._apart: float | None = None
        self._many_files = False
        trouble.begin_anew()
        self._thread = PeriodicThread(
            "watch", self.look, EVERY_S, first_s=0.0, background=background
        )

    def close(self) -> None:
        self._thread.close()

    def look(self) -> None:
        """Once."""
        self._look_at_clock()
        self._look_at_files()
        try:
            self._probe.check()
        except DBAPIError as error:
            trouble.told(error)
        except ApiError:
            return  # whoever holds the probe tells it
        else:
            trouble.over()

    def _look_at_clock(self) -> None:
        now, apart = self._clock(), self._clock() - self._steady()
        before, self._apart = self._apart, apart
        if before is None:
            self._look_back(now)
        elif abs(jump := apart - before) > CLOCK_BEHIND_S:
            where = "forward" if jump > 0 else "back"
            _tell_clock(f"has gone {in_hours(abs(jump))} {where} at once", where)

    def _look_at_files(self) -> None:
        """Connections beyond the limit are closed by the kernel's leave, and nothing else tells."""
        limit, files = open_files()
        many = files is not None and files > BUSY_PART * limit
        if many and not self._many_files:
            log.warning(
                "%d of %d files are open: connections beyond that are closed unanswered "
                "(LimitNOFILE)", files, limit,
            )  # fmt: skip
        self._many_files = many

    def _look_back(self, now: float) -> None:
        """At the start nobody knows how the clock went; the audit log does."""
        try:
            with self._database.read() as connection:
                fault = clock_fault(newest_entry(connection), now)
        except DBAPIError:
            return  # the probe tells that
        if fault:
            _tell_clock(f"is {fault}", "back" if "behind" in fault else "forward")


def _tell_clock(what: str, where: str) -> None:
    # Late: the metrics library decides at import whether there are several workers.
    from tallystick.server import metrics  # noqa: PLC0415

    metrics.CLOCK_FAULTS.labels(where).inc()
    log.warning("the clock %s: is it right?", what)
