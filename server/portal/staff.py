"""Pages of staff: people, policy, audit."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from sqlalchemy import Connection

from tallystick.server.accounts import faces, firms, people, sessions
from tallystick.server.accounts.people import KnownPerson
from tallystick.server.accounts.policy import FirmPolicy, MethodKind, PersonRole
from tallystick.server.accounts.rights import Right, covers
from tallystick.server.errors import ApiError
from tallystick.server.joining import helping, keeping
from tallystick.server.joining.keeping import PersonWish, Ways
from tallystick.server.messages.notices import policy_changed
from tallystick.server.methods.base import Held
from tallystick.server.portal import policy_form
from tallystick.server.portal.account import context_for, tell
from tallystick.server.portal.web import Form, Member, staff
from tallystick.server.signing_in import inviting, recovery, together
from tallystick.server.stock import cards
from tallystick.server.wording.worded import worded

router = APIRouter(prefix="/p/{firm}")

SeesPeople = Annotated[Member, Depends(staff(Right.SEE_PEOPLE))]
ChangesPeople = Annotated[Member, Depends(staff(Right.SEE_PEOPLE, Right.CHANGE_PEOPLE))]
HelpsPeople = Annotated[Member, Depends(staff(Right.SEE_PEOPLE, Right.HELP_PEOPLE))]
RemovesMethods = Annotated[Member, Depends(staff(Right.SEE_PEOPLE, Right.REMOVE_METHODS))]
LiftsLockout = Annotated[Member, Depends(staff(Right.SEE_PEOPLE, Right.LIFT_LOCKOUT))]
SeesPolicy = Annotated[Member, Depends(staff(Right.SEE_POLICY))]
ChangesPolicy = Annotated[Member, Depends(staff(Right.SEE_POLICY, Right.CHANGE_POLICY))]


@router.get("/people/{person_id}")
def person_page(member: SeesPeople, person_id: int) -> Response:
    return show_person(member, person_id)


def show_person(
    member: Member,
    person_id: int,
    *,
    error: ApiError | None = None,
    code: str | None = None,
    notice: str | None = None,
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
        notice=notice,
        invites=inviting.may_be_invited(visit.firm, person),
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
    """What is said of somebody. Nobody changes his own role or disables himself."""
    state = member.visit.state
    try:
        wanted = PersonWish(
            login=form.get("login"),
            name=form.get("name"),
            email=form.get("email"),
            role=keeping.role_named(form["role"]) if "role" in form else None,
            groups=tuple(form["groups"].splitlines()) if "groups" in form else None,
            disabled=form.get("disabled") == "yes",
        )
        member.act(lambda one: keeping.change(one, ways_of(member), person_id, wanted))
    except ApiError as error:
        if error.status == 404:
            raise
        return show_person(member, person_id, error=error)
    state.outbox.wake()
    return member.visit.go(f"/people/{person_id}")


def ways_of(member: Member) -> Ways:
    """As whoever is signed in."""
    visit, me = member.visit, member.session.person
    caller = cards.staff(me.id, visit.firm.id, me.login, me.role)
    return Ways(visit.state.ring, visit.firm, caller, visit.state.now())


@router.post("/people/{person_id}/unlock")
def unlock(member: LiftsLockout, person_id: int, form: Form) -> Response:
    """Lift every lock-out of a person: password, cards and other methods."""
    state = member.visit.state
    member.act(lambda one: helping.unlock(state, one, ways_of(member), person_id))
    state.outbox.wake()
    return member.visit.go(f"/people/{person_id}")


def _all_methods(member: Member, connection: Connection, person: KnownPerson) -> list[Held]:
    return helping.all_methods(context_for(member, connection), person)


@router.post("/people/{person_id}/methods/{kind}/{key}/remove")
def remove_method(
    member: RemovesMethods, person_id: int, kind: MethodKind, key: str, form: Form
) -> Response:
    """As when a telephone was stolen. A card is lost from then on. Raises ApiError."""
    state = member.visit.state
    try:
        member.act(
            lambda one: helping.remove_method(state, one, ways_of(member), person_id, kind, key)
        )
    except ApiError as error:
        return show_person(member, person_id, error=error)
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
    state = member.visit.state
    member.act(lambda one: helping.end_sessions(one, ways_of(member), person_id))
    state.outbox.wake()
    return member.visit.go(f"/people/{person_id}")


@router.post("/people/{person_id}/help/{step}")
def help_person(member: HelpsPeople, person_id: int, step: str, form: Form) -> Response:
    """ask → a colleague agrees → the one who asked gets the code to read out. Until it was used,
    either may withdraw it."""
    state, me = member.visit.state, member.session.person
    code = None
    try:
        with member.acting() as connection:
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
                tell(
                    member,
                    connection,
                    person,
                    worded("the help desk was asked to recover it for you"),
                )
            elif step == "agree":
                together.agree(state, connection, firm, me, request_id, helped_id=person.id)
            elif step == "collect":
                code = together.collect(state, connection, me, request_id, helped_id=person.id)
            elif step == "withdraw":
                together.withdraw(state, connection, me, request_id, helped_id=person.id)
    except ApiError as error:
        return show_person(member, person_id, error=error)
    state.outbox.wake()
    return show_person(member, person_id, code=code)


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
    state, firm_id = member.visit.state, member.visit.firm.id
    try:
        with member.acting() as connection:
            old = firms.by_id(connection, firm_id).policy
            policy = firms.policy_from(old.model_dump() | policy_form.values_of(form))
            firms.set_policy(
                connection,
                state.ring,
                firm_id,
                policy,
                now=state.now(),
                actor=f"person:{member.session.person.id}",
            )
            policy_changed(
                connection,
                state.ring,
                firm=member.visit.firm,
                policy=policy,
                by=member.session.person.login,
                now=state.now(),
            )
    except ApiError as error:
        return _policy(member, member.visit.firm.policy, error=error, sent=form)
    state.outbox.wake()
    notice = worded("The new policy is in force.")
    if policy.colour != old.colour:
        with state.database.read() as connection:
            face = faces.of(connection, replace(member.visit.firm, policy=policy))
        if face.adapted:
            notice = worded("The new policy is in force. {adapted}", adapted=face.adapted)
    return _policy(member, policy, notice=notice)
