"""A flash image as the emulator takes it: the file that is flashed, and the board it is for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from intelhex import HexRecordError, IntelHex

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards import find
from tallystick.emulator.boards.board import Board

_UF2_MAGIC = b"UF2\n\x57\x51\x5d\x9e"


@dataclass(frozen=True)
class Image:
    """`segments` are (offset in flash, bytes). lines: module → line of its source for each line,
    where it was built of a changed text (coverage, debugger).
    brought: data files that came along."""

    board: Board
    segments: tuple[tuple[int, bytes], ...]
    version: str = ""
    writable: bool = False  # the board's MicroPython mounts its file system to be written to
    prints: bool = False  # else a word on its console is a fault, as it is of our own firmware
    lines: Mapping[str, tuple[int, ...]] = field(default_factory=dict, compare=False, repr=False)
    brought: Mapping[str, bytes] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def load(cls, path: Path, board: str | None = None) -> Image:
        """Reads .bin, .hex or .uf2. The board comes from `manifest.json` beside it, or from
        `board`.

        Raises BadInputError for a file that is not an image, or is for another board.
        """
        if not path.is_file():
            raise BadInputError(
                f"There is no image {path}.",
                todo="Build one: tally image build --device card, or --device reader.",
            )
        manifest = _manifest(path)
        named = str(manifest.get("board", "")) or board
        if named is None:
            raise BadInputError(
                f"{path} does not say which board it is for (no manifest.json beside it).",
                todo="Put its manifest.json beside it; a card's board can be named with --board.",
            )
        if board is not None and named != board:
            raise BadInputError(
                f"{path} is an image for {named}, not for {board}.",
                kept="Nothing was started.",
                todo=f"Use --board {named}, or build an image for {board}.",
            )
        target = find(named)
        data = path.read_bytes()
        _check(path, data, manifest)
        if path.suffix == ".hex":
            segments = from_hex(path, target.chip.flash_base)
        elif data.startswith(_UF2_MAGIC[:4]):
            segments = from_uf2(path, data, target.chip.flash_base)
        else:
            segments = [(target.file_system.address, data)]
        for address, part in segments:
            if address < 0 or address + len(part) > target.flash_size:
                raise BadInputError(
                    f"{path} has {len(part)} bytes at {address:#x}, outside the flash of {named}.",
                    todo="Build the image for this board again.",
                )
        version = str(manifest.get("version", ""))
        foreign = manifest.get("device") == "firmware"  # somebody's own, made of a folder
        writable = foreign and target.image_format == "littlefs"
        return cls(
            target, tuple(segments), version, writable=writable, prints=foreign or not version
        )

    def content(self) -> bytes:
        """The whole flash after a factory programmer wrote this image to a blank one."""
        content = bytearray(b"\xff" * self.board.flash_size)
        for address, part in self.segments:
            content[address : address + len(part)] = part
        return bytes(content)


def _manifest(path: Path) -> dict[str, object]:
    beside = path.with_name("manifest.json")
    if not beside.is_file():
        return {}
    try:
        content = json.loads(beside.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInputError(f"{beside} is not JSON.", todo="Build the image again.") from error
    return content if isinstance(content, dict) else {}


def _check(path: Path, data: bytes, manifest: dict[str, object]) -> None:
    """Raises BadInputError when the manifest beside the file knows it, and with other contents."""
    outputs = manifest.get("outputs")
    entry = outputs.get(path.name) if isinstance(outputs, dict) else None
    if isinstance(entry, dict) and entry.get("sha256") != hashlib.sha256(data).hexdigest():
        raise BadInputError(
            f"{path} is not the file that its manifest describes: its SHA-256 differs.",
            kept="Nothing was started.",
            todo="Build or copy the image again.",
        )


def from_hex(path: Path, base: int) -> list[tuple[int, bytes]]:
    """Intel HEX, whose addresses begin at `base`. Raises BadInputError."""
    try:
        content = IntelHex(str(path))
    except (HexRecordError, ValueError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} is not Intel HEX: {error}.", todo="Build it again.") from error
    return [
        (start - base, content.tobinstr(start=start, size=end - start))
        for start, end in content.segments()
    ]


def from_uf2(path: Path, data: bytes, base: int) -> list[tuple[int, bytes]]:
    """512-byte blocks, each with 256 bytes of payload and its address (UF2 specification).
    Raises BadInputError."""
    parts: list[tuple[int, bytes]] = []
    for at in range(0, len(data), 512):
        block = data[at : at + 512]
        if len(block) != 512 or block[:8] != _UF2_MAGIC or block[508:] != b"\x30\x6f\xb1\x0a":
            raise BadInputError(f"{path} is not a whole UF2 file.", todo="Build or copy it again.")
        address = int.from_bytes(block[12:16], "little")
        size = int.from_bytes(block[16:20], "little")
        parts.append((address - base, block[32 : 32 + min(size, 476)]))
    return parts
