"""A copy of the tree, in which one mutant after the other is tried. The user's own sources are
never touched."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tallystick.common.errors import BadInputError
from tallystick.tools.campaign.mutants import trial
from tallystick.tools.campaign.mutants.mutant import Mutant


def listing(root: Path) -> list[str]:
    """The files that git has or would take. Raises BadInputError without a checkout."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, cwd=root, capture_output=True, check=False)
    names = [name for name in done.stdout.decode().split("\0") if name]
    if done.returncode or not names:
        raise BadInputError(f"{root} is no checkout.", todo="Work in a clone of the repository.")
    return sorted(name for name in names if os.path.lexists(root / name))


class Tree:
    """A copy, and a process in it that runs tests. To be closed."""

    def __init__(self, root: Path) -> None:
        self._folder = TemporaryDirectory(prefix="mutants-")
        self.root = Path(self._folder.name) / "tree"
        for name in listing(root):
            target = self.root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target, follow_symlinks=False)
        self._cold = _TrialProcess(self.root)
        self._warm = _TrialProcess(self.root)
        self._imported: set[str] = set()

    def put(self, mutant: Mutant) -> bytes:
        """The mutant's source in place of what is there → what was there."""
        path = self.root / mutant.file
        before = path.read_bytes()
        path.write_bytes(mutant.text)
        return before

    def restore(self, mutant: Mutant, before: bytes) -> None:
        (self.root / mutant.file).write_bytes(before)

    def warm(self, tests: list[str]) -> None:
        """Imports the modules of tests, and what they test. Not while a mutant is there."""
        files = {test.split("::")[0] for test in tests} - self._imported
        if files:
            self._warm.ask(warm=sorted(files))
            self._imported |= files

    def ask(self, patch: dict[str, str] | None = None, **request: Any) -> dict[str, Any]:
        """See trial.py. patch: the mutant is put into what `warm` imported."""
        if patch is None:
            return self._cold.ask(**request)
        return self._warm.ask(patch=patch, **request)

    def close(self) -> None:
        self._cold.close()
        self._warm.close()
        self._folder.cleanup()


class _TrialProcess:
    """Begins when it is first asked."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._process: subprocess.Popen[str] | None = None

    def _start(self) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(self._root), "PYTHONDONTWRITEBYTECODE": "1"}
        for name in ("TALLY_COVERAGE", "COVERAGE_PROCESS_START", "TALLY_MUTANTS_MAP"):
            environment.pop(name, None)
        return subprocess.Popen(
            [sys.executable, "-m", trial.__name__], cwd=self._root, env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            encoding="utf-8",
        )  # fmt: skip

    def ask(self, **request: Any) -> dict[str, Any]:
        """Raises BadInputError when the process has ended."""
        if self._process is None:
            self._process = self._start()
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise BadInputError("The process that tries mutants ended.", todo="Run it again.")
        value = json.loads(answer)
        assert isinstance(value, dict)
        return value

    def close(self) -> None:
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def digest(root: Path) -> str:
    """Of all files of the tree: what was found in another one is not gone on with."""
    found = hashlib.sha256()
    for name in listing(root):
        path = root / name
        content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        found.update(f"{name}\0{len(content)}\0".encode() + content)
    return found.hexdigest()
