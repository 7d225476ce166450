"""The steps of a card: what goes right, what is refused, and what every interruption leaves."""

from __future__ import annotations

import pytest

from tallystick.common.errors import BadInputError, NoDeviceError, RefusedError, UnreachableError
from tallystick.provisioning import steps
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.card.scp03 import SecureChannelError
from tallystick.provisioning.credential import CodeKind
from tallystick.provisioning.custody.interface import UnknownKeyError
from tallystick.provisioning.journal import CardState, StationJournal
from tallystick.provisioning.registry import DuplicateSerialError
from tallystick.provisioning.server_link import OutcomeUnknownError, RegistryRefusedError
from tallystick.provisioning.steps import Plan, Provisioner
from tests.provisioning.conftest import URL
from tests.provisioning.memory_card import MemoryLink
from tests.provisioning.memory_registry import FailOnce, MemoryRegistry, timeout


class Killed(BaseException):
    """The station dies here."""


@pytest.fixture
def registry():
    return MemoryRegistry()


@pytest.fixture
def provision(custody, journal, registry):
    def run(card, link=None, journal=journal, **plan):
        provisioner = Provisioner(custody, registry, journal, Plan(**plan), URL)
        connection = CardConnection(link or MemoryLink(card))
        return provisioner.provision(connection, lambda state, serial: None)

    return run


def consistent(card, registry):
    """Neither side has a seed that the other lacks."""
    return registry.seeds.get(card.serial, b"") == card.seed


@pytest.mark.parametrize("digits", [6, 7, 8])
def test_a_new_card(memory_card, registry, journal, provision, digits):
    outcome = provision(memory_card, kind=CodeKind(digits))
    assert outcome.serial == memory_card.serial == "TS00000001"
    assert memory_card.life_cycle == 0x0F and memory_card.kvn == 1
    assert memory_card.digits == digits and len(memory_card.seed) == 20 and memory_card.factor == 2
    assert registry.seeds == {memory_card.serial: memory_card.seed}
    assert not outcome.resumed
    latest = journal.latest(memory_card.serial)
    assert latest.state is CardState.LOCKED and latest.container is None


def test_wire_floor(memory_card, provision):
    """Only the needed commands: one SELECT, two channels, and one of each command."""
    outcome = provision(memory_card)
    names = [command[1] for command in memory_card.commands]
    expected = [0xA4, 0x50, 0x82, 0xCA, 0xD8, 0x50, 0x82, 0x84, 0x01, 0xA2, 0xA2, 0xF0]
    assert names == expected
    assert outcome.apdus == len(expected)
    assert outcome.wire_bytes <= 711


def test_the_exchange_stays_near_its_floor(memory_card, custody, registry, journal):
    """SELECT, one channel, PUT KEY, PUT and two codes: 430 bytes are the floor."""
    cost = []

    class Counting(CardConnection):
        def send(self, apdu, waiting=None):
            before = self.wire_bytes
            response = super().send(apdu, waiting)
            cost.append((apdu[1], self.wire_bytes - before))
            return response

    provisioner = Provisioner(custody, registry, journal, Plan(), URL)
    provisioner.provision(Counting(MemoryLink(memory_card)), lambda s, n: None)
    select, update, authenticate = cost[:3]
    core = [select, update, authenticate] + [c for c in cost if c[0] in (0xD8, 0x01, 0xA2)]
    assert sum(size for _, size in core) <= 430 * 1.10


def test_two_cards_have_other_seeds_and_keys(make_card, provision):
    cards = [make_card(serial=f"TS0000000{n}") for n in range(3)]
    for card in cards:
        provision(card)
    assert len({card.seed for card in cards}) == 3
    assert len({card.keys for card in cards}) == 3


def test_assignment(memory_card, registry, provision):
    outcome = provision(memory_card, user="ada")
    assert outcome.server.user == "ada" and registry.users == {memory_card.serial: "ada"}


def test_refused_assignment_leaves_the_card_in_service(memory_card, registry, provision):
    registry.users[memory_card.serial] = "bob"
    with pytest.raises(RegistryRefusedError) as caught:
        provision(memory_card, user="ada")
    assert "in service" in caught.value.kept
    assert memory_card.life_cycle == 0x0F and consistent(memory_card, registry)


def test_a_card_in_service_is_refused(memory_card, registry, provision):
    provision(memory_card)
    before = (memory_card.seed, memory_card.keys, memory_card.factor)
    with pytest.raises(RefusedError, match="already in service") as caught:
        provision(memory_card)
    assert "--reseed" in caught.value.todo
    assert (memory_card.seed, memory_card.keys, memory_card.factor) == before and consistent(
        memory_card, registry
    )


