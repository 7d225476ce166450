"""The shortest way to a failure: fewer cuts, cleaner cuts, earlier operations."""

from __future__ import annotations

from dataclasses import dataclass

from tallystick import faults
from tallystick.common.errors import BadInputError
from tallystick.tools.campaign.engine.explore import explore, record
from tallystick.tools.campaign.engine.line import Line, no_line, split
from tallystick.tools.campaign.engine.subject import Node, Subject, ViolationError


@dataclass(frozen=True)
class Reproduction:
    """`line` replays it. operations: changes of flash until the last cut; cuts: power cuts."""

    line: str
    cuts: int
    operations: int
    kind: str
    what: str


def weight(path: tuple[str, ...]) -> tuple[int, int, int]:
    """Less is shorter."""
    steps = [split(step) for step in path]
    torn = sum(not faults.clean(variant) for _, variant in steps)
    return len(path), torn, sum(index for index, _ in steps)


_ALL = 1 << 20  # cuts of a recovery: all that a campaign may have drawn from


def shrink(subject: Subject, line: str) -> Reproduction:
    """The shortest reproduction in the scenario of `line`. Raises BadInputError when it is none, or
    does not fail any more."""
    failing = Line.parse(line)
    board, seed = failing.board, failing.seed
    failing.steps()
    try:
        scenario = subject.scenario(failing.scenario)
    except KeyError:
        raise no_line(line) from None
    rig = subject.rig(scenario.start)
    try:
        try:
            recorded = record(subject, rig, scenario, seed)
        except ViolationError as error:
            return Reproduction(
                str(Line(board, failing.scenario, seed)), 0, 0, error.kind, str(error)
            )
        candidates = sorted(recorded.nodes, key=lambda node: weight(node.path))
        first = failing.path
        for node in candidates:
            if len(first) == 1 and weight(node.path) > weight(first):
                break
            outcome = explore(subject, rig, node, scenario, seed, deeper=0)
            if outcome.violation is not None:
                return _told(board, seed, node, outcome.violation)
        found = [node for node in recorded.nodes if node.path == first[:1]]
        while found:
            parent = found[0]
            outcome = explore(subject, rig, parent, scenario, seed, deeper=_ALL)
            if outcome.violation is not None:
                return _told(board, seed, parent, outcome.violation)
            step = first[: len(parent.path) + 1]
            found = [node for node in outcome.children if node.path == step]
        raise BadInputError(
            f"{line} does not fail any more.", todo="Use the firmware that the line came from."
        )
    finally:
        rig.close()


def _told(board: str, seed: int, node: Node, violation: tuple[str, str]) -> Reproduction:
    line = str(Line(board, node.scenario, seed, node.path))
    operations = sum(split(step)[0] + 1 for step in node.path)
    return Reproduction(line, len(node.path), operations, *violation)
