"""The rest of `os`: what changes files. A file system that is mounted to be read only refuses."""

from collections import namedtuple
from sys import implementation, platform, version

from uos import mkdir, remove, rename, rmdir, unlink  # noqa: F401


def sync():
    """Nothing waits to be written."""


def uname():
    release = "%d.%d.%d" % implementation.version[:3]
    fields = ("sysname", "nodename", "release", "version", "machine")
    said = version.split(" ")
    return namedtuple("", fields)(
        platform, platform, release, " ".join(said[2:]), implementation._machine
    )
