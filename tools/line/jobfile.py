"""The job of a production line, as a file says it (TOML): docs/guides/production.md.

What a job is made of is read once. Its fingerprint covers every file that it names: a job that was
changed while it ran goes on nowhere.
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tallystick.common.errors import BadInputError, RefusedError
from tallystick.common.identity import check_serial
from tallystick.provisioning.custody.store import PKCS11_SCHEME
from tallystick.tools.flash.job import Job
from tallystick.tools.image.cards import running_numbers
from tallystick.tools.image.keys import read_public
from tallystick.tools.image.merge import Parts, read_parts
from tallystick.tools.image.verify import Verified, verify
from tallystick.tools.line.locking import LockWish

WAYS = ("openocd", "dfu-util", "drive", "prompt")
_KNOWN = {
    "": {"name", "board", "device", "image", "public_key", "base", "way", "count"},
    "serials": {"first", "server", "at_once"},
    "segments": {
        "master_file",
        "keys",
        "date",
        "attestation_key",
        "attestation_certificate",
    },
    "lock": {"read_out", "boot_key", "boot_image"},
    "selftest": {"port", "limits"},
    "label": {"folder", "stock"},
}
_MOST = 100_000
_T = TypeVar("_T")


@dataclass(frozen=True)
class LineJob:
    """`first`: serial number of the first board. server: the station's credential for a range that
    is shared. master_file or keys, and date: what a card's segment comes from. attestation: key and
    certificate of a reader's batch."""

    path: Path
    name: str
    way: str
    count: int
    first: str
    server: Path | None
    at_once: int
    master_file: Path | None
    keys: str | None
    date: int
    attestation: tuple[Path, Path] | None
    base: Parts
    image: Verified
    lock: LockWish | None
    selftest_port: str | None
    limits: Path | None
    labels: Path | None
    stock: str
    fingerprint: str

    @property
    def flash(self) -> Job:
        return Job.of(self.image)

    def numbers(self) -> list[str]:
        """Every serial number of the job, when no server gives them."""
        return running_numbers(self.first, self.count)

    def refuse_change(self) -> None:
        """Raises RefusedError when a file of the job is no longer as it was read."""
        if read(self.path).fingerprint != self.fingerprint:
            raise RefusedError(
                f"The job {self.name!r} was changed while it ran.",
                kept="The boards that are done stay done; nothing was written to this one.",
                todo="Put its files back as they were, or begin another job with its own file.",
            )


def read(path: Path) -> LineJob:
    """Raises BadInputError for a file that is no job, names what is not there, or an image that
    is not the firm's."""
    content = _bytes(path)
    try:
        value = tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} is not TOML: {error}.", kept="Nothing was begun.") from None
    table = _Table(path, value)
    table.refuse_unknown()
    image = verify(table.file("", "image"), trusted=_public(table))
    board, device = table.text("", "board"), table.text("", "device")
    if (image.board, image.device) != (board, device):
        raise table.bad(
            f"its image is for a {image.device} on {image.board}, not {device}, {board}"
        )
    base = table.maybe_file("", "base")
    lock = table.lock()
    master, keys, date, attestation = table.segments(device)
    limits, server = table.maybe_file("selftest", "limits"), table.maybe_file("serials", "server")
    named = [image.path / "manifest.json", base, limits, master, *(attestation or ())]
    named += [lock.boot_key, lock.boot_image] if lock else []
    digest = hashlib.sha256(content)
    for one in named:
        digest.update(hashlib.sha256(_bytes(one) if one else b"").digest())
    labels = table.maybe("label", "folder")
    return LineJob(
        path,
        table.text("", "name"),
        table.choice("", "way", WAYS),
        table.number("", "count", 1, _MOST),
        check_serial(table.text("serials", "first")),
        server,
        table.number("serials", "at_once", 1, 1000, default=20),
        master,
        keys,
        date,
        attestation,
        read_parts(base) if base else [],
        image,
        lock,
        table.maybe("selftest", "port"),
        limits,
        path.parent / labels if labels else None,
        table.maybe("label", "stock") or "50x25",
        digest.hexdigest(),
    )


