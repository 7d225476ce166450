"""`tally campaign audit FILE`: was anything left out?

Counts again what the record of a campaign (docs/findings/powercuts.md) says was covered. Nothing of
the engine is used: which faults an operation must have had, which states must have been explored
and how many cuts each of them must have led to is worked out here, from plan and operations.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click

from tallystick.common.console import json_option, out, print_json
from tallystick.common.errors import BadInputError, ExitCode

Row = dict[str, Any]
_STEP = re.compile(r"(\d+)([a-z])")
_SHOWN = 20  # findings on a terminal
# Kinds of faults, and how many of each a changing operation has at least when all are explored.
_ANY = {"b": 1, "a": 1, "s": 1}
_PROGRAM = {"p": 1, "n": 3, "x": 3}
_ERASE = {"t": 3, "n": 3, "w": 3, "x": 9}
_AT_A_PAGE = {"f": 1}
_ROT = {"v": 6}  # of the record that the scenario wrote before; one that failed is written over
_PAGE = 256


@dataclass
class Audit:
    """What `--json` prints. findings: what is missing or does not add up, in words; none: the
    record is whole."""

    file: str
    scenarios: int = 0
    operations: int = 0
    cuts: int = 0
    states: int = 0
    explored: int = 0
    findings: list[str] = field(default_factory=list)


@dataclass
class _State:
    """Of the first cut that left it. left: cuts that may follow."""

    scenario: str
    depth: int
    left: int
    at: str


def audit_record(file: Path) -> Audit:
    """Raises BadInputError for a file that is no record."""
    return _Auditor(file).audit


class _Auditor:
    def __init__(self, file: Path) -> None:
        self.audit = Audit(str(file))
        rows = list(self._rows(file))
        if not rows or "campaign" not in rows[0] or "plan" not in rows[0]:
            raise BadInputError(
                f"{file} is no record of a campaign.",
                todo="They are in build/campaign/, named after boards, and end with .jsonl.",
            )
        self._plan: Row = rows[0]["plan"]
        self._known: dict[str, _State] = {}
        self._first: Counter[str] = Counter()  # scenario → states of first cuts
        self._states: Counter[str] = Counter()
        self._cuts: Counter[str] = Counter()
        self._operations: Counter[str] = Counter()
        self._violations = 0
        self._scenarios([row for row in rows if "scenario" in row])
        self._explored([row for row in rows if "state" in row])
        self._end([row for row in rows if "end" in row], rows[-1])
        one = self.audit
        one.scenarios, one.operations = len(self._operations), self._operations.total()
        one.cuts, one.states = self._cuts.total(), len(self._known)

    def _finding(self, what: str) -> None:
        self.audit.findings.append(what)

    def _rows(self, file: Path) -> Iterator[Row]:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                self._finding(f"line {number} is no row: the record is cut off or damaged")
                continue
            yield row

    # -- first cuts ----------------------------------------------------------------------------

    def _scenarios(self, rows: list[Row]) -> None:
        names = [row["scenario"] for row in rows]
        for name in self._plan["scenario_names"]:
            if names.count(name) != 1:
                self._finding(f"scenario {name} is there {names.count(name)} times, not once")
        for row in rows:
            name = row["scenario"]
            self._operations[name] = len(row["operations"])
            if "violation" in row:
                self._violations += 1
                continue
            self._kinds(row)
            for step, digest in row["roots"]:
                self._cut(digest, _State(name, 1, self._plan["depth"] - 1, f"{name}/{step}"))
            self._first[name] = self._states[name]

    def _kinds(self, row: Row) -> None:
        """Whether every operation was cut in every way that it must have been."""
        there: Counter[tuple[int, str]] = Counter()
        for step, _ in row["roots"]:
            match = _STEP.match(step)
            if match is None:
                self._finding(f"{row['scenario']}: {step!r} is no step")
                continue
            there[int(match[1]), match[2]] += 1
        written: set[int] = set()
        for index, (kind, size, address, changes) in enumerate(row["operations"]):
            rots = bool(written - {address})
            if kind == "program" and changes:
                written.add(address)
            for fault, least in self._wanted(kind, size, address, changes, rots=rots).items():
                if there[index, fault] < least:
                    self._finding(
                        f"{row['scenario']}: operation {index} has {there[index, fault]} faults "
                        f"{fault!r}, of at least {least}"
                    )
        if there[len(row["operations"]), "e"] != 1:
            self._finding(f"{row['scenario']}: no cut when all was over")

    def _wanted(
        self, kind: str, size: int, address: int, changes: int, *, rots: bool
    ) -> dict[str, int]:
        clean = {"b": 1, "a": 1}
        if not changes or self._plan["sample"] < 1:
            return clean
        wanted = _ANY | (_ERASE if kind == "erase" else _PROGRAM)
        if size == 1:
            wanted.pop("p", None)
        if address % _PAGE == 0:
            wanted |= _AT_A_PAGE | (_ROT if rots else {})
        return wanted

    def _cut(self, digest: str, state: _State) -> None:
        self._cuts[state.scenario] += 1
        if digest not in self._known:
            self._known[digest] = state
            self._states[state.scenario] += 1

    # -- what was explored ---------------------------------------------------------------------

    def _explored(self, rows: list[Row]) -> None:
        explored: Counter[str] = Counter()
        for row in rows:
            digest = row["state"]
            explored[digest] += 1
            state = self._known.get(digest)
            if state is None:
                self._finding(f"{row['at']}: explored, but no line has a cut that leaves it")
                continue
            if state.at != row["at"]:
                self._finding(f"{row['at']}: was first left by {state.at}")
            self._children(row, state)
        self.audit.explored = explored.total()
        for digest, state in self._known.items():
            if not explored[digest]:
                self._finding(f"{state.at}: left by a cut, never explored")
            elif explored[digest] > 1:
                self._finding(f"{state.at}: explored {explored[digest]} times")

    def _children(self, row: Row, state: _State) -> None:
        if "violation" in row:
            self._violations += 1
            if row["children"]:
                self._finding(f"{row['at']}: a violation has no further cuts")
            return
        wanted = min(self._share(row["state"], state), sum(row["offered"])) + row["rests"]
        if len(row["children"]) != wanted:
            self._finding(f"{row['at']}: {len(row['children'])} further cuts, not {wanted}")
        for step, digest in row["children"]:
            below = _State(
                state.scenario, state.depth + 1, max(0, state.left - 1), f"{row['at']}/{step}"
            )
            self._cut(digest, below)

    def _share(self, digest: str, state: _State) -> int:
        """How many cuts in its recovery the plan has for a state."""
        if state.left == 0:
            return 0
        deeper, third = int(self._plan["deeper"]), int(self._plan["third"])
        if state.depth == 1:
            first = max(1, self._first[state.scenario])
            return -(-deeper // first)
        return 1 if bytes.fromhex(digest)[3] * deeper < 256 * third else 0

    # -- the counts ----------------------------------------------------------------------------

    def _end(self, rows: list[Row], last: Row) -> None:
        if len(rows) != 1 or "end" not in last:
            self._finding("the record has no end: the campaign was stopped")
            return
        counted = {
            name: {
                "operations": self._operations[name],
                "cuts": self._cuts[name],
                "states": self._states[name],
            }
            for name in self._plan["scenario_names"]
        }
        digests = b"".join(sorted(bytes.fromhex(digest) for digest in self._known))
        sums = {
            "cuts": self._cuts.total(),
            "states": len(self._known),
            "violations": self._violations,
            "digest": hashlib.blake2b(digests, digest_size=16).hexdigest(),
        }
        for name, counts in counted.items():
            if last["end"].get(name) != counts:
                self._finding(f"{name}: {last['end'].get(name)} written at the end, not {counts}")
        for name, value in sums.items():
            if last.get(name) != value:
                self._finding(f"{name}: {last.get(name)} written at the end, counted {value}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@json_option
def audit(*, file: Path, as_json: bool) -> None:
    """Count again what FILE, the record of a campaign, says was covered.

    Exit status 0 only when no state, no cut and no kind of fault is missing.
    """
    found = audit_record(file)
    if as_json:
        print_json(asdict(found))
    else:
        console = out()
        console.print(
            f"{found.scenarios} scenarios, {found.operations} operations, {found.cuts} cuts, "
            f"{found.states} states, {found.explored} explored"
        )
        for finding in found.findings[:_SHOWN]:
            console.print(f"[red]missing[/] {finding}")
        more = len(found.findings) - _SHOWN
        count = len(found.findings) or "no"
        said = f"{count} finding{'' if count == 1 else 's'}"
        console.print(said + (f", {more} not shown" if more > 0 else ""))
    if found.findings:
        raise SystemExit(ExitCode.FAILED)
