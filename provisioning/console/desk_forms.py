"""The forms of one card at the desk. Each act is one call to the server."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from html import escape

from nicegui import run, ui

from tallystick.common.errors import BadInputError, TallyError
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.card.issuer import IssuerSession
from tallystick.provisioning.card.t1 import Waiting
from tallystick.provisioning.console.shell import Page, button, heading
from tallystick.provisioning.desk.client import Desk, DeskCard, Operator, Where
from tallystick.provisioning.desk.until import in_words, parse_until
from tallystick.provisioning.desk.wipe import retire_and_wipe
from tallystick.provisioning.server_link import RegistryRefusedError

USERS = 50
ASK = "Press the card's button now."
SECOND = "Press again when the display is dark, and type the new code."


# In the browser, so that who types fast, or a scanner, finds the focus moved already.
_ENTER = """(event) => {
  const fields = [...event.target.closest('.act').querySelectorAll('input')];
  const shown = fields.filter((field) => field.offsetParent);
  const next = shown[shown.indexOf(event.target) + 1];
  if (next) next.focus(); else emit();
}"""


class CardForms:
    """changed: called when the card is no longer as it was shown."""

    def __init__(
        self,
        page: Page,
        desk: Desk,
        who: Operator,
        card: DeskCard,
        changed: Callable[[], Awaitable[None]],
    ) -> None:
        self._page = page
        self._desk = desk
        self._who = who
        self._card = card
        self._changed = changed

    def build(self) -> None:
        """The likely act first; the others behind “More”."""
        where = self._card.where
        if where in (Where.LENT, Where.OVERDUE):
            self._box(self._give_back)
        if where is Where.OVERDUE:
            with self._more("Lend it to somebody else"):
                self._box(self._lend)
        if where is Where.POOL:
            self._box(self._lend)
        if where is Where.LOST:
            self._box(self._found)
            return
        with self._more():
            if where in (Where.LENT, Where.ASSIGNED):
                self._box(self._replace)
            if where is not Where.RETIRED:
                self._box(self._resynchronise)
                self._box(self._lost)
            self._box(self._wipe)

    @staticmethod
    def _box(act: Callable[[], None]) -> None:
        """The fields of one act belong together: Enter goes from one to the next."""
        with ui.element("div").classes("act"):
            act()

    @contextmanager
    def _more(self, title: str = "More") -> Iterator[None]:
        with ui.element("details").classes("more-acts"):
            with ui.element("summary"):
                ui.label(title).style("display:inline")
            with ui.element("div").classes("inner"):
                yield

    # -- the acts --------------------------------------------------------------------------------

    def _lend(self) -> None:
        card = self._card
        user = ui.input("User").props('outlined list="people" autocomplete="off" autofocus')
        self._people(user)
        until = ui.input("Until").props("outlined")
        until.props('hint="Empty: the end of the firm\'s working day. Or 17:30, 3h, 2d"')
        codes = _Codes()

        def work() -> None:
            if not (login := (user.value or "").strip()):
                raise BadInputError("No user was named.", todo="Choose who gets the card.")
            end = parse_until(until.value or "", datetime.now().astimezone())
            lent = self._desk.lend(card.serial, login, codes.given(), end)
            self._note("card lent", f"to {login} until {in_words(lent.loan_until or 0)}")

        self._form("Lend it", work, codes, user, until)

    def _give_back(self) -> None:
        codes = _Codes(focus=True)

        def work() -> None:
            self._desk.give_back(self._card.serial, codes.given())
            self._note("card returned", "in the pool again")

        self._form("Take it back", work, codes)

    def _replace(self) -> None:
        heading(f"Lost? Give {self._card.user} another")
        by = ui.input("New card").props('outlined input-class="mono" hint="Scan its label."')
        codes = _Codes("the new card")

        def work() -> None:
            new = self._desk.replace(self._card.serial, (by.value or "").strip(), codes.given())
            self._note("card replaced", f"{new.user} has {new.serial} in its place")

        self._form("Replace it", work, codes, by)

    def _resynchronise(self) -> None:
        heading("Its codes are refused? Find it again")
        codes = _Codes(two=True)

        def work() -> None:
            self._desk.resynchronise(self._card.serial, codes.given())
            self._note("card resynchronised", "in step with the server again")

        self._form("Resynchronise", work, codes, kind="other-act")

    def _lost(self) -> None:
        heading("Report it lost")
        ui.label("No code of it is accepted until it is found.").classes("soft small")

        def work() -> None:
            self._desk.set_lost(self._card.serial, lost=True)
            self._note("card reported lost", "reported lost")

        self._form("Report it lost", work, kind="bad-act")

    def _found(self) -> None:
        def work() -> None:
            self._desk.set_lost(self._card.serial, lost=False)
            self._note("card found", "in service again")

        self._form("It is here again", work)

    def _wipe(self) -> None:
        heading("Retire it and wipe it, for good")
        ui.label(
            "Put the card into a dock. After a press on its button the server retires it, and it "
            "forgets its keys and its seed. It can never be used again."
        ).classes("soft small")
        port = ui.input("Port of the dock", placeholder="/dev/ttyUSB0").props("outlined")
        said = ui.label().props('role="status" aria-live="assertive"').style("font-weight:600")
        asked = threading.Event()  # set by the thread that talks to the card
        ui.timer(0.2, lambda: said.set_text(ASK if asked.is_set() else ""))

        def work() -> None:
            if not (name := (port.value or "").strip()):
                raise BadInputError("No port was named.", todo="Name the dock's port.")
            waiting = Waiting(keepalive=asked.set)
            with CardConnection.open(name) as connection:
                found = IssuerSession(connection).serial()
                if found != self._card.serial:
                    raise BadInputError(
                        f"The card in the dock is {found}, not {self._card.serial}.",
                        kept="Neither was changed.",
                        todo="Put the right card into the dock, or scan the one that is in it.",
                    )
                retire_and_wipe(
                    connection, self._page.console.ready.custody, self._desk, waiting=waiting
                )
            self._note("card wiped", "retired on the server")

        self._form("Retire and wipe", work, None, port, kind="bad-act", finally_=asked.clear)

    # -- what they share -------------------------------------------------------------------------

    def _form(
        self,
        text: str,
        work: Callable[[], None],
        codes: _Codes | None = None,
        *fields: ui.input,
        kind: str = "main-act",
        finally_: Callable[[], None] = lambda: None,
    ) -> None:
        """Enter in the last field, or the button, does it; Enter before that goes on."""
        fields = (*fields, *(codes.fields if codes else ()))

        async def go() -> None:
            act.disable()
            error = await self._page.act(work, f"Card {self._card.serial}: {text.lower()}: done.")
            finally_()
            if error is None:
                await self._changed()
                return
            act.enable()
            if codes is not None:
                codes.refused(error)

        with ui.element("div").classes("line"):
            act = button(text, go, kind)
        for field in fields:
            field.on("keydown.enter", go, js_handler=_ENTER)

    def _people(self, user: ui.input) -> None:
        """Logins to choose from, as the browser's own list: searched on the server."""
        options = ui.html("", sanitize=False).style("display:contents")

        async def search() -> None:
            try:
                found = await run.io_bound(self._desk.people, (user.value or "").strip(), USERS)
            except TallyError:
                return  # the act itself will tell
            items = "".join(f'<option value="{escape(login)}">' for login in found or ())
            options.set_content(f'<datalist id="people">{items}</datalist>')

        user.on("update:model-value", search, throttle=0.3)
        ui.timer(0, search, once=True)

    def _note(self, act: str, what: str) -> None:
        self._page.console.journal.note(act, self._card.serial, what, by=self._who.id)


class _Codes:
    """One field for a code of the card, and a second one, shown where it is needed."""

    def __init__(self, of: str = "the card", *, two: bool = False, focus: bool = False) -> None:
        first = f"Press the button of {of} and type the code on its display."
        self.fields = [self._field("Code", first, focus), self._field("Second code", SECOND, False)]
        self._second = self.fields[1]
        self._two = two
        self._second.set_visibility(two)

    def given(self) -> list[str]:
        return [field.value or "" for field in self.fields if field.visible]

    def refused(self, error: TallyError) -> None:
        """A drifted card is known by its next code besides; others give a new code."""
        first = self.fields[0]
        if isinstance(error, RegistryRefusedError) and error.reason == "card-drifted":
            self._second.set_visibility(True)
            self._second.run_method("focus")
            return
        for field in self.fields:
            field.set_value("")
        self._second.set_visibility(self._two)
        first.run_method("focus")

    def _field(self, label: str, hint: str, focus: bool) -> ui.input:
        field = ui.input(label).props(f'hint="{hint}"')
        field.props('outlined inputmode="numeric" autocomplete="off" maxlength=9')
        field.props('input-class="mono"' + (" autofocus" if focus else ""))
        return field
