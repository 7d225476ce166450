"""The model of accounts, bounded: on both databases, and against some of the broken servers."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from tallystick.common.errors import BadInputError
from tallystick.tools.campaign.server.accounts import _chunk, accounts, run
from tallystick.tools.campaign.server.accounts_zoo import ZOO
from tallystick.tools.campaign.server.model import AccountsModel
from tallystick.tools.campaign.server.town import live_server

# One of each kind; `tally campaign accounts` has them all.
SOME = ("recovered-serves", "radius-any-name", "reset-first", "makes-people")


@pytest.mark.slow
def test_nothing_follows_that_may_not_on_sqlite():
    result = run(steps=250, seed=1, zoo=False)
    assert result.found == [] and result.steps >= 250 and result.database == "sqlite"


@pytest.mark.slow
def test_nothing_follows_that_may_not_on_postgresql(postgresql):
    result = run(steps=150, seed=2, zoo=False, db=postgresql.new_database())
    assert result.found == [] and result.steps >= 150 and result.database == "postgresql"


@pytest.mark.slow
@pytest.mark.parametrize("name", SOME)
def test_broken_servers_are_caught(name):
    result = run(steps=1, seed=3, animals=frozenset({name}))
    assert (result.planted, result.caught, result.missed) == (1, 1, [])


@pytest.mark.slow
def test_each_seed_is_another_run():
    """Left to itself, hypothesis begins with the simplest one, and that is always the same."""
    with live_server() as live:
        steps = {_chunk(live, 1, 4, seed)[0] for seed in range(5)}
    assert len(steps) > 1


def test_the_zoo_names_rules_that_there_are():
    assert len(ZOO) >= 20 and len({one.name for one in ZOO}) == len(ZOO)
    assert {rule for one in ZOO for rule in one.looked_for} <= set(AccountsModel.rule_names())


def test_every_patch_fits_and_is_taken_back():
    """Each replaces something that is there, and nothing of it stays."""
    for one in ZOO:
        before = [getattr(owner, name) for owner, name, _ in one.patches()]
        with one.let_loose():
            inside = [getattr(owner, name) for owner, name, _ in one.patches()]
            assert all(a is not b for a, b in zip(before, inside, strict=True)), one.name
        assert [getattr(owner, name) for owner, name, _ in one.patches()] == before, one.name


@pytest.mark.slow
def test_a_campaign_goes_on_from_where_it_was_stopped(tmp_path):
    state = tmp_path / "state.json"
    first = run(steps=1, seed=5, zoo=False, state=state)
    again = run(steps=first.steps, zoo=False, state=state)
    assert (again.steps, again.seed) == (first.steps, 5)  # there was nothing left to do
    further = run(steps=first.steps + 1, zoo=False, state=state)
    assert further.steps > first.steps and further.seed == 5
    state.write_text("{}")
    with pytest.raises(BadInputError):
        run(steps=1, zoo=False, state=state)


@pytest.mark.slow
def test_the_command_says_what_it_counted():
    done = CliRunner().invoke(accounts, ["--json", "--no-zoo", "--steps", "5", "--seed", "4"])
    told = json.loads(done.stdout)
    assert done.exit_code == 0
    assert {"steps", "violations", "planted", "caught"} <= told.keys()
    assert told["steps"] >= 5 and told["violations"] == told["planted"] == told["caught"] == 0
