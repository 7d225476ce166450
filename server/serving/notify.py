"""Tell whoever started the process that it serves (systemd's sd_notify(3), by its protocol)."""

from __future__ import annotations

import logging
import os
import socket

log = logging.getLogger(__name__)
_worker = False


def one_of_several() -> None:
    """From now on this process speaks for itself only: that it stops is no end of the service. The
    manager would end all others for it."""
    global _worker  # noqa: PLW0603 - of a process
    _worker = True


def tell_stopping() -> None:
    """The whole service stops."""
    if not _worker:
        tell("STOPPING=1")


def tell(state: str) -> None:
    """state: `READY=1`, `STOPPING=1`. Where nobody wants to be told, nothing."""
    place = os.environ.get("NOTIFY_SOCKET", "")
    if not place:
        return
    address = "\0" + place[1:] if place.startswith("@") else place
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.settimeout(5)
            sock.connect(address)
            sock.sendall(state.encode())
    except OSError as error:
        log.warning("the service manager was not told %s: %s", state, error.strerror)
