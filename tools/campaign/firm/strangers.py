"""Strangers: they guess, type again what they have seen, try what they have found, copy a card, and
register one of their own."""

from __future__ import annotations

import random
from contextlib import closing
from functools import partial

import httpx

from tallystick.provisioning.card import tlv
from tallystick.provisioning.card.connection import (
    CardConnection,
    CommandApdu,
    StatusWord,
)
from tallystick.provisioning.card.oath import (
    INS_LIST,
    INS_PUT,
    INS_RESET,
    TAG_KEY,
    TAG_NAME,
    select_oath,
)
from tallystick.tools.campaign.firm.asked import ServerSaid
from tallystick.tools.campaign.firm.parts import BadLine, Pocket
from tallystick.tools.campaign.firm.portal import PortalSilentError, TypedKind
from tallystick.tools.campaign.firm.script import FirmAct
from tallystick.tools.campaign.firm.world import Employee, FirmWorld
from tallystick.tools.docked import DockedLink

_GUESSES = (4, 4, 13)
_WAITS = 2
_MORE, _NEXT_DAY_S = 7, 22 * 3600
_QUARREL_S = 5 * 3600  # the longest lock, and some time
_CONTAINER, _NOBODYS = "application/pskc+xml", f"Bearer {'A' * 43}"
_SEED = tlv.encode(TAG_NAME, b"x") + tlv.encode(TAG_KEY, b"\x11\x06" + bytes(20))
_LIST = CommandApdu(0, INS_LIST)
_KEYLESS = (CommandApdu(0, INS_PUT, data=_SEED), CommandApdu(0, INS_RESET, 0xDE, 0xAD))
"""Of somebody who has no keys: a seed of his own, and none at all."""


def guess(world: FirmWorld, act: FirmAct) -> None:
    rng = random.Random(act.draw)
    who = world.people[act.who]
    _guesses(world, who, rng, rng.choice(_GUESSES), _WAITS)
    # And once more when its owner has been let in: what was guessed before is forgotten by then.
    world.after(_NEXT_DAY_S, partial(_guesses, world, who, rng, _MORE, 0))


def _guesses(world: FirmWorld, who: Employee, rng: random.Random, count: int, waits: int) -> None:
    """waits: how often he comes back when he was told to wait"""
    who.quarrelled = max(who.quarrelled, world.at + _QUARREL_S)
    locked = 0
    for _ in range(count):
        code = f"{rng.randrange(10**6):06}"
        said = world.check(who.login, code)
        if said.accepted and not _was_luck(world, said, code):
            world.wrong(f"a guess was accepted as {who.login}")
        locked = said.retry_after_s if said.status == 429 else 0
    told = f", until it is locked for {locked} s" if locked else ""
    world.say(f"a stranger guesses codes of {who.login}{told}")
    if locked and waits:
        world.after(locked - 1, partial(_guesses_in_vain, world, who, code))
        again = partial(_guesses, world, who, rng, 2, waits - 1)
        world.after(locked + 1, again)


def _guesses_in_vain(world: FirmWorld, who: Employee, code: str) -> None:
    """A second before the lock is lifted: it is judged what comes of that."""
    said = world.check(who.login, code)
    world.say(f"a stranger guesses a second early: {said.reason or said.status}")


def _was_luck(world: FirmWorld, said: ServerSaid, code: str) -> bool:
    """One of the card's own next codes, guessed: a millionth times the window."""
    card = world.judge.cards.get(said.serial or "")
    return card is not None and world.judge.guessed(card, code)


def replay(world: FirmWorld, act: FirmAct) -> None:
    type_again(world, world.people[act.who])
    found = world.somebody(act.who)
    if found is None:
        return
    _elsewhere(world, *found)
    _asks_twice(world, act, *found)
    _as_another(world, *found)
    _far_ahead(world, *found)


def _pressed(world: FirmWorld, pocket: Pocket) -> tuple[str, int] | None:
    seen = world.press(pocket)
    pocket.put_away()
    return seen


def _far_ahead(world: FirmWorld, who: Employee, pocket: Pocket) -> None:
    """A copy of a card was pressed until its codes are one beyond those that two in a row find."""
    card, policy = world.judge.cards[pocket.serial], world.policy
    first = card.highest + policy.look_ahead + policy.resync_window
    codes = [card.code(factor) for factor in (first, first + 1)]
    who.quarrelled = max(who.quarrelled, world.at + _QUARREL_S)
    said = world.portal.find_again(who.login, codes[0], codes[1])
    world.judged(who.login, said)
    world.say(f"a stranger types two codes far ahead as {who.login}: {said.reason or said.status}")
    if said.accepted:
        world.wrong(f"two codes beyond the window found card {pocket.serial} again")


