"""At the portal with a password and a telephone or the card; a password that was forgotten; calls
to the help desk, honest ones and others."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from tallystick.tools.campaign.firm.asked import ServerSaid
from tallystick.tools.campaign.firm.parts import Pocket
from tallystick.tools.campaign.firm.portal import (
    HALF_WAY,
    IN,
    NO_ANSWER,
    PASSWORD,
    PASSWORD_WRONG,
    REFUSED,
    STEP_S,
    PortalBrowser,
    PortalSilentError,
    Telephone,
    TypedKind,
)
from tallystick.tools.campaign.firm.script import FirmAct
from tallystick.tools.campaign.firm.world import Employee, FirmWorld

_TRIES = 5
_LATER_S = 300
_NO_CARD_S = 3600
_AGAIN, _BY_AND_BY_S = 3, 3600  # whoever was not helped asks again, so often
_FOUND_S = 2 * 3600
_QUARREL_S = 5 * 3600  # the longest lock, and some time
_QUARTER_S = 900  # docs/reference/server.md: wrong passwords are counted in each
_CODE_S = 3600  # so long a code of the help desk is good
_STEPS_AROUND = 5  # more than a telephone's code is good for
_SEEN_BY_OTHERS = 4  # one code in so many
_PHONES_OFF_S = (-3600, 3600)
_LOCKED_OUT = frozenset({"refused", "password"})


def _works(who: Employee) -> bool:
    return who.known and not who.leaving


# -- telephones --------------------------------------------------------------------------------


def enrol_phone(world: FirmWorld, act: FirmAct) -> None:
    _enrol(world, world.people[act.who], _TRIES)


def _enrol(world: FirmWorld, who: Employee, left: int) -> None:
    if who.phone is not None or not _works(who):
        return
    said = _with_card(world, who, world.browser)
    try:
        if said == IN:
            who.phone = _new_telephone(world, who)
    except PortalSilentError:
        said = NO_ANSWER
    if who.phone is not None:
        world.say(f"{who.login} enrols a telephone at the portal")
    elif left:
        world.say(f"{who.login} cannot enrol a telephone: {said or 'there is no card'}")
        if said in (NO_ANSWER, None):
            wait_s = _LATER_S if said else _NO_CARD_S
            world.after(wait_s, partial(_enrol, world, who, left - 1))


def _new_telephone(world: FirmWorld, who: Employee) -> Telephone | None:
    """Raises PortalSilentError."""
    made = world.browser.enrol_telephone(world.clock.server())
    if made is not None:
        world.judge.enrolled(who.login, made.secret)
    return made


def forget_phone(world: FirmWorld, act: FirmAct) -> None:
    phone = world.people[act.who].phone
    if phone is None:
        return
    phone.forgotten = True
    world.say(f"{world.people[act.who].login} has forgotten the telephone at home")
    world.after(10 * 3600, partial(_at_hand_again, world, act.who))


def _at_hand_again(world: FirmWorld, number: int) -> None:
    phone = world.people[number].phone
    if phone is not None:
        phone.forgotten = False


def phone_clock(world: FirmWorld, act: FirmAct) -> None:
    """The clock of somebody's telephone is off for a while: far, by one step too many, and by one
    that policy allows."""
    phones = [who for who in world.people if who.phone is not None]
    if not phones:
        return
    who = phones[act.draw % len(phones)]
    who.quarrelled = max(who.quarrelled, world.at + _QUARREL_S)
    rng, most = random.Random(act.draw), world.policy.totp_steps_around * STEP_S
    beyond = most + STEP_S
    # At last what is taken.
    offs = (*rng.sample(_PHONES_OFF_S, 1), -beyond, beyond, rng.choice((-most, most)))
    for number, off_s in enumerate(offs):
        world.after(60 * number, partial(_off, world, who, off_s))
    world.after(3 * 3600, partial(_phone_clock_is_well, world, who))
    world.say(f"the clock of {who.login}'s telephone goes wrong")


def _off(world: FirmWorld, who: Employee, off_s: int) -> None:
    if who.phone is None:
        return
    who.phone.off_s = off_s
    world.say(f"the clock of {who.login}'s telephone is {off_s:+d} s off")
    _sign_in(world, who, 0)


def _phone_clock_is_well(world: FirmWorld, who: Employee) -> None:
    if who.phone is not None:
        who.phone.off_s = 0


# -- signing in --------------------------------------------------------------------------------


def portal(world: FirmWorld, act: FirmAct) -> None:
    _sign_in(world, world.people[act.who], _TRIES)


def _sign_in(world: FirmWorld, who: Employee, left: int) -> None:
    if who.phone is not None and who.leaving:
        tried = _with_phone(world, who, world.browser)
        world.say(f"{who.login}, who has left, is at the portal with the telephone: {tried}")
        if tried == IN and who.gone:
            world.wrong(f"{who.login} was let in by the portal after leaving the firm")
        elif tried == REFUSED and who.gone:
            world.wrong(f"{who.login} was asked for a second factor after leaving the firm")
        return
    if who.phone is None or not who.known:
        return
    with_phone = not who.phone.forgotten
    if not with_phone and who.recovered is not False:
        return  # the card has set the password: it is no second factor beside it
    said = (
        _with_phone(world, who, world.browser)
        if with_phone
        else _with_card(world, who, world.browser)
    )
    if said is None:
        return
    thing = "the telephone" if with_phone else "the card"
    world.say(f"{who.login} is at the portal with {thing}: {said}")
    if said == IN:
        world.counts.portal += 1
        if with_phone and world.act.draw % _SEEN_BY_OTHERS == 0:
            _over_the_shoulder(world, who)
    elif said == NO_ANSWER and left:
        world.after(_LATER_S, partial(_sign_in, world, who, left - 1))
    elif said in _LOCKED_OUT and with_phone and _must_open(world, who):
        world.wrong(f"{who.login} is not let in with password and telephone: {said}")


def _over_the_shoulder(world: FirmWorld, who: Employee) -> None:
    """Somebody who knows the password has seen the telephone's code, and is quick."""
    assert who.phone is not None
    code = partial(who.phone.code, world.clock.now)
    said = world.strange_browser.log_in(who.login, who.password, TypedKind.TOTP, code)
    world.judge.came_in(who.login, said, factors=(True, False))
    world.say(f"a stranger types the code that {who.login}'s telephone has just shown: {said}")


