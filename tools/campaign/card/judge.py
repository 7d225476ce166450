"""How a card is judged after a cut: it starts, and somebody looks, asks and presses."""

from __future__ import annotations

from tallystick import faults
from tallystick.provisioning.card.issuer import LifeCycle
from tallystick.tools.campaign.card.oracle import NAME, KnownCard
from tallystick.tools.campaign.card.rig import NO_KEYS, CardRig
from tallystick.tools.campaign.engine.flash_state import PIECE
from tallystick.tools.campaign.engine.line import split
from tallystick.tools.campaign.engine.subject import Node, ViolationError


def thorough(node: Node, program_unit: int) -> bool:
    """After clean cuts of a scenario, and on worn flash, a card is judged from all sides and
    started four times; of the others a few are. Where a record is many programs, a clean cut
    between two of them is one in eight times such a cut, else a torn record like others.
    """
    variant = split(node.path[-1])[1]
    if len(node.path) == 1 and variant in ("f", faults.END):
        return True
    if len(node.path) == 1 and faults.clean(variant):
        return program_unit >= PIECE or node.digest[0] % 8 == 0
    return node.digest[0] == 0


def cut_at_rest(node: Node) -> bool:
    """Weak bits read differently at the next start: after all first cuts, and a part of others."""
    if not node.flash.weak or split(node.path[-1])[1] == faults.END:
        return False
    return len(node.path) == 1 or node.digest[2] % 4 == 0


def judge(rig: CardRig, kind: str, node: Node) -> None:
    """Starts the card and looks. Raises ViolationError."""
    try:
        _judge(rig, kind, node)
    except ViolationError as violation:
        if violation.kind != "mute" or not _has_nothing_to_lose(node):
            raise


def _has_nothing_to_lose(node: Node) -> bool:
    """A card that never left the factory's state, with a sector that wore out at its first write:
    it may say DAMAGED, and does not leave the factory (docs/findings/powercuts.md)."""
    known, new = node.known, KnownCard()
    assert isinstance(known, KnownCard)
    untouched = (known.credentials, known.life_cycles, known.keys) == (
        new.credentials, new.life_cycles, new.keys,
    )  # fmt: skip
    return bool(node.flash.worn) and untouched


def _judge(rig: CardRig, kind: str, node: Node) -> None:
    digest = node.digest
    from_all_sides = thorough(node, rig.card.board.flash_timing.program_unit)
    # A cell that comes back and a press later: two starts. A press that wakes a card whose last
    # sleep was not in order: recovery and code in one.
    at_once = digest[1] % 8 != 0 and not from_all_sides
    _look_at(rig, kind, at_once=at_once)
    if from_all_sides:
        _second_start(rig)


def _look_at(rig: CardRig, kind: str, *, at_once: bool) -> None:
    if kind == "wire":
        rig.start(docked=True)
        _ask(rig)
        if rig.oracle.may_have_code():
            _need_code(rig, rig.press_on_dock())
    elif at_once:
        _need_code(rig, rig.press_after_bad_sleep())
    else:
        rig.start()
        _need_code(rig, rig.press_quickly())


def _need_code(rig: CardRig, code: str | None) -> None:
    if code is None and rig.oracle.needs_code():
        raise ViolationError("dead", "a press showed no code")


def _ask(rig: CardRig) -> str:
    """What the card says over the wire; returns its key set."""
    rig.oracle.life_cycle(rig.ask_life_cycle())
    keys = rig.key_set()
    rig.oracle.key_set(keys)
    rig.oracle.credential(rig.ask_credential())
    return keys


def _second_start(rig: CardRig) -> None:
    """Power off and on, everything through the real reset; then the station finishes its job."""
    rig.stop()
    rig.start(full=True)
    if rig.oracle.needs_code():
        _need_code(rig, rig.press())
    rig.connect()
    keys = _ask(rig)
    if keys == NO_KEYS:
        return
    other = "firm2" if keys == "firm1" else "firm1"
    rig.put_key(keys, other, max(LifeCycle.INITIALIZED, LifeCycle(rig.ask_life_cycle())))
    if not rig.oracle.needs_code():
        rig.put_seed(other, "C")
    elif rig.known.names != (NAME,):
        rig.rename(other, NAME)
    if rig.ask_life_cycle() < LifeCycle.SECURED:
        rig.set_status(other, LifeCycle.SECURED)
    rig.undock()
    _need_code(rig, rig.press())
    rig.lose_power()
    rig.start(docked=True)
    _ask(rig)
