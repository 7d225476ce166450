"""Locks, licences, fragments, subjects, hooks: each refuses what it is there to refuse."""

from __future__ import annotations

import re
import subprocess
import sys
from email.message import Message
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker

from tallystick.common.errors import BadInputError
from tallystick.tools.upkeep import fragments, licences, locks, subjects
from tallystick.tools.upkeep.project import settings

ROOT = Path(__file__).parents[3]
HASH = "--hash=sha256:" + "0" * 64
RULES = licences.Rules(frozenset({"MIT", "Apache-2.0", "MPL-2.0"}), {}, {"psycopg": "why"})


# -- locks ----------------------------------------------------------------------------------------


def test_the_committed_locks_give_what_pyproject_asks_for():
    assert locks.check(ROOT) == []


@pytest.mark.parametrize("lock", [lock.name for lock in locks.LOCKS])
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_lock_has_one_version_of_a_package_for_each_python_and_processor(lock, python, machine):
    place = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "platform_machine": machine,
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }
    names = [
        pin.name
        for pin in locks.read(ROOT, lock)
        if not pin.marker or Marker(pin.marker).evaluate(place)
    ]
    assert len(names) == len(set(names))
    assert names


@pytest.mark.parametrize(
    "text",
    [
        f"--index-url https://example.org/simple\na==1 \\\n    {HASH}\n",
        f"--find-links /somewhere\na==1 \\\n    {HASH}\n",
        f"a @ https://example.org/a.whl \\\n    {HASH}\n",
        f"# from https://example.org\na==1 \\\n    {HASH}\n",
        "a==1\n",
        f"a>=1 \\\n    {HASH}\n",
    ],
)
def test_a_lock_with_a_host_or_without_version_or_hash_is_refused(text):
    with pytest.raises(BadInputError):
        locks.pins(text)


def test_a_dependency_that_no_lock_has_is_named(tmp_path):
    (tmp_path / "requirements").mkdir()
    text = (ROOT / "pyproject.toml").read_text()
    changed = text.replace('"click>=8.1,<9"', '"click>=99"').replace(
        '"mypy>=1.13"', '"mypy>=1.13", "new-here>=1"'
    )
    (tmp_path / "pyproject.toml").write_text(changed)
    for lock in locks.LOCKS:
        name = f"requirements/{lock.name}.txt"
        (tmp_path / name).write_text((ROOT / name).read_text())
    lines = locks.check(tmp_path)
    assert "requirements/setup.txt lacks new-here>=1" in lines
    assert any(re.search(r"campaign.txt has 8\S+, not click>=99", line) for line in lines)


# -- licences -------------------------------------------------------------------------------------


def test_the_page_is_what_is_locked_and_every_licence_is_allowed():
    assert licences.faults(ROOT, check=True) == []


@pytest.mark.parametrize(
    ("expression", "good"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT", True),
        ("MIT AND GPL-3.0-only", False),
        ("MIT AND (GPL-3.0-only OR Apache-2.0)", True),
        ("MIT OR GPL-3.0-only AND GPL-2.0-only", True),
        ("(MIT OR GPL-3.0-only) AND GPL-2.0-only", False),
        ("Apache-2.0 WITH LLVM-exception", False),
    ],
)
def test_an_expression_is_read_as_spdx_means_it(expression, good):
    assert licences.allows(expression, RULES.allowed) is good


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ([("License-Expression", "MIT")], "MIT"),
        ([("License", "apache-2.0")], "Apache-2.0"),
        ([("License", "Copyright (c) somebody")], "unknown"),
        ([], "unknown"),
        ([("Classifier", "License :: OSI Approved :: MIT License")], "MIT"),
        ([("Classifier", "License :: Other/Proprietary License")], "unknown"),
        (
            [
                ("Classifier", "License :: OSI Approved :: MIT License"),
                ("Classifier", "License :: OSI Approved :: GNU General Public License v3 (GPLv3)"),
            ],
            "GPL-3.0-only AND MIT",
        ),
    ],
)
def test_metadata_is_read(fields, found):
    message = Message()
    for name, value in fields:
        message[name] = value
    assert licences.licence(message) == found


@pytest.mark.parametrize(
    ("entry", "part"),
    [
        (licences.Entry("new", ("1",), "unknown", False), "not known"),
        (licences.Entry("new", ("1",), "GPL-3.0-only", False), "neither allowed nor reasoned"),
        (licences.Entry("psycopg", ("1",), "LGPL-3.0-only", True), ""),
        (licences.Entry("psycopg", ("1",), "unknown", True), "not known"),
    ],
)
def test_an_unknown_licence_and_one_that_is_not_allowed_are_faults(entry, part):
    fault = entry.fault(RULES)
    assert part in fault
    assert bool(fault) is bool(part)


# -- fragments ------------------------------------------------------------------------------------


