"""Where files lie that nobody named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tallystick.common import paths

CARD = """
from tallystick.common.paths import cache_folder
from tallystick.tools.fresh import card
with card("nucleo_l476rg") as device:
    device.power_on()
print(cache_folder())
"""


@pytest.fixture(autouse=True)
def anew():
    paths._of_this_process.cache_clear()
    yield
    paths._of_this_process.cache_clear()


def test_the_cache_is_where_the_user_has_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert paths.cache_folder() == tmp_path / "cache/tallystick"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.cache_folder() == tmp_path / ".cache/tallystick"
    assert paths.cache_folder().is_dir()


@pytest.mark.parametrize("variable", ["HOME", "XDG_CACHE_HOME"])
def test_a_card_starts_for_a_user_without_a_home(variable, tmp_path) -> None:
    """And what was made for it goes with the process."""
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.touch()  # no folder: not even root makes one in it
    temporary.mkdir()
    environment = {variable: str(home), "TMPDIR": str(temporary)}
    done = subprocess.run(
        [sys.executable, "-c", CARD],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).parent == temporary
    assert list(temporary.iterdir()) == []


def test_a_user_who_is_nobody_has_no_home(monkeypatch) -> None:
    """`docker run --user 1234`: no line in /etc/passwd, and HOME is not set."""

    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", unknown)
    folder = paths.cache_folder()
    assert folder.is_dir() and folder == paths.cache_folder()
