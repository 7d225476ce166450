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
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
PLACE = ROOT / "build/fresh"
SUITES = {"12": "bookworm", "13": "trixie"}
PACKAGES = "python3,python3-venv,make,git"
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
        self._environment = [f"{k}={v}" for k, v in os.environ.items() if ENVIRONMENT.fullmatch(k)]
        PLACE.mkdir(parents=True, exist_ok=True)
        self.log.write_text("")

    def build(self) -> bool:
        """→ whether it stands. One that was kept is used again."""
        if self.clone.exists():
            return True
        options = PLACE / f"{self.debian}.apt"
        options.write_text("".join(_apt_options()))
        command = ["mmdebstrap", "--variant=apt", "--mode=root", f"--include={PACKAGES}"]
        command += [f"--aptopt={options}", SUITES[self.debian], str(self.root)]
        sources = _sources(SUITES[self.debian])
        return self._logged([*command, "-"] if sources else command, text=sources)

    def carry(self) -> None:
        """Lets it reach packages as this machine does."""
        home = Path.home()
        files = [Path("/etc/pip.conf"), *Path("/etc/xdg/pip").glob("*"), Path("/etc/hosts")]
        files += [home / ".config/pip/pip.conf", home / ".pip/pip.conf"]
        files += [Path(named) for named in [os.environ.get("PIP_CONFIG_FILE")] if named]
        texts = [*self._environment, *_apt_options()]
        for file in filter(Path.is_file, files):
            self._copy(file)
            texts.append(file.read_text())
        for how, path in {found for text in texts for found in NAMED.findall(text)}:
            named = Path(path)
            if named.is_file():
                self._copy(named)
            elif named.is_dir():  # an index refers to files beside it
                self._shared.append(str(named.parent if how == "file://" else named))

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
        command = [str(HERE / "machine"), str(self.root), ":".join(self._shared)]
        return self._logged([*command, *self._environment, "--", "bash", "-euc", script])

    def answer(self, script: str) -> str:
        """→ what it prints"""
        command = [str(HERE / "machine"), str(self.root), "", "--", "bash", "-euc", script]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])

    def _copy(self, file: Path) -> None:
        there = self.root / file.relative_to("/")
        if file.is_relative_to(Path.home()):
            there = self.root / "root" / file.relative_to(Path.home())
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, there)

    def _logged(self, command: list[str], text: str = "") -> bool:
        with self.log.open("a") as log:
            done = subprocess.run(
                command, input=text, text=True, stdout=log, stderr=log, check=False
            )
        return done.returncode == 0


def _sources(suite: str) -> str:
    """Lines of sources.list for that Debian, from where this machine has its own; empty if unknown:
    mmdebstrap knows Debian's mirrors."""
    command = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    mirrors = {"Debian": [suite, f"{suite}-updates"], "Debian-Security": [f"{suite}-security"]}
    lines = {}
    for origin, label, uri in (
        line.split() for line in listed.splitlines() if line.count(" ") == 2
    ):
        if origin == "Debian":
            lines.update({name: f"deb {uri} {name} main\n" for name in mirrors.get(label, [])})
    return "".join(lines.values()) if suite in lines else ""


def _apt_options() -> list[str]:
    """This machine's, as far as they tell how mirrors are reached."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    return [line for line in dump.splitlines(keepends=True) if APT_OPTION.match(line)]


def try_on(debian: str, arguments: str) -> Result:
    """Builds the machine and runs both commands on it."""
    machine, result = Machine(debian), Result(debian)

    def stage(name: str, done: bool, started: float) -> bool:
        result.seconds[name] = time.monotonic() - started
        print(f"Debian {debian}: {name}, {result.seconds[name]:.0f} s", flush=True)
        if not done:
            result.troubles.append(f"{name} failed; the whole of it is in {machine.log}")
            print(machine.tail(), flush=True)
        return done

    started = time.monotonic()
    built = machine.build()
    if built:
        machine.carry()
    if not stage("a bare machine with a clone", built and machine.check_out(), started):
        return result
    result.python = machine.answer("python3 --version")
    started = time.monotonic()
    if not stage("make demo", machine.run(f"cd /{CLONE}; make demo"), started):
        return result
    result.image = json.loads((machine.clone / "build/demo.json").read_text())["image_sha256"]
    report = machine.clone / "build/tests.xml"
    report.unlink(missing_ok=True)
    started = time.monotonic()
    words = f"--junit-xml=build/tests.xml {arguments}"
    stage("make test", machine.run(f"cd /{CLONE}; make test PYTEST_ARGS='{words}'"), started)
    if report.exists():
        _count(result, report)
    missing = machine.answer(f"cd /{CLONE}; .ci/packages --missing")
    if missing:
        result.troubles.append(f"did not install: {missing}")
    return result


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
        try:
            results.append(try_on(debian, os.environ.get("FRESH_ARGS", "")))
        finally:
            if not keep:
                shutil.rmtree(PLACE / debian, ignore_errors=True)
    print("\n".join(told(results)))
    images = {one.image for one in results}
    if len(images) > 1:
        print("!! The machines built different images.")
    return int(len(images) > 1 or any(one.troubles or one.failed for one in results))


if __name__ == "__main__":
    sys.exit(main())
