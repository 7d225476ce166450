"""Puts a counter before every statement of a module."""

from __future__ import annotations

import ast
import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tallystick.tools.coverage.lines import source_lines

_NAME = "COVER__"
_ASSEMBLER = "micropython.asm_"  # a function in assembler takes instructions, and no counters


class Instrumenter(Protocol):
    """Puts something into the modules of an image. lines: source → see `source_lines`."""

    lines: dict[Path, tuple[int, ...]]

    def instrument(self, text: str, path: Path) -> str:
        """The module with it. `path` is the source; lines in `text` are as there."""

    def finish(self, text: str) -> str:
        """Called for each once all of them are known."""


@dataclass
class Table:
    """Counter number → (source file, line), for all modules of one image."""

    statements: list[tuple[str, int]] = field(default_factory=list)
    lines: dict[Path, tuple[int, ...]] = field(default_factory=dict)

    def instrument(self, text: str, path: Path) -> str:
        """The module with its counters. `path` is the source; lines in `text` are as there."""
        tree = ast.parse(text)
        _Counters(self, str(path)).visit(tree)
        position = 1 if _is_docstring(tree.body) else 0
        begin = ast.parse(f"from coverhits import hits\n{_NAME} = hits(0)").body
        tree.body[position:position] = begin
        made = ast.unparse(ast.fix_missing_locations(tree))
        self.lines[path] = source_lines(tree, made)
        return made

    @property
    def number(self) -> int:
        return zlib.crc32(json.dumps(self.statements).encode()) or 1

    def finish(self, text: str) -> str:
        """Names the table in an instrumented module, once all of them are known."""
        return text.replace(f"{_NAME} = hits(0)", f"{_NAME} = hits({self.number})", 1)

    def write(self, folder: Path) -> None:
        """Keeps the table beside the counters."""
        part = folder / f"table-{self.number}.part"
        part.write_text(json.dumps(self.statements), encoding="utf-8")
        part.replace(part.with_suffix(".json"))


def _is_docstring(body: list[ast.stmt]) -> bool:
    return bool(
        body
        and isinstance(body[0], ast.Expr)
        and isinstance(body[0].value, ast.Constant)
        and isinstance(body[0].value.value, str)
    )


def _is_typing(statement: ast.stmt) -> bool:
    """`TYPE_CHECKING = …` and `if TYPE_CHECKING:`, which no device has."""
    if isinstance(statement, ast.If):
        return ast.unparse(statement.test) == "TYPE_CHECKING"
    return (
        isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "TYPE_CHECKING"
    )


class _Counters(ast.NodeTransformer):
    def __init__(self, table: Table, path: str) -> None:
        self._table = table
        self._path = path

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for name in ("body", "orelse", "finalbody"):
            body = getattr(node, name, None)
            if isinstance(body, list):
                setattr(node, name, self._counted(body, node))
        return node

    def visit_If(self, node: ast.If) -> ast.AST:
        return node if _is_typing(node) else self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        machine = any(ast.unparse(one).startswith(_ASSEMBLER) for one in node.decorator_list)
        return node if machine else self.generic_visit(node)

    def _counted(self, body: list[ast.stmt], parent: ast.AST) -> list[ast.stmt]:
        documented = isinstance(
            parent, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        )
        result: list[ast.stmt] = []
        for number, statement in enumerate(body):
            skipped = (
                isinstance(statement, ast.Global | ast.Nonlocal)
                or (number == 0 and documented and _is_docstring(body))
                or _is_typing(statement)
            )
            if not skipped:
                result.append(self._counter(statement))
            result.append(statement)
        return result

    def _counter(self, statement: ast.stmt) -> ast.stmt:
        number = len(self._table.statements)
        self._table.statements.append((self._path, statement.lineno))
        return ast.copy_location(ast.parse(f"{_NAME}[{number}] = 1").body[0], statement)
