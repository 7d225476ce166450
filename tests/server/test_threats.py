"""docs/reference/server-threats.md: every test that it cites is there, and fails without the guard
of its row."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.nested import LEAN, Nest
from tests.server.broken import BROKEN

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


@pytest.fixture(scope="module")
def nest():
    nest = Nest(REPOSITORY)
    yield nest
    nest.close()


@pytest.mark.slow
@pytest.mark.parametrize(("guard", "cited"), rows(), ids=[guard for guard, _ in rows()])
def test_a_row_fails_without_its_guard(nest, tmp_path, guard, cited):
    output = tmp_path / "output"
    arguments = ["-q", "-x", *LEAN, "-p", "tests.server.broken", "-p", "no:cacheprovider"]
    status = nest.run([*arguments, *cited[:1]], output, TALLY_BREAK=guard)
    said = output.read_text()
    assert status == 1, said[-2000:]
    assert "error" not in said.splitlines()[-1], said[-2000:]
