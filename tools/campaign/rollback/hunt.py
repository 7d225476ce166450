"""Lets thieves at a broken reader."""

from __future__ import annotations

from tallystick.emulator.interpreter import resident
from tallystick.tools.campaign.engine.animal import Animal
from tallystick.tools.campaign.engine.subject import ViolationError, image_under_test
from tallystick.tools.campaign.rollback.run import RollbackTally, Sight, rob
from tallystick.tools.campaign.rollback.thief import Thief

_MOST = 400  # thieves


def look(animal: Animal) -> Sight | None:
    """The first thief who gains something; None when nobody does."""
    with animal.firmware() as root:
        image = image_under_test("reader", animal.board, root, readable=False)
    with resident.enabled():
        try:
            thief = Thief(image)
        except ViolationError as error:
            return Sight(0, (), error.kind, str(error))
        try:
            tally = RollbackTally()
            for seed in range(_MOST):
                rob(thief, seed, tally)
                if tally.found:
                    return tally.found[0]
        finally:
            thief.close()
    return None
