"""A firm from the first morning to the last evening, and what must hold at the end."""

from __future__ import annotations

import base64
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

from tallystick.emulator.devices.image import Image
from tallystick.emulator.interpreter import resident
from tallystick.provisioning.card.issuer import LifeCycle
from tallystick.server.accounts import credentials, firms, passwords, people
from tallystick.server.accounts.credentials import NewCredential, Role
from tallystick.server.accounts.policy import FirmPolicy, PersonRole
from tallystick.server.store import audit
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.store.opened import opened
from tallystick.tools.campaign.firm.acts import carry_out
from tallystick.tools.campaign.firm.ground import (
    URL,
    FirmChance,
    FirmClock,
    House,
    house_settings,
    in_order,
    without_waiting,
)
from tallystick.tools.campaign.firm.oracle import ZONE, Judge
from tallystick.tools.campaign.firm.parts import (
    CardDrawer,
    NotingCustody,
    Pocket,
    Portal,
    StationDesk,
    desk_client,
    key_ring,
    looked_at,
)
from tallystick.tools.campaign.firm.script import FirmAct, Mishap, SimulatedFirm, joiners, script
from tallystick.tools.campaign.firm.thumbs import PASSWORD, PortalBrowser
from tallystick.tools.campaign.firm.world import START, Counts, Employee, FirmEvent, FirmWorld

_MEMORY = Path("/dev/shm")  # noqa: S108  (a folder of its own is made in it)
_STATIONS = 2
_DESKS = 2
_STRANGER = "203.0.113.1"
_LOG = "tallystick"


