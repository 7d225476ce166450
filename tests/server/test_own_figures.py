"""What `/v1/metrics` says of the process itself: as the unit lets it see /proc, and of workers."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys

import httpx
import pytest

from tallystick.server import open_files
from tallystick.server.serving.running import add_credential, running
from tests import needs

NAMES = (
    "process_start_time_seconds", "process_cpu_seconds_total", "process_resident_memory_bytes",
    "process_open_fds", "process_max_fds",
)  # fmt: skip
EXPOSED = "from tallystick.server import metrics; print(metrics.exposition().decode())"
# As systemd does for ProcSubset=pid, which the unit has: no /proc/stat.
PROCESSES_ONLY = "mount -t proc -o subset=pid proc /proc && test ! -e /proc/stat"


def value(text: str, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    assert found, f"no {name}"
    return float(found[1])


def test_they_are_there_under_the_unit():
    """The unit hides what is no process; alerts and dashboard name these metrics."""
    needs.own_mounts.or_skip()
    needs.root.or_skip()
    shell = f'{PROCESSES_ONLY} && exec "$@"'
    shut_in = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", shell, "sh"]
    command = [*shut_in, sys.executable, "-c", EXPOSED]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {name: value(text, name) for name in NAMES}
    assert all(one > 0 for one in found.values()), found
    assert 10e6 < found["process_resident_memory_bytes"] < 1e9
    assert found["process_open_fds"] < found["process_max_fds"]


def test_workers_have_one_start(tmp_path):
    """Whichever answers: one that differs would be a restart (TallystickRestarts)."""
    with running(tmp_path, workers=3) as server:
        monitor = add_credential(server.settings, "monitor", "prometheus")
        headers = {"authorization": f"Bearer {monitor.token.reveal().decode()}"}
        starts, memory = set(), set()
        for _ in range(30):  # a connection of its own each time: any worker's
            text = httpx.get(f"{server.url}/v1/metrics", headers=headers, timeout=60).text
            starts.add(value(text, "process_start_time_seconds"))
            memory.add(value(text, "process_resident_memory_bytes"))
        assert len(starts) == 1 and len(memory) > 1


def test_files_that_cannot_be_counted_are_as_many_as_may_be(monkeypatch):
    """No file is left to look with; or there is no /proc; or no limit."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]

    def refuse(number: int):
        def iterdir(_path):
            raise OSError(number, os.strerror(number))

        return iterdir

    monkeypatch.setattr("pathlib.Path.iterdir", refuse(24))  # EMFILE
    assert open_files.open_files() == (limit, limit)
    monkeypatch.setattr("pathlib.Path.iterdir", refuse(2))  # ENOENT
    assert open_files.open_files() == (limit, None)
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (resource.RLIM_INFINITY,) * 2)
    assert open_files.open_files()[0] == pytest.approx(float("inf"))
