"""Whether a folder of a build is whole, unchanged, and signed by somebody who may."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tallystick.common.errors import BadInputError
from tallystick.tools.image.header import FIRST_FORMAT, SIGNATURE_SIZE, SIZE, Header, StateFormats
from tallystick.tools.image.keys import DEVELOPMENT_PUBLIC, is_signed
from tallystick.tools.image.outputs import MANIFEST, SIGNATURE, SIGNED_AS


@dataclass(frozen=True)
class Verified:
    """A manifest whose signature and hashes were found right. `path` is the folder."""

    path: Path
    manifest: dict[str, Any] = field(repr=False)

    @property
    def device(self) -> str:
        return str(self.manifest["device"])

    @property
    def board(self) -> str:
        return str(self.manifest["board"])

    @property
    def version(self) -> str:
        return str(self.manifest["version"])

    @property
    def security(self) -> int:
        """Security version, which never goes back on a device."""
        return int(self.manifest["security_version"])

    @property
    def formats(self) -> StateFormats:
        """Of the device's state, that it reads. Before they were numbered there was one."""
        return StateFormats(*self.manifest.get("state_formats", FIRST_FORMAT))

    def read(self, suffix: str) -> bytes:
        """The output of this build that ends in `suffix` (`.bin`), as it was when verified.

        Raises BadInputError when it has changed since, or the board has none.
        """
        for name, entry in self.manifest["outputs"].items():
            if name.endswith(suffix):
                data = _read(self.path / name)
                if hashlib.sha256(data).hexdigest() != entry["sha256"]:
                    raise _changed(name)
                return data
        raise BadInputError(f"The build in {self.path} has no {suffix} file.")


def verify(path: Path, *, trusted: bytes | None = None, development: bool = False) -> Verified:
    """Checks a build: `path` is its folder, or any file in it.

    trusted: the public key it must be signed with; default: any key but the published development
    key, which needs `development`. Raises BadInputError that says what is wrong.
    """
    folder = path if path.is_dir() else path.parent
    manifest_bytes, signature = _read(folder / MANIFEST), _read(folder / SIGNATURE)
    manifest = _parse(manifest_bytes)
    public = bytes.fromhex(manifest["public_key"])
    if trusted is not None and public != trusted:
        raise BadInputError(
            f"The image is signed with another key ({public.hex()[:16]}…) than the trusted one.",
            todo="Ask who built it, or name that key with --public-key.",
        )
    if not is_signed(public, SIGNED_AS + manifest_bytes, _unhex(signature)):
        raise BadInputError(
            f"The signature of {folder / MANIFEST} is wrong: it was altered, or never signed.",
            todo="Build the image again, or fetch it again from where it was built.",
        )
    if trusted is None and public == DEVELOPMENT_PUBLIC and not development:
        raise BadInputError(
            "The image is signed with the published development key, as anybody can.",
            todo="Build with --key for devices that leave the desk; on a desk, add --development.",
        )
    verified = Verified(folder, manifest)
    for name, entry in manifest["outputs"].items():
        file = folder / name
        if not file.is_file():
            raise BadInputError(f"{file} is missing.", todo="Fetch the whole folder again.")
        if hashlib.sha256(file.read_bytes()).hexdigest() != entry["sha256"]:
            raise _changed(name)
        if name.endswith(".update"):
            _check_update(file.read_bytes(), public, verified)
    return verified


def _check_update(data: bytes, public: bytes, verified: Verified) -> None:
    """The card's own view of it: the header must say what the manifest says."""
    header = Header.decode(data)
    claims = (
        verified.device, verified.board, verified.version, verified.security, verified.formats
    )  # fmt: skip
    if (
        header is None
        or (header.device, header.board, header.version, header.security, header.formats) != claims
        or not is_signed(public, data[:SIZE], data[SIZE : SIZE + SIGNATURE_SIZE])
    ):
        raise BadInputError("The update's header does not agree with the manifest.")


def _changed(name: str) -> BadInputError:
    return BadInputError(
        f"{name} is not the file that was built: its SHA-256 differs from the manifest's.",
        todo="Build the image again, or fetch it again from where it was built.",
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise BadInputError(
            f"{path.parent} is not a signed image: {path.name} is not there.",
            todo="Name the folder that `tally image build` wrote.",
        ) from None


def _parse(manifest: bytes) -> dict[str, Any]:
    try:
        value = json.loads(manifest)
        bytes.fromhex(value["public_key"])
        for name, entry in value["outputs"].items():
            if Path(name).name != name or not isinstance(entry["sha256"], str):
                raise ValueError(name)
        for key in ("device", "board", "version", "security_version"):
            if key not in value:
                raise KeyError(key)
        oldest, newest = value.get("state_formats", FIRST_FORMAT)
        if not 0 < int(oldest) <= int(newest):
            raise ValueError(oldest)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadInputError("The manifest is malformed.", todo="Build the image again.") from None
    assert isinstance(value, dict)
    return value


def _unhex(signature: bytes) -> bytes:
    try:
        return bytes.fromhex(signature.decode("ascii"))
    except ValueError:
        return b""
