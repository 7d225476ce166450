"""What must hold whatever the relay did: no forged answer was taken, no secret was learnt, no card
is left that the journal does not know, and an honest line brings every card to its end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tallystick.common.errors import TallyError
from tallystick.emulator.devices.card import Card
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.card.issuer import TRANSPORT_KEYS, IssuerSession, LifeCycle
from tallystick.provisioning.card.oath import OathSession, select_oath
from tallystick.provisioning.card.scp03 import SecureChannel
from tallystick.provisioning.journal import FINISHED, CardState
from tallystick.provisioning.recovery import look_at
from tallystick.tools.campaign.wire.relay import Relay
from tallystick.tools.campaign.wire.scenarios import Scenario, UpdateScenario, WireStation
from tallystick.tools.campaign.wire.world import SERIAL, Taken, finger
from tallystick.tools.docked import DockedLink
from tallystick.tools.flash.field import SlotState, running

_WINDOW = 40  # codes that a card may be ahead
_PART = 8  # bytes of a secret that are as good as known when they are seen
_MORE = b"\x61"
_OK = b"\x90\0"
_SECURE, _ISSUER = 0x04, 0x80
# Instructions that change something, of the OATH applet and of the issuer.
_CHANGES = {0: (0x01, 0x02, 0x04, 0x05), _ISSUER: (0xD8, 0xF0, 0xE6, 0xE8)}

Problem = tuple[str, str]
"""Its kind in one word, and what was seen."""


@dataclass(frozen=True)
class CardNow:
    """What a card tells over an honest line, inside the channel that its keys open."""

    serial: str
    key_version: int
    life_cycle: LifeCycle
    names: tuple[str, ...]


def learnt(relay: Relay, station: WireStation, serials: tuple[str, ...]) -> Iterator[Problem]:
    """Secrets that passed the relay in the clear."""
    heard = [relay.transcript.contents(way) for way in "<>"]
    heard.append(b"".join(block for _, block in relay.transcript.blocks))
    for serial in serials:
        for name, value in station.custody.secrets_of(serial):
            parts = [value[at : at + _PART] for at in range(0, len(value) - _PART + 1, _PART)]
            if any(part in said for part in parts for said in heard):
                yield "secret", f"a {name} of {serial} passed in the clear"
    yield from station.custody.problems


def forged(relay: Relay, taken: list[Taken]) -> Iterator[Problem]:
    """Answers that the station took inside a channel, and no card gave to that command."""
    for command, answer in taken:
        if answer[-2:-1] == _MORE:
            continue
        told, core = relay.told, _without_le(command)
        begin = next((n for n, (who, what) in enumerate(told) if who == "c" and core in what), -1)
        if begin < 0:
            yield "forged", f"an answer to {command[:4].hex()}, which no card ever had, was taken"
        elif ("a", answer) not in told[begin:]:
            yield "forged", f"an answer to {command[:4].hex()} that no card gave was taken"


def obeyed(relay: Relay) -> Iterator[Problem]:
    """Commands of the relay's own that a card took, though it has no keys."""
    for apdu, answer, first in relay.own:
        if answer[-2:] != _OK or first:
            continue
        if apdu[0] & _SECURE or apdu[1] in _CHANGES[apdu[0] & _ISSUER]:
            yield "obeyed", f"a card took {apdu[:4].hex()} from the relay"


def _without_le(apdu: bytes) -> bytes:
    """How much of an answer is wanted is nothing that a C-MAC covers."""
    short = apdu[4] != 0
    size = 5 + apdu[4] if short else 7 + int.from_bytes(apdu[5:7], "big")
    return apdu[:size]


def now(card: Card, station: WireStation) -> CardNow:
    """Raises TallyError when the card does not open its channel to the station's keys."""
    with CardConnection(DockedLink(card)) as connection:
        seen = look_at(connection)
        if seen.life_cycle is LifeCycle.TERMINATED:
            return CardNow(seen.serial, 0, seen.life_cycle, seen.credentials)
        select_oath(connection)
        channel = SecureChannel.open(connection, station.custody.channel_keys)
        names = tuple(entry.name for entry in OathSession(channel).list())
        life_cycle = IssuerSession(channel).life_cycle()
        return CardNow(seen.serial, channel.update.key_version, life_cycle, names)


