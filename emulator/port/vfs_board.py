"""`vfs` of the board: its file systems, which are the real ones, and none of the host's."""

from vfs import VfsLfs2, VfsRom, mount, umount  # noqa: F401

__name__ = "vfs"
