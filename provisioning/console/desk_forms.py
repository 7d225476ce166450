"""The forms of one card at the desk. Each act is one call to the server."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from html import escape

from nicegui import run, ui

from tallystick.common.errors import BadInputError, TallyError
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.card.issuer import IssuerSession
from tallystick.provisioning.card.t1 import Waiting
from tallystick.provisioning.console.shell import Page, button, heading
from tallystick.provisioning.desk.client import Desk, DeskCard, Operator, Where, check_reason
from tallystick.provisioning.desk.terms import PRESETS, Terms
from tallystick.provisioning.desk.wipe import retire_and_wipe
from tallystick.provisioning.desk.words import presses
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
    """same: raises when somebody else is at work by now. changed: called when the card is no longer
    as it was shown."""

    def __init__(
        self,
        page: Page,
        desk: Desk,
        who: Operator,
        terms: Terms,
        card: DeskCard,
        same: Callable[[], None],
        changed: Callable[[], Awaitable[None]],
    ) -> None:
        self._page = page
        self._desk = desk
        self._who = who
        self._terms = terms
        self._card = card
        self._same = same
        self._changed = changed
        self._done: DeskCard | None = None

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
        if where is Where.RETIRED:
            with self._more("Wipe it"):
                self._box(self._wipe)
            return
        with self._more():
            if where is Where.POOL:
                self._box(self._assign)
            if where in (Where.LENT, Where.ASSIGNED):
                self._box(self._replace)
            if where is not Where.LOST:
                self._box(self._resynchronise)
                self._box(self._lost)
            self._box(self._wipe)
            self._box(self._retire)
        if where in (Where.LENT, Where.OVERDUE):
            with self._more("It gives no code: flat or broken"):
                self._box(self._give_back_flat)

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
        until = ui.input("Until", on_change=lambda _: show()).props('outlined autocomplete="off"')
        until.props('hint="Empty: the end of the day. Or 17:30, 5pm, 90m, 2d, Friday 9:00"')
        with ui.element("div").classes("tabs no-print").props('role="group"') as presets:
            presets.props('aria-label="Until when"')
            for preset in PRESETS:
                button(preset.capitalize(), partial(until.set_value, preset), "other-act")
        end = ui.label().props('role="status" aria-live="polite"').classes("small")
        codes = _Codes()

        def show() -> None:
            try:
                end.set_text(f"Until {self._terms.shown(self._terms.end(until.value or ''))}")
            except BadInputError as error:
                end.set_text(error.what)

        show()
        ui.timer(30, show)

        def work() -> DeskCard:
            if not (login := (user.value or "").strip()):
                raise BadInputError("No user was named.", todo="Choose who gets the card.")
            ends = self._terms.end(until.value or "")
            lent = self._desk.lend(card.serial, login, codes.given(), ends)
            what = f"to {lent.user} until {self._terms.words(lent.loan_until or 0)}"
            self._note("card lent", what + _presses(lent))
            return lent

        self._form("Lend it", work, codes, user, until)

    def _assign(self) -> None:
        heading("Assign it for good")
        user = ui.input("Who gets it").props('outlined list="people" autocomplete="off"')
        self._people(user)
        codes = _Codes()

        def work() -> DeskCard:
            if not (login := (user.value or "").strip()):
                raise BadInputError("No user was named.", todo="Choose who gets the card.")
            hers = self._desk.assign(self._card.serial, login, codes.given())
            self._note("card assigned", f"to {hers.user} for good{_presses(hers)}")
            return hers

        self._form("Assign it", work, codes, user, kind="other-act")

    def _give_back(self) -> None:
        codes = _Codes(focus=True)

        def work() -> DeskCard:
            back = self._desk.give_back(self._card.serial, codes.given())
            self._note("card returned", f"to the pool{_presses(back)}")
            return back

        self._form("Take it back", work, codes)

    def _give_back_flat(self) -> None:
        reason = self._reason()

        def work() -> DeskCard:
            why = check_reason(reason.value or "")
            back = self._desk.give_back(self._card.serial, (), reason=why)
            self._note("card returned", f"without a code: {why}")
            return back

        self._form("Take it back without a code", work, None, reason)

    def _reason(self) -> ui.input:
        reason = ui.input("Why it gives no code").props('outlined autocomplete="off" maxlength=120')
        reason.props('hint="Flat, broken, … It stands in the audit log under your name."')
        return reason

    def _retire(self) -> None:
        heading("Retire it without a dock, for good")
        ui.label(
            "For a card that is flat, broken or gone. The server accepts no code of it again. Its "
            "seed stays on it: destroy it, or wipe it in a dock."
        ).classes("soft small")
        reason = self._reason()

        def work() -> DeskCard:
            if not sure.value:
                raise BadInputError(
                    f"That card {self._card.serial} is to be retired was not confirmed.",
                    kept="Nothing was changed.",
                    todo="Tick that, if it is.",
                )
            why = check_reason(reason.value or "")
            gone = self._desk.retire(self._card.serial, None, reason=why)
            self._note("card retired", f"without a code: {why}")
            return gone

        sure = ui.checkbox(f"Card {self._card.serial} can never be used again")
        self._form("Retire it for good", work, None, reason, kind="bad-act")

    def _replace(self) -> None:
        heading(f"Lost? Give {self._card.user} another")
        by = ui.input("New card").props('outlined input-class="mono" hint="Scan its label."')
        codes = _Codes("the new card")

        def work() -> DeskCard:
            new = self._desk.replace(self._card.serial, (by.value or "").strip(), codes.given())
            self._note("card replaced", f"by {new.serial}, which {new.user} has")
            return new

        self._form("Replace it", work, codes, by)

    def _resynchronise(self) -> None:
        heading("Its codes are refused? Find it again")
        codes = _Codes(two=True)

        def work() -> DeskCard:
            found = self._desk.resynchronise(self._card.serial, codes.given())
            self._note("card resynchronised", f"and in step with the server again{_presses(found)}")
            return found

        self._form("Resynchronise", work, codes, kind="other-act")

    def _lost(self) -> None:
        heading("Report it lost")
        ui.label("No code of it is accepted until it is found.").classes("soft small")

        def work() -> DeskCard:
            card = self._desk.set_lost(self._card.serial, lost=True)
            self._note("card reported lost", "until it is found")
            return card

        self._form("Report it lost", work, kind="bad-act")

    def _found(self) -> None:
        def work() -> DeskCard:
            card = self._desk.set_lost(self._card.serial, lost=False)
            self._note("card found", "and in service again")
            return card

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
                custody = self._page.console.ready.custody
                try:
                    retire_and_wipe(connection, custody, self._desk, waiting=waiting)
                finally:
                    custody.rest()
            self._note("card wiped", "and retired on the server")

        self._form("Retire and wipe", work, None, port, kind="bad-act", finally_=asked.clear)

    # -- what they share -------------------------------------------------------------------------

    def _form(
        self,
        text: str,
        work: Callable[[], DeskCard | None],
        codes: _Codes | None = None,
        *fields: ui.input,
        kind: str = "main-act",
        finally_: Callable[[], None] = lambda: None,
    ) -> None:
        """Enter in the last field, or the button, does it; Enter before that goes on."""
        fields = (*fields, *(codes.fields if codes else ()))

        def in_her_name() -> None:
            self._same()
            self._done = work()

        async def go() -> None:
            act.disable()
            self._said = ""
            error = await self._page.act(in_her_name)
            finally_()
            if error is None:
                said = f"Card {self._card.serial}: {self._said}."
                done = self._done
                if done is not None and done.undo_until is not None:
                    left = done.undo_until - self._terms.now
                    self._page.tell(said, ("Undo", self._undo, left))
                else:
                    self._page.tell(said)
                await self._changed()
                return
            act.enable()
            if codes is not None:
                codes.refused(error)

        with ui.element("div").classes("line"):
            act = button(text, go, kind)
        for field in fields:
            field.on("keydown.enter", go, js_handler=_ENTER)

    async def _undo(self) -> None:
        """Within two minutes, where nothing has left the house: the server says whether."""

        def work() -> None:
            self._same()
            self._desk.undo(self._card.serial)
            self._note("act undone", "as it was before")

        if await self._page.act(work, f"Card {self._card.serial}: as it was before.") is None:
            await self._changed()

    def _people(self, user: ui.input) -> None:
        """Logins to choose from, as the browser's own list: searched on the server."""
        options = ui.html("", sanitize=False).style("display:contents")

        async def search() -> None:
            try:
                found = await run.io_bound(self._desk.people, (user.value or "").strip(), USERS)
            except TallyError:
                return  # the act itself will tell
            items = "".join(
                f'<option value="{escape(one.login)}">{escape(one.email or "")}</option>'
                for one in found or ()
                if not one.disabled
            )
            options.set_content(f'<datalist id="people">{items}</datalist>')

        user.on("update:model-value", search, throttle=0.3)
        ui.timer(0, search, once=True)

    def _note(self, act: str, what: str) -> None:
        self._said = f"{act.removeprefix('card ')} {what}"
        self._page.console.journal.note(act, self._card.serial, what, by=self._who.id)


def _presses(card: DeskCard) -> str:
    """Of a card that was found again."""
    return f"; {presses(card.skipped)}" if card.skipped else ""


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
