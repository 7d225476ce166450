"""Folders of campaigns in memory: gone at the end, and after a kill with the next one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tallystick.cli import tally
from tallystick.common.errors import ExitCode
from tallystick.tools.campaign.engine import memory
from tallystick.tools.campaign.engine.memory import memory_folder
from tallystick.tools.campaign.server import tickets

KILLED = """
import os, signal
from pathlib import Path
from tallystick.tools.campaign.engine import memory

memory.PLACE = Path({place!r})
with memory.memory_folder() as folder:
    (folder / "server.db").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(memory, "PLACE", tmp_path)
    return tmp_path


def age(folder: Path, seconds: float) -> None:
    then = folder.stat().st_mtime - seconds
    os.utime(folder, (then, then))


def test_what_a_killed_campaign_left_goes_with_the_next(place: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED.format(place=str(place))], check=False)
    assert ended.returncode == -signal.SIGKILL
    [left] = place.iterdir()
    with memory_folder() as folder:  # which may be of one that is just beginning
        assert sorted(place.iterdir()) == sorted([folder, left])
    age(left, 2 * memory.YOUNG_S)
    with memory_folder() as folder:
        assert list(place.iterdir()) == [folder]
    assert list(place.iterdir()) == []


def test_what_is_in_use_stays_and_what_is_not_ours(place: Path) -> None:
    (place / "of-somebody").mkdir()
    age(place / "of-somebody", 2 * memory.YOUNG_S)
    with memory_folder() as first:
        (first / "server.db").touch()
        age(first, 2 * memory.YOUNG_S)
        with memory_folder():
            pass
        assert (first / "server.db").exists()
    assert [one.name for one in place.iterdir()] == ["of-somebody"]


def test_told_to_end_a_campaign_cleans_up(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def run(*_: object) -> None:
        assert len(list(place.iterdir())) == 1
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(tickets.Jobs, "run", run)
    result = CliRunner().invoke(tally, ["campaign", "tickets"])
    assert result.exit_code == ExitCode.INTERRUPTED and "stopped" in result.stderr
    assert list(place.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("why", ["missing", "nobody may write there", "no room"])
def test_where_memory_has_no_place_it_is_on_a_disk(
    place: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    if why == "missing":
        monkeypatch.setattr(memory, "PLACE", place / "gone")
    elif why == "no room":
        free = shutil.disk_usage(place)._replace(free=memory.ROOM - 1)
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: free)
    else:  # root may everywhere
        monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    with memory_folder() as folder:
        (folder / "server.db").touch()
        assert place not in folder.parents
    assert not folder.exists()
