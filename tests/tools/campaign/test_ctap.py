"""The model of CTAP, run against the firmware: a sample of what `tally campaign ctap` does.

`make campaign` walks all of it and hunts all of the zoo.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from tallystick.cli import tally
from tallystick.emulator.interpreter import resident
from tallystick.tools.campaign.commands.zoo import find, hunt
from tallystick.tools.campaign.ctap.alphabet import CHANCE, LARGE, LETTERS, REDUCED, probe
from tallystick.tools.campaign.ctap.animals import ANIMALS
from tallystick.tools.campaign.ctap.walk import Walker, WalkPlan, WalkTally
from tallystick.tools.campaign.engine.subject import image_under_test
from tests.whole import WHOLE

# name → the shortest way on which it is caught.
CAUGHT = {
    "ctap-stolen-touch": "A finger-token,B assert-nobody",
    "ctap-uncounted-try": "A short-pin",
    "ctap-never-blocks": "A wrong-pin,A wrong-pin,A wrong-pin",
    "ctap-restart-forgets": "A wrong-pin,restart",
    "ctap-any-channel": "A assert,B next",
    "ctap-everlasting": "A assert,wait,A next",
    "ctap-survives-others": "A pin-token,A credentials,A delete,A next-credential",
    "ctap-finger-configures": "A finger-config",
    "ctap-forced-change-keeps-tokens": "A pin-token,A force,A force",
    "ctap-forced-change-not-for-fingers": "A pin-token,A force,A finger-token",
    "ctap-reset-keeps-token": "A pin-token,A reset,A enrol",
    "ctap-reset-any-time": "wait,A reset-nobody",
    "ctap-reset-untouched": "A reset-nobody",
    "ctap-token-for-many": "A pin-token,A assert-token,A assert-token",
    "ctap-presence-for-ever": "A finger-token,A credentials,wait,A assert-token-nobody",
    "ctap-any-party": "A pin-token,A assert-elsewhere",
    "ctap-any-permission": "A pin-token-any,A assert-token",
    "ctap-old-token-lives": "A pin-token,B pin-token-any,A credentials",
    "ctap-free-fingers": "A finger-token-stranger",
    "ctap-enrolment-of-any-channel": "A pin-token,A enrol,B pin-token,B sample",
    "ctap-enrolment-spoiled": "A pin-token,A enrol,B select,A sample",
    "ctap-protection-ignored": "A assert",
    "ctap-names-told": "A assert",
    "ctap-cable-unseen": "cable",
    "ctap-finger-before": "finger,A select-nobody",
    "ctap-always-uv-ignored": "A pin-token,A always,B assert",
    "ctap-true-is-one": "A key by true",
    "ctap-any-offset": "A pin-token,A fragment,A fragment-elsewhere",
    "ctap-looks-and-deletes": "A look-token,A look-delete",
    "ctap-looks-for-ever": "A look-token,A change-pin,A look-credentials",
    "ctap-looks-after-force": "A look-token,A pin-token,A force,A look-credentials",
    "ctap-looks-and-more": "A look-token-more",
    "ctap-length-told-to-all": "A pin-token,A make-extended",
    "ctap-blob-cut": "A pin-token,A make-blob-long",
    "ctap-one-secret": "A pin-token,A make-extended,A pin-token,A assert-extended",
    "ctap-fingers-uncounted": "A finger-token",
    "ctap-cannot-be-cancelled": "A select-nobody",
    "ctap-begins-anew-and-goes-on": "A assert,A begin-anew,A next",
    "ctap-repeats": "stray",
    "ctap-finger-beside-proof": "A pin-token,A assert-beside",
    "ctap-proof-before-protection": "A reset,A always,A assert-token",
    "ctap-deleted-lives": "A pin-token,A delete,A assert-deleted",
    "ctap-list-ignored": "A pin-token,A make-protected,A assert-listed-2",
    "ctap-exclusion-ignored": "A pin-token,A make-protected,A make-excluded-late",
    "ctap-silence-spends": "A pin-token,A assert-token-silent,A assert-token-silent",
    "ctap-exclusion-spends": "A finger-token,A make-excluded,A make-excluded",
    "ctap-looks-after-reset": "A look-token,A reset,A set-pin,A look-token",
    "ctap-payment-forgotten": "A pin-token,A make-extended,A pin-token,A credentials",
    "ctap-reset-keeps-always": "A pin-token,A always,A reset",
    "ctap-reset-keeps-length": "A pin-token,A longer,A reset",
    "ctap-next-is-present": "A assert-silent,A next",
    "ctap-always-and-silent": "A pin-token,A always,A assert-silent",
    "ctap-forced-change-first": "A pin-token,A force,A wrong-pin",
}
QUICK = [
    "ctap-stolen-touch",
    "ctap-uncounted-try",
    "ctap-survives-others",
    "ctap-finger-configures",
    "ctap-everlasting",
]


@pytest.fixture(scope="module")
def walker() -> Iterator[Walker]:
    with resident.enabled():
        image = image_under_test("reader", "pico2", None, readable=True)
        made = Walker(image, quick=not WHOLE)
        yield made
        made.close()


def _walked(walker: Walker, plan: WalkPlan) -> WalkTally:
    tally = WalkTally()
    for task in plan.tasks():
        if isinstance(task, tuple):
            tally.add(walker.below(task, plan))
        else:
            tally.add(walker.by_chance(task, plan.length))
    return tally


def _all_ways(letters: int, depth: int) -> int:
    return sum(letters**length for length in range(1, depth + 1))


def test_alphabets() -> None:
    assert set(LARGE) > set(REDUCED)
    assert set(LETTERS) > set(LARGE)
    assert _all_ways(len(LARGE), 4) >= 2_000_000


@pytest.mark.slow
def test_all_ways_of_two_letters(walker: Walker) -> None:
    tally = _walked(walker, WalkPlan(REDUCED, 2))
    assert tally.found == []
    assert tally.transitions == _all_ways(len(REDUCED), 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "letters",
    [
        ("A finger-token", "A assert", "B assert-nobody", "A next", "B next"),
        ("A pin-token", "A credentials", "A delete", "A next-credential", "B next-credential"),
        ("A pin-token-any", "A enrol", "A sample", "B select", "cable"),
    ],
    ids=["assertions", "lists", "enrolment"],
)
def test_all_ways_of_four(walker: Walker, letters: tuple[str, ...]) -> None:
    tally = _walked(walker, WalkPlan(letters, 4))
    assert tally.found == []
    assert tally.transitions == _all_ways(len(letters), 4)
    assert len(tally.states) >= 4


@pytest.mark.slow
def test_every_letter_alone_and_before_a_look(walker: Walker) -> None:
    assert _walked(walker, WalkPlan(tuple(LETTERS), 1)).found == []


@pytest.mark.slow
def test_the_ways_on_which_the_zoo_is_caught(walker: Walker) -> None:
    """A fault of a kind that is in the zoo is found here, without walking far."""
    for way in CAUGHT.values():
        assert walker.follow(tuple(way.split(","))) is None


@pytest.mark.slow
def test_long_ways(walker: Walker) -> None:
    assert _walked(walker, WalkPlan((), 0, walks=12, length=40)).found == []


class Machine(RuleBasedStateMachine):
    """Two programs and a person; hypothesis decides what they do."""

    walker: Walker

    def __init__(self) -> None:
        super().__init__()
        self.world = self.walker.begin()

    @rule(letter=st.sampled_from(sorted(LETTERS)))
    def do(self, letter: str) -> None:
        LETTERS[letter](self.world)

    @rule(letter=st.sampled_from(sorted(name for name, often in CHANCE.items() if often > 10)))
    def take_a_token(self, letter: str) -> None:
        LETTERS[letter](self.world)

    @rule(channel=st.sampled_from("AB"))
    @precondition(lambda self: self.world.known.sequence is not None)
    def go_on(self, channel: str) -> None:
        """With what is under way, on either channel."""
        sequence = self.world.known.sequence
        assert sequence is not None
        names = {
            "assertions": "next", "parties": "next-party", "credentials": "next-credential",
            "blob": "fragment-next",
        }  # fmt: skip
        LETTERS[f"{channel} {names[sequence.kind]}"](self.world)

    @rule(channel=st.sampled_from("AB"), finger=st.sampled_from(["sample", "sample-thumb"]))
    @precondition(lambda self: self.world.known.enrolment is not None)
    def go_on_enrolling(self, channel: str, finger: str) -> None:
        LETTERS[f"{channel} {finger}"](self.world)

    def teardown(self) -> None:
        probe(self.world)


@pytest.mark.slow
def test_machine(walker: Walker) -> None:
    Machine.walker = walker
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=200 if WHOLE else 25, stateful_step_count=25, deadline=None,
            suppress_health_check=list(HealthCheck), derandomize=not WHOLE,
        ),
    )  # fmt: skip


# -- the zoo -----------------------------------------------------------------------------------


def test_each_is_expected() -> None:
    assert [animal.name for animal in ANIMALS] == list(CAUGHT)


@pytest.mark.parametrize("name", list(CAUGHT))
def test_every_patch_fits(name: str) -> None:
    with find(name).firmware() as root:
        assert (root / "main.py").is_file()


@pytest.mark.campaign
@pytest.mark.slow
@pytest.mark.parametrize("name", list(CAUGHT) if WHOLE else QUICK)
def test_it_is_caught(name: str) -> None:
    row = hunt(find(name))
    assert row.caught, name
    assert row.reproduction == CAUGHT[name], row


# -- the command -------------------------------------------------------------------------------


def _run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(tally, ["campaign", "ctap", *words])
    return result.exit_code, result.output + str(result.exception or "")


@pytest.mark.slow
def test_command_counts() -> None:
    code, said = _run(
        "--letters", "A assert,B next,A next", "--depth", "2", "--walks", "1", "--json",
        "--jobs", "1",
    )  # fmt: skip
    told = json.loads(said)
    assert (code, told["violations"], told["found"]) == (0, 0, [])
    assert told["transitions"] == 3 + 9 + 40
    assert told["states"] >= 3


@pytest.mark.slow
def test_command_replays() -> None:
    code, said = _run("--replay", "A finger-token, B assert-nobody")
    assert (code, said) == (0, "2 letters, no violation\n")


def test_command_knows_its_letters() -> None:
    assert "A assert-token\n" in _run("--list")[1]
    code, said = _run("--replay", "A nothing")
    assert code != 0
    assert "no letter 'A nothing'" in said
