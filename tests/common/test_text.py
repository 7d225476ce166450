"""Text is UTF-8 whatever the user's locale: the hash of an image depends on it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ["tallystick/cli", "tallystick/client", "tallystick/common", "tallystick/testing"]
ROOMS += ["emulator", "provisioning", "server", "tools", ".ci"]
TEXT = {"read_text", "write_text"}


def _of_the_locale(source: str) -> Iterator[int]:
    """Lines with a call that reads or writes text in whatever encoding the locale has."""
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        words = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        name = ast.unparse(call.func)
        method = name.rpartition(".")[2]
        modes = [
            argument.value
            for argument in call.args[:2]
            if isinstance(argument, ast.Constant) and argument.value in {"r", "w", "a", "x", "r+"}
        ]
        text = (
            method in TEXT
            or words.get("text") == "True"
            or (name == "open" and (modes or len(call.args) == 1))
            or (method in {"open", "fdopen", "NamedTemporaryFile"} and modes)
        )
        if text and "encoding" not in words:
            yield call.lineno


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("path.read_text()", True),
        ("path.read_text(encoding='utf-8')", False),
        ("path.open('a')", True),
        ("path.open('rb')", False),
        ("open(path)", True),
        ("open(path, 'w')", True),
        ("open(path, 'wb')", False),
        ("station.open()", False),
        ("os.fdopen(descriptor, 'w')", True),
        ("subprocess.run(command, text=True)", True),
        ("subprocess.run(command, text=True, encoding='utf-8')", False),
    ],
)
def test_the_search_finds_what_it_is_to_find(source: str, found: bool) -> None:
    assert bool(list(_of_the_locale(source))) == found


def test_no_text_depends_on_the_locale() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
        if "port" not in path.parts  # MicroPython's
        for line in _of_the_locale(path.read_text(encoding="utf-8"))
    ]
    assert found == []
