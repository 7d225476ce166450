"""What the steps of a card refuse, trust and forget: a run that goes on in another world than it
stopped in, a card that is not what it says, and secrets that stay no longer than they are used."""

from __future__ import annotations

import dataclasses

import pytest

from tallystick.common.errors import RefusedError
from tallystick.common.identity import kdf3
from tallystick.common.secret import Secret
from tallystick.provisioning.card.connection import CardConnection, CardRefusedError
from tallystick.provisioning.card.scp03 import SecureChannel, SecureChannelError
from tallystick.provisioning.credential import CodeKind
from tallystick.provisioning.custody.derivation import SoftwareChannelKeys
from tallystick.provisioning.custody.software import SoftwareSeed
from tallystick.provisioning.journal import CardState, JournalWriteError, StationJournal
from tallystick.provisioning.registry import Registered
from tallystick.provisioning.server_link import OutcomeUnknownError, RegistryRefusedError
from tallystick.provisioning.steps import ATTEMPTS, Plan, Provisioner
from tests.provisioning.conftest import URL, make_ring
from tests.provisioning.memory_card import MemoryLink
from tests.provisioning.memory_registry import FailOnce, MemoryRegistry, timeout
from tests.provisioning.test_steps import Killed

ELSEWHERE = b"a seed of elsewhere!"
PUT_KEY, PUT, CALCULATE = 0xD8, 0x01, 0xA2


@pytest.fixture
def registry():
    return MemoryRegistry()


@pytest.fixture
def provision(custody, journal, registry):
    def run(card, custody=custody, **plan):
        states = []
        provisioner = Provisioner(custody, registry, journal, Plan(**plan), URL)
        run.states = states
        return provisioner.provision(
            CardConnection(MemoryLink(card)), lambda state, serial: states.append((state, serial))
        )

    return run


def killed_at(card, ins, provision, **plan):
    """The station dies after the first command of this kind."""

    def kill(number):
        if card.commands[number][1] == ins:
            raise Killed

    card.after = kill
    with pytest.raises(Killed):
        provision(card, **plan)
    card.after = None
    card.power_on()


# -- a run that goes on --------------------------------------------------------------------------


@pytest.mark.parametrize("ins", [PUT_KEY, PUT, CALCULATE])
def test_a_serial_that_was_registered_elsewhere_while_the_run_stood_still(
    memory_card, registry, journal, provision, ins
):
    """The card's seed goes, the other one's registration stays as it is."""
    killed_at(memory_card, ins, provision)
    registry.seeds[memory_card.serial] = ELSEWHERE
    registry.calls.clear()
    with pytest.raises(RegistryRefusedError, match="registered elsewhere meanwhile") as caught:
        provision(memory_card)
    assert "it was deleted" in caught.value.kept
    assert not memory_card.seed and memory_card.life_cycle == 7
    assert registry.seeds == {memory_card.serial: ELSEWHERE} and registry.calls == ["lookup"]
    ended = journal.latest(memory_card.serial)
    assert ended.state is CardState.FAILED and "elsewhere" in ended.reason
    assert ended.container is None and ended.seed is None
    assert provision.states[-1] == (CardState.FAILED, memory_card.serial)


@pytest.mark.parametrize("ins", [PUT, CALCULATE])
@pytest.mark.parametrize(("begun", "wanted"), [(8, 6), (6, 8), (7, 6)])
def test_a_resumed_card_keeps_the_digits_that_it_was_begun_with(
    memory_card, registry, journal, provision, ins, begun, wanted
):
    """Not those of the command that goes on: the container says them, and is bound to them."""
    killed_at(memory_card, ins, provision, kind=CodeKind(begun))
    outcome = provision(memory_card, kind=CodeKind(wanted))
    assert outcome.resumed and memory_card.digits == outcome.digits == begun
    assert journal.latest(memory_card.serial).digits == begun
    assert memory_card.factor == 2


def test_a_resumed_card_keeps_its_user(memory_card, registry, provision):
    killed_at(memory_card, PUT, provision, user="ada")
    provision(memory_card, user="bob")
    assert registry.users == {memory_card.serial: "ada"}


def test_resume_is_told_from_a_first_run(memory_card, registry, journal, provision):
    killed_at(memory_card, PUT, provision)
    with pytest.raises(RefusedError, match="not one that stopped") as caught:
        provision(dataclasses.replace(memory_card, serial="TS00000002", keys=(), kvn=0xFF),
                  only=frozenset([memory_card.serial]))  # fmt: skip
    assert memory_card.serial in caught.value.todo
    assert journal.latest("TS00000002") is None
    assert provision(memory_card, only=frozenset([memory_card.serial])).resumed


