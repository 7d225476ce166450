"""A release, built twice in different places, is the same bytes; and what is in it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tallystick import __version__
from tallystick.common.errors import BadInputError
from tallystick.emulator.boards import BOARDS, READERS
from tallystick.tools.upkeep import release

ROOT = Path(__file__).parents[3]
LEFT_OUT = shutil.ignore_patterns(
    ".git",
    ".venv",
    "build",
    "dist",
    "__pycache__",
    "*.egg-info",
    ".*_cache",
    ".hypothesis",
    ".tally",
)


def made(place: Path, mask: str) -> Path:
    """A release of the files as they are here, by a process with a umask, a time zone and a hash
    seed of its own."""
    source, out = place / "source", place / "out"
    shutil.copytree(ROOT, source, symlinks=True, ignore=LEFT_OUT)
    out.mkdir()
    code = (
        "import sys; from pathlib import Path; from tallystick.tools.upkeep import release;"
        "release.build(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    env = os.environ | {"TZ": f"UTC-{mask[-1]}", "PYTHONHASHSEED": mask, "LANG": "C"}
    command = ["sh", "-c", f'umask {mask}; exec "$@"', "sh", sys.executable, "-c", code]
    done = subprocess.run(
        [*command, str(source), str(out)], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return out


def checksums_are_of_every_file(folder: Path) -> None:
    lines = (folder / release.CHECKSUMS).read_text().splitlines()
    listed = {name: digest for digest, name in (line.split("  ") for line in lines)}
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert listed.keys() == files - {release.CHECKSUMS}
    for name, digest in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    done = subprocess.run(
        ["sha256sum", "--quiet", "--check", release.CHECKSUMS], cwd=folder, check=False
    )
    assert done.returncode == 0


def images_of_all_boards_with_their_bills_of_materials(folder: Path) -> None:
    images = folder / "images"
    boards = {f"{board.device}-{board.name}" for board in (BOARDS | READERS).values()}
    assert {path.name for path in images.iterdir()} == boards
    for image in images.iterdir():
        manifest = json.loads((image / "manifest.json").read_text())
        assert manifest["version"] == __version__
        (bill,) = image.glob("*.cdx.json")
        component = json.loads(bill.read_text())["metadata"]["component"]
        (binary,) = image.glob("*.bin")
        digest = hashlib.sha256(binary.read_bytes()).hexdigest()
        assert component["hashes"] == [{"alg": "SHA-256", "content": digest}]


def version_is_the_one(folder: Path) -> None:
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text()
    assert release.version(ROOT) == __version__
    (wheel,) = folder.glob("*.whl")
    assert wheel.name == f"tallystick-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"tallystick-{__version__}.dist-info/METADATA").decode()
    assert f"\nVersion: {__version__}\n" in text
    done = subprocess.run(
        [sys.executable, "-m", "tallystick.cli", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-1] == __version__


def the_notes_say_what_changed_and_how_to_upgrade(folder: Path) -> None:
    text = (folder / release.NOTES).read_text()
    assert f"# Tallystick {__version__}" in text
    assert "## How to upgrade" in text
    assert "published development key" in text
    assert (folder / "requirements" / "tallystick.txt").exists()


# One test: to build two releases takes longer than to look at them.
@pytest.mark.slow
def test_built_twice_it_is_the_same_bytes_and_holds_everything(tmp_path: Path):
    places = [tmp_path / name for name in ("one", "another")]
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(made, places, ("022", "077"))
    assert (first / release.CHECKSUMS).read_text() == (second / release.CHECKSUMS).read_text()
    checksums_are_of_every_file(first)
    images_of_all_boards_with_their_bills_of_materials(first)
    version_is_the_one(first)
    the_notes_say_what_changed_and_how_to_upgrade(first)


def test_notes_of_a_version_are_its_section_of_the_change_log(tmp_path: Path):
    (tmp_path / "tallystick").mkdir()
    (tmp_path / "tallystick" / "__init__.py").write_text('__version__ = "1.2.3"\n')
    (tmp_path / "changes").mkdir()
    log = tmp_path / "CHANGELOG.md"
    log.write_text(
        "# Changes\n\n<!-- changes -->\n## 1.2.3 (2030-01-02)\n\n### Added\n\n- New.\n\n"
        "## 1.2.2 (2030)\n\n- Old.\n"
    )
    text = release.notes(tmp_path, development=False)
    assert "- New." in text
    assert "- Old." not in text
    assert "development key" not in text
    log.write_text("# Changes\n\n<!-- changes -->\n## 1.2.2 (2030)\n\n- Old.\n")
    with pytest.raises(BadInputError, match=r"nothing about 1\.2\.3"):
        release.notes(tmp_path, development=False)
