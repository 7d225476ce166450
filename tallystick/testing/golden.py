"""Accepted screens: the hash is in git, the pictures are made when something differs."""

from __future__ import annotations

import fcntl
import json
import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path

import pytest

from tallystick.common import png
from tallystick.emulator.seeing.frames import Frame, Palette

FILE = "golden.json"
FOLDER = "golden"
_PLAIN = Palette(ink=(0, 0, 0), paper=(255, 255, 255), margin=(255, 255, 255))


class Golden:
    """The screens of one test, in `golden.json` beside the test's file: test → name → hash."""

    def __init__(
        self, test: str, folder: Path, artefacts: Path, *, accept: bool, pictures: bool = False
    ) -> None:
        """pictures: accepted screens are also kept as pictures beside the hashes, in a folder that
        goes into git."""
        self._test = test
        self._file = folder / FILE
        self._beside = folder / FOLDER
        self._pictures = pictures
        self._artefacts = artefacts
        self._accept = accept

    def compare(self, name: str, frame: Frame, palette: Palette) -> None:
        """Fails the test when the frame is not the accepted one; the failure names a picture."""
        found = frame.sha256()
        if self._accept:
            self._keep(name, found)
            self._picture(found, frame)
            if self._pictures:
                self._keep_beside(found, frame)
            return
        accepted = self._read().get(self._test, {}).get(name)
        if accepted == found:
            if self._pictures:
                self._keep_beside(found, frame)
            return
        page = self._page(name, frame, palette, accepted)
        what = "is not the accepted one" if accepted else "has not been accepted yet"
        pytest.fail(
            f"screen {name!r} of {self._test} {what}.\nPicture: {page}\n"
            "If it is right, accept it: pytest --golden, and commit golden.json.",
            pytrace=False,
        )

    # -- the file ------------------------------------------------------------------------------

    def _read(self) -> dict[str, dict[str, str]]:
        if not self._file.is_file():
            return {}
        content: dict[str, dict[str, str]] = json.loads(self._file.read_text(encoding="utf-8"))
        return content

    def _keep(self, name: str, digest: str) -> None:
        with _locked(self._file):
            content = self._read()
            before = content.setdefault(self._test, {}).get(name)
            content[self._test][name] = digest
            if before is not None and not any(before in one.values() for one in content.values()):
                (self._beside / f"{before}.png").unlink(missing_ok=True)
            part = self._file.with_suffix(".part")
            part.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
            part.replace(self._file)

    # -- pictures ------------------------------------------------------------------------------

    def _picture(self, digest: str, frame: Frame) -> None:
        """Kept out of git, so that a later failure on this machine can show what was accepted."""
        folder = self._artefacts / "golden"
        folder.mkdir(parents=True, exist_ok=True)
        rows = "\n".join(
            "".join(
                "#" if pixel else "."
                for pixel in frame.pixels[y * frame.width : (y + 1) * frame.width]
            )
            for y in range(frame.height)
        )
        (folder / f"{digest}.txt").write_text(rows + "\n", encoding="utf-8")

    def _keep_beside(self, digest: str, frame: Frame) -> None:
        """One pixel a point, without a margin: small, and read back as it is."""
        self._beside.mkdir(exist_ok=True)
        path = self._beside / f"{digest}.png"
        if not path.is_file():
            part = path.with_suffix(f".{os.getpid()}.part")
            part.write_bytes(frame.png(scale=1, palette=_PLAIN, margin=0))
            part.replace(path)

    def _accepted_frame(self, digest: str | None) -> Frame | None:
        if digest is None:
            return None
        beside = self._beside / f"{digest}.png"
        if beside.is_file():
            frame = _read_png(beside.read_bytes())
            return frame if frame is not None and frame.sha256() == digest else None
        path = self._artefacts / "golden" / f"{digest}.txt"
        if not path.is_file():
            return None
        rows = path.read_text(encoding="utf-8").split()
        pixels = bytes(1 if mark == "#" else 0 for row in rows for mark in row)
        return Frame(len(rows[0]), len(rows), pixels)

    def _page(self, name: str, frame: Frame, palette: Palette, accepted: str | None) -> Path:
        folder = self._artefacts / safe(self._test)
        folder.mkdir(parents=True, exist_ok=True)
        pictures = [("now", frame.png(palette=palette))]
        before = self._accepted_frame(accepted)
        if before is not None:
            pictures.insert(0, ("accepted", before.png(palette=palette)))
            if (before.width, before.height) == (frame.width, frame.height):
                pictures.append(("difference", before.difference(frame)))
        figures = []
        for title, content in pictures:
            file = f"{safe(name)}-{title}.png"
            (folder / file).write_bytes(content)
            figures.append(
                f'<figure><img src="{file}" alt="{title}"><figcaption>{title}</figcaption></figure>'
            )
        if accepted and before is None:
            figures.append(
                f"<p>The accepted picture, {accepted[:16]}…, is not on this machine: "
                "<code>pytest --golden-pictures</code>, run where the test passes, keeps it beside "
                "the hash.</p>"
            )
        page = folder / f"{safe(name)}.html"
        page.write_text(
            f"<!doctype html><meta charset=utf-8><title>{escape(name)}</title>"
            "<style>body{font:16px system-ui;margin:2rem;color-scheme:light dark}"
            "div{display:flex;gap:2rem;flex-wrap:wrap}figure{margin:0}img{image-rendering:pixelated}"
            f"</style><h1>{escape(name)}</h1><p>{escape(self._test)}</p><div>{''.join(figures)}</div>\n",
            encoding="utf-8",
        )
        return page


def _read_png(data: bytes) -> Frame | None:
    """A picture that `_keep_beside` wrote; None for anything else."""
    try:
        width, height, pixels = png.decode(data)
        return Frame(width, height, pixels)
    except (ValueError, struct.error):
        return None


def safe(name: str) -> str:
    """A file name that says what it is of."""
    return re.sub(r"[^\w.-]+", "_", name).strip("_")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Several workers accept screens of one file."""
    with path.with_suffix(".lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    path.with_suffix(".lock").unlink(missing_ok=True)
