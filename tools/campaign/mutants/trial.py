"""The process that tries mutants in a copy of the tree: `python -m …trial`, one JSON object a line.

{"tests": [...], "seconds": n, "cpu": n} runs tests until one fails, {"cuts": {...}, "seconds": n}
cuts the power in scenarios of the campaign. "cpu": seconds of a processor, whatever else runs. Each
in a child of its own, which is ended with everything it has started when its time is over: a mutant
may loop. The answer is {"end": "passed", "failed" or "time", "by": what noticed it}.

Libraries are imported once, here, so that a child begins at once. {"warm": [...]} also imports test
modules, and with them what they test; a mutant of the inside of functions is put into these
({"patch": {"file": …, "original": …}}). A mutant that changes what an import does is tried by
another such process, which has imported nothing of the tree.
"""

from __future__ import annotations

import gc
import importlib
import io
import json
import os
import resource
import signal
import sys
import time
from contextlib import redirect_stderr, redirect_stdout, suppress
from importlib.metadata import entry_points
from pathlib import Path
from types import FunctionType
from typing import Any

from tallystick.tools.campaign.mutants import patch

_LIBRARIES = (
    "pytest", "hypothesis", "sqlalchemy.orm", "alembic.command", "fastapi.testclient", "httpx",
    "webauthn", "joserfc.jwt", "argon2", "zxcvbn", "pyotp", "jinja2", "click.testing",
    "rich.progress", "pskc", "reportlab.pdfgen.canvas", "uvicorn", "barcode", "PIL.Image",
    "psycopg", "prometheus_client", "serial", "playwright.sync_api", "logging.config", "sqlite3",
    "littlefs", "intelhex", "segno", "cryptography.hazmat.primitives.ciphers",
    "cryptography.hazmat.primitives.asymmetric.ed25519",
)  # fmt: skip
_MEMORY = 4 << 30  # bytes of a child: a mutant may ask for all there is
_QUIET = ("-q", "-x", "--no-header", "--no-summary", "--tb=no", "--assert=plain",
          "-p", "no:cacheprovider", "-W",
          "ignore::pytest.PytestAssertRewriteWarning")  # fmt: skip
_PASSED, _FAILED, _USAGE, _NOTHING = 0, 1, 4, 5
_UNPATCHED = 70


def main() -> None:
    plugins = (entry.module for entry in entry_points(group="pytest11"))
    for name in (*_LIBRARIES, *(one for one in plugins if not one.startswith("tallystick"))):
        with suppress(ImportError):
            importlib.import_module(name)
    _shrink_nothing()
    there: dict[str, list[FunctionType]] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "warm" in request:
            gc.unfreeze()  # what is frozen is not listed
            _tests(["--collect-only", *request["warm"]])
            there = patch.functions()
            gc.freeze()  # a child's collector has nothing to do with, and copies none of it
            answer = {"end": "passed", "by": ""}
        else:
            answer = _apart(request, there)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _shrink_nothing() -> None:
    """Which example fails does not matter here, and the smallest is long looked for."""
    with suppress(ImportError):
        engine: Any = importlib.import_module("hypothesis.internal.conjecture.engine")
        runner = engine.ConjectureRunner
        more = runner.should_generate_more
        runner.shrink_interesting_test_cases = lambda _: None
        runner.should_generate_more = lambda one: not one.interesting_test_cases and more(one)


def _apart(request: dict[str, Any], there: dict[str, list[FunctionType]]) -> dict[str, str]:
    """In a child. there: the functions that are imported, by file."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        if "cpu" in request:
            resource.setrlimit(resource.RLIMIT_CPU, (request["cpu"], request["cpu"] + 5))
        code = _FAILED
        try:
            if request.get("patch") and not _patch(request["patch"], there):
                code, by = _UNPATCHED, ""
            elif "cuts" in request:
                code, by = _cuts(request["cuts"])
            else:
                code, by = _tests(request["tests"])
            os.write(writer, by.encode()[:4000])
        finally:
            os._exit(code)
    os.close(writer)
    ended = _wait(child, request["seconds"])
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what it has started, and left
    with os.fdopen(reader, "rb") as pipe:
        by = pipe.read().decode("utf-8", "replace")
    if ended in (None, -signal.SIGXCPU):
        return {"end": "time", "by": "it does not end"}
    if ended == _UNPATCHED:
        return {"end": "cold", "by": "it has to be imported"}
    if ended in (_PASSED, _NOTHING):
        return {"end": "passed", "by": ""}
    return {"end": "failed", "by": by or "its process ended"}


def _patch(wanted: dict[str, str], there: dict[str, list[FunctionType]]) -> bool:
    """False: nothing of it is imported here."""
    path = os.path.realpath(wanted["file"])
    mutant = Path(path).read_text(encoding="utf-8")
    codes = patch.changed(wanted["original"], mutant, path)
    assert codes is not None
    return patch.put(there.get(path, []), codes) > 0


def _wait(child: int, seconds: float) -> int | None:
    """The child's exit code, or None when it had to be ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _tests(tests: list[str]) -> tuple[int, str]:
    """(pytest's exit code, the test that failed)."""
    import pytest  # noqa: PLC0415 (imported above, where it is there)

    silent = io.StringIO()
    named = _Named()
    with redirect_stdout(silent), redirect_stderr(silent):
        code = int(pytest.main([*_QUIET, *tests], plugins=[named]))
        if code == _USAGE:  # the names of its cases are made of what was changed: all of them
            any_case = dict.fromkeys(test.partition("[")[0] for test in tests)
            code = int(pytest.main([*_QUIET, *any_case], plugins=[named]))
    lines = silent.getvalue().strip().splitlines()
    return code, named.failed or (lines[-1] if lines else f"pytest ended with {code}")


class _Named:
    """Keeps the name of the test that failed."""

    failed = ""

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid


def _cuts(asked: dict[str, Any]) -> tuple[int, str]:
    """Looks through scenarios for a cut after which the guarantee does not hold."""
    from tallystick.tools.campaign.mutants import cuts  # noqa: PLC0415 (starts at once)

    found = cuts.look(asked["board"], Path(asked["firmware"]), asked["scenarios"], asked["deeper"])
    return (_PASSED, "") if found is None else (_FAILED, found)


if __name__ == "__main__":
    main()
