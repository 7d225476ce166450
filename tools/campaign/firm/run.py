"""A firm from the first morning to the last evening, and what must hold at the end."""

from __future__ import annotations

import gc
import hashlib
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from sqlalchemy import Connection

from tallystick.emulator import boards
from tallystick.emulator.devices.image import Image
from tallystick.emulator.interpreter import resident
from tallystick.server.accounts import credentials, firms, passwords, people
from tallystick.server.accounts.credentials import NewCredential, Role
from tallystick.server.accounts.policy import FirmPolicy, PersonRole
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.store.opened import opened
from tallystick.tools import fresh
from tallystick.tools.campaign.engine.memory import memory_folder
from tallystick.tools.campaign.firm.acts import carry_out
from tallystick.tools.campaign.firm.directory import PersonnelOffice
from tallystick.tools.campaign.firm.ending import (
    acknowledged,
    at_rest,
    figures,
    no_new_seed_in_clear,
)
from tallystick.tools.campaign.firm.ground import (
    URL,
    FirmChance,
    FirmClock,
    House,
    house_settings,
    in_order,
    without_threads,
    without_waiting,
)
from tallystick.tools.campaign.firm.leaks import Eavesdropper, printed, unwatched, within
from tallystick.tools.campaign.firm.ledger import Ledger
from tallystick.tools.campaign.firm.oracle import ZONE, Judge
from tallystick.tools.campaign.firm.parts import (
    CardDrawer,
    NotingCustody,
    Pocket,
    Portal,
    StationDesk,
    desk_client,
    key_ring,
)
from tallystick.tools.campaign.firm.portal import PASSWORD, PortalBrowser
from tallystick.tools.campaign.firm.script import (
    FirmAct,
    Mishap,
    SimulatedFirm,
    Verb,
    joiners,
    script,
)
from tallystick.tools.campaign.firm.world import START, Counts, Employee, FirmEvent, FirmWorld

_COLLECTED_AFTER = 50_000  # objects
_STATIONS = 2
_DESKS = 2
_SERVICES = 2
_STRANGER = "203.0.113.1"
_STAFF = ("desk-1", "desk-2")
_LOG = "tallystick"
_ANOTHER = "another"  # firm


@dataclass
class FirmResult:
    """digest: of the trace, the databases and the flash of every card and reader. told: the trace.
    happened: how often each kind of act and of fault came about."""

    firm: SimulatedFirm
    simulated_hours: float = 0.0
    faults: int = 0
    acts: int = 0
    violations: list[str] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    happened: dict[str, int] = field(default_factory=dict)
    digest: str = ""
    wall_seconds: float = 0.0
    told: list[FirmEvent] = field(default_factory=list, repr=False)


def simulate(
    firm: SimulatedFirm,
    acts: Sequence[FirmAct] | None = None,
    *,
    image: Image,
    keep: Path | None = None,
    on_act: Callable[[int], None] = lambda at: None,
    until: int | None = None,
    look: Callable[[FirmWorld], None] = lambda world: None,
) -> FirmResult:
    """acts: in place of the whole script. keep: a folder for the databases and the cards' flash as
    they are at the end. on_act: told of the time, in seconds since the first midnight. until: it
    stops after that instant, and what must hold at rest is not asked. look: is shown the firm where
    it has stopped."""
    began = time.perf_counter()
    played = list(script(firm) if acts is None else acts)
    result = FirmResult(firm)
    with _world(firm, image) as world:
        world.on_act = on_act
        world.until = until
        world.play(played, carry_out)
        with unwatched():
            look(world)
        if until is None and not world.judge.violations:
            at_rest(world)
        result.acts, result.counts = world.counts.acts, world.counts
        result.simulated_hours = round(max(world.at, 0) / 3600, 2)
        result.violations = list(world.judge.violations)
        world.ear.look()
        result.counts.heard = world.ear.bytes
        result.counts.lost_connections = world.house.lost
        result.counts.states = len(world.factory.states)
        result.counts.kills = world.house.ended + sum(one.kills for one in world.stations)
        result.happened = _happened(world)
        result.faults = sum(result.happened.get(one, 0) for one in Mishap)
        result.told = world.told
        with unwatched():
            hashes = _flash(world, keep)
        folder = world.house.folder
        world.close()
        result.digest = _digest(world.told, folder, hashes)
        if keep is not None:
            _keep(folder, keep)
    result.wall_seconds = round(time.perf_counter() - began, 2)
    return result


