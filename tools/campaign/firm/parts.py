"""What the firm owns: cards that people carry, stations, a desk, and a line that is not to be
trusted."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tallystick.common.closing import Closing
from tallystick.common.errors import TallyError
from tallystick.common.identity import DEVELOPMENT_MASTER, Identity
from tallystick.common.secret import Secret
from tallystick.emulator.chip.trace import Trace
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.image import Image
from tallystick.emulator.parts.flash_memory import FlashPool
from tallystick.emulator.parts.nor_flash import Cut, FlashOperation, Phase
from tallystick.emulator.seeing.frames import Frame
from tallystick.emulator.seeing.reading import read_code
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.custody.interface import ServerCredential
from tallystick.provisioning.custody.keyfile import KeyRing, parse_credential
from tallystick.provisioning.custody.software import SoftwareCustody, SoftwareSeed
from tallystick.provisioning.desk.client import Desk
from tallystick.provisioning.recovery import CardAtHand, look_at
from tallystick.provisioning.steps import Plan, Provisioner
from tallystick.server.accounts.credentials import NewCredential
from tallystick.server.api.verify import KEY
from tallystick.tools.campaign.firm.asked import ServerSaid
from tallystick.tools.campaign.firm.ground import URL, FirmClock, House, ProcessEndedError
from tallystick.tools.campaign.station.rig import ToldConnection, ToldJournal, ToldServer
from tallystick.tools.docked import DockedLink

US = 1_000_000
ADDRESSES = {
    "the station": "10.0.1.", "the desk": "10.0.2.", "the service": "10.0.3.",
    "the portal": "10.0.4.", "the directory": "10.0.5.",
}  # fmt: skip
"""Whose network can be lost, and how their addresses begin."""
_DOCK_WRITES = 80  # of its flash, that making a card takes
_HOST, _AGENT = URL.partition("//")[2], f"python-httpx/{httpx.__version__}"
_DARK_MS = 33_000  # a code is up for half a minute
_FIRM_MASTER = bytes(range(16))
_MADE_ON = 20260101
_EVENTS_EACH = 200  # the last ones, of a card's trace
_ALONE = 10  # one device in so many


def spared(number: int) -> bool:
    """Whether the host is spared (`Mcu.spare_host`) by this card, or reader: it does the same at
    the same instants, with a heap four times as large. One in ten has what it has in somebody's
    hand."""
    return number % _ALONE != 0


class CardDrawer(Closing):
    """Where cards come from, each when it is first taken in hand. Those that sleep keep only the
    pages of their flash that are not as in the image."""

    def __init__(self, image: Image, seed: int) -> None:
        self._image, self._seed = image, seed
        self._pool = FlashPool(image.content())
        self.made: dict[str, Card] = {}
        self.states: set[int] = set()  # hashes of flashes, as they were each time one was put away

    def card(self, number: int, serial: str) -> Card:
        card = Card(
            self._image,
            identity=Identity.derive(serial, _MADE_ON).encode(),
            seed=self._seed + number,
            trace=Trace(_EVENTS_EACH),
            pool=self._pool,
        )
        self.made[serial] = card
        if spared(number):
            card.mcu.spare_host()
        card.power_on()
        return card

    def copied(self, card: Card, serial: str) -> str | None:
        """What a copy of a card's flash, in another card, shows at its first press."""
        identity = Identity.derive(serial, _MADE_ON).encode()
        content = bytes(card.flash.memory)
        card.flash.put_away()
        with Card(
            self._image, identity=identity, seed=self._seed, trace=Trace(_EVENTS_EACH)
        ) as copy:
            copy.flash.memory[:] = content
            copy.power_on()
            copy.press()
            return read_code(copy.frame())

    def close(self) -> None:
        for card in self.made.values():
            card.close()
        self._pool.close()


