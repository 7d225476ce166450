"""Runs of the model of accounts: each with a seed of its own, here or in several processes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack
from multiprocessing import util

from tallystick.tools.campaign.engine.pool import worker_pool
from tallystick.tools.campaign.server.town import Counted, Live, live_server

ACTS_A_RUN = 25
# A table of a million rows is no town's: then a server is made anew.
RUNS_A_SERVER = 60

Played = tuple[int, int, str]  # a run's seed; steps that were done; what was found, or ""


class Served:
    """A server that is kept for some runs. db: an empty database, which is kept for all of them."""

    def __init__(self, db: str | None = None) -> None:
        self._db = db
        self._stack = ExitStack()
        self._live: Live | None = None
        self._runs = 0

    def live(self) -> Live:
        if self._live is None or (self._db is None and self._runs >= RUNS_A_SERVER):
            self.close()
            self._live = self._stack.enter_context(live_server(self._db))
        self._runs += 1
        return self._live

    def close(self) -> None:
        self._stack.close()
        self._live, self._runs = None, 0


def played_here(
    db: str | None, seeds: Iterator[int], goes_on: Callable[[], bool]
) -> Iterator[Played]:
    """Runs with these seeds. goes_on: asked before each."""
    served = Served(db)
    try:
        while goes_on():
            seed = next(seeds)
            yield seed, *chunk(served.live(), 1, ACTS_A_RUN, seed)
    finally:
        served.close()


def played_by(jobs: int, seeds: Iterator[int], goes_on: Callable[[], bool]) -> Iterator[Played]:
    """The same, in so many processes, in the order in which they end."""
    under_way: dict[Future[tuple[int, str]], int] = {}
    with worker_pool(jobs, _begin) as pool:
        while True:
            while len(under_way) < jobs and goes_on():
                seed = next(seeds)
                under_way[pool.submit(_play, seed)] = seed
            if not under_way:
                return
            for one in wait(under_way, return_when=FIRST_COMPLETED).done:
                yield under_way.pop(one), *one.result()


_SERVED = Served()  # of a process of `played_by`


def _begin() -> None:
    util.Finalize(None, _SERVED.close, exitpriority=10)  # such a process has no `atexit`


def _play(seed: int) -> tuple[int, str]:
    return chunk(_SERVED.live(), 1, ACTS_A_RUN, seed)


JUDGEMENT = "AccountViolation: "
ACT = re.compile(r"(\w+ = )?state\.(?P<call>(?P<name>\w+)\(.*\))")


def is_judgement(found: str) -> bool:
    """Whether the model saw what may never follow. A server that fails, a packet that is not
    answered, a page that cannot be read: that something is wrong, but not what."""
    return found.startswith(JUDGEMENT)


def _leaves(error: BaseException) -> list[BaseException]:
    """What hypothesis has put together, as where a run is not the same twice."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for one in error.exceptions for leaf in _leaves(one)]


def _what(error: BaseException) -> str:
    """The first of them that is no judgement, if any."""
    from tallystick.tools.campaign.server.model import AccountViolation  # noqa: PLC0415

    leaves = _leaves(error)
    worst = next((one for one in leaves if not isinstance(one, AccountViolation)), leaves[0])
    told = f"{type(worst).__name__}: {worst}".splitlines()[0][:200]
    return told if worst is error else f"{told} (not seen again)"


def chunk(
    live: Live, runs: int, acts: int, seed: int, only: tuple[str, ...] = ()
) -> tuple[int, str]:
    """Run the model (only: with these rules). → steps that were done; what was found, or ''."""
    before = Counted.steps
    error = _error_of(live, runs, acts, seed, only)
    return Counted.steps - before, "" if error is None else _what(error)


def told(live: Live, seed: int, only: tuple[str, ...] = ()) -> tuple[str, list[str]]:
    """One run again, as a line of the campaign names it. → what was found, or ''; then the acts
    that led there."""
    error = _error_of(live, 1, ACTS_A_RUN, seed, only, told=True)
    return ("", []) if error is None else (_what(error), _acts_of(_leaves(error)[0]))


def _acts_of(error: BaseException) -> list[str]:
    """Of the program that hypothesis notes with an error: what somebody did in the town."""
    from tallystick.tools.campaign.server.model import AccountsModel  # noqa: PLC0415

    acts = {"settle", *AccountsModel.rule_names()}
    found = map(ACT.fullmatch, "\n".join(getattr(error, "__notes__", ())).splitlines())
    return [one["call"] for one in found if one is not None and one["name"] in acts]


def _error_of(
    live: Live,
    runs: int,
    acts: int,
    seed: int,
    only: tuple[str, ...],
    *,
    told: bool = False,
) -> Exception | None:
    from hypothesis import HealthCheck, Phase, Verbosity, settings  # noqa: PLC0415
    from hypothesis import seed as seeded  # noqa: PLC0415
    from hypothesis.stateful import run_state_machine_as_test  # noqa: PLC0415

    from tallystick.tools.campaign.server.model import AccountsModel  # noqa: PLC0415

    others = [] if not only else [name for name in AccountsModel.rule_names() if name not in only]
    names: dict[str, object] = {"live": live} | dict.fromkeys(others)
    machine = seeded(seed)(type("AccountsModel", (AccountsModel,), names))
    chosen = settings(
        max_examples=runs,
        stateful_step_count=acts,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        verbosity=Verbosity.normal if told else Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    try:
        run_state_machine_as_test(machine, settings=chosen)
    except Exception as error:  # whatever the server answers that the model cannot read, too
        return error
    return None
