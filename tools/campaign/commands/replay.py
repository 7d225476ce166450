"""`tally campaign replay LINE`: back to the instant that a line (`engine/line`) names."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click

from tallystick import faults
from tallystick.common.console import err, json_option, out, print_json
from tallystick.common.errors import BadInputError, ExitCode
from tallystick.emulator.interpreter.link import LinkClosedError
from tallystick.emulator.parts.nor_flash import Cut, FlashOperation, Phase
from tallystick.tools.campaign.commands.subjects import subject
from tallystick.tools.campaign.commands.zoo import find as find_animal
from tallystick.tools.campaign.engine.explore import cut_states, end_state, explore
from tallystick.tools.campaign.engine.flash_state import PIECE
from tallystick.tools.campaign.engine.line import Line, no_line
from tallystick.tools.campaign.engine.shrink import shrink as shortest
from tallystick.tools.campaign.engine.subject import (
    Node,
    PowerGoneError,
    Rig,
    Subject,
    ViolationError,
)

FIRM_FOLDER = Path("build/campaign/replay")


@dataclass
class Replayed:
    """before, after: the records around the last cut, in hexadecimal, by address. reached_in_ms:
    from the start of the scenario to the instant of the last cut. verdict: what the oracle says of
    the card that starts then; empty when all is well."""

    line: str
    operation: str = ""
    fault: str = ""
    before: dict[str, str] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)
    weak_bits: int = 0
    trace: list[str] = field(default_factory=list)
    trace_after: list[str] = field(default_factory=list)
    reached_in_ms: float = 0.0
    kind: str = ""
    verdict: str = ""


class Replay:
    """One line, on a workshop of its firmware. Raises BadInputError for a line that is none."""

    def __init__(self, subject: Subject, line: str) -> None:
        self.line = line
        self.subject = subject
        named = Line.parse(line)
        self.path, self.seed, self._steps = named.path, named.seed, named.steps()
        try:
            self.scenario = subject.scenario(named.scenario)
        except KeyError:
            raise no_line(line) from None
        self.rig: Rig = subject.rig(self.scenario.start)
        subject.begin(self.rig, self.scenario, self.seed)  # what it needs is made now
        self.result = Replayed(line)
        self.reached: Node | None = None  # what the last cut left

    def close(self) -> None:
        self.rig.close()

    def go(self, *, at_cut: bool = False) -> Replayed:
        """Runs to the last cut, and on from there until the oracle has judged. `at_cut`: stops with
        the firmware waiting for the last operation's answer, for a prompt."""
        began = time.perf_counter()
        node = None
        for number in range(len(self._steps)):
            last = number == len(self._steps) - 1
            node = self._cut(node, number, hold=at_cut and last)
            if last:
                self.reached = node
                self.result.reached_in_ms = round((time.perf_counter() - began) * 1000, 1)
                self.result.trace = self._trace()[-25:]
        if at_cut:
            return self.result
        self._judge(node)
        return self.result

    def _cut(self, node: Node | None, number: int, *, hold: bool) -> Node:
        """Lets the scenario (or the recovery of `node`) run to an operation, and cuts there, for
        real."""
        wanted, variant = self._steps[number]
        rig = self.rig
        found: list[Node] = []
        count = 0

        def plan(operation: FlashOperation) -> Cut | None:
            nonlocal count
            count += 1
            if count - 1 != wanted:
                return None
            step = self.path[:number]
            found.extend(
                cut_states(rig, self.scenario.name, step, wanted, operation, iter([variant]))
            )
            self._note(operation, variant)
            left = faults.apply(variant, operation)
            bits = faults.flipped_bits(variant)
            if bits and rig.settled is not None:
                rig.device.flash.load(rig.settled, rig.flipped(bits))
            if hold:
                raise _HoldError
            return Cut(Phase.DURING, left.content, left.weak)

        try:
            if node is None:
                self.subject.begin(rig, self.scenario, self.seed)
                rig.on_operation = plan
                self.scenario.run(rig)
                if variant == faults.END:
                    found.append(end_state(rig, self.scenario.name, (), count))
                    self.result.fault = "cut when all is done"
            else:
                explore(
                    self.subject,
                    rig,
                    node,
                    self.scenario,
                    self.seed,
                    deeper=0,
                    on_operation=lambda _index, operation: plan(operation),
                )
                if variant == faults.END:
                    found.append(end_state(rig, node.scenario, node.path, count))
                    self.result.fault = "cut when all is done, once more"
        except (PowerGoneError, ViolationError):
            pass
        finally:
            rig.on_operation = None
        if not found:
            raise BadInputError(
                f"{self.line} names operation {wanted}, which this firmware does not come to.",
                todo="Use the firmware that the line came from.",
            )
        return found[0]

    def _note(self, operation: FlashOperation, variant: str) -> None:
        left = faults.apply(variant, operation)
        size = len(operation.old)
        at = operation.address - self.rig.range.first
        self.result.operation = f"{operation.kind} of {size} bytes at {at:#x} of the journal"
        self.result.fault = f"{variant}: cut {faults.phase(variant)}"
        self.result.before = _pieces(at, operation.old)
        self.result.after = _pieces(at, left.content)
        self.result.weak_bits = len(left.weak)

    def _judge(self, node: Node | None) -> None:
        if node is None:
            self.subject.begin(self.rig, self.scenario, self.seed)
            try:
                self.scenario.run(self.rig)
            except ViolationError as error:
                self.result.kind, self.result.verdict = error.kind, str(error)
            self.result.trace = self._trace()[-25:]
            return
        outcome = explore(self.subject, self.rig, node, self.scenario, self.seed, deeper=0)
        if outcome.violation is not None:
            self.result.kind, self.result.verdict = outcome.violation
        self.result.trace_after = self._trace()[:40]

    def _trace(self) -> list[str]:
        return [
            f"{event.time_us:>12} {event.source} {event.kind} {event.detail}".rstrip()
            for event in self.rig.device.trace.events
        ]


