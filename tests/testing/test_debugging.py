"""`pytest --tally-debug`: a failing test stands still, and can be gone back in."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import needs
from tests.tools.debugger.test_debugger import Editor, Stop

MAIN = """import time

turns = 0


def turn():
    global turns
    turns += 1


while True:
    turn()
    print("turn", turns)
    time.sleep(1)
"""
TEST = """def test_three_turns(board):
    for second in range(3):
        board.pass_time(1)
    assert board.console.count("turn") == 3, "three turns"


def test_that_passes(board):
    board.pass_time(1)
    assert "turn 1" in board.console
"""


class FailedTest(Editor):
    """pytest, which stands still at a failure, and an editor that comes to it."""

    def __init__(self, folder: Path, *words: str) -> None:
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q"]
        self._process = subprocess.Popen(
            [*command, "--tally-firmware=firmware", "--tally-debug", *words],
            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.told = ""
        self.come()
        self.connect()

    def come(self) -> None:
        """To the next failure."""
        assert self._process.stdout
        found = None
        while found is None:
            line = self._process.stdout.readline()
            assert line, self.told
            self.told += line
            found = re.search(r"debug adapter: 127\.0\.0\.1:(\d+)", line)
        self.port = int(found[1])

    def look(self) -> Stop:
        assert self.ask("initialize")["supportsStepBack"]
        assert self.ask("attach") == {}
        self.wait("initialized")
        self.send("configurationDone")
        return self.stop()

    def rest(self) -> str:
        """What pytest says in the end."""
        return self.told + self._process.communicate(timeout=60)[0]


def _project(folder: Path, main: str = MAIN, test: str = TEST) -> Path:
    (folder / "firmware").mkdir()
    (folder / "firmware" / "main.py").write_text(main)
    (folder / "board.toml").write_text(
        'board = "pico"\n[[part]]\nkind = "button"\nname = "key"\npin = 15\n'
    )
    (folder / "test_it.py").write_text(test)
    return folder.resolve()


@pytest.fixture
def project(tmp_path):
    return _project(tmp_path)


def test_a_failure_opens_on_its_line_and_goes_back(project):
    editor = FailedTest(project)
    try:
        stop = editor.look()
        assert stop.reason == "exception"
        assert "test_it.py:4: AssertionError: three turns" in stop.text
        assert editor.where()[0] == ("<module>", 14)
        assert editor.where()[-1] == ("test_three_turns", 3)  # the test's line, below the firmware
        assert editor.variables()["turns"] == "4"
        frames = editor.ask("stackTrace", threadId=1)["stackFrames"]
        assert frames[-1]["source"]["path"] == str(project / "test_it.py")
        assert editor.variables(len(frames) - 1)["second"] == "2"
        told = editor.ask("evaluate", expression="second * 7", frameId=frames[-1]["id"])
        assert told["result"] == "14"
        assert "NameError" in editor.ask("evaluate", expression="n", frameId=frames[-1]["id"])
        # Back over the test's own steps, and forward to the failure again.
        editor.set((project / "firmware" / "main.py", 8))
        for second in ("2", "1", "0"):
            assert editor.go("reverseContinue").reason == "breakpoint"
            assert editor.where()[0] == ("turn", 8)
            assert editor.variables(len(editor.where()) - 1).get("second") == second
        editor.set()
        editor.ask(
            "setBreakpoints", source={"path": str(project / "firmware/main.py")}, breakpoints=[]
        )
        assert "three turns" in editor.go("continue").text
        editor.ask("disconnect")
        editor.leave()
        told = editor.rest()
        assert "1 failed, 1 passed" in told and told.count("three turns") < 8
    finally:
        editor.close()


def test_a_crash_at_the_start_stands_still_too(tmp_path):
    project = _project(tmp_path, MAIN.replace("turns += 1", "turns += None"))
    editor = FailedTest(project, "-k", "passes")
    try:
        stop = editor.look()
        assert "TypeError" in stop.text and editor.where()[0] == ("turn", 8)
        editor.go("stepBack")
        assert editor.where()[0] == ("<module>", 12)
        editor.ask("disconnect")
        editor.leave()
        assert "1 error" in editor.rest()
    finally:
        editor.close()


def test_what_is_changed_on_the_way_is_told(project):
    """A press that the test did not do: the run is another one then."""
    test = TEST.replace(
        'count("turn") == 3', 'count("turn") == 3 or board.part("key").state()["down"]'
    )
    (project / "test_it.py").write_text(test)
    editor = FailedTest(project, "-k", "three")
    try:
        editor.look()
        editor.go("stepBack")
        editor.ask("evaluate", expression=".do key down")
        assert "passed this time" in editor.go("continue").text
    finally:
        editor.close()


def test_a_board_beside_it_goes_back_with_it(project):
    """Its flash, too: else the test would not do the same again."""
    (project / "firmware" / "main.py").write_text(
        "import time\ntry:\n    n = len(open('n').read())\nexcept OSError:\n    n = 0\n"
        "with open('n', 'w') as file:\n    file.write('x' * (n + 1))\n"
        "print('start', n)\ntime.sleep(100)\n"
    )
    (project / "test_it.py").write_text(
        "def test_two(fleet):\n    one, other = fleet(2)\n    for n in range(4):\n"
        "        other.pull_cell()\n        one.pull_cell()\n        other.insert_cell()\n"
        "        one.insert_cell()\n    said = other.console.splitlines()[-1]\n"
        "    assert said == one.console.splitlines()[-1] and said == 'start 5'\n"
    )
    editor = FailedTest(project)
    try:
        assert "'start 4' == 'start 5'" in editor.look().text
        editor.set((project / "firmware" / "main.py", 8))
        for n in ("4", "3", "2"):
            assert editor.go("reverseContinue").reason == "breakpoint"
            assert editor.variables()["n"] == n
        editor.ask(
            "setBreakpoints", source={"path": str(project / "firmware/main.py")}, breakpoints=[]
        )
        assert "'start 4' == 'start 5'" in editor.go("continue").text
    finally:
        editor.close()


def test_nobody_comes_and_pytest_ends(project):
    editor = FailedTest(project, "-k", "three")
    try:
        editor.leave()  # it looked in, and went: the next is waited for
        editor.connect()
        assert editor.ask("initialize")["supportsStepBack"]
        editor.leave()
        os.kill(editor._process.pid, signal.SIGINT)
        assert "1 failed" in editor.rest()
    finally:
        editor.close()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--tally-debug"], "needs sources"),
        (["--tally-debug", "--tally-firmware=firmware", "-n", "2"], "leave -n out"),
        (["--tally-debug", "--tally-firmware=firmware", "--tally-backend=chip:x"], "emulated"),
    ],
)
def test_options_that_do_not_go_together(project, words, told):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *words],
        cwd=project, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 4 and told in done.stdout + done.stderr


@needs.debug_client.mark
def test_the_client_of_visual_studio_code(project):
    editor = FailedTest(project)
    editor.leave()
    script = Path(__file__).parents[1] / "tools/debugger/failure.js"
    try:
        done = subprocess.run(
            ["node", str(script), os.environ["TALLY_NODE_MODULES"], str(editor.port),
             str(project / "firmware/main.py"), str(project / "test_it.py")],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.stdout == "well\n", done.stderr
    finally:
        editor.close()
