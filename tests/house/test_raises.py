"""A public function that raises an error of the project says so in its docstring."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("emulator", "provisioning", "server", "tools", "tallystick/common", "tallystick/testing")
LEFT_OUT = ("emulator/port/", "server/migrations/")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources() -> Iterator[tuple[str, ast.Module]]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            if not name.startswith(LEFT_OUT):
                yield name, ast.parse(path.read_text(encoding="utf-8"))


def errors(trees: list[ast.Module]) -> set[str]:
    """Names of TallyError and of all classes below it."""
    known, grown = {"TallyError"}, True
    classes = [n for tree in trees for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
    while grown:
        more = {c.name for c in classes if {ast.unparse(b).split(".")[-1] for b in c.bases} & known}
        grown = not more <= known
        known |= more
    return known


def public(tree: ast.Module) -> Iterator[tuple[str, Function]]:
    for node in tree.body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield node.name, node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for one in node.body:
                if isinstance(one, Function) and not one.name.startswith("_"):
                    yield f"{node.name}.{one.name}", one


def raised(function: Function, known: set[str]) -> set[str]:
    """Errors that its own statements raise and do not catch; what a function inside it raises is
    not counted."""
    return {name for statement in function.body for name in _out_of(statement)} & known


def _out_of(node: ast.AST) -> set[str]:
    if isinstance(node, Function | ast.Lambda | ast.ClassDef):
        return set()
    if isinstance(node, ast.Raise) and node.exc is not None:
        what = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return {ast.unparse(what).split(".")[-1]}
    if isinstance(node, ast.Try):
        tried = {name for statement in node.body for name in _out_of(statement)}
        rest = [*node.handlers, *node.orelse, *node.finalbody]
        caught = _caught(node)
        left = set() if caught & {"TallyError", "Exception"} else tried - caught
        return left | {name for part in rest for name in _out_of(part)}
    return {name for child in ast.iter_child_nodes(node) for name in _out_of(child)}


def _caught(node: ast.Try) -> set[str]:
    kinds = [handler.type for handler in node.handlers if handler.type is not None]
    return {
        name.split(".")[-1] for kind in kinds for name in ast.unparse(kind).strip("()").split(", ")
    }


def silent(name: str, tree: ast.Module, known: set[str]) -> Iterator[str]:
    for function, node in public(tree):
        said = ast.get_docstring(node) or ""
        decorators = " ".join(ast.unparse(one) for one in node.decorator_list)
        if ".command(" in decorators or ".group(" in decorators:
            continue  # its docstring is its --help, and its errors are exit codes
        what = raised(node, known)
        if what and not re.search(rf"\b[Rr]aises?\b|{'|'.join(what)}", said):
            yield f"{name} {function}"


def test_what_raises_says_so() -> None:
    found = list(sources())
    known = errors([tree for _, tree in found])
    assert [line for name, tree in found for line in silent(name, tree, known)] == []


def test_one_that_says_nothing_would_be_found() -> None:
    text = (
        "class OddError(BadInputError): pass\n"
        "def quiet():\n    'Does it.'\n    raise OddError('x')\n"
        "def says():\n    'Does it. Raises OddError.'\n    raise OddError('x')\n"
        "def _own(): raise OddError('x')\n"
        "def catches():\n    try: raise OddError('x')\n    except OddError: pass\n"
        "def again():\n    try: raise OddError('x')\n    except OddError: raise OddError('y')\n"
    )
    base = "class BadInputError(TallyError): pass\n"
    tree = ast.parse(text)
    assert list(silent("m.py", tree, errors([ast.parse(base), tree]))) == [
        "m.py quiet",
        "m.py again",
    ]
