"""What a page says in sentences: blocks of Markdown, and how long their sentences are.

How words are counted: code blocks, tables, headings, comments and pictures are left out. A mark of
a claim (docs/claims.md) is no text. A sentence ends at a full stop, question mark or exclamation
mark before a space, and at the end of a paragraph or list item; not at a colon or semicolon. A word
is what stands between spaces and has a letter or digit in it; what is in backquotes is one word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

MARK = re.compile(r"\[(tested|measured|source|reasoned|not shown)(?:: ([^\]]+))?\](?!\()")
_FENCE = re.compile(r"^( *)```.*?^\1```", re.M | re.S)
_COMMENT = re.compile(r"<!--.*?-->", re.S)
_INDENTED = re.compile(r"(?<=\n\n)((?: {4}.*\n|\n(?= {4}))+)")
_ITEM = re.compile(r"^ *(?:[-*+]|\d+\.) +")


@dataclass(frozen=True)
class Block:
    """A heading, a table, a paragraph or one item of a list. level: of a heading, else 0."""

    text: str
    kind: str
    level: int = 0


def blocks(page: str) -> Iterator[Block]:
    page = _COMMENT.sub("", _INDENTED.sub("", _FENCE.sub("", page)))
    for part in re.split(r"\n\s*\n|\n(?=#)|(?<=\n)(?=#)", page):
        for piece in re.split(r"\n(?= *(?:[-*+]|\d+\.) )|\n(?=\|)(?<!\|\n)|(?<=\|)\n(?!\|)", part):
            text = piece.strip("\n")
            if not text.strip():
                continue
            if text.startswith("#"):
                heading, _, rest = text.partition("\n")
                yield Block(
                    heading.lstrip("# "), "heading", len(heading) - len(heading.lstrip("#"))
                )
                if rest.strip():
                    yield from blocks(rest)
            elif text.lstrip().startswith("|"):
                yield Block(text, "table")
            else:
                yield Block(_ITEM.sub("", text), "item" if _ITEM.match(text) else "paragraph")


def sentences(page: str) -> list[str]:
    found = []
    for block in blocks(page):
        if block.kind in ("paragraph", "item"):
            text = MARK.sub("", re.sub(r"!\[[^\]]*\]\([^)]*\)", "", block.text))
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"`[^`]*`", "code", text))
            found += [one for one in re.split(r"(?<=[.!?])[)”\"*]*\s+", text) if words(one)]
    return found


def words(sentence: str) -> int:
    return sum(bool(re.search(r"\w", word)) for word in sentence.split())


def mean(page: str) -> float:
    """Words a sentence; 0 of a page without any."""
    lengths = [words(one) for one in sentences(page)]
    return sum(lengths) / len(lengths) if lengths else 0.0
