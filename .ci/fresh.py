"""`make fresh`: both commands of the README on a bare Debian 12 and on a bare Debian 13.

What works here may work because of what somebody once installed here. Each machine has python3,
python3-venv, make and git, and gets a clean clone of HEAD: what is not committed is not tried. From
this machine it takes how packages are reached: apt's mirror and options, pip's configuration.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
PLACE = ROOT / "build/fresh"
SUITES = {"12": "bookworm", "13": "trixie"}
PACKAGES = "python3,python3-venv,make,git"
# No locale, and nothing of this machine's path.
BARE = {"HOME": "/root", "TERM": "dumb"}
BARE["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CLONE = "root/tallystick"  # below the root of the machine
ENVIRONMENT = re.compile(r"PIP_\w+|\w+_proxy|\w+_PROXY|SSL_CERT_FILE|\w+_CA_BUNDLE")
APT_OPTION = re.compile(r"Acquire::(https?|Check-|Retries|ForceIPv)")
NAMED = re.compile(r"(^|[\s='\"]|file://)(/[^\s:'\";]+)")


@dataclass
class Result:
    """What one machine showed."""

    debian: str
    python: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    image: str = ""
    outcomes: Counter[str] = field(default_factory=Counter)
    skips: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)


class Machine:
    """A Debian in a folder, with a clone in it. What it prints goes to a file beside it."""

    def __init__(self, debian: str) -> None:
        self.debian = debian
        self.root = PLACE / debian
        self.log = PLACE / f"{debian}.log"
        self.clone = self.root / CLONE
        self._shared: list[str] = []
        self._carried = {k: v for k, v in os.environ.items() if ENVIRONMENT.fullmatch(k)}
        self._environment = {**BARE, **self._carried}
        PLACE.mkdir(parents=True, exist_ok=True)
        self.log.write_text("", encoding="utf-8")

    def build(self, keep: bool) -> bool:
        """→ whether it stands. keep: one that was kept is used again."""
        if keep and self.clone.exists():
            return True
        self.remove()
        options = PLACE / f"{self.debian}.apt"
        options.write_bytes("".join(_apt_options()).encode())
        command = ["mmdebstrap", "--variant=apt", "--mode=root", f"--include={PACKAGES}"]
        command += [f"--aptopt={options}", SUITES[self.debian], str(self.root)]
        sources = _sources(SUITES[self.debian])
        return self._logged([*command, "-"] if sources else command, text=sources)

    def remove(self) -> None:
        """Its mounts went with its processes; whatever is mounted all the same stays."""
        subprocess.run(["rm", "-rf", "--one-file-system", str(self.root)], check=True)

    def carry(self) -> bool:
        """Lets it reach packages as this machine does."""
        home = Path.home()
        files = [Path("/etc/pip.conf"), *Path("/etc/xdg/pip").glob("*"), Path("/etc/hosts")]
        files += [home / ".config/pip/pip.conf", home / ".pip/pip.conf"]
        files += [Path(named) for named in [os.environ.get("PIP_CONFIG_FILE")] if named]
        texts = [*self._carried.values(), *_apt_options()]
        for file in filter(Path.is_file, files):
            self._copy(file)
            texts.append(file.read_text(encoding="utf-8"))
        for how, path in {found for text in texts for found in NAMED.findall(text)}:
            named = Path(path)
            if named.is_file():
                self._copy(named)
            elif named.is_dir():  # an index refers to files beside it
                self._shared.append(str(named.parent if how == "file://" else named))
        return True

    def check_out(self) -> bool:
        """→ whether a clone of this repository's HEAD lies in it"""
        bundle = self.root / "root/head.bundle"
        subprocess.run(["git", "bundle", "create", "-q", str(bundle), "HEAD"], cwd=ROOT, check=True)
        if self.clone.exists():
            words = "cd /root/tallystick && git fetch -q ../head.bundle HEAD"
            return self.run(f"{words} && git checkout -q FETCH_HEAD")
        return self.run("git clone -q /root/head.bundle /root/tallystick")

    def run(self, script: str) -> bool:
        """→ whether every command of it succeeded"""
        return self._logged(self._command(script), environment=self._environment)

    def answer(self, script: str) -> str:
        """→ what it prints"""
        done = subprocess.run(
            self._command(script), env=self._environment, capture_output=True, check=False
        )
        return done.stdout.decode().strip()

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace", encoding="utf-8").splitlines()[-30:])

    def _copy(self, file: Path) -> None:
        there = self.root / file.relative_to("/")
        if file.is_relative_to(Path.home()):
            there = self.root / "root" / file.relative_to(Path.home())
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, there)

    def _command(self, script: str) -> list[str]:
        machine = [str(HERE / "machine"), str(self.root), ":".join(self._shared)]
        return [*machine, "--", "bash", "-euc", script]

    def _logged(
        self, command: list[str], text: str = "", environment: dict[str, str] | None = None
    ) -> bool:
        with self.log.open("ab") as log:
            done = subprocess.run(
                command, input=text.encode(), env=environment, stdout=log, stderr=log, check=False
            )
        return done.returncode == 0


