"""What a card goes through in its life, each on its own and all in one docking, with a firm's
station at the other end. A path raises a TallyError, or PathError, when the card cannot follow."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path

from tallystick.common.errors import TallyError
from tallystick.common.identity import DEVELOPMENT_MASTER
from tallystick.emulator.devices.card import Card
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.card.issuer import IssuerSession, LifeCycle
from tallystick.provisioning.card.oath import OathSession, select_oath
from tallystick.provisioning.card.scp03 import SecureChannel
from tallystick.provisioning.card.t1 import Waiting
from tallystick.provisioning.custody.interface import Custody
from tallystick.provisioning.custody.keyfile import KeyRing
from tallystick.provisioning.custody.software import SoftwareCustody
from tallystick.provisioning.journal import StationJournal
from tallystick.provisioning.registries.choose import registry_for
from tallystick.provisioning.registry import Registry
from tallystick.provisioning.steps import Plan, Provisioner
from tallystick.tools.docked import DockedLink
from tallystick.tools.flash.field import Update, install
from tallystick.tools.image.build import build, write
from tallystick.tools.selftest import checks

_SLEEP_MS = 45_000
_numbers = count(1)


class PathError(TallyError):
    """The card did not do what this step of a path needs."""


@dataclass
class Home:
    """A station whose registry is a folder. Each card has a serial number of its own."""

    custody: Custody
    registry: Registry
    journal: StationJournal
    serials: Iterator[str] = field(default_factory=lambda: (f"TH{n:08}" for n in _numbers))

    def provision(self, connection: CardConnection) -> None:
        provisioner = Provisioner(self.custody, self.registry, self.journal, Plan(), "")
        provisioner.provision(connection, lambda _state, _serial: None)

    def channel(self, connection: CardConnection) -> SecureChannel:
        return SecureChannel.open(connection, self.custody.channel_keys)


@contextmanager
def home() -> Iterator[Home]:
    with tempfile.TemporaryDirectory() as folder:
        ring = KeyRing.create(DEVELOPMENT_MASTER)
        key_file = Path(folder) / "registry-key.json"
        where = f"pskc:{Path(folder) / 'cards'}"
        custody, registry = registry_for(
            where, SoftwareCustody(ring), key_file, lambda _new: secrets.token_hex(16)
        )
        registry.check()
        journal = StationJournal(Path(folder) / "journal")
        try:
            yield Home(custody, registry, journal)
        finally:
            journal.close()
            registry.close()
            custody.close()


class _Person:
    """Looks at the glass, and presses for 120 ms when asked. Implements checks.Tester."""

    def __init__(self, card: Card, *, presses: bool = True) -> None:
        self._card = card
        self._presses = presses

    def sees(self, what: str) -> bool:
        return not self._card.frame().blank

    def press(self) -> None:
        if self._presses:
            self._presses = False  # once
            self._card.button.push()
            self._card.run_for(120)
            self._card.button.release()

    def waiting(self) -> Waiting:
        return Waiting(self.press)


@cache
def _newer(board: str) -> Update:
    with tempfile.TemporaryDirectory() as folder:
        return Update.parse(
            write(build("card", board, "255.0.0"), Path(folder))["update"].read_bytes()
        )


def _need(good: bool, what: str) -> None:
    if not good:
        raise PathError(f"The card does not {what}.")


# -- steps -------------------------------------------------------------------------------------


def _show_code(card: Card) -> None:
    card.press()
    _need(card.read_code() is not None, "show a code")
    card.run_for(_SLEEP_MS)


def _show_info(card: Card) -> None:
    card.press(1_900)
    _need(not card.frame().blank and card.read_code() is None, "say who it is")
    card.run_for(_SLEEP_MS)


def _use_over_the_line(card: Card, line: CardConnection) -> None:
    select_oath(line)
    applet = OathSession(line)
    applet.calculate(applet.list()[0].name, _Person(card).waiting())


def _update(card: Card, line: CardConnection, at: Home) -> None:
    update = _newer(card.board.name)
    install(line, at.custody.channel_keys, update, waiting=_Person(card).waiting())


def _update_refused(card: Card, line: CardConnection, at: Home) -> None:
    """Nobody presses."""
    update = _newer(card.board.name)
    try:
        install(line, at.custody.channel_keys, update, waiting=Waiting())
    except TallyError as error:
        _need("no press came" in error.what, "wait for a press")


def _self_test(card: Card, line: CardConnection, channel: SecureChannel | None) -> None:
    report = checks.run(line, _Person(card), transmitter=channel)
    # The heap is what is measured here: its own check compares it with the board's.
    bad = [one.name for one in report.checks if one.verdict is checks.CheckVerdict.FAILED]
    _need(bad in ([], ["heap"]), f"pass its self-test: {', '.join(bad)}")


# -- paths -------------------------------------------------------------------------------------


def _press_without_key(card: Card, at: Home) -> None:
    card.press()
    _need(not card.frame().blank, "say that it has no key")


def _info(card: Card, at: Home) -> None:
    _show_info(card)


def _provisioning(card: Card, at: Home) -> None:
    with CardConnection(DockedLink(card)) as line:
        at.provision(line)


def _in_service(card: Card, at: Home) -> None:
    """Provisioned, and asleep."""
    _provisioning(card, at)
    card.power_off()
    card.power_on()


def _code(card: Card, at: Home) -> None:
    _in_service(card, at)
    _show_code(card)
    _show_info(card)


def _code_on_the_dock(card: Card, at: Home) -> None:
    with CardConnection(DockedLink(card)) as line:
        at.provision(line)
        card.press()
        _need(card.read_code() is not None, "show a code on the dock")
        IssuerSession(at.channel(line)).wear()


def _codes_over_the_line(card: Card, at: Home) -> None:
    _in_service(card, at)
    with CardConnection(DockedLink(card)) as line:
        _use_over_the_line(card, line)


def _an_update(card: Card, at: Home) -> None:
    _in_service(card, at)
    with CardConnection(DockedLink(card)) as line:
        _update(card, line, at)
    card.run_for(1000)
    _show_code(card)


def _update_at_the_second_try(card: Card, at: Home) -> None:
    _in_service(card, at)
    with CardConnection(DockedLink(card)) as line:
        _update_refused(card, line, at)
        _update(card, line, at)


def _factory_self_test(card: Card, at: Home) -> None:
    with CardConnection(DockedLink(card)) as line:
        _self_test(card, line, None)


def _service_self_test(card: Card, at: Home) -> None:
    _in_service(card, at)
    with CardConnection(DockedLink(card)) as line:
        _self_test(card, line, at.channel(line))


def _wiping(card: Card, at: Home) -> None:
    _in_service(card, at)
    with CardConnection(DockedLink(card)) as line:
        waiting = _Person(card).waiting()
        IssuerSession(at.channel(line)).set_status(LifeCycle.TERMINATED, waiting)


def _everything(card: Card, at: Home) -> None:
    """What loads modules and scatters the heap, one after the other, without a start between."""
    with CardConnection(DockedLink(card)) as line:
        _self_test(card, line, None)
        at.provision(line)
        card.press()
        _need(card.read_code() is not None, "show a code on the dock")
        card.run_for(_SLEEP_MS)
        _use_over_the_line(card, line)
        _self_test(card, line, at.channel(line))
        _update_refused(card, line, at)
        _update(card, line, at)
    card.run_for(1000)
    _show_code(card)


CardPath = Callable[[Card, Home], None]
PATHS: dict[str, CardPath] = {
    "a press without a key": _press_without_key,
    "the information screen": _info,
    "provisioning": _provisioning,
    "a code, then the information screen": _code,
    "a code on the dock after provisioning": _code_on_the_dock,
    "codes over the line": _codes_over_the_line,
    "an update in service": _an_update,
    "an update at the second try": _update_at_the_second_try,
    "the self-test": _factory_self_test,
    "the self-test in service": _service_self_test,
    "wiping": _wiping,
    "everything in one docking": _everything,
}
