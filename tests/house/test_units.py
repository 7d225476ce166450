"""A quantity that is public says its unit: in its name, or in the docstring."""

import ast
import re
from collections.abc import Iterator

from tests.house import sources

_NAME = re.compile(
    r"_(ms|us|ns|s|mm|mv|ma|ua|uah|mah|mw|uas|hz|ohm|c|per_\w+|years|days|hours|bytes|share|rate)$"
    r"|^(now|hz|seconds|ms|us|ns|score|share|rate|ratio|factor)$"
)
_WORD = re.compile(
    r"\b(ms|µs|ns|s|seconds?|minutes|hours|days|years|bytes|KiB|mV|mA|µA|µAh|mAh|mW|k?Hz|MHz|Ω|°C|"
    r"baud|bits|pixels?|0 to 1|0 \([^)]*\) to 1|fraction|per cent|unit|units)\b"
)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def public(tree: ast.Module) -> Iterator[tuple[str, Function, str]]:
    """(name, function, what its class says)"""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            said = ast.get_docstring(node) or ""
            for one in node.body:
                if isinstance(one, Function) and not one.name.startswith("_"):
                    yield f"{node.name}.{one.name}", one, said
        elif isinstance(node, Function) and not node.name.startswith("_") and not _command(node):
            yield node.name, node, ""


def _command(function: Function) -> bool:
    """Its options have a `--help` of their own."""
    return any(".option(" in ast.unparse(one) for one in function.decorator_list)


def silent(tree: ast.Module) -> Iterator[str]:
    """Functions with a `float` of no unit: `now` is seconds since 1970, everywhere."""
    for name, function, of_class in public(tree):
        said = f"{ast.get_docstring(function) or ''} {of_class}"
        for one in [*function.args.args, *function.args.kwonlyargs]:
            kind = ast.unparse(one.annotation) if one.annotation else ""
            plain = kind in ("float", "float | None")
            setter = any(ast.unparse(one).endswith(".setter") for one in function.decorator_list)
            named = re.search(rf"\b{one.arg}\b", said) and _WORD.search(said)
            if plain and not setter and not _NAME.search(one.arg) and not named:
                yield f"{name}({one.arg})"
        returns = ast.unparse(function.returns) if function.returns else ""
        known = _NAME.search(function.name) or _WORD.search(said)
        if returns in ("float", "float | None") and not known:
            yield f"{name} → {returns}"


def test_every_public_quantity_says_its_unit() -> None:
    assert [
        f"{path.relative_to(sources.ROOT)}: {line}"
        for path in sources.files()
        for line in silent(sources.parsed(path))
    ] == []


def test_one_that_says_none_would_be_found() -> None:
    text = (
        "def draw(charge: float) -> None: ...\n"
        "def pull(charge_uah: float) -> None: ...\n"
        "def push(charge: float) -> None:\n    'charge: in µAh.'\n"
        "class Cell:\n    'Voltages in mV.'\n    def open(self) -> float: ...\n"
        "def left() -> float:\n    'What is left.'\n"
    )
    assert list(silent(ast.parse(text))) == ["draw(charge)", "left → float"]
