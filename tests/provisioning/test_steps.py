"""The steps of a card: what goes right, what is refused, and what every interruption leaves."""

from __future__ import annotations

import pytest

from tallystick.common.errors import BadInputError, NoDeviceError, RefusedError, UnreachableError
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.card.scp03 import SecureChannelError
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
def test_a_new_card(card, registry, journal, provision, digits):
    outcome = provision(card, digits=digits)
    assert outcome.serial == card.serial == "TS00000001"
    assert card.life_cycle == 0x0F and card.kvn == 1
    assert card.digits == digits and len(card.seed) == 20 and card.factor == 2
    assert registry.seeds == {card.serial: card.seed}
    assert not outcome.resumed
    latest = journal.latest(card.serial)
    assert latest.state is CardState.LOCKED and latest.container is None


def test_wire_floor(card, provision):
    """Only the needed commands: one SELECT, two channels, and one of each command."""
    outcome = provision(card)
    names = [command[1] for command in card.commands]
    expected = [0xA4, 0x50, 0x82, 0xCA, 0xD8, 0x50, 0x82, 0x84, 0x01, 0xA2, 0xA2, 0xF0]
    assert names == expected
    assert outcome.apdus == len(expected)
    assert outcome.wire_bytes <= 711


def test_the_exchange_stays_near_its_floor(card, custody, registry, journal):
    """SELECT, one channel, PUT KEY, PUT and two codes: 430 bytes are the floor."""
    cost = []

    class Counting(CardConnection):
        def send(self, apdu, waiting=None):
            before = self.wire_bytes
            response = super().send(apdu, waiting)
            cost.append((apdu[1], self.wire_bytes - before))
            return response

    provisioner = Provisioner(custody, registry, journal, Plan(), URL)
    provisioner.provision(Counting(MemoryLink(card)), lambda s, n: None)
    select, update, authenticate = cost[:3]
    core = [select, update, authenticate] + [c for c in cost if c[0] in (0xD8, 0x01, 0xA2)]
    assert sum(size for _, size in core) <= 430 * 1.10


def test_two_cards_have_other_seeds_and_keys(make_card, provision):
    cards = [make_card(serial=f"TS0000000{n}") for n in range(3)]
    for card in cards:
        provision(card)
    assert len({card.seed for card in cards}) == 3
    assert len({card.keys for card in cards}) == 3


def test_assignment(card, registry, provision):
    outcome = provision(card, user="ada")
    assert outcome.server.user == "ada" and registry.users == {card.serial: "ada"}


def test_refused_assignment_leaves_the_card_in_service(card, registry, provision):
    registry.users[card.serial] = "bob"
    with pytest.raises(RegistryRefusedError) as caught:
        provision(card, user="ada")
    assert "in service" in caught.value.kept
    assert card.life_cycle == 0x0F and consistent(card, registry)


def test_a_card_in_service_is_refused(card, registry, provision):
    provision(card)
    before = (card.seed, card.keys, card.factor)
    with pytest.raises(RefusedError, match="already in service") as caught:
        provision(card)
    assert "--reseed" in caught.value.todo
    assert (card.seed, card.keys, card.factor) == before and consistent(card, registry)


def test_reseed(card, registry, provision):
    provision(card)
    old = card.seed
    provision(card, reseed=True)
    assert card.seed != old and consistent(card, registry)


def test_reseed_without_a_press(card, registry, journal, provision):
    provision(card)
    old = card.seed
    card.pressed = False
    with pytest.raises(RefusedError, match="no press came"):
        provision(card, reseed=True)
    assert card.seed == old
    assert card.serial not in registry.seeds
    card.pressed = True
    assert provision(card).resumed
    assert card.seed != old and consistent(card, registry)


def test_duplicate_serial_is_found_before_anything_is_written(card, registry, provision):
    registry.seeds[card.serial] = b"another card's seed!"
    with pytest.raises(RefusedError, match="already registered"):
        provision(card)
    assert card.kvn == 0xFF and not card.seed


def test_duplicate_serial_that_appears_meanwhile(card, registry, journal, provision):
    def late(call):
        if call == "register":
            registry.seeds[card.serial] = b"another card's seed!"

    registry.before = late
    with pytest.raises(DuplicateSerialError) as caught:
        provision(card)
    assert "was deleted" in caught.value.kept
    assert not card.seed and card.life_cycle == 7
    assert journal.latest(card.serial).state is CardState.FAILED
    assert journal.latest(card.serial).container is None


