"""What the steps of a card refuse, trust and forget: a run that goes on in another world than it
stopped in, a card that is not what it says, and secrets that stay no longer than they are used."""

from __future__ import annotations

import dataclasses
import json

import pytest

from tallystick.common.errors import NoDeviceError, RefusedError, TallyError
from tallystick.common.identity import kdf3
from tallystick.common.secret import Secret
from tallystick.provisioning.card.connection import CardConnection, CardRefusedError
from tallystick.provisioning.card.scp03 import SecureChannel, SecureChannelError
from tallystick.provisioning.card.t1 import Waiting
from tallystick.provisioning.credential import CodeKind
from tallystick.provisioning.custody.derivation import SoftwareChannelKeys, aes_block
from tallystick.provisioning.custody.software import SoftwareCustody, SoftwareSeed
from tallystick.provisioning.jobs.ticket import make
from tallystick.provisioning.journal import CardState, JournalWriteError, StationJournal
from tallystick.provisioning.people import CardsForPeople
from tallystick.provisioning.registry import Registered
from tallystick.provisioning.server_link import OutcomeUnknownError, RegistryRefusedError
from tallystick.provisioning.steps import ATTEMPTS, Plan, Provisioner
from tests.provisioning.conftest import URL, make_ring
from tests.provisioning.memory_card import MemoryLink, Refused
from tests.provisioning.memory_registry import FailOnce, MemoryRegistry, timeout
from tests.provisioning.test_steps import Killed

ELSEWHERE = b"a seed of elsewhere!"
SERIAL = "TS00000001"
PUT_KEY, PUT, CALCULATE, SET_STATUS = 0xD8, 0x01, 0xA2, 0xF0


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


def killed_at(card, ins, provision, **more):
    """The station dies after the first command of this kind."""

    def kill(number):
        if card.commands[number][1] == ins:
            raise Killed

    card.after = kill
    with pytest.raises(Killed):
        provision(card, **more)
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


@pytest.fixture
def sealing():
    """A custody that opens no seed again, such as a token."""

    class Sealing(SoftwareCustody):
        reopens_seeds = False

        def reopen_seed(self, sealed, context):
            raise AssertionError("it cannot")

    return Sealing(make_ring())


def unanswered(card, registry, provision, custody, registered):
    """A run that is verified; its registration came to nothing, or only its answer was lost."""
    setattr(registry, "after" if registered else "before", FailOnce("register", timeout()))
    with pytest.raises(OutcomeUnknownError):
        provision(card, custody)
    registry.calls.clear()
    card.power_on()


@pytest.mark.parametrize("registered", [False, True])
@pytest.mark.parametrize("sealed", [False, True])
def test_a_card_that_has_its_seed_is_given_nothing_again(
    memory_card, registry, custody, sealing, provision, kept, registered, sealed
):
    used = sealing if sealed else custody
    unanswered(memory_card, registry, provision, used, registered)
    seed = memory_card.seed
    assert provision(memory_card, used).resumed
    sent = [command[1] for command in memory_card.commands]
    assert (sent.count(PUT), sent.count(CALCULATE)) == (1, 2)
    assert registry.seeds == {SERIAL: seed} and "withdraw" not in registry.calls
    assert len(kept.seeds) == 1 and kept.forgotten()


@pytest.mark.parametrize("registered", [False, True])
def test_a_card_that_lost_its_seed_gets_it_again(
    memory_card, registry, custody, provision, registered
):
    unanswered(memory_card, registry, provision, custody, registered)
    seed, memory_card.name, memory_card.seed = memory_card.seed, b"", b""
    provision(memory_card)
    assert registry.seeds == {SERIAL: seed} and memory_card.seed == seed
    assert "withdraw" not in registry.calls


@pytest.mark.parametrize("registered", [False, True])
def test_a_seed_that_cannot_be_opened_again_does_not_stay_on_the_server(
    memory_card, registry, sealing, provision, registered
):
    """The card lost it, and gets another one."""
    unanswered(memory_card, registry, provision, sealing, registered)
    seed, memory_card.name, memory_card.seed = memory_card.seed, b"", b""
    provision(memory_card, sealing)
    assert memory_card.seed not in (b"", seed)
    assert registry.seeds == {SERIAL: memory_card.seed}
    assert registry.calls.count("withdraw") == registered