def _elsewhere(world: FirmWorld, who: Employee, pocket: Pocket) -> None:
    """A service of another firm on the same server, in which somebody has the same login."""
    seen = _pressed(world, pocket)
    if seen is None:
        return
    said = world.of_another_firm.check(who.login, seen[0])
    world.say(f"another firm's service asks for {who.login}: {said.reason or said.status}")
    if said.accepted:
        world.wrong(f"another firm's service was told that a code of {who.login} is right")


def _asks_twice(world: FirmWorld, act: FirmAct, who: Employee, pocket: Pocket) -> None:
    """A service names its question, and asks again as if no answer had come: it has the same one.
    Another service that names the same question has an answer of its own."""
    seen = _pressed(world, pocket)
    if seen is None:
        return
    name = f"{act.number:08}-{act.draw:012}"
    said = world.portal.check(who.login, seen[0], name)
    world.judged(who.login, said)
    world.answered(who, pocket, seen, said)
    if not said.accepted:
        return
    again = world.portal.check(who.login, seen[0], name)
    other = world.another_service.check(who.login, seen[0], name)
    world.judged(who.login, other)
    told = ", ".join(one.reason or str(one.status) for one in (again, other))
    world.say(f"a service asks again for {who.login}, and then another one does: {told}")
    if again.status == 200 and not again.accepted:
        world.wrong(f"who asked again for {who.login} had another answer ({again.reason})")
    if other.accepted:
        world.wrong(f"a code that {who.login} had used was accepted for another service")


def _as_another(world: FirmWorld, who: Employee, pocket: Pocket) -> None:
    """Somebody types a code of his own card as a colleague."""
    another = world.somebody(who.number + 1)
    seen = _pressed(world, pocket)
    if another is None or another[0] is who or seen is None:
        return
    other = another[0]
    other.quarrelled = max(other.quarrelled, world.at + _QUARREL_S)
    said = world.check(other.login, seen[0])
    world.say(f"{who.login} types a code as {other.login}: {said.reason or said.status}")
    if said.accepted and said.serial != another[1].serial:
        world.wrong(f"{other.login} was let in with a code of {who.login}")
    elif said.accepted and not _was_luck(world, said, seen[0]):
        world.wrong(f"a guess was accepted as {other.login}")


def type_again(world: FirmWorld, who: Employee) -> None:
    """What was seen of somebody's codes."""
    if not who.last_code:
        return
    said = world.check(who.login, who.last_code)
    world.say(f"a stranger types the code that {who.login} has used: {said.reason or said.status}")
    if said.accepted:
        world.wrong(f"a code that {who.login} had used was accepted again")
    if who.pair is not None:
        _replay_two(world, who, who.pair)


def _replay_two(world: FirmWorld, who: Employee, pair: tuple[str, str]) -> None:
    """To have the card found again where it was."""
    said = world.portal.find_again(who.login, *pair)
    world.judged(who.login, said)
    what = f"two codes that {who.login} has used"
    world.say(f"a stranger types {what}: {said.reason or said.status}")
    if said.accepted:
        world.wrong(f"{what} found the card again")


def thief(world: FirmWorld, act: FirmAct) -> None:
    if not world.stolen:
        return
    pocket, owner = world.stolen[act.draw % len(world.stolen)]
    if try_found(world, pocket, owner):
        _without_keys(world, pocket)
        _recovers(world, pocket, owner)


def try_found(world: FirmWorld, pocket: Pocket, owner: Employee) -> bool:
    """Somebody has a card that was reported lost. → whether it shows a code"""
    seen = None if pocket.dead else _pressed(world, pocket)
    if seen is None:
        return False
    said = world.ask(owner, pocket, *seen)
    world.say(f"whoever found card {pocket.serial} tries it: {said.reason or said.status}")
    if said.accepted:
        world.wrong(f"lost card {pocket.serial} let somebody in as {owner.login}")
    return True


def _without_keys(world: FirmWorld, pocket: Pocket) -> None:
    """In a dock of his own."""
    card = pocket.at(world.us)
    link = BadLine(DockedLink(card), None, world.ear.hears)
    with closing(link):
        line = CardConnection(link)
        select_oath(line)
        line.send(_LIST.encode())
        refused = all(_wants_keys(line, command) for command in _KEYLESS)
    card.settle()
    world.say(f"whoever found card {pocket.serial} gives it a seed of his own, without keys")
    if not refused:
        world.wrong(f"card {pocket.serial} does not ask for keys before it takes a seed")


def _wants_keys(line: CardConnection, command: CommandApdu) -> bool:
    """Whether it is refused for that, and for nothing that comes later."""
    return line.send(command.encode()).sw == StatusWord.SECURITY_NOT_SATISFIED


