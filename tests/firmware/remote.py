"""Firmware in a MicroPython process, its functions called from the host."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Device:
    """The functions of a `device/main.py`: a JSON request a line in, a JSON answer a line out."""

    def __init__(self, process: Any) -> None:
        self._process = process

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            self._process.stdin.write(json.dumps([name, arguments]) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
            assert not line.startswith("Traceback"), line + self._process.stdout.read()
            return json.loads(line)

        return call


@contextmanager
def running(
    micropython: Any, main: Path, *, heap: str, path: tuple[Path, ...] = ()
) -> Iterator[Device]:
    process = micropython.start(main, path=path, heap=heap)
    yield Device(process)
    process.stdin.close()
    process.wait(60)
    process.stdout.close()
