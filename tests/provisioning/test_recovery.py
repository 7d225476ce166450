"""Resume without a card, and reconciling journal, server and the card at hand."""

from __future__ import annotations

import pytest

from tallystick.provisioning import recovery
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.journal import FINISHED, CardState
from tallystick.provisioning.recovery import Reconciliation, finish_without_card, repair
from tallystick.provisioning.server_link import OutcomeUnknownError
from tallystick.provisioning.steps import Plan, Provisioner
from tests.provisioning.conftest import URL
from tests.provisioning.memory_card import MemoryLink
from tests.provisioning.memory_registry import FailOnce, MemoryRegistry, timeout


@pytest.fixture
def registry():
    return MemoryRegistry()


@pytest.fixture
def provision(custody, journal, registry):
    def run(card, **plan):
        provisioner = Provisioner(custody, registry, journal, Plan(**plan), URL)
        return provisioner.provision(CardConnection(MemoryLink(card)), lambda s, n: None)

    return run


@pytest.fixture
def look(custody, journal, registry):
    def run(card=None):
        connection = CardConnection(MemoryLink(card)) if card else None
        return Reconciliation(custody, registry, journal, URL, connection).findings()

    return run


@pytest.fixture
def stopped(memory_card, registry, provision):
    """A card whose registration got no answer."""
    registry.before = FailOnce("register", timeout())
    with pytest.raises(OutcomeUnknownError):
        provision(memory_card)
    return memory_card


UNFINISHED = [CardState.AUTHENTIC, CardState.KEYED, CardState.SEEDED, CardState.VERIFIED,
              CardState.REGISTERED]  # fmt: skip


def in_state(journal, state, server=URL):
    """A run of a card that came so far."""
    record = journal.begin("TS00000001", "b", server, None)
    if state in (CardState.LOCKED, CardState.LABELLED):
        return journal.finish(record, state)
    if state is CardState.FAILED:
        return journal.fail(record, "why")
    return journal.advance(record, state) if state is not record.state else record


def test_registration_needs_no_card(stopped, registry, journal, provision):
    (record,) = finish_without_card(journal, registry, URL)
    assert record.state is CardState.REGISTERED
    assert registry.seeds == {stopped.serial: stopped.seed} and stopped.life_cycle == 7
    provision(stopped, only=frozenset([stopped.serial]))
    assert stopped.life_cycle == 0x0F and not journal.unfinished()


def test_a_run_is_registered_before_the_journal_says_so(stopped, registry, journal, look):
    """A server that is away leaves it as it was, to be tried again."""
    (finding,) = look()
    for register in (lambda: finish_without_card(journal, registry, URL), finding.repair):
        registry.before = FailOnce("register", timeout())
        with pytest.raises(OutcomeUnknownError):
            register()
        assert journal.open_run(stopped.serial).state is CardState.VERIFIED


@pytest.mark.parametrize("state", [one for one in UNFINISHED if one is not CardState.VERIFIED])
def test_only_what_is_verified_is_registered_without_its_card(journal, registry, state):
    record = in_state(journal, state)
    assert finish_without_card(journal, registry, URL) == [record]
    assert not registry.calls


def test_another_servers_runs_are_left_alone(stopped, registry, journal):
    (record,) = finish_without_card(journal, registry, "http://localhost:1")
    assert record.state is CardState.VERIFIED and not registry.seeds


def test_agreement(memory_card, provision, look):
    provision(memory_card)
    assert look(memory_card) == []


def test_unregistered_seed(stopped, registry, journal, look):
    (finding,) = look(stopped)
    assert "does not have" in finding.problem
    assert repair(finding) is None and finding.repaired
    assert journal.open_run(stopped.serial).state is CardState.REGISTERED
    assert registry.seeds == {stopped.serial: stopped.seed} and look(stopped) == []


def test_repair_that_fails_says_why(stopped, registry, look):
    (finding,) = look()
    registry.before = FailOnce("register", timeout())
    assert isinstance(repair(finding), OutcomeUnknownError) and not finding.repaired


def test_server_lost_a_card_in_service(memory_card, registry, provision, look):
    provision(memory_card)
    registry.seeds.clear()
    (finding,) = look(memory_card)
    assert "does not know it" in finding.problem and finding.repair is None
    assert "--reseed" in finding.advice


def test_seed_that_nobody_knows(memory_card, registry, journal, provision, look):
    provision(memory_card)
    registry.seeds.clear()
    memory_card.life_cycle = 7
    journal._database.execute("DELETE FROM cards")
    (finding,) = look(memory_card)
    assert "neither server nor journal" in finding.problem
    memory_card.power_on()  # it was out of the dock meanwhile
    assert repair(finding) is None and not memory_card.seed and look(memory_card) == []


