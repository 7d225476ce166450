"""A campaign that was stopped, wherever and however, is the campaign that was not; and what its
record leaves out is found by counting again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from tallystick.common.errors import BadInputError, ExitCode
from tallystick.tools.campaign.card.workshop import CardWorkshop
from tallystick.tools.campaign.cli import campaign
from tallystick.tools.campaign.commands.audit import audit_record
from tallystick.tools.campaign.engine.animal import Animal, Patch
from tallystick.tools.campaign.engine.campaign import (
    Campaign,
    CampaignPlan,
    CampaignResult,
    Progress,
)
from tallystick.tools.campaign.engine.subject import Subject
from tallystick.tools.campaign.reader.workshop import ReaderWorkshop
from tests.tools.campaign.conftest import workshop_of
from tests.whole import some

PLAN = CampaignPlan("pico", ("press", "first-boot"), depth=3, sample=0.03, deeper=40, third=100)
TIMES = {"seconds": 0.0, "states_per_second": 0.0, "jobs": 0}


class StopAfter(Progress):
    def __init__(self, states: int, stop: Callable[[], None]) -> None:
        self.left = states
        self.stop = stop

    def at(self, done: int, total: int, rate: float) -> None:
        self.left -= 1
        if self.left == 0:
            self.stop()


def _interrupt() -> None:
    raise KeyboardInterrupt


def _told(result: CampaignResult) -> dict[str, object]:
    return asdict(result) | TIMES


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[CampaignResult, bytes]:
    """What an uninterrupted run says, and its record."""
    file = tmp_path_factory.mktemp("whole") / "record.jsonl"
    result = Campaign(PLAN, workshop_of("pico"), file).run(0)
    assert result.violations == []
    return result, file.read_bytes()


def test_workers_find_the_same_as_one_process(
    pico: CardWorkshop, tmp_path: Path, whole: tuple[CampaignResult, bytes]
) -> None:
    file = tmp_path / "record.jsonl"
    assert _told(Campaign(PLAN, pico, file).run(2)) == _told(whole[0])
    assert file.read_bytes() == whole[1]


@pytest.mark.parametrize("at", some((1, 2, 10, 33, 60, 85), 0, 3, 5))
def test_stopped_anywhere_it_comes_to_the_same(
    pico: CardWorkshop, tmp_path: Path, whole: tuple[CampaignResult, bytes], at: int
) -> None:
    file = tmp_path / "record.jsonl"
    assert Campaign(PLAN, pico, file).run(0, StopAfter(at, _interrupt)).stopped
    going_on = Campaign(PLAN, pico, file)
    assert _told(going_on.run(0)) == _told(whole[0])
    assert going_on._explored == whole[0].distinct_states - at, "nothing counts twice"
    assert file.read_bytes() == whole[1]
    assert audit_record(file).findings == []


def test_stopped_again_and_again(
    pico: CardWorkshop, tmp_path: Path, whole: tuple[CampaignResult, bytes]
) -> None:
    file = tmp_path / "record.jsonl"
    runs = 1
    while Campaign(PLAN, pico, file).run(0, StopAfter(40, _interrupt)).stopped:
        runs += 1
    assert runs > 2
    assert file.read_bytes() == whole[1]


LEFT = (
    *((left, b"") for left in (0, 1, 2, 3, 4, 5, 30, 70, 95)),
    *((left, b'{"state":"7') for left in (0, 2, 4, 30)),
    *((left, b'{"state":"7"}') for left in (1, 2, 70)),
    *((left, b"\0\0\0\0") for left in (0, 3, 30)),
)


@pytest.mark.parametrize(("left", "torn"), some(LEFT, 1, 3, 7, 8, 12, 14, 17))
def test_whatever_of_the_record_is_left(
    pico: CardWorkshop,
    tmp_path: Path,
    whole: tuple[CampaignResult, bytes],
    left: int,
    torn: bytes,
) -> None:
    """Its last line may be written in part."""
    file = tmp_path / "record.jsonl"
    lines = whole[1].splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:left]) + torn)
    assert _told(Campaign(PLAN, pico, file).run(0)) == _told(whole[0])
    assert file.read_bytes() == whole[1]


KILLED = """
import os, signal, sys
from pathlib import Path
from tallystick.tools.campaign.card.workshop import CardWorkshop
from tallystick.tools.campaign.engine.campaign import Campaign
from tests.tools.campaign.test_record import PLAN, StopAfter

if __name__ == "__main__":
    kill = lambda: os.kill(os.getpid(), signal.SIGKILL)
    stop = StopAfter(int(sys.argv[2]), kill)
    Campaign(PLAN, CardWorkshop.of("pico"), Path(sys.argv[1])).run(int(sys.argv[3]), stop)
