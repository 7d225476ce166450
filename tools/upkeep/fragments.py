"""Fragments of the change log: changes/+SLUG.KIND.md, one change each, gathered by towncrier."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from tallystick.common.errors import BadInputError
from tallystick.tools.upkeep.project import judged, root

README = "README.md"


def faults(folder: Path) -> list[str]:
    """What is wrong with the fragments of a checkout, a line each."""
    kinds = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "towncrier"
    ]["fragment"]
    found = []
    for path in sorted((folder / "changes").iterdir()):
        if path.name != README:
            found += [f"changes/{path.name}: {text}" for text in _of(path, set(kinds))]
    return found


def _of(path: Path, kinds: set[str]) -> list[str]:
    parts = path.name.split(".")
    if path.is_dir() or len(parts) != 3 or parts[2] != "md" or not parts[0].startswith("+"):
        return ["is not named +SLUG.KIND.md"]
    if parts[1] not in kinds:
        return [f"{parts[1]!r} is no kind; there are {', '.join(sorted(kinds))}"]
    text = path.read_text(encoding="utf-8").strip()
    if not text:
        return ["is empty"]
    if "\n\n" in text or text[0] in "#-*":
        return ["is more than one paragraph; write another fragment"]
    return [] if text[-1] in ".!?" else ["does not end as a sentence does"]


def draft(folder: Path, version: str) -> str:
    """The section that towncrier would write, without a date. Raises BadInputError when it would
    not."""
    command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", version]
    command += ["--date", "not released"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, encoding="utf-8"
    )
    if done.returncode != 0:
        raise BadInputError(
            f"towncrier refuses: {done.stderr.strip()}", todo="Mend the fragment in changes/."
        )
    return done.stdout


def main() -> int:
    def found() -> list[str]:
        wrong = faults(root())
        if not wrong:
            draft(root(), "0.0.0")
        return wrong

    return judged(found, todo="See changes/README.md.")


if __name__ == "__main__":
    sys.exit(main())
