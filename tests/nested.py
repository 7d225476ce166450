"""For tests that start a pytest of their own.

Loading the plugins of hypothesis and schemathesis takes three quarters of a short run. Tests that
use these libraries do so without their plugins, too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from pathlib import Path

LEAN = ("-p", "no:schemathesis", "-p", "no:hypothesispytest")
# What tests of the server import, and the server: a plugin that breaks one of its guards does so
# where the guard is looked up (`BrokenServer.let_loose`), so that it need not come first.
LOADED = (
    *("argon2", "fastapi", "httpx", "hypothesis", "playwright.sync_api", "pskc", "psycopg"),
    *("pyotp", "pytest", "sqlalchemy", "uvicorn"),
    *("tallystick.server.serving.app", "tallystick.server.serving.running"),
)


class Nest:
    """A process that has all of this loaded, and forks for each pytest. `close` ends it."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.nested"],
            cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, arguments: list[str], output: Path, **environment: str) -> int:
        """→ the exit status; what it prints goes to the file `output`."""
        assert self._process.stdin and self._process.stdout
        task = {"arguments": arguments, "output": str(output), "environment": environment}
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate(timeout=60)


def serve() -> None:
    """A line of standard input is a task, a line of standard output the exit status."""
    for name in LOADED:
        __import__(name)
    for line in sys.stdin:
        task = json.loads(line)
        child = os.fork()
        if not child:
            _become(task)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _become(task: dict[str, object]) -> None:
    import pytest

    file = os.open(str(task["output"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    empty = os.open(os.devnull, os.O_RDONLY)
    for descriptor, other in ((0, empty), (1, file), (2, file)):
        os.dup2(other, descriptor)
    os.environ.update(task["environment"])  # type: ignore[call-overload]
    status = 3
    # That libraries with plugins are there already is the point of it.
    quiet = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    try:
        status = int(pytest.main([*quiet, *task["arguments"]]))  # type: ignore[misc]
    except BaseException:  # it must not go on as a second server
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve()
