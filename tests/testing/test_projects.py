"""A firmware of one's own: `tally new`, the examples, `--watch`, its coverage, its image."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from tallystick.cli import tally
from tallystick.common.errors import BadInputError, TallyError
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.device import FirmwareCrashError
from tallystick.emulator.devices.image import Image
from tallystick.emulator.devices.project import Project
from tallystick.tools.image.folder import of_project, with_files_of
from tallystick.tools.image.inspect import inspect
from tallystick.tools.image.watch import Watcher, restart, stamps
from tests.nested import LEAN

ROOT = Path(__file__).parents[2]
TALLY = [sys.executable, "-c", "from tallystick.cli import main; main()"]
KEEPS = """
import time
try:
    with open("kept.txt") as f:
        n = int(f.read())
except OSError:
    n = 0
with open("kept.txt", "w") as f:
    f.write(str(n + 1))
print("start", n, "A")
time.sleep(60)
"""


def suite(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """pytest in the folder, as its author runs it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *LEAN, *words],
        cwd=folder, env=kept | environment,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("board", ["pico", "nucleo_l476rg", "pico2_card"])
def test_a_new_project_passes_its_own_tests(tmp_path, monkeypatch, board):
    monkeypatch.chdir(tmp_path)
    made = CliRunner().invoke(tally, ["new", "lamp", "--board", board])
    assert made.exit_code == 0 and "pip install 'tallystick[panel]'" in made.output
    done = suite(tmp_path / "lamp")
    assert "2 passed" in done.stdout, done.stdout


def test_a_new_project_takes_no_place_and_no_odd_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lamp").mkdir()
    for name in ("lamp", "../lamp", "a/b", "", "7up", "x" * 65, "-x"):
        result = CliRunner().invoke(tally, ["new", "--", name])
        assert isinstance(result.exception, BadInputError), name
    assert not list((tmp_path / "lamp").iterdir())
    for board in ("pico2", "pico9"):
        result = CliRunner().invoke(tally, ["new", "other", "--board", board])
        assert isinstance(result.exception, BadInputError)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["two-buttons", "async-logger"])
def test_the_examples_pass(tmp_path, name):
    folder = tmp_path / name
    shutil.copytree(ROOT / "examples" / name, folder)
    done = suite(folder)
    assert "3 passed" in done.stdout, done.stdout


