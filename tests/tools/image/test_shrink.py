"""What the build does to a module: smaller, and the same."""

from __future__ import annotations

import ast
import re

import pytest

from tallystick.common.errors import BadInputError
from tallystick.tools import firmware
from tallystick.tools.image.shrink import shrink

SOURCE = '''"""A module."""
from micropython import const
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any
_SIZE = const(4)
_table = (1, 2)
class Thing:
    def __init__(self, size):
        self._size_left = size
        self.shown = _table[0]
    def _take(self, _pin):
        self._size_left -= _SIZE
        return self._size_left
    def take(self):
        return self._take(0)
'''


def test_it_does_the_same_on_the_same_lines():
    small = shrink(SOURCE, "thing.py")
    assert len(small.splitlines()) == len(SOURCE.splitlines())
    names = {"const": lambda value: value}
    exec(small.replace("from micropython import const", "pass"), names)
    assert names["Thing"](10).take() == 6
    assert "_size_left" not in small and "_take" not in small and "Any" not in small
    assert "_SIZE = const(4)" in small  # the compiler drops it
    assert "def take(self)" in small and "self.shown" in small


def test_two_modules_share_their_short_names():
    first = shrink("def _one():\n    return 1\n", "a.py")
    second = shrink("def _another():\n    return 2\n", "b.py")
    assert re.search(r"def (\w+)", first)[1] == re.search(r"def (\w+)", second)[1]


def test_another_modules_private_name_is_refused():
    with pytest.raises(BadInputError, match="line 2, uses _flash, which is private"):
        shrink("def size(journal):\n    return journal._flash.SECTORS\n", "a.py")


def test_names_that_are_short_already_do_not_collide():
    small = shrink("_a = 1\ndef _long():\n    return _a\n", "a.py")
    names = {}
    exec(small, names)
    function = next(value for value in names.values() if callable(value))
    assert function() == 1


# Without what MicroPython's own build freezes, and what only a checker of types reads.
ELSEWHERE = {"micropython", "typed"}
MODULES = [
    path for path in sorted(firmware.root().rglob("*.py")) if ELSEWHERE.isdisjoint(path.parts)
]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_every_module_of_the_firmware_parses_after_it(path):
    before, after = ast.parse(path.read_text()), ast.parse(shrink(path.read_text(), path.name))
    kept = [type(node) for node in ast.walk(after)]
    assert len(kept) <= len([type(node) for node in ast.walk(before)])
    assert not re.search(r"(?<!f)[\"']\{_", path.read_text())  # no private name inside an f-string
