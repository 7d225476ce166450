"""The pytest plugin, by suites that use it in a pytest of their own."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from _pytest.outcomes import Skipped

from tallystick.testing.cards import CardOnChip
from tallystick.testing.golden import Golden
from tallystick.tools.fresh import card as fresh_card
from tallystick.tools.second_opinion.ours import Ours
from tallystick.tools.second_opinion.scenario import entropy
from tests import needs
from tests.nested import LEAN

EXAMPLE = Path(__file__).parents[2] / "examples" / "press-counter"
TALLY = [sys.executable, "-c", "from tallystick.cli import main; main()"]

SUITE = """
import pytest
from _pytest.outcomes import Skipped

def test_codes(card):
    assert [card.press_for_code(), card.read_code()] == [card.expected_code(0)] * 2
    if {emulated}:
        card.wait_dark()
        assert card.press_for_code() == card.expected_code(1)

def test_screen(card):
    card.hold()
    card.assert_screen("who am i")

@pytest.mark.campaign
@pytest.mark.parametrize("case", [1, 2])
def test_case(card, case):
    card.press()
    assert case == 1
"""


@pytest.fixture(autouse=True)
def lean(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `pytester`, which discards these options."""
    monkeypatch.setenv("PYTEST_ADDOPTS", " ".join(LEAN))


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(test_card=SUITE.format(emulated=True))
    return pytester


def test_a_screen_is_accepted_once_and_compared_from_then_on(suite):
    suite.runpytest_subprocess("-k", "screen").assert_outcomes(failed=1)
    suite.runpytest_subprocess("--golden", "-k", "screen").assert_outcomes(passed=1)
    golden = suite.path / "golden.json"
    assert list(json.loads(golden.read_text())) == ["test_screen"]
    suite.runpytest_subprocess("-k", "screen").assert_outcomes(passed=1)

    (suite.path / "test_card.py").write_text(SUITE.replace("card.hold()", "card.press()"))
    result = suite.runpytest_subprocess("-k", "screen")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*is not the accepted one.*", "*pytest --golden*"])
    folder = suite.path / ".tally" / "test_screen"
    page = (folder / "who_am_i.html").read_text()
    for picture in ("accepted", "now", "difference"):
        assert f"who_am_i-{picture}.png" in page
        assert (folder / f"who_am_i-{picture}.png").read_bytes().startswith(b"\x89PNG")


def test_a_fresh_checkout_has_the_accepted_picture_to_compare_with(suite):
    """CI has what is in git: the hashes, and with `--golden-pictures` the pictures beside them."""
    suite.runpytest_subprocess("--golden", "--golden-pictures", "-k", "screen").assert_outcomes(
        passed=1
    )
    (picture,) = (suite.path / "golden").glob("*.png")
    (digest,) = json.loads((suite.path / "golden.json").read_text())["test_screen"].values()
    assert picture.stem == digest and len(picture.read_bytes()) < 1000
    shutil.rmtree(suite.path / ".tally")

    (suite.path / "test_card.py").write_text(SUITE.replace("card.hold()", "card.press()"))
    suite.runpytest_subprocess("-k", "screen").assert_outcomes(failed=1)
    folder = suite.path / ".tally" / "test_screen"
    page = (folder / "who_am_i.html").read_text()
    for title in ("accepted", "now", "difference"):
        assert (folder / f"who_am_i-{title}.png").read_bytes().startswith(b"\x89PNG")
        assert f"who_am_i-{title}.png" in page

    picture.write_bytes(b"damaged")
    suite.runpytest_subprocess("-k", "screen").assert_outcomes(failed=1)
    assert "--golden-pictures" in (folder / "who_am_i.html").read_text()
    # Accepted anew: the picture that nothing names any more goes.
    suite.runpytest_subprocess("--golden", "--golden-pictures", "-k", "screen")
    assert [one.stem for one in (suite.path / "golden").glob("*.png")] != [digest]
    assert len(list((suite.path / "golden").glob("*.png"))) == 1


def test_a_board_that_no_card_is_made_of_is_told_before_any_test(suite):
    for board, words in (("pico2", "is a reader's board"), ("pico9", "is no board")):
        result = suite.runpytest_subprocess(f"--tally-board={board}")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"*--tally-board={board} {words}: use one of *pico*"])