def test_a_run_begun_elsewhere_touches_nothing(memory_card, custody, registry, journal, provision):
    killed_at(memory_card, PUT, provision)
    commands = len(memory_card.commands)
    other = Provisioner(custody, registry, journal, Plan(reseed=True), "http://localhost:1")
    with pytest.raises(RefusedError, match="was begun with the server"):
        other.provision(CardConnection(MemoryLink(memory_card)), lambda state, serial: None)
    changes = {PUT_KEY, PUT, CALCULATE, 0x02, 0x04, 0xF0}
    assert not {command[1] for command in memory_card.commands[commands:]} & changes


def test_a_registered_run_goes_on_although_the_server_knows_the_serial(
    memory_card, registry, journal, provision
):
    """It is its own registration whose answer was lost."""
    registry.after = FailOnce("register", timeout())
    with pytest.raises(OutcomeUnknownError):
        provision(memory_card)
    seed = registry.seeds[memory_card.serial]
    memory_card.power_on()
    outcome = provision(memory_card)
    assert outcome.server.status == "already-registered"
    assert registry.seeds == {memory_card.serial: seed} and memory_card.seed == seed


def test_a_stopped_reseeding_withdraws_the_old_seed_once(memory_card, registry, provision):
    provision(memory_card)
    killed_at(memory_card, PUT, provision, reseed=True)
    registry.calls.clear()
    provision(memory_card, reseed=True)
    assert "withdraw" not in registry.calls


# -- what is refused before anything is written --------------------------------------------------


def test_a_card_that_was_wiped_for_good(memory_card, registry, journal, provision):
    """Its channel is closed; a card that opens one all the same is refused here."""
    memory_card.life_cycle = 0xFF
    with pytest.raises(CardRefusedError):
        provision(memory_card)
    provision.states.clear()
    revived = dataclasses.replace(memory_card, life_cycle=7, kvn=1, commands=[])
    revived.keys = kdf3(make_ring().firm[1].reveal(), revived.serial.encode())
    genuine = revived._get_data
    revived._get_data = lambda tag: b"\xff" if tag == 0xDF24 else genuine(tag)
    with pytest.raises(RefusedError, match="wiped for good"):
        provision(revived, reseed=True)
    assert journal.latest(memory_card.serial) is None and not registry.calls
    assert PUT_KEY not in {command[1] for command in revived.commands}


def test_a_blank_card_with_the_serial_of_one_in_service(make_card, registry, journal, provision):
    """Perhaps a counterfeit: neither of the two is touched."""
    genuine = make_card()
    provision(genuine)
    blank = make_card()
    with pytest.raises(RefusedError, match="already put a card with the serial number") as caught:
        provision(blank)
    assert "counterfeit" in caught.value.todo
    assert blank.kvn == 0xFF and not blank.seed
    assert registry.seeds == {genuine.serial: genuine.seed}
    assert not journal.unfinished()


def test_what_a_refused_card_in_service_is_told(memory_card, registry, provision):
    provision(memory_card)
    with pytest.raises(RefusedError, match="the server knows it"):
        provision(memory_card)
    registry.seeds.clear()
    with pytest.raises(RefusedError, match="the server does not know it"):
        provision(memory_card)


def test_the_registrar_of_a_foreign_registration_is_named(memory_card, registry, provision):
    registry.seeds[memory_card.serial] = ELSEWHERE
    with pytest.raises(RefusedError, match=r"by station-1"):
        provision(memory_card)
    registry._card = lambda serial, status: Registered(serial, status, 6, 2, None, None)
    with pytest.raises(RefusedError, match=r"by another station"):
        provision(memory_card)


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        ((0, 1, 0), True),
        ((0, 0, 9), True),
        ((0, 1, 1), False),
        ((0, 2, 0), False),
        ((1, 0, 0), False),
    ],
)
def test_the_oldest_firmware_that_is_taken(memory_card, provision, wanted, taken):
    assert memory_card.version[:3] == bytes((0, 1, 0))
    if taken:
        assert provision(memory_card, minimum_version=wanted).serial
    else:
        with pytest.raises(RefusedError, match="below the policy"):
            provision(memory_card, minimum_version=wanted)
        assert memory_card.kvn == 0xFF


# -- keys ----------------------------------------------------------------------------------------


def two_masters():
    """A station whose cards have version 1, and whose current version is 2."""
    from tallystick.provisioning.custody.software import SoftwareCustody

    ring = make_ring()
    ring.firm[2] = Secret(bytes(range(16, 32)))
    ring.firm_version = 2
    return SoftwareCustody(ring)


