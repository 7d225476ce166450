"""A pytest plugin that notes which test executes which line of which module.

It is loaded with `-p`, and keeps one file a test module in $TALLY_MUTANTS_MAP (`contexts.py` reads
them). What a test's fixtures execute counts as the test's. Lines that a process of the test's own
executes are not seen.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Generator
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
from coverage import Coverage

ENVIRONMENT = "TALLY_MUTANTS_MAP"
ROOMS = ("server", "provisioning", "tools", "emulator", "tallystick")


class LineRecorder:
    """One run of pytest. `root`: of the tree; `folder`: where the files go."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._root = root.resolve()
        self._folder = folder
        self._seconds: dict[str, float] = {}
        self._unfit: set[str] = set()  # what does not pass by itself tells nothing about a mutant
        self._coverage = Coverage(
            data_file=None, config_file=False, include=[f"{self._root / r}/*" for r in ROOMS]
        )
        self._coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        self._coverage.switch_context(item.nodeid)
        began = perf_counter()
        try:
            return (yield)
        finally:
            self._seconds[item.nodeid] = round(perf_counter() - began, 3)
            self._coverage.switch_context("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed or report.skipped:
            self._unfit.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self._coverage.stop()
        data = self._coverage.get_data()
        modules: dict[str, dict[str, dict[str, list[int]]]] = {}
        for name in data.measured_files():
            file = str(Path(name).relative_to(self._root))
            for line, contexts in data.contexts_by_lineno(name).items():
                for test in filter(None, contexts):
                    lines = modules.setdefault(test.split("::")[0], {}).setdefault(test, {})
                    lines.setdefault(file, []).append(line)
        self._folder.mkdir(parents=True, exist_ok=True)
        for module in {test.split("::")[0] for test in self._seconds}:
            executed = modules.get(module, {})
            tests = {
                test: {"seconds": seconds, "lines": executed.get(test, {})}
                for test, seconds in self._seconds.items()
                if test.split("::")[0] == module and test not in self._unfit
            }
            files = {module, *(file for lines in executed.values() for file in lines)}
            sources = {file: digest(self._root / file) for file in sorted(files)}
            row = {"module": module, "tests": tests, "sources": sources}
            path = self._folder / f"{module.replace('/', '+')}.json"
            path.write_text(json.dumps(row), encoding="utf-8")


def digest(path: Path) -> str:
    """Of what a file holds; "" when it is not there."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else ""


def pytest_configure(config: pytest.Config) -> None:
    folder = os.environ.get(ENVIRONMENT)
    if folder:
        config.pluginmanager.register(LineRecorder(config.rootpath, Path(folder)))