def test_a_run_that_was_not_verified_asks_the_server_for_nothing(
    memory_card, registry, sealing, provision
):
    killed_at(memory_card, PUT, provision, custody=sealing)
    registry.calls.clear()
    provision(memory_card, sealing)
    assert registry.calls == ["lookup", "register"]
    assert registry.seeds == {SERIAL: memory_card.seed}


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


def test_firmware_of_before_the_first_release_is_not_taken(memory_card, provision):
    memory_card.version = bytes((0, 0, 9)) + b"memory"
    with pytest.raises(RefusedError, match=r"firmware 0\.0\.9, below the policy's 0\.1\.0"):
        provision(memory_card)


# -- keys ----------------------------------------------------------------------------------------


def two_masters():
    """A station whose cards have version 1, and whose current version is 2."""
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


def test_nobody_is_asked_about_a_card_whose_codes_are_wrong(memory_card, provision):
    memory_card.code = lambda factor: "000000"
    asked = []
    with pytest.raises(RefusedError, match="other codes"):
        provision(memory_card, confirm=asked.append)
    assert not asked


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


@pytest.mark.parametrize(
    ("sw", "deleted"), [("6985", False), ("6984", False), ("6985", True), ("6581", True)]
)
def test_a_seed_that_cannot_be_taken_back_leaves_the_run_open(
    memory_card, registry, journal, provision, sw, deleted
):
    """It is not said to be deleted when it is not; and a status word alone proves nothing, as it
    may be of whoever is on the line."""
    genuine = memory_card._oath

    def refuse(ins, data, secure):
        if ins == 0x02:
            if deleted:
                memory_card.name = memory_card.seed = b""
            raise Refused(sw)
        return genuine(ins, data, secure)

    memory_card._oath = refuse
    registry.before = FailOnce("register", RegistryRefusedError("revoked", "401"))
    with pytest.raises(CardRefusedError):
        provision(memory_card)
    assert bool(memory_card.seed) is not deleted
    assert journal.open_run(memory_card.serial) is not None


def test_a_card_gives_248_bits_to_its_seed(memory_card, registry, custody, provision, monkeypatch):
    """As many as fit into two blocks on the wire."""
    given, genuine = [], custody.new_seed

    def new_seed(serial, entropy):
        given.append(entropy)
        return genuine(serial, entropy)

    monkeypatch.setattr(custody, "new_seed", new_seed)
    provision(memory_card)
    assert given == [memory_card.challenges(32)[:31]]


def test_a_full_card_of_another_kind_of_refusal_is_not_reset(memory_card, registry, provision):
    """Only "no space" means that a credential of another name is in the way."""
    genuine = memory_card._oath

    def refuse(ins, data, secure):
        if ins == PUT:
            raise Refused("6A80")
        return genuine(ins, data, secure)

    memory_card._oath = refuse
    with pytest.raises(CardRefusedError):
        provision(memory_card)
    assert 0x04 not in {command[1] for command in memory_card.commands}


# -- a card that is made on a ticket -------------------------------------------------------------


class Certifying(MemoryRegistry):
    """A server that counts cards on a ticket. certified: what it was asked to sign."""

    def __init__(self):
        super().__init__()
        self.ticket = make(10, 6, 2_000_000_000)
        self.certified = []

    def certify(self, serial, facts):
        self._enter("certify")
        self.certified.append((serial, facts))
        return f"{serial}.signed"


@pytest.fixture
def certifying():
    return Certifying()


