"""Lines of the firmware that were executed on MicroPython, as coverage tools read them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from coverage import CoverageData

from tallystick.common.errors import BadInputError
from tallystick.emulator import boards
from tallystick.tools import firmware
from tallystick.tools.coverage import collect
from tallystick.tools.coverage.instrument import Table
from tallystick.tools.image.build import build

PRESS = """
from tallystick.tools.fresh import card
from tallystick.tools.personalise import personalise
with card("nucleo_l476rg") as device:
    device.power_on()
    personalise(device)
    device.press({ms})
    device.run_for(60_000)
"""


def test_two_processes_are_merged_into_a_file_that_coverage_reads(tmp_path: Path):
    for ms in (120, 2200):
        subprocess.run(
            [sys.executable, "-c", PRESS.format(ms=ms)],
            env={**os.environ, "TALLY_COVERAGE": str(tmp_path / "hits")},
            check=True, timeout=60,
        )  # fmt: skip
    assert len(list((tmp_path / "hits").glob("hits-*.bin"))) == 2
    data = tmp_path / ".coverage"
    lcov = tmp_path / "firmware.info"
    collect.write(tmp_path / "hits", data, lcov)
    content = CoverageData(basename=str(data))
    content.read()
    screens = str(firmware.root() / "card" / "screens.py")
    source = Path(screens).read_text().splitlines()
    executed = {source[line - 1].strip() for line in content.lines(screens) or []}
    assert any(line.startswith("def code(") for line in executed)
    assert "_qr(display, qr, 20, 0, 3)" in executed  # of the long press
    assert any(line.startswith("digits.digit(display, x") for line in executed)  # of the short one
    assert not any("flat" in line and "groups" in line for line in executed)
    assert f"SF:{screens}\n" in lcov.read_text()
    command = [sys.executable, "-c", "from tallystick.cli import main; main()", "coverage"]
    done = subprocess.run(
        [*command, str(tmp_path / "hits"), "--data", str(data), "--only", "lib/hotp.py", "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["percent"] == 100


def test_a_function_in_assembler_has_no_counters(tmp_path: Path):
    text = "@micropython.asm_thumb\ndef call(r0):\n    data(2, 0x4798)\ndef plain():\n    go()\n"
    counted = Table().instrument(text, tmp_path / "rom.py")
    body = counted.partition("def call")[2].partition("def plain")[0]
    assert body.count("COVER__[") == 1  # before `plain`
    assert counted.partition("def plain")[2].count("COVER__[") == 1


@pytest.mark.parametrize("board", ["pico", "nucleo_l476rg", "pico2"])
def test_every_device_has_an_image_with_counters(tmp_path: Path, monkeypatch, board: str):
    monkeypatch.setenv("TALLY_COVERAGE", str(tmp_path))
    build(boards.find(board).device, board, "1.0.0")
    assert list(tmp_path.glob("table-*.json"))


def test_counters_change_nothing_but_time(tmp_path: Path):
    text = (
        '"""Says."""\nTYPE_CHECKING = False\nif TYPE_CHECKING:\n    import typing\n'
        "def f(x):\n    global y\n    if x:\n        y = 1\n    elif x is None:\n        y = 2\n"
        "    else:\n        y = 3\n    return y\n"
    )
    table = Table()
    counted = table.finish(table.instrument(text, Path("m.py")))
    calls: list[int] = []

    class Hits(dict):
        def __setitem__(self, number, value):
            calls.append(table.statements[number][1])

    names: dict = {}
    code = counted.replace("from coverhits import hits", "").replace(
        f"hits({table.number})", "HITS"
    )
    exec(code, {"HITS": Hits()}, names)
    assert sorted(line for _, line in table.statements) == [5, 7, 8, 9, 10, 12, 13]
    assert calls == [5]


def test_an_empty_folder_is_a_clear_error(tmp_path: Path):
    with pytest.raises(BadInputError, match="no counters"):
        collect.collect(tmp_path)
