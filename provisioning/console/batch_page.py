"""The batch: what to do next, how far it is, a tile a port, what went wrong."""

from __future__ import annotations

from html import escape
from urllib.parse import quote

from nicegui import ui
from nicegui.events import GenericEventArguments

from tallystick.common.errors import TallyError
from tallystick.provisioning.console.advice import advise
from tallystick.provisioning.console.code_forms import CodeForms
from tallystick.provisioning.console.shell import (
    Page,
    TableCell,
    button,
    heading,
    prose,
    table,
)
from tallystick.provisioning.console.workshop import STEPS, Mood, Picture, Tile, short
from tallystick.provisioning.credential import CodeKind
from tallystick.provisioning.labels.scanned import read_box
from tallystick.provisioning.steps import DOING, Plan

TICK_S = 0.2
RECENT = 8
TROUBLES = 20
_SIGNS = {
    Mood.EMPTY: "+",
    Mood.WORKING: "…",
    Mood.PRESS: "!",
    Mood.TYPE: "?",
    Mood.DONE: "✓",
    Mood.FAILED: "×",
}
_SAYS = {
    Mood.EMPTY: "put a card in",
    Mood.PRESS: "press its button now",
    Mood.TYPE: "press it, and type its code",
    Mood.DONE: "done: take it out",
    Mood.FAILED: "failed: take it out",
}


# Emptied in the browser: the next label may be scanned before the server has seen this one.
_SCANNED = """(event) => {
  emit(event.target.value);
  event.target.value = '';
  event.target.dispatchEvent(new Event('input'));
}"""


