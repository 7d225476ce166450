"""LittleFS images: the same files give the same bytes."""

from __future__ import annotations

import littlefs

from tallystick.common.errors import BadInputError


def pack(files: dict[str, bytes], block: int, room: int) -> bytes:
    """A file system of `room` bytes with `files`, up to the end of its last used block.

    It is made just large enough, then grown on paper to `room`: its blocks stay together at the
    start, and nothing lies behind them.
    """
    folders = {name.rpartition("/")[0] for name in files}
    count = sum(len(data) // block for data in files.values()) + 2 * len(folders) + 2
    while True:
        try:
            content = _filled(files, block, count, room // block)
            break
        except littlefs.LittleFSError as error:
            if error.code != littlefs.LittleFSError.Error.LFS_ERR_NOSPC:
                raise
            count += 1 + count // 64
    return content[: -(-len(content.rstrip(b"\xff")) // block) * block]


def unpack(content: bytes, block: int, room: int) -> dict[str, bytes]:
    """The files of a file system made by `pack`. Raises BadInputError when it does not mount."""
    fs = littlefs.LittleFS(
        block_size=block, block_count=room // block, read_size=256, prog_size=256, mount=False
    )
    fs.context.buffer = bytearray(content.ljust(room, b"\xff"))
    try:
        fs.mount()
        return {
            f"{folder}/{name}".lstrip("/"): fs.open(f"{folder}/{name}", "rb").read()
            for folder, _, names in fs.walk("/")
            for name in names
        }
    except littlefs.LittleFSError as error:
        raise BadInputError(
            "There is no readable file system in the image.", todo="Build the image again."
        ) from error


# Bytes. Whoever looks for a name reads a folder's log whole, and an import looks for three: short
# logs make a start of a card a third shorter. What is written there is padded to units of `_UNIT`.
_LOG = 1024
_UNIT = 16


def _filled(files: dict[str, bytes], block: int, count: int, grown: int) -> bytes:
    fs = littlefs.LittleFS(
        block_size=block,
        block_count=count,
        read_size=_UNIT,
        prog_size=_UNIT,
        cache_size=256,
        lookahead_size=32,
        metadata_max=_LOG,
    )
    for name in sorted(files):
        folder = name.rpartition("/")[0]
        if folder:
            fs.makedirs(folder, exist_ok=True)
        with fs.open(name, "wb") as file:
            file.write(files[name])
    fs.fs_grow(grown)
    fs.unmount()
    return bytes(fs.context.buffer)
