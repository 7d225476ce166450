"""All mutants of a source.

The standard library's `ast` is enough: it tells where a node begins and ends, and only the text
between is replaced, so that comments, lines and everything else stay as they are.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tallystick.tools.campaign.mutants.changes import OPERATORS, instead
from tallystick.tools.campaign.mutants.mutant import Mutant

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_SIMPLE = ast.Expr | ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Delete | ast.Raise
_MOVED = ast.Expr | ast.Assign | ast.AugAssign | ast.If | ast.For | ast.While


@dataclass(frozen=True)
class _Edit:
    """`new` in place of what is between two offsets; `change` says it for people."""

    begin: int
    end: int
    new: bytes
    change: str
    line: int


def mutants(file: str, source: bytes) -> list[Mutant]:
    """Every mutant of a module that compiles. `file`: its path in the tree."""
    return [mutant for mutant in _Generator(file, source).run() if _compiles(mutant.text)]


def _compiles(text: bytes) -> bool:
    try:
        compile(text, "mutant", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


class _Generator:
    def __init__(self, file: str, source: bytes) -> None:
        self._file = file
        self._source = source
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._seen: Counter[tuple[str, str, str]] = Counter()

    def run(self) -> Iterator[Mutant]:
        tree = ast.parse(self._source)
        yield from self._block(tree.body, "", returns=None)

    # -- statements ----------------------------------------------------------------------------

    def _block(
        self, body: list[ast.stmt], function: str, *, returns: str | None
    ) -> Iterator[Mutant]:
        for at, node in enumerate(body):
            if _silent(node):
                continue
            yield from self._statement(node, function, returns)
            if at + 1 < len(body) and _may_swap(node, body[at + 1], function):
                edit = self._swapped(node, body[at + 1])
                yield self._mutant(edit, node, function, body[at + 1])

    def _statement(self, node: ast.stmt, function: str, returns: str | None) -> Iterator[Mutant]:
        if isinstance(node, _Function | ast.ClassDef):
            inner = f"{function}.{node.name}".lstrip(".")
            if isinstance(node, _Function):
                for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
                    yield from self._made(self._expressions(default), node, inner)
                returns = ast.unparse(node.returns) if node.returns else ""
            yield from self._block(node.body, inner, returns=returns)
            return
        yield from self._made(self._edits(node, returns, inside=bool(function)), node, function)
        for name in ("body", "orelse", "finalbody"):
            yield from self._block(getattr(node, name, []), function, returns=returns)
        for handler in getattr(node, "handlers", []):
            edit = self._handler(handler)
            if edit is not None:
                yield self._mutant(edit, handler.body[0], function)
            yield from self._block(handler.body, function, returns=returns)
        for case in getattr(node, "cases", []):
            if case.guard is not None:
                yield from self._made(self._expressions(case.guard), node, function)
            yield from self._block(case.body, function, returns=returns)

    def _made(self, edits: Iterator[_Edit], node: ast.stmt, function: str) -> Iterator[Mutant]:
        for edit in edits:
            yield self._mutant(edit, node, function)

    def _edits(self, node: ast.stmt, returns: str | None, *, inside: bool) -> Iterator[_Edit]:
        if inside and isinstance(node, _SIMPLE) and getattr(node, "value", True) is not None:
            yield self._replaced(node, "pass", "dropped")
        if isinstance(node, ast.Return) and node.value is not None:
            for new in _other_returns(node.value, returns):
                yield self._replaced(node, f"return {new}", f"return {new}")
        if isinstance(node, ast.Break | ast.Continue):
            new = "continue" if isinstance(node, ast.Break) else "break"
            yield self._replaced(node, new, new)
        if isinstance(node, ast.AugAssign) and type(node.op) in OPERATORS:
            other = ast.AugAssign(node.target, OPERATORS[type(node.op)](), node.value)
            yield self._replaced(node, ast.unparse(other), ast.unparse(other))
        if isinstance(node, ast.If | ast.While):
            for value in ("False", "True") if isinstance(node, ast.If) else ("False",):
                yield self._expression(node.test, value)
        for child in _parts(node):
            yield from self._expressions(child)

    def _expressions(self, node: ast.AST) -> Iterator[_Edit]:
        if isinstance(node, ast.JoinedStr | ast.Lambda) or _is_annotation(node):
            return
        if isinstance(node, ast.IfExp):
            yield self._expression(node.test, "False")
            yield self._expression(node.test, "True")
        if isinstance(node, ast.expr):
            for other in instead(node):
                yield self._expression(node, ast.unparse(ast.fix_missing_locations(other)))
        for child in ast.iter_child_nodes(node):
            yield from self._expressions(child)

    # -- text ----------------------------------------------------------------------------------

    def _span(self, node: ast.stmt | ast.expr) -> tuple[int, int]:
        assert node.end_lineno is not None and node.end_col_offset is not None
        begin = self._starts[node.lineno - 1] + node.col_offset
        return begin, self._starts[node.end_lineno - 1] + node.end_col_offset

    def _replaced(self, node: ast.stmt, new: str, change: str) -> _Edit:
        begin, end = self._span(node)
        lines = self._source.count(b"\n", begin, end)
        return _Edit(begin, end, new.encode() + b"\n" * lines, change, node.lineno)

    def _expression(self, node: ast.expr, new: str) -> _Edit:
        begin, end = self._span(node)
        lines = self._source.count(b"\n", begin, end)
        plain = isinstance(node, ast.Constant) and new.lstrip("'\"").isalnum()
        text = f" {new} " if plain else f"({new}" + "\n" * lines + ")"
        return _Edit(begin, end, text.encode(), f"{ast.unparse(node)} → {new}", node.lineno)

    def _swapped(self, first: ast.stmt, second: ast.stmt) -> _Edit:
        (begin, middle), (other, end) = self._span(first), self._span(second)
        source = self._source
        new = source[other:end] + source[middle:other] + source[begin:middle]
        return _Edit(begin, end, new, f"after: {_head(second)}", first.lineno)

    def _handler(self, handler: ast.ExceptHandler) -> _Edit | None:
        first, last = handler.body[0], handler.body[-1]
        if isinstance(first, ast.Raise) and first.exc is None:
            return None
        begin, end = self._span(first)[0], self._span(last)[1]
        lines = self._source.count(b"\n", begin, end)
        return _Edit(begin, end, b"raise" + b"\n" * lines, "not caught", first.lineno)

    def _mutant(
        self, edit: _Edit, node: ast.stmt, function: str, last: ast.stmt | None = None
    ) -> Mutant:
        statement = _head(node)
        which = (function, statement, edit.change)
        text = self._source[: edit.begin] + edit.new + self._source[edit.end :]
        nth, self._seen[which] = self._seen[which], self._seen[which] + 1
        until = (last or node).end_lineno if _body(last or node) is None else edit.line
        return Mutant(
            self._file, function, statement, edit.change, nth, edit.line, until or edit.line, text
        )


def _body(node: ast.stmt) -> list[ast.stmt] | None:
    return getattr(node, "body", None)


def _parts(node: ast.stmt) -> Iterator[ast.AST]:
    """The expressions of a statement, without the blocks in it."""
    for name, value in ast.iter_fields(node):
        if name in ("body", "orelse", "finalbody", "handlers", "cases", "annotation", "targets"):
            continue
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, ast.expr | ast.withitem):
                yield one


def _head(node: ast.stmt) -> str:
    """A statement in one line; of a block, what begins it."""
    return ast.unparse(node).strip().split("\n")[0]


def _silent(node: ast.stmt) -> bool:
    """What does nothing when it runs, or what no device has."""
    if isinstance(node, ast.Import | ast.ImportFrom | ast.Assert | ast.Pass | ast.Global):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "TYPE_CHECKING"
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "TYPE_CHECKING"


def _may_swap(first: ast.stmt, second: ast.stmt, function: str) -> bool:
    if not function or not isinstance(first, _MOVED) or not isinstance(second, _MOVED):
        return False
    if _silent(second) or ast.unparse(first) == ast.unparse(second):
        return False
    used, stored = zip(_names(first), _names(second), strict=True)
    together = stored[0] & used[1] or stored[1] & used[0]
    return bool(together) or (_calls(first) and _calls(second))


def _calls(node: ast.stmt) -> bool:
    return any(isinstance(one, ast.Call | ast.Await) for one in ast.walk(node))


def _names(node: ast.stmt) -> tuple[set[str], set[str]]:
    """(all that are used, those that are stored); of attributes the whole, as it is written."""
    used, stored = set(), set()
    for one in ast.walk(node):
        if isinstance(one, ast.Name | ast.Attribute):
            used.add(ast.unparse(one))
            if not isinstance(one.ctx, ast.Load):
                stored.add(ast.unparse(one))
        if isinstance(one, ast.Subscript) and not isinstance(one.ctx, ast.Load):
            stored.add(ast.unparse(one.value))
    return used, stored


def _is_annotation(node: ast.AST) -> bool:
    """Types in expressions: `cast(…)`, and their names are not mutated."""
    return isinstance(node, ast.Call) and ast.unparse(node.func) in ("cast", "TypeVar", "NewType")


def _other_returns(value: ast.expr, returns: str | None) -> tuple[str, ...]:
    if returns == "bool":
        there = ast.unparse(value)
        return tuple(one for one in ("True", "False") if one != there)
    if isinstance(value, ast.Constant) and value.value is None:
        return ()
    return ("None",)
