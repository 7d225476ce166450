"""`tally campaign accounts`: the model of accounts against the server, and against broken ones.

The server runs in a thread, on a real database; the model is outside, over HTTP and RADIUS.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click

from tallystick.common.console import json_option, out, print_json, progress
from tallystick.common.errors import BadInputError, ExitCode
from tallystick.tools import options

QUICK_STEPS, FULL_STEPS = 20_000, 1_000_000
RUNS_FOR_AN_ANIMAL, ACTS_FOR_AN_ANIMAL = 25, 8
SEEDS_FOR_AN_ANIMAL = 3  # one in so many that a run of one seed catches escapes another
QUICK_S = 540.0  # of the ten minutes


@dataclass
class AccountsResult:
    """steps: requests of outsiders (HTTP, and RADIUS packets) to the server as it is. runs: how
    many were begun for that; each has a seed of its own, from `seed` on. violations: runs that
    ended with something that may never follow; found: the seed, and what (--replay SEED does it
    again and tells the acts). planted, caught: broken servers, and those of them that the model
    judged; missed: the others, by name, with what went wrong instead of a judgement."""

    database: str
    seed: int
    steps: int = 0
    runs: int = 0
    violations: int = 0
    planted: int = 0
    caught: int = 0
    found: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def clean(self) -> bool:
        return self.violations == 0 and self.caught == self.planted


@click.command()
@click.option("--full", is_flag=True, help=f"{FULL_STEPS:,} steps, however long it takes.")
@click.option("--steps", type=click.IntRange(1), help="So many steps instead.")
@click.option("--seed", type=click.IntRange(0), help="Do the same again.")
@click.option(
    "--replay",
    type=click.IntRange(0),
    metavar="SEED",
    help="Do the run that a line of 'found' names again, and tell its acts.",
)
@click.option("--zoo/--no-zoo", default=True, show_default=True, help="Broken servers, too.")
@click.option("--db", metavar="URL", help="An empty database (default: SQLite in a new folder).")
@options.state
@click.option(
    "--jobs", default=0, type=click.IntRange(0), help="Processes (0: all processors; --db: one)."
)
@json_option
def accounts(
    *,
    full: bool,
    steps: int | None,
    seed: int | None,
    replay: int | None,
    zoo: bool,
    db: str | None,
    state: Path | None,
    jobs: int,
    as_json: bool,
) -> None:
    """Take accounts from outside, in every way that the model knows."""
    if replay is not None:
        _replay(replay, db, as_json=as_json)
        return
    wanted = steps or (FULL_STEPS if full else QUICK_STEPS)
    with progress(disable=as_json) as bar:
        task = bar.add_task("steps", total=wanted)
        result = run(
            steps=wanted,
            seed=seed,
            zoo=zoo,
            db=db,
            limit_s=None if full or steps else QUICK_S,
            state=state,
            jobs=jobs or len(os.sched_getaffinity(0)),
            on_steps=lambda done: bar.update(task, completed=done),
        )
    if as_json:
        print_json(asdict(result))
    else:
        for name, value in asdict(result).items():
            out().print(f"{name:>10}  {value}", markup=False)
    if not result.clean:
        raise SystemExit(ExitCode.FAILED)


def _replay(seed: int, db: str | None, *, as_json: bool) -> None:
    _wants_hypothesis()
    from tallystick.tools.campaign.server import playing  # noqa: PLC0415
    from tallystick.tools.campaign.server.town import live_server  # noqa: PLC0415

    with live_server(db) as live:
        found, acts = playing.told(live, seed)
    if as_json:
        print_json({"seed": seed, "found": found, "acts": acts})
    else:
        for number, act in enumerate(acts, 1):
            out().print(f"{number:>4}  {act}", markup=False, soft_wrap=True)
        out().print(found or "nothing that may never follow", markup=False, soft_wrap=True)
    if found:
        raise SystemExit(ExitCode.FAILED)


def _wants_hypothesis() -> None:
    try:
        import hypothesis  # noqa: F401, PLC0415
    except ImportError:
        raise BadInputError(
            "The model of accounts needs hypothesis.", todo="pip install 'tallystick[model]'"
        ) from None


def run(
    *,
    steps: int,
    seed: int | None = None,
    zoo: bool = True,
    animals: frozenset[str] | None = None,
    db: str | None = None,
    limit_s: float | None = None,
    on_steps: Callable[[int], None] = lambda _: None,
    state: Path | None = None,
    jobs: int = 1,
) -> AccountsResult:
    """Run the model against the broken servers (animals: of these names only), then for `steps`
    steps against the one that ships, in so many processes. limit_s: all of it ends by then. state:
    where to go on from, and where it is written down after each broken server and each run. Raises
    BadInputError without hypothesis, and for a file of something else."""
    _wants_hypothesis()
    from tallystick.tools.campaign.server import playing  # noqa: PLC0415

    began = time.perf_counter()
    database = "sqlite" if db is None else db.split(":", 1)[0].split("+", 1)[0]
    fresh = secrets.randbelow(2**32) if seed is None else seed
    result = _before(state, database) or AccountsResult(database, fresh)
    spent = result.seconds

    def note() -> None:
        result.seconds = round(spent + time.perf_counter() - began, 1)
        if state is not None:
            state.parent.mkdir(parents=True, exist_ok=True)
            new = state.with_name(state.name + ".new")
            new.write_text(json.dumps(asdict(result)), encoding="utf-8")
            new.replace(state)

    def goes_on() -> bool:
        late = limit_s is not None and time.perf_counter() - began > limit_s
        return result.steps < steps and not late

    def seeds() -> Iterator[int]:
        """Noted when it is handed out: no call does again what another had begun."""
        while True:
            result.runs += 1
            yield result.seed + result.runs - 1

    if zoo:
        _visit_the_zoo(result, animals, db, note)
    if jobs == 1 or db is not None:
        played = playing.played_here(db, seeds(), goes_on)
    else:
        played = playing.played_by(jobs, seeds(), goes_on)
    for one, done, found in played:
        result.steps += done
        if found:
            result.violations += 1
            result.found.append(f"{one}: {found}")
        note()
        on_steps(result.steps)
    note()
    return result


def _visit_the_zoo(
    result: AccountsResult,
    animals: frozenset[str] | None,
    db: str | None,
    note: Callable[[], None],
) -> None:
    """Each broken server that was not looked at yet."""
    from tallystick.tools.campaign.server.accounts_zoo import ZOO  # noqa: PLC0415
    from tallystick.tools.campaign.server.playing import (  # noqa: PLC0415
        Served,
        chunk,
        is_judgement,
    )

    chosen = [one for one in ZOO if animals is None or one.name in animals]
    served = Served(db)
    try:
        for animal in chosen[result.planted :]:
            result.planted += 1
            live = served.live()
            with animal.let_loose():
                for again in range(SEEDS_FOR_AN_ANIMAL):
                    _, found = chunk(
                        live,
                        RUNS_FOR_AN_ANIMAL,
                        ACTS_FOR_AN_ANIMAL,
                        result.seed + again,
                        animal.looked_for,
                    )
                    if found:
                        break
            if is_judgement(found):
                result.caught += 1
            else:  # one that only fails proves nothing of the model
                result.missed.append(f"{animal.name}: {found}" if found else animal.name)
            note()
    finally:
        served.close()


def _before(state: Path | None, database: str) -> AccountsResult | None:
    """What an earlier call has written down. Raises BadInputError."""
    if state is None or not state.exists():
        return None
    try:
        found = AccountsResult(**json.loads(state.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise BadInputError(
            f"{state} is no state of this campaign.", todo="Name another file, or delete it."
        ) from None
    if found.database != database:
        raise BadInputError(
            f"{state} is of a campaign on {found.database}.", todo="Name another file."
        )
    return found
