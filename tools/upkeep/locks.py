"""`make upgrade`: requirements/*.txt, every dependency with its version and hashes.

Made for all Pythons and processors at once, without the name of a host: where packages come from is
the machine's to say.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tallystick.common.errors import BadInputError
from tallystick.tools.upkeep.project import judged, root

FOLDER = "requirements"
OLDEST = "3.11"
_HEADER = "# Made by `make upgrade` of what pyproject.toml asks for. Do not edit.\n"
_HOST = re.compile(r"://|--(?:extra-)?index-url|--find-links|--trusted-host|^-[if] ", re.MULTILINE)
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Lock:
    """One file. alone: without what its packages ask for (they are installed with --no-deps)."""

    name: str
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    project: bool = False
    alone: bool = False

    def arguments(self) -> list[str]:
        """Of `uv pip compile`: what to resolve."""
        words = ["--no-deps"] if self.alone else []
        for extra in self.extras:
            words += ["--extra", extra]
        for group in self.groups:
            words += ["--group", group]
        return [*words, "pyproject.toml"] if self.project else words


# All extras but `ldap` and `pcsc`, which have to be compiled.
EXTRAS = ("all", "console", "hsm", "panel", "plots", "postgresql", "rp2040", "signature", "tracing")
LOCKS = (
    Lock("tallystick", extras=EXTRAS, project=True),
    Lock("setup", extras=EXTRAS, groups=("dev", "docs", "upkeep"), project=True),
    Lock("clients", groups=("clients",), alone=True),
    Lock("compiled", groups=("compiled",), alone=True),
    Lock("campaign", groups=("campaign",)),
    Lock("stubs-rp2", groups=("stubs-rp2",)),
    Lock("stubs-stm32", groups=("stubs-stm32",)),
)


@dataclass(frozen=True)
class PinnedPackage:
    """A line of a lock: where `marker` is true (always, when empty), exactly this version."""

    name: str
    version: str
    marker: str
    hashes: int


def pins(text: str) -> list[PinnedPackage]:
    """Raises BadInputError for a line that is not pinned, has no hash, or names a host."""
    found = _HOST.search(text)
    if found:
        raise BadInputError(
            f"A lock file names where packages come from: {found[0]!r}.",
            kept="Nothing was written.",
            todo="Set the index in the machine's own configuration, and run make upgrade.",
        )
    return [_pin(block) for block in re.split(r"\n(?=[^\s#])", _without_comments(text)) if block]


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def _pin(block: str) -> PinnedPackage:
    line = block.partition("\\\n")[0].strip()
    requirement = Requirement(line)
    specifiers = list(requirement.specifier)
    hashes = len(_HASH.findall(block))
    if len(specifiers) != 1 or specifiers[0].operator != "==" or hashes == 0:
        raise BadInputError(
            f"{line!r} is not one version with hashes.", todo="Run make upgrade; do not edit locks."
        )
    return PinnedPackage(
        canonicalize_name(requirement.name),
        specifiers[0].version,
        str(requirement.marker or ""),
        hashes,
    )


def read(folder: Path, lock: str) -> list[PinnedPackage]:
    """The pins of a committed lock. Raises BadInputError."""
    return pins((folder / FOLDER / f"{lock}.txt").read_text(encoding="utf-8"))


def compile_lock(folder: Path, lock: Lock) -> str:
    """The text of a lock with the newest of everything. Raises BadInputError when there is none."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal"]
    command += ["--python-version", OLDEST, "--generate-hashes", "--no-header", "--no-annotate"]
    command += ["--no-emit-index-url", "--no-emit-find-links", *lock.arguments()]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, encoding="utf-8"
    )
    if done.returncode != 0:
        raise BadInputError(
            f"requirements/{lock.name}.txt cannot be resolved: {done.stderr.strip()}",
            kept="No lock was changed.",
            todo="Change the ranges in pyproject.toml, or try again when the index answers.",
        )
    text = _HEADER + done.stdout
    pins(text)
    return text


def upgrade(folder: Path) -> list[str]:
    """Writes every lock, or none; → what changed, a line each. Raises BadInputError."""
    texts = {lock.name: compile_lock(folder, lock) for lock in LOCKS}
    changes = []
    for name, text in texts.items():
        path = folder / FOLDER / f"{name}.txt"
        before = pins(path.read_text(encoding="utf-8")) if path.exists() else []
        changes += [f"{name}: {line}" for line in _differences(before, pins(text))]
        path.write_text(text, encoding="utf-8")
    return changes


def _differences(before: list[PinnedPackage], after: list[PinnedPackage]) -> list[str]:
    old = {(pin.name, pin.marker): pin.version for pin in before}
    new = {(pin.name, pin.marker): pin.version for pin in after}
    return [
        f"{name} {old.get((name, marker), 'new')} → {new.get((name, marker), 'gone')}"
        for name, marker in sorted(old.keys() | new.keys())
        if old.get((name, marker)) != new.get((name, marker))
    ]


def check(folder: Path) -> list[str]:
    """What pyproject.toml asks for and a lock does not give, a line each: asked without a network.

    Raises BadInputError for a lock that is none.
    """
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    faults = []
    for lock in LOCKS:
        locked: dict[str, list[str]] = {}
        for pin in read(folder, lock.name):
            locked.setdefault(pin.name, []).append(pin.version)
        for text in sorted(_asked(project, lock)):
            requirement = Requirement(text)
            versions = locked.get(canonicalize_name(requirement.name), [])
            if not versions:
                faults.append(f"requirements/{lock.name}.txt lacks {text}")
            for version in versions:
                if not requirement.specifier.contains(version, prereleases=True):
                    faults.append(f"requirements/{lock.name}.txt has {version}, not {text}")
    return faults


def _asked(project: dict[str, Any], lock: Lock) -> set[str]:
    """Requirements of a lock, as pyproject.toml lists them. Extras of our own are followed."""
    extras = project["project"]["optional-dependencies"]
    asked = set(project["project"]["dependencies"]) if lock.project else set()
    for group in lock.groups:
        asked |= set(project["dependency-groups"][group])
    todo, seen = list(lock.extras), set()
    while todo:
        extra = todo.pop()
        seen.add(extra)
        for text in extras[extra]:
            requirement = Requirement(text)
            if requirement.name == project["project"]["name"]:
                todo += requirement.extras - seen
            else:
                asked.add(text)
    return asked


def main() -> int:
    parser = argparse.ArgumentParser(description="Lock the requirements, or check the locks.")
    parser.add_argument("--check", action="store_true", help="only say what is missing")
    if parser.parse_args().check:
        return judged(lambda: check(root()), todo="Run make upgrade and commit requirements/.")
    return judged(_upgraded, todo="")


def _upgraded() -> list[str]:
    sys.stdout.write("".join(f"{line}\n" for line in upgrade(root())))
    return []


if __name__ == "__main__":
    raise SystemExit(main())
