"""What each act does: people, staff, strangers, and what goes wrong.

Each goes through what its actor has: a card's button and glass, a service's or a desk's calls, a
station with its dock. The console of the server is used where the product has nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from tallystick.tools.campaign.firm import calls, desk, ending, readers, strangers
from tallystick.tools.campaign.firm.asked import ServerSaid
from tallystick.tools.campaign.firm.cells import CellSeen
from tallystick.tools.campaign.firm.ground import ANSWER, Doom
from tallystick.tools.campaign.firm.parts import ADDRESSES, Pocket
from tallystick.tools.campaign.firm.script import (
    AIMED_AT,
    IN_A_WALLET,
    FirmAct,
    Mishap,
    Verb,
    made_at,
)
from tallystick.tools.campaign.firm.world import Employee, FirmWorld

_TRIES = 6  # of somebody who wants to get in, before he goes to the desk
_LATER_S = 300
_TWICE = 8  # one press in so many is followed by another
_REGISTERING = "POST /v1/cards"
_STEPS = 52  # commands, requests and journal's writes that making a card takes, at least
_AT_ONCE, _WAITS_S = 3, 3  # one in so many waits for the next, so long
_REQUESTS = 8  # about as many as making a card takes
_OVER_S = 4 * 3600  # a clock is wrong, a disk is full: so long
_SHORT_S, _LONG_S = 600, 5400  # something is away: so long
_WRONG_S = (3600, -3600, 90, -90)
_BRIEFLY_S = 900  # more than a request is repeated for
_AIMS = (("before commit", 0), ("after commit", 0), (ANSWER, 0), ("before commit", _BRIEFLY_S))


def carry_out(world: FirmWorld, act: FirmAct) -> None:
    _ACTS[act.what](world, act)


# -- making cards ------------------------------------------------------------------------------


def _provision(world: FirmWorld, act: FirmAct) -> None:
    """One card after the other; or one while the other station is in the middle of the next."""
    if world.waiting is None and act.draw % _AT_ONCE == 1:
        make = partial(_make, world, act)
        world.waiting = act.who, make
        world.after(_WAITS_S, partial(_waits_no_more, world, make))
        return
    if world.waiting is not None and (world.waiting[0] + act.who) % len(world.stations):
        station = world.stations[act.who % len(world.stations)]
        station.meanwhile = act.draw % _STEPS, partial(_waits_no_more, world, world.waiting[1])
    _make(world, act)


def _waits_no_more(world: FirmWorld, make: Callable[[], None]) -> None:
    if world.waiting is not None and world.waiting[1] is make:
        world.waiting = None
        make()


def _make(world: FirmWorld, act: FirmAct) -> None:
    pocket = world.pockets[act.who]
    owner = world.people[act.who] if act.who < len(world.people) else None
    if owner is not None:
        _make_known(world, owner)
    _at_the_station(world, pocket, owner, left=_TRIES)


def _at_the_station(world: FirmWorld, pocket: Pocket, owner: Employee | None, left: int) -> None:
    station = world.stations[pocket.number % len(world.stations)]
    user = owner.login if owner else None
    before = world.befallen(station, pocket)
    made = station.provision(pocket, world.us, user)
    befallen = world.in_trouble or world.befallen(station, pocket) > before
    world.say(
        f"the station makes card {pocket.serial} for {user or 'the drawer'}"
        if made
        else f"the station stops at card {pocket.serial}: {station.last_problem}"
    )
    if not made and world.befallen(station, pocket) > before:
        ending.no_seed_in(world, station.file)  # it has one, and does not need it open
    if not made and not _finished_before(world, pocket):
        if left or befallen:  # what something befell was no try
            again = partial(_at_the_station, world, pocket, owner, left - (not befallen))
            world.after(_LATER_S, again)
        else:
            world.wrong(f"card {pocket.serial} cannot be made: {station.last_problem}")
        return
    world.judge.registered(pocket.serial)
    if pocket.cuts:  # it has compared codes before
        world.judge.restarted(pocket.serial)
    pocket.put_away()
    card = pocket.card
    world.cells[pocket.serial] = CellSeen(card.clock.now, card.cell.used_uah)
    if owner is not None:
        owner.own = pocket
    else:
        world.drawer.append(pocket)


def _finished_before(world: FirmWorld, pocket: Pocket) -> bool:
    """The station ended after the last step: the journal has it, and making it again is refused."""
    station = world.stations[pocket.number % len(world.stations)]
    return station.states().get(pocket.serial) == ["locked"]


def _make_known(world: FirmWorld, who: Employee) -> None:
    """The directory tells of somebody new, by SCIM or by a list; a day long, until the server has
    said that it knows."""
    if who.known:
        return
    office, by_list = world.office, who.number % 2 == 1
    said = office.joins_by_list(who.login) if by_list else office.joins(who.login)
    if said:
        who.known = True
        world.say(f"{who.login} joins, by {'a list' if by_list else 'the directory'}")
    elif said is None and not world.clocks_were_wrong:
        world.wrong(f"the server does not take {who.login} from the directory")
    else:
        world.say(f"the directory cannot tell of {who.login} now")
        world.after(_LATER_S, partial(_make_known, world, who))


# -- people ------------------------------------------------------------------------------------


def _join(world: FirmWorld, act: FirmAct) -> None:
    _make_known(world, world.people[act.who])


def _leave(world: FirmWorld, act: FirmAct) -> None:
    who = world.people[act.who]
    _bar(world, who, by_hand=who.number % 2 == 1 or bool(act.draw))


def _bar(world: FirmWorld, who: Employee, *, by_hand: bool) -> None:
    """The directory says so until the server has acknowledged it; of some, a person does."""
    if not who.known or who.gone:
        return
    who.leaving = True
    office = world.office
    said = office.bars(who.login) if by_hand and not who.by_directory else None
    by_directory = said is None  # of whoever the directory keeps, too
    if by_directory:
        who.by_directory = True
        said = office.leaves(who.login)
    if said:
        who.gone = True
        world.judge.ended.add(who.login)
        world.say(f"{who.login} leaves, and is barred")
        calls.must_be_closed(world, who)
        _try_after_leaving(world, who)
        return
    world.say(f"{who.login} leaves; the server does not say that it knows")
    world.after(_LATER_S, partial(_bar, world, who, by_hand=by_hand))


def _log_in(world: FirmWorld, act: FirmAct) -> None:
    who = world.people[act.who]
    if who.leaving:
        _try_after_leaving(world, who)
        return
    if who.pocket is None or not who.known:
        return
    _get_in(world, who, left=_TRIES)


def _try_after_leaving(world: FirmWorld, who: Employee) -> None:
    pocket = who.pocket
    if pocket is None or pocket.dead or pocket.lost or not world.in_service(pocket):
        return
    seen = world.press(pocket)
    pocket.put_away()
    if seen is None:
        return
    said = world.ask(who, pocket, *seen)
    world.say(f"{who.login}, who has left, tries to log in: {said.reason or said.status}")
    if said.accepted and who.gone:
        world.wrong(f"{who.login} was let in after leaving the firm")


def _get_in(world: FirmWorld, who: Employee, left: int) -> None:
    """Press, type, and what people do when that does not work. left: so many tries after this."""
    pocket = who.pocket
    if pocket is None or pocket.lost or who.leaving or not world.in_service(pocket):
        return
    if pocket.dead:
        desk.flat(world, who, pocket)
        return
    cuts = pocket.cuts
    seen = world.press(pocket, twice=world.act.draw % _TWICE == 1)
    pocket.put_away()
    if seen is None:
        wrong = "" if pocket.cuts > cuts else f"card {pocket.serial} shows no code"
        _try_again(world, who, left, 60, wrong)
    else:
        _type(world, who, pocket, seen, left)


def _try_again(world: FirmWorld, who: Employee, left: int, wait_s: int, otherwise: str) -> None:
    """otherwise: what is wrong when there is no try left; empty: nothing."""
    if left:
        world.after(wait_s, partial(_get_in, world, who, left - 1))
    elif otherwise:
        world.wrong(otherwise)


def _type(
    world: FirmWorld, who: Employee, pocket: Pocket, seen: tuple[str, int], left: int
) -> None:
    must = world.judge.must_be_let_in(pocket.serial, seen[1])
    over = pocket is who.loan and world.clock.server() >= who.loan_until
    struck = world.house.struck
    said = world.ask(who, pocket, *seen)
    if said.accepted:
        _is_in(world, who, pocket, over=over)
        return
    world.counts.refused += 1
    world.say(f"{who.login} is not let in: {said.reason or 'no answer'}")
    if said.status == 429:
        _try_again(world, who, left, said.retry_after_s + 1, "")
    elif said.status in (0, 503):
        known = world.in_trouble or world.house.struck > struck
        silent = "" if known else "the server answers nothing, and nothing is wrong"
        _try_again(world, who, left, _LATER_S, silent)
    elif must and not over and world.may_be_locked_out(who):
        _try_again(world, who, left, _LATER_S, "")
    elif must and not over:
        world.wrong(
            f"{who.login} was refused ({said.reason}) with the next code of card {pocket.serial}"
        )
    elif not over:
        _find_again(world, who, pocket, seen)


def _is_in(world: FirmWorld, who: Employee, pocket: Pocket, *, over: bool) -> None:
    world.counts.log_ins += 1
    world.say(f"{who.login} logs in with card {pocket.serial}")
    if over:
        world.wrong(f"{who.login} was let in with card {pocket.serial} after its loan ended")


def _find_again(world: FirmWorld, who: Employee, pocket: Pocket, first: tuple[str, int]) -> None:
    """The card was pressed too often: two codes, one after the other. Somebody is impatient, and
    types one and the next but one before."""
    seen = [first]
    for _ in range(2):
        pressed = world.press(pocket)
        pocket.put_away()
        if pressed is None:
            return
        seen.append(pressed)
    _find_by(world, who, pocket, (seen[0], seen[2]))
    said = _find_by(world, who, pocket, (seen[1], seen[2]))
    if said.accepted:
        world.counts.resynchronised += 1
        who.used, who.last_code, who.pair = seen[2], seen[2][0], (seen[1][0], seen[2][0])
        if world.act.draw % 2:
            world.after(60, partial(strangers.type_again, world, who))


def _find_by(
    world: FirmWorld, who: Employee, pocket: Pocket, pair: tuple[tuple[str, int], tuple[str, int]]
) -> ServerSaid:
    (first, before), (second, factor) = pair
    in_a_row = factor == before + 1
    must = world.judge.must_be_found(pocket.serial, factor, world.policy.resync_window)
    said = world.portal.find_again(who.login, first, second)
    world.judge.found_again(pocket.serial, factor, said)
    apart = "" if in_a_row else "by two codes that are not in a row, "
    world.say(f"card {pocket.serial} is found again: {apart}{said.reason or said.status}")
    world.judged(who.login, said)
    if said.accepted and not in_a_row:
        world.wrong(f"two codes that are not in a row have found card {pocket.serial} again")
    if must and in_a_row and said.status == 200 and not said.accepted:
        world.wrong(f"card {pocket.serial} was not found again by two codes within the window")
    return said


def _pressed_by_accident(world: FirmWorld, act: FirmAct) -> None:
    pocket = world.people[act.who].own
    if pocket is None or pocket.dead or not world.in_service(pocket):
        return
    times = IN_A_WALLET[act.draw % len(IN_A_WALLET)]
    for _ in range(times):
        world.press(pocket)
        pocket.put_away()
        world.clock.now += 60
    world.say(f"card {pocket.serial} is pressed {times} times in a wallet")


# -- the desk ----------------------------------------------------------------------------------


def _late(world: FirmWorld, act: FirmAct) -> None:
    """The loan is over, and somebody tries all the same."""
    who = world.people[act.who]
    if who.loan is not None:
        _get_in(world, who, left=0)


def _change_shift(world: FirmWorld, act: FirmAct) -> None:
    world.shift += 1
    world.say("other staff come to the desk")
    if world.shift % 2:  # in the morning
        _count(world)


def _count(world: FirmWorld) -> None:
    """What is in stock, and how far cells are down: for the film."""
    world.say(f"{len(world.drawer)} spares are in the drawer")
    used = [
        world.factory.made[serial].cell.used_uah for serial in world.cells if serial in
        world.factory.made
    ]  # fmt: skip
    if used:
        world.say(f"the cell that has given most has given {max(used):.1f} µAh")


def _sweep(world: FirmWorld, act: FirmAct) -> None:
    ending.no_new_seed_in_clear(world)
    ending.acknowledged(world)
    if world.house.ledger is not None:
        world.house.ledger.must_amount_to_what_is()
    world.house.catch_up()
    world.happened[Verb.SWEEP] += 1


# -- what goes wrong ---------------------------------------------------------------------------


def _cut(world: FirmWorld, act: FirmAct) -> None:
    """Of a card that somebody uses."""
    pockets = _in_use(world)
    if pockets:
        pockets[act.who % len(pockets)].cut = act.draw


def _in_use(world: FirmWorld) -> list[Pocket]:
    used = [one.pocket for one in world.people if one.pocket is not None and not one.leaving]
    return [one for one in used if not one.dead and not one.lost and world.in_service(one)]


def _dock_cut(world: FirmWorld, act: FirmAct) -> None:
    """A card's power, at a write while it is made."""
    world.stations[act.who % len(world.stations)].cuts.append(act.draw)


