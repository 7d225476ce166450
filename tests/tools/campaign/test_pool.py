"""Whoever kills or stops a campaign ends its workers too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from tests.emulator.processes import ended

POOL = """
import os
from tallystick.tools.campaign.engine.pool import worker_pool

def work(task):
    print(os.getpid(), flush=True)
    while True:
        pass

if __name__ == "__main__":
    with worker_pool(1) as pool:
        {begun}
"""
BEGUN = {
    "submit": "pool.submit(work, 0).result()",
    # The library's thread looks up when a worker is killed, not before.
    "in order": """pool.submit(work, 0)
        pool._executor_manager_thread_wakeup.wakeup = lambda: None
        list(pool.in_order(work, range(200)))""",
}


def test_a_worker_ends_with_who_started_it(tmp_path):
    script = tmp_path / "pool.py"
    script.write_text(POOL.format(begun=BEGUN["submit"]))
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE) as process:
        worker = int(process.stdout.readline())
        process.kill()
        process.wait(60)
        assert ended(worker)


@pytest.mark.parametrize("begun", BEGUN)
def test_ctrl_c_waits_for_no_task_and_workers_say_nothing_of_it(tmp_path, begun):
    """A terminal sends it to all of them."""
    script = tmp_path / "pool.py"
    script.write_text(POOL.format(begun=BEGUN[begun]))
    with subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        worker = int(process.stdout.readline())
        try:
            os.killpg(process.pid, signal.SIGINT)
            _, error = process.communicate(timeout=60)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # a pool that did not end would never
    assert ended(worker)
    assert error.count("Traceback") == 1 and "Process Spawn" not in error  # the asker's own
