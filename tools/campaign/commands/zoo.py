"""`tally campaign zoo`: is every broken firmware caught?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import product

import click

from tallystick.common.console import err, json_option, out, print_json
from tallystick.common.errors import BadInputError, ExitCode
from tallystick.emulator import boards
from tallystick.tools import options
from tallystick.tools.campaign.card.animals import ANIMALS
from tallystick.tools.campaign.commands.subjects import registry, share, subject
from tallystick.tools.campaign.ctap import animals as ctap_animals
from tallystick.tools.campaign.engine.animal import Animal
from tallystick.tools.campaign.engine.campaign import Campaign, CampaignPlan
from tallystick.tools.campaign.engine.line import Line
from tallystick.tools.campaign.engine.pool import worker_pool
from tallystick.tools.campaign.engine.shrink import shrink
from tallystick.tools.campaign.engine.subject import Subject, ViolationError
from tallystick.tools.campaign.reader import animals as reader_animals
from tallystick.tools.campaign.rollback import animals as rollback_animals

ALL = (*ANIMALS, *reader_animals.ANIMALS, *ctap_animals.ANIMALS, *rollback_animals.ANIMALS)
_NAME = max(len(animal.name) for animal in ALL)


@dataclass(frozen=True)
class Caught:
    """One animal. reproduction: the line that replays the shortest failure; cuts and operations:
    how long it is."""

    name: str
    sentence: str
    caught: bool
    scenario: str = ""
    kind: str = ""
    reproduction: str = ""
    cuts: int = 0
    operations: int = 0
    what: str = ""


def hunt(animal: Animal, seed: int = 1) -> Caught:
    """Looks for the animal, in its own scenarios first, then in all others."""
    if isinstance(animal, ctap_animals.CtapAnimal):
        return _hunt_by_letters(animal)
    if isinstance(animal, rollback_animals.RollbackAnimal):
        return _hunt_by_thieves(animal)
    with animal.firmware() as root:
        tested = subject(animal.board, root)
    there = registry(boards.find(animal.board).device)
    others = [name for name in there if name not in animal.scenarios]
    # Both depths of its own scenarios come before one of the others: those are ten times as many.
    for names in (animal.scenarios, others):
        for depth, name in product((1, 2), names):
            found = _look(animal, tested, name, depth, seed)
            if found is not None:
                return found
    return Caught(animal.name, animal.sentence, False)


def _hunt_by_letters(animal: Animal) -> Caught:
    # Hunting a card's animals does without python-fido2.
    from tallystick.tools.campaign.ctap.hunt import look  # noqa: PLC0415

    found = look(animal)
    if found is None:
        return Caught(animal.name, animal.sentence, False)
    line = ",".join(found.way)
    return Caught(
        animal.name, animal.sentence, True, "ctap", found.kind, line, operations=len(found.way),
        what=found.what.splitlines()[0],
    )  # fmt: skip


def _hunt_by_thieves(animal: Animal) -> Caught:
    from tallystick.tools.campaign.rollback.hunt import look  # noqa: PLC0415

    found = look(animal)
    if found is None:
        return Caught(animal.name, animal.sentence, False)
    return Caught(
        animal.name, animal.sentence, True, "rollback", found.kind, ",".join(found.deeds),
        operations=len(found.deeds), what=found.what,
    )  # fmt: skip


def _look(animal: Animal, tested: Subject, name: str, depth: int, seed: int) -> Caught | None:
    plan = CampaignPlan(animal.board, (name,), depth, seed, deeper=share(animal.board, 1500))
    try:
        result = Campaign(plan, tested).run(0, until=lambda so_far: bool(so_far.violations))
    except ViolationError as error:  # not even the start of the scenario is reached
        line = str(Line(animal.board, name, seed))
        return Caught(animal.name, animal.sentence, True, name, error.kind, line, what=str(error))
    if not result.violations:
        return None
    best = shrink(tested, result.violations[0]["line"])
    return Caught(
        animal.name, animal.sentence, True, name, best.kind, best.line, best.cuts,
        best.operations, best.what.splitlines()[0],
    )  # fmt: skip


def find(name: str) -> Animal:
    """Raises BadInputError."""
    for animal in ALL:
        if animal.name == name:
            return animal
    raise BadInputError(f"There is no {name!r} in the zoo.", todo="tally campaign zoo --list")


@click.command()
@click.argument("names", nargs=-1)
@options.jobs
@click.option("--list", "listing", is_flag=True, help="List the animals.")
@json_option
def zoo(*, names: tuple[str, ...], jobs: int, listing: bool, as_json: bool) -> None:
    """Break the firmware on purpose, in known ways: the campaign must catch every one."""
    animals = [find(name) for name in names] or list(ALL)
    if listing:
        for animal in animals:
            out().print(f"{animal.name:<{_NAME}}  {animal.sentence}")
        return
    jobs = min(options.processes(jobs), len(animals))
    rows: list[Caught] = []
    with worker_pool(jobs) as pool:
        for row in pool.in_order(hunt, animals):
            rows.append(row)
            if not as_json:
                err().print(f"{len(rows)}/{len(animals)}  {_line(row)}")
                if row.caught:
                    err().print(f"  {_again(row)}", style="dim", soft_wrap=True)
    if as_json:
        print_json([asdict(row) for row in rows])
    escaped = [row.name for row in rows if not row.caught]
    if not as_json:
        caught = len(rows) - len(escaped)
        out().print(f"{caught} of {len(rows)} caught" + (f"; not: {escaped}" if escaped else ""))
    if escaped:
        raise SystemExit(ExitCode.FAILED)


def _again(row: Caught) -> str:
    """The command that shows it once more: of a line of the power-cut campaign the instant itself,
    of the others the hunt, which is the same each time."""
    if row.scenario in ("ctap", "rollback"):
        return f"tally campaign zoo {row.name}"
    return f"tally campaign replay {row.reproduction} --zoo {row.name}"


def _line(row: Caught) -> str:
    if not row.caught:
        return f"[red]not caught[/] {row.name}"
    where = f"{row.scenario}, {row.cuts} cuts"
    if row.scenario == "ctap":
        where = row.reproduction.replace(",", ", ")
    return f"{row.name:<{_NAME}}  {where}: {row.what}"
