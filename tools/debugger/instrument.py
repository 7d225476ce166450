"""Puts into every module what tells the debugger where it is, and what its variables are."""

from __future__ import annotations

import ast
from pathlib import Path

from tallystick.common.errors import BadInputError
from tallystick.tools.coverage.lines import source_lines
from tallystick.tools.debugger.orders import FIRST, SIZE

_FRAME = "F__"
_WHICH = "I__"  # no name of the firmware's own
_AT, _AWAY, _ENTER, _LEAVE = "AT__", "AWAY__", "ENTER__", "LEAVE__"
_IMPORT = (
    f"from tallydebug import at as {_AT}, away as {_AWAY}, enter as {_ENTER}, leave as {_LEAVE}"
)
_Function = ast.FunctionDef | ast.AsyncFunctionDef


class Debugged:
    """An `Instrumenter`. places: statement → (file, line); functions: number → (file, name)."""

    def __init__(self) -> None:
        self.lines: dict[Path, tuple[int, ...]] = {}
        self.places: dict[int, tuple[str, int]] = {}
        self.functions: list[tuple[str, str]] = []

    def instrument(self, text: str, path: Path) -> str:
        """See `Instrumenter`. Raises BadInputError for more statements than there is room for."""
        tree = ast.parse(text)
        _Module(self, str(path)).visit(tree)
        if FIRST + len(self.places) >= SIZE:
            raise BadInputError("The firmware has more statements than the debugger has room for.")
        made = ast.unparse(ast.fix_missing_locations(tree))
        self.lines[path] = source_lines(tree, made)
        return made

    def finish(self, text: str) -> str:
        return text

    def statement(self, path: str, line: int) -> int:
        number = FIRST + len(self.places)
        self.places[number] = (path, line)
        return number

    def function(self, path: str, name: str) -> int:
        self.functions.append((path, name))
        return len(self.functions) - 1

    def at(self, path: str, line: int) -> tuple[int, set[int]] | None:
        """Where a breakpoint on this line really is, and its statements; None without any."""
        there = sorted({one for file, one in self.places.values() if file == path and one >= line})
        if not there:
            return None
        numbers = {n for n, place in self.places.items() if place == (path, there[0])}
        return there[0], {min(numbers)}


class _Module(ast.NodeTransformer):
    def __init__(self, table: Debugged, path: str) -> None:
        self._table, self._path = table, path
        self._names: list[str] = []

    def visit_Module(self, node: ast.Module) -> ast.AST:
        self._bodies(node)
        place = self._table.function(self._path, "<module>")
        words = f"{_IMPORT}\n{_FRAME} = {_ENTER}(({self._path!r}, {place}), None, globals())"
        start = 1 if _documented(node.body) else 0
        node.body[start:start] = ast.parse(words).body
        if Path(self._path).name not in ("main.py", "boot.py"):
            node.body += ast.parse(f"{_LEAVE}({_FRAME})").body
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self._names.append(node.name)
        self._bodies(node)
        self._names.pop()
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        return node

    def _function(self, node: _Function) -> ast.AST:
        if any("micropython." in ast.unparse(one) for one in node.decorator_list):
            return node  # native code, which has no room for it
        names = _locals_of(node)
        place = self._table.function(self._path, ".".join((*self._names, node.name)))
        self._names.append(node.name)
        self._bodies(node)
        self._names.pop()
        chosen = " ".join(f"{name} if {_WHICH} == {i} else" for i, name in enumerate(names))
        value = f"lambda {_WHICH}: {chosen} None" if names else f"lambda {_WHICH}: None"
        enter = f"{_FRAME} = {_ENTER}(({self._path!r}, {place}), {value}, {tuple(names)!r})"
        start = 1 if _documented(node.body) else 0
        declared = [one for one in node.body if isinstance(one, ast.Global | ast.Nonlocal)]
        rest = [one for one in node.body[start:] if one not in declared]
        guarded = ast.parse(f"try:\n    pass\nfinally:\n    {_LEAVE}({_FRAME})").body[0]
        assert isinstance(guarded, ast.Try)
        guarded.body = rest or [ast.Pass()]
        node.body = [*node.body[:start], *declared, *ast.parse(enter).body, guarded]
        return node

    def _bodies(self, node: ast.AST) -> None:
        """Something before every statement in it, but for those of functions in it."""
        for name in ("body", "orelse", "finalbody"):
            body = getattr(node, name, None)
            if isinstance(body, list):
                setattr(node, name, self._counted(body, node))
        for handler in getattr(node, "handlers", []):
            handler.body = self._counted(handler.body, handler)
        for case in getattr(node, "cases", []):
            case.body = self._counted(case.body, case)

    def _counted(self, body: list[ast.stmt], parent: ast.AST) -> list[ast.stmt]:
        documented = isinstance(parent, ast.Module | ast.ClassDef | _Function)
        result: list[ast.stmt] = []
        for number, statement in enumerate(body):
            plain = not (
                isinstance(statement, ast.Global | ast.Nonlocal)
                or (number == 0 and documented and _documented(body))
            )
            if plain:
                name = _AWAY if _waits(statement) else _AT
                n = self._table.statement(self._path, statement.lineno)
                result += ast.parse(f"{name}({n}, {_FRAME})").body
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                result.append(self.visit(statement))
            else:
                self._bodies(statement)
                result.append(statement)
        return result


def _documented(body: list[ast.stmt]) -> bool:
    return bool(
        body
        and isinstance(body[0], ast.Expr)
        and isinstance(body[0].value, ast.Constant)
        and isinstance(body[0].value.value, str)
    )


def _waits(statement: ast.stmt) -> bool:
    """Whether others run in the middle of it: of a compound statement, in its head."""
    heads = [child for child in ast.iter_child_nodes(statement) if not isinstance(child, ast.stmt)]
    kinds = ast.Await | ast.Yield | ast.YieldFrom
    if isinstance(statement, ast.AsyncFor | ast.AsyncWith):
        return True
    return any(isinstance(node, kinds) for head in heads for node in ast.walk(head))


def _locals_of(function: _Function) -> list[str]:
    """Names of its own, arguments first."""
    args = function.args
    names = [arg.arg for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
    names += [arg.arg for arg in (args.vararg, args.kwarg) if arg is not None]
    other: set[str] = set()
    todo: list[ast.AST] = list(function.body)
    while todo:
        node = todo.pop(0)
        if isinstance(node, ast.Global | ast.Nonlocal):
            other.update(node.names)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
            continue
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names += [(alias.asname or alias.name).split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.append(node.name)
        if isinstance(
            node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
        ):
            continue
        todo[:0] = list(ast.iter_child_nodes(node))
    return [name for name in dict.fromkeys(names) if name not in other]
