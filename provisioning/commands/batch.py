"""Progress and summary of a batch, for people and as JSON."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tallystick.common import moments
from tallystick.common.console import err
from tallystick.common.errors import TallyError
from tallystick.provisioning.batch import Batch, Summary
from tallystick.provisioning.journal import CardState
from tallystick.provisioning.steps import DOING, Outcome


@dataclass
class _Port:
    serial: str = ""
    doing: str = "put a card in"
    style: str = "dim"
    done: int = 0
    failed: int = 0


class BatchView:
    """A live table on a terminal, else one line a card on standard error. Implements
    batch.Listener."""

    def __init__(self) -> None:
        self._console = err()
        self._lock = threading.Lock()
        self._ports: dict[str, _Port] = {}
        self._began = moments.steady()
        self._summary: Summary | None = None

    def run(self, batch: Batch) -> Summary:
        self._summary = batch.summary
        if not self._console.is_terminal:
            return self._until_stopped(batch)
        with Live(
            console=self._console,
            get_renderable=self._picture,
            refresh_per_second=8,
            transient=True,
        ):
            return self._until_stopped(batch)

    def _until_stopped(self, batch: Batch) -> Summary:
        try:
            return batch.run()
        except KeyboardInterrupt:  # cards under way were finished by Batch.run
            return batch.summary

    def step(self, port: str, state: CardState, serial: str) -> None:
        self._set(port, serial=serial, doing=DOING[state], style="")

    def press(self, port: str) -> None:
        self._set(port, doing="press the button now", style="bold yellow")

    def finished(self, port: str, outcome: Outcome) -> None:
        with self._lock:
            self._ports.setdefault(port, _Port()).done += 1
        self._set(port, doing=DOING[CardState.LOCKED], style="green")
        if not self._console.is_terminal:
            self._console.print(
                f"{port}: card {outcome.serial} is in service", markup=False, highlight=False
            )

    def failed(self, port: str, serial: str, error: TallyError) -> None:
        with self._lock:
            self._ports.setdefault(port, _Port()).failed += 1
        self._set(port, doing="failed: take the card out", style="bold red")
        self._console.print(failure(port, serial, error))

    def empty(self, port: str) -> None:
        self._set(port, serial="", doing="put a card in", style="dim")

    def _set(self, port: str, **changes: str) -> None:
        with self._lock:
            view = self._ports.setdefault(port, _Port())
            for name, value in changes.items():
                setattr(view, name, value)

    def _picture(self) -> Group:
        table = Table("port", "card", "", "done", "failed", box=None, pad_edge=False)
        with self._lock:
            for name, port in sorted(self._ports.items()):
                doing = Text(port.doing, style=port.style)
                table.add_row(name, port.serial, doing, str(port.done), str(port.failed))
        assert self._summary is not None
        return Group(table, self._total(self._summary))

    def _total(self, summary: Summary) -> Table:
        done = summary.already + len(summary.outcomes)
        elapsed = moments.steady() - self._began
        rate = len(summary.outcomes) / elapsed if elapsed else 0.0
        left = f"{summary.missing / rate:.0f} s left" if rate else "waiting for cards"
        row = Table.grid(padding=(0, 1))
        row.add_row(
            ProgressBar(total=summary.wanted, completed=done, width=30),
            f"{done}/{summary.wanted} cards",
            f"{rate * 60:.0f} a minute",
            left,
        )
        return row


def failure(port: str, serial: str, error: TallyError) -> Text:
    """A card that failed, as one piece: a live display is drawn anew after each."""
    lines = [(f"{port} {serial or 'card'}: ", "bold red"), (error.what, "")]
    for name, said in (("kept", error.kept), ("next", error.todo)):
        if said:
            lines += [(f"\n  {name}: ", "dim"), (said, "")]
    return Text.assemble(*lines)


def summary_json(name: str, summary: Summary, cards: list[dict[str, Any]]) -> dict[str, Any]:
    """The object that `--json` prints for a batch."""
    return {
        "batch": name,
        "wanted": summary.wanted,
        "done": summary.already + len(summary.outcomes),
        "missing": summary.missing,
        "elapsed_s": round(summary.elapsed_s, 3),
        "cards_per_s": round(summary.cards_per_s, 2),
        "failures": [
            {"port": f.port, "serial": f.serial, **f.error.as_dict()} for f in summary.failures
        ],
        "cards": cards,
    }
