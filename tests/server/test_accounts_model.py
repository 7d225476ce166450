"""The model of accounts, bounded: on both databases, and against some of the broken servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from click.testing import CliRunner
from hypothesis.errors import FlakyFailure

from tallystick.common.errors import BadInputError
from tallystick.server.accounts.credentials import Role
from tallystick.server.services import oidc as provider
from tallystick.server.services import radius
from tallystick.server.signing_in import second, stepup
from tallystick.tools.campaign.server import accounts_zoo, playing, town
from tallystick.tools.campaign.server.accounts import accounts, run
from tallystick.tools.campaign.server.accounts_zoo import ZOO, BrokenServer
from tallystick.tools.campaign.server.model import AccountsModel, AccountViolation
from tallystick.tools.campaign.server.playing import chunk
from tallystick.tools.campaign.server.town import MAX_FAILURES, Live, live_server

# One of each kind; `tally campaign accounts` has them all.
SOME = ("recovered-serves", "radius-any-name", "reset-first", "makes-people")


@contextmanager
def in_a_town_of(live: Live) -> Iterator[AccountsModel]:
    """The model, for a test to say what happens."""
    model = type("OneTown", (AccountsModel,), {"live": live})()
    model.move_in()
    try:
        yield model
    finally:
        model.teardown()


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
@pytest.mark.parametrize(
    ("where", "name", "instead", "rule"),
    [
        (second, "_judge", lambda *_: 1 / 0, "sign_in"),  # a page says that the server failed
        (radius, "Way", lambda *_, **__: 1 / 0, "vpn_challenge"),  # nothing is answered
        (provider, "_tokens", lambda *_: {"id_token": "none"}, "end"),  # that is no token
    ],
)
def test_a_server_that_only_fails_is_not_caught(monkeypatch, where, name, instead, rule):
    """That it is broken shows; whether the model would have seen what is wrong with it does not."""
    animal = BrokenServer("fails", "it fails", lambda: [(where, name, instead)], (rule,))
    monkeypatch.setattr(town, "ANSWER_S", 0.5)
    monkeypatch.setattr(accounts_zoo, "ZOO", (animal,))
    result = run(steps=1, seed=3)
    assert (result.planted, result.caught, result.clean) == (1, 0, False)
    assert result.missed[0].startswith("fails: ") and "AccountViolation" not in result.missed[0]


@pytest.mark.slow
def test_each_seed_is_another_run():
    """Left to itself, hypothesis begins with the simplest one, and that is always the same."""
    with live_server() as live:
        steps = {chunk(live, 1, 4, seed)[0] for seed in range(5)}
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
def test_whoever_has_one_thing_more_is_no_violation():
    """A sheet, or a card of the desk's: the help desk voids what it sees, whatever it is."""
    with live_server() as live:
        for more, values, then in (
            ("backup_codes", {}, "wander"),
            ("hand_out_by_credential", {"role": Role.DESK}, "enrol"),
            ("hand_out_by_credential", {"role": Role.STATION}, "wait"),
            ("agree_elsewhere", {}, "enrol"),  # a request waits already
        ):
            with in_a_town_of(live) as model:
                getattr(model, more)(name="ann", **values)
                model.help_desk(name="ann", everything=True, late=False, then=then)


@pytest.mark.slow
@pytest.mark.parametrize("role", [Role.DESK, Role.STATION])
def test_a_card_that_thieves_guessed_at_is_no_violation(role):
    """Each tries to recover by a card that was handed out, which is a guess at the owner's."""
    with live_server() as live, in_a_town_of(live) as model:
        model.vpn_appended(name="ann", times=1)  # her own card is confirmed: it may recover
        for _ in range(MAX_FAILURES):
            model.hand_out_by_credential(name="ann", role=role)
        model.vpn_appended(name="ann", times=1)


@pytest.mark.parametrize("act", ["people", "policy", "card"])
def test_what_a_stale_session_must_not_do_is_done_by_a_fresh_one(act, monkeypatch):
    """Else its refusal would say nothing."""
    monkeypatch.setattr(stepup, "FRESH_S", 10**6)
    with live_server() as live, in_a_town_of(live) as model, pytest.raises(AccountViolation):
        model.stale_staff(act=act)


@pytest.mark.slow
def test_several_processes_play_different_runs(tmp_path):
    state = tmp_path / "state.json"
    done = run(steps=120, seed=6, zoo=False, jobs=2, state=state)
    assert done.found == [] and done.steps >= 120 and done.runs >= 2
    again = run(steps=done.steps + 1, zoo=False, jobs=2, state=state)
    assert again.runs > done.runs and again.seed == 6


def test_a_run_is_noted_when_it_is_handed_out(tmp_path, monkeypatch):
    """What a call that was killed had begun is not done again by the next."""
    state, seen = tmp_path / "state.json", []

    def play(live, runs, acts, seed, only=()):
        seen.append(seed)
        noted = json.loads(state.read_text())["runs"] if state.exists() else 0
        assert noted >= len(seen) - 1
        return 10, "" if seed != 8 else "found"

    monkeypatch.setattr(playing, "chunk", play)
    monkeypatch.setattr(playing.Served, "live", lambda served: None)
    first = run(steps=25, seed=7, zoo=False, state=state)
    run(steps=50, zoo=False, state=state)
    assert seen == [7, 8, 9, 10, 11] and first.found == ["8: found"]


def test_what_did_not_come_again_is_told(monkeypatch):
    def flaky(machine, settings):
        raise FlakyFailure("Inconsistent results", [TimeoutError("nobody answers\nin time")])

    monkeypatch.setattr("hypothesis.stateful.run_state_machine_as_test", flaky)
    _, found = chunk(None, 1, 1, 7)
    assert found == "TimeoutError: nobody answers (not seen again)"


@pytest.mark.slow
def test_the_command_says_what_it_counted():
    done = CliRunner().invoke(accounts, ["--json", "--no-zoo", "--steps", "5", "--seed", "4"])
    told = json.loads(done.stdout)
    assert done.exit_code == 0
    assert {"steps", "violations", "planted", "caught"} <= told.keys()
    assert told["steps"] >= 5 and told["violations"] == told["planted"] == told["caught"] == 0


def test_a_line_is_told_act_by_act(monkeypatch):
    """Of a server that is broken, what somebody did; of one that is not, nothing."""
    lost = next(one for one in ZOO if one.name == "found-as-before")
    told = playing.told
    monkeypatch.setattr(playing, "told", lambda live, seed: told(live, seed, lost.looked_for))
    with lost.let_loose():
        done = CliRunner().invoke(accounts, ["--replay", "0", "--json"])
    assert done.exit_code == 1
    answer = json.loads(done.stdout)
    assert answer["seed"] == 0 and answer["found"].startswith(playing.JUDGEMENT)
    assert answer["acts"][0].startswith("settle(") and len(answer["acts"]) > 1
    assert answer["acts"][-1].startswith("lost_and_found(")
    done = CliRunner().invoke(accounts, ["--replay", "0"])
    assert done.exit_code == 0 and done.stdout.strip() == "nothing that may never follow"