@pytest.mark.parametrize(
    ("plan", "tested"),
    [({}, "2 codes"), ({"confirm": lambda serial: None}, "3 codes, display")],
)
def test_what_is_certified_of_a_card(memory_card, certifying, custody, journal, plan, tested):
    if plan:
        plan = {"confirm": lambda serial: memory_card.code(2)}
    run = Provisioner(custody, certifying, journal, Plan(**plan), URL)
    outcome = run.provision(CardConnection(MemoryLink(memory_card)), lambda state, serial: None)
    said = {"img": "", "fw": "0.1.0 memory", "kv": 1, "st": tested}
    assert certifying.certified == [(memory_card.serial, said)]
    assert outcome.certificate == "TS00000001.signed"
    kept = journal.certificate(memory_card.serial)
    assert (kept.ticket, kept.jws) == (certifying.ticket.id, outcome.certificate)
    assert json.loads(kept.facts) == said


@pytest.mark.parametrize("error", [RegistryRefusedError("not now", "503"), timeout()])
def test_a_card_is_good_without_its_certificate(memory_card, certifying, custody, journal, error):
    """It is asked for again at the job's end, from what was noted."""
    certifying.before = FailOnce("certify", error)
    run = Provisioner(custody, certifying, journal, Plan(), URL)
    outcome = run.provision(CardConnection(MemoryLink(memory_card)), lambda state, serial: None)
    assert outcome.certificate is None and memory_card.life_cycle == 15
    kept = journal.certificate(memory_card.serial)
    assert kept.facts is not None and kept.jws is None


def test_nothing_is_certified_without_a_ticket(memory_card, certifying, custody, journal):
    certifying.ticket = None
    run = Provisioner(custody, certifying, journal, Plan(), URL)
    outcome = run.provision(CardConnection(MemoryLink(memory_card)), lambda state, serial: None)
    assert outcome.certificate is None and not certifying.certified
    assert journal.certificate(memory_card.serial) is None


@pytest.mark.parametrize(("ins", "known"), [(PUT_KEY, False), (SET_STATUS, True)])
def test_what_is_to_be_certified_is_noted_before_a_card_is_in_service(
    memory_card, certifying, custody, journal, ins, known
):
    """And that it counts on the ticket, before anything is written to it."""

    def kill(number):
        if memory_card.commands[number][1] == ins:
            raise Killed

    memory_card.before = kill
    run = Provisioner(custody, certifying, journal, Plan(), URL)
    with pytest.raises(Killed):
        run.provision(CardConnection(MemoryLink(memory_card)), lambda state, serial: None)
    kept = journal.certificate(memory_card.serial)
    assert kept.ticket == certifying.ticket.id and (kept.facts is not None) is known


def test_a_card_that_is_refused_does_not_count_on_the_ticket(
    memory_card, certifying, custody, journal, provision
):
    killed_at(memory_card, PUT_KEY, provision)
    certifying.seeds[SERIAL] = ELSEWHERE
    run = Provisioner(custody, certifying, journal, Plan(), URL)
    with pytest.raises(RegistryRefusedError, match="registered elsewhere meanwhile"):
        run.provision(CardConnection(MemoryLink(memory_card)), lambda state, serial: None)
    assert journal.certificate(SERIAL) is None


# -- what is told of it --------------------------------------------------------------------------


def test_what_is_told_of_a_card_under_way_and_at_its_end(memory_card, custody, registry, journal):
    states, times = [], iter([1.0, 3.2345678])
    run = Provisioner(custody, registry, journal, Plan(), URL, clock=lambda: next(times))
    connection = CardConnection(MemoryLink(memory_card))
    outcome = run.provision(connection, lambda *state: states.append(state))
    serial = memory_card.serial
    reached = [CardState.SEEN, CardState.AUTHENTIC, CardState.KEYED, CardState.SEEDED,
               CardState.VERIFIED, CardState.REGISTERED, CardState.LOCKED]  # fmt: skip
    assert states == [(CardState.SEEN, ""), *((state, serial) for state in reached)]
    assert (outcome.serial, str(outcome.firmware), outcome.key_version) == (serial, "0.1.0", 1)
    assert (outcome.digits, outcome.server.status, outcome.resumed) == (6, "registered", False)
    values = [aes_block(key, b"\1" * 16)[:3].hex() for key in memory_card.keys]
    assert list(outcome.check_values.values()) == values
    assert outcome.elapsed_ms == 2234.6 and outcome.certificate is None
    assert (outcome.apdus, outcome.wire_bytes) == (connection.apdus, connection.wire_bytes)


