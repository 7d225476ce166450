"""The loans desk: scan a card, and do with it what its place allows; or find somebody, and see what
she has and had."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from html import escape
from urllib.parse import quote

from nicegui import run, ui

from tallystick.common.errors import BadInputError, TallyError, UnreachableError
from tallystick.provisioning.console.desk_forms import CardForms
from tallystick.provisioning.console.door import KEYS, Door
from tallystick.provisioning.console.shell import Page, TableCell, button, heading, table
from tallystick.provisioning.desk.client import (
    Desk,
    DeskCard,
    HistoryEvent,
    Operator,
    Person,
    PersonFile,
    Where,
)
from tallystick.provisioning.desk.terms import Terms
from tallystick.provisioning.desk.words import sentence
from tallystick.provisioning.server_link import RegistryRefusedError

LOOK_S = 2  # at who is at work, and at what other pages did
RELOAD_S = 20  # what other desks did
CHIPS = {
    Where.POOL: ("in the pool", "good"),
    Where.LENT: ("lent", "info"),
    Where.OVERDUE: ("overdue", "bad"),
    Where.ASSIGNED: ("assigned", ""),
    Where.LOST: ("lost", "warn"),
    Where.RETIRED: ("retired", "warn"),
}
_NOTHING = {
    Where.POOL: "The pool is empty.",
    Where.LENT: "Nothing is lent.",
    Where.OVERDUE: "Nothing is overdue.",
    Where.ASSIGNED: "No card is assigned for good.",
    Where.LOST: "No card is lost.",
    Where.RETIRED: "No card is retired.",
}
_LISTS = (Where.OVERDUE, Where.LENT, Where.POOL, Where.ASSIGNED, Where.LOST, Where.RETIRED)


class DeskPage:
    """serial, login: of the card or the person that is shown."""

    def __init__(self, page: Page, serial: str, login: str = "") -> None:
        self._page = page
        self._serial = serial
        self._login = login
        self._list: Where | None = None
        self._text = ""
        self._desk: Desk | None = None
        self._who: Operator | None = None
        self._terms: Terms | None = None
        self._shown: DeskCard | PersonFile | None = None
        self._acts = 0
        self._waited_s = 0
        self._busy = False
        self._unanswered: TallyError | None = None

    async def build(self) -> None:
        ui.add_head_html(f"<script>{KEYS}</script>")
        with self._page.frame("/desk", "Desk"):
            self._room = ui.element("div").classes("main").style("padding:0;max-width:none")
        await self._enter()
        ui.timer(LOOK_S, self._look)

    # -- who is it -------------------------------------------------------------------------------

    async def _enter(self) -> None:
        """The desk, the question who is at it, or why neither can be had now."""
        self._desk, self._who, self._shown = self._current(), None, None
        self._waited_s = 0
        problem: TallyError | None = None
        if self._desk is not None:
            try:
                self._who = await run.io_bound(self._desk.operator)
                self._terms = await run.io_bound(self._desk.terms)
            except TallyError as error:
                problem, self._who = error, None
                self._page.tell_error(error)
        if isinstance(problem, UnreachableError):
            self._unanswered = problem
        elif problem is None and self._who is not None:
            self._answers_again()
        if isinstance(problem, RegistryRefusedError):
            self._forget_refused()
        self._room.clear()
        with self._room:
            if isinstance(problem, UnreachableError):
                self._away()
            elif self._who is None:
                locked = self._page.console.kept_is_locked(self._page.session)
                Door(self._page, self._enter, locked=locked).build()
            else:
                await self._build_desk(self._who)

    def _current(self) -> Desk | None:
        try:
            return self._page.console.desk(self._page.session)
        except BadInputError as error:
            self._page.tell_error(error)
            return None

    def _forget_refused(self) -> None:
        """A credential that the server takes no more is asked for anew."""
        for seat in self._page.session.seats.people:
            if seat.desk is self._desk:
                self._page.session.seats.leave(seat)

    def _away(self) -> None:
        with ui.element("section").classes("sheet").props('aria-label="The server is away"'):
            heading("The server does not answer")
            ui.label(
                "Nothing can be lent or taken back until it does. Note down who gets which card "
                "meanwhile. This page tries again by itself."
            ).classes("soft")

    def _answers_again(self) -> None:
        """That the server does not answer is told no longer."""
        if self._unanswered is not None and self._page.told is self._unanswered:
            self._page.quiet()
        self._unanswered = None

    async def _switch(self) -> None:
        """Somebody else comes to the desk."""
        session = self._page.session
        session.seats.lock()
        session.kept.lock()
        session.asked = True
        self._page.quiet()
        await self._enter()

    async def _look(self) -> None:
        """Is she still at work, and is everything as it is shown?"""
        if self._busy or self._page.console.gate.ended(self._page.session):
            return
        self._busy = True
        try:
            self._waited_s += LOOK_S
            away = self._desk is not None and self._who is None
            if self._current() is not self._desk or (away and self._waited_s >= RELOAD_S / 2):
                await self._enter()
            elif self._who is not None and (
                self._acts != self._page.console.acts or self._waited_s >= RELOAD_S
            ):
                await self._reload()
        finally:
            self._busy = False

    def _same_person(self) -> None:
        """Raises BadInputError when somebody else is at work than this page shows."""
        if self._current() is not self._desk:
            raise BadInputError(
                "Somebody else is at the desk by now, or nobody: it was left alone.",
                kept="Nothing was done.",
                todo="Say who you are, and do it again.",
            )
        self._page.session.seats.touch()

    # -- the desk --------------------------------------------------------------------------------

    async def _build_desk(self, who: Operator) -> None:
        with ui.element("div").classes("line"):
            ui.label(f"At the desk: {who.name} ({who.id})").classes("soft small")
            switch = button("Switch (F2)", self._switch, "other-act switch-desk no-print")
            switch.props('aria-keyshortcuts="F2"')
        with ui.element("div").classes("two"):
            with ui.element("section").classes("sheet").props('aria-label="The card"'):
                self._card_room = ui.element("div").style("display:contents")
            with ui.element("section").classes("sheet").props('aria-label="Cards"'):
                find = ui.input("Find", on_change=lambda event: self._find(event.value or ""))
                find.props('outlined dense debounce=300 type="search" autocomplete="off"')
                find.props('hint="Part of a login, an address or a serial number"')
                find.classes("no-print")
                self._list_room = ui.element("div").style("display:contents")
        await self._reload()

    async def _reload(self) -> None:
        """The card or person, where it is not as it is shown; and the list."""
        desk = self._desk
        if desk is None:
            return
        self._waited_s, self._acts = 0, self._page.console.acts
        try:
            self._terms = await run.io_bound(desk.terms)
            await self._show_subject(desk)
            await self._show_list(desk)
            self._answers_again()
        except UnreachableError as error:
            self._unanswered = error
            self._page.tell_error(error)
        except TallyError as error:
            self._page.tell_error(error)
            if isinstance(error, RegistryRefusedError) and error.code == "401":
                await self._enter()

    async def _show_subject(self, desk: Desk) -> None:
        if self._login:
            await self._show_person(desk)
            return
        card = await run.io_bound(desk.card, self._serial) if self._serial else None
        if card is not None and card == self._shown:
            return  # somebody may be typing
        events = await run.io_bound(desk.history, self._serial) if card is not None else []
        self._shown = card
        self._card_room.clear()
        with self._card_room:
            if card is None:
                self._nothing()
                return
            self._card(desk, card, events or [])

    def _card(self, desk: Desk, card: DeskCard, events: Sequence[HistoryEvent]) -> None:
        words, kind = CHIPS[card.where]
        ui.html(
            f'<div class="card-head"><span class="mono">{escape(card.serial)}</span>'
            f'<span class="chip {kind}">{words}</span></div>',
            sanitize=False,
        )
        assert self._terms is not None and self._who is not None
        ui.html(f'<p role="status">{_sentence(card, self._terms)}</p>', sanitize=False)
        forms = CardForms(
            self._page, desk, self._who, self._terms, card, self._same_person, self._changed
        )
        forms.build()
        ui.html(
            f'<a href="/history?q={quote(card.serial)}">Its runs at this station</a>',
            sanitize=False,
        )
        self._events(events, "Its history", card=False)

    async def _show_person(self, desk: Desk) -> None:
        assert self._terms is not None
        try:
            file = await run.io_bound(desk.person, self._login)
        except RegistryRefusedError as error:
            self._card_room.clear()
            with self._card_room:
                heading(error.what)
                ui.label(error.todo)
            return
        if file is None or file == self._shown:
            return
        self._shown = file
        self._card_room.clear()
        with self._card_room:
            heading(file.person.login)
            about = file.person.email or "No address is known."
            about += " · account disabled" if file.person.disabled else ""
            ui.label(about).classes("soft")
            if file.cards:
                rows = [_row(card, self._terms) for card in file.cards]
                table("Cards now", ("Card", "", "Until"), rows)
            else:
                ui.label("No card now. To lend one, scan a card of the pool.")
            self._events(file.events, "All cards so far", card=True)

    def _events(self, events: Sequence[HistoryEvent], title: str, *, card: bool) -> None:
        if not events:
            return
        assert self._terms is not None
        heading(title)
        heads = ("When", "Who", "Card", "What") if card else ("When", "Who", "What")
        rows = []
        for event in events:
            cells = [TableCell(self._terms.words(event.at)), TableCell(event.actor)]
            if card:
                link = f"/desk?card={quote(event.card)}"
                cells.append(TableCell(event.card, "mono", link=link))
            rows.append([*cells, TableCell(sentence(event, self._terms))])
        table(title, heads, rows)

    def _nothing(self) -> None:
        if self._serial:
            heading(f"No card {self._serial}")
            ui.label(
                "The server does not know this serial number. Scan the label on the card's back "
                "again; a new card is provisioned on the page Batch."
            )
            return
        heading("Scan a card")
        ui.label(
            "Scan the label on its back: the scanner may be used anywhere on this page. Or type "
            "its serial number at the top, or find a card or somebody on this page."
        ).classes("soft")

    async def _changed(self) -> None:
        """After an act: everything as it is now, here and on other pages."""
        self._page.console.acted()
        self._shown = None
        await self._reload()

    # -- lists -----------------------------------------------------------------------------------

    async def _choose(self, where: Where) -> None:
        self._list = where
        if self._page.alive() and self._desk is not None:
            await self._show_list(self._desk)

    async def _find(self, text: str) -> None:
        self._text = text.strip()[:64]
        if self._page.alive() and self._desk is not None:
            try:
                await self._show_list(self._desk)
            except TallyError as error:
                self._page.tell_error(error)

    async def _show_list(self, desk: Desk) -> None:
        assert self._terms is not None
        counts = self._terms.counts
        if self._list is None:
            self._list = Where.OVERDUE if counts.get(Where.OVERDUE) else Where.POOL
        where, text = self._list, self._text
        people: list[Person] = []
        if text:
            people = await run.io_bound(desk.people, text) or []
            cards, more = await run.io_bound(desk.page, None, text) or ([], False)
        else:
            cards, more = await run.io_bound(desk.page, where) or ([], False)
        if (text, where) != (self._text, self._list):
            return  # typed on meanwhile: another answer comes
        self._list_room.clear()
        with self._list_room:
            if text:
                self._found(people, cards, more)
                return
            if self._terms.short:
                ui.html(
                    f'<div class="notice bad" role="status">{escape(self._terms.short)}</div>',
                    sanitize=False,
                ).classes("wide")
            self._tabs(counts)
            if not cards:
                ui.label(_NOTHING[where]).classes("soft")
                return
            _cards_table(f"Cards: {where.value}", cards, self._terms, pool=where is Where.POOL)
            if more:
                total = counts.get(where, len(cards))
                said = f"The first {len(cards)} of {total} are shown: find others by a part."
                ui.label(said).classes("soft small")

    def _tabs(self, counts: dict[str, int]) -> None:
        with ui.element("div").classes("tabs no-print").props('role="group"') as tabs:
            tabs.props('aria-label="Which cards"')
            for where in _LISTS:
                text = f"{where.value.capitalize()} ({counts.get(where, 0)})"
                pressed = str(where is self._list).lower()
                button(text, partial(self._choose, where), "other-act").props(
                    f"aria-pressed={pressed}"
                )

    def _found(self, people: list[Person], cards: list[DeskCard], more: bool) -> None:
        assert self._terms is not None
        if not people and not cards:
            ui.label("Nobody and no card has this in it.").props('role="status"')
        if people:
            rows = [
                [
                    TableCell(one.login, link=f"/desk?person={quote(one.login, safe='')}"),
                    TableCell(one.email or ""),
                    TableCell("disabled" if one.disabled else ""),
                ]
                for one in people
            ]
            table("People", ("Person", "Address", "Account"), rows)
        if cards:
            _cards_table("Cards", cards, self._terms)
        if more:
            ui.label(f"The first {len(cards)} cards are shown: type more of it.").classes(
                "soft small"
            )


def _cards_table(
    caption: str, cards: Sequence[DeskCard], terms: Terms, *, pool: bool = False
) -> None:
    if pool:
        table(caption, ("Card",), [_row(card, terms)[:1] for card in cards])
        return
    rows = [[*_row(card, terms)] for card in cards]
    for row, card in zip(rows, cards, strict=True):
        user = card.user or card.overdue_user or ""
        link = f"/desk?person={quote(user, safe='')}" if user else ""
        row.insert(1, TableCell(user, link=link))
    table(caption, ("Card", "User", "", "Until"), rows)


def _row(card: DeskCard, terms: Terms) -> list[TableCell]:
    words, kind = CHIPS[card.where]
    ends = card.loan_until or card.overdue_since
    return [
        TableCell(card.serial, "mono", link=f"/desk?card={quote(card.serial)}"),
        TableCell(words, chip=kind or "plain"),
        TableCell(terms.words(ends) if ends else ""),
    ]


def _sentence(card: DeskCard, terms: Terms) -> str:
    """As HTML: whoever has it is a link."""
    user = card.user or card.overdue_user or ""
    her = f'<a href="/desk?person={quote(user, safe="")}">{escape(user)}</a>'
    return {
        Where.POOL: "Nobody has it: it can be lent.",
        Where.LENT: f"{her} has it until {terms.words(card.loan_until or 0)}.",
        Where.OVERDUE: f"{her} should have brought it back on "
        f"{terms.words(card.overdue_since or 0)}. It verifies nothing since.",
        Where.ASSIGNED: f"It is {her}'s own card.",
        Where.LOST: "It was reported lost: no code of it is accepted.",
        Where.RETIRED: "It was retired: no code of it will be accepted again.",
    }[card.where]
