"""The files that a build leaves: for tools, for production programmers, for drag and drop, for the
update in the field, and the papers that go with them."""

from __future__ import annotations

import hashlib
import io
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from intelhex import IntelHex

from tallystick.tools import uf2
from tallystick.tools.image import sbom
from tallystick.tools.image.built import FOREIGN, Built

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
# Before the manifest when it is signed: a signature over one kind of thing must not fit another.
SIGNED_AS = b"tallystick manifest 1\0"
_FORMAT = 1


def write(built: Built, folder: Path) -> dict[str, Path]:
    """Writes every output; kind → path. The same image gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = built.device
    contents = {
        "bin": (f"{stem}.bin", built.flash),
        "hex": (f"{stem}.hex", intel_hex([(built.address, built.flash)])),
    }
    family = built.board.chip.uf2_family
    if family is not None:
        contents["uf2"] = (f"{stem}.uf2", uf2.encode_parts(_parts(built), family))
    if built.header:
        contents["update"] = (f"{stem}.update", built.header + built.file_system)
    contents["sbom"] = (f"{stem}.cdx.json", _json(sbom.document(built)))
    manifest = _json(_manifest(built, dict(contents.values())))
    contents["manifest"] = (MANIFEST, manifest)
    contents["signature"] = (SIGNATURE, sign_manifest(built, manifest))
    paths = {}
    for kind, (name, data) in contents.items():
        paths[kind] = folder / name
        paths[kind].write_bytes(data)
    return paths


def _parts(built: Built) -> list[tuple[int, bytes]]:
    """(address, content) for a board that had firmware before: its boot record is made blank, or
    it could go on with an older image in the other slot."""
    parts = [(built.address, built.flash)]
    record = built.board.record
    if record is not None and built.device != FOREIGN:
        parts.append((built.board.chip.flash_base + record.address, b"\xff" * record.size))
    return parts


def sign_manifest(built: Built, manifest: bytes) -> bytes:
    """The signature file: hex digits and a newline."""
    return built.key.sign(SIGNED_AS + manifest).hex().encode() + b"\n"


def intel_hex(parts: list[tuple[int, bytes]]) -> bytes:
    """Intel HEX of (address, data). Runs of 256 blank bytes are left out: flash is blank there."""
    hexfile = IntelHex()
    for address, data in parts:
        for at in range(0, len(data), 256):
            piece = data[at : at + 256]
            if piece.strip(b"\xff"):
                hexfile.puts(address + at, piece)
    text = io.StringIO()
    hexfile.write_hex_file(text)
    return text.getvalue().encode()


def _manifest(built: Built, files: dict[str, bytes]) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "device": built.device,
        "board": built.board.name,
        "chip": built.board.chip.name,
        "version": built.version,
        "security_version": built.security,
        "state_formats": list(built.formats),
        "address": built.address,
        "bytecode_bytes": built.bytecode_size,
        "boot_bytes": built.boot_size,
        "public_key": built.key.public.hex(),
        "development": built.key.is_development,
        "tools": {name: version(name) for name in sbom.TOOLS},
        "files": _digests(built.files),
        "boot_files": _digests(built.boot_files),
        "outputs": _digests(files),
    }


def _digests(files: dict[str, bytes]) -> dict[str, dict[str, Any]]:
    return {
        name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in sorted(files.items())
    }


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
