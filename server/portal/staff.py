"""Pages of staff: people, policy, audit."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from sqlalchemy import Connection

from tallystick.server.accounts import factors, firms, people, sessions
from tallystick.server.accounts.changes import changed, masked
from tallystick.server.accounts.people import KnownPerson
from tallystick.server.accounts.policy import FirmPolicy, MethodKind, PersonRole
from tallystick.server.accounts.rights import Right, covers, needs_more_rights
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.loans import holding
from tallystick.server.methods import METHODS
from tallystick.server.methods.base import Held
from tallystick.server.methods.sent import EMAIL
from tallystick.server.portal import policy_form
from tallystick.server.portal.account import context_for, tell
from tallystick.server.portal.web import Form, Member, staff
from tallystick.server.signing_in import login, recovery, second, together
from tallystick.server.stock import cards
from tallystick.server.store import rates
from tallystick.server.store.audit import Act, record

router = APIRouter(prefix="/p/{firm}")

PAGE = 100
SeesPeople = Annotated[Member, Depends(staff(Right.SEE_PEOPLE))]
ChangesPeople = Annotated[Member, Depends(staff(Right.SEE_PEOPLE, Right.CHANGE_PEOPLE))]
HelpsPeople = Annotated[Member, Depends(staff(Right.SEE_PEOPLE, Right.HELP_PEOPLE))]
RemovesMethods = Annotated[Member, Depends(staff(Right.SEE_PEOPLE, Right.REMOVE_METHODS))]
LiftsLockout = Annotated[Member, Depends(staff(Right.SEE_PEOPLE, Right.LIFT_LOCKOUT))]
SeesPolicy = Annotated[Member, Depends(staff(Right.SEE_POLICY))]
ChangesPolicy = Annotated[Member, Depends(staff(Right.SEE_POLICY, Right.CHANGE_POLICY))]


@router.get("/people")
def people_page(member: SeesPeople, q: str = "") -> Response:
    return _people(member, q=q[:255])


def _people(member: Member, *, q: str = "", error: ApiError | None = None) -> Response:
    with member.visit.state.database.read() as connection:
        found = people.search(connection, member.visit.firm.id, q, limit=PAGE)
    return member.visit.render(
        "people.html",
        status=error.status if error else 200,
        error=error,
        people=found,
        q=q,
        roles=list(PersonRole),
        more=len(found) == PAGE,
    )


@router.post("/people")
def add_person(member: ChangesPeople, form: Form) -> Response:
    """A new person, who sets his password with the help desk's code."""
    name = form.get("login", "").strip()
    state = member.visit.state
    try:
        if not 0 < len(name) <= 255 or not name.isprintable():
            raise ApiError(
                422,
                "bad-login",
                "A login name has 1 to 255 printable characters.",
                kept=NOTHING_CHANGED,
                todo="Choose another one.",
            )
        role = _role(form.get("role", ""))
        with state.database.write() as connection:
            person_id = people.add(
                connection,
                firm_id=member.visit.firm.id,
                login=name,
                role=role,
                email=_email(form),
                now=state.now(),
            )
            act = _act(member, "person-added", name, role=role.value)
            record(connection, state.ring, [act])
    except ApiError as error:
        return _people(member, error=error)
    return member.visit.go(f"/people/{person_id}")


@router.get("/people/{person_id}")
def person_page(member: SeesPeople, person_id: int) -> Response:
    return _person(member, person_id)


def _person(
    member: Member, person_id: int, *, error: ApiError | None = None, code: str | None = None
) -> Response:
    visit = member.visit
    with visit.state.database.read() as connection:
        person = people.get(connection, visit.firm.id, person_id)
        held = _all_methods(member, connection, person)
        listed = sessions.of_person(connection, person.id, visit.state.now())
        asked = together.waiting(connection, visit.firm.id, visit.state.now(), person_id=person.id)
    return visit.render(
        "person.html",
        status=error.status if error else 200,
        error=error,
        person=person,
        held=held,
        sessions=listed,
        waiting=asked,
        request=next((one for one in asked if one.kind == recovery.RECOVERY), None),
        removes=Right.REMOVE_METHODS in visit.rights()
        and person.id != member.session.person.id
        and covers(member.session.person.role, other=person.role),
        me=member.session.person.id,
        code=code,
        roles=list(PersonRole),
    )


