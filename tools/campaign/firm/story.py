"""A violation as a short story: the fewest acts that still lead to it, and a line that replays
them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tallystick.common.errors import BadInputError
from tallystick.emulator.devices.image import Image
from tallystick.tools.campaign.firm.run import FirmResult, simulate
from tallystick.tools.campaign.firm.script import (
    FirmAct,
    Level,
    Mishap,
    SimulatedFirm,
    Verb,
    script,
)

_NAME = "firm"
_WHOLE = 60  # all tries together cost as much as the whole script so often
_START = 10  # acts that a try costs by itself


@dataclass(frozen=True)
class FirmLine:
    """`firm,cards=20,days=7,faults=high,seed=3,acts=1-4-77`. acts: None for all."""

    firm: SimulatedFirm
    acts: tuple[int, ...] | None = None

    def __str__(self) -> str:
        firm = self.firm
        words = [_NAME, f"cards={firm.cards}", f"readers={firm.readers}", f"days={firm.days}"]
        words += [f"faults={firm.level.value}", f"seed={firm.seed}"]
        if self.acts is not None:
            words.append("acts=" + "-".join(map(str, self.acts)))
        return ",".join(words)

    @classmethod
    def parse(cls, text: str) -> FirmLine:
        """Raises BadInputError."""
        name, *words = (word.strip() for word in text.strip().split(","))
        said = dict(word.partition("=")[::2] for word in words)
        try:
            if name != _NAME or len(said) != len(words):
                raise ValueError
            numbers = {key: int(said.pop(key)) for key in ("cards", "readers", "days", "seed")}
            firm = SimulatedFirm(**numbers, level=Level(said.pop("faults")))
            acts = said.pop("acts", None)
            chosen = None if acts is None else tuple(int(one) for one in acts.split("-"))
            fits = 1 <= firm.cards <= 10_000 and 0 <= firm.readers <= 1_000
            if said or not (fits and 1 <= firm.days <= 3660):
                raise ValueError
        except (KeyError, ValueError):
            raise BadInputError(
                f"{text!r} is no line of this campaign.",
                todo="Copy one whole, as a violation shows it: "
                f"{cls(SimulatedFirm(), (0, 5))} is one.",
            ) from None
        return cls(firm, chosen)

    @property
    def script(self) -> list[FirmAct]:
        """Raises BadInputError for acts that the script has not."""
        whole = script(self.firm)
        if self.acts is None:
            return whole
        if any(number not in range(len(whole)) for number in self.acts):
            raise BadInputError(
                f"The script of this firm has {len(whole)} acts, and the line names others.",
                todo="Use the version of Tallystick that the line came from.",
            )
        return [whole[number] for number in sorted(set(self.acts))]


@dataclass(frozen=True)
class FirmStory:
    """line: replays it. told: what happens in it; acts: how many it needs."""

    line: FirmLine
    acts: int
    what: str
    told: tuple[str, ...]


def shrink(
    firm: SimulatedFirm,
    failed: FirmResult,
    image: Image,
    on_try: Callable[[int], None] = lambda left: None,
) -> FirmStory:
    """The shortest story that was found for the first violation of a result."""
    what = _kind(failed.violations[0])
    last = max(one.number for one in failed.told)
    acts = [act for act in script(firm) if act.number <= last or _at_the_end(failed)]
    best, left = failed, _WHOLE * (len(acts) + _START)

    def fails(chosen: Sequence[FirmAct]) -> bool:
        nonlocal best, left
        if left <= 0:
            return False
        left -= len(chosen) + _START
        on_try(len(chosen))
        result = simulate(firm, chosen, image=image)
        if not any(_kind(one) == what for one in result.violations):
            return False
        best = result
        return True

    acts = _without_bystanders(acts, failed, fails)
    acts = _fewer(acts, fails)
    line = FirmLine(firm, tuple(act.number for act in acts))
    told = tuple(map(str, best.told)) or tuple(best.violations)
    return FirmStory(line, len(acts), best.violations[0], told)


def _at_the_end(failed: FirmResult) -> bool:
    """Found when the firm had come to rest, not at an act."""
    return not any(one.words.startswith("VIOLATION") for one in failed.told)


def _kind(what: str) -> str:
    """A violation without its numbers and names."""
    return re.sub(r"TS\d+|\bp\d{4}\b|\d+", "#", what)


def _without_bystanders(
    acts: list[FirmAct], failed: FirmResult, fails: Callable[[Sequence[FirmAct]], bool]
) -> list[FirmAct]:
    """At first only what the sentence names: whose card, whose login. Then what goes wrong besides,
    which is nobody's."""
    named = {
        int(number) - 1 for number in re.findall(r"(?:TS0*|\bp0*)([1-9]\d*)", failed.violations[0])
    }
    their = {act for act in acts if act.who in named and act.what not in (Verb.SWEEP, Verb.SHIFT)}
    wrong = {act for act in acts if act.what in set(Mishap)}
    for chosen in (their, their | wrong) if named else ():
        few = [act for act in acts if act in chosen]
        if fails(few):
            return few
    return acts


def _fewer(acts: list[FirmAct], fails: Callable[[Sequence[FirmAct]], bool]) -> list[FirmAct]:
    """Delta debugging (Zeller and Hildebrandt, 2002): halves, quarters, … are left out."""
    parts = 2
    while len(acts) > 1:
        size = -(-len(acts) // parts)
        for begin in range(0, len(acts), size):
            rest = acts[:begin] + acts[begin + size :]
            if rest and fails(rest):
                acts, parts = rest, max(parts - 1, 2)
                break
        else:
            if size == 1:
                break
            parts = min(len(acts), parts * 2)
    return acts
