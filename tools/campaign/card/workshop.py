"""Cards in the states that scenarios start from, made by running the firmware of an image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from tallystick.emulator.devices.image import Image
from tallystick.tools.campaign.card.by_hand import with_counts, with_spoiled
from tallystick.tools.campaign.card.judge import cut_at_rest, judge
from tallystick.tools.campaign.card.oracle import CardOracle, KnownCard
from tallystick.tools.campaign.card.rig import SEEDS, CardRig
from tallystick.tools.campaign.card.scenarios import COUNTS, REGISTRY, Scenario, Start, provision
from tallystick.tools.campaign.engine.flash_state import FlashState
from tallystick.tools.campaign.engine.subject import Node, image_under_test


@dataclass(frozen=True)
class CardStart:
    """Content of the journal, and what is known of the card."""

    content: bytes
    known: KnownCard


_SPOILED = 12  # slots behind the newest record that may have been whole
_JUMP = 9  # codes that a start skips for them, at most


def _counted(before: CardStart, factor: int, presses: int) -> CardStart:
    reached = tuple((name, factor) for name, _ in before.known.next)
    known = replace(before.known, next=reached, server=reached)
    return CardStart(with_counts(before.content, factor, presses), known)


class CardWorkshop:
    """`image`: of the firmware under test. Bases are made when first asked for."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self._bases: dict[str, CardStart] = {}

    @classmethod
    def of(cls, board: str, root: Path | None = None, *, readable: bool = False) -> CardWorkshop:
        """See `image_under_test`."""
        return cls(image_under_test("card", board, root, readable=readable))

    def base(self, start: Start) -> CardStart:
        if start not in self._bases:
            rig = CardRig(self.image)
            try:
                self._bases[start] = self._make(rig, start)
            finally:
                rig.close()
        return self._bases[start]

    def rig(self, start: Start) -> CardRig:
        """A rig whose states are told by what differs from this start."""
        rig = CardRig(self.image)
        rig.use_base(self.base(start).content)
        rig.prepare()
        return rig

    def scenario(self, name: str) -> Scenario:
        return REGISTRY[name]

    def begin(self, rig: CardRig, scenario: Scenario, seed: int) -> None:
        known = self.base(scenario.start).known
        rig.restore(FlashState(), CardOracle(SEEDS, known), f"{seed}".encode())

    def resume(self, rig: CardRig, node: Node) -> None:
        assert isinstance(node.known, KnownCard)
        rig.restore(node.flash, CardOracle(SEEDS, node.known), node.digest)

    def judge(self, rig: CardRig, scenario: Scenario, node: Node) -> None:
        judge(rig, scenario.judge, node)

    def cut_at_rest(self, node: Node) -> bool:
        return cut_at_rest(node)

    def _make(self, rig: CardRig, start: Start) -> CardStart:
        size = rig.card.board.journal.size
        if start == "factory":
            return CardStart(b"\xff" * size, KnownCard())
        if start == "in service":
            rig.restore(FlashState(), CardOracle(SEEDS), b"workshop")
            provision(rig)
            return self._taken(rig)
        before = self.base("in service")
        if start in COUNTS:
            return _counted(before, *COUNTS[start])
        if start == "spoiled":
            sector = rig.range.flash.timing.sector
            content = with_spoiled(before.content, _SPOILED, sector)
            return CardStart(content, replace(before.known, cuts=_JUMP, far=True))
        rig.use_base(before.content)
        rig.prepare()
        rig.restore(FlashState(), CardOracle(SEEDS, before.known), b"workshop")
        last = [0]
        rig.on_operation = lambda operation: last.__setitem__(0, operation.address)
        rig.start()
        sector = rig.range.flash.timing.sector
        # The start of the scenario writes two records, its first press fills the sector.
        wanted = sector // 256 - 4
        for _ in range(2 * size // 256):
            at = last[0] - rig.range.first
            near = start == "before wrap" or at // sector == size // sector - 1
            slot = at % sector // 256
            if near and slot == wanted:
                break
            if near and slot == wanted - 1:
                rig.press_quickly(slept=True)  # one record
            else:
                rig.lose_power()
                rig.start()  # two
        return self._taken(rig)

    def _taken(self, rig: CardRig) -> CardStart:
        rig.card.mcu.power_off()
        content = rig.range.flash.memory[rig.range.first : rig.range.end]
        return CardStart(content, replace(rig.oracle.known, cuts=0))