@router.post("/people/{person_id}")
def change_person(member: ChangesPeople, person_id: int, form: Form) -> Response:
    """Role, e-mail address, disabled or not. Nobody changes his own role or disables himself."""
    state, firm_id = member.visit.state, member.visit.firm.id
    try:
        role, disabled = _role(form.get("role", "")), form.get("disabled") == "yes"
        email = _email(form)
        with state.database.write() as connection:
            person = people.get(connection, firm_id, person_id)
            if person.id == member.session.person.id and (role is not person.role or disabled):
                raise _own_account()
            people.change(
                connection,
                firm_id,
                person_id,
                role=role.value,
                email=email,
                # Whoever of the staff changes it vouches for it; who saves the rest does not.
                **({} if email == person.email else {"email_verified": int(bool(email))}),
                disabled_at=int(state.now()) if disabled else None,
            )
            if disabled:
                sessions.end_all(connection, person_id)
            if role is not person.role:
                # Who agreed to help a user did not agree to help an administrator.
                recovery.forget_requests(connection, person_id)
            after = people.get(connection, firm_id, person_id)
            act = _act(member, "person-changed", person.login, **_changes(person, after))
            record(connection, state.ring, [act])
            _tell_of_changes(member, connection, person, after)
    except ApiError as error:
        if error.status == 404:
            raise
        return _person(member, person_id, error=error)
    state.outbox.wake()
    return member.visit.go(f"/people/{person_id}")


def _changes(old: KnownPerson, new: KnownPerson) -> dict[str, str]:
    def facts(person: KnownPerson) -> dict[str, object]:
        email = masked(person.email)
        return {"role": person.role.value, "email": email, "disabled": person.disabled}

    changes = changed(facts(old), facts(new))
    if old.email != new.email:
        changes["email"] = f"{masked(old.email)} → {masked(new.email)}"
    return changes


def _tell_of_changes(
    member: Member, connection: Connection, old: KnownPerson, new: KnownPerson
) -> None:
    """A notice for each change, to the address before and the one after."""
    changes = [
        words
        for changed, words in (
            (old.role is not new.role, f"your role was changed to {new.role}"),
            (old.email != new.email, "the address for such notices was changed"),
            (new.disabled and not old.disabled, "you were barred from signing in"),
            (old.disabled and not new.disabled, "you may sign in again"),
        )
        if changed
    ]
    for words in changes:
        tell(member, connection, new, words)
        if old.email and old.email != new.email:
            tell(member, connection, replace(new, email=old.email), words)


@router.post("/people/{person_id}/unlock")
def unlock(member: LiftsLockout, person_id: int, form: Form) -> Response:
    """Lift every lock-out of a person: password, cards and other methods."""
    state, firm_id = member.visit.state, member.visit.firm.id
    with state.database.write() as connection:
        person = people.get(connection, firm_id, person_id)
        rates.take(
            connection,
            f"unlock|{person.id}",
            limit=holding.UNLOCKS_PER_DAY,
            window_s=86400,
            now=state.now(),
            what="lock-outs of this user were lifted today",
        )
        rates.clear(connection, login.password_bucket(state.ring, firm_id, person.login))
        factors.unlock(connection, person.id)
        me = member.session.person
        actor = cards.staff(me.id, firm_id, me.login, me.role)
        for held in second.usable(context_for(member, connection), person):
            if held.kind == "card":
                holding.unlock(connection, state.ring, actor, held.key, now=state.now())
        record(connection, state.ring, [_act(member, "lockout-lifted", person.login)])
        tell(member, connection, person, "a pause after wrong codes or passwords was ended early")
    state.outbox.wake()
    return member.visit.go(f"/people/{person_id}")


def _all_methods(member: Member, connection: Connection, person: KnownPerson) -> list[Held]:
    """What the person has enrolled or was handed, also what policy does not allow now."""
    context, owner = context_for(member, connection), second.as_person(person)
    return [held for method in METHODS.values() for held in method.held(context, owner)]


@router.post("/people/{person_id}/methods/{kind}/{key}/remove")
def remove_method(
    member: RemovesMethods, person_id: int, kind: MethodKind, key: str, form: Form
) -> Response:
    """As when a telephone was stolen. A card is lost from then on. What is left has to be enough,
    or the help desk has to recover the account: a password alone does not open it.
    Raises ApiError."""
    state, firm_id, me = member.visit.state, member.visit.firm.id, member.session.person
    try:
        with state.database.write() as connection:
            person = people.get(connection, firm_id, person_id, lock=True)
            if person.id == me.id:
                raise _own_account()
            if not covers(me.role, other=person.role):
                raise needs_more_rights(person.login)
            held = next(
                (
                    one
                    for one in _all_methods(member, connection, person)
                    if (one.kind, one.key) == (kind, key)
                ),
                None,
            )
            if held is None:
                raise ApiError(
                    404, "no-such-method", "This method is not enrolled.", kept=NOTHING_CHANGED
                )
            recovery.take_away(context_for(member, connection), person, held)
            detail = {"kind": kind.value, "method": key}
            record(connection, state.ring, [_act(member, "method-removed", person.login, **detail)])
            tell(
                member, connection, person, f"the help desk removed a way to sign in: {held.label}"
            )
    except ApiError as error:
        return _person(member, person_id, error=error)
    state.outbox.wake()
    return member.visit.go(f"/people/{person_id}")


