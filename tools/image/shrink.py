"""Makes a module smaller on the device without changing what it does or on which line.

Every name costs the device a string and a table entry in RAM, for good. What only a type checker
reads is blanked, and names that are private to a module (`_next_slot`) become short ones that all
modules share (`_a`). Names that `const()` gives are left alone: the compiler drops them itself.
"""

from __future__ import annotations

import ast
import io
import keyword
import re
import string
import tokenize
from collections.abc import Iterator

from tallystick.common.errors import BadInputError

_PRIVATE = re.compile(r"_[A-Za-z]\w*")
_CONST = re.compile(r"^(_[A-Z]\w*) = const\(", re.MULTILINE)

ASSEMBLER = "micropython.asm_thumb"


def shrink(text: str, name: str) -> str:
    """The module `name` (`lib/tlv.py`), as it goes to the compiler.

    Raises BadInputError when it uses a private name that is another module's.
    """
    return _with_short_names(_without_typing(text), name)


def plain_assembler(text: str) -> str:
    """Functions in assembler without annotations: it takes registers there, and nothing else."""
    lines = text.splitlines(keepends=True)
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and ASSEMBLER in map(ast.unparse, node.decorator_list):
            arguments = ", ".join(arg.arg for arg in node.args.args)
            lines[node.lineno - 1] = f"def {node.name}({arguments}):\n"
    return "".join(lines)


def _without_typing(text: str) -> str:
    """`TYPE_CHECKING = …` and the blocks under it blanked; a docstring or statement stays where
    it was."""
    lines = text.splitlines(keepends=True)
    for node in ast.parse(text).body:
        flag = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "TYPE_CHECKING"
        block = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if flag or block:
            assert node.end_lineno is not None
            for number in range(node.lineno - 1, node.end_lineno):
                lines[number] = "\n"
    return "".join(lines)


def _with_short_names(text: str, name: str) -> str:
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    kept = set(_CONST.findall(text)) | {token.string for token in tokens if _is_short(token.string)}
    own = _defined(text)
    short = _short_names(kept)
    names: dict[str, str] = {}
    lines = text.splitlines(keepends=True)
    edits: list[tuple[int, int, str, str]] = []
    for token in tokens:
        old = token.string
        if token.type != tokenize.NAME or not _PRIVATE.fullmatch(old) or old in kept:
            continue
        if old not in own:
            raise BadInputError(
                f"{name}, line {token.start[0]}, uses {old}, which is private to another module.",
                kept="No image was written.",
                todo="Give what is shared a name without underscore.",
            )
        if old not in names:
            names[old] = next(short)
        edits.append((token.start[0] - 1, token.start[1], old, names[old]))
    for line, column, old, new in reversed(edits):
        lines[line] = lines[line][:column] + new + lines[line][column + len(old) :]
    return "".join(lines)


def _is_short(name: str) -> bool:
    return len(name) == 2 and name[0] == "_"


def _short_names(taken: set[str]) -> Iterator[str]:
    letters = string.ascii_letters
    for suffix in ("", *letters):
        for letter in letters:
            new = f"_{letter}{suffix}"
            if new not in taken and not keyword.iskeyword(new):
                yield new


def _defined(text: str) -> set[str]:
    """Private names that the module itself makes: functions, variables, attributes, arguments."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.id if isinstance(node, ast.Name) else node.attr)
    return names
