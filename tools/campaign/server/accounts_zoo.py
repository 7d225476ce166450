"""Servers that are broken on purpose, each by a small patch of the one that runs. What ships must
not be one of them; the model must catch every one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, true, update

from tallystick.server.accounts import people, rights, sessions
from tallystick.server.checking import tokens
from tallystick.server.loans import desk, holding
from tallystick.server.loans.proof import Proof
from tallystick.server.methods import METHODS, sent
from tallystick.server.methods.card import CardMethod
from tallystick.server.methods.codes import CodesMethod
from tallystick.server.portal import enrol, oidc, web
from tallystick.server.rules.judge import Reason, Verdict
from tallystick.server.services import oidc as provider
from tallystick.server.services import radius
from tallystick.server.services.oidc_clients import TokenError
from tallystick.server.serving import client
from tallystick.server.signing_in import (
    attempts,
    inviting,
    login,
    recovery,
    second,
    stepup,
    together,
)
from tallystick.server.signing_in.attempts import Purpose, Stage
from tallystick.server.signing_in.login import Way
from tallystick.server.store import origin, signing_keys
from tallystick.server.store.models_login import HelpRequest, SentCode
from tallystick.server.store.origin import Origin

Patch = tuple[Any, str, Any]  # where, which name, what instead


@dataclass(frozen=True)
class BrokenServer:
    """sentence: what is wrong with it. patches: made of what is there. looked_for: the model's
    rules that are tried."""

    name: str
    sentence: str
    patches: Callable[[], Sequence[Patch]]
    looked_for: tuple[str, ...]

    @contextmanager
    def let_loose(self) -> Iterator[None]:
        """While it lasts, every module of the server that uses the name has the patch, and so has
        every test of it that is loaded."""
        changed: list[tuple[Any, str, Any]] = []
        try:
            for owner, name, instead in self.patches():
                real = getattr(owner, name)
                for place in [owner, *_users_of(name, real, owner)]:
                    changed.append((place, name, real))
                    setattr(place, name, instead)
            yield
        finally:
            for place, name, real in reversed(changed):
                setattr(place, name, real)


def _users_of(name: str, real: Any, owner: Any) -> list[Any]:
    if isinstance(owner, type):
        return []
    return [
        module
        for path, module in list(sys.modules.items())
        if path.startswith(("tallystick.server.", "tests.server."))
        and module is not owner
        and getattr(module, name, None) is real
    ]


def _always(value: object) -> Callable[..., Any]:
    return lambda *_, **__: value


def _recovered_serves() -> Sequence[Patch]:
    return [(second, "askable", second.usable)]


def _one_factor_recovers() -> Sequence[Patch]:
    real = recovery.set_password

    def forgetful(*args: Any, recovered_by: str | None = None, **more: Any) -> None:
        real(*args, **more)

    return [(recovery, "set_password", forgetful)]


def _handed_card_recovers() -> Sequence[Patch]:
    real = holding.hand_over

    def confirmed(*args: Any, **more: Any) -> None:
        real(*args, **more | {"confirmed": True})

    return [(holding, "hand_over", confirmed)]


def _help_clears_enrolment() -> Sequence[Patch]:
    real = recovery.set_password

    def clearing(state: Any, connection: Connection, *args: Any, **more: Any) -> None:
        real(state, connection, *args, **more)
        person = args[2]
        if more.get("recovered_by") is None:
            people.change(connection, person.firm_id, person.id, enrolled_at=None)

    return [(recovery, "set_password", clearing)]


def _any_name() -> Sequence[Patch]:
    return [(radius, "Way", lambda purpose, bound, opens: Way(purpose, "", opens))]


def _any_attempt() -> Sequence[Patch]:
    return [(radius, "Way", lambda purpose, bound, opens: Way(Purpose.LOGIN, "", opens))]


def _guess_by_guess() -> Sequence[Patch]:
    def each(context: Any, person: Any, under: Any, code: str) -> Verdict:
        """Card first: an app's code is a guess at it."""
        able = [one for one in second.askable(context, person) if METHODS[one.kind].typed]
        verdict = Verdict(Reason.WRONG)
        for held in able:
            if METHODS[held.kind].sends and not second._is_sent(context, held):
                continue
            alone = replace(context, any_of=frozenset({held.kind}))
            owner = second.as_person(person)
            verdict = METHODS[held.kind].verify(alone, owner, held.key, {"code": code})
            verdict = replace(verdict, kind=held.kind.value)
            if verdict.accepted:
                second._accept(context, person, under, verdict)
                return verdict
        return verdict

    return [(second, "prove_any", each)]