@pytest.mark.parametrize(
    ("ins", "told", "kept", "todo"),
    [
        (0xA4, [""], "Nothing was written to the card.", "repeat the command"),
        (0xCA, ["", SERIAL], "Nothing was written to the card.", "repeat the command"),
        (PUT_KEY, "authentic", "got as far as 'authentic'", "`tally station resume`"),
        (PUT, "keyed", "got as far as 'keyed'", "`tally station resume`"),
        (SET_STATUS, "registered", "got as far as 'registered'", "`tally station resume`"),
    ],
)
def test_what_is_told_of_a_card_that_went_away(
    memory_card, custody, registry, journal, ins, told, kept, todo
):
    link, states = MemoryLink(memory_card), []

    def pull(number):
        link.unplugged = memory_card.commands[number][1] == ins

    memory_card.after = pull
    run = Provisioner(custody, registry, journal, Plan(), URL)
    with pytest.raises(NoDeviceError, match="went away while it was in use") as caught:
        run.provision(CardConnection(link), lambda *state: states.append(state))
    assert kept in caught.value.kept and todo in caught.value.todo
    if isinstance(told, list):
        assert states == [(CardState.SEEN, serial) for serial in told]
    else:
        assert states[-1] == (CardState(told), SERIAL)


def test_a_state_is_told_when_the_journal_has_it(memory_card, certifying, custody, journal):
    """What is said to be done is done, whatever comes next."""
    told = []

    def check(state, serial):
        told.append(state)
        if state is CardState.AUTHENTIC:
            assert journal.certificate(serial) is not None
        if state in (CardState.SEEDED, CardState.VERIFIED, CardState.REGISTERED, CardState.LOCKED,
                     CardState.FAILED):  # fmt: skip
            assert journal.latest(serial).state is state

    run = Provisioner(custody, certifying, journal, Plan(), URL)
    certifying.before = FailOnce("register", RegistryRefusedError("revoked", "401"))
    with pytest.raises(RegistryRefusedError):
        run.provision(CardConnection(MemoryLink(memory_card)), check)
    assert told[-1] is CardState.FAILED
    run.provision(CardConnection(MemoryLink(memory_card)), check)
    assert told[-1] is CardState.LOCKED


def test_no_step_is_noted_or_taken_twice(memory_card, journal, provision):
    """A card that was registered goes on from there; one in service is not put there again."""
    killed_at(memory_card, SET_STATUS, provision)
    provision(memory_card)
    acts = [json.loads(line)["act"] for line in journal.audit_log()]
    assert len(acts) == len(set(acts)) and acts[-2:] == ["card registered", "card locked"]
    provision(memory_card, reseed=True)
    assert [command[1] for command in memory_card.commands].count(SET_STATUS) == 1


def test_a_card_is_done_when_the_version_of_its_keys_is_noted(
    memory_card, journal, provision, monkeypatch
):
    """Else nobody would know which cards a rotation has to reach."""

    def full(self, *arguments):
        raise JournalWriteError("the disk is full")

    with monkeypatch.context() as disk:
        disk.setattr(StationJournal, "note_key_version", full)
        with pytest.raises(JournalWriteError):
            provision(memory_card)
    assert journal.open_run(SERIAL).state is CardState.REGISTERED
    provision(memory_card)
    assert journal.rotation().cards == {1: [SERIAL]}


def test_only_cards_of_the_box_are_taken(memory_card, journal, provision):
    for plan, said in (
        ({"box": frozenset(["TS00000009"])}, "is not one of the box"),
        ({"box": frozenset()}, "is not one of the box"),
        ({"box": frozenset(), "expected_serial": "TS00000009"}, "is TS00000001, not TS00000009"),
    ):
        with pytest.raises(RefusedError, match=said):
            provision(memory_card, **plan)
        memory_card.power_on()
    assert memory_card.kvn == 0xFF and journal.latest(SERIAL) is None
    assert provision(memory_card, box=frozenset([SERIAL]), expected_serial=SERIAL).serial == SERIAL


