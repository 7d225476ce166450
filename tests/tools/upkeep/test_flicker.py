"""`.ci/run`, on a project of four tests: what flickers is listed, and does not pass twice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tallystick.tools.upkeep import flicker

ROOT = Path(__file__).parents[3]
MAKEFILE = """
test:
\t{lint}
\t.venv/bin/python -m pytest -q {options} tests
"""
# Each run of the test adds a letter to a file; it fails in the runs that `fails` names.
TEST = """
from pathlib import Path

def runs(name):
    counted = Path(__file__).parent / name
    counted.open("a").write("x")
    return len(counted.read_text())

def test_steady():
    pass

def test_made_up():
    assert runs("made_up") not in {fails}
"""


class Project:
    """A folder with `.ci/run` as it is, whose `make test` is short."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in (".ci", "tests", ".venv/bin"):
            (folder / name).mkdir(parents=True)
        shutil.copy(ROOT / ".ci" / "run", folder / ".ci" / "run")
        python = folder / ".venv" / "bin" / "python"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        (folder / "pytest.ini").write_text("[pytest]\n")

    def run(
        self, fails: str, *, lint: str = "true", options: str = ""
    ) -> subprocess.CompletedProcess[str]:
        (self.folder / "Makefile").write_text(MAKEFILE.format(lint=lint, options=options))
        (self.folder / "tests" / "test_it.py").write_text(TEST.replace("{fails}", fails))
        (self.folder / "tests" / "made_up").unlink(missing_ok=True)
        command = ["bash", str(self.folder / ".ci" / "run")]
        # Plugins that are not needed take most of a short run's time.
        env = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
        for of_the_outer_make in ("MAKELEVEL", "MAKEFLAGS", "MFLAGS"):
            env.pop(of_the_outer_make, None)  # it would have this one tell where it works
        return subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=120, check=False
        )

    def known(self) -> dict[str, dict[str, object]]:
        return json.loads((self.folder / flicker.KNOWN).read_text())


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout.rstrip().splitlines()[-1]


def test_a_suite_that_passes_is_run_once(project: Project):
    done = project.run("()")
    assert done.returncode == 0
    assert "2 passed" in last_line(done)
    assert "alone" not in done.stdout


def test_a_test_that_failed_once_is_listed_and_kept_in_the_file(project: Project):
    done = project.run("(1,)", options="-p xdist.plugin -n 2")
    assert done.returncode == 0
    assert "flickered: failed once, then passed (0 of 4 alone): tests/test_it.py::test_made_up" in (
        done.stdout
    )
    assert project.known().keys() == {"tests/test_it.py::test_made_up"}
    assert "1 passed" in last_line(done)


def test_what_stands_in_the_file_and_flickers_again_is_a_fault(project: Project):
    assert project.run("(1,)").returncode == 0
    done = project.run("(1,)")
    assert done.returncode != 0
    assert "FLICKERS" in done.stdout
    assert project.known()["tests/test_it.py::test_made_up"]["runs"] == 2
    assert "1 passed" in last_line(done)


def test_what_fails_alone_now_and_then_is_a_fault_at_once(project: Project):
    done = project.run("(1, 4)")
    assert done.returncode != 0
    assert "FLICKERS: failed in two runs, and passes in others (1 of 4 alone)" in done.stdout
    assert "1 passed" in last_line(done)


def test_what_fails_always_has_failed_and_did_not_flicker(project: Project):
    done = project.run("range(99)")
    assert done.returncode != 0
    assert "failed again, alone (4 of 4 alone)" in done.stdout
    assert project.known() == {}
    assert "1 failed" in last_line(done)


def test_a_fault_before_the_tests_is_not_forgiven_for_an_older_run(project: Project):
    assert project.run("(1,)").returncode == 0
    done = project.run("()", lint="false")
    assert done.returncode != 0
    assert "alone" not in done.stdout


def test_a_suite_that_was_broken_off_is_not_forgiven(project: Project):
    done = project.run("(1,)", options="-k nothing")
    assert done.returncode != 0
    assert "not a matter of single tests" in done.stdout


def test_a_test_that_starts_a_pytest_does_not_write_the_record(tmp_path: Path):
    (tmp_path / "test_outer.py").write_text(
        "import os, subprocess, sys\n"
        "def test_outer():\n"
        f"    assert {flicker.RECORD!r} not in os.environ\n"
        "    assert 'upkeep' not in os.environ['PYTEST_ADDOPTS']\n"
    )
    record = tmp_path / "run.json"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(tmp_path)],
        env={
            "PATH": os.environ["PATH"],
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            flicker.RECORD: str(record),
            "PYTEST_ADDOPTS": f"-p {flicker.__name__}",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert flicker.read(record) == flicker.Run(0, [])


def test_the_committed_file_names_tests_that_are_there():
    known = json.loads((ROOT / flicker.KNOWN).read_text())
    for test, entry in known.items():
        assert (ROOT / test.partition("::")[0]).exists(), f"{test} is gone: remove its line"
        assert entry.keys() == {"first", "runs", "last"}


def test_a_second_run_is_counted_and_a_failure_is_not_noted(tmp_path: Path):
    path = tmp_path / "known.json"
    found = [
        flicker.Finding("a", flicker.Kind.ONCE, 0, 4),
        flicker.Finding("b", flicker.Kind.FAILED, 4, 4),
    ]
    flicker.note(path, found, datetime(2026, 1, 2, tzinfo=UTC))
    flicker.note(path, found, datetime(2026, 3, 4, tzinfo=UTC))
    assert json.loads(path.read_text()) == {
        "a": {"first": "2026-01-02", "runs": 2, "last": "2026-03-04"}
    }
