"""A test that fails and then passes (it flickers) does not pass unseen.

`.ci/run` runs the whole suite with this module as a pytest plugin, which notes what failed. Each of
those tests then runs alone, in a process of its own, several times:

- it fails alone, too: it has failed;
- it passes every time: it flickered once. It is listed, and written into tests/flickered.json,
  which is to be committed. When it stands there already, this is the second run, and a fault;
- it passes and fails: it flickered in two runs within this one, which is a fault at once.

A line leaves tests/flickered.json with the commit that mends the test.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

RECORD = "TALLY_CI_RECORD"  # environment: where the plugin writes; for this process only
KNOWN = Path("tests/flickered.json")
TIMES = 4  # alone
MANY = 20  # more have failed: the machine or the program is broken, and nothing is repeated
_MODULE = "tallystick.tools.upkeep.flicker"


class Kind(Enum):
    """What a test that failed in the whole suite is."""

    FAILED = "failed again, alone"
    ONCE = "flickered: failed once, then passed"
    TWICE = "FLICKERS: failed in two runs, and passes in others"


@dataclass(frozen=True)
class Run:
    """Of pytest. status: its exit status. failed: node ids of tests, or of files not collected."""

    status: int
    failed: list[str]


@dataclass(frozen=True)
class Finding:
    """A test, what it is, and how often it failed of how many times alone."""

    test: str
    kind: Kind
    failures: int = 0
    times: int = 0


# -- the plugin, in the first run ---------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    """Notes failures, in this process only: tests that start a pytest do not note theirs."""
    path = os.environ.pop(RECORD, None)
    asked = os.environ.get("PYTEST_ADDOPTS", "")
    os.environ["PYTEST_ADDOPTS"] = asked.replace(f"-p {_MODULE}", "").strip()
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Recorder(Path(path)), "flicker-recorder")


class _Recorder:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._failed: dict[str, None] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed[report.nodeid] = None

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._failed[report.nodeid] = None

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(
            json.dumps({"status": int(exitstatus), "failed": list(self._failed)}) + "\n",
            encoding="utf-8",
        )


# -- what CI does with it -----------------------------------------------------------------------


def read(path: Path) -> Run | None:
    """What the plugin noted; None when pytest did not come to its end, or did not run."""
    if not path.exists():
        return None
    noted = json.loads(path.read_text(encoding="utf-8"))
    return Run(noted["status"], noted["failed"])


def judge(failed: list[str], known: dict[str, Any], passes: Callable[[str], bool]) -> list[Finding]:
    """passes: runs one test alone; each is run TIMES times. known: what flickered before."""
    return [_judge(test, test in known, passes) for test in failed]


def _judge(test: str, before: bool, passes: Callable[[str], bool]) -> Finding:
    results = [passes(test) for _ in range(TIMES)]
    failures = results.count(False)
    if failures == TIMES:
        kind = Kind.FAILED
    elif failures or before:
        kind = Kind.TWICE
    else:
        kind = Kind.ONCE
    return Finding(test, kind, failures, TIMES)


def note(path: Path, findings: list[Finding], now: datetime) -> None:
    """Adds those that flickered to the file that is committed; what stands there stays."""
    known = _known(path)
    for one in findings:
        if one.kind is not Kind.FAILED:
            entry = known.setdefault(one.test, {"first": now.date().isoformat(), "runs": 0})
            entry["runs"] += 1 + one.failures
            entry["last"] = now.date().isoformat()
    path.write_text(json.dumps(dict(sorted(known.items())), indent=2) + "\n", encoding="utf-8")


def _known(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return known


def report(findings: list[Finding], path: Path) -> list[str]:
    lines = [f"== {len(findings)} failed in the whole suite; each ran {TIMES} times alone =="]
    for one in findings:
        lines.append(f"{one.kind.value} ({one.failures} of {one.times} alone): {one.test}")
    if any(one.kind is not Kind.FAILED for one in findings):
        lines.append(
            f"Noted in {path}: commit it, and mend the test; its line leaves with the fix."
        )
    return lines


def _alone(test: str) -> bool:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("record", type=Path, help="what the plugin wrote")
    asked = parser.parse_args()
    run = read(asked.record)
    if run is None or run.status != pytest.ExitCode.TESTS_FAILED:
        _say(["== not a matter of single tests: nothing is run again =="])
        return 1
    if len(run.failed) > MANY:
        _say([f"== {len(run.failed)} failed, more than {MANY}: run once more, none forgiven =="])
        return _last(run.failed) or 1
    known = _known(KNOWN)
    findings = judge(run.failed, known, _alone)
    note(KNOWN, findings, datetime.now(UTC))
    _say(report(findings, KNOWN))
    status = _last(run.failed)
    fault = any(one.kind is not Kind.ONCE for one in findings)
    return status or int(fault)


def _last(tests: list[str]) -> int:
    """Once more, one after another in one process: ends with pytest's own summary line."""
    return subprocess.run([sys.executable, "-m", "pytest", *tests], check=False).returncode


def _say(lines: list[str]) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