@contextmanager
def _world(firm: SimulatedFirm, image: Image) -> Iterator[FirmWorld]:
    """A firm on the morning of its first day: its server runs, its stations are enrolled."""
    clock, chance = FirmClock(START), FirmChance(firm.seed)
    with ExitStack() as stack:
        stack.enter_context(_rarely_collected())
        stack.enter_context(resident.enabled())
        figures()  # by itself: it draws, and its cards have a time of their own
        if firm.with_readers:
            fresh.image(boards.DEFAULT_READER)  # made by other programs
        stack.enter_context(chance.given())
        stack.enter_context(clock.given())
        stack.enter_context(without_waiting())
        stack.enter_context(without_threads())
        folder = stack.enter_context(memory_folder())
        policy = FirmPolicy(time_zone=ZONE)
        start = _start_of(firm, policy, chance)
        start.write_to(folder)
        made = start.credentials
        judge = Judge(policy)
        ear = Eavesdropper(judge.seeds, judge.shown)
        stack.enter_context(_overheard(ear))
        stack.enter_context(printed(ear))
        stack.enter_context(within(folder, ear, judge.violation))
        house = House(folder, clock, chance, ear.hears)
        given = (*(one for some in made.values() for one in some), start.of_another)
        callers = {one.token.reveal().decode(): one.id for one in given}
        house.ledger = Ledger(
            folder / "server.db", callers, clock.server, judge.violation, start.firm_id
        )
        drawer = stack.enter_context(CardDrawer(image, firm.seed))
        stations = []
        for number, credential in enumerate(made[Role.STATION]):
            ring = key_ring(credential)
            stations.append(
                StationDesk(
                    house, clock, NotingCustody(ring, judge.makes),
                    folder / f"station-{number}.journal", f"10.0.1.{number}", hears=ear.hears,
                )
            )  # fmt: skip
        desks = [
            desk_client(house, one, f"10.0.2.{number}")
            for number, one in enumerate(made[Role.DESK])
        ]
        service = made[Role.SERVICE][0].token.reveal()
        stranger = httpx.Client(
            base_url=URL,
            transport=house.transport(_STRANGER),
            headers={"authorization": f"Bearer {made[Role.DESK][0].token.reveal().decode()}"},
        )
        world = FirmWorld(
            firm, house, clock, chance, judge, policy, stations, desks,
            Portal(house, service, "10.0.3.1"), stranger,
            PortalBrowser(house, "10.0.4.1"), start.firm_id,
            PersonnelOffice(house, made[Role.SCIM][0], made[Role.ADMIN][0]), ear,
            [Employee(-1, login, None) for login in _STAFF],
            PortalBrowser(house, _STRANGER),
            drawer,
            Portal(house, made[Role.SERVICE][1].token.reveal(), "10.0.3.2"),
            Portal(house, start.of_another.token.reveal(), "10.0.6.1"),
        )  # fmt: skip

        def ended(away_s: int, when: str) -> None:
            acknowledged(world)
            no_new_seed_in_clear(world)
            world.server_ended(away_s, when)

        house.after_end = ended
        house.says = world.say
        world.pockets = [
            Pocket(drawer, number, f"TS{number + 1:08}") for number in range(firm.cards)
        ]
        later = set(joiners(firm))
        world.people = [
            Employee(number, login_of(number), None, known=number not in later)
            for number in range(firm.people)
        ]
        try:
            yield world
        finally:
            world.close()


def login_of(number: int) -> str:
    return f"p{number + 1:04}"


@dataclass(frozen=True)
class _Start:
    """The server's files on the first morning, and the credentials that were given out."""

    files: dict[str, bytes] = field(repr=False)
    credentials: dict[Role, list[NewCredential]] = field(repr=False)
    of_another: NewCredential
    firm_id: int = 0

    def write_to(self, folder: Path) -> None:
        for name, content in self.files.items():
            (folder / name).touch(mode=0o600)
            (folder / name).write_bytes(content)


_STARTS: dict[SimulatedFirm, _Start] = {}
"""Of the last firm: one story is played many times while it is shortened."""


def _start_of(firm: SimulatedFirm, policy: FirmPolicy, chance: FirmChance) -> _Start:
    if firm not in _STARTS:
        _STARTS.clear()
        chance.turn(-1)
        with tempfile.TemporaryDirectory() as name:
            settings = house_settings(Path(name), lambda: START)
            with opened(settings):
                pass
            in_order(Path(name) / "server.db")
            with opened(settings) as parts, parts.database.write() as connection:
                firm_id = firms.by_name(connection, "default").id
                firms.set_policy(
                    connection, parts.ring, firm_id, policy, now=START, actor="console"
                )
                made = _credentials(connection, parts.ring, firm_id)
                _hire(connection, firm, firm_id)
                another = _another_firm(connection, parts.ring, firm)
            files = {one.name: one.read_bytes() for one in Path(name).iterdir()}
        _STARTS[firm] = _Start(files, made, another, firm_id)
    chance.turn(0)
    return _STARTS[firm]


def forget_starts() -> None:
    """Before the product is broken in another way: a server's files are as the one made them."""
    _STARTS.clear()


def _credentials(
    connection: Connection, ring: ServerKeyRing, firm_id: int
) -> dict[Role, list[NewCredential]]:
    made: dict[Role, list[NewCredential]] = {}
    wanted = {
        Role.STATION: _STATIONS, Role.DESK: _DESKS, Role.SERVICE: _SERVICES, Role.SCIM: 1,
        Role.ADMIN: 1,
    }  # fmt: skip
    for role, count in wanted.items():
        for number in range(count):
            one = credentials.add(
                connection, ring, role=role, name=f"{role.value} {number}", now=START,
                actor="console", firm_id=firm_id,
            )  # fmt: skip
            made.setdefault(role, []).append(one)
    return made


