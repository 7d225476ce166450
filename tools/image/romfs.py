"""ROMFS images: bytecode in them is executed where it lies.

Format: the header, then records `kind ‖ length ‖ payload`, numbers seven bits a byte, the most
significant first (MicroPython's documentation, "ROMFS image format").
"""

from __future__ import annotations

from mpremote.romfs import VfsRomWriter

from tallystick.common.errors import BadInputError

HEADER = b"\xd2\xcd\x31"
_VERBATIM, _DIRECTORY, _FILE = 2, 4, 5


def pack(files: dict[str, bytes]) -> bytes:
    """`files`: path → content. One level of folders, in order of their names."""
    writer = VfsRomWriter()
    for name in sorted(name for name in files if "/" not in name):
        writer.mkfile(name, files[name])
    for folder in sorted({name.partition("/")[0] for name in files if "/" in name}):
        writer.opendir(folder)
        for name in sorted(name for name in files if name.startswith(f"{folder}/")):
            writer.mkfile(name.partition("/")[2], files[name])
        writer.closedir()
    return bytes(writer.finalise())


def unpack(content: bytes) -> dict[str, bytes]:
    """The files of an image made by `pack`. Raises BadInputError when it is none."""
    files: dict[str, bytes] = {}
    try:
        if content[:3] != HEADER:
            raise ValueError
        size, at = _number(content, 3)
        _walk(_part(content, at, size), "", files)
    except (ValueError, IndexError) as error:
        raise BadInputError(
            "There is no readable file system in the image.", todo="Build the image again."
        ) from error
    return files


def _walk(records: bytes, folder: str, files: dict[str, bytes]) -> None:
    at = 0
    while at < len(records):
        kind, payload, at = _record(records, at)
        if kind in (_DIRECTORY, _FILE):
            length, start = _number(payload, 0)
            name = folder + _part(payload, start, length).decode("ascii")
            rest = payload[start + length :]
            if kind == _DIRECTORY:
                _walk(rest, f"{name}/", files)
            else:
                what, files[name], _ = _record(rest, 0)
                if what != _VERBATIM:
                    raise ValueError(what)


def _record(data: bytes, at: int) -> tuple[int, bytes, int]:
    """Kind, payload, and where the next one starts."""
    kind, at = _number(data, at)
    length, at = _number(data, at)
    return kind, _part(data, at, length), at + length


def _part(data: bytes, at: int, length: int) -> bytes:
    if at + length > len(data):
        raise ValueError(length)
    return data[at : at + length]


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    while True:
        value = value << 7 | data[at] & 0x7F
        at += 1
        if data[at - 1] < 0x80:
            return value, at
