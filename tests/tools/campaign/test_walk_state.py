"""`campaign ctap` and `campaign rollback` with `--state`: what was stopped and gone on with is what
was not stopped."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest
from click.testing import CliRunner

from tallystick.cli import tally
from tallystick.common.errors import BadInputError
from tallystick.emulator.devices.image import Image
from tallystick.tools.campaign.ctap import walk
from tallystick.tools.campaign.ctap.walk import Found, WalkPlan, WalkTally
from tallystick.tools.campaign.engine.subject import image_under_test
from tallystick.tools.campaign.rollback import run as rollback
from tallystick.tools.campaign.rollback.run import RollbackTally, Sight

PLAN = WalkPlan(("finger", "cable", "unplug"), depth=2, walks=3)
TASKS = len(list(PLAN.tasks()))


@pytest.fixture(scope="module")
def image() -> Image:
    return image_under_test("reader", "pico2", None, readable=False)


@pytest.fixture
def did(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The tasks that are done, in this process, with something to tell of each."""
    done: list[object] = []

    def do(task: object) -> WalkTally:
        done.append(task)
        way = task if isinstance(task, tuple) else (f"walk {task}",)
        state = repr(task).encode().ljust(8)[:8]
        return WalkTally({b"shared  ", state}, 3, 1, [Found(way, "kind", f"what {task}")])

    def round_(image: Image, plan: WalkPlan, tasks: list[tuple[int, object]], jobs: int) -> object:
        for number, task in tasks:
            yield number, do(task), False

    monkeypatch.setattr(walk, "_round", round_)
    return done


@pytest.mark.parametrize("stops", [(1,), (4,), (2, 3, 5), (TASKS,)])
def test_ways_in_pieces_are_the_ways(
    image: Image, did: list[object], tmp_path: Path, stops: tuple[int, ...]
) -> None:
    (*_, (_, _, whole)) = walk.run(image, PLAN)
    did.clear()
    state = tmp_path / "new" / "state"
    for stop in stops:
        list(islice(walk.run(image, PLAN, state=state), stop))
    *_, (done, total, pieces) = walk.run(image, PLAN, state=state)
    assert done == total == TASKS
    assert pieces == whole
    assert len(did) == len(set(did)) == TASKS


def test_a_line_that_was_cut_is_done_again(image: Image, did: list[object], tmp_path: Path) -> None:
    state = tmp_path / "state"
    list(islice(walk.run(image, PLAN, state=state), 5))
    state.write_bytes(state.read_bytes()[:-7])
    did.clear()
    *_, (done, _, pieces) = walk.run(image, PLAN, state=state)
    assert len(did) == TASKS - 4 and done == TASKS
    assert pieces.transitions == 3 * TASKS


def test_a_worker_that_died_is_told_and_has_its_task_again(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, deaths = tmp_path / "state", [True, False]

    def round_(image: Image, plan: WalkPlan, tasks: list[tuple[int, object]], jobs: int) -> object:
        number, _ = tasks[0]
        died = deaths.pop(0) if deaths else False
        yield number, walk._died(("finger",)) if died else WalkTally(transitions=1), died

    monkeypatch.setattr(walk, "_round", round_)
    *_, (_, _, first) = walk.run(image, PLAN, state=state)
    assert first.violations == 1
    *_, (_, _, second) = walk.run(image, PLAN, state=state)
    assert second.violations == 0 and second.transitions == TASKS


@pytest.mark.parametrize("other", [WalkPlan(("finger", "cable"), 2), WalkPlan(PLAN.alphabet, 1)])
def test_a_state_of_other_ways_is_refused(
    image: Image, did: list[object], tmp_path: Path, other: WalkPlan
) -> None:
    state = tmp_path / "state"
    list(islice(walk.run(image, PLAN, state=state), 2))
    before = state.read_bytes()
    with pytest.raises(BadInputError, match="is not gone on with") as refused:
        next(walk.run(image, other, state=state))
    assert "delete it" in str(refused.value)
    assert state.read_bytes() == before


def test_thieves_in_pieces_are_the_thieves(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    did: list[int] = []

    def task(image: Image, seeds: tuple[int, ...]) -> RollbackTally:
        sight = Sight(seeds[0], ("back", "pin"), "kind", "what")
        return RollbackTally(len(seeds), 1, 2, 3, len(seeds), 1, [sight])

    class Pool:
        def submit(self, function: object, image: Image, seeds: tuple[int, ...]) -> object:
            did.append(seeds[0])
            part = rollback.Future()
            part.set_result(task(image, seeds))
            return part

        def __enter__(self) -> Pool:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(rollback, "worker_pool", lambda jobs: Pool())
    *_, whole = rollback.run(image, 200, 7, 1)
    did.clear()
    state = tmp_path / "state"
    for _ in range(4):
        list(islice(rollback.run(image, 200, 7, 1, state), 3))
    *_, pieces = rollback.run(image, 200, 7, 1, state)
    assert pieces == whole and pieces.write_backs == 200
    assert len(did) == len(set(did))
    with pytest.raises(BadInputError, match="seed 7, not 8"):
        list(rollback.run(image, 200, 8, 1, state))


@pytest.mark.parametrize("words", [("ctap", "--letters", "finger", "--depth", "1", "--walks", "1"),
                                   ("rollback", "--write-backs", "1")])  # fmt: skip
def test_the_commands(tmp_path: Path, words: tuple[str, ...]) -> None:
    state = tmp_path / "state"
    call = ["campaign", *words, "--jobs", "1", "--state", str(state), "--json"]
    first = CliRunner().invoke(tally, call)
    assert first.exit_code == 0, first.output
    rows = state.read_bytes()
    second = CliRunner().invoke(tally, call)
    assert json.loads(second.output) == json.loads(first.output)
    assert state.read_bytes() == rows
