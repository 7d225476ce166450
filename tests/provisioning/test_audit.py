"""The audit log: every edit of it is found."""

from __future__ import annotations

import json
import sqlite3

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tallystick.common.errors import RefusedError
from tallystick.provisioning.audit import SCHEMA, append, export, verify
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.cli import station
from tallystick.provisioning.journal import StationJournal
from tallystick.provisioning.steps import Plan, Provisioner
from tests.provisioning.conftest import URL
from tests.provisioning.memory_card import MemoryLink
from tests.provisioning.memory_registry import MemoryRegistry


def log(count):
    database = sqlite3.connect(":memory:")
    database.executescript(SCHEMA)
    for number in range(count):
        append(database, 1000.0 + number, "ada", "card locked", f"TS{number:08d}", "détail")
    lines = list(export(database))
    database.close()
    return lines


def test_a_sound_log():
    lines = log(5)
    verdict = verify(lines)
    assert verdict.problems == () and verdict.entries == 5
    assert verify(lines, verdict.head).problems == ()


def test_an_empty_log():
    assert verify([]).problems == ()


@given(st.data())
def test_removed(data):
    lines = log(6)
    at = data.draw(st.integers(0, 5))
    head = verify(lines).head
    del lines[at]
    assert verify(lines, head).problems
    assert verify(lines).problems or at == 5, "only a cut end needs the head"


@given(st.data())
def test_reordered(data):
    lines = log(6)
    shuffled = data.draw(st.permutations(lines).filter(lambda order: order != lines))
    assert verify(shuffled).problems


@given(st.data())
def test_changed(data):
    lines = log(4)
    at = data.draw(st.integers(0, 3))
    entry = json.loads(lines[at])
    name = data.draw(st.sampled_from(sorted(entry)))
    entry[name] = data.draw(
        st.one_of(st.text(), st.integers(), st.none()).filter(lambda value: value != entry[name])
    )
    lines[at] = json.dumps(entry)
    assert verify(lines).problems


def test_an_entry_put_in():
    lines = log(4)
    lines.insert(2, log(3)[2])
    assert verify(lines).problems


def test_rewritten_as_a_whole_needs_the_head():
    head = verify(log(4)).head
    assert verify(log(5)).problems == ()
    assert verify(log(5), head).problems


def test_the_table_is_append_only(journal):
    journal.note("keys created", "keys.json")
    for statement in ("DELETE FROM audit", "UPDATE audit SET who = 'eve'"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            journal._database.execute(statement)


def test_a_card_leaves_its_trace_and_no_secret(memory_card, custody, tmp_path):
    journal = StationJournal(tmp_path / "j.db", who="ada", now=lambda: 5.0)
    provisioner = Provisioner(custody, MemoryRegistry(), journal, Plan(), URL)
    provisioner.provision(CardConnection(MemoryLink(memory_card)), lambda s, n: None)
    lines = journal.audit_log()
    journal.close()
    acts = [json.loads(line)["act"] for line in lines]
    assert acts == [
        "card authentic",
        "seed made",
        "card seeded",
        "card verified",
        "card registered",
        "card locked",
    ]
    assert {json.loads(line)["who"] for line in lines} == {"ada"}
    assert memory_card.seed.hex() not in "".join(lines)


def test_commands(tmp_path):
    path = tmp_path / "j.db"
    journal = StationJournal(path)
    journal.note("keys created", "keys.json")
    journal.note("enrolled", "http://localhost")
    journal.close()
    runner = CliRunner()
    exported = runner.invoke(station, ["audit", "export", "--journal", str(path)])
    assert exported.exit_code == 0 and len(exported.stdout.splitlines()) == 2
    assert "head" in exported.stderr
    checked = runner.invoke(station, ["audit", "verify", "-", "--json"], input=exported.stdout)
    assert checked.exit_code == 0 and json.loads(checked.stdout)["entries"] == 2
    broken = exported.stdout.replace("enrolled", "enrolleD")
    checked = runner.invoke(station, ["audit", "verify", "-"], input=broken)
    assert isinstance(checked.exception, RefusedError) and "line 2 was changed" in checked.stderr
