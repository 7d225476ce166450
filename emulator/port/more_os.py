"""The rest of `os`: what changes files. A file system that is mounted to be read only refuses."""

from uos import mkdir, remove, rename, rmdir, unlink  # noqa: F401


def sync():
    """Nothing waits to be written."""
