"""What every page of the console has: navigation, the scan field, messages, tables."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from nicegui import run, ui

from tallystick.common.errors import TallyError
from tallystick.common.moments import in_words
from tallystick.provisioning.console.console import Console
from tallystick.provisioning.console.gate import BrowserSession
from tallystick.provisioning.console.guard import SIGN_IN
from tallystick.provisioning.console.style import CSS
from tallystick.provisioning.labels.scanned import read_scan

PAGES = (
    ("/", "Batch"),
    ("/desk", "Desk"),
    ("/history", "History"),
    ("/statistics", "Statistics"),
    ("/audit", "Audit"),
)
MAX_SCAN = 64

# A barcode scanner types wherever the focus is; outside a field its characters go to this one.
_SCANNER = """
document.addEventListener('keydown', (event) => {
  const undo = document.querySelector('.undo');
  if (undo && undo.offsetParent && event.altKey && event.code === 'KeyZ') {
    event.preventDefault(); undo.click(); return;
  }
  const field = document.querySelector('.scan input');
  const typing = event.target.closest('input, textarea, select, [contenteditable]');
  if (!field || typing || event.ctrlKey || event.altKey || event.metaKey) return;
  if (/^[0-9A-Za-z]$/.test(event.key)) field.focus();
});
"""


@dataclass(frozen=True)
class TableCell:
    """text, and how it looks. html: already safe."""

    text: str
    kind: str = ""
    chip: str = ""
    link: str = ""

    def html(self) -> str:
        body = escape(self.text)
        if self.chip:
            body = f'<span class="chip {self.chip}">{body}</span>'
        if self.link:
            body = f'<a href="{escape(self.link)}">{body}</a>'
        return f'<td class="{self.kind}">{body}</td>'


Offer = tuple[str, Callable[[], object | Awaitable[object]], float]
"""Words, what a button of these words does, and for how many seconds it is there."""


class Page:
    """One browser's view of one page. `with page.frame("Desk"): …` builds it."""

    def __init__(self, console: Console, session: BrowserSession) -> None:
        self.console = console
        self.session = session
        self._messages: ui.element | None = None
        self.told: TallyError | None = None  # the error that stands there

    def when(self, seconds: float) -> str:
        """A moment with weekday and zone: the firm's, or this computer's own where no server said
        which that is."""
        return in_words(seconds, self.console.journal.firm().zone, exact=True)

    def frame(self, path: str, title: str) -> ui.element:
        ui.add_css(CSS)
        ui.colors(primary="#0b5cad")
        ui.add_head_html(f"<script>{_SCANNER}</script>")
        ui.page_title(f"{title} · Station")
        with ui.header(fixed=True).classes("top"), ui.element("div").classes("in"):
            ui.html('<a class="skip" href="#main">Skip to the content</a>', sanitize=False)
            ui.html('<span class="brand"><i></i>Station</span>', sanitize=False)
            self._navigation(path)
            self._scan()
            ui.label(self.console.who).classes("who")
            ui.html(
                '<form method="post" action="/sign-out" class="no-print">'
                '<button class="q-btn other-act">Sign out</button></form>',
                sanitize=False,
            )
        # The library puts a page into an element `main` of its own.
        content = ui.element("div").classes("main").props('id="main" tabindex="-1"')
        with content:
            ui.html(f"<h1>{escape(title)}</h1>", sanitize=False)
            self._messages = ui.element("div").classes("messages")
        ui.timer(5, self._look_at_session)
        return content

    def _navigation(self, path: str) -> None:
        links = "".join(
            f'<a href="{to}"{" aria-current=page" if to == path else ""}>{name}</a>'
            for to, name in PAGES
        )
        ui.html(f'<nav aria-label="Pages">{links}</nav>', sanitize=False)

    def _scan(self) -> None:
        field = ui.input("Scan a card", placeholder="or type its serial number")
        field.props('outlined dense clearable=false autocomplete="off" spellcheck="false"')
        field.props(f'maxlength={MAX_SCAN} input-class="mono"').classes("scan grow no-print")

        def scanned() -> None:
            serial = read_scan(field.value or "")
            if serial and self.alive():
                ui.navigate.to(f"/desk?card={quote(serial)}")

        field.on("keydown.enter", scanned)

    # -- sessions and errors ---------------------------------------------------------------------

    def alive(self) -> bool:
        """A person does something here: is the session still on? If not, to the sign-in page."""
        if self.console.gate.touch(self.session):
            return True
        ui.navigate.to(SIGN_IN)
        return False

    def _look_at_session(self) -> None:
        if self.console.gate.ended(self.session):
            ui.navigate.to(SIGN_IN)

    async def act(self, work: Callable[[], object], done: str = "") -> TallyError | None:
        """Do blocking work for a person; tells of success or of the error, and returns that."""
        if not self.alive():
            return TallyError("The session is over.", kept="Nothing was done.")
        try:
            await run.io_bound(work)
        except TallyError as error:
            self.tell_error(error)
            return error
        if done:
            self.tell(done)
        return None

    def tell(self, text: str, offer: Offer | None = None) -> None:
        """offer: a button beside it, for a while."""
        self._message(f"<strong>{escape(text)}</strong>", "good", "status")
        if offer is None or offer[2] <= 0:
            return
        words, act, left_s = offer
        assert self._messages is not None
        with self._messages:
            offered = button(f"{words} (Alt+Z)", act, "other-act no-print undo")
            offered.props('aria-keyshortcuts="Alt+Z"')
            # Deleted with its message, if another comes before.
            with offered:
                ui.timer(left_s, lambda: offered.set_visibility(False), once=True)

    def tell_error(self, error: TallyError) -> None:
        lines = [f"<strong>{prose(error.what)}</strong>"]
        lines += [f"<span>{prose(text)}</span>" for text in (error.kept, error.todo) if text]
        self._message("".join(lines), "bad", "alert")
        self.told = error

    def quiet(self) -> None:
        """Take the last message away."""
        self.told = None
        if self._messages is not None:
            self._messages.clear()

    def _message(self, html: str, kind: str, role: str) -> None:
        assert self._messages is not None
        self.told = None
        self._messages.clear()
        with self._messages:
            ui.html(f'<div class="notice {kind}" role="{role}">{html}</div>', sanitize=False)


def prose(text: str) -> str:
    """A sentence as HTML; what stands in backticks is to be typed."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def heading(text: str) -> None:
    ui.html(f"<h2>{escape(text)}</h2>", sanitize=False)


def button(text: str, on_click: Callable[[], object | Awaitable[object]], kind: str) -> ui.button:
    """kind: main-act, other-act or bad-act."""
    return ui.button(text, on_click=on_click, color=None).props("unelevated no-caps").classes(kind)


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[TableCell]]) -> None:
    """A plain table: what a screen reader and a printer know best."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(f"<tr>{''.join(cell.html() for cell in row)}</tr>" for row in rows)
    ui.html(
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f'<table class="list"><caption class="spoken">{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>",
        sanitize=False,
    ).classes("wide")
