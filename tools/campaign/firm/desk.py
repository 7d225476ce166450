"""Staff at the desk: cards lent, taken back, replaced and retired. Where no answer came, they do
what the message says: they look the card up before anybody acts on it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tallystick.common.errors import TallyError
from tallystick.provisioning.desk.client import DeskCard, Where
from tallystick.provisioning.server_link import (
    NoConnectionError,
    OutcomeUnknownError,
    RegistryRefusedError,
)
from tallystick.tools.campaign.firm import strangers
from tallystick.tools.campaign.firm.oracle import end_of_day
from tallystick.tools.campaign.firm.parts import Pocket
from tallystick.tools.campaign.firm.script import SHORT_LOAN_OF, UNREAD_OF, FirmAct
from tallystick.tools.campaign.firm.world import Employee, FirmWorld

_TRIES = 3
_LATER_S = 300
_BY_AND_BY_S = 3600  # whoever is not served comes again
_TOO_MANY = "429"
_SHORT_LOAN_H = 3
_MISTYPED = 4  # of so many codes at the desk another is typed first


def _nothing() -> None:
    return None


@dataclass(frozen=True)
class DeskWish:
    """What somebody wants of the desk. do: is given the codes. serial: of the card that is looked
    up where no answer came; came_about: whether it is as wanted then. then, otherwise: what comes
    of it."""

    what: str
    serial: str
    do: Callable[[tuple[str, ...]], DeskCard]
    came_about: Callable[[DeskCard], bool]
    then: Callable[[DeskCard], None]
    otherwise: Callable[[], None] = _nothing


def serve(world: FirmWorld, wish: DeskWish, by: Pocket | None = None) -> None:
    """by: the card in the hand, which proves that with a code, or with two where it has drifted;
    None where no code is wanted."""
    if wish.serial in world.doubted:
        world.say(f"the desk has to look card {wish.serial} up first")
        wish.otherwise()
        return
    seen: list[tuple[str, int]] = []
    if by is not None:
        world.judge.touched(by.serial)
        if world.act.draw % _MISTYPED == 1 and _mistypes(world, wish, by):
            return
    for _ in range(1 if by is None else _TRIES):
        if by is not None:
            pressed = world.press(by)
            by.put_away()
            if pressed is None:
                continue
            seen.append(pressed)
        if _asked(world, wish, by, seen):
            return
    wish.otherwise()


def _mistypes(world: FirmWorld, wish: DeskWish, by: Pocket) -> bool:
    """Staff type what the card does not show: it proves nothing. → whether that is the end of it"""
    code = f"{world.act.draw % 10**6:06}"
    card = world.judge.cards[by.serial]
    if world.judge.guessed(card, code):
        return False
    try:
        wish.do((code,))
    except OutcomeUnknownError as error:
        world.say(f"the desk does not know: {error.what}")
        world.doubted.add(wish.serial)
        world.after(_LATER_S, partial(_look_up, world, wish))
        return True
    except TallyError as error:
        world.say(f"the desk mistypes a code, and is refused: {error.what}")
        return False
    world.wrong(f"the desk may {wish.what} with a code that it does not show")
    return True


def _asked(
    world: FirmWorld, wish: DeskWish, by: Pocket | None, seen: list[tuple[str, int]]
) -> bool:
    """Whether that is the end of it: False where it was refused."""
    must = by is None or _must_prove(world, by, seen)
    try:
        made = wish.do(tuple(code for code, _ in seen[-2:]))
    except NoConnectionError as error:
        world.say(f"the desk cannot {wish.what}: {error.what}")
        wish.otherwise()
    except OutcomeUnknownError as error:
        world.say(f"the desk does not know: {error.what}")
        if by is not None:
            world.judge.perhaps_used(by.serial, seen[-1][1])
        world.doubted.add(wish.serial)
        world.after(_LATER_S, partial(_look_up, world, wish))
    except RegistryRefusedError as error:
        world.say(f"the desk is refused: {error.what}")
        if not must or error.code == _TOO_MANY:
            return False
        world.wrong(f"the desk may not {wish.what} ({error.reason or error.code})")
    except TallyError as error:
        world.wrong(f"the desk fails: {error.what}")
    else:
        if by is not None:
            world.judge.used_at_the_desk(by.serial, seen[-1][1], codes=len(seen[-2:]))
        wish.then(made)
    return True


def _must_prove(world: FirmWorld, by: Pocket, seen: list[tuple[str, int]]) -> bool:
    """Whether these codes have to be good enough."""
    factor = seen[-1][1]
    if len(seen) == 1:
        return world.judge.must_be_let_in(by.serial, factor)
    in_a_row = seen[-2][1] == factor - 1
    window = world.policy.desk_resync_window
    return in_a_row and world.judge.must_be_found(by.serial, factor, window)


def _look_up(world: FirmWorld, wish: DeskWish) -> None:
    try:
        card = world.desk.card(wish.serial)
    except OutcomeUnknownError:
        world.after(_LATER_S, partial(_look_up, world, wish))
        return
    world.doubted.discard(wish.serial)
    done = card is not None and wish.came_about(card)
    world.say(f"the desk looks card {wish.serial} up: it {'was' if done else 'was not'} done")
    if done and card is not None:
        wish.then(card)
    else:
        wish.otherwise()


# -- loans -------------------------------------------------------------------------------------


def borrow(world: FirmWorld, act: FirmAct, try_it: Callable[[FirmWorld, Employee], None]) -> None:
    """try_it: somebody with a loan wants to get in."""
    who = world.people[act.who]
    if who.leaving or not who.known or who.loan is not None or not world.drawer:
        return
    spare = world.drawer.pop(0)
    if act.draw % 3 == 1:
        _played_with(world, spare)

    def then(lent: DeskCard) -> None:
        who.loan, who.loan_until = spare, lent.loan_until or 0
        world.say(f"the desk lends card {spare.serial} to {who.login}")
        if act.draw % 3 == 0:  # to the second: once before the end, once when it is over
            left = int(who.loan_until - world.clock.server())
            for wait in (left - 1, left):
                world.after(max(1, wait), partial(_on_loan, world, who, spare, try_it))
        off = who.loan_until - meant
        if abs(off) > may_be_off:
            world.wrong(f"card {spare.serial} was lent until {off:+d} s from {words}")

    now = world.clock.server()
    meant, words, may_be_off = end_of_day(now), "the end of the day", 0
    by_hours = act.draw % SHORT_LOAN_OF == 0
    if by_hours:  # the server's, whatever the desk's own clock says
        meant, words, may_be_off = int(now) + _SHORT_LOAN_H * 3600, f"{_SHORT_LOAN_H} h from now", 1

    def lend(codes: tuple[str, ...]) -> DeskCard:
        until = world.desk.terms().end(f"{_SHORT_LOAN_H}h") if by_hours else None
        return world.desk.lend(spare.serial, who.login, codes, until)

    wish = DeskWish(
        f"lend card {spare.serial} to {who.login}", spare.serial,
        lend, lambda card: card.user == who.login and card.loan_until is not None,
        then, partial(world.drawer.append, spare),
    )  # fmt: skip
    serve(world, wish, spare)


def _played_with(world: FirmWorld, spare: Pocket) -> None:
    """Somebody has pressed it in the drawer, until one code is not enough to find it."""
    if spare.dead:
        return
    for _ in range(world.policy.look_ahead):
        world.press(spare)
        spare.put_away()
    world.say(f"card {spare.serial} is pressed {world.policy.look_ahead} times in the drawer")


def _on_loan(
    world: FirmWorld, who: Employee, spare: Pocket, try_it: Callable[[FirmWorld, Employee], None]
) -> None:
    if who.loan is spare:
        try_it(world, who)


def give_back(world: FirmWorld, act: FirmAct) -> None:
    _give_back(world, world.people[act.who], _TRIES, unread=act.draw % UNREAD_OF == 0)


def _give_back(world: FirmWorld, who: Employee, left: int, *, unread: bool) -> None:
    """left: tries. unread: staff say that its display is broken, and ask for no code."""
    spare = who.loan
    if spare is None:
        return

    def otherwise() -> None:
        if left:
            world.after(_BY_AND_BY_S, partial(_give_back, world, who, left - 1, unread=unread))

    if who.leaving and not who.gone:
        otherwise()
        return
    found = who.gone and who.by_directory  # until then the server takes it for lost

    def then(_card: DeskCard) -> None:
        if who.loan is not spare:
            return  # it came back meanwhile
        who.loan = None
        world.say(f"{who.login} gives card {spare.serial} back")
        if not spare.dead:
            _over_the_counter(world, who, spare)
            world.drawer.append(spare)

    if found:
        wish = DeskWish(
            f"say that card {spare.serial} is found", spare.serial,
            lambda _codes: world.desk.set_lost(spare.serial, lost=False),
            lambda card: card.where is Where.POOL, then, otherwise,
        )  # fmt: skip
        serve(world, wish)
        return
    reason = "flat" if spare.dead else "broken" if unread else ""
    wish = DeskWish(
        f"take back card {spare.serial}", spare.serial,
        lambda codes: world.desk.give_back(spare.serial, codes, reason=reason),
        lambda card: card.where is Where.POOL, then, otherwise,
    )  # fmt: skip
    serve(world, wish, None if reason else spare)


def _over_the_counter(world: FirmWorld, who: Employee, spare: Pocket) -> None:
    """Whoever has given a card back has seen the next code on its glass."""
    seen = world.press(spare)
    spare.put_away()
    if seen is None:
        return
    said = world.ask(who, spare, *seen)
    if said.accepted:
        world.wrong(f"{who.login} was let in with card {spare.serial} after giving it back")


# -- cards that are lost, and flat ones ----------------------------------------------------------


def lose(world: FirmWorld, act: FirmAct) -> None:
    """A card is gone: the desk blocks it and gives another, at once or later."""
    _lose(world, world.people[act.who], _TRIES, at_once=act.draw % 2 == 0)


def _lose(world: FirmWorld, who: Employee, left: int, *, at_once: bool) -> None:
    lost = who.own
    if lost is None or lost.lost or who.leaving or not world.in_service(lost):
        return
    spare = world.drawer.pop(0) if at_once and who.loan is None and world.drawer else None

    def then(_card: DeskCard) -> None:
        if lost.lost:
            return  # it was reported meanwhile
        lost.lost = True
        who.own = spare
        world.judge.lost.add(lost.serial)
        world.stolen.append((lost, who))
        world.say(f"{who.login} has lost card {lost.serial}; the desk knows")
        strangers.try_found(world, lost, who)
        if spare is None:
            world.after(_BY_AND_BY_S, partial(_another, world, who, _TRIES))

    def otherwise() -> None:
        if left:
            world.after(_BY_AND_BY_S, partial(_lose, world, who, left - 1, at_once=at_once))

    def back() -> None:
        if spare is not None:
            world.drawer.append(spare)
        otherwise()

    if spare is None:
        wish = DeskWish(
            f"report card {lost.serial} lost", lost.serial,
            lambda _codes: world.desk.set_lost(lost.serial, lost=True),
            lambda card: card.where is Where.LOST, then, otherwise,
        )  # fmt: skip
        serve(world, wish)
        return
    wish = DeskWish(
        f"replace card {lost.serial} by {spare.serial}", spare.serial,
        lambda codes: world.desk.replace(lost.serial, spare.serial, codes),
        lambda card: card.user == who.login, then, back,
    )  # fmt: skip
    serve(world, wish, spare)


def flat(world: FirmWorld, who: Employee, dead: Pocket) -> None:
    """The card shows nothing any more: retired, and another one in its place."""
    if dead is who.loan:
        return

    def then(_card: DeskCard) -> None:
        if who.own is not dead:
            return
        who.own = None
        world.say(f"card {dead.serial} is flat, and retired")
        _another(world, who, _TRIES)

    retire = DeskWish(
        f"retire card {dead.serial}", dead.serial,
        lambda _codes: world.desk.retire(dead.serial, None, reason="flat"),
        lambda card: card.where is Where.RETIRED, then,
    )  # fmt: skip
    serve(world, retire)


def _another(world: FirmWorld, who: Employee, left: int) -> None:
    """Whoever has no card gets one of those in the drawer."""
    if who.own is not None or who.leaving or not world.drawer:
        return
    spare = world.drawer.pop(0)

    def then(_card: DeskCard) -> None:
        who.own = spare
        world.say(f"the desk gives card {spare.serial} to {who.login}")

    def otherwise() -> None:
        world.drawer.append(spare)
        if left:
            world.after(_BY_AND_BY_S, partial(_another, world, who, left - 1))

    wish = DeskWish(
        f"assign card {spare.serial} to {who.login}", spare.serial,
        lambda codes: world.desk.assign(spare.serial, who.login, codes),
        lambda card: card.user == who.login, then, otherwise,
    )  # fmt: skip
    serve(world, wish, spare)
