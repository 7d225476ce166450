"""One thing, one word: the glossary against the identifiers of the code."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("firmware", "emulator", "provisioning", "server", "tools", "tallystick/cli",
           "tallystick/common", "tallystick/testing")  # fmt: skip
_ROW = re.compile(r"^\| ([^|]+?) \| [^|]+ \| ([^|]*?) \|([^|]*)\|$", re.M)


@cache
def identifiers() -> frozenset[str]:
    """Every name in our sources, as it is spelt; strings and comments are left out."""
    found: set[str] = set()
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            text = re.sub(r'"""(?:.|\n)*?"""|"(?:\\.|[^"\\\n])*"|#.*', "", path.read_text())
            found |= set(re.findall(r"[A-Za-z_]\w*", text))
    return frozenset(found)


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_")


@cache
def spelt() -> str:
    return "\n".join(sorted({f"_{snake(name)}_" for name in identifiers()}))


def rows() -> list[tuple[str, list[str], list[str]]]:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    return [
        (word, re.findall(r"`([^`]+)`", used), re.findall(r"`([^`]+)`", unused))
        for word, used, unused in _ROW.findall(text)
        if word not in ("word", "---")
    ]


def test_each_word_is_how_the_code_spells_it() -> None:
    assert len(rows()) > 30
    assert [w for w, used, _ in rows() if not all(f"{u}" in spelt() for u in used)] == []


def test_no_identifier_uses_another_word() -> None:
    others = {other: word for word, _, unused in rows() for other in unused}
    assert len(others) > 15
    assert {o: w for o, w in others.items() if f"_{o}_" in spelt()} == {}


def test_words_are_in_order_and_stand_once() -> None:
    words = [word.lower() for word, _, _ in rows()]
    assert words == sorted(set(words))


def test_a_second_word_would_be_found() -> None:
    assert "_journal_" in spelt() and snake("OtpCounter") == "otp_counter"
