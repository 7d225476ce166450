"""Licences of everything that requirements/ locks: licences.md, and whether each is allowed.

A licence is what a package's metadata says (License-Expression, else its classifiers, else the
License field), or what pyproject.toml says was read in the package. One that is unknown, or neither
allowed nor reasoned there, is a fault.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tallystick.tools.upkeep import locks
from tallystick.tools.upkeep.project import judged, root, settings

PAGE = "docs/reference/licences.md"
UNKNOWN = "unknown"
_CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "LicenseRef-BSD",
    "GNU General Public License (GPL)": "GPL-3.0-or-later",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.0-or-later",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "GNU Affero General Public License v3": "AGPL-3.0-only",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Public Domain": "LicenseRef-Public-Domain",
    "Python Software Foundation License": "PSF-2.0",
}
_FIELDS = {"Apache 2.0": "Apache-2.0", "BSD": "LicenseRef-BSD", "MIT License": "MIT"}
_WORDS = re.compile(r"\(|\)|\bAND\b|\bOR\b|[^\s()]+")
_ROW = re.compile(r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \|", re.MULTILINE)
_INTRODUCTION = """# Licences of the dependencies

Made by `make upgrade`. `make lint` fails when it is not true, or when a licence is neither allowed
nor reasoned in `pyproject.toml`. Tallystick itself is under Apache-2.0.

None of these packages is copied into the repository or into the wheel: pip installs them beside it.
A firmware image holds our own code only; the MicroPython that it runs on is under MIT.

A licence is what the package's metadata says, or what was read in the package (`licences.read`).
Names are SPDX's. `LicenseRef-BSD` is BSD with two clauses or three, where the metadata does not say
how many.