def _cell(world: FirmWorld, act: FirmAct) -> None:
    pocket = world.pockets[act.who]
    if not pocket.dead:
        pocket.cell_out_and_in(world.us)
        world.judge.restarted(pocket.serial)
        pocket.put_away()
        world.say(f"the cell of card {pocket.serial} is taken out and put in again")


def _dead(world: FirmWorld, act: FirmAct) -> None:
    """Of a card that somebody uses."""
    pockets = _in_use(world)
    if pockets:
        pocket = pockets[act.who % len(pockets)]
        pocket.dies(world.us)
        world.say(f"the cell of card {pocket.serial} is empty")


def _server_ends(world: FirmWorld, act: FirmAct) -> None:
    """And is there again at once; or only after a while, which station, desk and people live
    through."""
    away_s = 0 if act.what == Mishap.SERVER_ENDS else _a_while(act)
    what, left = ("before commit", "after commit")[act.draw & 1], (act.draw >> 1) % 4
    if _while_made(world, act):  # a card is registered, or given to somebody, and nobody hears it
        what, left = "before commit", 0 if away_s else left % 2
    within = _REGISTERING if away_s and _while_made(world, act) else ""
    world.house.doom = Doom(what, left, away_s, within)
    world.say(f"the server will end {what}")


def _aimed(world: FirmWorld, act: FirmAct) -> None:
    """At the next request of a kind."""
    path, _ = AIMED_AT[act.who]
    what, away_s = _AIMS[act.draw % len(_AIMS)]
    world.house.aimed.append(Doom(what, 0, away_s, path))


