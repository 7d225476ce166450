"""Which user's program is at the other end of a connection on this computer. On Linux the kernel
tells; elsewhere nobody does."""

from __future__ import annotations

import os
import socket
import struct
import sys
from pathlib import Path

TABLE = Path("/proc/net/tcp")
_ESTABLISHED = "01"


def uid_of_peer(peer: tuple[str, int], here: tuple[str, int], table: Path = TABLE) -> int | None:
    """The user id that owns the socket with the local address `peer` and the remote one `here`
    (IPv4 address and port). None when there is no such connection."""
    local, remote = _kernel_form(*peer), _kernel_form(*here)
    for line in table.read_text(encoding="utf-8").splitlines()[1:]:
        fields = line.split()
        if fields[1:4] == [local, remote, _ESTABLISHED]:
            return int(fields[7])
    return None


def same_user(peer: tuple[str, int] | None, here: tuple[str, int] | None) -> bool:
    """Whether a program of this process's user asks (or, where it runs by sudo, of the user
    behind). True where the system does not tell."""
    if not sys.platform.startswith("linux") or not TABLE.exists():
        return True
    if peer is None or here is None:
        return False
    allowed = {os.getuid()}
    if os.getuid() == 0 and os.environ.get("SUDO_UID", "").isdigit():
        allowed.add(int(os.environ["SUDO_UID"]))
    return uid_of_peer(peer, here) in allowed


def _kernel_form(host: str, port: int) -> str:
    (number,) = struct.unpack("=I", socket.inet_aton(host))
    return f"{number:08X}:{port:04X}"
