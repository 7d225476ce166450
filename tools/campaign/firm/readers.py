"""What happens with readers: the station enrols them, their holders take them into service, and lay
thumbs on them at the portal. A reader is plugged in when it is used."""

from __future__ import annotations

from functools import partial

from fido2.ctap import CtapError

from tallystick.common.errors import TallyError
from tallystick.tools.campaign.firm.ground import ProcessEndedError
from tallystick.tools.campaign.firm.portal import IN
from tallystick.tools.campaign.firm.script import READERS_AT, FirmAct
from tallystick.tools.campaign.firm.thumbs import ThumbReader
from tallystick.tools.campaign.firm.world import Employee, FirmWorld

_TRIES = 6
_LATER_S = 300
_FIRST_WRITES, _WRITES = 60, 3  # to its flash: while it is enrolled, and in a use


def enrol(world: FirmWorld, act: FirmAct) -> None:
    who = world.people[act.who]
    reader = world.reader_of(who)
    if who.leaving:
        return
    reader.at(world.us)
    try:
        done = _known(world, who, reader) and _in_service(world, who, reader)
    finally:
        reader.put_away()
    if done:
        return
    if reader.tries < _TRIES:
        reader.tries += 1
        world.after(_LATER_S, partial(enrol, world, act))
    elif not world.in_trouble:
        world.wrong(f"reader {reader.serial} cannot be brought into service")


def _known(world: FirmWorld, who: Employee, reader: ThumbReader) -> bool:
    if reader.known:
        return True
    try:
        reader.enrolled_by(world.stations[0], who.login)
    except TallyError as error:
        world.say(f"the station cannot enrol reader {reader.serial}: {error.what}")
        return False
    except ConnectionError:
        world.say(f"reader {reader.serial} loses its power while the station enrols it")
        return False
    except ProcessEndedError:
        world.stations[0].kills += 1
        world.say(f"the station ends while it enrols reader {reader.serial}")
        return False
    world.say(f"the station enrols reader {reader.serial} for {who.login}")
    return True


def _in_service(world: FirmWorld, who: Employee, reader: ThumbReader) -> bool:
    try:
        reader.taken_into_service()
    except CtapError as error:
        world.say(f"reader {reader.serial} refuses: {error}")
    except ConnectionError:
        world.say(f"reader {reader.serial} loses its power at its first use")
    if reader.in_service:
        world.say(f"{who.login} chooses a PIN and lays a thumb on reader {reader.serial}")
    return reader.in_service


def cut(world: FirmWorld, act: FirmAct) -> None:
    """Armed, for the next uses of somebody's reader; the first one writes most."""
    if act.at < READERS_AT + world.firm.with_readers:
        world.reader_of(world.people[act.who]).loses_power(act.draw, _FIRST_WRITES)
        return
    readers = [world.readers[number] for number in sorted(world.readers)]
    if readers:
        readers[act.draw % len(readers)].loses_power(act.draw, _WRITES)


def thumb(world: FirmWorld, act: FirmAct) -> None:
    _at_the_portal(world, world.people[act.who], _TRIES)


def _at_the_portal(world: FirmWorld, who: Employee, left: int) -> None:
    reader = world.readers.get(who.number)
    if reader is None or not reader.in_service:
        return
    reader.at(world.us)
    said = world.browser.log_in_with_thumb(who.login, reader.assertion)
    reader.put_away()
    world.judge.came_in(who.login, said, factors=(True, True))
    world.say(f"{who.login} lays a thumb on reader {reader.serial}: {said}")
    if said == IN:
        world.counts.log_ins += 1
        world.counts.thumbs += 1
        if who.gone:
            world.wrong(f"{who.login} was let in by the portal after leaving the firm")
    elif who.leaving or world.in_trouble:
        return
    elif left:
        world.after(_LATER_S, partial(_at_the_portal, world, who, left - 1))
    else:
        world.wrong(f"{who.login} is not let in with the thumb and the password: {said}")


def _with_anothers(world: FirmWorld, who: Employee) -> None:
    """A colleague has found the password, and lays his own thumb on his own reader, which a program
    of his tells that it is meant."""
    others = (one for number, one in sorted(world.readers.items()) if number != who.number)
    reader = next((one for one in others if one.in_service and one.key is not None), None)
    if reader is None:
        return
    reader.at(world.us)
    said = world.browser.log_in_with_thumb(who.login, partial(reader.assertion, meant=True))
    reader.put_away()
    world.judge.came_in(who.login, said, factors=(True, False))
    world.say(f"a colleague lays a thumb on reader {reader.serial} as {who.login}: {said}")


def strange_thumb(world: FirmWorld, act: FirmAct) -> None:
    """Somebody who has found the password and the reader."""
    who = world.people[act.who]
    reader = world.readers.get(who.number)
    if reader is None or not reader.in_service or who.leaving:
        return
    reader.at(world.us)
    said = world.browser.log_in_with_thumb(who.login, partial(reader.assertion, stranger=True))
    reader.put_away()
    world.judge.came_in(who.login, said, factors=(True, False))
    world.say(f"a stranger lays a thumb on {who.login}'s reader {reader.serial}: {said}")
    if said == IN:
        world.wrong(f"another thumb let somebody in as {who.login}")
    _with_anothers(world, who)
    seen = reader.answered
    if seen is not None:
        said = world.browser.log_in_with_thumb(who.login, lambda _options: seen)
        world.judge.came_in(who.login, said, factors=(True, False))
        world.say(f"a stranger sends once more what {who.login}'s reader has said: {said}")