def _while_made(world: FirmWorld, act: FirmAct) -> bool:
    """Whether the cards of the first day are being made."""
    return act.at < made_at(world.firm, world.firm.cards)


def _a_while(act: FirmAct) -> int:
    return random.Random(act.draw).randrange(_SHORT_S, _LONG_S)


def _answer_lost(world: FirmWorld, act: FirmAct) -> None:
    world.house.answer_lost_at = act.draw % _REQUESTS
    world.say("an answer of the server will be lost")


def _network_lost(world: FirmWorld, act: FirmAct) -> None:
    """Some have no way to the server."""
    number = 0 if _while_made(world, act) else act.draw % len(ADDRESSES)
    whose, address = tuple(ADDRESSES.items())[number]
    world.house.cuts_off(address, (act.draw >> 3) % _REQUESTS)
    world.say(f"{whose} will have no way to the server")
    world.after(_a_while(act), partial(_network_is_well, world))


def _network_is_well(world: FirmWorld) -> None:
    world.house.has_ways()
    world.say("everybody has a way to the server")


def _database_gone(world: FirmWorld, act: FirmAct) -> None:
    world.house.database_gone = True
    world.say("the server's database is gone")
    world.after(_a_while(act), partial(_database_is_back, world))


def _database_is_back(world: FirmWorld) -> None:
    world.house.database_gone = False
    world.say("the server's database is back")


