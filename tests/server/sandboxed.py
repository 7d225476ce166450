"""Run a command as a systemd unit would: under its filter of system calls, and without memory that
is both written and executed. By the system's Python, which has Debian's python3-seccomp:

    python3 sandboxed.py UNIT COMMAND [ARGUMENT …]
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
from pathlib import Path

PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1


def names_of(group: str) -> set[str]:
    """The system calls that a name in SystemCallFilter= stands for (systemd-analyze)."""
    if not group.startswith("@"):
        return {group}
    # From systemd 254 on its programs tell the manager, too, how they ended.
    quiet = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    asked = ["systemd-analyze", "syscall-filter", group]
    listed = subprocess.run(asked, capture_output=True, text=True, check=True, env=quiet)
    lines = [line.strip() for line in listed.stdout.splitlines()[1:]]
    found = {line for line in lines if line and not line.startswith(("#", "@"))}
    for line in lines:
        if line.startswith("@") and line != group:
            found |= names_of(line)
    return found


def allowed_by(unit: str) -> set[str]:
    """In systemd's order: each line adds, or with ~ takes away."""
    allowed = names_of("@default")
    for line in unit.splitlines():
        name, _, value = line.partition("=")
        if name != "SystemCallFilter":
            continue
        for group in value.removeprefix("~").split():
            if value.startswith("~"):
                allowed -= names_of(group)
            else:
                allowed |= names_of(group)
    return allowed


def main(unit: str, command: list[str]) -> None:
    import seccomp

    text = Path(unit).read_text(encoding="utf-8")
    rules = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
    for name in sorted(allowed_by(text)):
        try:
            rules.add_rule(seccomp.ALLOW, name)
        except RuntimeError:
            continue  # not of this processor, or newer than the library
    rules.load()
    if "MemoryDenyWriteExecute=yes" in text.splitlines():
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "the kernel has no PR_SET_MDWE")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