def test_the_fragments_are_well_formed_and_towncrier_takes_them():
    assert fragments.faults(ROOT) == []
    assert "9.9.9" in fragments.draft(ROOT, "9.9.9")


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("+a.added.md", "It does more.", ""),
        ("+a.new.md", "It does more.", "no kind"),
        ("a.added.md", "It does more.", "not named"),
        ("+a.added.txt", "It does more.", "not named"),
        ("+a.added", "It does more.", "not named"),
        ("+a.added.md", " \n", "empty"),
        ("+a.added.md", "One.\n\nTwo.", "more than one"),
        ("+a.added.md", "# Title.", "more than one"),
        ("+a.added.md", "No end", "does not end"),
    ],
)
def test_a_fragment_that_is_none_is_told(tmp_path, name, text, part):
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    (tmp_path / "changes").mkdir()
    (tmp_path / "changes" / "README.md").write_text("how")
    (tmp_path / "changes" / name).write_text(text)
    found = "\n".join(fragments.faults(tmp_path))
    assert part in found
    assert bool(found) is bool(part)


# -- subjects -------------------------------------------------------------------------------------


START = 1_700_000_000  # seconds since 1970


class Repository:
    """Made in a temporary folder: three commits at known times, the second with a long subject."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "-q")
        for time, subject in ((START, "Base"), (START + 1000, "x" * 73), (START + 2000, "Short")):
            self.git("commit", "-q", "--allow-empty", "-m", subject, time=time)

    def git(self, *arguments: str, time: int = START) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        env = {"PATH": "/usr/bin:/bin", "GIT_CONFIG_GLOBAL": "/dev/null"}
        env |= {"GIT_AUTHOR_DATE": f"{time} +0000", "GIT_COMMITTER_DATE": f"{time} +0000"}
        command = ["git", "-C", str(self.folder), *who, *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout

    @property
    def base(self) -> str:
        return self.git("rev-list", "--max-parents=0", "HEAD").strip()


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path / "repository")


def test_commits_after_the_base_are_looked_at(repository):
    found = subjects.since_base(repository.folder, repository.base, 0)
    assert found == ["Short", "x" * 73]
    assert [bool(subjects.fault(subject)) for subject in found] == [False, True]
    # An older commit on a branch that is merged after the base stays as it is.
    assert subjects.since_base(repository.folder, repository.base, START + 1000) == ["Short"]


def test_a_shallow_clone_goes_by_the_time(repository, tmp_path):
    shallow = tmp_path / "shallow"
    url = repository.folder.as_uri()
    subprocess.run(["git", "clone", "-q", "--depth", "2", url, shallow], check=True)
    assert subjects.since_base(shallow, repository.base, START) == ["Short", "x" * 73]
    assert subjects.since_base(shallow, repository.base, START + 1000) == ["Short"]


def test_without_history_nothing_is_looked_at(tmp_path, repository, monkeypatch):
    assert subjects.since_base(tmp_path, repository.base, 0) is None
    inside = repository.folder / "unpacked"
    inside.mkdir()
    assert subjects.since_base(inside, repository.base, 0) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert subjects.since_base(repository.folder, repository.base, 0) is None


def test_the_commits_of_this_checkout():
    table = settings(ROOT, "subjects")
    found = subjects.since_base(ROOT, table["base"], table["base-time"])
    if found is None:  # a clone of the last commits only, or no clone: nothing to look at
        return
    assert [subject for subject in found if subjects.fault(subject)] == []


@pytest.mark.parametrize(
    ("message", "status"),
    [("Subject\n\nbody " + "x" * 99, 0), ("# a comment\nSubject", 0), ("é" * 72, 0),
     ("x" * 73, 3), ("# only a comment\n", 3)],
)  # fmt: skip
def test_the_hook_takes_or_refuses_a_message(tmp_path, message, status):
    path = tmp_path / "message"
    path.write_text(message)
    command = [sys.executable, "-m", subjects.__name__, "--message", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr


# -- hooks ----------------------------------------------------------------------------------------


def test_no_hook_is_downloaded_and_all_are_what_lint_calls():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    makefile = (ROOT / "Makefile").read_text()
    for source in config["repos"]:
        assert source["repo"] == "local"
        for hook in source["hooks"]:
            assert hook["language"] == "system"
            assert "additional_dependencies" not in hook
            module = re.search(r"-m (\S+)", hook["entry"])
            assert hook["entry"] == "make lint" or (module and module[1] in makefile)
    assert "papers" in re.search(r"^lint:(.*?)##", makefile, re.MULTILINE)[1]
    assert f"-m {subjects.__name__}" in makefile


# -- papers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md", "firmware/README.md"])
def test_files_that_a_paper_names_are_there(page):
    text = (ROOT / page).read_text()
    named = re.findall(r"`((?:[a-z_.]+/)[\w./-]+\.\w+)`", text) + re.findall(
        r"\]\(([\w./-]+)\)", text
    )
    folder = (ROOT / page).parent
    named = [name for name in named if "NAME" not in name]
    missing = [
        name for name in named if not (ROOT / name).exists() and not (folder / name).exists()
    ]
    assert named
    assert missing == []


def test_targets_that_a_paper_names_are_there():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in ("CONTRIBUTING.md", "README.md", "SECURITY.md", "changes/README.md"):
        named = re.findall(r"`?\bmake ([a-z-]+)`", (ROOT / page).read_text())
        assert set(named) <= targets, page