def test_reseed(memory_card, registry, provision):
    provision(memory_card)
    old = memory_card.seed
    provision(memory_card, reseed=True)
    assert memory_card.seed != old and consistent(memory_card, registry)


def test_reseed_without_a_press(memory_card, registry, journal, provision):
    provision(memory_card)
    old = memory_card.seed
    memory_card.pressed = False
    with pytest.raises(RefusedError, match="no press came"):
        provision(memory_card, reseed=True)
    assert memory_card.seed == old
    assert memory_card.serial not in registry.seeds
    memory_card.pressed = True
    assert provision(memory_card).resumed
    assert memory_card.seed != old and consistent(memory_card, registry)


def test_duplicate_serial_is_found_before_anything_is_written(memory_card, registry, provision):
    registry.seeds[memory_card.serial] = b"another card's seed!"
    with pytest.raises(RefusedError, match="already registered"):
        provision(memory_card)
    assert memory_card.kvn == 0xFF and not memory_card.seed


def test_duplicate_serial_that_appears_meanwhile(memory_card, registry, journal, provision):
    def late(call):
        if call == "register":
            registry.seeds[memory_card.serial] = b"another card's seed!"

    registry.before = late
    with pytest.raises(DuplicateSerialError) as caught:
        provision(memory_card)
    assert "was deleted" in caught.value.kept
    assert not memory_card.seed and memory_card.life_cycle == 7
    assert journal.latest(memory_card.serial).state is CardState.FAILED
    assert journal.latest(memory_card.serial).container is None


def test_revoked_meanwhile(memory_card, registry, provision):
    registry.before = FailOnce("register", RegistryRefusedError("revoked", "401"))
    with pytest.raises(RegistryRefusedError, match="revoked"):
        provision(memory_card)
    assert not memory_card.seed and not registry.seeds
    provision(memory_card)
    assert consistent(memory_card, registry) and memory_card.life_cycle == 0x0F


@pytest.mark.parametrize("when", ["before", "after"])
def test_no_answer_from_the_server(memory_card, registry, journal, provision, when):
    setattr(registry, when, FailOnce("register", timeout()))
    with pytest.raises(OutcomeUnknownError) as caught:
        provision(memory_card)
    assert "tally station resume" in caught.value.todo
    assert journal.open_run(memory_card.serial).container
    seed = memory_card.seed
    outcome = provision(memory_card, only=frozenset([memory_card.serial]))
    assert outcome.resumed and memory_card.seed == seed and consistent(memory_card, registry)


def test_server_down_before_anything_is_written(memory_card, registry, provision):
    registry.before = FailOnce("lookup", timeout())
    with pytest.raises(UnreachableError):
        provision(memory_card)
    assert memory_card.kvn == 0xFF and not memory_card.seed


def test_wrong_transport_keys(memory_card, provision):
    memory_card.keys = (bytes(16),) * 3
    with pytest.raises(SecureChannelError, match="does not prove"):
        provision(memory_card)
    assert memory_card.kvn == 0xFF


def test_another_firms_card(memory_card, provision):
    memory_card.kvn = 0x42
    with pytest.raises(UnknownKeyError, match="42"):
        provision(memory_card)


def test_old_firmware(memory_card, provision):
    with pytest.raises(RefusedError, match="below the policy"):
        provision(memory_card, minimum_version=(2, 0, 0))
    assert memory_card.kvn == 0xFF


def test_other_card_than_the_label_says(memory_card, provision):
    with pytest.raises(RefusedError, match="not TS99999999"):
        provision(memory_card, expected_serial="TS99999999")
    assert memory_card.kvn == 0xFF


def test_card_that_gives_other_codes(memory_card, registry, provision):
    memory_card.code = lambda factor: "000000"
    with pytest.raises(RefusedError, match="other codes"):
        provision(memory_card)
    assert not memory_card.seed and not registry.seeds


def test_card_that_repeats_a_code(memory_card, registry, provision):
    genuine = memory_card.code
    memory_card.code = lambda factor: genuine(0)
    with pytest.raises(RefusedError, match="other codes"):
        provision(memory_card)
    assert not memory_card.seed and not registry.seeds


def test_card_that_holds_a_credential_of_another_name(memory_card, registry, provision):
    provision(memory_card)
    registry.seeds.clear()
    memory_card.name, memory_card.life_cycle = b"old:name", 7
    provision(memory_card)
    assert memory_card.name == memory_card.serial.encode() and consistent(memory_card, registry)


