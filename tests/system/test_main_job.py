"""The main job as a user runs it: one command, real processes, a real serial port, real HTTP."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tallystick.emulator import boards

CARD_BOARDS = [name for name, board in boards.BOARDS.items() if board.device == "card"]


# A locale whose characters are ASCII's. Without the other two, Python takes UTF-8 for it.
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def tally(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tallystick.cli", *words]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("board", CARD_BOARDS)
def test_demo(board: str, tmp_path: Path) -> None:
    done = tally("demo", "--board", board, "--json", cwd=tmp_path, **ASCII)
    assert done.returncode == 0, done.stderr
    _leaves_no_process_and_no_secret(done, tmp_path)
    facts = json.loads(done.stdout)
    assert facts == json.loads((tmp_path / "build" / "demo.json").read_text())
    assert facts["accepted"] is True
    assert facts["second_time"] == "replayed"
    assert facts["code"].isdigit() and len(facts["code"]) == 6
    with Image.open(tmp_path / facts["picture"]) as picture:
        assert picture.width > 800


def _leaves_no_process_and_no_secret(done: subprocess.CompletedProcess[str], folder: Path) -> None:
    running = [
        path
        for path in Path("/proc").glob("[0-9]*/cwd")
        if _link(path) == str(folder) and path.parent.name != str(0)
    ]
    assert running == []
    # The credential file is not needed once the station is enrolled, and is not left behind.
    assert not (folder / "build" / "demo" / "station.json").exists()
    assert "psk" not in done.stdout + done.stderr


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""


@pytest.mark.parametrize("device", ["card", "reader"])
def test_an_image_is_the_same_in_every_locale(device: str, tmp_path: Path) -> None:
    for name, locale in (("ascii", ASCII), ("utf-8", {"PYTHONUTF8": "1"})):
        words = ["image", "build", "--device", device, "--out", name]
        done = tally(*words, cwd=tmp_path, **locale)
        assert done.returncode == 0, done.stderr
    image = f"{device}.bin"
    assert (tmp_path / "ascii" / image).read_bytes() == (tmp_path / "utf-8" / image).read_bytes()


def test_unknown_board_is_a_clear_error(tmp_path: Path) -> None:
    done = tally("demo", "--board", "toaster", "--json", cwd=tmp_path)
    assert done.returncode == 3
    error = json.loads(done.stdout)
    assert "toaster" in error["what"] and CARD_BOARDS[0] in error["todo"]
    assert not (tmp_path / "build" / "demo").exists()