class _HoldError(Exception):
    """The firmware stays where it is, waiting for an answer."""


def _pieces(at: int, content: bytes) -> dict[str, str]:
    """Pieces that hold something, by address."""
    found = {}
    for offset in range(0, len(content), PIECE):
        piece = content[offset : offset + PIECE]
        if piece.strip(b"\xff"):
            found[f"{at + offset:#x}"] = piece.rstrip(b"\xff").hex()
    return found


def prompt(replay: Replay, side: str) -> None:
    """A prompt in the firmware's own process: `before`, where it waits for the answer to the last
    operation; `after`, where it first waits once it has started again. Raises BadInputError."""
    device = replay.rig.device
    if side == "before":
        with suppress(_HoldError):
            replay.go(at_cut=True)
    else:
        replay.go()
        device.mcu.power_off()
        replay.rig.power_for_prompt()
    link = device.mcu.link
    if link is None:
        raise BadInputError("The firmware has no process there.", todo="Use the other side.")
    err().print(
        f"MicroPython of {device.board.name}, {side} the cut. import board, {device.board.device}"
        ".store …; "
        "an empty line ends."
    )
    while True:
        err().print(">>> ", end="")
        line = sys.stdin.readline().rstrip("\n")
        if not line:
            return
        try:
            answer = link.prompt(line)
        except LinkClosedError:
            err().print("the firmware's process ended")
            return
        if answer:
            out().print(answer, markup=False)


@click.command()
@click.argument("line")
@click.option(
    "--prompt",
    "side",
    type=click.Choice(("before", "after")),
    help="A prompt in the firmware, on this side of the cut.",
)
@click.option("--zoo", "animal", metavar="NAME", help="The firmware is this animal of the zoo.")
@click.option(
    "--firmware",
    "root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Another firmware folder.",
)
@click.option("--shrink", is_flag=True, help="Look for the shortest line that fails like this.")
@click.option("--at", "until", metavar="INSTANT", help="Of a firm: stop there; 'day 3, 09:14'.")
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER",
              help="Of a firm: where everything is left to look at.")  # fmt: skip
@click.option("--serve", "port", type=click.IntRange(0, 65535), metavar="PORT",
              help="Of a firm: its pages as they were; 0 chooses a port.")  # fmt: skip
@json_option
def replay(
    *, line: str, side: str | None, animal: str | None, root: Path | None, shrink: bool,
    until: str | None, keep: Path | None, port: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Go to the instant that LINE names, show flash and trace on both sides, and judge.

    A firm's line (`tally campaign firm`) is played to its violation, or until --at. The folder then
    holds its story, each card's flash and glass, the server's database, and a README that says what
    to open.
    """
    if line.strip().partition(",")[0] == "firm":
        if side is not None or root is not None or shrink:
            raise BadInputError(
                "A firm's line takes --at, --keep, --serve and --zoo.",
                todo="`tally campaign firm` shortens what it finds by itself.",
            )
        from tallystick.tools.campaign.firm.command import replay_firm  # noqa: PLC0415 (large)

        replay_firm(line, until, keep or FIRM_FOLDER, animal, port, as_json=as_json)
        return
    if until is not None or keep is not None or port is not None:
        raise BadInputError(
            "--at, --keep and --serve are for a firm's line.",
            todo="`tally campaign firm` prints such lines.",
        )
    board = Line.parse(line).board
    if animal is not None:
        with find_animal(animal).firmware() as folder:
            tested = subject(board, folder)
    else:
        tested = subject(board, root, readable=side is not None)
    if shrink:
        line = shortest(tested, line).line
    one = Replay(tested, line)
    try:
        if side is not None:
            prompt(one, side)
            return
        result = one.go()
    finally:
        one.close()
    if as_json:
        print_json(asdict(result))
    else:
        _show(result)
    if result.kind:
        raise SystemExit(ExitCode.FAILED)


def _show(result: Replayed) -> None:
    console = out()
    console.print(f"{result.line}: {result.operation}, {result.fault}")
    console.print(f"reached in {result.reached_in_ms} ms; {result.weak_bits} weak bits")
    for title, rows in (
        ("trace before, µs", result.trace),
        ("trace after, µs", result.trace_after),
    ):
        if rows:
            console.print(title)
            for row in rows:
                console.print(f"  {row}", markup=False)
    for title, pieces in (("flash before", result.before), ("flash after", result.after)):
        console.print(title)
        for address, content in pieces.items():
            console.print(f"  {address:>8}  {content}", markup=False)
    if result.kind:
        console.print(f"[red]{result.kind}[/] {result.verdict}")
    else:
        console.print("no violation")
