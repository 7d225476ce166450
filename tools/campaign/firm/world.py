"""Everything at once: the firm as it stands at an instant, and what each act does to it."""

from __future__ import annotations

import datetime
import heapq
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx

from tallystick.emulator import boards
from tallystick.emulator.devices.device import FirmwareCrashError
from tallystick.provisioning.desk.client import Desk
from tallystick.server.accounts.policy import FirmPolicy
from tallystick.tools import fresh
from tallystick.tools.campaign.firm.asked import ServerSaid
from tallystick.tools.campaign.firm.cells import CellSeen
from tallystick.tools.campaign.firm.directory import PersonnelOffice
from tallystick.tools.campaign.firm.ground import FirmChance, FirmClock, House
from tallystick.tools.campaign.firm.leaks import SAID, Eavesdropper
from tallystick.tools.campaign.firm.oracle import ZONE, Judge
from tallystick.tools.campaign.firm.parts import US, CardDrawer, Pocket, Portal, StationDesk
from tallystick.tools.campaign.firm.portal import PASSWORD, PortalBrowser, Telephone
from tallystick.tools.campaign.firm.script import FirmAct, SimulatedFirm
from tallystick.tools.campaign.firm.thumbs import ThumbReader

_CLOCKS_S = 9 * 3600  # the longest that a clock is wrong, and the longest lock

START = datetime.datetime(2027, 3, 22, tzinfo=ZoneInfo(ZONE)).timestamp()
"""A Monday; on the Sunday after it (`CHANGE_DAY`) the clocks go forward."""


@dataclass
class Employee:
    """number: as in the script. loan: the spare that is in the pocket meanwhile. leaving: the
    server was told to bar him, by_directory: by the directory; gone: and has said that it did.
    recovered: the card has set the password anew, so it is no second factor beside it; None: no
    answer came. quarrelled: until when guesses of strangers may keep him out of the portal. used:
    the newest code that was accepted, and its factor; pair: two in a row that were. session:
    cookies of the browser that is signed in."""

    number: int
    login: str
    own: Pocket | None
    loan: Pocket | None = None
    loan_until: int = 0
    known: bool = True
    leaving: bool = False
    by_directory: bool = False
    gone: bool = False
    last_code: str = ""
    pair: tuple[str, str] | None = None
    used: tuple[str, int] = ("", 0)
    phone: Telephone | None = None
    password: str = PASSWORD
    passwords: int = 0
    recovered: bool | None = False
    quarrelled: int = 0
    session: dict[str, str] = field(default_factory=dict)

    @property
    def pocket(self) -> Pocket | None:
        return self.loan or self.own


@dataclass(frozen=True)
class FirmEvent:
    """What happened. at: seconds since the first midnight. number: of the act."""

    at: int
    number: int
    words: str

    def __str__(self) -> str:
        return f"{moment(self.at)}: {self.words}"


def moment(at: int) -> str:
    return f"day {at // 86400}, {at % 86400 // 3600:02}:{at % 3600 // 60:02}"


@dataclass
class Counts:
    """portal: log-ins at the portal with a typed code; thumbs: those with a thumb. calls: to the
    help desk, also of strangers. recoveries: passwords that were set anew. heard: bytes that were
    looked through for seeds. states: how many different flashes cards had after they were used."""

    acts: int = 0
    log_ins: int = 0
    refused: int = 0
    presses: int = 0
    thumbs: int = 0
    portal: int = 0
    calls: int = 0
    recoveries: int = 0
    resynchronised: int = 0
    kills: int = 0
    lost_connections: int = 0
    heard: int = 0
    states: int = 0