def _another_firm(
    connection: Connection, ring: ServerKeyRing, firm: SimulatedFirm
) -> NewCredential:
    """On the same server, with people of the same logins. → its service's credential"""
    firm_id = firms.add(connection, ring, _ANOTHER, now=START, actor="console")
    for number in range(firm.people):
        people.add(
            connection, firm_id=firm_id, login=login_of(number), role=PersonRole.USER, email=None,
            now=START,
        )  # fmt: skip
    return credentials.add(
        connection, ring, role=Role.SERVICE, name="service of another firm", now=START,
        actor="console", firm_id=firm_id,
    )  # fmt: skip


def _hire(connection: Connection, firm: SimulatedFirm, firm_id: int) -> None:
    """Everybody who is there on the first day."""
    later = set(joiners(firm))
    hired = [(login_of(number), PersonRole.USER) for number in range(firm.people)
             if number not in later]  # fmt: skip
    with_passwords = {login_of(number) for number in (*range(firm.with_readers), *firm.with_phones)}
    for login, role in (*hired, *((login, PersonRole.SUPPORT) for login in _STAFF)):
        person_id = people.add(
            connection, firm_id=firm_id, login=login, role=role,
            email=f"{login}@firm.example", now=START,
        )  # fmt: skip
        if login in with_passwords or role is PersonRole.SUPPORT:
            passwords.store(connection, person_id, passwords.hash_new(PASSWORD), START)


@contextmanager
def _rarely_collected() -> Iterator[None]:
    """The collector would look at the same objects of the server again and again."""
    before = gc.get_threshold()
    gc.set_threshold(_COLLECTED_AFTER, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def _overheard(ear: Eavesdropper) -> Iterator[None]:
    """What is logged is for whoever runs the programs; here it is listened to. What Tallystick's
    own say is, to the last word; of whatever else logs, what would be seen."""
    logger, root = logging.getLogger(_LOG), logging.getLogger()
    before = logger.level, logger.propagate
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    for one in (logger, root):
        one.addHandler(ear)
    try:
        yield
    finally:
        for one in (logger, root):
            one.removeHandler(ear)
        logger.level, logger.propagate = before


# -- what is told of it -------------------------------------------------------------------------


def _happened(world: FirmWorld) -> dict[str, int]:
    """How often each kind of act came about. Of a fault that is armed, how often it has struck: a
    cut that met a write, an end that met a commit, a line that was harmed."""
    house, stations = world.house, world.stations
    docked = sum(one.cut for one in stations)
    struck = {
        Mishap.CUT: sum(one.cuts for one in world.pockets) - docked,
        Mishap.DOCK_CUT: docked,
        Mishap.READER_CUT: sum(one.cuts for one in world.readers.values()),
        Mishap.SERVER_ENDS: house.ended_at_once,
        Mishap.SERVER_AWAY: house.went_away,
        Mishap.ANSWER_LOST: house.answers_lost,
        Mishap.NETWORK_LOST: house.cuts,
        Mishap.DATABASE_LOST: house.lost_once,
        Mishap.AIMED: house.hit,
        Mishap.STATION_ENDS: sum(one.kills for one in stations),
        Mishap.LINE: sum(one.harmed for one in stations),
        Mishap.STATION_DISK: sum(one.filled for one in stations),
    }
    kinds = (*Verb, *Mishap)
    return {one.value: int(struck.get(one, world.happened[one])) for one in kinds}


def _flash(world: FirmWorld, keep: Path | None) -> list[bytes]:
    hashes = []
    for pocket in world.pockets:
        if pocket.untouched:
            continue
        content = bytes(pocket.card.flash.memory)
        pocket.card.flash.put_away()
        hashes.append(hashlib.sha256(content).digest())
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{pocket.serial}.flash").write_bytes(content)
    for number in sorted(world.readers):
        reader = world.readers[number]
        content = bytes(reader.reader.flash.memory)
        hashes.append(hashlib.sha256(content).digest())
        if keep is not None:
            (keep / f"{reader.serial}.flash").write_bytes(content)
    return hashes


def _digest(told: Sequence[FirmEvent], folder: Path, hashes: Sequence[bytes]) -> str:
    """SHA-256 over the trace, the databases' files, and the flash."""
    made = hashlib.sha256()
    for one in told:
        made.update(f"{one.number} {one}\n".encode())
    for file in sorted((*folder.glob("*.db"), *folder.glob("*.journal"))):
        made.update(file.read_bytes())
    for content in hashes:
        made.update(content)
    return made.hexdigest()


def _keep(folder: Path, keep: Path) -> None:
    keep.mkdir(parents=True, exist_ok=True)
    for log in keep.glob("*-wal"):  # of another firm, it would be taken for this one's
        log.unlink()
    for file in folder.iterdir():
        if file.is_file():
            kept = keep / file.name
            kept.touch(mode=0o600)  # the server takes no keys that others may read
            kept.write_bytes(file.read_bytes())