def test_what_the_second_display_of_ones_own_board_is_told_wrongly_fails_the_test(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    CliRunner().invoke(tally, ["new", "lamp"])
    (tmp_path / "lamp" / "board.toml").write_text(
        'board = "pico"\n[[part]]\nkind = "ssd1306"\nname = "one"\nbus = [19, 18]\n'
        '[[part]]\nkind = "ssd1306"\nname = "two"\nbus = [19, 18]\naddress = 0x3D\n'
    )
    (tmp_path / "lamp" / "firmware" / "main.py").write_text(
        "from machine import I2C, Pin\nimport time\ntime.sleep_ms(200)\n"
        "I2C(1, scl=Pin(19), sda=Pin(18)).writeto(0x3D, bytes((0, 0x37)))\n"
    )
    for test in (tmp_path / "lamp" / "tests").glob("test_*.py"):
        test.write_text("def test_it(board):\n    board.pass_time(1)\n")
    done = suite(tmp_path / "lamp")
    assert "1 failed" in done.stdout and "not in the data sheet: 37" in done.stdout, done.stdout


def test_coverage_of_ones_own_firmware(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    CliRunner().invoke(tally, ["new", "lamp"])
    main = tmp_path / "lamp" / "firmware" / "main.py"
    main.write_text(main.read_text() + "    if pause_ms > 9999:\n        print('never')\n")
    done = suite(tmp_path / "lamp", TALLY_COVERAGE=str(tmp_path / "hits"))
    assert "2 passed" in done.stdout, done.stdout
    found = subprocess.run(
        [*TALLY, "coverage", str(tmp_path / "hits"), "--json"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    (figures,) = json.loads(found.stdout)["files"].values()
    last = len(main.read_text().splitlines())
    assert figures["missing"] == [last] and figures["executed"] > 8


def test_an_image_of_ones_own_boots_and_may_write(tmp_path, monkeypatch):
    (tmp_path / "main.py").write_text(KEEPS)
    (tmp_path / "other.py").write_text("X = 1\n")
    out = tmp_path / "out"
    words = ["image", "build", "--firmware", str(tmp_path), "--board", "pico", "--out", str(out)]
    result = CliRunner().invoke(tally, [*words, "--json"])
    assert json.loads(result.output)["device"] == "firmware"
    found = inspect(out)
    assert set(found.files) == {"main.py", "other.mpy"}
    assert [area.name for area in found.areas] == ["MicroPython", "file system"]  # no slots
    for kind in ("bin", "hex", "uf2"):
        with Card(Image.load(out / f"firmware.{kind}"), seed=1) as card:
            card.power_on()
            card.power_off()
            card.power_on()
            assert card.console == "start 0 A\nstart 1 A\n"
    (tmp_path / "other.py").write_text("X = = 1\n")
    for bad in (words, [*words, "--heap"]):
        assert CliRunner().invoke(tally, bad).exit_code != 0


# -- watching ----------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "firmware"
    folder.mkdir()
    (folder / "main.py").write_text(KEEPS)
    (tmp_path / "board.toml").write_text('board = "pico"\n')
    return Project.find(tmp_path)


def test_a_change_is_built_and_keeps_what_the_firmware_wrote(project):
    found: list[Image | TallyError] = []
    watcher = Watcher(project, found.append, stamps(project))
    watcher.look()
    assert not found
    main = project.firmware / "main.py"
    with Card(of_project(project), seed=1, fittings=project.fittings()) as card:
        card.power_on()
        raw = card.board.storage.end - 4096
        card.flash.load(raw, b"raw")
        main.write_text(KEEPS.replace('"A"', '"B", 12345'))
        watcher.look()
        began = time.monotonic()
        restart(card, found.pop())
        assert time.monotonic() - began < 1.5
        assert card.console == "start 0 A\nstart 1 B 12345\n"
        assert card.flash.memory[raw : raw + 3] == b"raw"

        (project.firmware / "broken.py").write_text("def f(:\n")
        watcher.look()
        assert "broken.py does not compile" in str(found.pop())
        (project.firmware / "broken.py").unlink()
        watcher.look()
        restart(card, found.pop())
        assert card.console.endswith("start 2 B 12345\n")
        main.unlink()
        watcher.look()
        assert "main.py" in str(found.pop())
        assert card.powered


def test_a_change_while_the_emulator_starts_is_built_as_well(project):
    """Between the first build and the first look, which comes when all else runs."""
    found: list[Image | TallyError] = []
    seen = stamps(project)
    of_project(project)
    (project.firmware / "main.py").write_text(KEEPS.replace('"A"', '"B", 12345'))
    Watcher(project, found.append, seen).look()
    assert len(found) == 1 and isinstance(found[0], Image)


def test_a_main_that_does_not_compile_is_told_with_its_line(project):
    """It goes to the board as source, and is compiled here all the same."""
    main = project.firmware / "main.py"
    main.write_text("x = 1\n\nmatch x:\n    case 1:\n        pass\n")
    with pytest.raises(BadInputError, match=r"main\.py does not compile: line 3: SyntaxError"):
        of_project(project)


def test_another_board_toml_is_told(project):
    """Parts are wired before power-on."""
    (project.firmware.parent / "tilt.py").write_text("")
    (project.firmware.parent / "board.toml").write_text(
        'board = "pico"\n[[part]]\nkind = "tilt:Tilt"\npin = 3\n'
    )
    project = Project.find(project.firmware.parent)
    found: list[Image | TallyError] = []
    watcher = Watcher(project, found.append, stamps(project))
    for name in ("board.toml", "tilt.py"):
        with (project.firmware.parent / name).open("a") as file:
            file.write("# changed\n")
        watcher.look()
        (told,) = found
        assert isinstance(told, TallyError) and name in told.what
        assert "start the emulator again" in told.todo.lower()
        found.clear()
    watcher.look()
    assert not found


READS = """
import os
print(sorted(os.listdir()), open("note.txt").read().strip())
with open("note.txt", "w") as file:
    file.write("written")
"""


def test_files_that_are_no_modules_lie_on_the_board(project):
    main, note = project.firmware / "main.py", project.firmware / "note.txt"
    main.write_text(READS)
    note.write_text("first")
    for name in (".hidden", "__pycache__/x.pyc", ".git/config"):
        (project.firmware / name).parent.mkdir(exist_ok=True)
        (project.firmware / name).write_text("no")
    with Card(of_project(project), seed=1, fittings=project.fittings()) as card:
        card.power_on()
        assert card.console == "['main.py', 'note.txt'] first\n"
        main.write_text(READS + "# changed\n")
        restart(card, of_project(project))
        assert card.console.endswith("written\n")  # the firmware's own word stays
        note.write_text("second")
        restart(card, of_project(project))
        assert card.console.endswith("second\n")  # and goes for another of ours
        note.unlink()
        main.write_text("import os\nprint(os.listdir())\n")
        restart(card, of_project(project))
        assert card.console.endswith("['main.py']\n")
    note.write_text("first")
    image = of_project(project)
    with Card(image, seed=1, fittings=project.fittings()) as card:  # `--flash`, another day
        card.power_on()
        card.flash.load(image.board.storage.address, with_files_of(image, b"").segments[0][1])
        assert with_files_of(image, bytes(card.flash.memory)).segments == image.segments


def test_a_folder_with_all_else_in_it_gives_its_modules(tmp_path):
    """main.py beside tests, a virtual environment, what was built, and a part."""
    for name, text in {
        "main.py": "import pack.inner\nimport font\n", "pack/__init__.py": "", "README.md": "x",
        "pack/inner.py": "print(open('a.bin').read())\n", "font.py": "print('font')\n",
        "pack/tests/__init__.py": "", "tests/test_it.py": "import pytest\n",
        "test_more.py": "match 1:\n    case 1: pass\n", "conftest.py": "match 1:\n    case _: 1\n",
        "env/pyvenv.cfg": "", "env/lib/x.py": "type X = int\n", "a.bin": "content",
        ".venv/x.py": "type X = int\n", "build/firmware.bin": "old",
        "tilt.py": "match 1:\n    case 1: pass\n",
        "board.toml": 'board = "pico"\nfiles = ["*.bin"]\n'
                      '[[part]]\nkind = "tilt:Tilt"\npin = 3\n',
    }.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    project = Project.find(tmp_path)
    assert list(project.on_board.modules()) == [
        "font.py", "main.py", "pack/__init__.py", "pack/inner.py", "pack/tests/__init__.py",
    ]  # fmt: skip
    assert list(project.on_board.data()) == ["a.bin"]
    with Card(of_project(project), seed=1) as card:
        card.power_on()
        assert card.console == "content\nfont\n"
    board = tmp_path / "board.toml"
    board.write_text('files = ["*.ttf"]\n')
    with pytest.raises(BadInputError, match=r"'\*\.ttf' fits no file"):
        of_project(Project.find(tmp_path))
    board.write_text("files = 3\n")
    with pytest.raises(BadInputError, match="something else"):
        Project.find(tmp_path)
    board.write_text("")
    assert not Project.find(tmp_path).on_board.data()


NATIVE = """import micropython


@micropython.native
def more(x):
    return x + 1


@micropython.viper
def three(x: int) -> int:
    y = x * 3
    return y


print(more(2), three(4))
"""


@pytest.mark.parametrize("covered", [False, True])
def test_a_module_with_machine_code_goes_there_as_source(project, tmp_path, monkeypatch, covered):
    if covered:
        (tmp_path / "hits").mkdir()
        monkeypatch.setenv("TALLY_COVERAGE", str(tmp_path / "hits"))
    (project.firmware / "fast.py").write_text(NATIVE)
    (project.firmware / "main.py").write_text("import fast\n")
    with Card(of_project(project), seed=1, fittings=project.fittings()) as card:
        card.power_on()
        assert card.console == "3 12\n"
    (project.firmware / "fast.py").write_text(NATIVE + "x = (\n")
    with pytest.raises(BadInputError, match=r"fast\.py does not compile: line 1\d"):
        of_project(project)


def test_a_traceback_of_a_covered_firmware_names_its_own_lines(project, tmp_path, monkeypatch):
    (tmp_path / "hits").mkdir()
    monkeypatch.setenv("TALLY_COVERAGE", str(tmp_path / "hits"))
    (project.firmware / "fails.py").write_text("# x\n\n\ndef f():\n    # y\n    return 1 // 0\n")
    (project.firmware / "main.py").write_text("# x\nimport fails\n\n\nfails.f()\n")
    with (
        Card(of_project(project), seed=1, fittings=project.fittings()) as card,
        pytest.raises(FirmwareCrashError) as crash,
    ):
        card.power_on()
    assert '"main.py", line 5' in str(crash.value) and '"fails.py", line 6' in str(crash.value)


def test_a_flash_without_a_file_system_is_taken_as_new(project):
    image = of_project(project)
    assert with_files_of(image, b"\xff" * image.board.flash_size) == image
    assert with_files_of(image, os.urandom(image.board.flash_size)) == image


def test_the_command_watches_and_its_interface_moves_parts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    CliRunner().invoke(tally, ["new", "lamp"])
    with subprocess.Popen(
        [*TALLY, "emulate", "card", "--firmware", "lamp", "--watch", "--control", "0", "--json",
         "--flash", "flash.bin"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            lines = [""]
            while lines[-1] != "}\n":
                lines.append(process.stdout.readline())
                assert lines[-1], process.stderr.read()
            with httpx.Client(base_url=json.loads("".join(lines))["control"], timeout=60) as http:
                assert http.get("/state").json()["parts"]["faster"] == {"down": False}
                http.post("/parts/faster", json={"action": "press"}).raise_for_status()
                http.post("/clock", json={"advance_ms": 1000}).raise_for_status()
                state = http.get("/state").json()
                assert state["console"] == "pause 250\n" and state["parts"]["lamp"]["changes"] > 3
                refused = http.post("/parts/nobody", json={"action": "press"})
                assert refused.status_code == 400 and "no part" in refused.text
                main = tmp_path / "lamp" / "firmware" / "main.py"
                main.write_text("print('again')\n" + main.read_text())
                began = time.monotonic()
                while http.get("/state").json()["boots"] < 2:
                    assert time.monotonic() - began < 30
                assert "again" in http.get("/state").json()["console"]
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.parametrize(
    "words",
    [["--watch"], ["--firmware", ".", "--seeded"], ["--firmware", ".", "--serial", "TS00000001"]],
)
def test_options_of_a_card_and_of_a_firmware_do_not_mix(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(tally, ["emulate", "card", *words]).exit_code == 2
