"""The control interface: HTTP on 127.0.0.1, documented by its own page.

Requests that change anything must be JSON and must not come from a page of another origin, so that
a web page open on the same computer cannot press the button.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import methodcaller
from typing import Annotated, Any, Literal, Protocol

from fastapi import FastAPI, Query, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from tallystick.common.errors import BadInputError
from tallystick.emulator.devices.card import Card
from tallystick.emulator.panel.panel import Holder, Panel, TimeLine
from tallystick.emulator.seeing.frames import Frame, Palette
from tallystick.emulator.serving.local_only import Body, Power, add_page, local_app
from tallystick.emulator.serving.local_server import LocalServer, url_of
from tallystick.emulator.serving.serial_port import listen


class ButtonAction(Body):
    """A press lasts `ms` milliseconds of virtual time; `down` and `up` leave the button there."""

    action: Literal["press", "down", "up"] = "press"
    ms: Annotated[int, Field(ge=1, le=120_000)] = 120


class CellVoltage(Body):
    """Open-circuit voltage of the cell in mV; null gives it back to its own discharge curve."""

    mv: Annotated[int, Field(ge=0, le=5000)] | None


class PartAction(Body):
    """`press`, `set`, `say` …: docs/guides/bench.md lists what each part takes."""

    action: str
    value: Any = None


class ClockStep(Body):
    """`advance_ms` is in ms of virtual time; what the card does meanwhile is done at once."""

    advance_ms: Annotated[int, Field(ge=0, le=10 * 366 * 86_400_000)]


class Instant(Body):
    """`at_ms` is in ms of virtual time since the emulator was started."""

    at_ms: Annotated[float, Field(ge=0, le=10 * 366 * 86_400_000)]


class HeldCard(Holder, Protocol):
    """A card with what holds it, and what its firmware stopped with."""

    crash: str

    def advance(self, ms: int) -> None:
        """Lets virtual time pass, while others are served."""


def _line(service: HeldCard) -> TimeLine:
    if service.line is None:
        raise BadInputError(
            "This emulator keeps no time line.",
            kept="The card is as it was.",
            todo="Start it with --panel, without a serial port and files that are written.",
        )
    return service.line


_CONSOLE = 4_000  # characters of it


def state(card: Card, crash: str) -> dict[str, Any]:
    """The card as one JSON object. Times in ms of virtual time, voltages in mV."""
    frame = card.frame()
    return {
        "board": card.board.name,
        "version": card.image.version,
        "state": str(card.mcu.state),
        "powered": card.powered,
        "clock_ms": card.clock.now // 1000,
        "button": "down" if card.button.down else "up",
        "docked": card.supply.docked,
        "cell_mv": card.supply.voltage_mv(),
        "cell_used_uah": round(card.cell.used_uah, 3),
        "boots": card.mcu.boots,
        "flash_operations": card.flash.operations,
        "display": {
            "width": frame.width, "height": frame.height, "blank": frame.blank,
            "frame": card.display.frames, "sha256": frame.sha256(),
            "errors": list(card.display.errors),
        },
        "parts": {part.name: dict(part.state()) for part in card.fittings.parts},
        "crash": crash,
        "console": card.console[-_CONSOLE:],
    }  # fmt: skip


def _state(crash: str, card: Card) -> dict[str, Any]:
    return state(card, crash)


def _glass(card: Card) -> tuple[Frame, Palette, str | None]:
    return card.frame(), card.palette, card.read_code()


def _trace(card: Card) -> str:
    return card.trace.json_lines()


def create_app(service: HeldCard) -> FastAPI:
    app = local_app(
        "Tallystick emulated card",
        "Hold a card in your hands: see its display, press its button, pull its cell.",
    )

    def changed(action: Callable[[Card], object]) -> dict[str, Any]:
        service.call(action)
        return get_state()

    @app.get("/state", summary="The card now")
    def get_state() -> dict[str, Any]:
        """Times in ms of virtual time, voltages in mV, charge in µAh."""
        return service.look(partial(_state, service.crash))

    @app.get("/display", summary="What is on the glass", response_model=None)
    def get_display(
        format: Literal["png", "text", "json"] = "png",
        scale: Annotated[int, Query(ge=1, le=16)] = 4,
    ) -> Response:
        """A picture, the same in Braille characters, or its rows and the code that is read off
        them. `scale`: pixels of the picture for one of the display."""
        frame, palette, code = service.look(_glass)
        if format == "png":
            return Response(frame.png(scale=scale, palette=palette), media_type="image/png")
        if format == "text":
            return Response(frame.text() + "\n", media_type="text/plain; charset=utf-8")
        rows = [
            "".join(
                "#" if p else "." for p in frame.pixels[y * frame.width : (y + 1) * frame.width]
            )
            for y in range(frame.height)
        ]
        return JSONResponse(
            {
                "width": frame.width,
                "height": frame.height,
                "blank": frame.blank,
                "code": code,
                "sha256": frame.sha256(),
                "rows": rows,
            }
        )

    @app.post("/button", summary="Press, hold or release the button")
    def post_button(body: ButtonAction) -> dict[str, Any]:
        actions: dict[str, Callable[[Card], None]] = {
            "press": methodcaller("press", body.ms),
            "down": Card.hold_down,
            "up": Card.let_go,
        }
        return changed(actions[body.action])

    @app.post("/power", summary="Insert or pull the cell")
    def post_power(body: Power) -> dict[str, Any]:
        return changed(Card.power_on if body.on else Card.power_off)

    @app.post("/cell", summary="Set the cell's voltage")
    def post_cell(body: CellVoltage) -> dict[str, Any]:
        return changed(methodcaller("set_cell_mv", body.mv))

    @app.post("/parts/{name}", summary="Something happens to a part of board.toml")
    def post_part(name: str, body: PartAction) -> dict[str, Any]:
        """Press a button, set what a sensor feels, say something on a serial line."""
        return changed(methodcaller("do", name, body.action, body.value))

    @app.post("/clock", summary="Let virtual time pass")
    def post_clock(body: ClockStep) -> dict[str, Any]:
        service.advance(body.advance_ms)
        return get_state()

    @app.get("/time", summary="The time line")
    def get_time() -> dict[str, Any]:
        """Times in ms of virtual time. `past`: an earlier instant is shown than the last."""
        line = _line(service)
        return {"now_ms": line.now_us / 1000, "end_ms": line.end_us / 1000, "past": line.past}

    @app.post("/time", summary="Go to an instant of the card's life")
    def post_time(body: Instant) -> dict[str, Any]:
        """The card, its flash and its parts are as they were then. What is done next goes on from
        there, and what came later is void."""
        _line(service).go_to(round(body.at_ms * 1000))
        return get_time()

    @app.get("/trace", summary="Events so far, as JSON lines", response_model=None)
    def get_trace() -> Response:
        lines = service.look(_trace)
        return Response(lines, media_type="application/x-ndjson")

    add_page(app, "/", "/docs")
    return app


def _mount_panel(service: HeldCard, serial: str, app: FastAPI) -> str:
    """The panel's path, with the token that lets a browser in. Raises BadInputError."""
    try:
        from tallystick.emulator.panel.page import mount  # noqa: PLC0415 (an optional extra)
    except ImportError as error:
        raise BadInputError(
            "The panel needs NiceGUI, which is not installed.",
            kept="The card was not started.",
            todo="pip install 'tallystick[panel]'",
        ) from error
    panel = Panel(service, serial)
    mount(panel, app)
    return panel.path


class ControlServer(LocalServer):
    """Serves the interface from a thread of its own. Port 0 chooses; `url` says which."""

    def __init__(self, service: HeldCard, port: int, *, panel_for: str | None = None) -> None:
        """panel_for: the card's serial number, when its panel is wanted as well."""
        listener = listen(port)
        app = create_app(service)
        self.panel_url = ""
        if panel_for is not None:
            self.panel_url = url_of(listener) + _mount_panel(service, panel_for, app)
        super().__init__(app, listener, lifespan=panel_for is not None)
