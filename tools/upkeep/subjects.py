"""Commit subjects: at most 72 characters, so that every tool shows them whole.

Checks the commits since the base in pyproject.toml that are dated after it: some older ones, also
on branches that are merged later, are longer, and stay. In a shallow clone that does not hold the
base, the time alone decides; without git, nothing is checked.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from tallystick.tools.upkeep.project import judged, root, settings

LIMIT = 72


def fault(subject: str) -> str:
    """What is wrong with one subject; empty when nothing is."""
    if not subject.strip():
        return "The commit has no subject."
    if len(subject) > LIMIT:
        return f"The subject has {len(subject)} characters, {LIMIT} at most: {subject}"
    return ""


def of_message(text: str) -> str:
    """The subject that git will take from a message file: its first line that is no comment."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return next((line.strip() for line in lines if line.strip()), "")


def since_base(folder: Path, base: str, dated: int) -> list[str] | None:
    """Subjects of the commits that are not in `base` (when it is here) and dated after `dated`, in
    seconds since 1970. None: this is no git checkout."""
    if _git(folder, "rev-parse", "--show-toplevel").strip() != str(folder.resolve()):
        return None  # also a source folder that was unpacked inside another repository
    here = _git(folder, "merge-base", "--is-ancestor", base, "HEAD", good="yes") == "yes"
    commits = f"{base}..HEAD" if here else "HEAD"
    lines = _git(folder, "log", "--format=%ct %s", commits).splitlines()
    split = (line.partition(" ") for line in lines)
    return [subject for time, _, subject in split if int(time) > dated]


def _git(folder: Path, *arguments: str, good: str = "") -> str:
    """Output of git (or `good`, when it ends well); empty when it fails or is not installed."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
    except FileNotFoundError:
        return ""
    return (good or done.stdout) if done.returncode == 0 else ""


def main() -> int:
    parser = argparse.ArgumentParser(description="Check the subjects of commits.")
    parser.add_argument("--message", type=Path, help="only this message, for git's commit-msg hook")
    asked = parser.parse_args()
    todo = "Say what changed in the subject, and why in the body."
    return judged(lambda: _faults(asked.message), todo=todo)


def _faults(message: Path | None) -> list[str]:
    if message:
        subjects: list[str] | None = [of_message(message.read_text(encoding="utf-8"))]
    else:
        folder = root()
        table = settings(folder, "subjects")
        subjects = since_base(folder, table["base"], table["base-time"])
    return [found for subject in subjects or [] if (found := fault(subject))]


if __name__ == "__main__":
    sys.exit(main())
