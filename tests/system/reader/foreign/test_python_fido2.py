"""python-fido2's own device tests, as its source distribution ships them.

`make foreign` fetches the source distribution (of the version that is installed) into build/.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests import needs
from tests.nested import LEAN
from tests.system.reader.foreign.differences import PYTHON_FIDO2

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[4]
_PLUGIN = "fido2_on_emulator"


def _source() -> Path:
    name = f"fido2-{version('fido2')}"
    found = ROOT / "build" / "foreign" / f"{name}.tar.gz"
    needs.foreign.or_skip()
    return found


def _outcomes(report: Path) -> dict[str, set[str]]:
    """Name of a test → what it was: passed, failed, skipped."""
    found: dict[str, set[str]] = {"passed": set(), "failed": set(), "skipped": set()}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{str(case.get('classname')).rpartition('.')[2]}.{case.get('name')}"
        marks = {child.tag for child in case}
        kind = "failed" if marks & {"failure", "error"} else "skipped" if "skipped" in marks else ""
        found[kind or "passed"].add(name)
    return found


def test_device_tests(tmp_path: Path) -> None:
    source = _source()
    with tarfile.open(source) as archive:
        # Python 3.11.2, which Debian 12 has, knows no filters.
        archive.extractall(
            tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {})
        )
    folder = tmp_path / source.name.removesuffix(".tar.gz")
    report = tmp_path / "report.xml"
    result = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-p", _PLUGIN, "tests/device",
            "--controller=http://emulated", f"--junitxml={report}", "--tb=short", "-q",
            "-p", "no:cacheprovider", "-p", "no:tallystick", *LEAN,
        ],
        cwd=folder, capture_output=True, text=True, timeout=280, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )  # fmt: skip
    assert report.is_file(), result.stdout + result.stderr
    outcomes = _outcomes(report)
    assert outcomes["failed"] == set(PYTHON_FIDO2), result.stdout[-20_000:]
    assert len(outcomes["passed"]) >= 57


def test_each_difference_is_judged() -> None:
    for difference in PYTHON_FIDO2.values():
        assert difference.wants and difference.standard and difference.section
