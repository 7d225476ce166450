"""What is done to a card while the power may go: the registry of scenarios.

A scenario starts from a card in a known state without power, does its part on a rig, and names how
a card is judged after a cut. More can be added with `register`, also by tests. The reader's are in
reader_scenarios.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tallystick.provisioning.card.issuer import LifeCycle
from tallystick.tools.campaign.card.oracle import NAME
from tallystick.tools.campaign.card.rig import CardRig

Start = Literal[
    "factory", "in service", "before wrap", "before lap", "spoiled", "at 62", "at 253", "at 65533",
    "at 2³²−3", "at 2⁶⁴−40",
]  # fmt: skip
# Where the moving factor stands in some of them, and the presses that were counted.
COUNTS: dict[Start, tuple[int, int]] = {
    "at 62": (62, 62),
    "at 253": (253, 253),
    "at 65533": (65533, 65533),
    "at 2³²−3": (2**32 - 3, 2**31),
    "at 2⁶⁴−40": (2**64 - 40, 2**31),
}
Judge = Literal["press", "wire"]


@dataclass(frozen=True)
class Scenario:
    """`run` begins with the card off and undocked. `judge`: `press` (undocked, as an employee) or
    `wire` (docked, as a station), after each cut; a sample is judged both ways. `rots`: nothing but
    codes comes of it, so that the record before may have lost several bits: it jumps over them."""

    name: str
    sentence: str
    start: Start
    judge: Judge
    run: Callable[[CardRig], None]
    rots: bool = False


REGISTRY: dict[str, Scenario] = {}


def register(scenario: Scenario) -> Scenario:
    REGISTRY[scenario.name] = scenario
    return scenario


def _first_boot(rig: CardRig) -> None:
    rig.start(full=True)
    rig.press()
    rig.stop()
    rig.start(full=True)


def provision(rig: CardRig) -> None:
    """What the station does to a new card, from its dock to being in service."""
    rig.start(docked=True, full=True)
    rig.put_key("transport", "firm1", LifeCycle.INITIALIZED)
    rig.put_seed("firm1", "A")
    rig.calculate_full("firm1")
    rig.calculate("firm1")
    rig.set_status("firm1", LifeCycle.SECURED)
    rig.undock()


def _rotation(rig: CardRig) -> None:
    rig.start(docked=True, full=True)
    rig.put_key("firm1", "firm2", LifeCycle.SECURED)
    rig.put_key("firm2", "firm1", LifeCycle.SECURED)
    rig.undock()
    rig.press()


def _press(rig: CardRig) -> None:
    rig.start(full=True)
    for _ in range(3):
        rig.press()


def _docked_press(rig: CardRig) -> None:
    rig.start(docked=True, full=True)
    rig.connect()
    for _ in range(2):
        rig.press()
    rig.undock()


def _wrap(rig: CardRig) -> None:
    rig.start(full=True)
    for _ in range(3):
        rig.press()


def _reseed(rig: CardRig) -> None:
    rig.start(docked=True, full=True)
    rig.delete_seed("firm1")
    rig.put_seed("firm1", "B")
    rig.put_seed("firm1", "C")
    rig.delete_seed("firm1", reset=True)
    rig.put_seed("firm1", "B")
    rig.undock()
    rig.press()


def _terminate(rig: CardRig) -> None:
    rig.start(docked=True, full=True)
    rig.set_status("firm1", LifeCycle.TERMINATED)
    rig.undock()
    rig.press()


def _low_cell(rig: CardRig) -> None:
    """On the way down, low, then critical, then a new cell: two changes of the cell's state."""
    cell = rig.card.cell
    try:
        rig.start(full=True)
        cell.fixed_mv = 2650
        rig.press()
        rig.press()
        cell.fixed_mv = 2250
        rig.press_on_empty()
        rig.press_on_empty()
        rig.stop()
        rig.start_on_empty()
        rig.press_on_empty()
        cell.fixed_mv = 2400  # it recovers a little while it rests
        rig.press_on_empty()
        cell.fixed_mv = 2500
        rig.press()
        rig.stop()
        cell.fixed_mv = None
        rig.start(full=True)
        rig.press()
    finally:
        cell.fixed_mv = None


def _four(rig: CardRig) -> None:
    rig.start(full=True)
    for _ in range(4):
        rig.press()
    rig.stop()
    rig.start(full=True)
    rig.press()


def _rename(rig: CardRig) -> None:
    rig.start(docked=True, full=True)
    rig.rename("firm1", "Firm Ltd:ada")
    rig.rename("firm1", NAME)
    rig.undock()
    rig.press()


def _put_far(rig: CardRig) -> None:
    """A credential that comes from elsewhere brings its moving factor along."""
    rig.start(docked=True, full=True)
    rig.put_seed("firm1", "B", 65534)
    rig.undock()
    for _ in range(3):
        rig.press()
    rig.stop()
    rig.start(full=True)
    rig.press()


def _brown_out(rig: CardRig) -> None:
    """Under the flash, before anything is shown; under the display, as a code comes up."""
    rig.start(full=True)
    rig.press()
    rig.press_with_bounce("flash")
    rig.press()
    rig.press_with_bounce("display")
    rig.press()


for _scenario in (
    Scenario("first-boot", "The first cell of a card fresh from the factory.", "factory", "wire",
             _first_boot),
    Scenario("provisioning", "Firm's keys, seed, two codes over the wire, locked.", "factory",
             "wire", provision),
    Scenario("key-rotation", "The firm's keys replaced on a card in service, twice.", "in service",
             "wire", _rotation),
    Scenario("press", "Three codes.", "in service", "press", _press, rots=True),
    Scenario("docked-press", "Two codes on the dock.", "in service", "press", _docked_press,
             rots=True),
    Scenario("press-at-wrap", "Codes while the journal goes on to the next sector.",
             "before wrap", "press", _wrap, rots=True),
    Scenario("press-at-lap", "Codes while the journal comes back to its first sector.",
             "before lap", "press", _wrap, rots=True),
    Scenario("wipe-and-reseed", "Credential deleted, stored, replaced, reset, stored again.",
             "in service", "wire", _reseed),
    Scenario("terminate", "A card wiped for good.", "in service", "wire", _terminate),
    Scenario("low-cell", "Codes on a cell that goes low, then critical, then is replaced.",
             "in service", "press", _low_cell),
    Scenario("brown-out", "The cell's contact bounces under the flash, then under the display.",
             "in service", "press", _brown_out),
    Scenario("press-at-64", "Codes 62 to 66.", "at 62", "press", _four, rots=True),
    Scenario("press-at-255", "Codes while the factor goes on to its second byte.", "at 253",
             "press", _four, rots=True),
    Scenario("press-at-65535", "Codes while the factor goes on to its third byte.", "at 65533",
             "press", _four, rots=True),
    Scenario("press-at-2-32", "Codes while the factor goes on to its fifth byte.", "at 2³²−3",
             "press", _four, rots=True),
    Scenario("press-at-2-64", "Codes of a factor that needs all of its eight bytes.",
             "at 2⁶⁴−40", "press", _four, rots=True),
    Scenario("put-far", "A credential stored with a moving factor of 65,534, then codes.",
             "in service", "wire", _put_far),
    Scenario("rename", "The credential gets another name, and its own again.", "in service", "wire",
             _rename),
    Scenario("spoiled-slots", "Codes after twelve starts that were cut as they wrote.",
             "spoiled", "press", _press),
):  # fmt: skip
    register(_scenario)
