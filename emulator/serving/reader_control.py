"""The reader's control interface: HTTP on 127.0.0.1, with a hand whose fingers can be pressed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse

from tallystick.emulator.devices.hand import Hand
from tallystick.emulator.devices.reader import Reader
from tallystick.emulator.panel.reader_panel import panel
from tallystick.emulator.serving.hand_control import add_hand
from tallystick.emulator.serving.local_only import Body, Power, add_page, local_app
from tallystick.emulator.serving.local_server import LocalServer
from tallystick.emulator.serving.reader_service import ReaderService
from tallystick.emulator.serving.serial_port import listen


class SensorCable(Body):
    """Plug the sensor's cable in, or pull it out."""

    plugged: bool


def state(reader: Reader, hand: Hand, crash: str) -> dict[str, Any]:
    """The reader as one JSON object. Times in ms of virtual time."""
    return {
        "board": reader.board.name,
        "version": reader.image.version,
        "state": str(reader.mcu.state),
        "powered": reader.powered,
        "clock_ms": reader.clock.now // 1000,
        "waits_for_finger": reader.led,
        "finger": hand.down,
        "sensor": reader.sensor is not None,
        "boots": reader.mcu.boots,
        "flash_operations": reader.flash.operations,
        "crash": crash,
        "console": reader.console[-4_000:],
    }


def create_app(service: ReaderService, hand: Hand) -> FastAPI:
    app = local_app(
        "Tallystick emulated reader",
        "Hold a reader in your hands: press its sensor, plug it in, pull it out.",
    )
    sensor = service.reader.sensor

    def changed(action: Callable[[Reader], object]) -> dict[str, Any]:
        def act(reader: Reader) -> dict[str, Any]:
            action(reader)
            return state(reader, hand, service.crash)

        return service.call(act)

    @app.get("/state", summary="The reader now")
    def get_state() -> dict[str, Any]:
        """Times in ms of virtual time."""
        return service.call(lambda reader: state(reader, hand, service.crash))

    add_hand(app, hand, changed, "sensor")

    @app.post("/power", summary="Plug the reader in or pull it out")
    def post_power(body: Power) -> dict[str, Any]:
        return changed(Reader.power_on if body.on else Reader.power_off)

    @app.post("/sensor", summary="Plug the sensor's cable in or pull it out")
    def post_sensor(body: SensorCable) -> dict[str, Any]:
        def act(reader: Reader) -> None:
            if not body.plugged:
                reader.unplug_sensor()
            elif reader.sensor is None and sensor is not None:
                reader.plug_sensor(sensor)

        return changed(act)

    @app.get("/trace", summary="Events so far, as JSON lines", response_model=None)
    def get_trace() -> Response:
        lines = service.call(lambda reader: reader.trace.json_lines())
        return Response(lines, media_type="application/x-ndjson")

    @app.get("/", include_in_schema=False)
    def get_panel() -> HTMLResponse:
        return HTMLResponse(panel())

    add_page(app, "/docs")
    return app


class ReaderControlServer(LocalServer):
    """Serves the interface from a thread of its own. Port 0 chooses; `url` says which."""

    def __init__(self, service: ReaderService, hand: Hand, port: int) -> None:
        super().__init__(create_app(service, hand), listen(port))
