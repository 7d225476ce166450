"""Bugs planted at the doors that strangers and colleagues try, and where a seed could be left."""

from __future__ import annotations

import base64
import dataclasses
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import select

from tallystick.common import base64url
from tallystick.provisioning.custody.software import SoftwareCustody, SoftwareSeed
from tallystick.server.accounts import factors, passwords
from tallystick.server.accounts.policy import FirmPolicy
from tallystick.server.checking import answers, tokens, verification
from tallystick.server.checking.tokens import Tokens
from tallystick.server.errors import ApiError
from tallystick.server.loans import desk, holding
from tallystick.server.loans.proof import Proof
from tallystick.server.methods import webauthn
from tallystick.server.methods.webauthn import WebAuthnMethod
from tallystick.server.rules import judge
from tallystick.server.rules.throttle import Throttle
from tallystick.server.signing_in import limits, recovery
from tallystick.server.store.models import PersonRow
from tallystick.server.store.models_login import Factor
from tallystick.server.store.opened import opened
from tallystick.tools.campaign.engine.animal import Broken, in_place_of
from tallystick.tools.campaign.firm import ground

STATUS, VALID, LOAN, DISABLED = range(4)  # conditions of `tokens._HELD`, in their order
_LATE_S = 600
_EARLY_S = 5
_LOG = logging.getLogger("planted.elsewhere")


def held_without(condition: int) -> Callable[..., Any]:
    """Whose card it is, without one of the things that must be so."""

    @contextmanager
    def change() -> Iterator[None]:
        names = ("_CARDS_BY_USER", "_CARDS_BY_SERIAL")
        before = {name: getattr(tokens, name) for name in names}
        for name, query in before.items():
            criteria = list(query._where_criteria)
            del criteria[condition]
            loose = query._generate()
            loose._where_criteria = tuple(criteria)
            setattr(tokens, name, loose)
        try:
            yield
        finally:
            for name, query in before.items():
                setattr(tokens, name, query)

    return change


def _lifted_early(genuine: Any) -> Any:
    def wait_s(self: Throttle, now: int) -> int:
        left: int = genuine(self, now)
        return left if left > _EARLY_S else 0

    return wait_s


@contextmanager
def _lost_later() -> Iterator[None]:
    lost: dict[str, float] = {}

    def noted(genuine: Any) -> Any:
        def set_status(connection: Any, ring: Any, caller: Any, serial: str, **said: Any) -> Any:
            if said["status"] is holding.CardStatus.LOST:
                lost.setdefault(serial, said["now"])
            return genuine(connection, ring, caller, serial, **said)

        return set_status

    def still_good(genuine: Any) -> Any:
        def cards(self: Any, connection: Any, query: Any, firms: Any, names: Any, now: Any) -> Any:
            found = genuine(self, connection, query, firms, names, now)
            return [one for one in found if now - lost.get(one.serial, now) < _LATE_S]

        return cards

    with (
        held_without(STATUS)(),
        in_place_of(holding, "set_status", noted)(),
        in_place_of(Tokens, "_cards", still_good)(),
    ):
        yield


@contextmanager
def _old_passwords() -> Iterator[None]:
    before: dict[str, str] = {}

    def noted(genuine: Any) -> Any:
        def store(connection: Any, person_id: int, hashed: str, now: float) -> None:
            old = passwords.stored_hash(connection, person_id)
            if old is not None:
                before[hashed] = old
            genuine(connection, person_id, hashed, now)

        return store

    def either(genuine: Any) -> Any:
        def matches(stored: str | None, password: str) -> bool:
            old = before.get(stored or "")
            return genuine(stored, password) or (old is not None and genuine(old, password))

        return matches

    with (
        in_place_of(passwords, "store", noted)(),
        in_place_of(passwords, "matches", either)(),
    ):
        yield