class BatchPage:
    def __init__(self, page: Page) -> None:
        self._page = page
        self._workshop = page.console.workshop
        self._seen: Picture | None = None
        self._tiles: dict[str, _TileView] = {}

    def build(self) -> None:
        with self._page.frame("/", "Batch"):
            self._form()
            self._before()
            self._room = ui.element("div").classes("main").style("padding:0;max-width:none")
            with self._room:
                self._view()
        self._look(force=True)
        ui.timer(TICK_S, self._look)

    # -- beginning -------------------------------------------------------------------------------

    def _form(self) -> None:
        self._start = ui.element("section").classes("sheet no-print")
        self._start.props('aria-label="Start a batch"')
        with self._start:
            heading("Start a batch, or go on with one")
            with ui.element("div").classes("line top-aligned"):
                last = self._workshop.picture()
                self._name = ui.input("Name", value=last.name if last else "").props(
                    "outlined maxlength=40 autofocus"
                )
                self._count = ui.number("Cards", value=10, min=1, max=10_000, precision=0)
                self._count.props("outlined").style("width:110px")
                self._digits = ui.number("Digits", value=6, min=6, max=8, precision=0)
                self._digits.props("outlined").style("width:100px")
                self._ports = ui.input("Ports", value=self._page.console.ports)
                self._ports.props('outlined hint="auto, /dev/ttyACM*, or names with commas"')
                self._name.classes("grow")
                self._ports.classes("grow")
                begin = button("Start", self._begin, "main-act").style("min-height:56px")
            with ui.element("fieldset").classes("choices"):
                ui.html('<legend class="spoken">What is done besides</legend>', sanitize=False)
                self._confirm = _choice(
                    "Have button and display of each card checked",
                    "Somebody presses the button and types the code from the display; that code "
                    "counts as used. A card whose code is not typed right in three tries is not "
                    "registered, and its seed is deleted.",
                )
                self._reseed = _choice(
                    "Give cards in service a new seed",
                    "Without it they are refused. Each asks for three presses on its button. "
                    "Its codes so far end, and it belongs to nobody until it is assigned again. A "
                    "card that has been used to log in is refused by the server, and stays as it "
                    "is.",
                )
            self._box_form()
            for field in (self._name, self._count, self._digits, self._ports):
                field.on("keydown.enter", self._begin)
            begin.mark("start")

    def _box_form(self) -> None:
        """Which cards came in the box: their labels are scanned one after another."""
        with ui.element("details").classes("more-acts"):
            with ui.element("summary"):
                ui.label("Only the cards of a box, by scanning their labels").style(
                    "display:inline"
                )
            with ui.element("div").classes("inner"):
                with ui.element("div").classes("line top-aligned"):
                    self._box_name = ui.input("Box", on_change=self._show_box)
                    self._box_name.props('outlined maxlength=40 autocomplete="off"')
                    scan = ui.input("Label").props(
                        'outlined input-class="mono" autocomplete="off" '
                        'hint="Scan one after another: each is noted at once."'
                    )
                    scan.classes("grow box-scan")
                self._box_said = ui.label().props('role="status" aria-live="polite"')

        def scanned(event: GenericEventArguments) -> None:
            if self._page.alive():
                self._note_scan(str(event.args)[:200])

        scan.on("keydown.enter", scanned, js_handler=_SCANNED)
        self._show_box()

    def _note_scan(self, text: str) -> None:
        name, made = (self._box_name.value or "").strip(), read_box([text])
        if not name:
            self._box_said.set_text("Name the box first.")
            return
        try:
            known = self._page.console.journal.put_into_box(name, made.serials)
        except TallyError as error:
            self._page.tell_error(error)
            return
        if made.problems:
            self._show_box(f"{made.problems[0]} is no serial number of a card: not noted.")
        elif known:
            where = "here" if known[0].box == name else f"in box {known[0].box}"
            self._show_box(f"{known[0].serial} is {where} already.")
        else:
            self._show_box(f"{', '.join(made.serials)} is noted.")

    def _show_box(self, said: object = "") -> None:
        name = (self._box_name.value or "").strip()
        cards = self._page.console.journal.boxed(name) if name else []
        blank = sum(card.blank for card in cards)
        count = f"Box {name}: {len(cards)} cards, {blank} of them blank." if name else ""
        self._box_said.set_text(f"{said} {count}".strip() if isinstance(said, str) else count)
        if cards:
            self._count.set_value(len(cards))

    def _before(self) -> None:
        """Batches of before, to go on with."""
        known = self._page.console.journal.batches(RECENT)
        self._recent = ui.element("section").classes("sheet no-print")
        self._recent.props('aria-label="Batches so far"')
        with self._recent:
            heading("Batches so far")
            if not known:
                ui.label("None yet. Put cards into the docks, and start one.").classes("soft")
                return
            table(
                "Batches so far, the latest first",
                ("Batch", "In service", "Stopped half-way", "Last change"),
                [
                    (
                        TableCell(batch.name, link=f"/history?q={quote(batch.name)}"),
                        TableCell(str(batch.finished)),
                        TableCell(
                            str(batch.open) if batch.open else "", chip="warn" if batch.open else ""
                        ),
                        TableCell(self._page.when(batch.changed_at)),
                    )
                    for batch in known
                ],
            )

    async def _begin(self) -> None:
        name = (self._name.value or "").strip()
        count, digits = int(self._count.value or 0), int(self._digits.value or 0)
        ports = (self._ports.value or "").strip()
        if not (name and count > 0 and digits in range(6, 9) and ports):
            ui.notify("Give the batch a name, a number of cards, 6 to 8 digits, and ports.")
            return
        confirm, reseed = bool(self._confirm.value), bool(self._reseed.value)
        if reseed and not await self._consent():
            return
        box = (self._box_name.value or "").strip()
        cards = self._page.console.journal.boxed(box) if box else []
        if box and not cards:
            ui.notify(f"Nothing of box {box} was scanned yet: scan its labels, or name no box.")
            return
        only = frozenset(card.serial for card in cards) if box else None
        plan = Plan(CodeKind(digits), batch=name, reseed=reseed, box=only)
        console, session = self._page.console, self._page.session
        started = await self._page.act(
            lambda: self._workshop.start(
                plan, count, ports, confirm=confirm, by=console.who_works(session)
            )
        )
        if started is None:
            self._reseed.set_value(False)  # consent is for one batch
            self._page.quiet()
            self._look(force=True)

    async def _consent(self) -> bool:
        """Is it meant? What is to come cannot be taken back."""
        title = "New seeds for cards in service?"
        with ui.dialog().props(f'aria-label="{title}"') as dialog, ui.element("div") as box:
            box.classes("sheet ask")
            heading(title)
            ui.label(
                "Every card in service that is put into a dock, and whose button is pressed, loses "
                "its seed in this batch. Codes of the old seed are never accepted again, and the "
                "card has to be assigned anew. This cannot be undone."
            )
            with ui.element("div").classes("line"):
                button("Cancel", lambda: dialog.submit(False), "other-act").props("autofocus")
                button("Start, and give new seeds", lambda: dialog.submit(True), "bad-act")
        agreed = bool(await dialog)
        dialog.delete()
        return agreed

    def _halt(self) -> None:
        if self._page.alive():
            self._workshop.stop()

    # -- looking ---------------------------------------------------------------------------------

    def _view(self) -> None:
        with ui.element("section").classes("sheet next").props('aria-label="Next"') as self._next:
            self._say = ui.label().classes("say").props('role="status" aria-live="polite"')
            self._more = ui.label().classes("more")
        self._codes = CodeForms(self._workshop.questions, self._page.alive)
        self._codes.build()
        with ui.element("section").classes("sheet").props('aria-label="Progress"'):
            with ui.element("div").classes("line"):
                self._title = ui.html("", sanitize=False).classes("grow")
                self._halt_button = button("Stop after these cards", self._halt, "other-act")
                self._labels = ui.html("", sanitize=False).classes("no-print")
            self._meter = ui.html("", sanitize=False).style("width:100%")
            self._facts = ui.html("", sanitize=False)
        self._grid = ui.element("section").classes("tiles").props('aria-label="Ports"')
        self._troubles = ui.element("section").props('aria-label="Failures"').classes("main")
        self._troubles.style("padding:0;max-width:none;gap:10px")

    def _look(self, *, force: bool = False) -> None:
        picture = self._workshop.picture()
        if picture == self._seen and not force:
            return
        before, self._seen = self._seen, picture
        self._room.set_visibility(picture is not None)
        self._start.set_visibility(picture is None or not picture.running)
        self._recent.set_visibility(picture is None)
        if picture is None:
            return
        self._show_advice(picture)
        docks = {tile.serial: tile.name for tile in picture.tiles}
        self._codes.show(picture.questions, lambda serial: docks.get(serial, "a dock"))
        self._show_progress(picture)
        self._show_tiles(picture)
        if before is None or before.troubles != picture.troubles:
            self._show_troubles(picture)

    def _show_advice(self, picture: Picture) -> None:
        advice = advise(picture)
        if self._say.text != advice.text:
            self._say.set_text(advice.text)
        self._more.set_text(" ".join(advice.more))
        self._more.set_visibility(bool(advice.more))
        self._next.classes(add="urgent") if advice.urgent else self._next.classes(remove="urgent")

    def _show_progress(self, picture: Picture) -> None:
        share = min(100, 100 * picture.done // max(1, picture.wanted))
        self._title.set_content(f"<h2>{escape(picture.name)}</h2>")
        kind = "meter whole" if picture.complete else "meter"
        self._meter.set_content(
            f'<div class="{kind}" role="progressbar" aria-label="Cards in service" '
            f'aria-valuemin="0" aria-valuemax="{picture.wanted}" '
            f'aria-valuenow="{min(picture.done, picture.wanted)}">'
            f'<div style="width:{share}%"></div></div>'
        )
        facts = [(f"{picture.done} of {picture.wanted}", "cards in service")]
        if picture.cards_per_min:
            facts.append((f"{picture.cards_per_min:.0f}", "a minute"))
        if picture.running and picture.left_s:
            facts.append((_span(picture.left_s), "left"))
        if picture.troubles:
            count = len(picture.troubles)
            facts.append((str(count), "failure" if count == 1 else "failures"))
        chosen = [
            f'<span class="chip {kind}">{words}</span>'
            for wanted, words, kind in (
                (picture.reseed, "new seeds for cards in service", "warn"),
                (picture.confirm, "button and display are checked", "info"),
            )
            if wanted
        ]
        self._facts.set_content(
            '<div class="facts">'
            + "".join(f"<span><b>{value}</b> {words}</span>" for value, words in facts)
            + "".join(chosen)
            + "</div>"
        )
        self._halt_button.set_visibility(picture.running and not picture.stopping)
        self._labels.set_visibility(not picture.running and picture.done > 0)
        file = f"/labels/{quote(picture.name, safe='')}.pdf"
        self._labels.set_content(
            f'<form action="{file}" class="line"><a href="{file}" download>Labels (PDF)</a>'
            '<label class="small soft">on a used sheet, from place <input name="start" '
            'type="number" min="1" max="24" value="1" class="place"></label>'
            '<label class="small soft">from card <input name="first" class="place mono" '
            'maxlength="10" style="width:9em"></label>'
            '<button class="q-btn other-act">Print from there</button></form>'
        )

    def _show_tiles(self, picture: Picture) -> None:
        names = [tile.port for tile in picture.tiles]
        if names != list(self._tiles):
            self._grid.clear()
            with self._grid:
                self._tiles = {port: _TileView() for port in names}
        for tile in picture.tiles:
            self._tiles[tile.port].show(tile, picture.running)

    def _show_troubles(self, picture: Picture) -> None:
        self._troubles.clear()
        with self._troubles:
            if picture.troubles:
                heading("What failed")
            for trouble in reversed(picture.troubles[-TROUBLES:]):
                error = trouble.error
                rest = " ".join(part for part in (error.kept, error.todo) if part)
                where = f"{trouble.serial or 'A card'} in {short(trouble.port)}"
                ui.html(
                    f'<div class="notice bad"><strong>{escape(where)}</strong>'
                    f"<span>{prose(error.what)}</span><span>{prose(rest)}</span></div>",
                    sanitize=False,
                )


def _choice(text: str, means: str) -> ui.checkbox:
    """A choice, and what it means, which a screen reader reads with it."""
    with ui.element("div"):
        box = ui.checkbox(text).classes("choice")
        about = ui.label(means).classes("soft small means")
        box.props(f'aria-describedby="{about.html_id}"')
    return box


class _TileView:
    """A port's tile, which fills from the left as its card goes through."""

    def __init__(self) -> None:
        self._seen: tuple[Tile, bool] | None = None
        self._box = ui.element("div").classes("tile").props('role="group"')
        with self._box:
            self._fill = ui.element("div").classes("fill")
            self._text = ui.html("", sanitize=False).style("display:contents")

    def show(self, tile: Tile, running: bool) -> None:
        if (tile, running) == self._seen:
            return
        self._seen = (tile, running)
        self._box.classes(replace=f"tile {tile.mood}")
        self._fill.style(f"width:{100 * tile.step // len(STEPS)}%")
        says = _SAYS.get(tile.mood) or DOING[tile.state]
        sign = _SIGNS[tile.mood]
        if tile.mood is Mood.EMPTY and not running:
            says, sign = "idle", "–"
        counts = f"{tile.done} done" + (f", {tile.failed} failed" if tile.failed else "")
        name = escape(tile.name)
        self._box.props(f'aria-label="{name}: {says}"')
        self._text.set_content(
            f'<div class="head"><span class="port">{name}</span><span>{counts}</span></div>'
            f'<div class="serial mono">{escape(tile.serial)}</div>'
            f'<div class="doing"><i aria-hidden="true">{sign}</i>{says}</div>'
        )


def _span(seconds: float) -> str:
    """A span of time in the largest fitting unit."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
