"""What another process of the same user sees of one that is shut in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from tallystick.common.process import keep_in_memory
from tallystick.common.secret import Secret
from tests import needs

NOBODY = 65534
# Python itself may lie where only its owner looks: users change after the imports, and whoever
# changes users is shut in by that alone, which is undone here.
BECOME_NOBODY = f"""
import ctypes, os, resource, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tallystick.common.process import shut_in
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
"""


@contextmanager
def running(prepare: str, **more):
    """A process of nobody's that has done `prepare` and waits."""
    program = f"{BECOME_NOBODY}\n{prepare}\nprint('ready', flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, **more
    )
    try:
        assert process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def looks(pid: int) -> bool:
    """Whether another process of that user reads its memory."""
    program = f"{BECOME_NOBODY}\nopen('/proc/{pid}/mem', 'rb').close()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0 or b"PermissionError" in done.stderr, done.stderr
    return done.returncode == 0


@needs.root.mark
@pytest.mark.parametrize("shut", [False, True])
def test_who_reads_its_memory(shut):
    with running("shut_in()" if shut else "") as process:
        assert looks(process.pid) is not shut


@needs.root.mark
@pytest.mark.parametrize("shut", [False, True])
def test_a_forced_dump(tmp_path, shut):
    """SIGABRT with room for a dump. Where the kernel hands dumps to a program, only its limits are
    looked at."""
    prepare = "resource.setrlimit(resource.RLIMIT_CORE, (most, most))"
    prepare = "most = 1 << 20; " + prepare + ("; shut_in()" if shut else "")
    tmp_path.chmod(0o777)
    with running(prepare, cwd=tmp_path) as process:
        limits = Path(f"/proc/{process.pid}/limits").read_text(encoding="utf-8")
        os.kill(process.pid, signal.SIGABRT)
        process.wait()
    line = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert (line.split()[4] == "0") is shut
    pattern = Path("/proc/sys/kernel/core_pattern").read_text(encoding="utf-8").strip()
    if not pattern.startswith(("|", "/")):
        assert bool(list(tmp_path.iterdir())) is not shut


def _locked_kb() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("VmLck")).split()[1])


def test_a_locked_buffer():
    before, buffer = _locked_kb(), bytearray(8192)
    assert keep_in_memory(buffer)
    assert _locked_kb() > before
    assert not keep_in_memory(bytearray())
    secret = Secret(b"sixteen bytes ..")
    assert secret.keep_in_memory()
    secret.wipe()
    assert secret.reveal() == bytes(16)