def test_a_card_that_is_not_to_be_resumed_is_told_as_that(memory_card, provision):
    provision(memory_card)
    with pytest.raises(RefusedError, match="not one that stopped half-way"):
        provision(memory_card, only=frozenset(["TS00000002"]))


@pytest.mark.parametrize(("todo", "told"), [("", "Assign it on the server."), ("Ask.", "Ask.")])
def test_a_card_that_cannot_be_assigned_is_in_service_all_the_same(
    memory_card, registry, journal, provision, todo, told
):
    error = RegistryRefusedError("knows no user", "404", todo=todo)
    registry.before = FailOnce("assign", error)
    with pytest.raises(RegistryRefusedError, match="knows no user") as caught:
        provision(memory_card, user="ada")
    assert caught.value.code == "404" and caught.value.todo == told
    assert caught.value.kept == f"Card {SERIAL} is registered and in service, assigned to nobody."
    assert memory_card.life_cycle == 15 and journal.latest(SERIAL).state is CardState.LOCKED


def test_what_is_assigned_already_is_not_asked_for_again(memory_card, registry, provision):
    provision(memory_card)
    assert "assign" not in registry.calls
    registry.users[SERIAL] = "ada"
    provision(memory_card, user="ada", reseed=True)
    assert "assign" not in registry.calls


def test_a_card_with_the_number_of_a_reader_that_is_half_way(memory_card, journal, provision):
    """A label was mixed up: neither of the two is touched."""
    begun = journal.begin(memory_card.serial, "b", URL, None, device="reader")
    with pytest.raises(RefusedError, match="was given to a reader that is half-way") as caught:
        provision(memory_card)
    assert "finish that reader first" in caught.value.todo
    assert memory_card.kvn == 0xFF and journal.open_run(memory_card.serial) == begun


def test_of_two_mistakes_that_of_the_server_is_told(memory_card, journal, provision):
    journal.begin(memory_card.serial, "b", "http://localhost:1", None, device="reader")
    with pytest.raises(RefusedError, match="was begun with the server"):
        provision(memory_card)


def test_a_user_is_asked_about_before_a_run_begins(memory_card, registry, journal, provision):
    """Who is unknown costs no card."""
    asked = []

    def check_user(user, *, new_user=False):
        asked.append((user, new_user))
        if user == "eve":
            raise RegistryRefusedError("knows no user", "404")

    registry.check_user = check_user
    with pytest.raises(RegistryRefusedError, match="knows no user"):
        provision(memory_card, user="eve")
    assert memory_card.kvn == 0xFF and journal.latest(memory_card.serial) is None
    provision(memory_card, user="ada", new_user=True)
    assert asked == [("eve", False), ("ada", True)]
    assert registry.users == {memory_card.serial: "ada"}


def test_the_next_of_a_list_gets_the_next_card(make_card, registry, provision):
    people = CardsForPeople(["ada", "bob"])
    for serial in ("TS00000001", "TS00000002"):
        provision(make_card(serial=serial), people=people, batch="june")
    assert registry.users == {"TS00000001": "ada", "TS00000002": "bob"}
    left = make_card(serial="TS00000003")
    with pytest.raises(TallyError, match="Everybody in the list has a card"):
        provision(left, people=people, batch="june")
    assert left.kvn == 0xFF


def test_a_person_is_told_of_every_wait_for_the_button(memory_card, custody, registry, journal):
    told, link = [], MemoryLink(memory_card)
    link.waits = 1
    run = Provisioner(custody, registry, journal, Plan(), URL)
    waiting = Waiting(lambda: told.append(memory_card.commands[-1][1]))
    run.provision(CardConnection(link), lambda state, serial: None, waiting)
    assert len(told) == 4  # new keys, a seed, two codes


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