def _sources(suite: str) -> str:
    """Lines of sources.list for that Debian, from where this machine has its own; empty if unknown:
    mmdebstrap knows Debian's mirrors."""
    mirrors = {"Debian": [suite, f"{suite}-updates"], "Debian-Security": [f"{suite}-security"]}
    lines = {}
    for line in _printed("apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)"):
        origin, label, uri = line.strip().split("|")
        if origin == "Debian":
            lines.update({name: f"deb {uri} {name} main\n" for name in mirrors.get(label, [])})
    return "".join(lines.values()) if suite in lines else ""


def _apt_options() -> list[str]:
    """This machine's, as far as they tell how mirrors are reached."""
    return [line for line in _printed("apt-config", "dump") if APT_OPTION.match(line)]


def _printed(*command: str) -> list[str]:
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return done.stdout.decode().splitlines(keepends=True)


def try_on(debian: str, arguments: str, *, keep: bool) -> Result:
    """Builds the machine and runs both commands on it. arguments: pytest's."""
    machine, result = Machine(debian), Result(debian)
    report = machine.clone / "build/tests.xml"
    options = f"--junit-xml=build/tests.xml {arguments}".strip()

    def built() -> bool:
        return machine.build(keep) and machine.carry() and machine.check_out()

    def demo() -> bool:
        return machine.run(f"cd /{CLONE}; make demo")

    def test() -> bool:
        return machine.run(f"cd /{CLONE}; make test PYTEST_ARGS='{options}'")

    try:
        if not _timed(machine, result, "a bare machine with a clone", built):
            return result
        report.unlink(missing_ok=True)
        result.python = machine.answer("python3 --version")
        if _timed(machine, result, "make demo", demo):
            summary = json.loads((machine.clone / "build/demo.json").read_bytes())
            result.image = summary["image_sha256"]
        _timed(machine, result, "make test", test)
        if report.exists():
            _count(result, report)
        missing = machine.answer(f"cd /{CLONE}; .ci/packages --missing")
        if missing:
            result.troubles.append(f"did not install: {missing}")
        return result
    finally:
        if not keep:
            machine.remove()


def _timed(machine: Machine, result: Result, name: str, work: Callable[[], bool]) -> bool:
    print(f"Debian {machine.debian}: {name} … (its output: {machine.log})", flush=True)
    started = time.monotonic()
    done = work()
    result.seconds[name] = time.monotonic() - started
    if not done:
        result.troubles.append(f"{name} failed; all of its output is in {machine.log}")
        print(machine.tail(), flush=True)
    return done


def _count(result: Result, report: Path) -> None:
    for case in ET.parse(report).iter("testcase"):
        outcome, why = _outcome(case)
        result.outcomes[outcome] += 1
        if outcome == "skipped":
            result.skips[why] += 1
        if outcome == "failed":
            result.failed.append(f"{case.get('classname')}::{case.get('name')}: {why}")


def _outcome(case: ET.Element) -> tuple[str, str]:
    for tag, outcome in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
        found = case.find(tag)
        if found is not None:
            return outcome, (found.get("message") or "").partition("\n")[0]
    return "passed", ""


def told(results: list[Result]) -> Iterator[str]:
    for one in results:
        yield f"\nDebian {one.debian}, {one.python}"
        yield "  " + ", ".join(f"{name} {s:.0f} s" for name, s in one.seconds.items())
        yield f"  image sha256 {one.image or '(none)'}"
        yield "  " + ", ".join(f"{one.outcomes[o]} {o}" for o in ("passed", "failed", "skipped"))
        yield from (f"    {count} × {why}" for why, count in sorted(one.skips.items()))
        yield from (f"  FAILED {test}" for test in one.failed)
        yield from (f"  !! {trouble}" for trouble in one.troubles)


def main() -> int:
    keep = bool(os.environ.get("FRESH_KEEP"))
    wanted = os.environ.get("DEBIAN", "").split() or list(SUITES)
    unknown = [debian for debian in wanted if debian not in SUITES]
    if unknown or os.geteuid() != 0 or shutil.which("mmdebstrap") is None:
        print(
            "make fresh builds whole machines: it runs as root, on a Debian with mmdebstrap "
            f"(apt-get install mmdebstrap), and knows DEBIAN={' or '.join(SUITES)}. "
            "Nothing was done.",
            file=sys.stderr,
        )
        return 2
    results = []
    for debian in wanted:
        results.append(try_on(debian, os.environ.get("FRESH_ARGS", ""), keep=keep))
    print("\n".join(told(results)))
    return verdict(results)


def verdict(results: list[Result]) -> int:
    """The exit status."""
    images = {one.image for one in results}
    if len(images) > 1:
        print("!! The machines built different images.")
    agree = len(images) == 1 and "" not in images
    return int(not agree or any(one.troubles or one.failed for one in results))


if __name__ == "__main__":
    sys.exit(main())