@dataclass
class FirmWorld:
    """One firm while it is simulated. until: nothing happens after this, in seconds since the first
    midnight. doubted: cards of which the desk does not know what has become. looked_for: whose
    seeds were, in what the database has written. waiting: a card that is made while the other
    station makes the next; whose. happened: how often each kind of act came about.
    of_another_firm: a service of a firm on the same server."""

    firm: SimulatedFirm
    house: House
    clock: FirmClock
    chance: FirmChance
    judge: Judge
    policy: FirmPolicy
    stations: list[StationDesk]
    desks: list[Desk]
    portal: Portal
    stranger: httpx.Client
    browser: PortalBrowser
    firm_id: int
    office: PersonnelOffice
    ear: Eavesdropper
    staff: list[Employee]
    strange_browser: PortalBrowser
    factory: CardDrawer
    another_service: Portal
    of_another_firm: Portal
    pockets: list[Pocket] = field(default_factory=list)
    people: list[Employee] = field(default_factory=list)
    told: list[FirmEvent] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    readers: dict[int, ThumbReader] = field(default_factory=dict)
    drawer: list[Pocket] = field(default_factory=list)
    doubted: set[str] = field(default_factory=set)
    looked_for: set[str] = field(default_factory=set)
    cells: dict[str, CellSeen] = field(default_factory=dict)
    clocks_until: int = -1
    until: int | None = None
    stolen: list[tuple[Pocket, Employee]] = field(default_factory=list)
    later: list[tuple[int, int, int, Callable[[], None]]] = field(default_factory=list)
    act: FirmAct = field(default_factory=lambda: FirmAct(0, 0, ""))
    shift: int = 0
    waiting: tuple[int, Callable[[], None]] | None = None
    happened: Counter[str] = field(default_factory=Counter)
    on_act: Callable[[int], None] = lambda at: None
    _sub: int = 0
    _noted: int = 0
    _closed: bool = False

    # -- time ----------------------------------------------------------------------------------

    @property
    def at(self) -> int:
        return int(self.clock.now - START)

    @property
    def us(self) -> int:
        return self.at * US

    def after(self, seconds: int, what: Callable[[], None]) -> None:
        self._sub += 1
        heapq.heappush(self.later, (self.at + seconds, self.act.number, self._sub, what))

    def say(self, words: str) -> None:
        """Also what programs have told whoever uses them: it is listened to."""
        self.ear.hears(SAID, words.encode() + b"\n")
        self.told.append(FirmEvent(self.at, self.act.number, words))

    def wrong(self, what: str) -> None:
        self.judge.violation(what)

    def play(
        self, acts: Sequence[FirmAct], carry_out: Callable[[FirmWorld, FirmAct], None]
    ) -> None:
        """In order, each with what comes of it, until there is a violation."""
        for act in acts:
            self._play_later(act.at)
            if self.judge.violations or self._is_over(act.at):
                return
            self._begin(act)
            self.counts.acts += 1
            self.on_act(act.at)
            before = self._signs()
            self._do(partial(carry_out, self, act))
            self.happened[act.what] += self._signs() != before
            if self.judge.violations:
                return
        self._play_later(1 << 60)

    def _signs(self) -> tuple[int, int]:
        """What changes when anything comes about."""
        return len(self.told), self.counts.presses

    def _is_over(self, at: int) -> bool:
        return self.until is not None and at > self.until

    def _do(self, what: Callable[[], None]) -> None:
        """Whatever the product's own code raises that nobody takes is a violation, with its place:
        a person would see a traceback."""
        try:
            what()
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            name = f"{type(error).__name__} in {Path(place.filename).name}, {place.name}"
            self.wrong(f"something failed: {name}")
        self._note_verdicts()

    def _play_later(self, until: int) -> None:
        while self.later and self.later[0][0] <= until and not self.judge.violations:
            if self._is_over(self.later[0][0]):
                return
            at, number, sub, what = heapq.heappop(self.later)
            self._begin(FirmAct(at, number, "", 0, sub))
            self._do(what)

    def _begin(self, act: FirmAct) -> None:
        self.act = act
        self.clock.now = max(self.clock.now, START + act.at)
        self.chance.turn(act.number * 1000 + act.draw % 997)

    def _note_verdicts(self) -> None:
        for what in self.judge.violations[self._noted :]:
            self.say(f"VIOLATION: {what}")
        self._noted = len(self.judge.violations)

    # -- cards ---------------------------------------------------------------------------------

    def press(self, pocket: Pocket, *, twice: bool = False) -> tuple[str, int] | None:
        """→ the code that is on the glass, and its factor. twice: once more while it is there"""
        self.counts.presses += 1
        before = pocket.cuts
        cell = self.cells.get(pocket.serial)
        if cell is not None:
            cell.presses += 1
        try:
            code = pocket.press(self.us)
        except FirmwareCrashError as error:
            self.wrong(f"card {pocket.serial} crashed: {error.what.splitlines()[-1]}")
            return None
        factor = None if code is None else self.judge.saw(pocket.serial, code)
        if twice and code is not None and pocket.card.powered:
            again = pocket.press_again()
            if again not in (code, None):
                self.wrong(f"card {pocket.serial} shows another code when it is pressed twice")
        if pocket.cuts > before:
            self.judge.restarted(pocket.serial)
            if cell is not None:
                cell.cut_short += 1
            seen = "" if code is None else ", with a code on its glass"
            self.say(f"card {pocket.serial} loses its power while it writes{seen}")
            return None
        return None if factor is None or code is None else (code, factor)

    def reader_of(self, who: Employee) -> ThumbReader:
        if who.number not in self.readers:
            image = fresh.image(boards.DEFAULT_READER)
            self.readers[who.number] = ThumbReader.fresh(image, who.number, self.firm.seed)
        return self.readers[who.number]

    def somebody(self, number: int) -> tuple[Employee, Pocket] | None:
        """From this one on, whoever has a card of his own that works, and no other."""
        for one in (*self.people[number:], *self.people[:number]):
            card = one.own
            if card is None or card.dead or card.lost or not self.in_service(card):
                continue
            if one.known and not one.leaving and one.loan is None:
                return one, card
        return None

    def may_be_locked_out(self, who: Employee) -> bool:
        """A stranger has guessed at a card of his, and at a telephone: of two, what is not locked
        answers for what is."""
        return who.phone is not None and self.at < who.quarrelled

    def in_service(self, pocket: Pocket) -> bool:
        return pocket.serial in self.judge.cards

    # -- the server ----------------------------------------------------------------------------

    def ask(self, who: Employee, pocket: Pocket, code: str, factor: int) -> ServerSaid:
        said = self.check(who.login, code)
        self.answered(who, pocket, (code, factor), said)
        return said

    def answered(
        self, who: Employee, pocket: Pocket, seen: tuple[str, int], said: ServerSaid
    ) -> None:
        """A service was told this of a code that was on a card's glass."""
        code, factor = seen
        self.judge.asked(pocket.serial, factor, said)
        if said.accepted:
            in_a_row = factor == who.used[1] + 1 and pocket is who.own
            who.pair = (who.used[0], code) if in_a_row else None
            who.last_code, who.used = code, (code, factor)

    def check(self, login: str, code: str) -> ServerSaid:
        """A service asks."""
        said = self.portal.check(login, code)
        self.judged(login, said)
        return said

    def judged(self, login: str, said: ServerSaid) -> None:
        """A service's question was answered: as policy says of locks, where one card is all that
        the person has."""
        if said.status == 500:
            self.wrong(f"the server answered {said.status} {said.reason}")
        who = self.people[int(login[1:]) - 1]
        card = who.own
        if card is None or card.lost or not self.in_service(card):
            return
        if who.phone is not None or who.loan is not None or who.leaving:
            self.judge.touched(card.serial)
        else:
            self.judge.answered(card.serial, said, self.clock.server())

    def close(self) -> None:
        """Everything that is open. A second time: nothing."""
        if self._closed:
            return
        self._closed = True
        self.browser.close()
        self.strange_browser.close()
        self.office.close()
        for reader in self.readers.values():
            reader.close()
        self.stranger.close()
        for desk in self.desks:
            desk.close()
        for station in self.stations:
            station.custody.close()
        self.house.close()

    @property
    def in_trouble(self) -> bool:
        return self.house.in_trouble

    @property
    def clocks_were_wrong(self) -> bool:
        """Of late: what was locked, lent or used meanwhile has a time that is wrong."""
        return self.at < self.clocks_until

    def clocks_are_wrong(self) -> None:
        self.clocks_until = self.at + _CLOCKS_S

    def befallen(self, station: StationDesk, pocket: Pocket) -> int:
        """How often anything befell the making of a card, or the server."""
        return self.house.struck + station.kills + station.harm + station.filled + pocket.cuts

    def server_ended(self, away_s: int, when: str) -> None:
        """Nobody starts it again before so many seconds have passed."""
        back = f"away for {away_s // 60} minutes" if away_s else "there again at once"
        self.say(f"the server has ended {when.replace('commit', 'its commit')}, and is {back}")
        if away_s:
            self.after(away_s, self._server_is_back)

    def _server_is_back(self) -> None:
        self.house.down = False
        self.say("the server is started again")

    @property
    def desk(self) -> Desk:
        return self.desks[self.shift % len(self.desks)]
