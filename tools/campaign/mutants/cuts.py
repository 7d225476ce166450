"""Hunts a mutant of the firmware by the campaign's scenarios, and tells which of them execute a
line."""

from __future__ import annotations

import json
import os
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from tallystick.common.errors import TallyError
from tallystick.emulator import boards, coverage
from tallystick.tools import firmware
from tallystick.tools.campaign.commands.subjects import registry, share, subject
from tallystick.tools.campaign.engine.campaign import Campaign, CampaignPlan
from tallystick.tools.campaign.engine.explore import record
from tallystick.tools.campaign.engine.subject import ViolationError
from tallystick.tools.coverage import collect

ScenarioLines = dict[str, dict[str, list[int]]]
"""Scenario → file → lines."""

_PARTS = {"rp2_flash": boards.KIT, "once": boards.DEFAULT_READER, "rom": boards.DEFAULT_READER}
"""What several boards use: one of them."""

_JUDGED = 12  # states of each scenario that are judged while lines are noted
_SEED = 1


def board_of(file: str) -> str:
    """On which board a module of the firmware is tried."""
    if file.startswith("firmware/boards/"):
        return _PARTS.get(Path(file).stem, Path(file).stem)
    if file in ("firmware/lib/records.py", "firmware/reader/store.py"):
        return boards.DEFAULT_READER
    return boards.KIT


def look(board: str, root: Path, scenarios: list[str], deeper: int) -> str | None:
    """What the campaign says of the firmware in `root`, or None when it finds nothing. The cuts of
    one scenario after the other; with `deeper` also so many second cuts."""
    try:
        tested = subject(board, root)
        for depth in (1, 2) if deeper else (1,):
            for name in scenarios:
                plan = CampaignPlan(board, (name,), depth, _SEED, deeper=share(board, deeper))
                result = Campaign(plan, tested).run(0, until=lambda so_far: bool(so_far.violations))
                if result.violations:
                    first = result.violations[0]
                    return f"{name}: {first['kind']}: {first['what'].splitlines()[0]}"
    except ViolationError as error:  # not even the start of the scenario is reached
        return f"{error.kind}: {error}"
    except TallyError as error:
        return f"{type(error).__name__}: {error.what}"
    return None


def lines(board: str, kept: Path) -> ScenarioLines:
    """Scenario → file (from the root of the tree) → lines that it executes, in its own run and in
    the first judgements after a cut. Kept in the file `kept` for as long as no source changes."""
    device = boards.find(board).device
    root = firmware.root()
    used = {
        str(one.path.relative_to(root.parent)): one.path.read_text(encoding="utf-8")
        for one in firmware.sources(device, boards.find(board))
    }
    if kept.is_file():
        content = json.loads(kept.read_text(encoding="utf-8"))
        if content["sources"] == used:
            found = content["lines"]
            assert isinstance(found, dict)
            return found
    found = {name: _executed(board, name, root) for name in registry(device)}
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps({"sources": used, "lines": found}), encoding="utf-8")
    return found


def _executed(board: str, name: str, root: Path) -> dict[str, list[int]]:
    before = os.environ.get(coverage.ENVIRONMENT)
    with TemporaryDirectory() as folder:
        os.environ[coverage.ENVIRONMENT] = folder
        try:
            _run(board, name)
        finally:
            del os.environ[coverage.ENVIRONMENT]
            if before is not None:
                os.environ[coverage.ENVIRONMENT] = before
        _, executed = collect.collect(Path(folder))
    return {
        str(Path(path).relative_to(root.parent)): sorted(numbers)
        for path, numbers in executed.items()
    }


def _run(board: str, name: str) -> None:
    tested = subject(board)
    scenario = tested.scenario(name)
    with closing(tested.rig(scenario.start)) as rig:
        recorded = record(tested, rig, scenario, _SEED)
        step = max(1, len(recorded.nodes) // _JUDGED)
        for node in recorded.nodes[::step]:
            tested.resume(rig, node)
            tested.judge(rig, scenario, node)
            rig.device.mcu.power_off()
