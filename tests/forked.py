"""Other tests, run in a process that is a fork of this one: whatever is changed for them there is
gone with it. All that this process has loaded, collected and set up for its session is there, so
that a short test costs what it takes, and not the start of a pytest."""

from __future__ import annotations

import json
import os
import signal
import traceback
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol

from tests.nested import LEAN

MOST_S = 120  # what a fork may take: it may wait for a thread that it has not


@dataclass
class ForkedTest:
    """At which of setup, call and teardown it was so. told: what was wrong."""

    passed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    told: str = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        getattr(self, report.outcome).append(report.when)
        if not report.passed:
            self.told += f"{report.longreprtext}\n"


def run_forked(
    request: pytest.FixtureRequest, name: str, folder: Path, change: Callable[[], None]
) -> ForkedTest:
    """`name`: of a test as on the command line; of one with parameters, each until one fails.
    change: is done first, over there."""
    result = folder / "forked.json"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that this process has threads
        child = os.fork()
    if not child:
        _run(request, name, result, change)
    os.waitpid(child, 0)
    if not result.exists():
        return ForkedTest(
            failed=["setup"], told=f"The fork said nothing, for {MOST_S} s or at its end."
        )
    return ForkedTest(**json.loads(result.read_text()))


def _run(
    request: pytest.FixtureRequest, name: str, result: Path, change: Callable[[], None]
) -> None:
    told = ForkedTest()
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, MOST_S)
        change()
        items = [one for one in request.session.items if one.nodeid.split("[")[0] == name]
        if items:
            _go_over_to(items, request.node, told)
        else:
            # It was not asked for on the command line, and nobody has collected it.
            pytest.main(["-q", "-x", *LEAN, "-p", "no:cacheprovider", name], plugins=[told])
    except BaseException:
        told = ForkedTest(failed=["setup"], told=traceback.format_exc())
    try:
        result.with_suffix(".new").write_text(json.dumps(asdict(told)))
        result.with_suffix(".new").rename(result)
    finally:
        os._exit(0)


def _go_over_to(items: list[pytest.Item], asking: pytest.Item, told: ForkedTest) -> None:
    """The test that asks is over here. What is there for the whole session stays: it is the
    parent's."""
    # Without sources: the parser's state may be that of a thread that was left behind.
    asking.config.option.tbstyle = "native"
    asking.session._setupstate.teardown_exact(items[0])
    for item in items:
        for report in runtestprotocol(item, log=False, nextitem=asking):
            told.pytest_runtest_logreport(report)
        if told.failed:
            return
