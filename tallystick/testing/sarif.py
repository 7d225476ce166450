"""Failures of campaigns as SARIF 2.1.0 (OASIS), which code hosts show beside the source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tallystick import __version__


class SarifReport:
    """Collects failed tests that carry the marker `campaign`; in the controller under xdist."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._results: list[dict[str, Any]] = []
        self._rules: dict[str, dict[str, Any]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.failed or "campaign" not in report.keywords:
            return
        file, line, _ = report.location
        rule = report.nodeid.split("::", 1)[-1].split("[")[0]
        self._rules[rule] = {"id": rule, "shortDescription": {"text": rule.replace("_", " ")}}
        text = str(getattr(report.longrepr, "reprcrash", None) or report.longreprtext)
        self._results.append(
            {
                "ruleId": rule,
                "level": "error",
                "message": {"text": f"{text.strip()[-2000:]}\nReplay: pytest '{report.nodeid}'"},
                "locations": [
                    {
                        "physicalLocation": {
                            "artifactLocation": {"uri": file},
                            "region": {"startLine": (line or 0) + 1},
                        }
                    }
                ],
                "partialFingerprints": {"test": report.nodeid},
            }
        )

    def pytest_sessionfinish(self) -> None:
        driver = {
            "name": "tallystick",
            "version": __version__,
            "rules": sorted(self._rules.values(), key=lambda rule: str(rule["id"])),
        }
        content = {
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{"tool": {"driver": driver}, "results": self._results}],
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
