"""The loans desk: scan a card, and do with it what its place allows."""

from __future__ import annotations

from functools import partial
from html import escape
from urllib.parse import quote

from nicegui import run, ui

from tallystick.common.errors import TallyError
from tallystick.provisioning.console.desk_forms import CardForms
from tallystick.provisioning.console.shell import Page, TableCell, button, heading, table
from tallystick.provisioning.desk import operator
from tallystick.provisioning.desk.client import Desk, DeskCard, Operator, Where
from tallystick.provisioning.desk.until import in_words

LOOK_S = 20
SHOWN = 200
CHIPS = {
    Where.POOL: ("in the pool", "good"),
    Where.LENT: ("lent", "info"),
    Where.OVERDUE: ("overdue", "bad"),
    Where.ASSIGNED: ("assigned", ""),
    Where.LOST: ("lost", "warn"),
    Where.RETIRED: ("retired", "warn"),
}
_LISTS = (Where.OVERDUE, Where.LENT, Where.POOL)


class DeskPage:
    def __init__(self, page: Page, serial: str) -> None:
        self._page = page
        self._serial = serial
        self._list = Where.POOL
        self._cards: dict[Where, list[DeskCard]] = {where: [] for where in _LISTS}
        self._desk: Desk | None = None

    async def build(self) -> None:
        with self._page.frame("/desk", "Desk"):
            self._room = ui.element("div").classes("main").style("padding:0;max-width:none")
        await self._enter()
        ui.timer(LOOK_S, self._reload)

    async def _enter(self) -> None:
        """The desk, or the question who is at it."""
        self._room.clear()
        try:
            self._desk = self._page.console.desk(self._page.session)
            who = await run.io_bound(self._desk.operator) if self._desk else None
        except TallyError as error:
            self._page.tell_error(error)
            who = None
        with self._room:
            if who is None:
                self._sign_in()
                return
            await self._build_desk(who)

    # -- who is it -------------------------------------------------------------------------------

    def _sign_in(self) -> None:
        with ui.element("section").classes("sheet").props('aria-label="Sign in at the desk"'):
            heading("Who is at the desk?")
            ui.label(
                "What is done here is done with your own credential of the server, and noted under "
                "it. An administrator makes one for you (role desk). It is forgotten when you sign "
                "out here."
            ).classes("soft")
            token = ui.input("Credential").props('outlined type="password" autocomplete="off"')

            async def enter() -> None:
                text, token.value = token.value or "", ""
                if await self._page.act(lambda: self._take(text)) is None:
                    self._page.quiet()
                    await self._enter()

            token.on("keydown.enter", enter)
            with ui.element("div").classes("line"):
                button("Sign in at the desk", enter, "main-act")

    def _take(self, text: str) -> None:
        desk = Desk(operator.parse(self._page.console.ready.server_url, text))
        try:
            desk.operator()
        except TallyError:
            desk.close()
            raise
        self._page.session.desk = desk

    # -- the desk --------------------------------------------------------------------------------

    async def _build_desk(self, who: Operator) -> None:
        self._who = who
        ui.label(f"At the desk: {who.name} ({who.id})").classes("soft small")
        with ui.element("div").classes("two"):
            with ui.element("section").classes("sheet").props('aria-label="The card"'):
                self._card_room = ui.element("div").style("display:contents")
            with ui.element("section").classes("sheet").props('aria-label="Cards"'):
                self._list_room = ui.element("div").style("display:contents")
        await self._show_card()
        await self._reload()
        counts = {where: len(cards) for where, cards in self._cards.items()}
        if counts[Where.OVERDUE]:
            self._choose(Where.OVERDUE)

    async def _show_card(self) -> None:
        self._card_room.clear()
        card: DeskCard | None = None
        if self._serial:
            card = await self._look_up(self._serial)
        with self._card_room:
            if card is None:
                self._nothing()
                return
            words, kind = CHIPS[card.where]
            ui.html(
                f'<div class="card-head"><span class="mono">{escape(card.serial)}</span>'
                f'<span class="chip {kind}">{words}</span></div>',
                sanitize=False,
            )
            ui.label(_sentence(card)).props('role="status"')
            assert self._desk is not None
            CardForms(self._page, self._desk, self._who, card, self._changed).build()
            ui.html(
                f'<a href="/history?q={quote(card.serial)}">Its history at this station</a>',
                sanitize=False,
            )

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
            "its serial number at the top, or choose a card from a list."
        ).classes("soft")

    async def _look_up(self, serial: str) -> DeskCard | None:
        assert self._desk is not None
        try:
            return await run.io_bound(self._desk.card, serial)
        except TallyError as error:
            self._page.tell_error(error)
            return None

    async def _changed(self) -> None:
        """After an act: the card as it is now, and the lists."""
        await self._show_card()
        await self._reload()

    # -- lists -----------------------------------------------------------------------------------

    async def _reload(self) -> None:
        desk = self._desk
        if desk is None or self._page.console.gate.ended(self._page.session):
            return
        try:
            for where in _LISTS:
                self._cards[where] = await run.io_bound(desk.cards, where) or []
        except TallyError as error:
            self._page.tell_error(error)
            return
        self._show_list()

    def _choose(self, where: Where) -> None:
        self._list = where
        self._show_list()

    def _show_list(self) -> None:
        self._list_room.clear()
        with self._list_room:
            with ui.element("div").classes("tabs no-print").props('role="group"') as tabs:
                tabs.props('aria-label="Which cards"')
                for where in _LISTS:
                    text = f"{where.value.capitalize()} ({len(self._cards[where])})"
                    pressed = str(where is self._list).lower()
                    button(text, partial(self._choose, where), "other-act").props(
                        f"aria-pressed={pressed}"
                    )
            cards = self._cards[self._list]
            if not cards:
                nothing = {Where.POOL: "The pool is empty.", Where.LENT: "Nothing is lent."}
                ui.label(nothing.get(self._list, "Nothing is overdue.")).classes("soft")
                return
            heads = ("Card", "User", "Until") if self._list is not Where.POOL else ("Card",)
            table(f"Cards: {self._list.value}", heads, [_row(card) for card in cards[:SHOWN]])


def _row(card: DeskCard) -> list[TableCell]:
    first = TableCell(card.serial, "mono", link=f"/desk?card={quote(card.serial)}")
    if card.where is Where.POOL:
        return [first]
    user, ends = card.user or card.overdue_user or "", card.loan_until or card.overdue_since
    return [first, TableCell(user), TableCell(in_words(ends) if ends else "")]


def _sentence(card: DeskCard) -> str:
    return {
        Where.POOL: "Nobody has it: it can be lent.",
        Where.LENT: f"{card.user} has it until {in_words(card.loan_until or 0)}.",
        Where.OVERDUE: f"{card.overdue_user} should have brought it back on "
        f"{in_words(card.overdue_since or 0)}. It verifies nothing since.",
        Where.ASSIGNED: f"It is {card.user}'s own card.",
        Where.LOST: "It was reported lost: no code of it is accepted.",
        Where.RETIRED: "It was retired: no code of it will be accepted again.",
    }[card.where]
