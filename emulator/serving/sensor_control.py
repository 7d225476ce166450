"""The fingerprint module's control interface: HTTP on 127.0.0.1, with a hand whose fingers can be
pressed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from tallystick import __version__
from tallystick.emulator.devices.hand import Hand
from tallystick.emulator.parts.r503 import R503
from tallystick.emulator.serving.local_only import protect
from tallystick.emulator.serving.local_server import LocalServer
from tallystick.emulator.serving.openapi_page import page
from tallystick.emulator.serving.reader_control import FingerPress, Power, Touch
from tallystick.emulator.serving.sensor_service import SensorService
from tallystick.emulator.serving.serial_port import listen


def state(sensor: R503, hand: Hand) -> dict[str, Any]:
    """The module as one JSON object; `touch` is its touch output, true while a finger is felt."""
    return {
        "powered": sensor.powered,
        "finger": hand.down,
        "touch": sensor.touch,
        "light": sensor.light,
        "templates": sorted(sensor.flash.templates),
        "baud": sensor.baud,
    }


def create_app(service: SensorService, hand: Hand) -> FastAPI:
    app = FastAPI(
        title="Tallystick emulated fingerprint sensor",
        version=__version__,
        description="Hold a fingerprint module in your hands: press it, unplug it.",
        docs_url=None,
        redoc_url=None,
    )
    protect(app)

    def changed(action: Callable[[R503], object]) -> dict[str, Any]:
        def act(sensor: R503) -> dict[str, Any]:
            action(sensor)
            return state(sensor, hand)

        return service.call(act)

    @app.get("/state", summary="The module now")
    def get_state() -> dict[str, Any]:
        """`light`: control, speed, colour, times."""
        return service.call(lambda sensor: state(sensor, hand))

    @app.post("/finger", summary="Press a finger on the module")
    def post_finger(body: FingerPress) -> dict[str, Any]:
        return changed(
            lambda _: hand.press(body.finger, person=body.person, manner=body.manner, ms=body.ms)
        )

    @app.post("/touch", summary="Touch the module without showing a print")
    def post_touch(body: Touch) -> dict[str, Any]:
        return changed(lambda _: hand.touch(body.ms))

    @app.post("/power", summary="Plug the module in or pull it out")
    def post_power(body: Power) -> dict[str, Any]:
        return changed(lambda sensor: sensor.power(body.on))

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(page(app.openapi()))

    return app


class SensorControlServer(LocalServer):
    """Serves the interface from a thread of its own. Port 0 chooses; `url` says which."""

    def __init__(self, service: SensorService, hand: Hand, port: int) -> None:
        super().__init__(create_app(service, hand), listen(port))
