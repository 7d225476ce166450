"""Sentences that people can read: how long they are on average, page by page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.prose import mean, sentences, words

ROOT = Path(__file__).resolve().parents[2]
MOST = 18  # words a sentence, on average
PAGES = [
    *sorted(ROOT.glob("*.md")),
    ROOT / "firmware/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_sentences_are_short(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    longest = sorted(sentences(text), key=words)[-3:]
    assert mean(text) < MOST, f"shorten, for instance: {longest}"


def test_what_is_counted() -> None:
    page = (
        "# A heading with five words\n\nOne two `three four` five. Six: seven; eight!\n\n"
        "- nine ten\n- eleven [a link](to/a/page.md)\n\n| a | table |\n|---|---|\n\n"
        "```\nno text\n```\n\n"
        "Twelve. [tested: tests/system/test_prose.py]\n"
    )
    assert [words(one) for one in sentences(page)] == [4, 3, 2, 3, 1]


def test_a_page_of_long_sentences_would_be_found() -> None:
    assert mean("It is so, " + "and so on, " * 10 + "for ever.\n") > MOST
