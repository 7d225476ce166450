"""The folder of umockdev's world. It goes when its reader ends; where all who could remove it were
killed, the next reader removes it.

Who lives in it holds a lock on it, which the kernel lets go with the last of them.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "tally-usb-"
# Bytes of the name of the folder that ours is in. umockdev has sockets in it, whose paths have 107
# at most: it adds some forty to ours, and we twenty.
_LONGEST = 45


class WorldFolder:
    """`path`, and `held`: a descriptor to be given to all who live in it."""

    def __init__(self) -> None:
        place = tempfile.gettempdir()
        if len(os.fsencode(place)) > _LONGEST:
            place = "/tmp"  # noqa: S108
        _remove_left(Path(place))
        self.path = tempfile.mkdtemp(prefix=_PREFIX, dir=place)
        self.held = _lock(Path(self.path), fcntl.LOCK_EX)  # another reader may just look at it

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.held)


def _lock(folder: Path, how: int) -> int:
    """Raises OSError: somebody lives in it, or it is none of ours."""
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(held, how)
        if os.fstat(held).st_uid != os.geteuid():
            raise PermissionError
    except OSError:
        os.close(held)
        raise
    return held


def _remove_left(place: Path) -> None:
    """Of readers whose processes were killed. An empty one may be just about to be locked."""
    for folder in place.glob(f"{_PREFIX}*"):
        try:
            held = _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        if any(folder.iterdir()):
            shutil.rmtree(folder, ignore_errors=True)
        os.close(held)
