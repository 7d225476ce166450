"""What was done at a station: of a batch, or between two moments. As HTML to print and sign, or as
CSV. It holds serial numbers and logins, no secrets."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from html import escape

from tallystick.common.moments import in_words
from tallystick.provisioning.journal import FINISHED, CardRecord, CardState, StationJournal

CSV_HEADS = ("when", "who", "act", "card", "detail")
_CSS = """body { font:15px/1.45 system-ui,sans-serif; margin:2rem auto; max-width:60rem;
  padding:0 1rem; color:#1b2430; }
h1 { font-size:1.5rem; } h2 { font-size:1.1rem; margin-top:1.6rem; }
table { border-collapse:collapse; width:100%; } th, td { text-align:left; vertical-align:top;
  padding:.3rem .8rem .3rem 0; border-bottom:1px solid #cdd4dd; } th { color:#566273; }
.mono { font-family:ui-monospace,monospace; white-space:nowrap; } .sign { margin-top:3rem; }
@media print { body { margin:0; max-width:none; } tr { break-inside:avoid; } }"""


@dataclass(frozen=True)
class ReportEntry:
    """An entry of the station's audit log. at: seconds since 1970."""

    at: float
    who: str
    act: str
    subject: str
    detail: str


@dataclass(frozen=True)
class BatchReport:
    """title: what it is of. runs: of cards, by batch and serial number. entries: oldest first.
    zone: None for this computer's own."""

    title: str
    runs: list[CardRecord]
    entries: list[ReportEntry]
    zone: tzinfo | None = None

    def when(self, seconds: float) -> str:
        """With weekday and zone."""
        return in_words(seconds, self.zone)

    def count(self, *states: CardState) -> int:
        return sum(run.state in states for run in self.runs)


def of_batch(journal: StationJournal, name: str, zone: tzinfo | None = None) -> BatchReport:
    runs = journal.batch(name)
    serials = {run.serial for run in runs}
    return BatchReport(
        f"Batch {name}", runs, [one for one in _log(journal) if one.subject in serials], zone
    )


def of_time(
    journal: StationJournal, since: float, until: float, zone: tzinfo | None = None
) -> BatchReport:
    """since, until: seconds since 1970; the second is not in it."""
    runs = [run for run in journal.runs() if since <= run.changed_at < until]
    entries = [one for one in _log(journal) if since <= one.at < until]
    title = f"{in_words(since, zone)} to {in_words(until, zone)}"
    return BatchReport(title, runs, entries, zone)


@dataclass(frozen=True)
class DayCount:
    """Runs of cards that ended on a day of the calendar."""

    day: str
    finished: int
    failed: int


@dataclass(frozen=True)
class StationStatistics:
    """days: oldest first. reasons: why cards failed, the commonest first."""

    days: list[DayCount]
    reasons: list[tuple[str, int]]

    @property
    def finished(self) -> int:
        return sum(day.finished for day in self.days)

    @property
    def failed(self) -> int:
        return sum(day.failed for day in self.days)


def of_days(
    journal: StationJournal, days: int, now: float, zone: tzinfo | None = None
) -> StationStatistics:
    """The last so many days, today among them."""

    def day_of(seconds: float) -> date:
        return datetime.fromtimestamp(seconds, UTC).astimezone(zone).date()

    today = day_of(now)
    first = today - timedelta(days=days - 1)
    runs = [run for run in journal.runs() if first <= day_of(run.changed_at) <= today]
    done = Counter(day_of(run.changed_at) for run in runs if run.state in FINISHED)
    failed = Counter(day_of(run.changed_at) for run in runs if run.state is CardState.FAILED)
    reasons = Counter(
        (run.reason or "").replace(run.serial, "…") for run in runs if run.state is CardState.FAILED
    )
    listed = [first + timedelta(days=number) for number in range(days)]
    return StationStatistics(
        [DayCount(day.isoformat(), done[day], failed[day]) for day in listed],
        reasons.most_common(10),
    )


def _log(journal: StationJournal) -> list[ReportEntry]:
    found = [json.loads(line) for line in journal.audit_log()]
    return [
        ReportEntry(float(one["at"]), one["who"], one["act"], one["subject"], one["detail"])
        for one in found
    ]


def as_csv(report: BatchReport) -> str:
    """The entries; ISO 8601 times. A cell that a spreadsheet would take for a formula is quoted."""
    output = io.StringIO()
    writer = csv.writer(output)
    writer.writerow(CSV_HEADS)
    for one in report.entries:
        local = datetime.fromtimestamp(one.at, UTC).astimezone(report.zone)
        at = local.isoformat(timespec="seconds")
        writer.writerow([_plain(cell) for cell in (at, one.who, one.act, one.subject, one.detail)])
    return output.getvalue()


def _plain(cell: str) -> str:
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def as_html(report: BatchReport) -> str:
    done, failed = report.count(*FINISHED), report.count(CardState.FAILED)
    under_way = len(report.runs) - done - failed
    acts = Counter((one.who, one.act) for one in report.entries)
    parts = [
        f"<h1>Station report: {escape(report.title)}</h1>",
        f"<p>{done} cards in service, {failed} failed, {under_way} stopped half-way; "
        f"{len(report.entries)} entries of the audit log.</p>",
        _table(
            "Cards",
            ("Card", "State", "Batch", "User", "When", "Note"),
            [
                (run.serial, run.state.value, run.batch, run.user or "",
                 report.when(run.changed_at), run.reason or "")
                for run in sorted(report.runs, key=lambda run: (run.batch, run.serial, run.id))
            ],
        ),
        _table(
            "Who did what",
            ("Who", "Act", "How often"),
            [(who, act, str(count)) for (who, act), count in sorted(acts.items())],
        ),
        _table(
            "Entries",
            ("When", "Who", "Act", "Subject", "Detail"),
            [
                (report.when(one.at), one.who, one.act, one.subject, one.detail)
                for one in report.entries
            ],
        ),
        '<p class="sign">Date, name, signature: ________________________________</p>',
    ]  # fmt: skip
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Station report: {escape(report.title)}</title><style>{_CSS}</style></head><body>"
        f"<main>{''.join(parts)}</main></body></html>\n"
    )


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return f"<h2>{title}</h2><p>None.</p>"
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<h2>{title}</h2><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