def _public(table: _Table) -> bytes:
    """Digits, or a file that has them, seen from the job's folder as every other."""
    file = table.file("", "public_key")
    return read_public(str(file) if file.is_file() else table.text("", "public_key"))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be read: {error.strerror}.", kept="Nothing was begun."
        ) from None


class _Table:
    """What a file says, with a sentence for what it does not."""

    def __init__(self, path: Path, value: dict[str, Any]) -> None:
        self._path = path
        self._value = value

    def bad(self, what: str) -> BadInputError:
        return BadInputError(
            f"The job {self._path}: {what}.",
            kept="Nothing was begun.",
            todo="docs/guides/production.md has an example.",
        )

    def refuse_unknown(self) -> None:
        """A word that nobody reads may be a lock that nobody sets."""
        for name, value in self._value.items():
            if isinstance(value, dict):
                unknown = set(value) - _KNOWN.get(name, set())
                if name not in _KNOWN or unknown:
                    raise self.bad(f"nobody knows [{name}] {', '.join(sorted(unknown))}".rstrip())
            elif name not in _KNOWN[""]:
                raise self.bad(f"nobody knows {name}")

    def _get(self, section: str, name: str) -> Any:
        found = self._value.get(section, {}) if section else self._value
        return found.get(name)

    def maybe(self, section: str, name: str) -> str | None:
        value = self._get(section, name)
        if value is None or (isinstance(value, str) and value):
            return value
        raise self.bad(f"{name} is no text")

    def text(self, section: str, name: str) -> str:
        return self._needed(self.maybe(section, name), section, name)

    def choice(self, section: str, name: str, known: tuple[str, ...]) -> str:
        value = self.text(section, name)
        if value not in known:
            raise self.bad(f"{name} is one of {', '.join(known)}")
        return value

    def maybe_file(self, section: str, name: str) -> Path | None:
        value = self.maybe(section, name)
        return None if value is None else self._path.parent / value

    def file(self, section: str, name: str) -> Path:
        return self._needed(self.maybe_file(section, name), section, name)

    def number(
        self, section: str, name: str, low: int, high: int, default: int | None = None
    ) -> int:
        value = self._get(section, name)
        value = default if value is None else value
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.bad(f"{name} is a number from {low} to {high}")
        return value

    def segments(
        self, device: str
    ) -> tuple[Path | None, str | None, int, tuple[Path, Path] | None]:
        """Where a card's keys come from, and its date; or the batch of readers."""
        found = set(self._value.get("segments", {}))
        if device == "reader":
            if found != {"attestation_key", "attestation_certificate"}:
                raise self.bad(
                    "[segments] of readers has attestation_key and attestation_certificate"
                )
            if "selftest" in self._value:
                raise self.bad("a reader has no self-test over a serial line: leave out [selftest]")
            key = self.file("segments", "attestation_key")
            return None, None, 0, (key, self.file("segments", "attestation_certificate"))
        master, keys = self.maybe_file("segments", "master_file"), self.maybe("segments", "keys")
        if keys is not None and not keys.startswith(PKCS11_SCHEME):
            keys = str(self._path.parent / keys)
        if (master is None) == (keys is None) or found & {
            "attestation_key", "attestation_certificate",
        }:  # fmt: skip
            raise self.bad("[segments] of cards needs one of master_file and keys")
        return master, keys, self.number("segments", "date", 20200101, 99991231), None

    def lock(self) -> LockWish | None:
        if "lock" not in self._value:
            return None
        return LockWish(
            self.number("lock", "read_out", 1, 2) if "read_out" in self._value["lock"] else None,
            self.maybe_file("lock", "boot_key"),
            self.maybe_file("lock", "boot_image"),
        )

    def _needed(self, value: _T | None, section: str, name: str) -> _T:
        if value is None:
            raise self.bad(f"{f'[{section}] ' if section else ''}{name} is missing")
        return value