def _station_ends(world: FirmWorld, act: FirmAct) -> None:
    world.stations[act.who % len(world.stations)].dooms.append(act.draw % _STEPS)


def _station_disk(world: FirmWorld, act: FirmAct) -> None:
    world.stations[act.who % len(world.stations)].full += 1


def _database_lost(world: FirmWorld, act: FirmAct) -> None:
    world.house.loses_at = act.draw % 12
    world.say("the server will lose its database at a statement")


def _line(world: FirmWorld, act: FirmAct) -> None:
    world.stations[act.who % len(world.stations)].lines.append(random.Random(act.draw))


def _disk(world: FirmWorld, act: FirmAct) -> None:
    full = act.what == Mishap.DISK_FULL
    world.house.full, world.house.read_only = full, not full
    world.say("the server's disk is full" if full else "the server's disk takes no writes")
    world.after(600 + act.draw % _OVER_S, partial(_disk_is_well, world))


def _disk_is_well(world: FirmWorld) -> None:
    world.house.full = world.house.read_only = False
    world.say("the server's disk is well again")


def _clock(world: FirmWorld, act: FirmAct) -> None:
    world.clock.wrong = random.Random(act.draw).choice(_WRONG_S)
    world.clocks_are_wrong()
    world.say(f"the server's clock is {world.clock.wrong:+.0f} s off")
    world.after(600 + act.draw % _OVER_S, partial(_clock_is_well, world))


