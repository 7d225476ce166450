"""Signing in with a security key alone, where policy allows it: the key says who it is, and has
verified its user (WebAuthn level 2, 7.2). Two factors: the key, and PIN or finger."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from tallystick.common import chance
from tallystick.server.accounts import factors, firms, people
from tallystick.server.accounts.firms import KnownFirm
from tallystick.server.accounts.people import KnownPerson
from tallystick.server.accounts.policy import FirmPolicy, MethodKind
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.methods import METHODS, amr_of
from tallystick.server.methods.base import Form, Held
from tallystick.server.methods.webauthn import credential_of, options_for_anybody
from tallystick.server.rules.judge import Verdict
from tallystick.server.signing_in import attempts, limits
from tallystick.server.signing_in.attempts import Purpose, Stage
from tallystick.server.signing_in.login import Browser, Signed, audit, sign_in
from tallystick.server.signing_in.second import (
    as_person,
    audit_verdict,
    challenge_of,
    context_of,
    over,
    usable,
)
from tallystick.server.state import ServerState


@dataclass(frozen=True)
class AskedKey:
    """attempt: token for a cookie. options: JSON for navigator.credentials.get."""

    attempt: str
    options: str


def allowed(policy: FirmPolicy) -> bool:
    return policy.key_alone and MethodKind.WEBAUTHN in policy.methods


def begin(state: ServerState, firm_name: str, browser: Browser, next_url: str) -> AskedKey:
    """Ask any key that knows this server. Raises ApiError: 403 where policy does not allow it, 429
    after too many failures from this source."""
    fresh = chance.token_bytes(32)

    def work(connection: Connection) -> str:
        firm = firms.by_name(connection, firm_name)
        _must_be_allowed(firm)
        limits.before_key(connection, firm.policy, firm.id, browser.source, state.now())
        return attempts.begin(
            connection,
            firm_id=firm.id,
            person_id=None,
            purpose=Purpose.KEY_ALONE,
            stage=Stage.SECOND,
            context={"challenge": fresh.hex(), "next": next_url},
            source=browser.source,
            now=state.now(),
        )

    token = state.database.run(work)
    return AskedKey(token, options_for_anybody(state.public_url, fresh))


def finish(
    state: ServerState, firm_name: str, token: str, form: Form, browser: Browser
) -> Signed | Verdict:
    """→ signed in, or why not; a challenge is good for one answer. Raises ApiError: 401 when the
    attempt is over, or nobody has such a key; 403 where policy does not allow it, and for a key
    that was handed out, before its holder has shown it together with his password."""

    def work(connection: Connection) -> Signed | Verdict | ApiError:
        firm = firms.by_name(connection, firm_name)
        _must_be_allowed(firm)
        under = attempts.find(connection, token, firm.id, Purpose.KEY_ALONE, state.now())
        if under is None:
            raise over()
        attempts.finish(connection, under)
        context = context_of(
            state, connection, firm.id, firm.name, firm.policy, browser.source,
            attempt=under.id, challenge=challenge_of(under),
        )  # fmt: skip
        person, key = _whose(connection, firm, form)
        held = None
        if person is not None:
            held = next((o for o in usable(context, person) if _is(o, key)), None)
        if person is None or held is None or person.disabled:
            limits.password_failed(connection, firm.id, browser.source, state.now())
            audit(connection, state, firm.id, "key-unknown", person.id if person else None)
            return _unknown()
        if not held.confirmed:
            limits.password_failed(connection, firm.id, browser.source, state.now())
            audit(connection, state, firm.id, "key-unconfirmed", person.id)
            return _not_alone_yet()
        verdict = METHODS[held.kind].verify(context, as_person(person), held.key, form)
        audit_verdict(context, person, held, verdict)
        if not verdict.accepted:
            limits.password_failed(connection, firm.id, browser.source, state.now())
            return verdict
        amr = (*amr_of(verdict), "mfa")
        next_url = str(under.context.get("next", ""))
        return sign_in(state, connection, person, firm.policy, amr, browser, next_url)

    outcome = state.database.run(work)
    if isinstance(outcome, ApiError):  # returned, so that it counts
        raise outcome
    return outcome


def _whose(
    connection: Connection, firm: KnownFirm, form: Form
) -> tuple[KnownPerson | None, int | None]:
    """The person of this firm whose key answers, and its number. A key that does not say who its
    user is was not chosen by her: it may be one that lies in a drawer."""
    found = credential_of(form)
    if found is None:
        return None, None
    owner = factors.owner_of(connection, found)
    if owner is None:
        return None, None
    person_id, number = owner
    try:
        return people.get(connection, firm.id, person_id, lock=True), number
    except ApiError:  # of another firm
        return None, None


def _is(held: Held, number: int | None) -> bool:
    return held.kind is MethodKind.WEBAUTHN and held.key == str(number)


def _must_be_allowed(firm: KnownFirm) -> None:
    if not allowed(firm.policy):
        raise ApiError(
            403,
            "key-alone-not-allowed",
            "Your firm asks for a password, too.",
            kept=NOTHING_CHANGED,
            todo="Sign in with your password.",
        )


def _unknown() -> ApiError:
    return ApiError(
        401,
        "key-unknown",
        "This key opens no account here.",
        kept=NOTHING_CHANGED,
        todo="Sign in with your password, and enrol the key in your account.",
    )


def _not_alone_yet() -> ApiError:
    return ApiError(
        403,
        "key-unconfirmed",
        "This key was enrolled for you: show it once with your password.",
        kept="The key stays enrolled.",
        todo="Sign in with your password and this key. From then on the key is enough.",
    )