def test_changed_container_in_the_journal(memory_card, registry, journal, provision):
    memory_card.before = lambda number: (_ for _ in ()).throw(Killed()) if number == 9 else None
    with pytest.raises(Killed):
        provision(memory_card)
    record = journal.open_run(memory_card.serial)
    journal.keep_seed(record, record.container + b" ", record.seed, 6)
    memory_card.before = None
    memory_card.power_on()
    with pytest.raises(BadInputError, match="was changed"):
        provision(memory_card)


def test_resume_takes_only_cards_that_stopped(memory_card, provision):
    with pytest.raises(RefusedError, match="not one that stopped"):
        provision(memory_card, only=frozenset(["TS00000009"]))
    assert memory_card.kvn == 0xFF


def test_another_servers_run(memory_card, custody, registry, journal, provision):
    registry.before = FailOnce("register", timeout())
    with pytest.raises(OutcomeUnknownError):
        provision(memory_card)
    other = Provisioner(custody, registry, journal, Plan(), "http://localhost:1")
    with pytest.raises(RefusedError, match="was begun with"):
        other.provision(CardConnection(MemoryLink(memory_card)), lambda state, serial: None)


def test_a_person_confirms_button_and_display(memory_card, registry, provision):
    def typed(serial):
        code = memory_card.code(memory_card.factor)  # a press: the card moves on and shows the code
        memory_card.factor += 1
        return code

    outcome = provision(memory_card, confirm=typed)
    assert (
        memory_card.factor == 3
        and outcome.serial == memory_card.serial
        and consistent(memory_card, registry)
    )


def test_a_mistyped_code_may_be_typed_again(memory_card, provision):
    answers = iter(["000000", "nonsense", "right"])

    def typed(serial):
        return memory_card.code(2) if (answer := next(answers)) == "right" else answer

    provision(memory_card, confirm=typed)
    assert memory_card.life_cycle == 0x0F


def test_a_display_that_shows_something_else(memory_card, registry, provision):
    with pytest.raises(RefusedError, match="was not the right one"):
        provision(memory_card, confirm=lambda serial: "8" * 6)
    assert not memory_card.seed and not registry.seeds


def test_confirmation_interrupted_and_resumed_without(memory_card, registry, provision):
    """The container takes three codes for used, so three are asked of the card."""

    def typed(serial):
        raise Killed

    with pytest.raises(Killed):
        provision(memory_card, confirm=typed)
    memory_card.power_on()
    provision(memory_card)
    assert memory_card.factor == 3 and consistent(memory_card, registry)


COMMANDS = 12


def finish_after(card, registry, provision, tmp_path):
    """A new station process takes the card up again; returns its outcome or None if finished."""
    card.before = card.after = None
    card.power_on()
    registry.before = registry.after = lambda call: None
    journal = StationJournal(tmp_path / "journal.db")
    try:
        if journal.open_run(card.serial) is None and card.life_cycle == 0x0F:
            return None
        return provision(card, journal=journal)
    finally:
        journal.close()


@pytest.mark.parametrize("number", range(COMMANDS))
@pytest.mark.parametrize("when", ["before", "after"])
def test_station_killed_at_every_command(memory_card, registry, provision, tmp_path, number, when):
    def kill(at):
        if at == number:
            raise Killed

    setattr(memory_card, when, kill)
    with pytest.raises(Killed):
        provision(memory_card)
    finish_after(memory_card, registry, provision, tmp_path)
    assert memory_card.life_cycle == 0x0F and consistent(memory_card, registry) and memory_card.seed


