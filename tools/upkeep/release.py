"""`make release`: everything that a release is, from the last commit, into dist/tallystick-VERSION.

Wheel and source distribution, the images of all boards with their bills of materials, the locked
requirements, the notes, and the checksums of all that. Built in a copy of the commit, so that
nothing uncommitted is in it; the same commit and tools give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tallystick.common.console import print_error
from tallystick.common.errors import BadInputError, TallyError
from tallystick.tools.upkeep import fragments
from tallystick.tools.upkeep.project import root

CHECKSUMS = "SHA256SUMS"
NOTES = "NOTES.md"
_VERSION = re.compile(r'^__version__ = "(\d+\.\d+\.\d+)"$', re.MULTILINE)
_MARK = "<!-- changes -->\n"
_UPGRADE = """
## How to upgrade

Check what you have downloaded first: `sha256sum --check {checksums}`.

Station and server: read *To do when you upgrade* above, make a backup of the database
(`systemctl start tallystick-backup`, or docs/reference/server.md), then

    pip install --require-hashes -r requirements/tallystick.txt
    pip install --no-deps tallystick-{version}-py3-none-any.whl

and start them again. The server brings its database to the new form when it starts, and an older
version refuses it then: to go back, put the backup back (docs/guides/operations.md).

Cards in the field: `tally update images/card-BOARD --port DEV --public-key KEY` (updates.md).
Seed, keys and moving factor stay. Readers are flashed (docs/reference/updates.md, *The reader*).
{signed}"""
_DEVELOPMENT = """
These images are signed with the **published development key**: anybody can sign another that such a
card takes. They are for trials. For cards in service, use your own: `make release KEY=firm.key`.
"""
_OWN = """
The images are signed with the key given to this release; its public half is in each manifest.json.
"""


def version(source: Path) -> str:
    """The one place: tallystick/__init__.py. Raises BadInputError."""
    match = _VERSION.search((source / "tallystick" / "__init__.py").read_text(encoding="utf-8"))
    if match is None:
        raise BadInputError("tallystick/__init__.py has no version.", todo='Write "1.2.3" there.')
    return match[1]


def export(folder: Path, to: Path) -> None:
    """The last commit's files, without what is not committed. Raises BadInputError."""
    archive = to.with_suffix(".tar")
    command = ["git", "-C", str(folder), "archive", "--output", str(archive), "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, encoding="utf-8")
    if done.returncode != 0:
        raise BadInputError(
            f"The last commit cannot be read: {done.stderr.strip()}",
            todo="Make releases in a git checkout.",
        )
    with tarfile.open(archive) as files:
        if hasattr(tarfile, "tar_filter"):
            files.extractall(to, filter="tar")
        else:  # Python 3.11.2, which Debian 12 has
            files.extractall(to)  # noqa: S202  # files of our own commit
    archive.unlink()


def build(
    source: Path, out: Path, *, key: Path | None = None, passphrase: Path | None = None
) -> None:
    """Writes a release of the files in `source` into the empty folder `out`. passphrase: a file
    with that of the key."""
    _run(source, "build", "--no-isolation", "--outdir", str(out), str(source))
    for device, board in _boards(source):
        arguments = ["image", "build", "--device", device, "--board", board]
        arguments += ["--version", version(source)]
        arguments += ["--key", str(key.resolve())] if key else []
        arguments += ["--passphrase-file", str(passphrase.resolve())] if passphrase else []
        _run(
            source, "tallystick.cli", *arguments, "--out", str(out / "images" / f"{device}-{board}")
        )
    shutil.copytree(source / "requirements", out / "requirements")
    (out / NOTES).write_text(notes(source, development=key is None), encoding="utf-8")
    (out / CHECKSUMS).write_text(checksums(out), encoding="utf-8")


def _boards(source: Path) -> list[tuple[str, str]]:
    """(device, board) of all that there are in `source`."""
    text = (
        "from tallystick.emulator.boards import BOARDS, READERS\n"
        "for board in (*BOARDS.values(), *READERS.values()): print(board.device, board.name)\n"
    )
    lines = _python(source, "-c", text).splitlines()
    return [(device, board) for device, _, board in (line.partition(" ") for line in lines)]


def _run(source: Path, module: str, *arguments: str) -> str:
    return _python(source, "-m", module, *arguments)


def _python(source: Path, *arguments: str) -> str:
    """Python with the modules of `source`, not those of the checkout. Dates in archives are
    hatchling's constant, unless a packager sets SOURCE_DATE_EPOCH."""
    env = os.environ | {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=source, env=env, capture_output=True, text=True, check=False, encoding="utf-8"
    )
    if done.returncode != 0:
        raise BadInputError(
            f"{' '.join(arguments[:4])} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}",
            kept="No release was written.",
            todo="Mend that, commit, and run make release again.",
        )
    return done.stdout


def notes(source: Path, *, development: bool) -> str:
    """What changed and how to upgrade. What is still in changes/ is named as not released."""
    number = version(source)
    if any(path.name != fragments.README for path in (source / "changes").iterdir()):
        changes = fragments.draft(source, number).strip()
    else:
        changes = _section((source / "CHANGELOG.md").read_text(encoding="utf-8"), number)
    how = _UPGRADE.format(
        checksums=CHECKSUMS, version=number, signed=_DEVELOPMENT if development else _OWN
    )
    return f"# Tallystick {number}\n\n{changes}\n{how}"


def _section(log: str, number: str) -> str:
    for part in log.partition(_MARK)[2].split("\n## "):
        if part.removeprefix("## ").startswith(f"{number} "):
            return "## " + part.removeprefix("## ").strip()
    raise BadInputError(
        f"CHANGELOG.md has nothing about {number}, and changes/ is empty.",
        todo="Say in changes/ what is new, and run make changelog.",
    )


def checksums(folder: Path) -> str:
    """As sha256sum writes and checks it, of every file below `folder` but itself."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}\n"
        for path in files
        if path.name != CHECKSUMS
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Build a release of the last commit.")
    parser.add_argument("--key", type=Path, help="signs the images; default: the development key")
    parser.add_argument("--passphrase-file", type=Path, help="holds the key's passphrase")
    parser.add_argument("--out", type=Path, help="default: dist/tallystick-VERSION")
    asked = parser.parse_args()
    try:
        folder = root()
        with tempfile.TemporaryDirectory() as place:
            source, made = Path(place) / "source", Path(place) / "release"
            source.mkdir()
            made.mkdir()
            export(folder, source)
            build(source, made, key=asked.key, passphrase=asked.passphrase_file)
            out = asked.out or folder / "dist" / f"tallystick-{version(source)}"
            shutil.rmtree(out, ignore_errors=True)
            shutil.copytree(made, out)
    except TallyError as error:
        print_error(error)
        return int(error.exit_code)
    sys.stdout.write((out / CHECKSUMS).read_text(encoding="utf-8") + f"{out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