def test_older_keys_of_the_firm_are_replaced(memory_card, registry, provision):
    killed_at(memory_card, PUT_KEY, provision)
    assert memory_card.kvn == 1
    outcome = provision(memory_card, two_masters())
    assert outcome.key_version == memory_card.kvn == 2
    assert memory_card.keys == kdf3(bytes(range(16, 32)), memory_card.serial.encode())
    puts = [command for command in memory_card.commands if command[1] == PUT_KEY]
    assert len(puts) == 2


def test_keys_that_are_current_are_not_put_again(memory_card, provision):
    killed_at(memory_card, PUT, provision)
    provision(memory_card)
    assert [command[1] for command in memory_card.commands].count(PUT_KEY) == 1


def test_a_card_that_keeps_its_old_keys_although_it_confirmed_new_ones(
    memory_card, registry, provision
):
    killed_at(memory_card, PUT_KEY, provision)
    genuine = memory_card._put_key

    def only_say_so(data, secure):
        keys, kvn = memory_card.keys, memory_card.kvn
        answer = genuine(data, secure)
        memory_card.keys, memory_card.kvn = keys, kvn
        return answer

    memory_card._put_key = only_say_so
    with pytest.raises(RefusedError, match="does not use the keys it has just confirmed") as caught:
        provision(memory_card, two_masters())
    assert caught.value.kept == "It has no seed." and not memory_card.seed
    assert not registry.seeds


def test_a_card_that_becomes_another_with_its_new_keys(memory_card, registry, provision):
    """The firm's keys of another serial number prove another card."""
    genuine = memory_card._put_key

    def change(data, secure):
        answer = genuine(data, secure)
        memory_card.serial = "TS00000009"
        memory_card.keys = kdf3(make_ring().firm[1].reveal(), b"TS00000009")
        return answer

    memory_card._put_key = change
    with pytest.raises(RefusedError, match="TS00000001 does not use the keys"):
        provision(memory_card)
    assert not memory_card.seed and not registry.seeds


def test_a_card_whose_new_keys_are_others(memory_card, registry, provision):
    genuine = memory_card._put_key

    def other(data, secure):
        answer = genuine(data, secure)
        memory_card.keys = (bytes(16),) * 3
        return answer

    memory_card._put_key = other
    with pytest.raises(SecureChannelError, match="does not prove"):
        provision(memory_card)
    assert not memory_card.seed and not registry.seeds


# -- codes ---------------------------------------------------------------------------------------


def test_each_of_the_two_codes_counts(memory_card, registry, provision):
    genuine = memory_card.code
    for wrong in (0, 1):
        memory_card.code = lambda factor, wrong=wrong: (
            "000000" if factor == wrong else genuine(factor)
        )
        with pytest.raises(RefusedError, match="other codes"):
            provision(memory_card)
        assert not memory_card.seed and not registry.seeds


def test_a_code_is_typed_three_times_at_most(memory_card, registry, provision):
    asked = []

    def typed(serial):
        asked.append(serial)
        return "000000"

    with pytest.raises(RefusedError, match="was not the right one"):
        provision(memory_card, confirm=typed)
    assert asked == [memory_card.serial] * 3 and not memory_card.seed


def test_the_code_of_the_display_is_the_third(memory_card, registry, provision):
    """One that the line has already given away proves no display."""
    with pytest.raises(RefusedError, match="was not the right one"):
        provision(memory_card, confirm=lambda serial: memory_card.code(1))
    assert not memory_card.seed and not registry.seeds


def test_a_seed_that_the_card_no_longer_has_can_be_taken_back(memory_card, registry, provision):
    """The card says that it has none: that is what was wanted."""

    def reset_and_refuse(call):
        if call == "register":
            memory_card.name = memory_card.seed = b""
            raise RegistryRefusedError("revoked", "401")

    registry.before = reset_and_refuse
    with pytest.raises(RegistryRefusedError, match="revoked") as caught:
        provision(memory_card)
    assert "has no seed" in caught.value.kept


def test_a_seed_that_cannot_be_taken_back_leaves_the_run_open(
    memory_card, registry, journal, provision
):
    """It is not said to be deleted when it is not."""
    genuine = memory_card._oath

    def keep(ins, data, secure):
        if ins == 0x02:
            from tests.provisioning.memory_card import Refused

            raise Refused("6985")
        return genuine(ins, data, secure)

    memory_card._oath = keep
    registry.before = FailOnce("register", RegistryRefusedError("revoked", "401"))
    with pytest.raises(CardRefusedError):
        provision(memory_card)
    assert memory_card.seed and journal.open_run(memory_card.serial) is not None


