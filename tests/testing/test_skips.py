"""What may be skipped stands in one list, and whatever else skips is a failure."""

from __future__ import annotations

import ast
import os
import subprocess
from pathlib import Path

import pytest

from tests import needs

ROOT = needs.ROOT
CONFTEST = "from tests.conftest import pytest_make_collect_report, pytest_runtest_makereport"
WITH_A_NEED = """
    import pytest
    from tests import needs

    @needs.chromium.mark
    def test_by_mark():
        pass

    @pytest.fixture
    def browser():
        needs.chromium.or_skip()

    def test_by_fixture(browser):
        pass
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A suite of its own with our conftest; its tests may import what ours do."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest(CONFTEST)
    return pytester


@pytest.fixture
def no_chromium(monkeypatch: pytest.MonkeyPatch) -> None:
    """None that a test would find."""
    monkeypatch.setattr(needs, "program", lambda _name: None)


def missing(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    monkeypatch.setattr(needs, "missing_packages", lambda: frozenset(packages))


def test_what_is_not_installed_is_skipped(suite, no_chromium, monkeypatch) -> None:
    missing(monkeypatch, "chromium", "softhsm2")
    suite.makepyfile(WITH_A_NEED)
    suite.runpytest_inprocess().assert_outcomes(skipped=2)


def test_a_skip_for_what_is_installed_fails(suite, no_chromium, monkeypatch) -> None:
    missing(monkeypatch, "softhsm2")
    suite.makepyfile(WITH_A_NEED)
    result = suite.runpytest_inprocess()
    result.assert_outcomes(errors=2)  # both were to be set up
    result.stdout.fnmatch_lines("*but chromium is installed: it looks in the wrong place.")


def _refused(result: pytest.RunResult) -> None:
    assert result.ret != 0
    result.stdout.fnmatch_lines("*tests/needs.py does not list:*")


@pytest.mark.parametrize(
    "source",
    [
        "import pytest\ndef test_it():\n    pytest.skip('no reason')",
        "import pytest\n@pytest.mark.skip\ndef test_it():\n    pass",
        "import pytest\npytest.importorskip('no_such_module')",
        "import pytest\n@pytest.mark.parametrize('one', [])\ndef test_it(one):\n    pass",
        "import unittest\nclass T(unittest.TestCase):\n    @unittest.skip('so')\n"
        "    def test_it(self):\n        pass",
    ],
)
def test_a_skip_that_is_not_on_the_list_fails(suite, source: str) -> None:
    suite.makepyfile(source)
    _refused(suite.runpytest_inprocess())


def test_also_in_a_worker(suite) -> None:
    suite.makepyfile("import pytest\ndef test_it():\n    pytest.skip('no reason')")
    _refused(suite.runpytest_subprocess("-n", "1"))


def test_no_two_reasons_are_the_same() -> None:
    assert len({need.reason for need in needs.ALL}) == len(needs.ALL) > 10


def test_nothing_skips_but_by_the_list() -> None:
    """Also what would skip on a machine that is not this one."""
    found = []
    for file in sorted((ROOT / "tests").rglob("*.py")):
        if file == Path(needs.__file__):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            words = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
            if words in {
                "pytest.skip", "pytest.importorskip", "pytest.xfail", "unittest.skip",
                "pytest.mark.skip", "pytest.mark.skipif", "pytest.mark.xfail",
            }:  # fmt: skip
                found.append(f"{file.relative_to(ROOT)}:{node.lineno} {words}")
    assert found == []


def test_every_package_is_what_some_test_needs() -> None:
    lines = (ROOT / ".ci/packages.txt").read_text().splitlines()
    listed = [line.partition("#")[0].strip().removesuffix("?") for line in lines]
    needed = {package for need in needs.ALL for package in need.packages}
    assert {package for package in listed if package} == needed


def test_postgresql_is_found_where_debian_puts_it(tmp_path, monkeypatch) -> None:
    for version in ("9.6", "15", "17"):
        program = tmp_path / version / "bin" / "initdb"
        program.parent.mkdir(parents=True)
        program.touch(0o755)
    monkeypatch.setattr(needs, "POSTGRESQL_VERSIONS", tmp_path)
    monkeypatch.setenv("PATH", "")
    assert needs.program("initdb") == str(tmp_path / "17/bin/initdb")  # not the last by its letters


def test_a_package_counts_as_installed_under_the_name_that_provides_it(tmp_path) -> None:
    """Debian 13 has liboath0t64 for liboath0; a package that was removed may leave its settings."""
    dpkg = tmp_path / "dpkg-query"
    dpkg.write_text(
        "#!/bin/sh\n"
        "echo 'installed liboath0t64, liboath0 (= 2.6.12-1), liboath0-other'\n"
        "echo 'config-files softhsm2, '\n"
        "echo 'installed chromium-common, '\n"
    )
    dpkg.chmod(0o755)
    listed = subprocess.run(
        [ROOT / ".ci/packages", "--missing"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert "liboath0" not in listed
    assert {"softhsm2", "chromium"} <= set(listed)
