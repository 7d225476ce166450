"""One state: put it into the flash, let the device start, and judge what it does."""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tallystick import faults
from tallystick.emulator.parts.nor_flash import FlashOperation
from tallystick.tools.campaign.engine.subject import (
    Fault,
    Node,
    PowerGoneError,
    Rig,
    Scenario,
    Subject,
    ViolationError,
)


@dataclass(frozen=True)
class Violation:
    """`line` replays it."""

    line: str
    kind: str
    what: str


@dataclass
class Explored:
    """violation: its kind and what was seen; None when all was well. children: what cuts in this
    run would leave. offered: for each of its operations, the cuts that children were chosen from;
    rests: whether the last child is a cut at rest."""

    violation: tuple[str, str] | None
    children: list[Node]
    offered: tuple[int, ...] = ()
    rests: bool = False


def cut_states(
    rig: Rig,
    scenario: str,
    path: tuple[str, ...],
    index: int,
    operation: FlashOperation,
    chosen: Iterator[str],
) -> Iterator[Node]:
    """The states that faults of this operation leave. To be called before it is carried out."""
    known = rig.known.after_cut()
    sector = operation.address & -rig.range.flash.timing.sector
    worn = frozenset(at - rig.range.first for at in rig.worn)
    for variant in chosen:
        left = faults.apply(variant, operation)
        now_worn = worn | {sector - rig.range.first} if variant == "f" else worn
        at, content = operation.address, left.content
        bits = faults.flipped_bits(variant)
        if bits:
            if rig.settled is None:
                continue  # nothing was written before
            at, content = rig.settled, rig.flipped(bits)
        reread = _reading(path, f"{index} {variant}")
        flash = rig.range.with_change(at, content, left.weak, now_worn, reread)
        yield Node(scenario, (*path, f"{index}{variant}"), flash, known)


def _reading(path: tuple[str, ...], step: str) -> Callable[[], int]:
    """How bits that are weak by then read after this step: as ones, as zeros, or mixed."""
    rng = random.Random(f"{path} {step}")
    readings: tuple[Callable[[], int], ...] = (
        lambda: 0,
        lambda: 1,
        lambda: rng.getrandbits(1),
    )
    return rng.choice(readings)


def end_state(rig: Rig, scenario: str, path: tuple[str, ...], operations: int) -> Node:
    """The scenario, or the recovery from the cuts of `path`, is over after so many operations, and
    power is cut while nothing is written: what is weak reads differently."""
    rig.look()
    step = f"{operations}{faults.END}"
    worn = frozenset(at - rig.range.first for at in rig.worn)
    flash = rig.range.capture(worn, _reading(path, step))
    return Node(scenario, (*path, step), flash, rig.known.after_cut())


@dataclass
class Recorded:
    """A scenario's run. `nodes`: what cuts leave. `operations`: all that changed flash."""

    operations: list[FlashOperation]
    nodes: list[Node]


def record(
    subject: Subject, rig: Rig, scenario: Scenario, seed: int, *, full: bool = True
) -> Recorded:
    """Runs a scenario without a fault, and works out what every fault would leave. Raises
    ViolationError when it goes wrong all by itself."""
    recorded = Recorded([], [])
    subject.begin(rig, scenario, seed)

    def note(operation: FlashOperation) -> None:
        index = len(recorded.operations)
        recorded.operations.append(operation)
        rng = random.Random(f"{seed} {scenario.name} {index}")
        chosen = list(faults.variants(operation, rng, full))
        if scenario.rots:
            chosen += faults.rotten(operation, rng)
        recorded.nodes.extend(cut_states(rig, scenario.name, (), index, operation, iter(chosen)))

    rig.on_operation = note
    try:
        scenario.run(rig)
        recorded.nodes.append(end_state(rig, scenario.name, (), len(recorded.operations)))
    except PowerGoneError:
        raise ViolationError("power", "the power went although nobody cut it") from None
    finally:
        rig.on_operation = None
        rig.device.mcu.power_off()
    return recorded


def explore(
    subject: Subject,
    rig: Rig,
    node: Node,
    scenario: Scenario,
    seed: int,
    *,
    deeper: int,
    on_operation: Callable[[int, FlashOperation], Fault] | None = None,
) -> Explored:
    """Lets the device of `node` start, and judges it. `deeper`: how many states that further cuts
    would leave to work out; `on_operation` sees each flash operation with its number, and may
    answer with a fault."""
    outcome = Explored(None, [])
    resting: list[Node] = []
    subject.resume(rig, node)
    second = _Sample(rig, node, seed, deeper)
    count = 0

    def note(operation: FlashOperation) -> Fault:
        nonlocal count
        index = count
        count += 1
        if deeper:
            second.offer(index, operation)
        return on_operation(index, operation) if on_operation is not None else None

    rig.on_operation = note
    try:
        subject.judge(rig, scenario, node)
        if subject.cut_at_rest(node):
            resting.append(end_state(rig, node.scenario, node.path, count))
    except ViolationError as violation:
        outcome.violation = (violation.kind, str(violation))
    except PowerGoneError:
        outcome.violation = ("power", "the power went although nobody cut it")
    finally:
        rig.on_operation = None
        rig.device.mcu.power_off()
    outcome.children = second.nodes() + resting
    outcome.offered = tuple(second.offered)
    outcome.rests = bool(resting)
    return outcome


class _Sample:
    """Of all cuts of a recovery those whose hash is smallest: which ones does not depend on how
    many there turn out to be, and no other state has to be worked out."""

    def __init__(self, rig: Rig, parent: Node, seed: int, size: int) -> None:
        self._rig = rig
        self._parent = parent
        self._key = f"{seed} {parent.digest.hex()}"
        self._size = size
        self._kept: list[tuple[int, int, list[Node]]] = []  # by hash, the largest first
        self.offered: list[int] = []  # for each operation

    def offer(self, index: int, operation: FlashOperation) -> None:
        """To be called before the operation is carried out."""
        drawn = self._draw(index, operation)
        self.offered.append(min(len(drawn), _CUTS_OF_AN_OPERATION))
        name = f"{self._key} {index}".encode()
        hashed = hashlib.blake2b(name, digest_size=6 * _CUTS_OF_AN_OPERATION).digest()
        for number in range(self.offered[-1]):
            rank = -int.from_bytes(hashed[6 * number : 6 * number + 6])
            if len(self._kept) == self._size and rank < self._kept[0][0]:
                continue
            nodes = list(self._states(index, operation, drawn[number]))
            push = heapq.heappush if len(self._kept) < self._size else heapq.heapreplace
            push(self._kept, (rank, index * _CUTS_OF_AN_OPERATION + number, nodes))

    def nodes(self) -> list[Node]:
        return [node for _, _, nodes in sorted(self._kept, reverse=True) for node in nodes]

    def _draw(self, index: int, operation: FlashOperation) -> list[str]:
        rng = random.Random(f"{self._key} {index}")
        found = list(faults.variants(operation, rng, full=False))
        if self._rig.settled is None:  # nothing was written before that could rot
            found = [variant for variant in found if not faults.flipped_bits(variant)]
        rng.shuffle(found)
        return found

    def _states(self, index: int, operation: FlashOperation, variant: str) -> Iterator[Node]:
        parent = self._parent
        return cut_states(
            self._rig, parent.scenario, parent.path, index, operation, iter([variant])
        )


_CUTS_OF_AN_OPERATION = 4  # of a recovery, at most