def _must_open(world: FirmWorld, who: Employee) -> bool:
    """Nothing is the matter with clocks, and no stranger has guessed of late."""
    return not world.clocks_were_wrong and world.at > who.quarrelled and not world.in_trouble


def _with_phone(world: FirmWorld, who: Employee, browser: PortalBrowser) -> str:
    assert who.phone is not None
    code = partial(who.phone.code, world.clock.now)
    said = browser.log_in(who.login, who.password, TypedKind.TOTP, code)
    world.judge.came_in(who.login, said, factors=(True, True))
    if said == NO_ANSWER and who.recovered:
        who.recovered = None
    if said == IN:
        who.recovered = False
        who.session = browser.session()
        _steps_must_fit(world, who, who.phone)
    return said


def _steps_must_fit(world: FirmWorld, who: Employee, phone: Telephone) -> None:
    steps = abs(phone.step(world.clock.now) - int(world.clock.server()) // STEP_S)
    if steps > world.policy.totp_steps_around:
        world.wrong(f"{who.login} is let in with a code that is {steps} steps off")


def must_be_closed(world: FirmWorld, who: Employee) -> None:
    """A browser that was signed in, when the account was taken away or its password set anew."""
    if not who.session:
        return
    try:
        opened = world.strange_browser.is_open(who.session)
    except PortalSilentError:
        return
    who.session = {}
    world.say(f"a browser that {who.login} has left open is tried")
    if opened:
        world.wrong(f"a browser that {who.login} has left open is still signed in")


def _with_card(world: FirmWorld, who: Employee, browser: PortalBrowser) -> str | None:
    """None where there is no card to press."""
    pocket = who.own
    if pocket is None or pocket.dead or pocket.lost or not world.in_service(pocket):
        return None
    return _typed(world, who, pocket, browser)


def _typed(world: FirmWorld, who: Employee, pocket: Pocket, browser: PortalBrowser) -> str:
    seen: list[tuple[str, int]] = []
    said = browser.log_in(who.login, who.password, TypedKind.CARD, _press(world, pocket, seen))
    world.judge.touched(pocket.serial)
    # What recovered the password is the same factor once more.
    world.judge.came_in(who.login, said, factors=(True, who.recovered is not True))
    if said == IN:
        who.session = browser.session()
    for _code, factor in seen:
        must = world.judge.must_be_let_in(pocket.serial, factor)
        status = 0 if said == NO_ANSWER else 200
        answer = ServerSaid(status, said == IN, said, pocket.serial)
        world.judge.asked(pocket.serial, factor, answer)
        if must and said == "refused" and _must_open(world, who):
            world.wrong(f"{who.login} was refused at the portal with the next code")
    return said


def _press(
    world: FirmWorld, pocket: Pocket, seen: list[tuple[str, int]]
) -> Callable[[], str | None]:
    def code() -> str | None:
        pressed = world.press(pocket)
        pocket.put_away()
        if pressed is None:
            return None
        seen.append(pressed)
        return pressed[0]

    return code


# -- passwords that were forgotten -------------------------------------------------------------


def recover(world: FirmWorld, act: FirmAct) -> None:
    _recover(world, world.people[act.who], _AGAIN)


def _recover(world: FirmWorld, who: Employee, left: int) -> None:
    """By the card. It is no second factor beside that password then: the telephone is."""
    pocket = who.own
    if who.phone is None or not _works(who) or pocket is None or pocket.dead or pocket.lost:
        return
    if not world.in_service(pocket):
        return
    (_with_card if who.phone.forgotten else _with_phone)(world, who, world.browser)
    world.clock.now += STEP_S  # that browser stays open
    seen: list[tuple[str, int]] = []
    new = _new_password(who)
    world.judge.touched(pocket.serial)
    try:
        done = world.browser.recover(who.login, TypedKind.CARD, _press(world, pocket, seen), new)
    except PortalSilentError:
        done = None
    for _code, factor in seen:
        world.judge.perhaps_used(pocket.serial, factor)
    _recovered(world, who, new, done, "by the card")
    if done is not False:
        who.recovered = done
    if done is None and left:
        world.after(_BY_AND_BY_S, partial(_recover, world, who, left - 1))
    if done:
        _typed(world, who, pocket, world.browser)


def _new_password(who: Employee) -> str:
    return f"{PASSWORD} {who.passwords + 1}"


def _recovered(
    world: FirmWorld, who: Employee, new: str, done: bool | None, how: str,
    then: Callable[[], None] = lambda: None,
) -> None:  # fmt: skip
    """done: None where the answer was lost, so that either password may be the one. then: what
    comes of it where the new one is."""
    if done:
        who.passwords += 1
        old, who.password = who.password, new
        world.counts.recoveries += 1
        world.say(f"{who.login} has a new password, {how}")
        must_be_closed(world, who)
        _types_the_old_one(world, who, old)
        then()
    elif done is None:
        who.passwords += 1
        world.say(f"{who.login} does not know which password is the one")
        _find_out(world, who, new, then)
    else:
        world.say(f"{who.login} gets no new password {how}")


def _types_the_old_one(world: FirmWorld, who: Employee, old: str) -> None:
    """Somebody has seen the password that was set anew."""
    said = world.strange_browser.log_in_alone(who.login, old)
    world.say(f"a stranger types the old password of {who.login}: {said}")
    if said in (IN, HALF_WAY):
        world.wrong(f"the old password of {who.login} is still good")


def _find_out(world: FirmWorld, who: Employee, new: str, then: Callable[[], None]) -> None:
    """Which password is the one; where the server does not answer, later. then: if it is the new
    one."""
    who.quarrelled = world.at + _QUARREL_S
    said = world.browser.log_in_alone(who.login, new)
    if said in (IN, HALF_WAY):
        who.password = new
        then()
    elif said != PASSWORD_WRONG:
        world.after(_LATER_S, partial(_find_out, world, who, new, then))


# -- the help desk -----------------------------------------------------------------------------


def _at_work(world: FirmWorld, one: Employee) -> bool:
    """A member of staff signs in with password and telephone; the first time, the telephone is
    enrolled."""
    if one.phone is None:
        if world.browser.log_in_alone(one.login, one.password) != IN:
            return False
        try:
            one.phone = _new_telephone(world, one)
        except PortalSilentError:
            return False
        if one.phone is None:
            return False
        world.clock.now += 30  # a code of the telephone is good once
    world.clock.now += 30
    return _with_phone(world, one, world.browser) == IN


def call(world: FirmWorld, act: FirmAct) -> None:
    _call(world, world.people[act.who], _AGAIN)


def _call(world: FirmWorld, who: Employee, left: int) -> None:
    """Password and telephone are gone: one asks, another agrees, and a code is read out."""
    if who.phone is None or not _works(who):
        return
    world.counts.calls += 1
    asker, other = world.staff
    try:
        code = _help(world, who, asker, other)
    except PortalSilentError:
        code = None
    if code is None:
        world.say(f"{who.login} calls the help desk, which cannot help now")
        if left:
            world.after(_BY_AND_BY_S, partial(_call, world, who, left - 1))
        return
    world.say(f"{who.login} calls the help desk; {asker.login} asks, {other.login} agrees")
    if left == _AGAIN and world.act.draw % 2:
        world.after(_CODE_S + 1, partial(_too_late, world, who, code, world.clock.wrong))
        return
    _for_another(world, who, code)
    new = _new_password(who)
    done = _types(world, who, code, new)
    then = partial(_helped, world, who, code, who.phone)
    if done is None and left:
        world.after(_BY_AND_BY_S, partial(_call_again, world, who, who.phone, left - 1))
    _recovered(world, who, new, done, "by the help desk", then)


def _for_another(world: FirmWorld, who: Employee, code: str) -> None:
    """Somebody has overheard a code of the help desk, and wants another's account with it."""
    other = world.people[who.number - 1]
    if other is who or not _works(other):
        return
    try:
        opened = world.strange_browser.recover_with_help(other.login, code, "a stranger's password")
    except PortalSilentError:
        return
    world.say(f"a stranger types the code of the help desk for {who.login} as {other.login}")
    if opened:
        world.wrong(f"the help desk's code for {who.login} opened {other.login}'s account")


def _types(world: FirmWorld, who: Employee, code: str, new: str) -> bool | None:
    """The code of the help desk, and a new password. → None: no answer came"""
    browser = world.browser
    try:
        done = browser.recover_with_help(who.login, code, new)
    except PortalSilentError:
        return None
    if done and browser.only_enrols:
        _only_enrols(world, who, browser)
    return done


def _only_enrols(world: FirmWorld, who: Employee, browser: PortalBrowser) -> None:
    """With the help desk's code alone, which is one factor."""
    try:
        more = browser.may_do_more()
    except PortalSilentError:
        return
    world.say(f"{who.login} has nothing left, and may only enrol")
    if more:
        world.wrong(f"a code of the help desk lets {who.login} do more than enrol")


def _too_late(world: FirmWorld, who: Employee, code: str, wrong: float) -> None:
    """Somebody has written the code down, and comes to it when it is over. wrong: by how much the
    server's clock was, when it was made."""
    if who.phone is None or not _works(who):
        return
    new = _new_password(who)
    done = _types(world, who, code, new)
    world.say(f"{who.login} types the code of the help desk when it is over")
    if done and world.clock.wrong == wrong:
        world.wrong(f"a code of the help desk for {who.login} is good when it is over")
    then = partial(_helped, world, who, code, who.phone)
    _recovered(world, who, new, done, "by the help desk", then)
    if done is False:
        _call(world, who, _AGAIN - 1)


def _call_again(world: FirmWorld, who: Employee, lost: Telephone, left: int) -> None:
    """Unless it has come about meanwhile."""
    if who.phone is lost:
        _call(world, who, left)


def _helped(world: FirmWorld, who: Employee, code: str, lost: Telephone) -> None:
    """The telephone is void, and another one is enrolled."""
    who.phone, who.recovered = None, False
    _after_the_call(world, who, code, lost)
    world.after(_LATER_S, partial(_enrol, world, who, _TRIES))
    # Until another one is enrolled, nothing opens the account but enrolling.
    world.after(_FOUND_S, partial(_old_telephone, world, who, lost))


def _old_telephone(world: FirmWorld, who: Employee, lost: Telephone) -> None:
    """Somebody has found it, and knows the password."""
    if who.phone is None or who.leaving:
        return
    found = partial(lost.code, world.clock.now)
    try:
        said = world.strange_browser.log_in(who.login, who.password, TypedKind.TOTP, found)
    except PortalSilentError:
        return
    world.judge.came_in(who.login, said, factors=(True, False))
    world.say(f"a stranger signs in as {who.login} with the old telephone: {said}")


def _after_the_call(world: FirmWorld, who: Employee, code: str, lost: Telephone) -> None:
    """Somebody has overheard the code and found the telephone, and knows even the new password."""
    world.clock.now += STEP_S
    browser = world.strange_browser
    try:
        again = browser.recover_with_help(who.login, code, "a stranger's password")
    except PortalSilentError:
        return
    if again:
        world.wrong(f"the help desk's code opened {who.login}'s account a second time")
        return
    found = partial(lost.code, world.clock.now)
    said = browser.log_in(who.login, who.password, TypedKind.TOTP, found)
    world.judge.came_in(who.login, said, factors=(True, False))
    world.say(f"a stranger has {who.login}'s old telephone and the code of the help desk: {said}")


def _help(world: FirmWorld, who: Employee, asker: Employee, other: Employee) -> str | None:
    if not _at_work(world, asker):
        return None
    world.browser.help_with(who.login, "ask", reason="password and telephone lost", lost="totp")
    if not _at_work(world, other):
        return None
    world.browser.help_with(who.login, "agree")
    if not _at_work(world, asker):
        return None
    return world.browser.help_with(who.login, "collect")


def false_call(world: FirmWorld, act: FirmAct) -> None:
    """A stranger calls as somebody else. One of the staff believes it, the other does not."""
    who = world.people[act.who]
    asker = world.staff[0]
    if who.phone is None:
        return
    world.counts.calls += 1
    code = None
    try:
        if not _at_work(world, asker):
            return
        world.browser.help_with(who.login, "ask", reason="he says that all is lost")
        world.browser.help_with(who.login, "agree")
        code = world.browser.help_with(who.login, "collect")
        rng = random.Random(act.draw)
        for _ in range(3):
            guess = "".join(rng.choice("23456789ABCDEFGH") for _ in range(12))
            if world.strange_browser.recover_with_help(who.login, guess, "a stranger's password"):
                world.wrong(f"a guessed code of the help desk opened {who.login}'s account")
    except PortalSilentError:
        pass
    world.say(f"a stranger calls the help desk as {who.login}; nobody agrees")
    if code is not None:
        world.wrong(f"one of the staff alone got a code for {who.login}'s account")


def phish(world: FirmWorld, act: FirmAct) -> None:
    """A stranger has somebody's password, and has seen a code that was used."""
    who = world.people[act.who]
    if who.phone is None:
        return
    who.quarrelled = world.at + _QUARREL_S
    if who.own is not None:
        world.judge.touched(who.own.serial)
    guess = _no_right_code(world, who, act.draw)
    browser = world.strange_browser
    tries = [
        browser.log_in_alone(who.login, who.password),
        browser.log_in(who.login, who.password, TypedKind.CARD, lambda: who.last_code or guess),
        browser.log_in(who.login, who.password, TypedKind.TOTP, lambda: guess),
        browser.log_in(who.login, "not the password at all", TypedKind.TOTP, lambda: guess),
        *_with_anothers(world, who),
    ]
    for said in tries:
        world.judge.came_in(who.login, said, factors=(True, False))
    world.say(f"a stranger with the password of {who.login} tries: {', '.join(tries)}")
    _wants_password(world, who, guess)
    rng = random.Random(act.draw)
    try:
        _guesses_codes(world, who, rng)
        _guesses_passwords(world, who)
    except PortalSilentError:
        return


def _no_right_code(world: FirmWorld, who: Employee, draw: int) -> str:
    """A guess. One that would be right by luck, as one in some ten thousand is, is passed over:
    nothing follows from it."""
    right = set()
    if who.phone is not None:
        at = world.clock.server() - who.phone.off_s
        steps = range(-_STEPS_AROUND, _STEPS_AROUND + 1)
        right |= {who.phone.code(at + step * STEP_S) for step in steps}
    for pocket in (who.own, who.loan):
        if pocket is not None:
            card = world.judge.cards[pocket.serial]
            last = card.highest + world.policy.look_ahead + world.policy.resync_window
            right |= {card.code(factor) for factor in range(card.lowest, last + 1)}
    while (guess := f"{draw % 10**6:06}") in right:
        draw += 1
    return guess


def _with_anothers(world: FirmWorld, who: Employee) -> list[str]:
    """A colleague has found the password, and types what his own telephone shows."""
    others = [one.phone for one in (*world.people, *world.staff) if one is not who]
    phone = next((one for one in others if one is not None), None)
    if phone is None:
        return []
    own = partial(phone.code, world.clock.now)
    return [world.strange_browser.log_in(who.login, who.password, TypedKind.TOTP, own)]


def _guesses_codes(world: FirmWorld, who: Employee, rng: random.Random) -> None:
    """Until they are not judged any more: the right one is no better then."""
    assert who.phone is not None
    browser, kind = world.strange_browser, TypedKind.TOTP
    codes = [
        _no_right_code(world, who, rng.randrange(10**6)) for _ in range(world.policy.max_failures)
    ]
    # From here on what is counted is known.
    begun_anew = _with_phone(world, who, world.browser) == IN
    browser.guess(who.login, who.password, kind, codes)
    world.clock.now += world.policy.lockout_s - 1
    said = _with_phone(world, who, world.strange_browser)
    world.say(
        f"a stranger guesses codes of {who.login}'s telephone, then types the right one: {said}"
    )
    if said == IN and not world.clocks_were_wrong:
        world.wrong(f"a telephone of {who.login} is judged while it is locked")
    if said != REFUSED or not begun_anew:
        return
    world.clock.now += 1
    said = _with_phone(world, who, world.strange_browser)
    world.say(f"a stranger types {who.login}'s right code when the lock is over: {said}")
    if said == REFUSED and who.phone.off_s == 0 and _no_trouble(world):
        world.wrong(f"a telephone of {who.login} stays locked")


def _no_trouble(world: FirmWorld) -> bool:
    return not world.clocks_were_wrong and not world.in_trouble


def _guesses_passwords(world: FirmWorld, who: Employee) -> None:
    """Until they are not judged any more: the right one is no better then, from that place."""
    browser = world.strange_browser
    for number in range(world.policy.password_max_failures):
        browser.log_in_alone(who.login, f"not the password {number}")
    said = browser.log_in_alone(who.login, who.password)
    told_s = browser.retry_after_s
    world.say(f"a stranger guesses passwords of {who.login}, then types the right one: {said}")
    if world.clocks_were_wrong:
        return
    if said in (IN, HALF_WAY):
        world.wrong(f"passwords of {who.login} are judged without end")
    elif told_s and told_s != _QUARTER_S - int(world.clock.server()) % _QUARTER_S:
        world.wrong(f"passwords of {who.login} are locked for {told_s} s, and not for a quarter")
    elif told_s:
        over = world.at + told_s
        world.after(told_s - 1, partial(_types_password, world, who, over))
        world.after(told_s, partial(_types_password, world, who, over))


def _types_password(world: FirmWorld, who: Employee, over: int) -> None:
    """From the place that was locked, at the end of the lock. Who is busy just then comes later."""
    open_again = world.at >= over
    said = world.strange_browser.log_in_alone(who.login, who.password)
    world.say(f"a stranger types the password of {who.login} once more: {said}")
    if world.clocks_were_wrong or world.in_trouble or who.leaving:
        return
    if said in (IN, HALF_WAY) and not open_again:
        world.wrong(f"a password of {who.login} is judged before its lock is over")
    if said == PASSWORD_WRONG and open_again:
        world.wrong(f"passwords of {who.login} are locked for longer than was said")


def _wants_password(world: FirmWorld, who: Employee, guess: str) -> None:
    """One of his own, by a code that he guesses."""
    browser = world.strange_browser
    try:
        done = browser.recover(who.login, TypedKind.CARD, lambda: guess, "a stranger's password")
    except PortalSilentError:
        return
    if done:
        world.wrong(f"a guessed code set a password for {who.login}")
