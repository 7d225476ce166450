"""Each extra by itself: what its page's first command imports is there, and nothing else is.

An installation is played: of what is installed here only the distributions that `tallystick` and
the extra ask for, and what those ask for, can be imported.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distribution, packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Extras → the modules that the first command of their page imports.
FIRST = {
    "+pytest": ("testing.devices",),
    "": ("cli.emulate", "tools.image.cli", "tools.new", "tools.debugger.cli",
         "tools.campaign.commands.powercut", "tools.line.cli"),
    "control": ("emulator.serving.control",),
    "panel": ("emulator.serving.control", "emulator.panel.page"),
    "coverage": ("tools.coverage.cli",),
    "pictures": ("emulator.seeing.card_picture",),
    "reader": ("emulator.devices.reader", "emulator.devices.hand",
               "emulator.serving.reader_control", "emulator.serving.reader_service",
               "tools.campaign.reader.scenarios"),
    "station": ("provisioning.cli", "provisioning.commands.card"),
    "server": ("server.operating.cli", "server.serving.app"),
    "station,console": ("provisioning.console.app",),
    "all": ("emulator.panel.page", "provisioning.commands.card", "provisioning.console.app",
            "server.serving.app", "tools.coverage.cli", "emulator.devices.reader"),
}  # fmt: skip
_BLOCKED = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
import importlib
for name in {modules!r}:
    importlib.import_module("tallystick." + name)
"""


def brought(extras: str) -> set[str]:
    """Distributions that `pip install tallystick[extras]` brings; +NAME: this one besides."""
    found: set[tuple[str, str]] = set()
    extras, _, more = extras.partition("+")
    todo = [("tallystick", extra) for extra in ("", *extras.split(","))]
    todo += [(more, "")] if more else []
    while todo:
        name, extra = todo.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        for line in distribution(name).requires or ():
            wanted = Requirement(line)
            if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
                named = canonicalize_name(wanted.name)
                todo += [(named, one) for one in ("", *wanted.extras)]
    return {name for name, _ in found}


@pytest.mark.parametrize("extras", FIRST)
def test_what_the_first_command_imports_is_there(extras):
    here = brought(extras)
    others = {
        top
        for top, owners in packages_distributions().items()
        if not {canonicalize_name(owner) for owner in owners} & here
    }
    modules = FIRST[extras]
    source = _BLOCKED.format(names=sorted(others), modules=modules)
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"tallystick[{extras}]: {done.stderr[-600:]}"


def test_an_extra_that_is_not_installed_is_not_there():
    """The play is a play of something."""
    assert "nicegui" in brought("panel") and "nicegui" not in brought("control")
    assert "numpy" not in brought("") and "click" in brought("")
