"""Figures and promises in reference and findings say how they are known (docs/claims.md)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.system.prose import MARK, Block, blocks, words

ROOT = Path(__file__).resolve().parents[2]
MADE = ("commands.md", "licences.md")  # by programs, and compared by tests of their own
PAGES = [
    page
    for folder in ("reference", "findings")
    for page in sorted((ROOT / "docs" / folder).glob("*.md"))
    if page.name not in MADE
]
_UNIT = (
    r"ms|µs|s|min|minutes?|seconds?|hours?|days?|months?|years?|KiB|MiB|GiB|KB|MB|GB|%|mA|µA|mAh|µAh|mV|V|Ω|"
    r"kΩ|MHz|kHz|baud|mW|µW|pixels|°C|mm|cycles|bits?|bytes"
)
_CLAIM = re.compile(
    rf"\d\s?(?:{_UNIT})(?![\w-])|\d/s\b"
    r"|\b(?:never|always|cannot|impossible|nobody|at most|at least|faster|slower)\b",
    re.IGNORECASE,
)


def _claims(text: str) -> list[str]:
    text = re.sub(r"\]\([^)]*\)|`[^`]*`", "", MARK.sub("", text))
    return _CLAIM.findall(text)


def _marks(text: str) -> list[re.Match[str]]:
    return list(MARK.finditer(text))


def unmarked(page: str) -> list[str]:
    """Blocks with a claim that no mark covers."""
    found: list[str] = []
    covered: list[tuple[int, bool]] = [(0, False)]  # open sections: level, has a mark of its own
    fresh = False  # nothing but the heading was there so far
    above = False  # the block above has a mark
    for block in blocks(page):
        if block.kind == "heading":
            covered = [one for one in covered if one[0] < block.level]
            covered.append((block.level, False))
            fresh, above = True, False
            continue
        if fresh and _is_for_the_section(block):
            covered[-1] = (covered[-1][0], True)
        own = bool(_marks(block.text)) or (block.kind == "table" and above)
        if _claims(block.text) and not own and not any(c for _, c in covered):
            found.append(block.text.splitlines()[0][:90])
        above = own
        fresh = fresh and _is_for_the_section(block)
    return found


def _is_for_the_section(block: Block) -> bool:
    """Or with a few words, which say what each of several marks is for."""
    return bool(_marks(block.text)) and words(MARK.sub("", block.text)) <= 16


def untrue(page: str) -> list[str]:
    """Marks whose test is gone, or that lack what they must say."""
    wrong = []
    for mark in MARK.finditer(page):
        kind, what = mark[1], " ".join((mark[2] or "").split())
        if kind == "tested":
            wrong += [f"{mark[0]}: {why}" for why in _no_test(what)]
        elif kind == "measured":
            date, _, machine = what.partition(", ")
            if not re.fullmatch(r"(before )?20\d\d-\d\d-\d\d", date) or not machine:
                wrong.append(f"{mark[0]}: needs a date and a machine")
        elif kind == "source" and not what:
            wrong.append(f"{mark[0]}: names no source")
    return wrong


def _no_test(what: str) -> list[str]:
    wrong = []
    for one in what.split(", "):
        name, _, test = one.partition("::")
        path = ROOT / name
        if not name.startswith("tests/") or not path.exists():
            wrong.append(f"no {name}")
        elif path.is_dir():
            wrong += [] if any(path.rglob("test_*.py")) else [f"no test in {name}"]
        elif not re.search(rf"^ *(?:async )?def {test or 'test_'}", path.read_text(), re.M):
            wrong.append(f"no {test or 'test'} in {name}")
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_claim_says_how_it_is_known(page: Path) -> None:
    assert unmarked(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.stem)
def test_every_mark_is_true(page: Path) -> None:
    if page.name != "claims.md":
        assert untrue(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "# P\n\nIt takes 5 ms.\n",
        "# P\n\n- It never ends.\n- Fine. [reasoned]\n",
        "# P\n\n## A\n\n[reasoned]\n\nNobody knows.\n\n## B\n\nIt cannot fail.\n",
        "# P\n\n| a | b |\n|---|---|\n| x | 30 % |\n",
        "# P\n\nText.\n\n[reasoned]\n\nIt is always so.\n",
    ],
)
def test_a_claim_without_a_mark_is_found(text: str) -> None:
    assert len(unmarked(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "# P\n\nIt takes 5 ms. [reasoned]\n",
        "# P\n\n## A\n\n[reasoned]\n\nNobody knows.\n\n### B\n\nIt cannot fail.\n",
        "# P\n\n| a | b |\n|---|---|\n| x | 30 % [not shown] |\n",
        "# P\n\nText.\n\nSo: [reasoned]\n\n| a | b |\n|---|---|\n| x | 30 % |\n",
        "# P\n\n```\nit takes 5 ms\n```\n\nSee section 3 and `5 ms`.\n",
    ],
)
def test_a_mark_covers_what_the_page_on_claims_says(text: str) -> None:
    assert unmarked(text) == []


@pytest.mark.parametrize(
    "mark",
    [
        "[tested: tests/system/test_gone.py]",
        "[tested: tests/system/test_claims.py::test_gone]",
        "[measured: last year, a machine]",
        "[measured: 2026-11-28]",
        "[source]",
    ],
)
def test_a_mark_that_says_too_little_or_too_much_is_found(mark: str) -> None:
    assert len(untrue(f"It is so. {mark}\n")) == 1
