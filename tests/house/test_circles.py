"""No module imports itself over others, at run time or for its types."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.house import sources


def _name(path: Path) -> str:
    parts = path.relative_to(sources.ROOT).with_suffix("").parts
    whole = parts if parts[0] == "tallystick" else ("tallystick", *parts)
    return ".".join(whole).removesuffix(".__init__")


def imported(tree: ast.Module, known: set[str]) -> set[str]:
    """Modules of ours that a module imports anywhere, types included. A package stands for what its
    `__init__` has."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in known else node.module)
    return found & known


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of one circle, in order; none when there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_circle_between_modules() -> None:
    paths = {
        _name(path): path
        for path in sources.files()
        if "port" not in path.relative_to(sources.ROOT).parts
    }
    graph = {
        name: imported(sources.parsed(path), set(paths)) - {name} for name, path in paths.items()
    }
    assert len(graph) > 400
    assert circle(graph) == []


@pytest.mark.parametrize(
    "other",
    [
        "from one import a",
        "def f():\n    import one",
        "if TYPE_CHECKING:\n    from one import A",
        "import three",
    ],
)
def test_a_circle_is_found(other: str) -> None:
    texts = {"one": "from two import b", "two": other, "three": "from one import c"}
    graph = {name: imported(ast.parse(text), set(texts)) for name, text in texts.items()}
    assert {"one", "two"} <= set(circle(graph))
