"""Fixtures of one name mean one thing: what a `conftest.py` gives, none other gives differently."""

import ast
from collections import defaultdict

from tests.house import sources

# Name → why it stands more than once.
TWICE = {
    "custody": "the development keys of a firm, wherever a station is at work",
    "server": "a running server: the plugin's in a process of its own, its own tests' in a thread",
}


def _is_fixture(node: ast.FunctionDef) -> bool:
    return any("pytest.fixture" in ast.unparse(one) for one in node.decorator_list)


def shared() -> dict[str, list[str]]:
    """Fixtures of the plugin and of every `conftest.py` → where they are defined."""
    found: dict[str, list[str]] = defaultdict(list)
    plugin = sources.ROOT / "tallystick/testing/plugin.py"
    for path in (plugin, *sorted((sources.ROOT / "tests").rglob("conftest.py"))):
        for node in sources.parsed(path).body:
            if isinstance(node, ast.FunctionDef) and _is_fixture(node):
                found[node.name].append(str(path.relative_to(sources.ROOT)))
    return found


def test_a_shared_fixture_stands_once() -> None:
    twice = {name: places for name, places in shared().items() if len(places) > 1}
    new = {name: places for name, places in twice.items() if name not in TWICE}
    assert new == {}, "give each a name of its own"
    assert set(TWICE) - set(twice) == set(), "these stand once: take them from the list"