"""


@pytest.mark.parametrize(("at", "jobs"), [(5, 0), (50, 0), (20, 2)])
def test_killed_it_comes_to_the_same(
    pico: CardWorkshop,
    tmp_path: Path,
    whole: tuple[CampaignResult, bytes],
    at: int,
    jobs: int,
) -> None:
    file, script = tmp_path / "record.jsonl", tmp_path / "killed.py"
    script.write_text(KILLED)
    command = [sys.executable, str(script), str(file), str(at), str(jobs)]
    root = Path(__file__).parents[3]
    killed = subprocess.run(command, check=False, cwd=root, env={"PYTHONPATH": str(root)})
    assert killed.returncode == -signal.SIGKILL
    assert file.read_bytes() != whole[1]
    going_on = Campaign(PLAN, pico, file)
    assert _told(going_on.run(0)) == _told(whole[0])
    assert going_on._explored <= whole[0].distinct_states - at, "what was done is not done again"
    assert file.read_bytes() == whole[1]


OTHER = Animal(
    "other", "The same, and another image.",
    (Patch("card/store.py", "_JUMP = const(9)", "_JUMP = const(8)"),),
)  # fmt: skip


def test_the_record_of_another_firmware_is_refused(
    tmp_path: Path, whole: tuple[CampaignResult, bytes]
) -> None:
    file = tmp_path / "record.jsonl"
    part = b"".join(whole[1].splitlines(keepends=True)[:40])
    file.write_bytes(part)
    with OTHER.firmware() as root:
        other = CardWorkshop.of("pico", root)
    with pytest.raises(BadInputError, match="of another firmware"):
        Campaign(PLAN, other, file).run(0)
    assert file.read_bytes() == part, "it is kept"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"depth": 2}, "it is of depth 3, not 2"),
        ({"seed": 9}, "it is of seed 1, not 9"),
        ({"sample": 0.5}, "it is of sample 0.03, not 0.5"),
        ({"scenario_names": ("press",)}, "it is of scenario_names press, first-boot, not press"),
    ],
)
def test_the_record_of_other_options_is_refused(
    pico: CardWorkshop,
    tmp_path: Path,
    whole: tuple[CampaignResult, bytes],
    change: dict[str, object],
    said: str,
) -> None:
    file = tmp_path / "record.jsonl"
    part = b"".join(whole[1].splitlines(keepends=True)[:40])
    file.write_bytes(part)
    with pytest.raises(BadInputError, match=said):
        Campaign(replace(PLAN, **change), pico, file).run(0)  # type: ignore[arg-type]
    assert file.read_bytes() == part, "it is kept"


@pytest.mark.parametrize("line", [1, 2, 3, 20])
def test_a_record_that_was_changed_is_refused(
    pico: CardWorkshop, tmp_path: Path, whole: tuple[CampaignResult, bytes], line: int
) -> None:
    lines = whole[1].splitlines(keepends=True)[:40]
    del lines[line]
    file = tmp_path / "record.jsonl"
    file.write_bytes(b"".join(lines))
    if line < 3:  # the row of a scenario: it is added again, and nothing is missing after that
        Campaign(PLAN, pico, file).run(0)
        assert audit_record(file).cuts == whole[0].cuts
        return
    with pytest.raises(BadInputError, match="comes out otherwise now"):
        Campaign(PLAN, pico, file).run(0)


def test_a_finished_record_is_begun_anew(
    pico: CardWorkshop, tmp_path: Path, whole: tuple[CampaignResult, bytes]
) -> None:
    file = tmp_path / "record.jsonl"
    file.write_bytes(whole[1])
    small = CampaignPlan("pico", ("press",), depth=1, sample=0.01)
    Campaign(small, pico, file).run(0)
    assert audit_record(file).findings == []
    assert audit_record(file).states < whole[0].distinct_states


# -- audit -----------------------------------------------------------------------------------------

Rows = list[dict[str, object]]


def _index(rows: Rows, wanted: Callable[[dict[str, object]], bool]) -> int:
    return next(number for number, row in enumerate(rows) if wanted(row))


def _line_out(rows: Rows) -> None:
    del rows[_index(rows, lambda row: "state" in row) + 7]


def _last_line_out(rows: Rows) -> None:
    del rows[-2]


def _end_out(rows: Rows) -> None:
    del rows[-1]


def _child_out(rows: Rows) -> None:
    row = rows[_index(rows, lambda row: bool(row.get("children")))]
    row["children"].pop()  # type: ignore[attr-defined]


def _at_rest_out(rows: Rows) -> None:
    """A cut at rest of a state that no further cut is planned in, as a resumed campaign lost it."""
    row = rows[_index(rows, lambda row: bool(row.get("rests")))]
    row["children"].pop()  # type: ignore[attr-defined]
    row["rests"] = 0


def _root_out(rows: Rows) -> None:
    rows[1]["roots"].pop(3)  # type: ignore[attr-defined]


def _scenario_out(rows: Rows) -> None:
    del rows[2]


def _count_changed(rows: Rows) -> None:
    rows[-1]["cuts"] += 1  # type: ignore[operator]


def _scenario_count_changed(rows: Rows) -> None:
    rows[-1]["end"]["press"]["states"] -= 1  # type: ignore[index]


def _digest_changed(rows: Rows) -> None:
    rows[-1]["digest"] = "00" * 16


def _explored_twice(rows: Rows) -> None:
    rows.insert(-1, rows[-2])


def _state_changed(rows: Rows) -> None:
    rows[-2]["state"] = "ab" * 16


def _share_changed(rows: Rows) -> None:
    rows[0]["plan"]["deeper"] += 4000  # type: ignore[index]


@pytest.mark.parametrize(
    "damage",
    [
        _line_out, _last_line_out, _end_out, _child_out, _at_rest_out, _root_out, _scenario_out,
        _count_changed, _scenario_count_changed, _digest_changed, _explored_twice, _state_changed,
        _share_changed,
    ],
)  # fmt: skip
def test_what_is_missing_is_found(
    tmp_path: Path, whole: tuple[CampaignResult, bytes], damage: Callable[[Rows], None]
) -> None:
    rows: Rows = [json.loads(line) for line in whole[1].splitlines()]
    damage(rows)
    file = tmp_path / "record.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = CliRunner().invoke(campaign, ["audit", str(file)])
    assert shown.exit_code == ExitCode.FAILED, damage.__name__
    assert "missing" in shown.output


def test_kinds_of_faults_are_counted(pico: CardWorkshop, tmp_path: Path) -> None:
    """All of them, of every operation: one kind less is told."""
    file = tmp_path / "record.jsonl"
    plan = CampaignPlan("pico", ("terminate",), depth=1)
    stopped = Campaign(plan, pico, file)
    stopped.run(0, StopAfter(1, _interrupt))
    whole = audit_record(file)
    assert not [finding for finding in whole.findings if "faults" in finding]
    rows: Rows = [json.loads(line) for line in file.read_text().splitlines()]
    for kind in "bapsnxtwfv":
        less = json.loads(json.dumps(rows))
        roots = [root for root in less[1]["roots"] if root[0].lstrip("0123456789")[0] != kind]
        assert len(roots) < len(less[1]["roots"]), kind
        less[1]["roots"] = roots
        file.write_text("".join(json.dumps(row) + "\n" for row in less))
        found = [
            finding for finding in audit_record(file).findings if f"faults '{kind}'" in finding
        ]
        assert found, kind


READER = ("reader-first-start", "reader-first-start-worn", "reader-reset-damaged")
CARD = ("first-boot", "provisioning", "terminate", "press")


@pytest.mark.parametrize(
    ("board", "names", "workshop"),
    [("pico", CARD, workshop_of), ("nucleo_l476rg", CARD, workshop_of),
     ("pico2", READER, ReaderWorkshop.of)],
)  # fmt: skip
def test_a_first_start_has_no_record_before_that_could_rot(
    tmp_path: Path, board: str, names: tuple[str, ...], workshop: Callable[[str], Subject]
) -> None:
    """Nor has what begins blank or damaged; from its first record on each has."""
    file = tmp_path / "record.jsonl"
    plan = CampaignPlan(board, names, depth=1)
    Campaign(plan, workshop(board), file).run(0, StopAfter(1, _interrupt))
    assert not [finding for finding in audit_record(file).findings if "faults" in finding]
    rows: Rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows[1 : 1 + len(names)]:
        row["roots"] = [root for root in row["roots"] if "v" not in root[0]]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    less = [finding for finding in audit_record(file).findings if "faults 'v'" in finding]
    assert all(any(name in finding for finding in less) for name in names)


def test_what_is_no_record_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "record.jsonl"
    file.write_text("{}\n")
    shown = CliRunner().invoke(campaign, ["audit", str(file)])
    assert isinstance(shown.exception, BadInputError)


def test_a_record_that_is_whole_is_said_to_be(
    tmp_path: Path, whole: tuple[CampaignResult, bytes]
) -> None:
    file = tmp_path / "record.jsonl"
    file.write_bytes(whole[1])
    shown = CliRunner().invoke(campaign, ["audit", str(file), "--json"])
    assert shown.exit_code == ExitCode.OK
    told = json.loads(shown.output)
    assert told["states"] == told["explored"] == whole[0].distinct_states
    assert told["cuts"] == whole[0].cuts
    assert told["findings"] == []
