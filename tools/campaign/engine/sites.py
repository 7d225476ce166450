"""Coverage of cuts: every call in the firmware that changes flash, and whether the power was cut
before, during and after the change that it makes.

Which calls there are is read from the sources: what calls the board's `program` or `erase`, what
calls that, and so on. Which of them a flash operation came through is told by the firmware itself:
the scenario is run again, the operation's answer replaced by an exception, and the traceback at the
firmware's top names every caller.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards.board import Board
from tallystick.emulator.parts.nor_flash import FlashOperation
from tallystick.tools import firmware
from tallystick.tools.campaign.engine.subject import (
    PowerGoneError,
    Rig,
    Scenario,
    Subject,
    ViolationError,
)

PHASES = ("before", "during", "after")
# Not of the journal: cut by a campaign of their own.
_UPDATE = "tally campaign update"
_SHARED = dict.fromkeys(("lib/loading.py", "lib/slots.py", "lib/update.py"), _UPDATE)
ELSEWHERE = {
    "card": {
        "card/update.py": _UPDATE,
        "card/loading.py": _UPDATE,
        **_SHARED,
        # Refused once a card has the firm's keys, and holds nothing that a cut could hurt.
        "card/selftest.py": "not cut: bring-up only",
    },
    "reader": {
        "reader/update.py": _UPDATE,
        **_SHARED,
        # The boot record is one; the reader's own are of another kind.
        "lib/journal.py": _UPDATE,
    },
}
# Of a module, single functions: an older firmware's state is brought over in one commit, which
# tests/state/test_devices.py cuts.
_MIGRATING = {"migrate", "_migrate"}
# What an object is, by the name it goes by: modules whose functions others have the names of.
_ROLES: dict[str, dict[str, str]] = {
    "card": {},
    "reader": {
        "store": "reader/store.py",
        "user": "reader/user.py",
        "token": "reader/token.py",
        "protocol": "reader/protocol.py",
        "secret": "reader/protocol.py",
        "shared": "reader/protocol.py",
        "agreement": "reader/protocol.py",
        "sequence": "reader/sequence.py",
        "sensor": "lib/r503.py",
        "_sensor": "lib/r503.py",
        "machine": "",
        "board": "board.py",
    },
}
_FRAME = re.compile(r'File "([\w/]+\.py)", line (\d+)')
_LOWEST = ("program", "erase")
BOARD_MODULE = "board.py"
_CALLED_BACK = {"run", "process", "press"}  # not called by their names


@dataclass(frozen=True, order=True)
class Site:
    """A call. Lines as in the source."""

    file: str
    line: int
    end: int
    call: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.call}"


def static_sites(board: Board) -> set[Site]:
    """Every call, in the modules that are in the board's image, through which flash is changed."""
    trees = {
        source.target: ast.parse(source.path.read_text(encoding="utf-8"))
        for source in firmware.sources(board.device, board)
        if source.target not in ELSEWHERE[board.device]
    }
    roles = _ROLES[board.device]
    changing = {(BOARD_MODULE, name) for name in _LOWEST}
    while True:
        found = {
            (target, name)
            for target, tree in trees.items()
            for name, function in _functions(tree)
            if name not in _CALLED_BACK
            and any(_is_one_of(call, target, changing, roles) for call in _calls(function))
        }
        if found <= changing:
            break
        changing |= found
    return {
        Site(target, call.lineno, call.end_lineno or call.lineno, _called(call))
        for target, tree in trees.items()
        for call in _calls(tree)
        if _is_one_of(call, target, changing, roles) and call not in _migrating(tree)
    }


def _migrating(tree: ast.Module) -> set[ast.Call]:
    within = [call for name, one in _functions(tree) if name in _MIGRATING for call in _calls(one)]
    return {*within, *(call for call in _calls(tree) if _called(call) in _MIGRATING)}


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """(name by which it is called, function): a constructor goes by the name of its class."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name != "__init__":
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, ast.FunctionDef) and member.name == "__init__":
                    yield node.name, member


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    return (one for one in ast.walk(node) if isinstance(one, ast.Call))


def _called(call: ast.Call) -> str:
    function = call.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _is_one_of(
    call: ast.Call, target: str, changing: set[tuple[str, str]], roles: dict[str, str]
) -> bool:
    """Whether a call in module `target` goes to one of these functions, as far as names tell."""
    name = _called(call)
    function = call.func
    if isinstance(function, ast.Attribute):
        owner = ast.unparse(function.value)
        if owner == "self":
            return (target, name) in changing
        role = owner.rpartition(".")[2]
        if role in roles:
            return (roles[role], name) in changing
        if name == "append" and "_journal" not in owner:
            return False  # what lists have
        return any(name == one for _, one in changing)
    imported = name[:1].isupper()
    return (target, name) in changing or (imported and any(name == one for _, one in changing))


def dynamic_sites(
    subject: Subject, scenario: Scenario, seed: int
) -> list[tuple[list[int], list[tuple[str, int]]]]:
    """For each change of flash: the numbers of its operations, and the frames (file, line) that it
    came through. `subject` has a readable image."""
    rig: Rig = subject.rig(scenario.start)
    operations: list[FlashOperation] = []
    try:
        subject.begin(rig, scenario, seed)
        rig.on_operation = operations.append
        scenario.run(rig)
        changes = _changes_of(operations)
        found = []
        for numbers in changes:
            subject.begin(rig, scenario, seed)
            found.append((numbers, _unwound(rig, scenario, numbers[0])))
    finally:
        rig.on_operation = None
        rig.close()
    return found


def _changes_of(operations: list[FlashOperation]) -> list[list[int]]:
    """Operations that belong together: one erase, or programs that follow one another."""
    groups: list[list[int]] = [[0]] if operations else []
    for number, (before, this) in enumerate(pairwise(operations), 1):
        together = (
            this.kind == before.kind == "program"
            and before.address < this.address
            and before.address & ~255 == this.address & ~255
        )
        if together:
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups


def _unwound(rig: Rig, scenario: Scenario, number: int) -> list[tuple[str, int]]:
    """Frames of the firmware at this operation; none when the cell gave way in it by itself: then
    there was nobody to be answered."""
    count = 0
    rig.device.flash.can_fail = True  # so that the firmware waits for an answer at each

    def note(_operation: FlashOperation) -> None:
        nonlocal count
        if count == number:
            rig.device.mcu.unwind_next = True
        count += 1

    rig.on_operation = note
    try:
        scenario.run(rig)
    except (ViolationError, PowerGoneError) as error:
        frames = _FRAME.findall(str(error))
        if frames:
            return [(file, int(line)) for file, line in frames]
    else:
        if count > number:
            return []
    raise BadInputError("The firmware did not say where it was.", todo="Use a readable image.")


def uncut(
    board: Board,
    changes: Iterable[tuple[str, list[int], list[tuple[str, int]]]],
    phases: dict[tuple[str, int], set[str]],
) -> tuple[list[str], int]:
    """Sites that were not cut in all phases, with what is missing, and how many sites there are."""
    sites = static_sites(board)
    cut: dict[Site, set[str]] = {site: set() for site in sites}
    for scenario, numbers, frames in changes:
        done = set().union(*(phases.get((scenario, number), set()) for number in numbers))
        for site in sites:
            if any(file == site.file and site.line <= line <= site.end for file, line in frames):
                cut[site] |= done
    missing = [
        f"{site}: not {', '.join(phase for phase in PHASES if phase not in done)}"
        for site, done in sorted(cut.items())
        if len(done) < len(PHASES)
    ]
    return missing, len(sites)
