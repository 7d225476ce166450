"""The emulator alone: what `pip install tallystick` brings is enough for it, and is small."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tallystick.tools.bench import install
from tallystick.tools.bench.install import measure

ROOT = Path(__file__).parents[2]
# Import names of what only extras bring.
OF_EXTRAS = [
    "PIL", "alembic", "barcode", "coverage", "fastapi", "fido2", "httpx", "jinja2", "joserfc",
    "matplotlib", "nbis", "nicegui", "numpy", "pskc", "pyrad", "reportlab", "rp2040py", "smpplib",
    "sqlalchemy", "uvicorn", "webauthn",
]  # fmt: skip
WITHOUT = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {OF_EXTRAS!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


def run(source: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT + source]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_card_is_made_personalised_and_pressed_without_any_extra():
    done = run(
        "import tallystick.cli.emulate, tallystick.testing.devices, tallystick.testing.plugin\n"
        "import tallystick.tools.battery.cli\n"
        "from tallystick.tools.fresh import card\n"
        "from tallystick.tools.personalise import personalise\n"
        "with card('nucleo_l476rg') as device:\n"
        "    device.power_on(); personalise(device); device.press()\n"
        "    assert device.frame().png().startswith(b'\\x89PNG')\n"
        "    print(device.read_code())\n"
    )
    assert done.stdout == "755224\n", done.stderr  # RFC 4226, appendix D


def test_a_command_that_needs_an_extra_says_which_to_install():
    for words, extra in [
        ("['emulate', 'card', '--control', '0']", "tallystick[control]"),
        ("['server', '--help']", "tallystick[all]"),
    ]:
        done = run(f"from tallystick.cli import main; main({words})")
        assert done.returncode == 3
        assert f"pip install '{extra}'" in done.stderr
        assert "Traceback" not in done.stderr


def test_the_panel_names_the_one_extra_that_it_needs():
    done = run("from tallystick.cli import main; main(['emulate', 'card', '--panel'])")
    assert done.returncode == 3 and "pip install 'tallystick[panel]'" in done.stderr


def test_a_cards_campaign_does_without_the_readers_host():
    """Listing, replaying and the zoo are a card's as well."""
    for words in (
        ["campaign", "powercut", "--list"],
        ["campaign", "zoo", "--list"],
        ["campaign", "replay", "pico/press/1/3p44"],
    ):
        done = run(f"from tallystick.cli import main; main({words})")
        assert done.returncode == 0, done.stderr


def test_all_has_every_extra_that_needs_no_service_or_device_of_its_own():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    every = extras["all"][0].partition("[")[2].rstrip("]").split(",")
    assert set(every) <= set(extras)
    # docs/guides: the first commands of the pages, which `[all]` must be enough for.
    assert {"console", "control", "panel", "pictures", "reader", "station", "server"} <= set(every)


def test_the_installation_is_measured():
    """With the package itself, which a checkout's list of files leaves out."""
    plain, bytecode = measure()
    assert 45 < plain["value"] < 60
    assert 0 <= bytecode["value"] < 25


def test_bytecode_of_another_python_and_of_pytest_is_not_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A checkout that several Pythons have run from keeps the bytecode of each."""
    ours = f"a.{sys.implementation.cache_tag}.pyc"
    for name in (ours, "a.cpython-42.pyc", f"a.{sys.implementation.cache_tag}-pytest-9.pyc"):
        (tmp_path / name).write_bytes(bytes(1_000_000))
    monkeypatch.setattr(install, "_closure", lambda _name: [])
    monkeypatch.setattr(install, "_own", lambda: set(tmp_path.iterdir()))
    assert measure()[1]["value"] == 1
