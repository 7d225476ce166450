"""Bugs planted in station, server and firmware, as named patches: the simulation must catch each,
and tells the shortest story of it."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from sqlalchemy.exc import DBAPIError

from tallystick.common import moments
from tallystick.common.errors import TallyError
from tallystick.common.secret import Secret
from tallystick.emulator import boards
from tallystick.emulator.devices.image import Image
from tallystick.provisioning import container, steps
from tallystick.provisioning.card.issuer import IssuerSession, LifeCycle
from tallystick.provisioning.custody.software import SoftwareCustody, SoftwareSeed
from tallystick.provisioning.desk import client
from tallystick.provisioning.desk.client import Desk
from tallystick.provisioning.desk.terms import Terms
from tallystick.provisioning.journal import CardState, StationJournal
from tallystick.provisioning.registry import Registered, TallyServer
from tallystick.provisioning.server_link import NoConnectionError, OutcomeUnknownError
from tallystick.server.accounts import people, sessions
from tallystick.server.checking import verification
from tallystick.server.checking.group import GroupCommit
from tallystick.server.checking.verification import Verifier
from tallystick.server.errors import ApiError
from tallystick.server.joining import leaving
from tallystick.server.loans import desk, holding, proof
from tallystick.server.messages.outbox import Outbox
from tallystick.server.methods import fido
from tallystick.server.rules import judge, otp
from tallystick.server.rules.throttle import Throttle
from tallystick.server.signing_in import limits, login, recovery, second, together
from tallystick.server.stock import cards
from tallystick.server.store import audit
from tallystick.server.store.audit import WorkerChain
from tallystick.server.store.keys import Box, ServerKeyRing
from tallystick.tools import fresh
from tallystick.tools.campaign.card.animals import ANIMALS
from tallystick.tools.campaign.engine.animal import Animal, Broken, Patch, in_place_of
from tallystick.tools.campaign.engine.subject import image_under_test
from tallystick.tools.campaign.firm.doors import DISABLED, DOORS, LOAN, STATUS, held_without
from tallystick.tools.campaign.firm.run import forget_starts, simulate
from tallystick.tools.campaign.firm.script import Level, SimulatedFirm
from tallystick.tools.campaign.firm.story import FirmStory, shrink

BOARD = boards.DEFAULT
_SEEDS = 12  # firms that are looked at for each
_SMALL = SimulatedFirm(cards=12, days=4, level=Level.HIGH)
_OVER_THE_CHANGE = SimulatedFirm(cards=6, days=17, level=Level.HIGH)  # of the clocks
_WITH_A_READER = SimulatedFirm(cards=3, readers=1, days=2, level=Level.HIGH)
_WITH_READERS = SimulatedFirm(cards=4, readers=3, days=2, level=Level.HIGH)
_A_WEEK = SimulatedFirm(cards=20, readers=2, days=7, level=Level.HIGH)  # what is rarer comes about
_LOG = logging.getLogger("tallystick.planted")

_WAKEFUL = Animal(
    "wakeful", "A code is on the glass for five minutes.",
    (Patch("card/undocked.py", "_CODE_MS = const(30000)", "_CODE_MS = const(300000)"),),
)  # fmt: skip
_SKIPS = Animal(
    "skips-one", "Every press takes two codes, and shows the second.",
    (Patch(
        "card/store.py",
        "factor = self.moving_factor\n        self.commit(moving_factor=factor + 1",
        "factor = self.moving_factor + 1\n        self.commit(moving_factor=factor + 1",
    ),),
)  # fmt: skip
_KEYLESS = Animal(
    "keyless", "A seed is taken from somebody without keys.",
    (Patch(
        "card/oath.py",
        '    """Store the credential, whole or not at all."""\n    card.need_keys()\n',
        "",
    ),),
)  # fmt: skip
_TELLS = Animal(
    "tells-its-seed", "Whoever asks a card what is on it is told its seed.",
    (Patch(
        "card/oath.py",
        "bytes((wire.HOTP_SHA1,)) + name)",
        "bytes((wire.HOTP_SHA1,)) + name) + tlv.item(0x77, card.store.seed)",
    ),),
)  # fmt: skip
FIRMWARE = (
    *(
        one
        for one in ANIMALS
        if one.name in ("show-before-commit", "save-when-dark", "every-second-code")
    ),
    _WAKEFUL,
    _SKIPS,
    _KEYLESS,
    _TELLS,
)


def _stays(_genuine: Any) -> Any:
    def moved_to(match: int, state: Any, now: int, generator: Any) -> Any:
        return judge.CodeState(match)

    return moved_to


def _wide(genuine: Any) -> Any:
    def windows(state: Any, policy: Any, now: int, generator: Any) -> Any:
        return genuine(state, dataclasses.replace(policy, look_ahead=100), now, generator)

    return windows


def _narrow(genuine: Any) -> Any:
    def windows(state: Any, policy: Any, now: int, generator: Any) -> Any:
        return genuine(state, dataclasses.replace(policy, look_ahead=1), now, generator)

    return windows


def _locked_for_ever(genuine: Any) -> Any:
    def wait_s(self: Throttle, now: int) -> int:
        return 60 if self.blocked_until else int(genuine(self, now))

    return wait_s


def _short_lock(genuine: Any) -> Any:
    def after_failure(self: Throttle, limits: Any, now: int) -> Throttle:
        made: Throttle = genuine(self, limits, now)
        if made.failures < limits.max_failures:
            return made
        return Throttle(made.failures, limits.lockout_s, now + limits.lockout_s)

    return after_failure


def _never_waits(_genuine: Any) -> Any:
    def wait_s(self: Throttle, now: int) -> int:
        return 0

    return wait_s


def _all_usable(_genuine: Any) -> Any:
    return second.usable


def _nobody_leaves(_genuine: Any) -> Any:
    def leave(connection: Any, ways: Any, gone: Any) -> None:
        return None

    return leave


def _unwritten(_genuine: Any) -> Any:
    def append(self: Any, connection: Any, acts: Any, at_ms: int) -> None:
        return None

    return append


def _not_committed(genuine: Any) -> Any:
    """Every fifth answer is given before its transaction, which does not come about."""
    count = 0

    def judged(self: Any, checks: Any) -> Any:
        nonlocal count
        count += 1
        if count % 5:
            return genuine(self, checks)
        try:
            with self._database.engine.connect() as connection:
                answers = self._verifier.run(connection, checks, self._clock())
                connection.rollback()
        except DBAPIError:
            return genuine(self, checks)
        self._verifier.chain.rollback()
        return answers

    return judged


def _fixed_offset(_genuine: Any) -> Any:
    winter = timezone(timedelta(hours=1))

    def end_of_day(policy: Any, now: float) -> int:
        day = datetime.fromtimestamp(now, UTC).astimezone(winter).date()
        end = datetime.combine(day, policy.day_ends, winter).timestamp()
        return int(end if end > now + holding.SHORTEST_DAY_S else end + 86_400)

    return end_of_day


def _in_the_clear(_genuine: Any) -> Any:
    def encrypt(self: Any, plaintext: bytes, binding: str) -> Box:
        return Box(self.active, bytes(12) + plaintext)

    return encrypt


def _read_clear(_genuine: Any) -> Any:
    def decrypt(self: Any, box: Box, binding: str) -> bytes:
        return box.blob[12:]

    return decrypt


@contextmanager
def _unencrypted() -> Iterator[None]:
    with (
        in_place_of(ServerKeyRing, "encrypt", _in_the_clear)(),
        in_place_of(ServerKeyRing, "decrypt", _read_clear)(),
    ):
        yield


def _found_behind(genuine: Any) -> Any:
    def windows(state: Any, policy: Any, now: int, generator: Any) -> Any:
        made = genuine(state, policy, now, generator)
        if generator.step_s:
            return made
        behind = range(max(0, made.pair.start - 10), made.pair.stop)
        return dataclasses.replace(made, pair=behind)

    return windows


def _phone_stays(genuine: Any) -> Any:
    def moved_to(match: int, state: Any, now: int, generator: Any) -> Any:
        if generator.step_s:
            return judge.CodeState(state.moving_factor)
        return genuine(match, state, now, generator)

    return moved_to


def _any_assertion(_genuine: Any) -> Any:
    def check_assertion(*_words: Any, sign_count: int, **_named: Any) -> int:
        return sign_count + 1

    return check_assertion


def _one_more(by: int) -> Callable[[Any], Any]:
    """by: so many codes the window is wider."""

    def make(genuine: Any) -> Any:
        def windows(state: Any, policy: Any, now: int, generator: Any) -> Any:
            wide = dataclasses.replace(policy, look_ahead=policy.look_ahead + by)
            return genuine(state, policy if generator.step_s else wide, now, generator)

        return windows

    return make


def _any_time(genuine: Any) -> Any:
    def windows(state: Any, policy: Any, now: int, generator: Any) -> Any:
        return genuine(state, dataclasses.replace(policy, steps_around=20), now, generator)

    return windows


def _one_step_late(genuine: Any) -> Any:
    def windows(state: Any, policy: Any, now: int, generator: Any) -> Any:
        made = genuine(state, policy, now, generator)
        if not generator.step_s:
            return made
        first = max(made.good.start - 1, state.moving_factor)
        return dataclasses.replace(made, good=range(first, made.good.stop))

    return windows


def _on_a_shelf(genuine: Any) -> Any:
    """Until the next card comes."""

    def register(
        connection: Any, ring: Any, caller: Any, entries: Any, *words: Any, **named: Any
    ) -> Any:
        connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS shelf (seed BLOB)")
        connection.exec_driver_sql("DELETE FROM shelf")
        seed = entries[0].seed.reveal()
        connection.exec_driver_sql("INSERT INTO shelf VALUES (?)", (seed,))
        return genuine(connection, ring, caller, entries, *words, **named)

    return register


class _NobodyBarred:
    """`people`, where nobody is."""

    def __getattr__(self, name: str) -> Any:
        genuine = getattr(people, name)
        return self._found(genuine) if name in ("find", "get") else genuine

    @staticmethod
    def _found(genuine: Any) -> Any:
        def found(*words: Any, **named: Any) -> Any:
            person = genuine(*words, **named)
            return person and dataclasses.replace(person, disabled=False)

        return found


def _left_open(_genuine: Any) -> Any:
    def end_all(connection: Any, person_id: int, *, but: int | None = None) -> None:
        return None

    return end_all


def _voids_nothing(_genuine: Any) -> Any:
    def void(context: Any, person: Any, voids: Any) -> None:
        return None

    return void


def _still_the_borrowers(_genuine: Any) -> Any:
    def give_back(connection: Any, ring: Any, caller: Any, serial: str, **said: Any) -> Any:
        row = cards.find(connection, caller, serial, lock=True)
        proved = proof.prove(
            connection, ring, caller, row, said["codes"], said["policy"], said["now"],
            act="return", reason=said["reason"],
        )  # fmt: skip
        if isinstance(proved, ApiError):
            return proved
        holding.note(connection, ring, caller, "card-returned", serial, said["now"])
        return cards.describe(connection, caller, serial, said["now"]) | {"skipped": 0}

    return give_back


def _not_without_a_code(genuine: Any) -> Any:
    without_it = _still_the_borrowers(genuine)

    def give_back(*given: Any, **said: Any) -> Any:
        return (without_it if said["reason"] else genuine)(*given, **said)

    return give_back


def _unsent(_genuine: Any) -> Any:
    return lambda _outbox: None


def _silent(act: str) -> Callable[[Any], Any]:
    """This kind of act is not written."""

    def make(genuine: Any) -> Any:
        def write(connection: Any, ring: Any, chain: str, head: Any, acts: Any) -> Any:
            told = [one for one in acts if one.action != act]
            return genuine(connection, ring, chain, head, told) if told else head

        return write

    return make


def _swapped(genuine: Any) -> Any:
    def run(self: Any, connection: Any, checks: Any, now: float) -> Any:
        return list(reversed(genuine(self, connection, checks, now)))

    return run


def _uncounted(genuine: Any) -> Any:
    def ask(connection: Any, ring: Any, question: Any, now: float) -> Any:
        judged = connection.begin_nested()
        answer = genuine(connection, ring, question, now)
        (judged.commit if getattr(answer, "accepted", False) else judged.rollback)()
        return answer

    return ask


def _no_limit(_genuine: Any) -> Any:
    def before_password(*_words: Any, **_named: Any) -> None:
        return None

    return before_password


def _nearly_in_a_row(_genuine: Any) -> Any:
    def find_pair(seed: bytes, codes: Any, factors: range, algorithm: str = "sha1") -> int | None:
        last = None
        for factor in range(factors.start, factors.stop + 1):
            code = otp.hotp(seed, factor, len(codes[0]), algorithm)
            if last is not None and factor - last < 4 and code == codes[1]:
                return factor - 1
            last = factor if code == codes[0] else last
        return None

    return find_pair


def _lends_nothing(_genuine: Any) -> Any:
    def lend(*_words: Any, **_named: Any) -> Any:
        raise ApiError(409, "held", "Somebody holds it.")

    return lend


SERVER = (
    Broken("used-again", "A code that was accepted stays the next one.",
           in_place_of(judge, "_moved_to", _stays)),
    Broken("wide-window", "The look-ahead window is a hundred codes wide.",
           in_place_of(judge, "_windows", _wide)),
    Broken("narrow-window", "One press too many locks a user out.",
           in_place_of(judge, "_windows", _narrow)),
    Broken("lost-lets-in", "A card that was reported lost is still good.", held_without(STATUS)),
    Broken("loan-for-ever", "A loan does not end.", held_without(LOAN)),
    Broken("leavers-come-back", "Whoever was barred is let in.", held_without(DISABLED)),
    Broken("locked-for-ever", "A lock is not lifted.",
           in_place_of(Throttle, "wait_s", _locked_for_ever)),
    Broken("short-lock", "A lock does not grow with further guesses.",
           in_place_of(Throttle, "after_failure", _short_lock)),
    Broken("never-waits", "Guesses are judged without end.",
           in_place_of(Throttle, "wait_s", _never_waits)),
    Broken("one-thing-twice", "What has set the password anew is asked for as the second factor.",
           in_place_of(login, "askable", _all_usable)),
    Broken("nobody-leaves", "A leaver of the directory loses nothing.",
           in_place_of(leaving, "leave", _nobody_leaves)),
    Broken("unwritten", "Checks leave no entry in the audit log.",
           in_place_of(WorkerChain, "append", _unwritten)),
    Broken("not-committed", "Some answers are given without a transaction.",
           in_place_of(GroupCommit, "_judge", _not_committed)),
    Broken("fixed-offset", "The firm's day ends by the offset of winter, in summer as well.",
           in_place_of(holding, "end_of_day", _fixed_offset)),
    Broken("in-the-clear", "Seeds are stored without encryption.", _unencrypted),
    Broken("found-behind", "Two codes that were used find a card again.",
           in_place_of(judge, "_windows", _found_behind)),
    Broken("phone-code-twice", "A telephone's code that was accepted is good once more.",
           in_place_of(judge, "_moved_to", _phone_stays)),
    Broken("any-assertion", "What a reader says is not checked.",
           in_place_of(fido, "check_assertion", _any_assertion)),
    Broken("one-more", "The look-ahead window is one code too wide.",
           in_place_of(judge, "_windows", _one_more(1))),
    Broken("one-less", "The look-ahead window is one code too narrow.",
           in_place_of(judge, "_windows", _one_more(-1))),
    Broken("any-time", "A telephone's code is good ten minutes early or late.",
           in_place_of(judge, "_windows", _any_time)),
    Broken("on-a-shelf", "A seed is stored in clear until the next card comes.",
           in_place_of(cards, "register", _on_a_shelf)),
    Broken("one-step-late", "A telephone's code is good for half a minute longer.",
           in_place_of(judge, "_windows", _one_step_late)),
    Broken("barred-signs-in", "The portal does not look whether somebody is barred.",
           in_place_of(login, "people", lambda _genuine: _NobodyBarred())),
    Broken("left-open", "Browsers stay signed in when the account is taken away.",
           in_place_of(sessions, "end_all", _left_open)),
    Broken("old-telephone", "What the help desk voids is still good.",
           in_place_of(recovery, "_void", _voids_nothing)),
    Broken("still-the-borrowers", "A card that was given back still lets the borrower in.",
           in_place_of(desk, "give_back", _still_the_borrowers)),
    Broken("unread-stays-lent", "A card that was taken back unread still lets the borrower in.",
           in_place_of(desk, "give_back", _not_without_a_code)),
    Broken("unsent", "Letters are not sent.", in_place_of(Outbox, "send_due", _unsent)),
    Broken("answers-swapped", "Who asks at the same instant gets the other's answer.",
           in_place_of(Verifier, "run", _swapped)),
    Broken("guesses-uncounted", "Guesses at the portal are not counted.",
           in_place_of(verification, "ask", _uncounted)),
    Broken("passwords-without-end", "Passwords can be guessed without end.",
           in_place_of(limits, "before_password", _no_limit)),
    Broken("help-without-end", "A code of the help desk is good for months.",
           in_place_of(together, "LIFE_S", lambda _genuine: 10**7)),
    Broken("not-in-a-row", "Two codes of which one was left out find a card again.",
           in_place_of(judge, "find_pair", _nearly_in_a_row)),
    *(Broken(f"unlogged-{act}", f"{what} leaves no entry in the audit log.",
             in_place_of(audit, "_write", _silent(act)))
      for act, what in (
          ("password-wrong", "A wrong password"), ("factor-checked", "A second factor"),
          ("people-imported", "A list of people"), ("recovery-begun", "A recovery"))),
    Broken("lends-nothing", "No card can be lent.", in_place_of(desk, "lend", _lends_nothing)),
)  # fmt: skip


def _seed_unkept(_genuine: Any) -> Any:
    def keep_seed(self: Any, record: Any, container: bytes, seed: bytes, digits: int) -> Any:
        return dataclasses.replace(record, container=container, seed=seed, digits=digits)

    return keep_seed


def _never_locked(_genuine: Any) -> Any:
    def set_status(self: Any, *arguments: Any, **named: Any) -> None:
        return None

    return set_status


def _finished_first(_genuine: Any) -> Any:
    def lock(self: Any, card: Any, record: Any) -> None:
        self._journal.finish(record, CardState.LOCKED)
        self._note(CardState.LOCKED)
        IssuerSession(card.channel).set_status(LifeCycle.SECURED)

    return lock


def _one_seed(_genuine: Any) -> Any:
    def new_seed(self: Any, serial: str, card_entropy: bytes) -> SoftwareSeed:
        return SoftwareSeed(Secret(b"the same of all card"), self)

    return new_seed


def _seed_in_log(genuine: Any) -> Any:
    def new_seed(self: Any, serial: str, card_entropy: bytes) -> SoftwareSeed:
        seed: SoftwareSeed = genuine(self, serial, card_entropy)
        _LOG.debug("card %s gets %s", serial, seed.reveal().hex())
        return seed

    return new_seed


def _unassigned(_genuine: Any) -> Any:
    def assign(self: Any, card: Any, record: Any, registered: Any) -> Any:
        return registered, None

    return assign


def _anothers(genuine: Any) -> Any:
    """It goes to whoever had the card before."""
    last = ""

    def assign(self: Any, card: Any, record: Any, registered: Any) -> Any:
        nonlocal last
        other, last = last or record.user, record.user or last
        return genuine(self, card, dataclasses.replace(record, user=other), registered)

    return assign


def _not_compared(genuine: Any) -> Any:
    """Two codes are asked for, and the server is told of none."""

    def build(custody: Any, seed: Any, serial: str, kind: Any, factor: int) -> Any:
        return genuine(custody, seed, serial, kind, factor + 40)

    return build


def _taken_for_done(genuine: Any) -> Any:
    """A request without an answer is taken for done."""

    def register(self: Any, serial: str, container: bytes) -> Registered:
        try:
            done: Registered = genuine(self, serial, container)
        except OutcomeUnknownError:
            return Registered(serial, "registered", 6, 2)
        return done

    return register


def _taken_for_undone(genuine: Any) -> Any:
    def changed(self: Any, method: str, path: str, body: Any, *, doing: str) -> Any:
        try:
            return genuine(self, method, path, body, doing=doing)
        except NoConnectionError:
            raise
        except OutcomeUnknownError as error:
            raise NoConnectionError(error.what) from None

    return changed


def _by_the_desks_clock(_genuine: Any) -> Any:
    return property(lambda _terms: moments.now())


@contextmanager
def _told_with_the_error() -> Iterator[None]:
    made: list[str] = []

    def noted(genuine: Any) -> Any:
        def new_seed(self: Any, serial: str, card_entropy: bytes) -> SoftwareSeed:
            seed: SoftwareSeed = genuine(self, serial, card_entropy)
            made.append(seed.reveal().hex())
            return seed

        return new_seed

    def telling(genuine: Any) -> Any:
        def register(self: Any, serial: str, container: bytes) -> Registered:
            try:
                done: Registered = genuine(self, serial, container)
            except TallyError as error:
                error.what += f" It was to have {made[-1]}."
                raise
            return done

        return register

    with (
        in_place_of(SoftwareCustody, "new_seed", noted)(),
        in_place_of(TallyServer, "register", telling)(),
    ):
        yield


def _last_alone(genuine: Any) -> Any:
    def codes(typed: Any) -> Any:
        return genuine(typed)[-1:]

    return codes


STATIONS = (
    Broken("seed-unkept", "A seed goes to the card before the journal has it.",
           in_place_of(StationJournal, "keep_seed", _seed_unkept)),
    Broken("never-locked", "A card is not put in service.",
           in_place_of(IssuerSession, "set_status", _never_locked)),
    Broken("finished-first", "A card is finished in the journal before it is put in service.",
           in_place_of(steps.CardRun, "_lock", _finished_first)),
    Broken("one-seed", "Every card gets the same seed.",
           in_place_of(SoftwareCustody, "new_seed", _one_seed)),
    Broken("seed-in-log", "A seed is written to the log.",
           in_place_of(SoftwareCustody, "new_seed", _seed_in_log)),
    Broken("unassigned", "A card is given to nobody.",
           in_place_of(steps.CardRun, "_assign", _unassigned)),
    Broken("anothers", "A card is given to whoever got the one before.",
           in_place_of(steps.CardRun, "_assign", _anothers)),
    Broken("factor-ahead", "The server is told of forty codes too many.",
           in_place_of(container, "build", _not_compared)),
    Broken("taken-for-done", "No answer of the server is taken for 'registered'.",
           in_place_of(TallyServer, "register", _taken_for_done)),
    Broken("seed-in-error", "An error of the station tells the seed.", _told_with_the_error),
    Broken("one-code-at-the-desk", "The desk sends the last code alone, where two are wanted.",
           in_place_of(client, "_codes", _last_alone)),
    Broken("by-the-desks-clock", "A loan of three hours ends by the desk's own clock.",
           in_place_of(Terms, "now", _by_the_desks_clock)),
    Broken("taken-for-undone", "No answer of the server is taken for 'nothing was changed'.",
           in_place_of(Desk, "_changed", _taken_for_undone)),
)  # fmt: skip

ALL: tuple[Animal | Broken, ...] = (*FIRMWARE, *SERVER, *STATIONS, *DOORS)
_FIRMS = {
    "fixed-offset": _OVER_THE_CHANGE,
    "any-assertion": _WITH_A_READER,
    "barred-signs-in": _A_WEEK,
    "help-without-end": _A_WEEK,
    "by-the-desks-clock": _A_WEEK,
    "a-colleagues-thumb": _WITH_READERS,
}


def find(name: str) -> Animal | Broken:
    return next(one for one in ALL if one.name == name)


@contextmanager
def planted(one: Animal | Broken, image: Image) -> Iterator[Image]:
    """The product with this bug in it. image: of what ships; → the firmware's"""
    forget_starts()
    try:
        if isinstance(one, Broken):
            with one.change():
                yield image
        else:
            with one.firmware() as root:
                yield image_under_test("card", BOARD, root, readable=False)
    finally:
        forget_starts()


def hunt(one: Animal | Broken, seeds: int = _SEEDS) -> FirmStory | None:
    """The shortest story of it; None when it escapes."""
    with planted(one, fresh.image(BOARD)) as image:
        return _hunt(_FIRMS.get(one.name, _SMALL), image, seeds)


def hunt_named(name: str) -> FirmStory | None:
    """As `hunt`, for a process that is told a name."""
    return hunt(find(name))


def _hunt(firm: SimulatedFirm, image: Image, seeds: int) -> FirmStory | None:
    for seed in range(1, seeds + 1):
        tried = dataclasses.replace(firm, seed=seed)
        result = simulate(tried, image=image)
        if result.violations:
            return shrink(tried, result, image)
    return None