def _anybodys(genuine: Any) -> Any:
    """`ask` of `verification`: what is no code of this person is looked for among the others'."""

    def ask(connection: Any, ring: Any, question: Any, now: float) -> Any:
        said = genuine(connection, ring, question, now)
        if getattr(said, "accepted", True):
            return said
        for login in connection.scalars(select(PersonRow.login_key)).all():
            tried = connection.begin_nested()
            other = genuine(connection, ring, dataclasses.replace(question, user=login), now)
            if getattr(other, "accepted", False):
                tried.commit()
                return other
            tried.rollback()
        return said

    return ask


def _anybodys_card(genuine: Any) -> Any:
    def answer(connection: Any, ring: Any, _found: Any, question: Any, now: int) -> Any:
        def alone(_connection: Any, _ring: Any, asked: Any, when: float) -> Any:
            found = Tokens(connection, [asked], when)
            said = genuine(connection, ring, found, asked, int(when))
            found.store(connection)
            return said

        return (alone if question.user is None else _anybodys(alone))(
            connection, ring, question, now
        )

    return answer


def _anybodys_key(genuine: Any) -> Any:
    def verify(self: Any, context: Any, person: Any, key: str, form: Any) -> Any:
        said = genuine(self, context, person, key, form)
        named = base64url.decode(webauthn._response(form).get("id", ""))
        query = select(Factor.person_id, Factor.id).where(Factor.external_id == named)
        row = context.connection.execute(query).one_or_none()
        if said.accepted or row is None or row.person_id == person.id:
            return said
        other = dataclasses.replace(person, id=row.person_id)
        return genuine(self, context, other, str(row.id), form)

    return verify


def _of_one_firm(genuine: Any) -> Any:
    def question(check: Any, caller: Any) -> Any:
        return dataclasses.replace(genuine(check, caller), firm_id=1)

    return question


def _for_any_service(genuine: Any) -> Any:
    def name_of(_asker: str, *question: Any) -> Any:
        return genuine("", *question)

    return name_of


def _for_anybody(genuine: Any) -> Any:
    def with_help(state: Any, firm: str, login: str, code: str, browser: Any) -> Any:
        with state.database.read() as connection:
            logins = connection.scalars(select(PersonRow.login_key)).all()
        for one in (login, *logins):
            try:
                return genuine(state, firm, one, code, browser)
            except ApiError as error:
                refused = error
        raise refused

    return with_help


def _wide(genuine: Any) -> Any:
    def desk_codes(self: FirmPolicy) -> Any:
        return dataclasses.replace(genuine(self), look_ahead=200)

    return desk_codes


def _endless(genuine: Any) -> Any:
    def windows(state: Any, policy: Any, now: int, generator: Any) -> Any:
        made = genuine(state, policy, now, generator)
        if generator.step_s:
            return made
        return dataclasses.replace(made, pair=range(made.pair.start, made.pair.stop + 400))

    return windows


def _any_code(genuine: Any) -> Any:
    def prove(connection: Any, *words: Any, **named: Any) -> Any:
        tried = connection.begin_nested()
        proved = genuine(connection, *words, **named)
        if isinstance(proved, Proof):
            tried.commit()
            return proved
        tried.rollback()
        return Proof()

    return prove


def _no_reason(genuine: Any) -> Any:
    def facts(self: Proof) -> Any:
        return genuine(dataclasses.replace(self, reason=""))

    return facts


def _forgets(genuine: Any) -> Any:
    """Whoever starts the server takes the last code that was used for a new one."""

    def create_app(settings: Any) -> Any:
        with opened(settings) as parts, parts.database.write() as connection:
            connection.exec_driver_sql(
                "UPDATE card SET moving_factor = moving_factor - 1 WHERE id = "
                "(SELECT id FROM card WHERE last_used_at > 0 ORDER BY last_used_at DESC LIMIT 1)"
            )
        return genuine(settings)

    return create_app


def _in_the_open(genuine: Any) -> Any:
    def create(connection: Any, ring: Any, **said: Any) -> Any:
        if said["secret"]:
            shown = base64.b32encode(said["secret"]).decode()
            said["facts"] = dict(said["facts"]) | {"shown": shown}
        return genuine(connection, ring, **said)

    return create