def _recovers(world: FirmWorld, pocket: Pocket, owner: Employee) -> None:
    """A password for the account, with the card that was lost."""
    if owner.phone is None or owner.leaving:
        return

    def code() -> str | None:
        pressed = world.press(pocket)
        pocket.put_away()
        return None if pressed is None else pressed[0]

    browser = world.strange_browser
    try:
        done = browser.recover(owner.login, TypedKind.CARD, code, "a stranger's password")
    except PortalSilentError:
        return
    world.say(f"whoever found card {pocket.serial} wants a new password for {owner.login}")
    if done:
        world.wrong(f"lost card {pocket.serial} set a password for {owner.login}")


def copy(world: FirmWorld, act: FirmAct) -> None:
    """Somebody has had a card for a minute, and has a copy of its flash. What the copy shows, the
    card shows as well: whoever comes first is let in, and nobody after that."""
    found = world.somebody(act.who)
    if found is None or found[1].cut is not None:
        return
    who, pocket = found
    code = world.factory.copied(pocket.card, pocket.serial)
    factor = None if code is None else world.judge.cards[pocket.serial].factor_of(code)
    if code is None or factor is None:
        return
    said = world.check(who.login, code)
    world.judge.asked(pocket.serial, factor, said)
    world.say(f"a copy of card {pocket.serial} is tried: {said.reason or said.status}")
    if not said.accepted:
        return
    seen = world.press(pocket)
    pocket.put_away()
    if seen is not None:
        again = world.ask(who, pocket, *seen)
        world.say(f"{who.login} types a code of card {pocket.serial}: {again.reason}")


def _must(world: FirmWorld, who: Employee, pocket: Pocket, factor: int) -> bool:
    must = world.judge.must_be_let_in(pocket.serial, factor)
    return must and not world.may_be_locked_out(who)


def race(world: FirmWorld, act: FirmAct) -> None:
    """Somebody looks over a shoulder and is as quick: two services are given the same code at the
    same instant. One of them lets somebody in."""
    found = world.somebody(act.who)
    if found is None:
        return
    who, pocket = found
    seen = world.press(pocket)
    pocket.put_away()
    if seen is None:
        return
    must = _must(world, who, pocket, seen[1])
    answers = world.portal.check_at_once((who.login, seen[0]), (who.login, seen[0]))
    for said in answers:
        world.judged(who.login, said)
        world.answered(who, pocket, seen, said)
    told = ", ".join(said.reason or str(said.status) for said in answers)
    world.say(f"{who.login} and a stranger type the same code at the same instant: {told}")
    if must and all(said.status == 200 and not said.accepted for said in answers):
        world.wrong(f"nobody was let in with the next code of card {pocket.serial}")
    _beside_a_guess(world, act, who, pocket)


def _beside_a_guess(world: FirmWorld, act: FirmAct, who: Employee, pocket: Pocket) -> None:
    """At the same instant somebody guesses at another's code: each has the answer to his own."""
    another = world.somebody(who.number + 1)
    seen = world.press(pocket)
    pocket.put_away()
    if another is None or another[0] is who or seen is None:
        return
    other, guess = another[0], f"{act.draw % 10**6:06}"
    other.quarrelled = max(other.quarrelled, world.at + _QUARREL_S)
    must = _must(world, who, pocket, seen[1])
    mine, guessed = world.portal.check_at_once((who.login, seen[0]), (other.login, guess))
    world.judged(who.login, mine)
    world.answered(who, pocket, seen, mine)
    world.judged(other.login, guessed)
    world.say(
        f"{who.login} types a code while a stranger guesses at one of {other.login}: "
        f"{mine.reason or mine.status}, {guessed.reason or guessed.status}"
    )
    if guessed.accepted and not _was_luck(world, guessed, guess):
        world.wrong(f"a guess was accepted as {other.login}")
    if must and mine.status == 200 and not mine.accepted:
        world.wrong(f"{who.login} was refused beside a guess ({mine.reason})")


def clone(world: FirmWorld, act: FirmAct) -> None:
    """Whoever has a desk's credential registers a card of his own; and whoever has none."""
    for whose, headers in (
        ("a desk's credential", {}), ("a credential that is nobody's", {"authorization": _NOBODYS})
    ):  # fmt: skip
        try:
            answer = world.stranger.post(
                "/v1/cards", content=b"<x/>", headers={"content-type": _CONTAINER} | headers
            )
        except httpx.TransportError:
            return
        world.say(f"{whose} is used to register a card: {answer.status_code}")
        if answer.status_code not in (401, 403, 503):
            world.wrong(f"{whose} may register cards ({answer.status_code})")