class Pocket:
    """A card, and whoever has it in the hand. number: of the firm's cards."""

    def __init__(self, drawer: CardDrawer, number: int, serial: str) -> None:
        self._drawer, self.number, self.serial = drawer, number, serial
        self._card: Card | None = None
        self.dead = self.lost = False
        self.cut: int | None = None  # armed: from which the instant in the next press is drawn
        self.cuts = 0
        self.glimpsed: str | None = None
        self.lit: Frame | None = None  # what was last on the glass, after a press

    @property
    def card(self) -> Card:
        if self._card is None:
            self._card = self._drawer.card(self.number, self.serial)
        return self._card

    @property
    def untouched(self) -> bool:
        """Nobody has had it in the hand yet."""
        return self._card is None

    def at(self, us: int) -> Card:
        """Brought up to this instant of the firm."""
        if self.card.clock.now < us:
            self.card.run_to(us)
        return self.card

    def press(self, us: int) -> str | None:
        """The code that was on the glass after a press, be it for an instant before the power went;
        None when there was none."""
        card = self.at(us)
        if self.cut is not None and card.flash.fault_plan is None:
            self._arm(card, random.Random(self.cut))
        self.glimpsed = None
        card.press()
        if not card.powered:
            return self._after_a_cut(card)
        self.lit = card.frame()
        return read_code(self.lit)

    def press_again(self) -> str | None:
        """While something is on the glass. → the code that is on it then"""
        self.card.press()
        return read_code(self.card.frame()) if self.card.powered else None

    def put_away(self) -> None:
        """Until the glass is dark."""
        if self.card.powered:
            self.card.run_for(_DARK_MS)
        if not self.card.powered:
            self._after_a_cut(self.card)
        self.card.flash.put_away()
        self._drawer.states.add(hash(tuple(self.card.flash.kept.items())))

    def _arm(self, card: Card, rng: random.Random) -> None:
        cut = power_cut(rng)

        def plan(operation: FlashOperation) -> Cut | None:
            met = cut(operation)
            if met is not None:
                self.glimpsed = read_code(card.frame())
            return met

        card.flash.fault_plan = plan

    def _after_a_cut(self, card: Card) -> str | None:
        """The cell is put back in."""
        if self.dead or self.cut is None:
            return None
        self.cuts += 1
        self.cut = card.flash.fault_plan = None
        card.power_on()
        return self.glimpsed

    def cell_out_and_in(self, us: int) -> None:
        card = self.at(us)
        card.power_off()
        card.power_on()

    def dies(self, us: int) -> None:
        self.at(us).set_cell_mv(0)
        self.dead = True


def power_cut(rng: random.Random, among: int = 3) -> Callable[[FlashOperation], Cut | None]:
    """At one of the next writes, before, in the middle or after."""
    left = rng.randrange(among)
    phase = rng.choice(tuple(Phase))

    def plan(operation: FlashOperation) -> Cut | None:
        nonlocal left
        left -= 1
        if left >= 0:
            return None
        masks = rng.randbytes(len(operation.old))
        torn = bytes(
            a ^ ((a ^ b) & mask)
            for a, b, mask in zip(operation.old, operation.new, masks, strict=True)
        )
        return Cut(phase, torn)

    return plan


class NotingCustody(SoftwareCustody):
    """Tells which seed it made for which card. made: is told"""

    def __init__(self, ring: KeyRing, made: Callable[[str, bytes], None]) -> None:
        super().__init__(ring)
        self._made = made

    def new_seed(self, serial: str, card_entropy: bytes) -> SoftwareSeed:
        seed = super().new_seed(serial, card_entropy)
        self._made(serial, seed.reveal())
        return seed