def _first_method_only() -> Sequence[Patch]:
    real = second._that_may_take
    return [(second, "_that_may_take", lambda context, person: real(context, person)[:1])]


def _tokens_outlive() -> Sequence[Patch]:
    """An access token is asked for its signature and its own end, and no more."""
    real = provider.user_info

    def outlives(connection: Connection, ring: Any, *, now: float, **more: Any) -> dict[str, Any]:
        try:
            return real(connection, ring, now=now, **more)
        except TokenError:
            claims = signing_keys.claims_of(connection, ring, more["token"], now)
            if claims is None or claims["exp"] <= now:
                raise
            return {"sub": claims["sub"]}

    return [(provider, "user_info", outlives)]


def _agrees_alone() -> Sequence[Patch]:
    def alone(
        state: Any, connection: Connection, firm: Any, other: Any, request_id: int, **_: Any
    ) -> None:
        connection.execute(
            update(HelpRequest).where(HelpRequest.id == request_id).values(agreed_by=other.id)
        )

    return [(together, "agree", alone)]


def _help_for_ever() -> Sequence[Patch]:
    real = recovery.new_request
    return [
        (recovery, "new_request", lambda *args, **more: real(*args, **more | {"life_s": 10**6}))
    ]


def _makes_people() -> Sequence[Patch]:
    real = holding.assign
    return [(holding, "assign", lambda *args, **more: real(*args, **more | {"new_user": True}))]


def _borrower_removes() -> Sequence[Patch]:
    real = holding.take_back
    return [
        (holding, "take_back", lambda *args, **more: real(*args, **more | {"from_person": None}))
    ]


def _reset_first() -> Sequence[Patch]:
    real = attempts.begin

    def early(connection: Connection, **more: Any) -> str:
        if more["purpose"] is Purpose.RECOVERY:
            more["stage"] = Stage.RESET
        return real(connection, **more)

    return [(attempts, "begin", early)]


def _never_used_up() -> Sequence[Patch]:
    return [(tokens.AppToken, "store", _always(None)), (tokens.CardToken, "store", _always(None))]


def _sheet_for_ever() -> Sequence[Patch]:
    real = CodesMethod._left

    def all_of_them(self: Any, context: Any, factor: Any, code: str) -> list[str] | None:
        left = real(self, context, factor, code)
        return None if left is None else list(factor.facts["tags"])

    return [(CodesMethod, "_left", all_of_them)]


def _prompt_in_the_url() -> Sequence[Patch]:
    """What the browser is sent with next decides alone."""

    def by_url(connection: Any, request: Any, session: Any, now: float, *, asked: bool) -> bool:
        return asked

    return [(provider, "must_sign_in_anew", by_url)]


def _anybodys_code() -> Sequence[Patch]:
    """A second factor is judged, and whatever comes out is taken."""

    def taken(context: Any, person: Any, held: Any, form: Any) -> Verdict:
        return Verdict(Reason.OK, kind=held.kind.value)

    return [(second, "_judge", taken)]


def _any_attempts_code() -> Sequence[Patch]:
    """A code that was sent is looked up by its factor, whichever attempt asked for it."""
    real = sent._tag

    def tag(context: Any, *what: Any) -> bytes:
        return real(replace(context, attempt=b""), *what)

    return [
        (sent, "_tag", tag),
        (sent, "_of", lambda _, factor_id: (SentCode.factor_id == factor_id, true())),
    ]


def _still_alive() -> Sequence[Patch]:
    return [(sessions, "end", _always(None))]


def _help_to_anyone() -> Sequence[Patch]:
    return [(rights, "covers", _always(True))]


