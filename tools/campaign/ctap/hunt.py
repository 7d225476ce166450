"""Looks for a broken reader, by its own letters first."""

from __future__ import annotations

from tallystick.emulator.interpreter import resident
from tallystick.tools.campaign.ctap.alphabet import LARGE, REDUCED
from tallystick.tools.campaign.ctap.walk import Found, Walker, WalkPlan
from tallystick.tools.campaign.engine.animal import Animal
from tallystick.tools.campaign.engine.subject import ViolationError, image_under_test


def look(animal: Animal) -> Found | None:
    """The shortest way on which it is caught; None when it is not."""
    with animal.firmware() as root:
        image = image_under_test("reader", animal.board, root, readable=False)
    with resident.enabled():
        try:
            walker = Walker(image)
        except ViolationError as error:
            return Found((), error.kind, str(error))
        try:
            return _look(walker, animal.scenarios)
        finally:
            walker.close()


def _look(walker: Walker, own: tuple[str, ...]) -> Found | None:
    plans = [WalkPlan(own, depth) for depth in range(1, 5)]
    plans += [WalkPlan(alphabet, depth) for depth in (2, 3) for alphabet in (REDUCED, LARGE)]
    plans.append(WalkPlan(REDUCED, 4))
    for plan in plans:
        for task in plan.tasks():
            if isinstance(task, tuple):
                found = walker.below(task, plan).found
                if found:
                    return found[0]
    return None
