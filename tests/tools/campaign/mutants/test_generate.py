"""Which mutants there are of a source, and what names them."""

from __future__ import annotations

import ast

import pytest

from tallystick.common.errors import BadInputError
from tallystick.tools.campaign.mutants import scope
from tallystick.tools.campaign.mutants.equivalent import Equivalents
from tallystick.tools.campaign.mutants.generate import mutants
from tallystick.tools.campaign.mutants.refusals import judge, reasoned, refusals


def changes(text: str) -> list[str]:
    return [mutant.change for mutant in mutants("m.py", text.encode())]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("a < b", {"a < b → a <= b", "a < b → a > b"}),
        ("a >= b", {"a >= b → a > b", "a >= b → a <= b"}),
        ("a == b", {"a == b → a != b"}),
        ("a is None", {"a is None → a is not None"}),
        ("a in b", {"a in b → a not in b"}),
        ("a and b", {"a and b → a or b"}),
        ("not a", {"not a → a"}),
        ("a + b", {"a + b → a - b"}),
        ("a << b", {"a << b → a >> b"}),
        ("a & b", {"a & b → a | b"}),
        ("7", {"7 → 8", "7 → 6"}),
        ("0", {"0 → 1"}),
        ("True", {"True → False"}),
        ("0xFFFF", {"65535 → 65536", "65535 → 65534", "65535 → 255"}),
        ("'<HQ'", {"'<HQ' → '<BQ'", "'<HQ' → '<HI'"}),
        ("a[b:c]", {"a[b:c] → a[b:c - 1]", "a[b:c] → a[b + 1:c]"}),
        ("range(a)", {"range(a) → range(a - 1)"}),
        ("a if b else c", {"b → True", "b → False"}),
        ("'text'", set()),
        ("f'{a + 1}'", set()),
        ("'a' + b", set()),
    ],
)
def test_what_is_changed_in_an_expression(expression, expected):
    assert set(changes(f"x = {expression}\n")) == expected


def test_what_is_changed_in_statements():
    text = (
        "def f(a) -> bool:\n"
        "    a += 1\n"
        "    call(a)\n"
        "    if a:\n"
        "        raise Error\n"
        "    for b in a:\n"
        "        break\n"
        "    try:\n"
        "        call(b)\n"
        "    except OSError:\n"
        "        return None\n"
        "    return ok(a)\n"
    )
    found = changes(text)
    for wanted in (
        "dropped", "a -= 1", "after: call(a)", "a → False", "a → True", "continue", "not caught",
        "return True", "return False", "1 → 2",
    ):  # fmt: skip
        assert wanted in found, wanted
    assert found.count("dropped") == 4  # +=, call, raise, call


def test_what_nobody_would_notice_is_no_mutant():
    text = (
        "from typing import cast\n"
        "TYPE_CHECKING = False\n"
        "if TYPE_CHECKING:\n    x = 1\n"
        "def f():\n"
        '    """Says 1."""\n'
        "    assert 1 < 2\n"
        "    a = b\n"
        "    c = d\n"
    )
    assert set(changes(text)) == {"dropped"}  # the two do not touch one another: no order


def test_a_statement_that_cannot_go_is_no_mutant():
    text = "def f():\n    a = g()\n    def h():\n        nonlocal a\n        a = 2\n    return h\n"
    assert all(mutant.line != 2 for mutant in mutants("m.py", text.encode()))


MODULES = [file for file in scope.files() if file.count("/") < 3][::20]


@pytest.mark.parametrize("file", MODULES)
def test_every_mutant_is_another_program_of_as_many_lines(file):
    source = (scope.ROOT / file).read_bytes()
    found = mutants(file, source)
    assert len({mutant.name for mutant in found}) == len(found)
    original = ast.dump(ast.parse(source))
    for mutant in found[::5]:
        assert mutant.text.count(b"\n") == source.count(b"\n")
        assert ast.dump(ast.parse(mutant.text)) != original
        assert 1 <= mutant.line <= mutant.until <= source.count(b"\n") + 1


def test_a_mutant_keeps_its_name_when_lines_come_and_go():
    text = "def f(a):\n    x = a < 1\n    y = a < 1\n    return x\n"
    before = mutants("m.py", text.encode())
    after = mutants("m.py", b"# a comment\n\nZ = None\n" + text.replace("(a)", "(a, *z)").encode())
    assert [one.name for one in before] == [one.name for one in after]
    assert [one.line + 3 for one in before] == [one.line for one in after]
    assert [one.nth for one in before if one.change == "a < 1 → a <= 1"] == [0, 0]