def _told(tell: Callable[[bytes], object]) -> Callable[..., Any]:
    """tell: what is done with each new seed"""

    def make(genuine: Any) -> Any:
        def new_seed(self: Any, serial: str, card_entropy: bytes) -> SoftwareSeed:
            seed: SoftwareSeed = genuine(self, serial, card_entropy)
            tell(seed.reveal())
            return seed

        return new_seed

    return in_place_of(SoftwareCustody, "new_seed", make)


def _left_behind(seed: bytes) -> None:
    (Path(tempfile.gettempdir()) / "left-behind").write_bytes(seed)


def _for_a_moment(seed: bytes) -> None:
    file = Path(tempfile.gettempdir()) / "for-a-moment"
    file.write_bytes(seed)
    file.unlink()


def _elsewhere(seed: bytes) -> None:
    place = Path(tempfile.gettempdir()).parent / f"written-elsewhere-{os.getpid()}"
    place.write_bytes(bytes(len(seed)))
    place.unlink()


DOORS = (
    Broken("lifted-early", "A lock is lifted five seconds early.",
           in_place_of(Throttle, "wait_s", _lifted_early)),
    Broken("lost-later", "A lost card is good for ten more minutes.", _lost_later),
    Broken("old-password", "The password before is still good.", _old_passwords),
    Broken("a-colleagues-code", "A code of anybody's card is good for everybody.",
           in_place_of(verification, "_answer", _anybodys_card)),
    Broken("a-colleagues-telephone", "A code of anybody's telephone is good for everybody.",
           in_place_of(verification, "ask", _anybodys)),
    Broken("a-colleagues-thumb", "What anybody's reader says is good for everybody.",
           in_place_of(WebAuthnMethod, "verify", _anybodys_key)),
    Broken("another-firms", "A service of another firm is answered for people of this one.",
           in_place_of(verification, "_question", _of_one_firm)),
    Broken("another-services", "An answer that is kept for one service is given to another.",
           in_place_of(answers, "name_of", _for_any_service)),
    Broken("help-for-anybody", "A code of the help desk is good whoever's name is typed.",
           in_place_of(recovery, "with_help", _for_anybody)),
    Broken("wide-at-the-desk", "The look-ahead window is two hundred codes wide at the desk.",
           in_place_of(FirmPolicy, "desk_codes", _wide)),
    Broken("found-from-afar", "Two codes find a card again however far ahead they are.",
           in_place_of(judge, "_windows", _endless)),
    Broken("any-code-at-the-desk", "The desk takes any code for one of the card's.",
           in_place_of(desk, "prove", _any_code)),
    Broken("reason-unwritten", "The log does not say why a card was taken back without a code.",
           in_place_of(Proof, "facts", _no_reason)),
    Broken("starts-behind", "A server that starts has forgotten the last code that was used.",
           in_place_of(ground, "create_app", _forgets)),
    Broken("short-quarter", "Passwords are counted by the minute, and not by the quarter.",
           in_place_of(limits, "PASSWORD_WINDOW_S", lambda _genuine: 60)),
    Broken("telephone-in-the-open", "A telephone's seed is beside itself in clear.",
           in_place_of(factors, "create", _in_the_open)),
    Broken("seed-shown", "A seed is logged as Python shows bytes, by another logger.",
           _told(lambda seed: _LOG.warning("made %r", seed))),
    Broken("seed-printed", "A seed is printed.",
           _told(lambda seed: sys.stderr.write(f"{seed.hex(':')}\n"))),
    Broken("seed-left-behind", "A seed is left in a temporary file.", _told(_left_behind)),
    Broken("seed-for-a-moment", "A seed is in a temporary file, which is deleted.",
           _told(_for_a_moment)),
    Broken("written-elsewhere", "A file is written where nobody said.", _told(_elsewhere)),
)  # fmt: skip
