"""What must hold when the server has been ended, and when the firm comes to rest: looked up in the
files, beside what was seen, asked and answered."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from functools import cache
from pathlib import Path

from tallystick.common.errors import TallyError
from tallystick.emulator import boards
from tallystick.provisioning.card.issuer import LifeCycle
from tallystick.server.store import audit
from tallystick.server.store.opened import opened
from tallystick.tools import fresh
from tallystick.tools.campaign.firm.cells import CellFigures
from tallystick.tools.campaign.firm.leaks import found_in
from tallystick.tools.campaign.firm.parts import looked_at
from tallystick.tools.campaign.firm.world import FirmWorld


@cache
def figures() -> CellFigures:
    """The battery's, of what ships. They are made once in a process."""
    return CellFigures.of(fresh.image(boards.DEFAULT))


def acknowledged(world: FirmWorld) -> None:
    """Whatever the server has said that it did is in its files."""
    if world.house.ledger is not None:
        world.house.ledger.must_be_there()
    with closing(sqlite3.connect(world.house.folder / "server.db")) as database:
        cards = database.execute("SELECT serial, moving_factor, status FROM card").fetchall()
        barred = {
            login
            for (login,) in database.execute(
                "SELECT login FROM person WHERE disabled_at IS NOT NULL"
            )
        }
    for serial, factor, status in cards:
        seen = world.judge.cards.get(serial)
        if seen is not None and factor < seen.lowest:
            world.wrong(f"card {serial}: the server has forgotten that a code was used")
        if serial in world.judge.lost and status == "registered":
            world.wrong(f"the server has forgotten that card {serial} is lost")
    for login in sorted(world.judge.ended - barred):
        world.wrong(f"the server has forgotten that {login} has left")


def at_rest(world: FirmWorld) -> None:
    """The firm is over, and nothing is wrong with disk and clock any more."""
    world.house.is_well()
    world.clock.wrong = world.clock.station_wrong = 0
    _cells(world)
    _halves(world)
    acknowledged(world)
    if world.house.ledger is not None:
        world.house.ledger.must_amount_to_what_is()
    _chains(world)
    _who_came_in(world)
    _letters(world)
    no_seed_in_clear(world)


def _letters(world: FirmWorld) -> None:
    """Whoever was to be told of something was, once the server had its hour."""
    world.house.catch_up()
    now = int(world.clock.server())
    with closing(sqlite3.connect(world.house.folder / "server.db")) as database:
        [(left,)] = database.execute("SELECT count(*) FROM message WHERE due_at <= ?", (now,))
    if left:
        world.wrong(f"{left} letters that were due were not sent")


def _cells(world: FirmWorld) -> None:
    for pocket in world.pockets:
        cell = world.cells.get(pocket.serial)
        if cell is None or pocket.dead:
            continue
        card = pocket.at(world.us)
        if not card.powered:
            continue
        wrong = cell.wrong(card.cell.used_uah, card.clock.now, figures())
        if wrong is not None:
            world.wrong(f"the cell of card {pocket.serial} {wrong}")


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
            world.wrong(f"the server has card {pocket.serial}, which nobody made")
        if seen is None or pocket.dead:
            continue
        if row is None:
            world.wrong(f"the server does not know card {pocket.serial} any more")
            continue
        if row.moving_factor > seen.shown + 1:
            world.wrong(
                f"card {pocket.serial}: the server's factor is {row.moving_factor}, "
                f"and the newest on the glass was {seen.shown}"
            )
        try:
            at_hand = looked_at(pocket, world.us, world.ear.hears)
        except TallyError as error:
            world.wrong(f"card {pocket.serial} does not say what it is: {error.what}")
            continue
        if at_hand.life_cycle is not LifeCycle.SECURED or at_hand.credentials != (pocket.serial,):
            world.wrong(f"card {pocket.serial} is left as {at_hand.life_cycle.name}")
    for station in world.stations:
        for serial, states in station.states().items():
            if serial in world.judge.cards and set(states) != {"locked"}:
                world.wrong(f"the journal of card {serial} ends with {states}")


def _chains(world: FirmWorld) -> None:
    with opened(world.house.settings) as parts, parts.database.read() as connection:
        for chain in audit.check(connection, parts.ring):
            if chain.broken_at is not None:
                world.wrong(f"the audit log's chain {chain.chain} is broken at {chain.broken_at}")


def _who_came_in(world: FirmWorld) -> None:
    """The audit log knows of no session of the portal that the simulation did not open with two
    factors, and of each that it did."""
    with closing(sqlite3.connect(world.house.folder / "server.db")) as database:
        rows = database.execute(
            "SELECT person.login, audit.detail LIKE '%mfa%' FROM audit "
            "JOIN person ON audit.actor = 'person:' || person.id WHERE action = 'signed-in'"
        ).fetchall()
    both = Counter(login for login, two in rows if two)
    alone = {login for login, two in rows if not two} - {one.login for one in world.staff}
    for login in sorted(alone):
        world.wrong(f"the audit log has a sign-in as {login} with one factor")
    judge = world.judge
    for login in sorted(both.keys() | judge.entered.keys()):
        least = judge.entered[login]
        if not least <= both[login] <= least + judge.perhaps_entered[login]:
            world.wrong(f"{login} was let in {least} times, and the audit log has {both[login]}")


def no_seed_in_clear(world: FirmWorld) -> None:
    """Neither in what was heard, nor in any file of server and stations."""
    world.ear.look()
    for said in world.ear.found:
        world.wrong(said)
    for file in sorted(world.house.folder.rglob("*")):
        if file.is_file():
            no_seed_in(world, file)


def no_new_seed_in_clear(world: FirmWorld) -> None:
    """Of cards that were made since the last time: in what the server's database has written
    lately, which may be overwritten by the end."""
    secrets = world.judge.seeds | world.judge.shown
    made = {one: seed for one, seed in secrets.items() if one not in world.looked_for}
    for file in world.house.folder.glob("*-wal") if made else ():
        _no_seed_of(world, file, made)
    world.looked_for |= made.keys()


def no_seed_in(world: FirmWorld, file: Path) -> None:
    """In clear."""
    _no_seed_of(world, file, world.judge.seeds | world.judge.shown)


def _no_seed_of(world: FirmWorld, file: Path, seeds: Mapping[str, bytes]) -> None:
    for whose in found_in(file.read_bytes(), seeds):
        world.wrong(f"the seed of {whose} is in {file.name} in clear")
