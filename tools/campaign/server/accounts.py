"""`tally campaign accounts`: the model of accounts against the server, and against broken ones.

The server runs in a thread, on a real database; the model is outside, over HTTP and RADIUS.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click

from tallystick.common.console import json_option, out, print_json, progress
from tallystick.common.errors import BadInputError, ExitCode

ACTS_A_RUN = 25
QUICK_STEPS, FULL_STEPS = 20_000, 1_000_000
RUNS_FOR_AN_ANIMAL, ACTS_FOR_AN_ANIMAL = 25, 8
QUICK_S = 540.0  # of the ten minutes


@dataclass
class AccountsResult:
    """steps: requests of outsiders (HTTP, and RADIUS packets) to the server as it is. violations:
    runs that ended with something that may never follow; found: what. planted, caught: broken
    servers, and those of them that were found out; missed: the others, by name."""

    database: str
    seed: int
    steps: int = 0
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
@click.option("--zoo/--no-zoo", default=True, show_default=True, help="Broken servers, too.")
@click.option("--db", metavar="URL", help="An empty database (default: SQLite in a new folder).")
@click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file that remembers how far it came: the next call goes on from there.",
)
@json_option
def accounts(
    *,
    full: bool,
    steps: int | None,
    seed: int | None,
    zoo: bool,
    db: str | None,
    state: Path | None,
    as_json: bool,
) -> None:
    """Take accounts from outside, in every way that the model knows."""
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
            on_steps=lambda done: bar.update(task, completed=done),
        )
    if as_json:
        print_json(asdict(result))
    else:
        for name, value in asdict(result).items():
            out().print(f"{name:>10}  {value}", markup=False)
    if not result.clean:
        raise SystemExit(ExitCode.FAILED)


def run(
    *,
    steps: int,
    seed: int | None = None,
    zoo: bool = True,
    animals: frozenset[str] | None = None,
    db: str | None = None,
    limit_s: float | None = None,
    on_steps: object = None,
    state: Path | None = None,
) -> AccountsResult:
    """Run the model against the broken servers (animals: of these names only), then for `steps`
    steps against the one that ships. limit_s: all of it ends by then. state: where to go on from,
    and where it is written down after each broken server and each run. Raises BadInputError without
    hypothesis, and for a file of something else."""
    try:
        import hypothesis  # noqa: F401, PLC0415
    except ImportError:
        raise BadInputError(
            "The model of accounts needs hypothesis.", todo="pip install 'tallystick[model]'"
        ) from None
    from tallystick.tools.campaign.server.accounts_zoo import ZOO  # noqa: PLC0415
    from tallystick.tools.campaign.server.town import live_server  # noqa: PLC0415

    began = time.perf_counter()
    seed = secrets.randbelow(2**32) if seed is None else seed
    chosen = [one for one in ZOO if zoo and (animals is None or one.name in animals)]
    with live_server(db) as live:
        database = live.settings.db_url.split(":", 1)[0].split("+", 1)[0]
        result = _before(state, database) or AccountsResult(database, seed)
        spent, seed = result.seconds, result.seed

        def note() -> None:
            result.seconds = round(spent + time.perf_counter() - began, 1)
            if state is not None:
                state.parent.mkdir(parents=True, exist_ok=True)
                new = state.with_name(state.name + ".new")
                new.write_text(json.dumps(asdict(result)), encoding="utf-8")
                new.replace(state)

        for animal in chosen[result.planted :]:
            result.planted += 1
            with animal.let_loose():
                _, found = _chunk(
                    live, RUNS_FOR_AN_ANIMAL, ACTS_FOR_AN_ANIMAL, seed, animal.looked_for
                )
            if found:
                result.caught += 1
            else:
                result.missed.append(animal.name)
            note()
        while result.steps < steps:
            if limit_s is not None and time.perf_counter() - began > limit_s:
                break
            done, found = _chunk(live, 1, ACTS_A_RUN, seed + result.steps)
            result.steps += done
            if found:
                result.violations += 1
                result.found.append(found)
            note()
            if callable(on_steps):
                on_steps(result.steps)
    note()
    return result


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


def _chunk(
    live: object, runs: int, acts: int, seed: int, only: tuple[str, ...] = ()
) -> tuple[int, str]:
    """Run the model (only: with these rules). → steps that were done; what was found, or ''."""
    from hypothesis import HealthCheck, Phase, Verbosity, settings  # noqa: PLC0415
    from hypothesis import seed as seeded  # noqa: PLC0415
    from hypothesis.stateful import run_state_machine_as_test  # noqa: PLC0415

    from tallystick.tools.campaign.server.model import AccountsModel  # noqa: PLC0415
    from tallystick.tools.campaign.server.town import Counted  # noqa: PLC0415

    before = Counted.steps
    others = [] if not only else [name for name in AccountsModel.rule_names() if name not in only]
    names: dict[str, object] = {"live": live} | dict.fromkeys(others)
    machine = seeded(seed)(type("AccountsModel", (AccountsModel,), names))
    chosen = settings(
        max_examples=runs,
        stateful_step_count=acts,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    found = ""
    try:
        run_state_machine_as_test(machine, settings=chosen)
    except Exception as error:  # whatever the server answers that the model cannot read, too
        found = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return Counted.steps - before, found
