"""`tally emulate card` as a process: what it leaves behind, and what it refuses at the start."""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from tallystick.cli import main, tally
from tallystick.common.errors import BadInputError
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.kept_files import keep_flash
from tallystick.tools import fresh
from tallystick.tools.image.folder import from_folder
from tests.emulator.processes import descendants, ended

COMMAND = [sys.executable, "-m", "tallystick.cli", "emulate", "card"]


@contextlib.contextmanager
def emulating(*words: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    with subprocess.Popen([*COMMAND, *words, "--json"], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        facts: dict[str, str] = {}
        text = ""
        for line in child.stdout:
            text += line
            if line.startswith("}"):
                facts, text = json.loads(text), ""
                if "serial" in facts:
                    break
        yield child, facts
        child.terminate()
        child.wait(60)


def refused(*words: str) -> dict[str, str]:
    done = subprocess.run(
        [*COMMAND, *words, "--json"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 3, done.stderr
    result: dict[str, str] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_behind(how: signal.Signals) -> None:
    with emulating("--control", "0") as (child, _):
        family = descendants(child.pid)
        assert family, "the firmware runs in processes of its own"
        child.send_signal(how)
        child.wait(60)
        assert all(ended(pid) for pid in family)


def test_the_flash_is_kept_for_its_owner_only(tmp_path: Path) -> None:
    kept = tmp_path / "card.flash"
    with emulating("--flash", str(kept), "--serial", "TS00000077"):
        pass
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    with emulating("--flash", str(kept)) as (_, facts):
        assert facts["serial"] == "TS00000077"
    error = refused("--flash", str(kept), "--serial", "TS00000078")
    assert "TS00000077" in error["what"]


def test_a_killed_card_is_as_it_was(tmp_path: Path) -> None:
    kept = tmp_path / "card.flash"
    with emulating("--flash", str(kept), "--seeded", "--board", "pico") as (child, _):
        child.kill()
        child.wait(20)
    image = fresh.image("pico")
    descriptor = keep_flash(kept, image.board.flash_size)
    with Card(image, kept_in=descriptor) as card:
        card.power_on()
        card.press()
        assert card.read_code() == "755224"  # RFC 4226, appendix D
    os.close(descriptor)


def test_two_cards_do_not_live_in_one_file(tmp_path: Path) -> None:
    kept = tmp_path / "card.flash"
    with emulating("--flash", str(kept)):
        assert "Another emulator lives in" in refused("--flash", str(kept))["what"]
    assert "holds" in refused("--flash", str(kept), "--board", "pico")["what"]


@pytest.fixture
def looping(tmp_path: Path) -> list[str]:
    """Options that boot a firmware which prints, and then loops for ever."""
    (tmp_path / "main.py").write_text("print('hello')\nwhile True:\n    pass\n")
    image = from_folder(tmp_path, "pico")
    (tmp_path / "loop.bin").write_bytes(image.segments[0][1])
    return ["--image", str(tmp_path / "loop.bin"), "--board", "pico"]


@pytest.mark.parametrize("more", [[], ["--panel"]], ids=["plain", "time line"])
def test_ctrl_c_ends_an_endless_loop_at_once(looping: list[str], more: list[str]) -> None:
    with subprocess.Popen(
        [*COMMAND, *looping, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        for _ in range(200):
            family = descendants(child.pid)
            if len(family) > (0 if more else 2):  # fork server, mother, chip
                break
            time.sleep(0.1)
        time.sleep(1)
        child.send_signal(signal.SIGINT)
        out, error = child.communicate(timeout=30)
    assert "firmware: hello" in out
    assert 'File "main.py", line 2' in error or 'File "main.py", line 3' in error


def test_a_loop_is_ended_at_the_time_that_is_set(looping: list[str]) -> None:
    with emulating(*looping, "--loop-limit", "0.5", "--control", "0") as (_, facts):
        assert (
            httpx.get(f"{facts['control']}/state")
            .json()["crash"]
            .startswith("The firmware touched no hardware for 0.5 s: an endless loop.\nTraceback")
        )


def test_refusals_before_anything_starts(tmp_path: Path) -> None:
    missing = refused("--flash", str(tmp_path / "none" / "card.flash"))
    assert "cannot be opened to be kept" in missing["what"]
    assert "no image" in refused("--image", str(tmp_path / "card.bin"))["what"]
    assert "serial number" in refused("--serial", "short")["what"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert port in refused("--control", port)["what"]
        assert port in refused("--tcp", port)["what"]


def test_a_file_that_cannot_be_written_is_said_before_the_work_is_done(tmp_path: Path) -> None:
    for option in ("--vcd", "--current", "--events", "--apdu-log", "--flash-map"):
        words = [option, str(tmp_path / "none" / "file.svg")]
        done = CliRunner().invoke(tally, ["emulate", "card", *words])
        assert done.exit_code == 2 and f"there is no folder {tmp_path / 'none'}" in done.output


def test_a_file_error_is_one_line_and_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    words = ["--first", "TS00000001", "--out", str(tmp_path / "file" / "segments"), "--development"]
    with pytest.raises(SystemExit) as end:
        main(["image", "identity", *words])
    assert end.value.code == 3
    assert f"{tmp_path / 'file'}" in capsys.readouterr().err


@pytest.mark.parametrize("size", [1, 4095, 4097, 8192])
def test_a_file_of_another_size_is_another_flash(tmp_path: Path, size: int) -> None:
    path = tmp_path / "flash"
    path.write_bytes(b"x" * size)
    with pytest.raises(BadInputError, match=f"holds {size} bytes"):
        keep_flash(path, 4096)
    assert path.read_bytes() == b"x" * size