def test_revoked_meanwhile(card, registry, provision):
    registry.before = FailOnce("register", RegistryRefusedError("revoked", "401"))
    with pytest.raises(RegistryRefusedError, match="revoked"):
        provision(card)
    assert not card.seed and not registry.seeds
    provision(card)
    assert consistent(card, registry) and card.life_cycle == 0x0F


@pytest.mark.parametrize("when", ["before", "after"])
def test_no_answer_from_the_server(card, registry, journal, provision, when):
    setattr(registry, when, FailOnce("register", timeout()))
    with pytest.raises(OutcomeUnknownError) as caught:
        provision(card)
    assert "tally station resume" in caught.value.todo
    assert journal.open_run(card.serial).container
    seed = card.seed
    outcome = provision(card, only=frozenset([card.serial]))
    assert outcome.resumed and card.seed == seed and consistent(card, registry)


def test_server_down_before_anything_is_written(card, registry, provision):
    registry.before = FailOnce("lookup", timeout())
    with pytest.raises(UnreachableError):
        provision(card)
    assert card.kvn == 0xFF and not card.seed


def test_wrong_transport_keys(card, provision):
    card.keys = (bytes(16),) * 3
    with pytest.raises(SecureChannelError, match="does not prove"):
        provision(card)
    assert card.kvn == 0xFF


def test_another_firms_card(card, provision):
    card.kvn = 0x42
    with pytest.raises(UnknownKeyError, match="42"):
        provision(card)


def test_old_firmware(card, provision):
    with pytest.raises(RefusedError, match="below the policy"):
        provision(card, minimum_version=(2, 0, 0))
    assert card.kvn == 0xFF


def test_other_card_than_the_label_says(card, provision):
    with pytest.raises(RefusedError, match="not TS99999999"):
        provision(card, expected_serial="TS99999999")
    assert card.kvn == 0xFF


def test_card_that_gives_other_codes(card, registry, provision):
    card.code = lambda factor: "000000"
    with pytest.raises(RefusedError, match="other codes"):
        provision(card)
    assert not card.seed and not registry.seeds


def test_card_that_repeats_a_code(card, registry, provision):
    genuine = card.code
    card.code = lambda factor: genuine(0)
    with pytest.raises(RefusedError, match="other codes"):
        provision(card)
    assert not card.seed and not registry.seeds


def test_card_that_holds_a_credential_of_another_name(card, registry, provision):
    provision(card)
    registry.seeds.clear()
    card.name, card.life_cycle = b"old:name", 7
    provision(card)
    assert card.name == card.serial.encode() and consistent(card, registry)


def test_changed_container_in_the_journal(card, registry, journal, provision):
    card.before = lambda number: (_ for _ in ()).throw(Killed()) if number == 9 else None
    with pytest.raises(Killed):
        provision(card)
    record = journal.open_run(card.serial)
    journal.keep_seed(record, record.container + b" ", record.seed, 6)
    card.before = None
    card.power_on()
    with pytest.raises(BadInputError, match="was changed"):
        provision(card)


def test_resume_takes_only_cards_that_stopped(card, provision):
    with pytest.raises(RefusedError, match="not one that stopped"):
        provision(card, only=frozenset(["TS00000009"]))
    assert card.kvn == 0xFF


def test_another_servers_run(card, custody, registry, journal, provision):
    registry.before = FailOnce("register", timeout())
    with pytest.raises(OutcomeUnknownError):
        provision(card)
    other = Provisioner(custody, registry, journal, Plan(), "http://localhost:1")
    with pytest.raises(RefusedError, match="was begun with"):
        other.provision(CardConnection(MemoryLink(card)), lambda state, serial: None)


def test_a_person_confirms_button_and_display(card, registry, provision):
    def typed(serial):
        code = card.code(card.factor)  # a press: the card moves on and shows the code
        card.factor += 1
        return code

    outcome = provision(card, confirm=typed)
    assert card.factor == 3 and outcome.serial == card.serial and consistent(card, registry)


def test_a_mistyped_code_may_be_typed_again(card, provision):
    answers = iter(["000000", "nonsense", "right"])

    def typed(serial):
        return card.code(2) if (answer := next(answers)) == "right" else answer

    provision(card, confirm=typed)
    assert card.life_cycle == 0x0F


