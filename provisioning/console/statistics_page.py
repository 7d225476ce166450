"""What this station made, what stands in stock, and what the desk did: in figures, day by day."""

from __future__ import annotations

from collections.abc import Mapping

from nicegui import run, ui

from tallystick.common import moments
from tallystick.common.errors import TallyError
from tallystick.provisioning.console.shell import Page, TableCell, heading, table
from tallystick.provisioning.desk.client import DeskFigures
from tallystick.provisioning.desk.words import figures
from tallystick.provisioning.report import of_days

_SPANS = (7, 30, 90)


class StatisticsPage:
    """days: how many, today among them."""

    def __init__(self, page: Page, days: int) -> None:
        self._page = page
        self._days = days

    async def build(self) -> None:
        with self._page.frame("/statistics", "Statistics"):
            links = " · ".join(
                f"<strong>{span} days</strong>"
                if span == self._days
                else f'<a href="/statistics?days={span}">{span} days</a>'
                for span in _SPANS
            )
            ui.html(f'<p class="no-print sheet-links">The last {links}</p>', sanitize=False)
            self._stock()
            self._station()
            await self._desk()

    def _stock(self) -> None:
        boxed = self._page.console.journal.boxed()
        blank: dict[str, int] = {}
        for card in boxed:
            blank[card.box] = blank.get(card.box, 0) + card.blank
        with ui.element("section").classes("sheet").props('aria-label="Stock"'):
            heading("Blank cards")
            if not boxed:
                ui.label("No box was scanned yet.").classes("soft")
                return
            rows = [[TableCell(box), TableCell(str(count))] for box, count in blank.items()]
            rows.append([TableCell("all"), TableCell(str(sum(blank.values())))])
            table("Blank cards by box", ("Box", "Blank"), rows)

    def _station(self) -> None:
        journal = self._page.console.journal
        made = of_days(journal, self._days, moments.now(), journal.firm().zone)
        with ui.element("section").classes("sheet").props('aria-label="This station"'):
            heading("Made at this station")
            ui.label(f"{made.finished} cards in service, {made.failed} failed.")
            rows = [
                [TableCell(day.day), TableCell(str(day.finished)), TableCell(str(day.failed))]
                for day in reversed(made.days)
                if day.finished or day.failed
            ]
            if rows:
                table("Cards by day, newest first", ("Day", "In service", "Failed"), rows)
            if made.reasons:
                reasons = [[TableCell(str(count)), TableCell(why)] for why, count in made.reasons]
                table("Why cards failed", ("How often", "Why"), reasons)

    async def _desk(self) -> None:
        with ui.element("section").classes("sheet").props('aria-label="The desk"'):
            heading("At the desk")
            try:
                desk = self._page.console.desk(self._page.session)
                made = await run.io_bound(desk.statistics, self._days) if desk else None
            except TallyError as error:
                self._page.tell_error(error)
                return
            if made is None:
                ui.label("Say who you are on the page Desk: its figures are the server's.")
                return
            self._figures(made)

    @staticmethod
    def _figures(made: DeskFigures) -> None:
        for line in figures(made):
            ui.label(f"{line[:1].upper()}{line[1:]}.")
        acts = sorted(made.totals)
        if not acts:
            return

        def row(name: str, done: Mapping[str, int]) -> list[TableCell]:
            return [TableCell(name), *(TableCell(str(done.get(act, ""))) for act in acts)]

        rows = [row(day, done) for day, done in reversed(made.days.items()) if done]
        heads = ("Day", *(act.capitalize() for act in acts))
        table("Acts by day, newest first", heads, [row("all", made.totals), *rows])
        people = [[TableCell(who), TableCell(str(n))] for who, n in sorted(made.by_actor.items())]
        table("Who acted", ("Who", "Acts"), people)