def left(scenario: Scenario, station: WireStation, card: Card) -> Iterator[Problem]:
    """What is wrong with a card as the relay left it."""
    try:
        found = now(card, station)
    except TallyError as error:
        yield "keys", f"it does not open to the station's keys: {error.what}"
        return
    record = station.journal.latest(found.serial)
    if found.life_cycle is LifeCycle.TERMINATED:
        if not scenario.wiped:
            yield "ended", f"{found.serial} is wiped, which nobody wanted"
        return
    touched = found.key_version != TRANSPORT_KEYS or found.names
    if record is None and (touched or station.registry.lookup(found.serial)):
        yield "unknown", f"{found.serial} has keys or a seed, and the journal does not know it"
    if record is not None and record.state is CardState.FAILED and found.names:
        yield "unknown", f"{found.serial} has a seed, and the journal has given its run up"
    if any(name != found.serial for name in found.names):
        yield "renamed", f"{found.serial} has the credential {found.names}"
    in_service = found.life_cycle is LifeCycle.SECURED
    if in_service and (record is None or record.state not in (*FINISHED, CardState.REGISTERED)):
        known = record.state if record else "nothing"
        if scenario.flash is None or record is None or not record.reseed:
            yield "unknown", f"{found.serial} is in service, and the journal knows {known}"


def finished(scenario: Scenario, station: WireStation, card: Card) -> Iterator[Problem]:
    """What is wrong with a card of which the station says that it is done."""
    try:
        found = now(card, station)
    except TallyError as error:
        yield "keys", f"it is done, and does not open to the station's keys: {error.what}"
        return
    if scenario.wiped:
        if found.life_cycle is not LifeCycle.TERMINATED:
            yield "ended", f"{SERIAL} is said to be wiped, and is {found.life_cycle.name}"
        return
    if found.life_cycle is not LifeCycle.SECURED or found.names != (SERIAL,):
        yield "unfinished", f"it is done, and is {found.life_cycle.name} with {found.names}"
        return
    if found.key_version != station.custody.firm_version:
        yield "unfinished", f"it is done, and has key version {found.key_version:02X}"
    record = station.journal.latest(SERIAL)
    if record is None or record.state not in FINISHED:
        yield "unknown", f"it is done, and the journal has {record.state if record else 'nothing'}"
    if isinstance(scenario, UpdateScenario):
        yield from _updated(scenario, card)
    yield from _code(station, card)


def _updated(scenario: UpdateScenario, card: Card) -> Iterator[Problem]:
    assert scenario.update is not None
    with CardConnection(DockedLink(card)) as connection:
        runs = running(connection)
    if runs.header != scenario.update.header or runs.state is not SlotState.CONFIRMED:
        yield "update", f"it is updated, and runs {runs.header}, {runs.state.name}"


def _code(station: WireStation, card: Card) -> Iterator[Problem]:
    if station.registry.lookup(SERIAL) is None:
        yield "unknown", "it is done, and the server does not know it"
        return
    card.run_for(500)
    card.press()
    shown = card.read_code()
    if shown not in station.registry.codes(SERIAL, _WINDOW):
        yield "seed", f"it shows {shown}, which is no code of the seed that the server has"


def finish(scenario: Scenario, station: WireStation, card: Card) -> Iterator[Problem]:
    """Over an honest line the station comes to the end of its work."""
    card.run_for(500)
    record = station.journal.latest(SERIAL)
    if type(scenario) is Scenario and record is not None and record.state in FINISHED:
        return  # it was, before the relay put another card in its place: `finished` judges it
    try:
        if scenario.wiped and now(card, station).life_cycle is LifeCycle.TERMINATED:
            return
        link = DockedLink(card)
        scenario.finish(station, link, finger(card))
        link.close()
    except TallyError as error:
        yield "stuck", f"it cannot be finished over an honest line: {error.what}"