def test_a_full_card_of_another_kind_of_refusal_is_not_reset(memory_card, registry, provision):
    """Only "no space" means that a credential of another name is in the way."""
    genuine = memory_card._oath

    def refuse(ins, data, secure):
        from tests.provisioning.memory_card import Refused

        if ins == PUT:
            raise Refused("6A80")
        return genuine(ins, data, secure)

    memory_card._oath = refuse
    with pytest.raises(CardRefusedError):
        provision(memory_card)
    assert 0x04 not in {command[1] for command in memory_card.commands}


# -- secrets are forgotten -----------------------------------------------------------------------


class Kept:
    """Every channel's keys and every seed that was made."""

    def __init__(self, monkeypatch):
        self.keys, self.seeds = [], []
        self._note(monkeypatch, SoftwareChannelKeys, self.keys)
        self._note(monkeypatch, SoftwareSeed, self.seeds)

    @staticmethod
    def _note(monkeypatch, kind, into):
        genuine = kind.__init__

        def init(self, *arguments, **named):
            genuine(self, *arguments, **named)
            into.append(self)

        monkeypatch.setattr(kind, "__init__", init)

    def forgotten(self):
        no_keys = all(not any(vars(one).values()) for one in self.keys)
        return no_keys and all(not any(one.reveal()) for one in self.seeds)


@pytest.fixture
def kept(monkeypatch):
    return Kept(monkeypatch)


def test_session_keys_and_seed_are_forgotten(memory_card, kept, provision):
    provision(memory_card)
    assert len(kept.keys) == 2 and len(kept.seeds) == 1
    assert kept.forgotten()


@pytest.mark.parametrize("ins", [0x82, 0xCA, PUT_KEY, 0x84, PUT, CALCULATE, 0xF0])
def test_they_are_forgotten_when_it_stops_anywhere(memory_card, kept, provision, ins):
    killed_at(memory_card, ins, provision)
    assert kept.keys and kept.forgotten()


@pytest.mark.parametrize("act", ["keep_seed", "advance", "finish"])
def test_they_are_forgotten_when_the_journal_does_not_take_a_step(
    memory_card, kept, provision, monkeypatch, act
):
    def full(self, *arguments):
        raise JournalWriteError("the disk is full")

    monkeypatch.setattr(StationJournal, act, full)
    with pytest.raises(JournalWriteError):
        provision(memory_card)
    assert len(kept.seeds) == 1 and kept.forgotten()


def test_they_are_forgotten_when_the_card_is_refused(memory_card, kept, provision):
    for plan in ({"expected_serial": "TS99999999"}, {"minimum_version": (9, 0, 0)}):
        with pytest.raises(RefusedError):
            provision(memory_card, **plan)
        memory_card.power_on()
    memory_card.keys = (bytes(16),) * 3
    with pytest.raises(SecureChannelError):
        provision(memory_card)
    assert len(kept.keys) == 3 and kept.forgotten()


def test_a_resumed_seed_is_forgotten_too(memory_card, kept, provision):
    killed_at(memory_card, PUT, provision)
    provision(memory_card)
    assert len(kept.seeds) == 2 and kept.forgotten()


def test_a_closed_channel_sends_nothing(memory_card, link, custody):
    from tallystick.provisioning.card.connection import CommandApdu

    channel = SecureChannel.open(CardConnection(link), custody.channel_keys)
    channel.close()
    before = len(memory_card.commands)
    with pytest.raises(SecureChannelError, match="is closed"):
        channel.transmit(CommandApdu(0x80, 0xCA, 0xDF, 0x20))
    channel.close()  # again does no harm
    assert len(memory_card.commands) == before


# -- the line ------------------------------------------------------------------------------------


def test_how_often_a_lost_answer_is_tried(memory_card, registry, journal, provision, monkeypatch):
    from tallystick.common.errors import NoDeviceError
    from tallystick.provisioning import steps
    from tallystick.provisioning.card.t1 import AnswerLostError

    tries = []

    def lose(*arguments, **named):
        tries.append(1)
        raise AnswerLostError("lost")

    monkeypatch.setattr(steps, "select_oath", lose)
    with pytest.raises(NoDeviceError, match="kept losing") as caught:
        provision(memory_card)
    assert len(tries) == ATTEMPTS == 3
    assert "Nothing was written" in caught.value.kept