def test_text_that_is_not_ascii():
    found = mutants("m.py", 'x = "ä", a < b  # ö\n'.encode())
    assert found[0].text.decode() == 'x = "ä", (a <= b)  # ö\n'


# -- equivalents ---------------------------------------------------------------------------------

TEXT = b"def f(a):\n    x = a < 1\n"


def entry(**change):
    whole = {"file": "m.py", "function": "f", "statement": "x = a < 1",
             "change": "a < 1 → a <= 1", "nth": 0, "reason": "nobody reads x"}  # fmt: skip
    return {**whole, **change}


def kept(tmp_path, *entries):
    import json

    path = tmp_path / "equivalent.json"
    path.write_text(json.dumps(entries))
    return path


def test_an_equivalent_fits_its_mutant_wherever_it_moves(tmp_path):
    found = Equivalents.load(kept(tmp_path, entry()))
    moved = mutants("m.py", b"# more\n" + TEXT)
    found.check(moved)
    assert [one.change for one in moved if one.key in found.reasons] == ["a < 1 → a <= 1"]


@pytest.mark.parametrize(
    "change", [{"function": "g"}, {"statement": "x = a < 2"}, {"change": "dropped!"}, {"nth": 1}]
)
def test_an_equivalent_that_fits_nothing_is_an_error(tmp_path, change):
    found = Equivalents.load(kept(tmp_path, entry(**change)))
    with pytest.raises(BadInputError, match="is not there any more"):
        found.check(mutants("m.py", TEXT))


def test_an_equivalent_of_a_file_that_is_not_asked_about(tmp_path):
    Equivalents.load(kept(tmp_path, entry(file="other.py"))).check(mutants("m.py", TEXT))


@pytest.mark.parametrize("bad", [entry(reason=" "), {"file": "m.py"}, entry(more=1)])
def test_an_equivalent_needs_its_reason(tmp_path, bad):
    with pytest.raises(BadInputError, match="malformed"):
        Equivalents.load(kept(tmp_path, bad))


def test_an_equivalent_stands_there_once(tmp_path):
    with pytest.raises(BadInputError, match="twice"):
        Equivalents.load(kept(tmp_path, entry(), entry(reason="again")))


def test_the_committed_ones_fit():
    found = Equivalents.load()
    for file in {key[0] for key in found.reasons}:
        found.check(mutants(file, (scope.ROOT / file).read_bytes()))


# -- refusals ------------------------------------------------------------------------------------

GUARD = """
def f(a):
    if a:
        raise BadInputError("no")
    try:
        g()
    except OSError:
        raise
    if h:
        return ApiError(403, "no")
    if i:
        return _reject("no")
    if j:
        return Judgement(Reason.WRONG, state)
    raise NotImplementedError
class C:
    def m(self):
        raise AssertionError("unreachable")
    def n(self):
        raise Denied(
            "no",
        )
        return error
"""


def test_what_a_refusal_is():
    found = [(one.function, one.text) for one in refusals("m.py", GUARD)]
    assert found == [
        ("f", "raise BadInputError('no')"),
        ("f", "return ApiError(403, 'no')"),
        ("f", "return _reject('no')"),
        ("f", "return Judgement(Reason.WRONG, state)"),
        ("C.n", "raise Denied('no')"),
    ]


class Executed:
    def __init__(self, *lines):
        self._lines = set(lines)

    def tests(self, file, lines):
        return ["a test"] if self._lines & set(lines) else []


def test_a_refusal_that_no_test_executes_is_named_unless_there_is_a_reason():
    there = refusals("m.py", GUARD)
    lines = [one.lines.start for one in there]
    missing, stale = judge(there, Executed(*lines[1:]), {})
    assert [one.text for one in missing] == ["raise BadInputError('no')"] and not stale
    reasons = {there[0].key: "cannot happen"}
    assert judge(there, Executed(*lines[1:]), reasons) == ([], [])
    assert judge(there, Executed(*lines), reasons) == ([], [there[0].key])
    gone = {("m.py", "f", "raise Gone", 0): "old"}
    assert judge(there, Executed(*lines), gone)[1] == list(gone)


def test_the_committed_reasons_are_whole():
    assert all(reasoned().values())