class BadLine:
    """A `ByteLink` that loses, doubles and changes what is written to it, now and then."""

    name = "firm"

    def __init__(
        self, line: DockedLink, rng: random.Random | None, hears: Callable[[str, bytes], None]
    ) -> None:
        self._line, self._rng, self._hears = line, rng, hears
        self.harm = 0

    def write(self, data: bytes) -> None:
        self._hears("the line to a card", data)
        self._line.write(self._harmed(data))

    def read(self, timeout_s: float) -> bytes:
        data = self._line.read(timeout_s)
        if data:
            self._hears("the line to a card", data)
        return self._harmed(data)

    def drain(self) -> None:
        self._line.drain()

    def close(self) -> None:
        self._line.close()

    def _harmed(self, data: bytes) -> bytes:
        if self._rng is None or not data or self._rng.random() > 0.05:
            return data
        self.harm += 1
        at = self._rng.randrange(len(data))
        kind = self._rng.randrange(3)
        if kind == 0:
            return data[:at]
        if kind == 1:
            return data + data
        return data[:at] + bytes((data[at] ^ 1 << self._rng.randrange(8),)) + data[at + 1 :]


@dataclass
class StationDesk:
    """A station and its journal. What is armed is for the next card in the dock each, and stays
    until it has struck: dooms, after how many steps the station ends; lines, from which the harm
    done to a line is drawn; cuts, from which the end of the card's power is; full, how often its
    disk will be. kills, harmed, filled, cut: how often each has; harm: bytes' worth. meanwhile:
    after how many steps of the next card something else happens, and what. hears: is told of what
    is on the line to a card."""

    house: House
    clock: FirmClock
    custody: SoftwareCustody
    file: Path
    address: str
    dooms: list[int] = field(default_factory=list)
    lines: list[random.Random] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    full: int = 0
    kills: int = 0
    harm: int = 0
    harmed: int = 0
    filled: int = 0
    cut: int = 0
    meanwhile: tuple[int, Callable[[], None]] | None = None
    last_problem: str = ""
    hears: Callable[[str, bytes], None] = lambda place, content: None

    def provision(self, pocket: Pocket, us: int, user: str | None) -> bool:
        """Once through the steps, as far as it goes. → whether the card is in service"""
        card = pocket.at(us)
        if not card.powered:
            card.power_on()
        rng = self.lines[0] if self.lines else None
        event = self.watched()
        line = BadLine(DockedLink(card), rng, self.hears)
        server, journal = self.registry(), self.journal()
        server.tell(event)
        journal.tell(event)
        if self.cuts:
            card.flash.fault_plan = power_cut(random.Random(self.cuts[0]), _DOCK_WRITES)
        if self.full:
            self.full -= 1
            self.filled += 1
            journal._database.execute("PRAGMA max_page_count=1")
        try:
            server.check()
            plan = Plan(user=user)
            maker = Provisioner(self.custody, server, journal, plan, URL, clock=self.clock.station)
            maker.provision(ToldConnection(line, event), lambda _state, _serial: None)
        except ProcessEndedError:
            self.kills += 1
            self.last_problem = "it was ended"
            return False
        except TallyError as error:
            self.last_problem = error.what
            return False
        finally:
            self.harm += line.harm
            if line.harm:
                self.harmed += 1
                self.lines.pop(0)
            journal.close()
            server.close()
            line.close()
            card.flash.fault_plan = None
            if card.powered:
                card.settle()
            else:
                pocket.cuts += 1
                self.cut += 1
                self.cuts.pop(0)
        return True

    def watched(self) -> Callable[[str], None]:
        """Is told of each command, request and journal's write; raises ProcessEndedError at the one
        that is the station's doom."""

        def event(label: str) -> None:
            self._perhaps_meanwhile()
            if self.dooms:
                self.dooms[0] -= 1
                if self.dooms[0] < 0:
                    self.dooms.pop(0)
                    raise ProcessEndedError(label)

        return event

    def _perhaps_meanwhile(self) -> None:
        if self.meanwhile is None:
            return
        left, happens = self.meanwhile
        self.meanwhile = (left - 1, happens) if left else None
        if not left:
            happens()

    def registry(self) -> ToldServer:
        """The station's way to the server; whoever asks closes it."""
        return ToldServer(self.custody.server(), transport=self.house.transport(self.address))

    def journal(self) -> ToldJournal:
        """Whoever asks closes it."""
        return ToldJournal(self.file, who="firm", now=self.clock.station)

    def states(self) -> dict[str, list[str]]:
        """What the journal says of each card."""
        journal = self.journal()
        try:
            rows = journal._database.execute("SELECT serial, state FROM cards").fetchall()
        finally:
            journal.close()
        said: dict[str, list[str]] = {}
        for serial, state in rows:
            said.setdefault(serial, []).append(state)
        return said