def test_failures_keep_traces_and_campaigns_give_sarif_under_xdist(suite):
    result = suite.runpytest_subprocess(
        "-n2", "--golden", "--tally-trace", "--tally-sarif=out/c.sarif", "--junitxml=out/j.xml"
    )
    result.assert_outcomes(passed=3, failed=1)
    folder = suite.path / ".tally" / "test_case_2"
    kept = {path.name for path in folder.iterdir()}
    assert kept == {
        f"TS00000001{end}" for end in (".png", ".vcd", "-current.csv", "-apdu.log", "-events.jsonl")
    }
    sarif = json.loads((suite.path / "out" / "c.sarif").read_text())
    (finding,) = sarif["runs"][0]["results"]
    assert finding["ruleId"] == "test_case"
    assert "Replay: pytest 'test_card.py::test_case[2]'" in finding["message"]["text"]
    assert 'failures="1"' in (suite.path / "out" / "j.xml").read_text()


def test_the_same_suite_on_a_board(pytester: pytest.Pytester, tmp_path: Path):
    """The board is an emulated card behind a real pty; its control interface has the hands."""
    pytester.makepyfile(test_card=SUITE.format(emulated=False))
    board = subprocess.Popen(
        [*TALLY, "emulate", "card", "--pty", "--control", "0", "--json"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert board.stdout
        lines = []
        while not lines or lines[-1] != "}\n":
            lines.append(board.stdout.readline())
        where = json.loads("".join(lines))
        result = pytester.runpytest_subprocess(
            f"--tally-backend=serial:{where['port']}", f"--tally-hands={where['control']}"
        )
        result.assert_outcomes(passed=2, failed=1, skipped=1)  # the screen needs an emulated card
    finally:
        board.send_signal(signal.SIGTERM)
        board.wait(60)
        board.stdout.close()


def test_nobody_at_a_board_skips(pytester: pytest.Pytester):
    pytester.makepyfile("def test_it(fleet): fleet(2)")
    result = pytester.runpytest_subprocess("--tally-backend=serial:/dev/null")
    result.assert_outcomes(skipped=1)
    result = pytester.runpytest_subprocess("--tally-backend=usb")
    result.stdout.fnmatch_lines(["*use emulator, resident or serial:DEV, or chip:MICROPYTHON*"])


def test_station_server_and_fleet(pytester: pytest.Pytester):
    pytester.makepyfile(
        """
        def test_chain(fleet, station):
            cards = fleet(2)
            assert [card.serial for card in cards] == ["TS00000001", "TS00000002"]
            for card in cards:
                outcome = station.provision(card)
                assert outcome.serial == card.serial
            codes = {card.press_for_code() for card in cards}
            assert len(codes) == 2
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_the_example_of_another_firmware_passes(pytester: pytest.Pytester):
    shutil.copytree(EXAMPLE, pytester.path, dirs_exist_ok=True)
    pytester.runpytest_subprocess("-c", "pyproject.toml").assert_outcomes(passed=4)


@pytest.mark.parametrize("backend", ["emulator", "resident"])
def test_where_firmware_runs(pytester: pytest.Pytester, backend: str):
    pytester.makepyfile(f"""
        from tallystick.emulator.interpreter.resident import ResidentLink

        def test_a_press(card):
            card.personalise()
            assert card.press_for_code() == card.expected_code(0)
            # The code is up: the firmware is in a light sleep, and has not ended.
            assert isinstance(card.device.mcu.link, ResidentLink) is {backend == "resident"}
    """)
    result = pytester.runpytest_subprocess(f"--tally-backend={backend}", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)


FAULTY = """
def test_faulty(blank_card):
    blank_card.device.display.errors.append("a clock that is too fast")

def test_forgiven(blank_card):
    blank_card.device.display.errors.append("meant")
    blank_card.device.display.errors.clear()

def test_printed(blank_card):
    assert blank_card.console == ""
    assert 0
"""


def test_what_a_display_does_not_take_fails_the_test_that_did_it(pytester: pytest.Pytester):
    pytester.makepyfile(test_card=FAULTY)
    result = pytester.runpytest_subprocess("-k", "not printed")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*display: a clock that is too fast*"])


FOREIGN = """
def test_it_prints(blank_card):
    assert blank_card.console == "hello\\n"
    blank_card.pass_time(1)
    assert not blank_card.console
"""


def test_a_report_has_what_the_firmware_printed(pytester: pytest.Pytester):
    pytester.makepyfile(test_card=FOREIGN)
    folder = pytester.mkdir("firmware")
    (folder / "main.py").write_text("print('hello')\n")
    result = pytester.runpytest_subprocess(f"--tally-firmware={folder}")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*it printed: hello*"])


def test_a_loop_ends_at_the_time_that_is_set_in_either_way(pytester: pytest.Pytester):
    pytester.makepyfile(test_card="def test_it(blank_card):\n    pass\n")
    folder = pytester.mkdir("firmware")
    (folder / "main.py").write_text("while True:\n    pass\n")
    for backend in ("emulator", "resident"):
        result = pytester.runpytest_subprocess(
            f"--tally-firmware={folder}", "--tally-loop-limit=0.5", f"--tally-backend={backend}"
        )
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*no hardware for 0.5 s: an endless loop*"])


HANDS = """
import httpx

class Rig:
    def __init__(self):
        self.http = httpx.Client(base_url="{url}", timeout=60)

    def press(self, ms):
        self.http.post("/button", json={{"ms": ms}}).raise_for_status()

    def code(self):
        return self.http.get("/display", params={{"format": "json"}}).json()["code"]

    def undocked(self):
        while self.http.get("/state").json()["docked"]:
            pass
        self.http.post("/clock", json={{"advance_ms": 1000}}).raise_for_status()

    def close(self):
        self.http.close()

class OneHanded:
    def press(self, ms):
        pass
"""


def test_hands_of_ones_own_press_and_read(pytester: pytest.Pytester):
    pytester.makepyfile(test_card=SUITE.format(emulated=False))
    with subprocess.Popen(
        [*TALLY, "emulate", "card", "--pty", "--control", "0", "--json"],
        stdout=subprocess.PIPE, text=True,
    ) as board:  # fmt: skip
        try:
            assert board.stdout
            lines = []
            while not lines or lines[-1] != "}\n":
                lines.append(board.stdout.readline())
            where = json.loads("".join(lines))
            (pytester.path / "rig.py").write_text(HANDS.format(url=where["control"]))
            backend = f"--tally-backend=serial:{where['port']}"
            result = pytester.runpytest_subprocess(backend, "--tally-hands=rig.py:Rig", "-rs")
            result.assert_outcomes(passed=2, failed=1, skipped=1)
            result.stdout.fnmatch_lines(["*card.device is nothing that a real board can do*"])
            for name, words in (
                ("rig.py:OneHanded", "OneHanded has no code()"),
                ("rig.py:Nobody", "Nobody is not there"),
                ("somebody", "use ask, a URL, or FILE.py:CLASS"),
                ("none.py:Rig", "There is no"),
            ):
                wrong = pytester.runpytest_subprocess(backend, f"--tally-hands={name}")
                wrong.stdout.fnmatch_lines([f"*{words}*"])
        finally:
            board.send_signal(signal.SIGTERM)


OWN_RIG = """
class Rig:
    def power(self, on):
        with open("said.txt", "a") as file:
            file.write(f"power {on}\\n")

    def press_part(self, name, ms):
        with open("said.txt", "a") as file:
            file.write(f"{name} {ms}\\n")

    def look(self, name):
        return {"lit": True}

    def wait(self, seconds):
        pass
"""
OWN_BENCH = """
def test_what_the_rig_can_do(board):
    board.press_part("faster", 50)
    assert board.part("lamp").lit

def test_what_the_board_prints(board):
    assert board.console == ""

def test_what_it_cannot_see(board):
    assert board.part("lamp").changes > 3

def test_what_it_cannot_do(board):
    board.do("faster", "press")

def test_pixels(board):
    board.assert_screen("x")
"""


def test_the_tests_of_ones_own_firmware_on_a_board(pytester: pytest.Pytester):
    """Those that `tally new` writes, as they are: the board is an emulated one behind a pty."""
    subprocess.run([*TALLY, "new", "lamp"], check=True, cwd=pytester.path, capture_output=True)
    with subprocess.Popen(
        [*TALLY, "emulate", "card", "--firmware", "lamp", "--pty", "--control", "0", "--json"],
        stdout=subprocess.PIPE, text=True, cwd=pytester.path,
    ) as board:  # fmt: skip
        try:
            assert board.stdout
            lines = [""]
            while lines[-1] != "}\n":
                lines.append(board.stdout.readline())
            where = json.loads("".join(lines))
            backend = f"--tally-backend=serial:{where['port']}"
            firmware = f"--tally-firmware={pytester.path / 'lamp'}"
            result = pytester.runpytest_subprocess(
                "lamp/tests", firmware, backend, f"--tally-hands={where['control']}"
            )
            result.assert_outcomes(passed=2)
            (pytester.path / "rig.py").write_text(OWN_RIG)
            pytester.makepyfile(test_own=OWN_BENCH)
            result = pytester.runpytest_subprocess(
                "test_own.py", firmware, backend, "--tally-hands=rig.py:Rig", "-rs"
            )
            result.assert_outcomes(passed=2, skipped=3)
            result.stdout.fnmatch_lines_random(
                [
                    "*board.do is nothing that these hands can do: they have no do()*",
                    "*lamp.changes is nothing that these hands can see*",
                    "*board.assert_screen is nothing that a real board can do*",
                ]
            )
            said = (pytester.path / "said.txt").read_text().splitlines()
            assert said.count("power False") == said.count("power True") == 5
            assert "faster 50" in said
        finally:
            board.send_signal(signal.SIGTERM)
    lost = pytester.runpytest_subprocess(
        "test_own.py", firmware, "--tally-backend=serial:/dev/nothing", "--tally-hands=rig.py:Rig"
    )
    lost.stdout.fnmatch_lines(["*/dev/nothing cannot be opened*"])


ANY_BENCH = """
def test_codes(card):
    assert card.press_for_code() == card.expected_code(0)
    card.wait_dark()
    assert card.press_for_code() == card.expected_code(1)

def test_screen(card):
    card.press()
    card.assert_screen("a code")
    card.wait_dark()
    card.pull_cell()
    card.insert_cell()
    card.pass_time(1)
    assert card.press_for_code() == card.expected_code(1)

def test_cut(card):
    card.cut_power_at_flash(0)
    card.press()
"""


@pytest.mark.parametrize(
    ("board", "file"),
    [
        pytest.param(board, file, marks=needs.second_opinion[file].mark)
        for board, file in (
            ("pico", "pico"), ("nucleo_l476rg", "nucleo_l476rg"), ("pico2_card", "pico2"),
        )
    ],
)  # fmt: skip
def test_one_file_on_an_instruction_level_chip(pytester: pytest.Pytester, board, file):
    # Of an RP2350 the random bytes come by a symbol.
    suffixes = (".elf",) if file == "pico2" else needs.FIRMWARE_SUFFIXES
    firmware = needs.firmware_file(file, suffixes)
    pytester.makepyfile(test_card=ANY_BENCH)
    words = (f"--tally-board={board}", "-p", "no:cacheprovider")
    pytester.runpytest_subprocess(*words, "--golden").assert_outcomes(passed=3)
    result = pytester.runpytest_subprocess(*words, f"--tally-backend=chip:{firmware}", "-rs")
    result.assert_outcomes(passed=2, skipped=1)
    result.stdout.fnmatch_lines(["*card.cut_power_at_flash is nothing that an instruction-level*"])


@needs.second_opinion["nucleo_l476rg"].mark
def test_the_suite_of_another_firmware_on_an_instruction_level_chip(tmp_path):
    """The same files and the same golden screens as on the emulator."""
    folder = tmp_path / "counter"
    shutil.copytree(Path(__file__).parents[2] / "examples/press-counter", folder)
    chip = f"--tally-backend=chip:{needs.firmware_file('nucleo_l476rg')}"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", chip, "-rs"],
        cwd=folder, capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert "3 passed, 1 skipped" in done.stdout, done.stdout
    assert "card.device is nothing that an instruction-level chip can do" in done.stdout


def test_parts_of_a_board_file_are_skipped_on_a_chip_by_name(tmp_path):
    (tmp_path / "main.py").write_text("print('hi')")
    (tmp_path / "board.toml").write_text('board = "pico"\n[[part]]\nkind = "led"\npin = 1\n')
    (tmp_path / "test_it.py").write_text("def test_it(board): pass\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "--tally-firmware=.",
         "--tally-backend=chip:x.uf2"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "1 skipped" in done.stdout and "parts of board.toml are nothing" in done.stdout


def test_a_card_on_a_chip_has_the_verbs(monkeypatch, tmp_path):
    """The chip here is our emulator's, which has the same interface: that needs no MicroPython."""
    with fresh_card("pico") as device:
        golden = Golden("test", tmp_path, tmp_path, accept=True)
        chip = Ours(device, 3000, entropy("test"))
        card = CardOnChip(chip, device.palette, "TS00000001", golden)
        card.insert_cell()
        card.personalise()
        assert card.press_for_code() == card.expected_code(0)
        card.assert_screen("a code")
        card.wait_dark()
        assert card.screen().blank and card.code() is None
        card.pull_cell()
        card.insert_cell()
        card.pass_time(1)
        assert card.press_for_code() == card.expected_code(1)
        for verb in (
            lambda: card.device, lambda: card.console, lambda: card.part("x"),
            lambda: card.set_cell(2000), card.cut_power_at_flash,
        ):  # fmt: skip
            with pytest.raises(Skipped, match="instruction-level chip"):
                verb()


def test_a_micropython_that_is_not_there_is_told(pytester: pytest.Pytester):
    pytester.makepyfile("def test_it(card): pass")
    result = pytester.runpytest_subprocess("--tally-backend=chip:none.uf2", "--tally-board=pico")
    result.stdout.fnmatch_lines(["*There is no MicroPython none.uf2*"])
