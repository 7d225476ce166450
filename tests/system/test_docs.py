"""What the documents point at is there, and the commands they print are commands of ours."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tallystick.cli import tally
from tests.tools.campaign.test_reader_heap import HUNGRIEST

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    ROOT / "firmware" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?<=\n\n)((?: {4}.*\n|\n(?= {4}))+)")
_INLINE = re.compile(r"`([^`]+)`")
_STANDS_FOR = re.compile(r"^(\.\.\.|…|[A-Z][A-Z_|:.,…]*|[<\[].*)$")  # FILE, NAME,NAME, […]


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _anchors(page: Path) -> set[str]:
    """Headings as the forges make anchors of them: lower case, spaces to hyphens, no marks."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_leads_somewhere(page):
    missing = []
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in _anchors(file)):
            missing.append(target)
    assert missing == []


def _commands(text: str) -> Iterator[str]:
    """Every command line that begins with `tally`, out of code blocks and words in backquotes."""
    for block in (*_FENCED.findall(text), *_INDENTED.findall(_FENCED.sub("", text))):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|;|\|", line.split(" #")[0]):
                if match := re.search(r"(?:^|\s|\$ |/)(tally .*)", part.strip()):
                    yield match[1].rstrip("& ")
    for words in _INLINE.findall(_FENCED.sub("", text)):
        if re.match(r"(\S+/)?tally ", words):
            yield " ".join(words.rstrip("& ").split())


def _complaint(line: str) -> str:
    """What is wrong with the command and its options; empty when nothing is."""
    words = shlex.split(line)[1:]
    command: click.Command = tally
    context = click.Context(tally, info_name="tally")
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        if _STANDS_FOR.match(words[0]):
            return ""
        found = command.get_command(context, words[0])
        if found is None:
            return f"no command {words[0]!r}"
        command = found
        context = click.Context(command, parent=context, info_name=words.pop(0))
    known = {
        name for one in command.get_params(context) for name in (*one.opts, *one.secondary_opts)
    }
    for word in words:
        if word == "--":
            break
        if word.startswith("--") and word.split("=")[0] not in known:
            return f"no option {word!r}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_command_printed_is_one_of_ours(page):
    wrong = []
    for line in _commands(page.read_text(encoding="utf-8")):
        complaint = _complaint(line)
        if complaint:
            wrong.append(f"{line}: {complaint}")
    assert wrong == []


def test_the_heaps_in_the_documents_are_those_committed():
    heaps = json.loads((ROOT / "tools/image/heap.json").read_text())
    most = {board: max(paths.values()) for board, paths in heaps.items()}
    stm, pico = heaps["nucleo_l476rg"], heaps["pico"]
    text = (ROOT / "docs/reference/boards.md").read_text(encoding="utf-8")
    for row in (
        f"| {most['nucleo_l476rg']} KiB (STM32L4), {most['pico']} (Pico), "
        f"{most['pico2_card']} (Pico 2) |",
        f"| heap for provisioning | {stm['provisioning']} KiB | {pico['provisioning']} KiB |",
        f"| heap for a press | {stm['a press without a key']} KiB "
        f"| {pico['a press without a key']} KiB |",
    ):
        assert row in text
    reader = (ROOT / "docs/reference/reader.md").read_text(encoding="utf-8")
    assert f"; {most['pico2']} by everything in one go" in reader
    found = re.search(r"At most (\d+) KiB are needed", reader)
    assert found and int(found[1]) >= max(most["pico2"], *HUNGRIEST.values())
    assert (
        f"| heap of a reader | 140 KiB | {found[1]} KiB, with both algorithms and all in one go |"
        in text
    )


def test_every_page_that_is_named_is_there():
    """In code, comments and words of commands, wherever they say docs/…."""
    named = subprocess.run(
        ["git", "grep", "-IoE", r"docs/[a-z0-9/-]+\.md"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    gone = [one for one in named if not (ROOT / one.rpartition(":")[2]).exists()]
    assert len(named) > 50 and gone == []


def test_a_wrong_command_would_be_found():
    text = (
        "```\n$ tally image biuld --board pico &\n```\n"
        "so:\n\n    tally flash \\\n      --prot x\n\n"
        "and `tally battery --yaers 5`.\n"
    )
    assert [_complaint(line) for line in _commands(text)] == [
        "no command 'biuld'", "no option '--prot'", "no option '--yaers'",
    ]  # fmt: skip
