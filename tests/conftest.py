"""A skip that tests/needs.py does not permit is a failure, of a test or of a whole file."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from tests import needs


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    return _judged((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    return _judged((yield))


def _judged(report: Any) -> Any:
    if report.skipped and not hasattr(report, "wasxfail"):
        _, _, words = report.longrepr
        refusal = needs.refusal(words.removeprefix("Skipped: "))
        if refusal:
            report.outcome = "failed"
            report.longrepr = refusal
    return report