def looked_at(pocket: Pocket, us: int, hears: Callable[[str, bytes], None]) -> CardAtHand:
    """What the card says of itself in its dock, to anybody. hears: is told of what is on the
    line."""
    card = pocket.at(us)
    if not card.powered:
        card.power_on()
    line = BadLine(DockedLink(card), None, hears)
    try:
        return look_at(CardConnection(line))
    finally:
        line.close()
        card.settle()


def key_ring(credential: NewCredential) -> KeyRing:
    """The firm's master, enrolled with a station's credential."""
    assert credential.psk is not None
    ring = KeyRing.create(DEVELOPMENT_MASTER)
    ring.firm, ring.firm_version = {1: Secret(_FIRM_MASTER)}, 1
    body = {
        "id": credential.id,
        "role": "station",
        "token": credential.token.reveal().decode(),
        "psk": credential.psk.reveal().hex(),
    }
    ring.enroll(parse_credential(URL, body))
    return ring


class Portal:
    """A service that asks for a code: what it knows is its credential."""

    def __init__(self, house: House, token: bytes, address: str) -> None:
        self._house, self._address = house, address
        self._headers = {
            "authorization": f"Bearer {token.decode()}", "host": _HOST, "user-agent": _AGENT
        }  # fmt: skip

    def check(self, login: str, code: str, name: str = "") -> ServerSaid:
        """name: of the question, where it may be asked again"""
        return self._ask("/v1/verify", {"user": login, "code": code}, name)

    def check_at_once(self, *typed: tuple[str, str]) -> list[ServerSaid]:
        """Services ask at the same instant, each with a login and a code."""
        requests = [
            self._request("/v1/verify", {"user": login, "code": code}) for login, code in typed
        ]
        try:
            answers = self._house.answers(requests, self._address)
        except httpx.TransportError as error:
            return [ServerSaid(0, asked=not isinstance(error, httpx.ConnectError))] * len(typed)
        return [_said(one) for one in answers]

    def find_again(self, login: str, first: str, second: str) -> ServerSaid:
        return self._ask("/v1/resynchronise", {"user": login, "codes": [first, second]})

    def _ask(self, path: str, body: Mapping[str, object], name: str = "") -> ServerSaid:
        request = self._request(path, body)
        if name:
            request.headers[KEY] = name
        try:
            return _said(self._house.answer(request, self._address))
        except httpx.TransportError as error:
            return ServerSaid(0, asked=not isinstance(error, httpx.ConnectError))

    def _request(self, path: str, body: Mapping[str, object]) -> httpx.Request:
        return httpx.Request("POST", URL + path, headers=self._headers, json=body)


def _said(answer: httpx.Response) -> ServerSaid:
    told = answer.json()
    if answer.status_code == 429:
        return ServerSaid(429, reason="throttled", retry_after_s=int(told["retry_after_s"]))
    if answer.status_code != 200:
        return ServerSaid(answer.status_code, reason=str(told["error"]["code"]))
    return ServerSaid(200, bool(told["accepted"]), str(told["reason"]), told["serial"])


def desk_client(house: House, credential: NewCredential, address: str) -> Desk:
    way = ServerCredential(URL, credential.id, credential.token)
    return Desk(way, transport=house.transport(address))