@dataclass
class FirmResult:
    """digest: of the trace, the databases and the flash of every card. told: the trace."""

    firm: SimulatedFirm
    simulated_hours: float = 0.0
    faults: int = 0
    acts: int = 0
    violations: list[str] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
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
) -> FirmResult:
    """acts: in place of the whole script. keep: a folder for the databases and the cards' flash as
    they are at the end. on_act: told of the time, in seconds since the first midnight."""
    began = time.perf_counter()
    played = list(script(firm) if acts is None else acts)
    result = FirmResult(firm)
    with _world(firm, image) as world:
        world.on_act = on_act
        world.play(played, carry_out)
        if not world.judge.violations:
            _end(world)
        result.acts, result.counts = world.counts.acts, world.counts
        result.simulated_hours = round(max(world.at, 0) / 3600, 2)
        result.violations = list(world.judge.violations)
        result.counts.kills = world.house.ended + sum(one.kills for one in world.stations)
        result.faults = _faults(world, played)
        result.told = world.told
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
        stack.enter_context(resident.enabled())
        stack.enter_context(chance.given())
        stack.enter_context(clock.given())
        stack.enter_context(without_waiting())
        stack.enter_context(_quiet())
        memory = _MEMORY if _MEMORY.is_dir() else None  # no commit waits for a disk
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=memory)))
        policy = FirmPolicy(time_zone=ZONE)
        start = _start_of(firm, policy, chance)
        start.write_to(folder)
        house = House(folder, clock, chance)
        made = start.credentials
        judge = Judge(policy)
        drawer = stack.enter_context(CardDrawer(image, firm.seed))
        stations = []
        for number, credential in enumerate(made[Role.STATION]):
            ring = key_ring(credential)
            stations.append(
                StationDesk(
                    house, clock, NotingCustody(ring, judge.seeds),
                    folder / f"station-{number}.journal", f"10.0.1.{number}",
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
        )  # fmt: skip
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
            files = {one.name: one.read_bytes() for one in Path(name).iterdir()}
        _STARTS[firm] = _Start(files, made, firm_id)
    chance.turn(0)
    return _STARTS[firm]


def _credentials(
    connection: Connection, ring: ServerKeyRing, firm_id: int
) -> dict[Role, list[NewCredential]]:
    made: dict[Role, list[NewCredential]] = {}
    for role, count in ((Role.STATION, _STATIONS), (Role.DESK, _DESKS), (Role.SERVICE, 1)):
        for number in range(count):
            one = credentials.add(
                connection, ring, role=role, name=f"{role.value} {number}", now=START,
                actor="console", firm_id=firm_id,
            )  # fmt: skip
            made.setdefault(role, []).append(one)
    return made


def _hire(connection: Connection, firm: SimulatedFirm, firm_id: int) -> None:
    """Everybody who is there on the first day."""
    later = set(joiners(firm))
    for number in range(firm.people):
        if number not in later:
            person_id = people.add(
                connection, firm_id=firm_id, login=login_of(number), role=PersonRole.USER,
                email=f"{login_of(number)}@firm.example", now=START,
            )  # fmt: skip
            if number < firm.with_readers:
                passwords.store(connection, person_id, passwords.hash_new(PASSWORD), START)


@contextmanager
def _quiet() -> Iterator[None]:
    """What the server logs is for whoever runs it."""
    logger = logging.getLogger(_LOG)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


# -- the end -----------------------------------------------------------------------------------


def _end(world: FirmWorld) -> None:
    """What must hold when the firm comes to rest."""
    world.house.doom = None
    world.house.full = world.house.read_only = False
    world.clock.wrong = 0
    _halves(world)
    _audit(world)
    _no_seed_in_clear(world)


def _halves(world: FirmWorld) -> None:
    """No card without its server's half, nor the other way; no factor of the server's beyond the
    card's."""
    with world.house.console() as connection:
        rows = connection.exec_driver_sql(
            "SELECT serial, moving_factor, status FROM card ORDER BY serial"
        ).all()
    known = {row.serial: row for row in rows}
    for pocket in world.pockets:
        row, seen = known.get(pocket.serial), world.judge.cards.get(pocket.serial)
        if seen is None and row is not None:
            world.judge.violation(f"the server has card {pocket.serial}, which nobody made")
        if seen is None or pocket.dead:
            continue
        if row is None:
            world.judge.violation(f"the server does not know card {pocket.serial} any more")
            continue
        if row.moving_factor > seen.shown + 1:
            world.judge.violation(
                f"card {pocket.serial}: the server's factor is {row.moving_factor}, "
                f"and the newest on the glass was {seen.shown}"
            )
        if row.moving_factor < seen.lowest:
            world.judge.violation(
                f"card {pocket.serial}: the server has forgotten that a code was used"
            )
        at_hand = looked_at(pocket, world.us)
        if at_hand.life_cycle is not LifeCycle.SECURED or at_hand.credentials != (pocket.serial,):
            world.judge.violation(f"card {pocket.serial} is left as {at_hand.life_cycle.name}")
    for station in world.stations:
        for serial, states in station.states().items():
            if serial in world.judge.cards and set(states) != {"locked"}:
                world.judge.violation(f"the journal of card {serial} ends with {states}")


def _audit(world: FirmWorld) -> None:
    """The chain verifies, and holds every act that was acknowledged."""
    with opened(world.house.settings) as parts, parts.database.read() as connection:
        for chain in audit.check(connection, parts.ring):
            if chain.broken_at is not None:
                world.judge.violation(
                    f"the audit log's chain {chain.chain} is broken at {chain.broken_at}"
                )
        ok = connection.exec_driver_sql(
            "SELECT COUNT(*) FROM audit WHERE action = 'verified' AND detail LIKE '%\"ok\"%'"
        ).scalar_one()
    answered = world.counts.log_ins - world.counts.thumbs
    if ok < answered:
        world.judge.violation(f"{answered} log-ins were answered, and the audit log has {ok}")


def _no_seed_in_clear(world: FirmWorld) -> None:
    seeds = {serial: one.seed for serial, one in world.judge.cards.items()}
    for file in sorted(world.house.folder.iterdir()):
        if not file.is_file():
            continue
        content = file.read_bytes()
        for serial, seed in seeds.items():
            if any(shape in content for shape in _shapes(seed)):
                world.judge.violation(f"the seed of card {serial} is in {file.name} in clear")


def _shapes(seed: bytes) -> tuple[bytes, ...]:
    return seed, seed.hex().encode(), base64.b32encode(seed), base64.b64encode(seed)


def _faults(world: FirmWorld, played: Sequence[FirmAct]) -> int:
    """That came about: cuts that met a write, ends that met a commit, harm on a line, and those
    that need nothing else."""
    simple = {
        Mishap.CELL, Mishap.DEAD, Mishap.DISK_FULL, Mishap.DISK_READ_ONLY, Mishap.CLOCK,
    }  # fmt: skip
    return (
        sum(one.cuts for one in world.pockets)
        + world.house.ended
        + sum(one.kills + one.harm for one in world.stations)
        + sum(act.what in simple and act.at <= world.at for act in played)
    )


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
    for file in folder.iterdir():
        if file.is_file():
            (keep / file.name).write_bytes(file.read_bytes())
