"""docs/reference/server-threats.md: every test that it cites is there, and fails without the guard
of its row."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.forked import ForkedTest, run_forked
from tests.server import portal_driver
from tests.server.broken import BROKEN, let_loose

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "reference" / "server-threats.md"
CITED = re.compile(r"`(test_\w+)::(test_\w+)`")
GUARD = re.compile(r"guard `([\w-]+)`")


def rows() -> list[tuple[str, list[str]]]:
    """→ per row that names a guard: its name, and the tests cited"""
    found = []
    for line in PAGE.read_text().splitlines():
        guard = GUARD.search(line)
        if guard:
            cited = [f"tests/server/{file}.py::{test}" for file, test in CITED.findall(line)]
            found.append((guard.group(1), cited))
    return found


def test_each_row_names_its_guard():
    table = PAGE.read_text().split("## Rows")[1].split("## What remains")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(lines) == len(rows()) > 70
    assert [line for line in lines if not GUARD.search(line)] == []


def test_the_page_cites_tests_that_there_are():
    cited = CITED.findall(PAGE.read_text())
    assert len(cited) > 40
    for file, test in cited:
        source = (REPOSITORY / "tests" / "server" / f"{file}.py").read_text()
        assert f"def {test}(" in source, f"{file}::{test}"


def test_the_page_names_guards_that_there_are():
    guards = [guard for guard, _ in rows()]
    assert len(guards) >= 30 and len(set(guards)) == len(guards)
    assert set(guards) <= set(BROKEN)
    assert all(cited for _, cited in rows())


@pytest.mark.parametrize(("guard", "cited"), rows(), ids=[guard for guard, _ in rows()])
def test_a_row_fails_without_its_guard(request, tmp_path, guard, cited):
    def change() -> None:
        portal_driver.LOOKS = 300  # what nobody sends is not waited for as long as elsewhere
        let_loose(guard)

    done = run_forked(request, cited[0], tmp_path, change)
    # One that cannot run on this machine says so where it is.
    assert done.skipped or done.failed == ["call"], done.told


def test_a_fork_in_which_nothing_is_changed_passes(request, tmp_path):
    name = "tests/server/test_verify.py::test_a_swapped_seed_does_not_open"
    done = run_forked(request, name, tmp_path, lambda: None)
    assert done == ForkedTest(passed=["setup", "call", "teardown"])
