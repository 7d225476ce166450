"""Who is at the desk: the panel that a locked desk shows. A number key and a PIN bring somebody
back to work who gave her credential before."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from nicegui import ui

from tallystick.common.errors import TallyError
from tallystick.provisioning.console.seats import check_pin
from tallystick.provisioning.console.shell import Page, button, heading
from tallystick.provisioning.desk import operator
from tallystick.provisioning.desk.client import Desk

# F2 locks the desk from anywhere on the page; then the number of whoever is next.
KEYS = """
document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === 'F2') {
    const button = document.querySelector('.switch-desk');
    if (button) { event.preventDefault(); button.click(); }
    return;
  }
  const door = document.querySelector('.door');
  if (!door || event.target.closest('input, textarea') || !/^[1-9]$/.test(event.key)) return;
  const seat = door.querySelector(`[data-seat="${event.key}"]`);
  if (seat) { event.preventDefault(); event.stopImmediatePropagation(); seat.click(); }
}, true);
"""

# In the browser, so that who types fast finds the focus moved already.
_ENTER = """(event) => {
  const fields = [...event.target.closest('.act').querySelectorAll('input')];
  const next = fields[fields.indexOf(event.target) + 1];
  if (next) next.focus(); else emit();
}"""


class Door:
    """entered: called when somebody has come to work. locked: a credential is kept on this
    computer, and waits for its owner."""

    def __init__(self, page: Page, entered: Callable[[], Awaitable[None]], *, locked: bool) -> None:
        self._page = page
        self._entered = entered
        self._locked = locked

    def build(self) -> None:
        seats = self._page.session.seats.people
        self._shown = len(seats)
        with ui.element("section").classes("sheet door").props('aria-label="Sign in at the desk"'):
            heading("Who is at the desk?")
            if seats:
                ui.label("Press your number, then type your PIN.").classes("soft")
                with ui.element("div").classes("line"):
                    for number, seat in enumerate(seats, 1):
                        choose = button(
                            f"{number}  {seat.who.name}", partial(self._ask, number), "main-act"
                        )
                        choose.props(f"data-seat={number}")
                self._pin_room = ui.element("div")
                with ui.element("details").classes("more-acts"):
                    with ui.element("summary"):
                        ui.label("Somebody else").style("display:inline")
                    with ui.element("div").classes("inner"):
                        self._others()
                return
            self._others()

    def _others(self) -> None:
        ui.label(
            "What is done here is done with your own credential of the server, and noted under it. "
            "An administrator makes one for you (role desk). Choose a PIN for it: with F2, your "
            "number and that PIN you are back after others. Credential and PIN are forgotten when "
            "the console is signed out of."
        ).classes("soft")
        if self._locked:
            ui.html(
                "<p>The credential that is kept on this computer is locked, because it has no PIN. "
                "Its owner opens it with <code>tally station desk sign-in</code> in the "
                "terminal.</p>",
                sanitize=False,
            )
        with ui.element("div").classes("act"):
            token = ui.input("Credential").props('outlined type="password" autocomplete="off"')
            pin = ui.input("PIN, 4 to 8 digits").props(
                'outlined type="password" inputmode="numeric" autocomplete="off" maxlength=8'
            )

            async def enter() -> None:
                text, token.value = token.value or "", ""
                chosen, pin.value = (pin.value or "").strip(), ""
                await self._work(lambda: self._take(text, chosen))

            for field in (token, pin):
                field.on("keydown.enter", enter, js_handler=_ENTER)
            with ui.element("div").classes("line"):
                button("Sign in at the desk", enter, "main-act")

    def _ask(self, number: int) -> None:
        """For the PIN of somebody who was here before."""
        seat = self._page.session.seats.people[number - 1]
        self._pin_room.clear()
        with self._pin_room:
            field = ui.input(f"PIN of {seat.who.name}").props(
                'outlined autofocus type="password" inputmode="numeric" autocomplete="off"'
            )

            async def enter() -> None:
                text, field.value = field.value or "", ""
                await self._work(
                    lambda: self._page.session.seats.enter(number - 1, text), again=field
                )

            field.on("keydown.enter", enter)

    async def _work(self, work: Callable[[], object], again: ui.input | None = None) -> None:
        error = await self._page.act(work)
        if error is None:
            self._page.quiet()
            await self._entered()
        elif again is not None:
            seats = self._page.session.seats.people
            # The last wrong PIN has taken somebody from the list.
            await self._entered() if len(seats) != self._shown else again.run_method("focus")

    def _take(self, text: str, pin: str) -> None:
        check_pin(pin)
        desk = Desk(operator.parse(self._page.console.ready.server_url, text))
        try:
            self._page.session.seats.take(desk, desk.operator(), pin)
        except TallyError:
            desk.close()
            raise
