"""The fingerprint module's control interface: HTTP on 127.0.0.1, with a hand whose fingers can be
pressed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from tallystick.emulator.devices.hand import Hand
from tallystick.emulator.parts.r503 import R503
from tallystick.emulator.serving.hand_control import add_hand
from tallystick.emulator.serving.local_only import Power, add_page, local_app
from tallystick.emulator.serving.local_server import LocalServer
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
    app = local_app(
        "Tallystick emulated fingerprint sensor",
        "Hold a fingerprint module in your hands: press it, unplug it.",
    )

    def changed(action: Callable[[R503], object]) -> dict[str, Any]:
        def act(sensor: R503) -> dict[str, Any]:
            action(sensor)
            return state(sensor, hand)

        return service.call(act)

    @app.get("/state", summary="The module now")
    def get_state() -> dict[str, Any]:
        """`light`: control, speed, colour, times."""
        return service.call(lambda sensor: state(sensor, hand))

    add_hand(app, hand, changed, "module")

    @app.post("/power", summary="Plug the module in or pull it out")
    def post_power(body: Power) -> dict[str, Any]:
        return changed(lambda sensor: sensor.power(body.on))

    add_page(app, "/docs")
    return app


class SensorControlServer(LocalServer):
    """Serves the interface from a thread of its own. Port 0 chooses; `url` says which."""

    def __init__(self, service: SensorService, hand: Hand, port: int) -> None:
        super().__init__(create_app(service, hand), listen(port))