def _made_up_confirmation() -> Sequence[Patch]:
    real = CardMethod.held

    def confirmed(self: Any, context: Any, person: Any, stored: Any = None) -> list[Any]:
        return [replace(one, confirmed=True) for one in real(self, context, person, stored)]

    return [(CardMethod, "held", confirmed)]


def _refuse_nothing(*_: object, **__: object) -> Proof:
    return Proof()


def _found_is_as_before() -> Sequence[Patch]:
    return [(holding, "_hand_over_again", _always(None))]


def _agrees_to_anything() -> Sequence[Patch]:
    real = together.agree

    def whoever(
        state: Any, connection: Connection, firm: Any, other: Any, number: int, **_: Any
    ) -> None:
        mine = HelpRequest.id == number
        asked = connection.execute(HelpRequest.__table__.select().where(mine)).one()
        real(state, connection, firm, other, number, helped_id=asked.person_id)

    return [(together, "agree", whoever)]


def _from_nowhere() -> Sequence[Patch]:
    return [(origin, "Origin", lambda address="", *rest: Origin("", *rest))]


def _from_the_proxy() -> Sequence[Patch]:
    return [(client, "client_of", lambda peer, *_, **__: peer)]


ZOO: tuple[BrokenServer, ...] = (
    BrokenServer(
        "recovered-serves",
        "what recovered a password is asked for next",
        _recovered_serves,
        ("recover",),
    ),
    BrokenServer(
        "recovery-forgotten",
        "nobody remembers what recovered it",
        _one_factor_recovers,
        ("recover",),
    ),
    BrokenServer(
        "handed-card-recovers",
        "a card recovers before it was confirmed",
        _handed_card_recovers,
        ("hand_out_by_credential",),
    ),
    BrokenServer(
        "confirmation-not-looked-at",
        "any card of the person recovers",
        _made_up_confirmation,
        ("hand_out_by_credential",),
    ),
    BrokenServer(
        "lent-without-code",
        "the portal hands out a card without its code",
        lambda: [(desk, "prove", _refuse_nothing)],
        ("hand_out",),
    ),
    BrokenServer(
        "rights-not-looked-at",
        "an agent hands an administrator a card",
        _help_to_anyone,
        ("hand_out",),
    ),
    BrokenServer("radius-any-name", "State is good for every name", _any_name, ("vpn_other_name",)),
    BrokenServer(
        "radius-any-attempt",
        "a browser's attempt is a State",
        _any_attempt,
        ("vpn_with_the_browsers_attempt",),
    ),
    BrokenServer(
        "radius-guess-by-guess",
        "an app's code is a guess at the card",
        _guess_by_guess,
        (
            "vpn_appended",
            "sign_in",
            "vpn_challenge",
        ),
    ),
    BrokenServer(
        "radius-first-method",
        "only the first method counts",
        _first_method_only,
        ("vpn_challenge",),
    ),
    BrokenServer(
        "help-clears-enrolment",
        "after help a password is enough",
        _help_clears_enrolment,
        ("help_desk",),
    ),
    BrokenServer(
        "voids-forgotten",
        "what the help desk named stays good",
        lambda: [(recovery, "_void", _always(None))],
        ("help_desk",),
    ),
    BrokenServer(
        "enrol-only-does-all",
        "a session that may only enrol does more",
        lambda: [(web, "_may_enrol", _always(True))],
        ("help_desk",),
    ),
    BrokenServer(
        "enrol-only-serves",
        "a session that may only enrol lasts as long as others",
        lambda: [(sessions, "ENROL_ONLY_S", 10**6)],
        ("help_desk",),
    ),
    BrokenServer(
        "enrol-only-goes-on",
        "it goes on after the enrolment",
        lambda: [
            (enrol, "_end_if_enough", lambda member, connection, verdict: verdict),
        ],
        ("help_desk",),
    ),
    BrokenServer(
        "staff-never-stale",
        "staff need no fresh proof",
        lambda: [(stepup, "is_fresh", _always(True))],
        ("stale_staff",),
    ),
    BrokenServer(
        "prompt-in-the-url",
        "prompt=login is kept in the address",
        _prompt_in_the_url,
        ("sign_in_anew",),
    ),
    BrokenServer(
        "tokens-outlive", "an access token outlives its session", _tokens_outlive, ("end",)
    ),
    BrokenServer(
        "ended-goes-on",
        "sessions survive their end by others",
        lambda: [(sessions, "end_all", _always(None))],
        ("end",),
    ),
    BrokenServer("signed-out-goes-on", "signing out ends nothing", _still_alive, ("end",)),
    BrokenServer("agrees-alone", "the one who asks agrees", _agrees_alone, ("help_desk",)),
    BrokenServer(
        "new-colleague",
        "whom one of the two has just made agrees",
        lambda: [(together, "_must_count", _always(None))],
        ("own_colleague",),
    ),
    BrokenServer(
        "leavers-invited",
        "whoever has left is invited as somebody new",
        lambda: [(inviting, "may_be_invited", lambda _, person: not person.disabled)],
        ("leaver_again",),
    ),
    BrokenServer("help-for-ever", "a help code does not expire", _help_for_ever, ("help_desk",)),
    BrokenServer("makes-people", "a misspelt name becomes a person", _makes_people, ("misspelt",)),
    BrokenServer(
        "borrower-removes", "a borrower takes a lent card off", _borrower_removes, ("hand_out",)
    ),
    BrokenServer(
        "reset-first", "a password is set without a proof", _reset_first, ("reset_without_proof",)
    ),
    BrokenServer("never-used-up", "a code is good again", _never_used_up, ("used_code",)),
    BrokenServer(
        "sheet-for-ever", "a backup code is good again", _sheet_for_ever, ("backup_codes",)
    ),
    BrokenServer(
        "mfa-by-less",
        "mfa is answered by a remembered browser",
        lambda: [(oidc, "_password_is_enough", _always(True))],
        ("remembered_is_not_two",),
    ),
    BrokenServer(
        "removed-stays",
        "what staff removed signs in",
        lambda: [(recovery, "take_away", _always(None))],
        ("staff_remove",),
    ),
    BrokenServer("anybodys-code", "any code is right", _anybodys_code, ("code_of_another",)),
    BrokenServer(
        "any-attempts-code",
        "a code that was sent is good in any attempt",
        _any_attempts_code,
        ("code_of_another_attempt",),
    ),
    BrokenServer(
        "case-matters",
        "a login name in capitals is another one",
        lambda: [(people, "canonical", lambda name: name)],
        ("sign_in",),
    ),
    BrokenServer(
        "silent-factors",
        "no entry of a second factor",
        lambda: [(second, "audit_verdict", _always(None))],
        ("sign_in",),
    ),
    BrokenServer(
        "silent-cards",
        "no entry of cards that change hands",
        lambda: [(holding, "note", _always(None))],
        ("hand_out",),
    ),
    BrokenServer(
        "found-as-before",
        "a lost card that is found recovers as before",
        _found_is_as_before,
        ("lost_and_found",),
    ),
    BrokenServer(
        "keeps-the-loan",
        "an overdue card is claimed by whoever has it",
        lambda: [(holding, "_is_out", _always(False))],
        ("keep_the_loan",),
    ),
    BrokenServer(
        "agrees-to-anything",
        "a request is agreed to on any page",
        _agrees_to_anything,
        ("agree_elsewhere",),
    ),
    BrokenServer(
        "strangers-lock",
        "a browser that its owner knows is as any other",
        lambda: [(second, "_judge_in_spite", _always(None))],
        ("strangers_lock",),
    ),
    BrokenServer(
        "first-password-for-ever",
        "a password without a second factor has no end",
        lambda: [(login, "_waited_too_long", _always(False))],
        ("newcomer",),
    ),
    BrokenServer("from-nowhere", "entries have no address", _from_nowhere, ("sign_in",)),
    BrokenServer(
        "from-the-proxy",
        "entries have the address of whatever is in between",
        _from_the_proxy,
        ("sign_in",),
    ),
    BrokenServer(
        "silent-sign-in",
        "no entry of who signed in",
        lambda: [(login, "audit", _always(None))],
        ("sign_in",),
    ),
)