def test_a_card_in_service_that_nobody_knows(memory_card, registry, journal, provision, look):
    provision(memory_card)
    registry.seeds.clear()
    journal._database.execute("DELETE FROM cards")
    (finding,) = look(memory_card)
    assert "in service, but the server does not know it" in finding.problem
    assert finding.repair is None and "--reseed" in finding.advice


def test_the_session_keys_are_forgotten_after_a_repair(
    memory_card, registry, journal, provision, look, monkeypatch
):
    provision(memory_card)
    registry.seeds.clear()
    memory_card.life_cycle = 7
    journal._database.execute("DELETE FROM cards")
    made = []
    genuine = recovery.SecureChannel.open

    def kept(*words, **more):
        made.append(genuine(*words, **more))
        return made[-1]

    monkeypatch.setattr(recovery.SecureChannel, "open", kept)
    (finding,) = look(memory_card)
    assert repair(finding) is None and len(made) == 1
    assert not any(any(vars(channel._keys).values()) for channel in made)


def test_seed_that_the_card_lacks(memory_card, registry, journal, provision, look):
    provision(memory_card)
    memory_card.name = memory_card.seed = b""
    (finding,) = look(memory_card)
    assert "the card lacks" in finding.problem
    assert repair(finding) is None and not registry.seeds


def test_given_up_but_registered(stopped, registry, journal, look):
    registry.seeds[stopped.serial] = stopped.seed
    journal.fail(journal.open_run(stopped.serial), "given up")
    (finding,) = look()
    assert "given up" in finding.problem
    repair(finding)
    assert not registry.seeds


def test_half_way_here_but_registered_elsewhere(stopped, registry, journal, look):
    journal.advance(journal.open_run(stopped.serial), CardState.SEEDED)
    registry.seeds[stopped.serial] = b"another card's seed!"
    (finding,) = look()
    assert "elsewhere" in finding.problem and finding.repair is None


@pytest.mark.parametrize(
    ("states", "server_knows_it", "said", "repairable"),
    [
        (UNFINISHED[:3], False, None, False),
        (UNFINISHED[:3], True, "half-way here, but registered from elsewhere", False),
        (UNFINISHED[3:], False, "has a seed that the server does not have", True),
        (UNFINISHED[3:], True, None, False),
        (FINISHED, False, "in service, but the server does not know it", False),
        (FINISHED, True, None, False),
        ([CardState.FAILED], False, None, False),
        ([CardState.FAILED], True, "run of its card was given up", True),
    ],
)
def test_what_is_found_of_a_run(journal, registry, look, states, server_knows_it, said, repairable):
    """How far it came here, against whether the server has a seed."""
    for state in states:
        in_state(journal, state)
        if server_knows_it:
            registry.seeds["TS00000001"] = b"a seed"
        found = [(said in one.problem, one.repair is not None) for one in look()]
        assert found == ([(True, repairable)] if said else [])
        journal._database.execute("DELETE FROM cards")


def test_what_was_begun_with_another_server_is_not_compared_with_this(journal, registry, look):
    in_state(journal, CardState.VERIFIED, server="http://localhost:1")
    assert look() == [] and not registry.calls


@pytest.mark.parametrize(
    ("server_knows_it", "has_seed", "life_cycle", "said", "repairable"),
    [
        (True, True, 7, None, False),
        (True, True, 15, None, False),
        (True, False, 7, "the server has a seed that the card lacks", True),
        (True, False, 15, "the server has a seed that the card lacks", True),
        (False, True, 7, "neither server nor journal knows", True),
        (False, True, 15, "in service, but the server does not know it", False),
        (False, True, 255, None, False),
        (False, False, 7, None, False),
        (False, False, 15, None, False),
    ],
)
def test_what_is_found_of_a_card_at_hand(
    memory_card, registry, look, server_knows_it, has_seed, life_cycle, said, repairable
):
    """What it has, against whether the server has a seed. The journal has no run of it."""
    memory_card.life_cycle = life_cycle
    if has_seed:
        memory_card.name, memory_card.seed = memory_card.serial.encode(), b"a seed"
    if server_knows_it:
        registry.seeds[memory_card.serial] = b"a seed"
    found = [(said in one.problem, one.repair is not None) for one in look(memory_card)]
    assert found == ([(True, repairable)] if said else [])


def test_another_thing_that_is_found_of_the_same_card_is_told_too(memory_card, journal, look):
    """What the journal knows first, and then what the card says."""
    in_state(journal, CardState.LOCKED)
    memory_card.name, memory_card.seed = memory_card.serial.encode(), b"a seed"
    memory_card.life_cycle = 7
    assert ["does not know it" in one.problem for one in look(memory_card)] == [True, False]


def test_a_card_in_the_middle_of_its_run_is_left_to_resume(stopped, registry, look):
    """Also one that lacks the seed that its server has: its seed is on the way."""
    registry.seeds[stopped.serial] = stopped.seed
    stopped.name = stopped.seed = b""
    assert look(stopped) == []
