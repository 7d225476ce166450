"""The sources of the host's side, parsed, for the tests that hold the house's rules."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("emulator", "tools", "provisioning", "server", "tallystick")


def files(*rooms: str) -> list[Path]:
    """Every module of the rooms (default: all), once: links in `tallystick/` are not followed."""
    return sorted(
        path
        for room in rooms or ROOMS
        for path in (ROOT / room).rglob("*.py")
        if not any((ROOT / folder).is_symlink() for folder in path.relative_to(ROOT).parents)
    )


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def docstrings(tree: ast.Module) -> set[ast.AST]:
    """The nodes of strings that stand alone: docstrings, and those of attributes."""
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def words(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, text) of every name and string of the code; documentation is none of it."""
    silent = docstrings(tree)
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        match node:
            case ast.Name(id=text) | ast.Attribute(attr=text) | ast.arg(arg=text):
                yield line, text
            case ast.ClassDef(name=text) | ast.FunctionDef(name=text):
                yield line, text
            case ast.alias(name=text) | ast.keyword(arg=str(text)):
                yield line, text
            case ast.ImportFrom(module=str(text)):
                yield line, text
            case ast.Constant(value=str(text)) if node not in silent:
                yield line, text
            case ast.Constant(value=bytes(data)):
                yield line, data.decode("latin-1")
