"""What a control interface offers of a hand whose fingers can be pressed on a sensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import Field

from tallystick.emulator.devices.hand import PRESS_MS, Hand
from tallystick.emulator.serving.local_only import Body

Changed = Callable[[Callable[[Any], object]], dict[str, Any]]
_Milliseconds = Annotated[int, Field(ge=1, le=120_000)]


class FingerPress(Body):
    """A finger of a person, and how it is pressed: the way, and for how long (virtual time)."""

    finger: str = "right-thumb"
    person: Annotated[int, Field(ge=0, le=9999)] = 0
    manner: str = "usual"
    ms: _Milliseconds | None = None


class Touch(Body):
    """A touch that shows nobody's print, for `ms` of virtual time."""

    ms: _Milliseconds = PRESS_MS


def add_hand(app: FastAPI, hand: Hand, changed: Changed, thing: str) -> None:
    """Adds /finger and /touch. changed: does something with the device, → its state afterwards.
    thing: what is pressed, in words."""

    @app.post("/finger", summary=f"Press a finger on the {thing}")
    def post_finger(body: FingerPress) -> dict[str, Any]:
        return changed(
            lambda _: hand.press(body.finger, person=body.person, manner=body.manner, ms=body.ms)
        )

    @app.post("/touch", summary=f"Touch the {thing} without showing a print")
    def post_touch(body: Touch) -> dict[str, Any]:
        return changed(lambda _: hand.touch(body.ms))
