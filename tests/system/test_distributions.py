"""What is installed: wheel and source distribution hold each module once, and no link."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("emulator", "provisioning", "server", "tools")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("built")
    build(ROOT, place)
    return place


def build(source: Path, place: Path, *options: str) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(place), *options]
    done = subprocess.run(command, check=False, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def modules() -> set[str]:
    """Of the checkout, as they are imported."""
    own = [
        path
        for room in ("cli", "client", "common", "faults", "testing")
        for path in (ROOT / "tallystick" / room).rglob("*.py")
    ]
    found = {str(path.relative_to(ROOT)) for path in own} | {"tallystick/__init__.py"}
    for package in PACKAGES:
        found |= {f"tallystick/{path.relative_to(ROOT)}" for path in (ROOT / package).rglob("*.py")}
    return found


def test_a_wheel_holds_each_module_once(built: Path):
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        assert "tallystick/py.typed" in wheel.namelist()  # whoever uses the client is type-checked
        names = [name for name in wheel.namelist() if name.endswith(".py")]
        spoken = [name for name in wheel.namelist() if name.endswith(".po")]
        assert len(spoken) == len(list((ROOT / "server/wording/catalogues").glob("*.po"))) >= 3
        for name in spoken:  # as the sources have them: there is no other form that could be old
            own = ROOT / name.removeprefix("tallystick/")
            assert wheel.read(name) == own.read_bytes()
    ours = [name for name in names if not name.startswith("tallystick/_firmware/")]
    assert sorted(ours) == sorted(modules())


def test_a_source_distribution_holds_each_module_once_and_no_link(built: Path):
    with tarfile.open(next(built.glob("*.tar.gz"))) as source:
        members = source.getmembers()
    assert not [member.name for member in members if member.issym() or member.islnk()]
    names = [member.name.partition("/")[2] for member in members]
    assert len(names) == len(set(names))
    python = [name for name in names if name.endswith(".py")]
    assert {name for name in python if name.startswith("tallystick/")} == modules()
    assert not [name for name in python if name.split("/")[0] in PACKAGES]


def test_a_wheel_of_the_source_distribution_is_the_same(built: Path, tmp_path: Path):
    shutil.unpack_archive(next(built.glob("*.tar.gz")), tmp_path)
    (unpacked,) = tmp_path.iterdir()
    build(unpacked, tmp_path, "-t", "wheel")

    def content(place: Path) -> dict[str, int]:
        with zipfile.ZipFile(next(place.glob("*.whl"))) as wheel:
            return {entry.filename: entry.CRC for entry in wheel.infolist()}

    assert content(tmp_path) == content(built)


def test_the_links_are_relative_and_lead_to_the_folders_on_top():
    for package in PACKAGES:
        link = ROOT / "tallystick" / package
        assert link.is_symlink()
        assert str(link.readlink()) == f"../{package}"
