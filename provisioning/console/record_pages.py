"""History of cards, and the audit log: both searched, both printable."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from nicegui import ui

from tallystick.provisioning import audit
from tallystick.provisioning.console.shell import Page, TableCell, table
from tallystick.provisioning.journal import CardRecord, CardState

LIMIT = 200
_CHIPS = {CardState.LOCKED: "good", CardState.LABELLED: "good", CardState.FAILED: "bad"}
_WORDS = {CardState.LOCKED: "in service", CardState.LABELLED: "in service, labelled"}


class HistoryPage:
    """Every run of every card at this station."""

    def __init__(self, page: Page, text: str) -> None:
        self._page = page
        self._text = text

    def build(self) -> None:
        with self._page.frame("/history", "History"):
            with ui.element("section").classes("sheet").props('aria-label="Cards"'):
                _search("Serial number, batch, user or state", self._text, self._find)
                self._room = ui.element("div")
            self._find(self._text)

    def _find(self, text: str) -> None:
        if not self._page.alive():
            return
        found = self._page.console.journal.search(text.strip(), LIMIT)
        self._room.clear()
        with self._room:
            if not found:
                ui.label("No card matches." if text else "No card went through here yet.")
                return
            table(
                "Cards at this station, newest first",
                ("Card", "State", "Batch", "User", "When", "Note", "Again"),
                [_history_row(self._page, record) for record in found],
            )
            if len(found) == LIMIT:
                ui.label(f"The newest {LIMIT} are shown: search for others.").classes("soft small")


def _history_row(page: Page, record: CardRecord) -> list[TableCell]:
    state = _WORDS.get(record.state, record.state.value)
    open_run = record.state not in _CHIPS
    note = record.reason or ("Put it into a dock: a batch finishes it." if open_run else "")
    return [
        TableCell(record.serial, "mono", link=f"/desk?card={quote(record.serial)}"),
        TableCell(state, chip=_CHIPS.get(record.state, "warn")),
        TableCell(record.batch),
        TableCell(record.user or ""),
        TableCell(page.when(record.changed_at)),
        TableCell(note),
        TableCell("Label", link=f"/label/{quote(record.serial)}.pdf"),
    ]


class AuditPage:
    """The station's chained log, checked each time it is looked at."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._lines: list[str] = []

    def build(self) -> None:
        with self._page.frame("/audit", "Audit"):
            self._verdict = ui.element("div")
            with ui.element("section").classes("sheet").props('aria-label="Entries"'):
                with ui.element("div").classes("line"):
                    _search("Who, act, card or detail", "", self._find).classes("grow")
                    ui.html(
                        '<a class="no-print" href="/audit.jsonl" download>Export (JSON lines)</a>',
                        sanitize=False,
                    )
                self._room = ui.element("div")
            self._find("")

    def _find(self, text: str) -> None:
        if not self._page.alive():
            return
        lines = self._page.console.journal.audit_log()
        self._judge(lines)
        part = text.strip().lower()
        entries = [json.loads(line) for line in reversed(lines) if part in line.lower()]
        self._room.clear()
        with self._room:
            if not entries:
                ui.label("No entry matches.")
                return
            table(
                "Entries of the audit log, newest first",
                ("No.", "When", "Who", "Act", "Subject", "Detail", "Hash"),
                [_audit_row(self._page, entry) for entry in entries[:LIMIT]],
            )
            if len(entries) > LIMIT:
                left = f"The newest {LIMIT} of {len(entries)} are shown: search, or export all."
                ui.label(left).classes("soft small")

    def _judge(self, lines: list[str]) -> None:
        verdict = audit.verify(lines)
        kind, said = "good", f"{verdict.entries} entries, and the chain is whole."
        if verdict.problems:
            kind, said = "bad", f"The log is broken: {verdict.problems[0]}."
        self._verdict.clear()
        with self._verdict:
            ui.html(
                f'<div class="notice {kind}" role="status"><strong>{said}</strong>'
                f'<span class="small">Head: <span class="mono">{verdict.head}</span>. Noted '
                "elsewhere, it also shows a missing end.</span></div>",
                sanitize=False,
            )


def _audit_row(page: Page, entry: dict[str, Any]) -> list[TableCell]:
    return [
        TableCell(str(entry["number"])),
        TableCell(page.when(float(entry["at"]))),
        TableCell(str(entry["who"])),
        TableCell(str(entry["act"])),
        TableCell(str(entry["subject"]), "mono"),
        TableCell(str(entry["detail"])),
        TableCell(str(entry["hash"])[:12], "mono hash"),
    ]


def _search(label: str, value: str, find: Any) -> ui.input:
    field = ui.input(label, value=value, on_change=lambda event: find(event.value or ""))
    field.props('outlined dense debounce=250 type="search"').classes("no-print")
    return field