@pytest.mark.parametrize("call", ["lookup", "register", "assign"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_station_killed_at_every_call(memory_card, registry, provision, tmp_path, call, when):
    setattr(registry, when, FailOnce(call, Killed()))
    with pytest.raises(Killed):
        provision(memory_card, user="ada")
    finish_after(memory_card, registry, provision, tmp_path)
    assert memory_card.life_cycle == 0x0F and consistent(memory_card, registry) and memory_card.seed
    assert registry.users == {memory_card.serial: "ada"} or call == "lookup"


@pytest.mark.parametrize("call", ["lookup", "withdraw", "register"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_reseeding_killed_at_every_call(memory_card, registry, provision, tmp_path, call, when):
    provision(memory_card)
    old = memory_card.seed
    setattr(registry, when, FailOnce(call, Killed()))
    with pytest.raises(Killed):
        provision(memory_card, reseed=True)
    registry.before = registry.after = lambda call: None
    memory_card.power_on()
    journal = StationJournal(tmp_path / "journal.db")
    begun = journal.open_run(memory_card.serial) is not None
    assert provision(memory_card, journal=journal, reseed=True).resumed == begun
    assert not journal.unfinished()
    journal.close()
    assert consistent(memory_card, registry) and memory_card.seed != old


@pytest.mark.parametrize("number", range(3, 9))
@pytest.mark.parametrize("when", ["before", "after"])
def test_reseeding_killed_at_every_command(
    memory_card, registry, provision, tmp_path, number, when
):
    provision(memory_card)
    old, first = memory_card.seed, len(memory_card.commands)

    def kill(at):
        if at - first == number:
            raise Killed

    setattr(memory_card, when, kill)
    with pytest.raises(Killed):
        provision(memory_card, reseed=True)
    memory_card.before = memory_card.after = None
    memory_card.power_on()
    journal = StationJournal(tmp_path / "journal.db")
    options = {} if journal.open_run(memory_card.serial) else {"reseed": True}
    provision(memory_card, journal=journal, **options)
    journal.close()
    assert consistent(memory_card, registry) and memory_card.seed != old


def test_reseeding_a_card_that_a_user_has_used(memory_card, registry, journal, provision):
    provision(memory_card)
    old = memory_card.seed
    registry.before = FailOnce("withdraw", RegistryRefusedError("has been used", "409"))
    with pytest.raises(RegistryRefusedError, match="has been used") as caught:
        provision(memory_card, reseed=True)
    assert "keeps its seed" in caught.value.kept
    assert (
        memory_card.seed == old and consistent(memory_card, registry) and not journal.unfinished()
    )


@pytest.mark.parametrize("state", [CardState.VERIFIED, CardState.REGISTERED])
@pytest.mark.parametrize("loss", ["reset", "made anew"])
def test_a_card_that_lost_its_seed_meanwhile(make_card, registry, journal, provision, state, loss):
    """The same seed is put again before the server is told, or the card is locked."""
    card = make_card()
    registry.before = FailOnce("register", timeout())
    with pytest.raises(OutcomeUnknownError):
        provision(card)
    seed = card.seed
    record = journal.open_run(card.serial)
    if state is CardState.REGISTERED:
        registry.register(card.serial, record.container)
        journal.advance(record, state)
    if loss == "reset":
        card.name = card.seed = b""
        card.power_on()
    else:
        card = make_card()
    provision(card)
    assert card.seed == seed and card.factor == 2 and card.life_cycle == 0x0F
    assert consistent(card, registry)


@pytest.mark.parametrize("number", range(COMMANDS))
def test_card_taken_out_at_every_command(memory_card, registry, journal, provision, number):
    link = MemoryLink(memory_card)

    def pull(at):
        if at == number:
            link.unplugged = True

    memory_card.after = pull
    with pytest.raises(NoDeviceError) as caught:
        provision(memory_card, link)
    assert caught.value.kept and caught.value.todo
    memory_card.after = None
    memory_card.power_on()
    if memory_card.life_cycle != 0x0F or journal.open_run(memory_card.serial):
        provision(memory_card)
    assert memory_card.life_cycle == 0x0F and consistent(memory_card, registry) and memory_card.seed


@pytest.mark.parametrize("number", range(2, 40))
def test_an_answer_lost_for_good_is_worked_around(memory_card, registry, provision, number):
    """All copies of one answer are lost, so that T=1 gives up and starts over."""
    link = MemoryLink(memory_card)
    seen = []

    def lose(block):
        seen.append(block)
        return [] if number <= len(seen) < number + 5 else [block]

    link.to_station = lose
    provision(memory_card, link)
    assert memory_card.life_cycle == 0x0F and consistent(memory_card, registry) and memory_card.seed


@pytest.mark.parametrize("where", ["build", "keep_seed", "put", "advance", "codes", "nothing"])
def test_the_seed_is_zeroed_wherever_a_step_ends(
    memory_card, custody, provision, journal, monkeypatch, where
):
    made = []
    new_seed = custody.new_seed

    def remembered(*arguments):
        made.append(new_seed(*arguments))
        if where == "codes":
            monkeypatch.setattr(made[-1], "codes", dies)
        return made[-1]

    def dies(*_, **__):
        raise Killed

    monkeypatch.setattr(custody, "new_seed", remembered)
    places = {
        "build": (steps.container, "build"),
        "keep_seed": (journal, "keep_seed"),
        "put": (steps, "put_hotp"),
        "advance": (journal, "advance"),
    }
    if where in places:
        monkeypatch.setattr(*places[where], dies)
    if where == "nothing":
        provision(memory_card)
    else:
        with pytest.raises(Killed):
            provision(memory_card)
    assert [seed.reveal() for seed in made] == [bytes(20)]
