"""Many ports at once: counting, hot-plug, and that no port holds up another."""

from __future__ import annotations

import threading

import pytest

from tallystick.common.errors import NoDeviceError
from tallystick.provisioning import batch as module
from tallystick.provisioning.batch import Batch
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.journal import CardState
from tallystick.provisioning.ports import FixedPorts, MatchingPorts, UsbPorts, source_for
from tallystick.provisioning.steps import Plan, Provisioner
from tests.provisioning.conftest import URL
from tests.provisioning.memory_card import MemoryCard, MemoryLink
from tests.provisioning.memory_registry import MemoryRegistry


class Docks:
    """Ports with a stack of cards each: taking a finished card out puts the next one in."""

    def __init__(self, stacks: dict[str, list[MemoryCard]]) -> None:
        self.stacks = stacks
        self.events: list[tuple[str, str]] = []
        self.hold = threading.Event()
        self.hold.set()

    def ports(self) -> list[str]:
        return sorted(self.stacks)

    def open(self, port: str) -> CardConnection:
        stack = self.stacks.get(port)
        if not stack:
            raise NoDeviceError(f"No card answered on {port}.")
        return CardConnection(StackLink(stack))

    def step(self, port, state, serial):
        self.events.append((port, str(state)))
        if port == "slow":
            self.hold.wait(10)

    def press(self, port):
        self.events.append((port, "press"))

    def finished(self, port, outcome):
        self.events.append((port, outcome.serial))

    def failed(self, port, serial, error):
        self.events.append((port, f"failed {serial}"))

    def empty(self, port):
        pass


class StackLink(MemoryLink):
    """A finished or failed card leaves when it is next looked for, and the next one is there."""

    def __init__(self, stack):
        super().__init__(stack[0])
        self.stack = stack

    def write(self, data):
        done = self.card.life_cycle == 0x0F or getattr(self.card, "spoilt", False)
        if data[1] == 0xC0 and done and self.card.commands:
            self.stack.pop(0)
            if not self.stack:
                self.unplugged = True
            else:
                self.card = self.stack[0]
        super().write(data)


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(module, "LOOK_FOR_PORTS_S", 0.01)
    monkeypatch.setattr(module, "LOOK_FOR_REMOVAL_S", (0.001, 0.001))
    monkeypatch.setattr(module, "REST_S", 0.01)


@pytest.fixture
def registry():
    return MemoryRegistry()


@pytest.fixture
def start(custody, registry, journal):
    def make(docks, count, already=0):
        provisioner = Provisioner(custody, registry, journal, Plan(batch="b"), URL)
        return Batch(provisioner, docks, count, docks, already=already, open_card=docks.open)

    return make


def cards(first, count):
    return [MemoryCard(serial=f"TS{n:08d}") for n in range(first, first + count)]


def test_forty_cards_on_eight_ports(start, registry, journal):
    stacks = {f"p{n}": cards(10 * n, 5) for n in range(8)}
    everything = [card for stack in stacks.values() for card in stack]
    summary = start(Docks(stacks), 40).run()
    assert len(summary.outcomes) == 40 and not summary.missing and not summary.failures
    assert len({card.seed for card in everything}) == 40
    assert registry.seeds == {card.serial: card.seed for card in everything}
    assert {record.state for record in journal.batch("b")} == {CardState.LOCKED}


def test_never_more_than_wanted(start, registry):
    stacks = {f"p{n}": cards(10 * n, 5) for n in range(4)}
    summary = start(Docks(stacks), 7).run()
    assert len(summary.outcomes) == 7 == len(registry.seeds)


def test_cards_of_earlier_runs_count(start):
    summary = start(Docks({"p": cards(0, 5)}), 10, already=8).run()
    assert len(summary.outcomes) == 2 and not summary.missing


def test_a_bad_card_does_not_end_the_batch(start, registry):
    stack = cards(0, 4)
    stack[1].keys, stack[1].spoilt = (bytes(16),) * 3, True
    summary = start(Docks({"p": stack}), 3).run()
    assert len(summary.outcomes) == 3
    (failure,) = summary.failures
    assert "does not prove" in failure.error.what


def test_a_slow_port_holds_up_no_other(start):
    docks = Docks({"slow": cards(0, 1), "quick": cards(10, 5)})
    docks.hold.clear()
    batch = start(docks, 6)

    def release(port, outcome):
        docks.events.append((port, outcome.serial))
        if outcome.serial == "TS00000014":
            docks.hold.set()

    docks.finished = release
    summary = batch.run()
    assert len(summary.outcomes) == 6
    assert summary.outcomes[-1].serial == "TS00000000"


def test_a_port_that_comes_later(start):
    docks = Docks({"p": []})
    batch = start(docks, 1)
    timer = threading.Timer(0.05, lambda: docks.stacks.__setitem__("late", cards(5, 1)))
    timer.start()
    summary = batch.run()
    timer.join()
    assert [outcome.serial for outcome in summary.outcomes] == ["TS00000005"]


def test_stop_finishes_the_card_under_way(start, registry):
    docks = Docks({"p": cards(0, 5)})
    batch = start(docks, 5)

    def stop(port, state, serial):
        if state is CardState.KEYED:
            batch.stop.set()

    docks.step = stop
    summary = batch.run()
    assert len(summary.outcomes) == 1 == len(registry.seeds)


def test_a_fault_of_the_program_ends_the_batch(start):
    docks = Docks({"p": cards(0, 5)})

    def fail(port, state, serial):
        raise ZeroDivisionError

    docks.step = fail
    with pytest.raises(ZeroDivisionError):
        start(docks, 5).run()


def test_port_sources(tmp_path):
    assert isinstance(source_for("auto"), UsbPorts)
    assert source_for("/dev/ttyUSB0,socket://127.0.0.1:5").ports() == [
        "/dev/ttyUSB0",
        "socket://127.0.0.1:5",
    ]
    assert isinstance(source_for("a"), FixedPorts)
    matching = source_for(f"{tmp_path}/card*")
    assert isinstance(matching, MatchingPorts) and matching.ports() == []
    (tmp_path / "card2").touch()
    (tmp_path / "card1").touch()
    assert matching.ports() == [f"{tmp_path}/card1", f"{tmp_path}/card2"]


@pytest.mark.parametrize("keys", [None, (bytes(16),) * 3], ids=["in service", "of another firm"])
def test_a_card_that_fails_fails_once_while_it_is_in_the_dock(start, provision_one, keys):
    """It is not tried again and again until somebody takes it out."""
    card = MemoryCard(keys=keys) if keys else provision_one(MemoryCard())
    looks = []

    class Dock(Docks):
        def open(self, port):
            return CardConnection(MemoryLink(card))

        def failed(self, port, serial, error):
            super().failed(port, serial, error)
            card.before = looks.append

    docks = Dock({"a": [card]})
    batch = start(docks, 1)
    thread = threading.Thread(target=batch.run)
    thread.start()
    for _ in range(500):
        if len(looks) >= 8:  # looks whether it is still there
            break
        threading.Event().wait(0.01)
    batch.stop.set()
    thread.join(10)
    assert len(looks) >= 8 and len(batch.summary.failures) == 1


@pytest.fixture
def provision_one(custody, registry, journal):
    def run(card):
        provisioner = Provisioner(custody, registry, journal, Plan(batch="before"), URL)
        provisioner.provision(CardConnection(MemoryLink(card)), lambda s, n: None)
        return card

    return run