@router.get("/waiting")
def waiting_page(member: SeesPeople) -> Response:
    """What a colleague asked for, and who has to agree to it."""
    visit = member.visit
    with visit.state.database.read() as connection:
        asked = together.waiting(connection, visit.firm.id, visit.state.now())
    return visit.render("waiting.html", waiting=asked, me=member.session.person.id)


@router.post("/people/{person_id}/end-sessions")
def end_sessions(member: HelpsPeople, person_id: int, form: Form) -> Response:
    """Sign a person out everywhere, as when a computer was stolen."""
    state, firm_id = member.visit.state, member.visit.firm.id
    with state.database.write() as connection:
        person = people.get(connection, firm_id, person_id)
        sessions.end_all(connection, person.id)
        record(connection, state.ring, [_act(member, "sessions-ended", person.login)])
        tell(member, connection, person, "you were signed out everywhere")
    state.outbox.wake()
    return member.visit.go(f"/people/{person_id}")


@router.post("/people/{person_id}/help/{step}")
def help_person(member: HelpsPeople, person_id: int, step: str, form: Form) -> Response:
    """ask → a colleague agrees → the one who asked gets the code to read out."""
    state, me = member.visit.state, member.session.person
    code = None
    try:
        with state.database.write() as connection:
            person = people.get(connection, member.visit.firm.id, person_id)
            number = form.get("request", "0")
            request_id = int(number) if re.fullmatch(r"[0-9]{1,9}", number) else 0
            firm = member.visit.firm
            if step == "ask":
                together.ask_recovery(
                    state,
                    connection,
                    firm,
                    me,
                    person,
                    reason=form.get("reason", "").strip()[:200],
                    voids=[
                        (held.kind.value, held.key)
                        for held in _all_methods(member, connection, person)
                        if f"void.{held.kind.value}.{held.key}" in form
                    ],
                )
                tell(member, connection, person, "the help desk was asked to recover it for you")
            elif step == "agree":
                together.agree(state, connection, firm, me, request_id, helped_id=person.id)
            elif step == "collect":
                code = together.collect(state, connection, me, request_id, helped_id=person.id)
    except ApiError as error:
        return _person(member, person_id, error=error)
    state.outbox.wake()
    return _person(member, person_id, code=code)


@router.get("/policy")
def policy_page(member: SeesPolicy) -> Response:
    return _policy(member, member.visit.firm.policy)


def _policy(
    member: Member,
    policy: FirmPolicy,
    *,
    error: ApiError | None = None,
    notice: str | None = None,
    sent: Form | None = None,
) -> Response:
    return member.visit.render(
        "policy.html",
        status=error.status if error else 200,
        error=error,
        notice=notice,
        groups=policy_form.fields_of(policy, sent),
    )


@router.post("/policy")
def change_policy(member: ChangesPolicy, form: Form) -> Response:
    """Put what the form says in force; fields that it lacks stay as they are."""
    state, old = member.visit.state, member.visit.firm.policy
    try:
        policy = firms.policy_from(old.model_dump() | policy_form.values_of(form))
    except ApiError as error:
        return _policy(member, old, error=error, sent=form)
    with state.database.write() as connection:
        firms.set_policy(
            connection,
            state.ring,
            member.visit.firm.id,
            policy,
            now=state.now(),
            actor=f"person:{member.session.person.id}",
        )
    return _policy(member, policy, notice="The new policy is in force.")


def _email(form: Form) -> str | None:
    address = form.get("email", "").strip()
    if address and not EMAIL.fullmatch(address):
        raise ApiError(
            422,
            "bad-address",
            "This is not an e-mail address.",
            kept=NOTHING_CHANGED,
            todo="Correct it and send it again.",
        )
    return address or None


def _own_account() -> ApiError:
    return ApiError(
        403,
        "own-account",
        "Nobody changes his own role, or disables himself.",
        kept=NOTHING_CHANGED,
        todo="Ask another administrator.",
    )


def _role(text: str) -> PersonRole:
    try:
        return PersonRole(text)
    except ValueError:
        raise ApiError(422, "bad-role", "There is no such role.", kept=NOTHING_CHANGED) from None


def _act(member: Member, action: str, subject: str, **detail: str | int) -> Act:
    person = member.session.person
    now_ms = int(member.visit.state.now() * 1000)
    return Act(now_ms, person.firm_id, f"person:{person.id}", action, subject, detail)