Debian packages that tests use (`.ci/packages.txt`) are separate programs. They are not listed here,
and nothing of them is distributed.
"""


@dataclass(frozen=True)
class Rules:
    """allowed: SPDX names. read, reasoned: package → licence, package → reason."""

    allowed: frozenset[str]
    read: dict[str, str]
    reasoned: dict[str, str]

    @classmethod
    def of(cls, table: dict[str, Any]) -> Rules:
        return cls(frozenset(table["allowed"]), table["read"], table["reasoned"])


@dataclass(frozen=True)
class Entry:
    """A package of requirements/. used: by whoever installs Tallystick with an extra, not only by
    its tests and tools."""

    name: str
    versions: tuple[str, ...]
    licence: str
    used: bool

    def fault(self, rules: Rules) -> str:
        if self.licence == UNKNOWN:
            return f"{self.name}: its licence is not known. Read it, and say so under licences.read"
        if self.name not in rules.reasoned and not allows(self.licence, rules.allowed):
            return f"{self.name}: {self.licence} is neither allowed nor reasoned in pyproject.toml"
        return ""


def licence(found: PackageMetadata) -> str:
    """An SPDX expression, or `unknown`. Several classifiers without more are taken as all of them:
    the metadata does not say that one may choose."""
    for text in _texts(found, "License-Expression") + _texts(found, "License"):
        try:
            if len(text) < 100:
                return str(canonicalize_license_expression(text))
        except InvalidLicenseExpression:
            pass
        if text in _FIELDS:
            return _FIELDS[text]
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in found.get_all("Classifier") or []
        if line.startswith("License ::")
    ]
    names = [
        _CLASSIFIERS.get(name, UNKNOWN) for name in classifiers if "approved" not in name.lower()
    ]
    return UNKNOWN if UNKNOWN in names or not names else " AND ".join(sorted(set(names)))


def _texts(found: PackageMetadata, field: str) -> list[str]:
    return [text for text in found.get_all(field) or [] if text]


def allows(expression: str, allowed: frozenset[str]) -> bool:
    """Whether an SPDX expression can be met with the allowed licences only."""
    words = _WORDS.findall(expression)

    def either() -> bool:
        good = both()
        while words and words[0] == "OR":
            words.pop(0)
            good = both() or good
        return good

    def both() -> bool:
        good = one()
        while words and words[0] == "AND":
            words.pop(0)
            good = one() and good
        return good

    def one() -> bool:
        word = words.pop(0)
        if word != "(":
            return word in allowed
        good = either()
        words.pop(0)
        return good

    return either() and not words


def entries(folder: Path, rules: Rules) -> list[Entry]:
    """Every locked package. What is not installed here (another Python's, say) keeps the licence
    that the page gives it."""
    versions: dict[str, set[str]] = {}
    for lock in locks.LOCKS:
        for pin in locks.read(folder, lock.name):
            versions.setdefault(pin.name, set()).add(pin.version)
    page = folder / PAGE
    listed = {}
    if page.exists():
        listed = {
            name: licence for name, _, licence in _ROW.findall(page.read_text(encoding="utf-8"))
        }
    used = _used()
    return [
        Entry(name, tuple(sorted(versions[name])), _of(name, rules, listed), name in used)
        for name in sorted(versions)
    ]


def _of(name: str, rules: Rules, listed: dict[str, str]) -> str:
    if name in rules.read:
        return rules.read[name]
    try:
        return licence(metadata(name))
    except PackageNotFoundError:
        return listed.get(name, UNKNOWN)


def _used() -> set[str]:
    """What the extras of requirements/ bring, of what is installed here."""
    found: set[str] = set()
    todo: list[tuple[str, tuple[str, ...]]] = [("tallystick", ("", *locks.EXTRAS))]
    seen = set()
    while todo:
        name, extras = todo.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        found.add(name)
        try:
            lines = metadata(name).get_all("Requires-Dist") or []
        except PackageNotFoundError:
            continue
        for requirement in map(Requirement, lines):
            if requirement.marker is None or any(
                requirement.marker.evaluate({"extra": extra}) for extra in extras
            ):
                todo.append(
                    (canonicalize_name(requirement.name), ("", *sorted(requirement.extras)))
                )
    return found


def page(found: list[Entry], rules: Rules) -> str:
    """docs/reference/licences.md."""
    shipped = [entry for entry in found if entry.used]
    others = [entry for entry in found if not entry.used]
    reasons = [f"- `{name}`: {reason}" for name, reason in sorted(rules.reasoned.items())]
    parts = [
        _INTRODUCTION,
        "## Allowed\n",
        ", ".join(sorted(rules.allowed)) + ".\n",
        "## Reasoned\n",
        *reasons,
        "\n## Brought by Tallystick and its extras\n",
        *_table(shipped),
        "\n## Used by tests and tools only\n",
        *_table(others),
    ]
    return "\n".join(parts) + "\n"


def _table(found: list[Entry]) -> list[str]:
    rows = [f"| `{one.name}` | {', '.join(one.versions)} | {one.licence} |" for one in found]
    return ["| package | version | licence |", "|---|---|---|", *rows]


def faults(folder: Path, *, check: bool) -> list[str]:
    """Writes the page (or, to check, compares it); → what is wrong, a line each."""
    rules = Rules.of(settings(folder, "licences"))
    found = entries(folder, rules)
    wrong = [fault for fault in (entry.fault(rules) for entry in found) if fault]
    names = {entry.name for entry in found}
    for table in ("read", "reasoned"):
        gone = sorted(getattr(rules, table).keys() - names)
        wrong += [f"{name} is in licences.{table} and in no lock" for name in gone]
    path = folder / PAGE
    if not check:
        path.write_text(page(found, rules), encoding="utf-8")
    elif _rows(path.read_text(encoding="utf-8")) != _rows(page(found, rules)):
        wrong.append(
            f"{PAGE} is not what is locked: run make upgrade, or the module without --check"
        )
    return wrong


def _rows(text: str) -> list[tuple[str, str, str]]:
    """In order of names: which table a row stands in depends on what is installed here."""
    return sorted(_ROW.findall(text))


def main() -> int:
    parser = argparse.ArgumentParser(description="List the licences of what is locked.")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    asked = parser.parse_args()
    todo = "See the tables under tool.tallystick.licences."
    return judged(lambda: faults(root(), check=asked.check), todo=todo)


if __name__ == "__main__":
    sys.exit(main())
