"""Hunting mutants of a small program whose tests are known."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from tallystick.common.errors import BadInputError, ExitCode
from tallystick.emulator import boards
from tallystick.tools.campaign.mutants import command, contexts, cuts, patch, scope
from tallystick.tools.campaign.mutants.contexts import Contexts
from tallystick.tools.campaign.mutants.generate import mutants
from tallystick.tools.campaign.mutants.hunt import Hunter
from tallystick.tools.campaign.mutants.results import Result, Results, report
from tallystick.tools.campaign.mutants.tree import Tree, digest, listing

GUARD = """def _age():
    return 18


AGE = _age()


def allowed(age):
    return age >= 18


def count(limit):
    done = 0
    while done < limit:
        done += 1
    return done


def untested():
    return 1


def named(age=7):
    return age == AGE


LIMIT = 3
"""
SMALL = "def small(age):\n    return age < 3\n\n\ndef untested():\n    return 1\n"
TESTS = """from server.guard import LIMIT, allowed, count, named
from server.small import small


def test_small():
    assert small(2) and not small(5)


def test_old_enough():
    assert allowed(30) and not allowed(3)


def test_count():
    assert count(3) == 3


def test_named():
    assert named(18) and not named()


def test_limit():
    assert LIMIT == 3
"""


def planted(root):
    """A repository with one module and its tests."""
    for name, text in {
        "server/__init__.py": "",
        "server/guard.py": GUARD,
        "server/small.py": SMALL,
        "tests/test_guard.py": TESTS,
        "pyproject.toml": "[tool.pytest.ini_options]\npythonpath = ['.']\n",
        ".gitignore": "build/\n__pycache__/\n.pytest_cache/\n",
    }.items():
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    return root


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """(tree, its map)"""
    root = planted(tmp_path_factory.mktemp("planted"))
    assert contexts.record(root / "build/map", ("tests",), root)
    return root, Contexts.load(root / "build/map")


@pytest.fixture(scope="module")
def hunter(mapped):
    root, known = mapped
    tree = Tree(root)
    yield Hunter(tree, known, lambda board: {}, start_s=8.0)
    tree.close()


def mutant(change, function):
    found = mutants("server/guard.py", GUARD.encode())
    return next(one for one in found if (one.change, one.function) == (change, function))


def test_the_map_says_which_test_executes_a_line(mapped):
    _, known = mapped
    assert known.tests("server/guard.py", range(9, 10)) == ["tests/test_guard.py::test_old_enough"]
    assert known.tests("server/guard.py", range(15, 16)) == ["tests/test_guard.py::test_count"]
    assert not known.tests("server/guard.py", range(20, 21))


def test_a_map_that_is_not_there(tmp_path):
    with pytest.raises(BadInputError, match="no map"):
        Contexts.load(tmp_path)


def test_a_test_that_fails_by_itself_is_in_no_map(tmp_path):
    root = planted(tmp_path)
    (root / "tests/test_guard.py").write_text(
        TESTS + "\ndef test_no():\n    assert count(2) == 3\n"
    )
    assert not contexts.record(root / "build/map", ("tests",), root)
    known = Contexts.load(root / "build/map")
    assert not any("test_no" in test for test in known.seconds)


def test_what_a_test_notices_is_killed_by_it(hunter):
    found = hunter.hunt(mutant("return None", "allowed"))
    assert found.outcome == "killed" and found.by == "tests/test_guard.py::test_old_enough"


def test_functions_are_found_however_often_tests_are_imported(mapped, tmp_path):
    """What one import has brought is changed as well after the next one."""
    root, known = mapped
    (root / "tests/test_later.py").write_text("def test_later():\n    pass\n")
    tree = Tree(root)
    try:
        one = Hunter(tree, known, lambda board: {}, start_s=8.0)
        tree.warm(["tests/test_guard.py::test_count"])
        tree.warm(["tests/test_later.py::test_later"])
        assert one.hunt(mutant("return None", "allowed")).outcome == "killed"
    finally:
        tree.close()
        (root / "tests/test_later.py").unlink()


def test_what_no_test_notices_survives(hunter):
    found = hunter.hunt(mutant("age >= 18 → age > 18", "allowed"))
    assert (found.outcome, found.by) == ("survived", "1 tests pass")


def test_what_no_test_executes_survives(hunter):
    found = hunter.hunt(mutant("1 → 2", "untested"))
    assert (found.outcome, found.by) == ("survived", "no test executes it")


def test_a_test_that_fails_without_a_mutant_kills_none(mapped, tmp_path):
    """It passed when the map was made, and does not here."""
    root, _ = mapped
    (root / "tests/test_once.py").write_text(
        "from pathlib import Path\nfrom server.guard import allowed\n\n\n"
        "def test_once():\n    assert allowed(30)\n"
        f"    flag = Path({str(tmp_path / 'flag')!r})\n    assert not flag.exists()\n"
    )
    kept = tmp_path / "map"
    assert contexts.record(kept, ("tests",), root)
    (tmp_path / "flag").touch()
    tree = Tree(root)
    try:
        one = Hunter(tree, Contexts.load(kept), lambda board: {}, start_s=8.0)
        found = one.hunt(mutant("age >= 18 → age > 18", "allowed"))
        assert found.outcome == "survived", found.by
        found = one.hunt(mutant("return None", "allowed"))
        assert found.by == "tests/test_guard.py::test_old_enough"
    finally:
        tree.close()
        (root / "tests/test_once.py").unlink()


@pytest.mark.parametrize(
    ("change", "function", "outcome"),
    [
        ("18 → 17", "_age", "killed"),
        ("7 → 8", "named", "survived"),
        ("7 → 6", "named", "survived"),
        ("3 → 4", "", "killed"),
    ],
)
def test_what_runs_when_the_module_is_imported_is_hunted_by_its_tests(
    hunter, change, function, outcome
):
    found = hunter.hunt(mutant(change, function))
    assert found.outcome == outcome and found.by != "no test executes it"


def test_a_constant_is_hunted_by_whole_modules_of_tests(tmp_path):
    """One test imported it, and is only the first that did; another looks at nothing else."""
    (tmp_path / "server").mkdir()
    (tmp_path / "server/guard.py").write_text(GUARD)
    first, looks, other = "a.py::test_first", "a.py::test_looks", "b.py::test_other"
    limit = mutant("3 → 4", "")
    known = Contexts(
        seconds={first: 1, looks: 1, "a.py::test_wide": 1, other: 1, "c.py::test_none": 1},
        breadth={first: 9, looks: 0, "a.py::test_wide": 3, other: 1, "c.py::test_none": 0},
        by_line={("server/guard.py", limit.line): {first}, ("server/guard.py", 9): {other}},
    )
    asked = []

    class Passing:
        root = tmp_path

        def put(self, mutant):
            return b""

        def restore(self, mutant, before):
            pass

        def ask(self, patch=None, **request):
            asked.extend(request["tests"])
            return {"end": "passed", "by": ""}

    assert Hunter(Passing(), known, lambda board: {}).hunt(limit).outcome == "survived"
    assert asked == [other, first, looks, "a.py::test_wide"]


def test_a_case_that_is_not_there_any_more_kills_none(tmp_path):
    """Its name is made of what was changed; what would be kept is not tried by that."""
    root = planted(tmp_path)
    (root / "tests/test_guard.py").write_text(
        "import pytest\nfrom server.guard import LIMIT, count\n\n\n"
        "@pytest.mark.parametrize('limit', [LIMIT])\n"
        "def test_small(limit):\n    assert count(limit) < 4\n"
    )
    assert contexts.record(root / "build/map", ("tests",), root)
    tree = Tree(root)
    hunts = Hunter(tree, Contexts.load(root / "build/map"), lambda board: {}, start_s=8.0)
    found = [hunts.hunt(mutant(change, "")).outcome for change in ("3 → 2", "3 → 4")]
    tree.close()
    assert found == ["survived", "killed"]


def test_a_mutant_that_loops_is_ended(hunter):
    began = time.monotonic()
    loops = next(one for one in mutants("server/guard.py", GUARD.encode())
                 if one.statement == "done += 1" and one.change == "dropped")  # fmt: skip
    found = hunter.hunt(loops)
    assert (found.outcome, found.by) == ("killed", "it does not end")
    assert time.monotonic() - began < 120
    assert hunter.hunt(mutant("return None", "allowed")).outcome == "killed"  # and goes on


def test_the_users_sources_stay_as_they_are(mapped, hunter):
    root, _ = mapped
    before = digest(root)
    hunter.hunt(mutant("return None", "allowed"))
    assert digest(root) == before and (root / "server/guard.py").read_text() == GUARD
    assert (hunter.tree.root / "server/guard.py").read_text() == GUARD


def test_what_is_copied(mapped):
    root, _ = mapped
    assert listing(root) == [
        ".gitignore", "pyproject.toml", "server/__init__.py", "server/guard.py",
        "server/small.py", "tests/test_guard.py",
    ]  # fmt: skip


def test_without_a_checkout(tmp_path):
    with pytest.raises(BadInputError, match="no checkout"):
        listing(tmp_path)


def test_what_changes_the_map(tmp_path):
    """A test module, or a module that it executes; what it does not execute does not matter."""
    root = planted(tmp_path)
    kept = root / "build/map"
    files = {"server/guard.py", "server/small.py"}
    assert contexts.outdated(kept, files, {"tests"}, root) == ["tests"]
    assert contexts.record(kept, ("tests",), root, aside=True)
    assert contexts.outdated(kept, files, {"tests"}, root) == []
    (root / "server/small.py").write_text("# moved\n" + SMALL)
    assert contexts.outdated(kept, files, {"tests"}, root) == ["tests/test_guard.py"]
    assert contexts.outdated(kept, {"server/guard.py"}, {"tests"}, root) == []
    (root / "tests/test_new.py").write_text("def test_new():\n    pass\n")
    assert contexts.outdated(kept, {"server/guard.py"}, {"tests"}, root) == ["tests/test_new.py"]
    (root / "tests/test_guard.py").write_text(TESTS + "\n")
    assert contexts.outdated(kept, set(), set(), root) == ["tests/test_guard.py"]
    (root / "tests/test_guard.py").unlink()
    assert contexts.outdated(kept, set(), set(), root) == []
    assert not list(kept.glob("*guard*"))


# -- what is imported already ----------------------------------------------------------------------


def changed(before, after):
    return patch.changed(before, after, "m.py")


def test_what_can_be_changed_in_imported_functions():
    assert changed("def f(a):\n    return a\n", "def f(a):\n    return 1\n").keys() == {("f", 1)}
    inner = "class C:\n    def m(self, a):\n        return [b for b in a if b < 1]\n"
    assert ("C.m", 2) in changed(inner, inner.replace("< 1", "< 2"))
    for before, after in (
        ("A = 1\n", "A = 2\n"),
        ("def f(a=1):\n    return a\n", "def f(a=2):\n    return a\n"),
        ("class C:\n    a = 1\n", "class C:\n    a = 2\n"),
        ("@g(1)\ndef f():\n    pass\n", "@g(2)\ndef f():\n    pass\n"),
        ("def f():\n    pass\n", "pass\n\n"),
    ):
        assert changed(before, after) is None, after


def test_every_reference_to_a_function_sees_the_change():
    source = "def f(a):\n    return a < 3\n"
    room = {}
    exec(compile(source, "m.py", "exec"), room)
    kept, partly = room["f"], functools.partial(room["f"], 3)
    there = patch.functions()[os.path.realpath("m.py")]
    patch.put(there, changed(source, source.replace("<", "<=")))
    assert kept(3) and partly()


# -- the command -----------------------------------------------------------------------------------


@pytest.fixture
def there(mapped, monkeypatch, tmp_path):
    root, _ = mapped
    monkeypatch.chdir(root)
    monkeypatch.setattr(scope, "ROOT", root)
    monkeypatch.setattr(scope, "GUARDS", ("server",))
    monkeypatch.setattr(scope, "FIRMWARE", ())
    monkeypatch.setattr(scope, "MAP", root / "build/map")
    monkeypatch.setattr(scope, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(scope.files, "__defaults__", (None, root))
    return tmp_path / "kept"


def run(*arguments):
    asked = [*arguments, "--only", "server/small.py", "--jobs", "1", "--json"]
    done = CliRunner().invoke(command.mutants, asked)
    assert done.exit_code in (0, ExitCode.FAILED), done.output + repr(done.exception)
    return done.exit_code, json.loads(done.stdout)


def test_counts_add_up_and_a_second_run_has_nothing_left(there):
    code, first = run("--all")
    everything = len(mutants("server/small.py", SMALL.encode()))
    assert first["mutants"] == everything and first["left"] == 0
    assert first["killed"] + first["survived"] + first["equivalent"] == everything
    assert first["survived"] == len(first["survivors"]) > 0 and code == ExitCode.FAILED
    row = first["files"]["server/small.py"]
    assert {name: first[name] for name in row} == row
    lines = (there / "results.jsonl").read_text()
    assert run("--all") == (code, first)
    assert (there / "results.jsonl").read_text() == lines
    escaped = {one["change"] for one in first["survivors"]}
    assert escaped == {"age < 3 → age <= 3", "3 → 4", "1 → 2", "1 → 0", "return None"}
    assert {one["function"] for one in first["survivors"] if one["change"] == "return None"} == {
        "untested"
    }


def test_a_map_that_is_not_there_is_made(there, monkeypatch):
    monkeypatch.setattr(scope, "MAP", there / "map")
    monkeypatch.setattr(scope, "HOST_TESTS", (("server", "tests"),))
    _, none = run("--minutes", "0")
    assert none["left"] == none["mutants"] and list((there / "map").glob("*.json"))


def test_a_sample_ends_in_time(there):
    _, none = run("--minutes", "0")
    assert none["left"] == none["mutants"] and not none["survivors"]


def test_a_changed_tree_begins_anew(there, mapped):
    results = Results(there / "results.jsonl", "one tree")
    results.add(Result("abc", "survived", "2 tests pass"))
    assert Results(there / "results.jsonl", "one tree").found == results.found
    anew = Results(there / "results.jsonl", "another tree")
    assert not anew.found and anew.before == results.found
    anew.add(Result("def", "survived", "1 tests pass"))
    third = Results(there / "results.jsonl", "a third tree")  # the last run was of another file
    assert not third.found and set(third.before) == {"abc", "def"}
    assert set(Results(there / "results.jsonl", "a third tree").before) == {"abc", "def"}


def test_the_list_as_json(there):
    asked = ["--list", "--only", "server/small.py", "--json"]
    rows = json.loads(CliRunner().invoke(command.mutants, asked).stdout)["mutants"]
    assert len(rows) == len(mutants("server/small.py", SMALL.encode()))
    assert rows[0]["file"] == "server/small.py" and {"line", "change", "name"} <= set(rows[0])


def test_a_line_that_a_kill_has_cut_is_hunted_again(tmp_path):
    results = Results(tmp_path / "r", "tree")
    results.add(Result("abc", "killed", "t"))
    results.add(Result("def", "killed", "t"))
    path = tmp_path / "r"
    path.write_bytes(path.read_bytes()[:-7])
    assert set(Results(path, "tree").found) == {"abc"}


DRIVER = """
import sys
from pathlib import Path
from tallystick.tools.campaign.mutants import command, scope
root, kept = Path(sys.argv[1]), Path(sys.argv[2])
scope.ROOT, scope.GUARDS, scope.FIRMWARE = root, ("server",), ()
scope.MAP, scope.KEPT = root / "build/map", kept
scope.files.__defaults__ = (None, root)
command.mutants(["--all", "--only", "server/small.py", "--jobs", "1", "--json"])
"""


def test_a_run_that_was_killed_goes_on_where_it_was(there, mapped):
    """With kill -9, in the middle: what was found is not hunted again, and nothing is left out."""
    root, _ = mapped
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(root), str(there)], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    path = there / "results.jsonl"
    while process.poll() is None and not (path.exists() and path.read_text().count("\n") > 2):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = path.read_text().splitlines()[:2]
    _, found = run("--all")
    after = path.read_text().splitlines()
    assert after[:2] == before
    names = [json.loads(line)["name"] for line in after[1:]]
    assert len(names) == len(set(names)) == found["mutants"] and found["left"] == 0


def test_what_is_left_is_counted():
    found = mutants("server/guard.py", GUARD.encode())
    some = {found[0].name: Result(found[0].name, "killed", "t"),
            found[1].name: Result(found[1].name, "equivalent", "why")}  # fmt: skip
    counts = report(found, some)
    assert (counts["killed"], counts["equivalent"], counts["survived"]) == (1, 1, 0)
    assert counts["left"] == counts["mutants"] - 2


def test_every_module_of_the_firmware_is_tried_on_a_board_there_is():
    for file in scope.files():
        if file.startswith("firmware/"):
            assert boards.find(cuts.board_of(file)).name and scope.tests_of(file), file
        else:
            assert (scope.ROOT / scope.mapped_by(file)).is_dir(), file


def test_the_tests_of_the_firmware_are_there():
    for _, suites in scope.FIRMWARE_TESTS:
        assert all((scope.ROOT / test).exists() for tests in suites for test in tests)


def test_a_path_that_is_not_mutated():
    with pytest.raises(BadInputError, match="Nothing in docs is mutated"):
        scope.files("docs")