def _clock_is_well(world: FirmWorld) -> None:
    world.clock.wrong = 0
    world.clocks_are_wrong()
    world.say("the server's clock is set")


def _station_clock(world: FirmWorld, act: FirmAct) -> None:
    world.clock.station_wrong = random.Random(act.draw).choice(_WRONG_S)
    world.say(f"the stations' clock is {world.clock.station_wrong:+.0f} s off")
    world.after(600 + act.draw % _OVER_S, partial(_station_clock_is_well, world))


def _station_clock_is_well(world: FirmWorld) -> None:
    world.clock.station_wrong = 0
    world.say("the stations' clock is set")


_ACTS: dict[str, Callable[[FirmWorld, FirmAct], None]] = {
    Verb.PROVISION: _provision,
    Verb.JOIN: _join,
    Verb.LEAVE: _leave,
    Verb.LOG_IN: _log_in,
    Verb.PRESS: _pressed_by_accident,
    Verb.BORROW: partial(desk.borrow, try_it=partial(_get_in, left=0)),
    Verb.GIVE_BACK: desk.give_back,
    Verb.LATE: _late,
    Verb.LOSE: desk.lose,
    Verb.SHIFT: _change_shift,
    Verb.SWEEP: _sweep,
    Verb.GUESS: strangers.guess,
    Verb.REPLAY: strangers.replay,
    Verb.THIEF: strangers.thief,
    Verb.CLONE: strangers.clone,
    Verb.COPY: strangers.copy,
    Verb.RACE: strangers.race,
    Verb.ENROL_READER: readers.enrol,
    Verb.THUMB: readers.thumb,
    Verb.STRANGE_THUMB: readers.strange_thumb,
    Verb.PHONE: calls.enrol_phone,
    Verb.PORTAL: calls.portal,
    Verb.FORGET_PHONE: calls.forget_phone,
    Verb.RECOVER: calls.recover,
    Verb.CALL: calls.call,
    Verb.FALSE_CALL: calls.false_call,
    Verb.PHISH: calls.phish,
    Mishap.CUT: _cut,
    Mishap.READER_CUT: readers.cut,
    Mishap.CELL: _cell,
    Mishap.DEAD: _dead,
    Mishap.DOCK_CUT: _dock_cut,
    Mishap.SERVER_ENDS: _server_ends,
    Mishap.SERVER_AWAY: _server_ends,
    Mishap.ANSWER_LOST: _answer_lost,
    Mishap.NETWORK_LOST: _network_lost,
    Mishap.DATABASE_GONE: _database_gone,
    Mishap.STATION_ENDS: _station_ends,
    Mishap.LINE: _line,
    Mishap.DISK_FULL: _disk,
    Mishap.DISK_READ_ONLY: _disk,
    Mishap.STATION_DISK: _station_disk,
    Mishap.DATABASE_LOST: _database_lost,
    Mishap.CLOCK: _clock,
    Mishap.STATION_CLOCK: _station_clock,
    Mishap.PHONE_CLOCK: calls.phone_clock,
    Mishap.AIMED: _aimed,
}