def test_a_display_that_shows_something_else(card, registry, provision):
    with pytest.raises(RefusedError, match="was not the right one"):
        provision(card, confirm=lambda serial: "8" * 6)
    assert not card.seed and not registry.seeds


def test_confirmation_interrupted_and_resumed_without(card, registry, provision):
    """The container takes three codes for used, so three are asked of the card."""

    def typed(serial):
        raise Killed

    with pytest.raises(Killed):
        provision(card, confirm=typed)
    card.power_on()
    provision(card)
    assert card.factor == 3 and consistent(card, registry)


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
def test_station_killed_at_every_command(card, registry, provision, tmp_path, number, when):
    def kill(at):
        if at == number:
            raise Killed

    setattr(card, when, kill)
    with pytest.raises(Killed):
        provision(card)
    finish_after(card, registry, provision, tmp_path)
    assert card.life_cycle == 0x0F and consistent(card, registry) and card.seed


@pytest.mark.parametrize("call", ["lookup", "register", "assign"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_station_killed_at_every_call(card, registry, provision, tmp_path, call, when):
    setattr(registry, when, FailOnce(call, Killed()))
    with pytest.raises(Killed):
        provision(card, user="ada")
    finish_after(card, registry, provision, tmp_path)
    assert card.life_cycle == 0x0F and consistent(card, registry) and card.seed
    assert registry.users == {card.serial: "ada"} or call == "lookup"


@pytest.mark.parametrize("call", ["lookup", "withdraw", "register"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_reseeding_killed_at_every_call(card, registry, provision, tmp_path, call, when):
    provision(card)
    old = card.seed
    setattr(registry, when, FailOnce(call, Killed()))
    with pytest.raises(Killed):
        provision(card, reseed=True)
    registry.before = registry.after = lambda call: None
    card.power_on()
    journal = StationJournal(tmp_path / "journal.db")
    begun = journal.open_run(card.serial) is not None
    assert provision(card, journal=journal, reseed=True).resumed == begun
    assert not journal.unfinished()
    journal.close()
    assert consistent(card, registry) and card.seed != old


@pytest.mark.parametrize("number", range(3, 9))
@pytest.mark.parametrize("when", ["before", "after"])
def test_reseeding_killed_at_every_command(card, registry, provision, tmp_path, number, when):
    provision(card)
    old, first = card.seed, len(card.commands)

    def kill(at):
        if at - first == number:
            raise Killed

    setattr(card, when, kill)
    with pytest.raises(Killed):
        provision(card, reseed=True)
    card.before = card.after = None
    card.power_on()
    journal = StationJournal(tmp_path / "journal.db")
    options = {} if journal.open_run(card.serial) else {"reseed": True}
    provision(card, journal=journal, **options)
    journal.close()
    assert consistent(card, registry) and card.seed != old


def test_reseeding_a_card_that_a_user_has_used(card, registry, journal, provision):
    provision(card)
    old = card.seed
    registry.before = FailOnce("withdraw", RegistryRefusedError("has been used", "409"))
    with pytest.raises(RegistryRefusedError, match="has been used") as caught:
        provision(card, reseed=True)
    assert "keeps its seed" in caught.value.kept
    assert card.seed == old and consistent(card, registry) and not journal.unfinished()


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
def test_card_taken_out_at_every_command(card, registry, journal, provision, number):
    link = MemoryLink(card)

    def pull(at):
        if at == number:
            link.unplugged = True

    card.after = pull
    with pytest.raises(NoDeviceError) as caught:
        provision(card, link)
    assert caught.value.kept and caught.value.todo
    card.after = None
    card.power_on()
    if card.life_cycle != 0x0F or journal.open_run(card.serial):
        provision(card)
    assert card.life_cycle == 0x0F and consistent(card, registry) and card.seed


@pytest.mark.parametrize("number", range(2, 40))
def test_an_answer_lost_for_good_is_worked_around(card, registry, provision, number):
    """All copies of one answer are lost, so that T=1 gives up and starts over."""
    link = MemoryLink(card)
    seen = []

    def lose(block):
        seen.append(block)
        return [] if number <= len(seen) < number + 5 else [block]

    link.to_station = lose
    provision(card, link)
    assert card.life_cycle == 0x0F and consistent(card, registry) and card.seed
