"""Enrol a second factor: begin, then prove that it works."""

from __future__ import annotations

import re
from dataclasses import replace

from fastapi import APIRouter
from fastapi.responses import Response
from sqlalchemy import Connection

from tallystick.common import chance
from tallystick.server.accounts import sessions
from tallystick.server.accounts.policy import MethodKind
from tallystick.server.accounts.sessions import digest
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.messages.outbox import Delivery
from tallystick.server.methods import METHODS
from tallystick.server.methods.base import Started
from tallystick.server.methods.sent import SentMethod
from tallystick.server.portal.account import context_for, note, note_change, show_home
from tallystick.server.portal.asking import not_taken, sent
from tallystick.server.portal.web import (
    SESSION,
    AFreshMember,
    AMember,
    Form,
    Member,
    NeedsProofError,
)
from tallystick.server.rules.judge import Reason, Verdict
from tallystick.server.signing_in import attempts, second, stepup
from tallystick.server.signing_in.attempts import Purpose, Stage, Under
from tallystick.server.signing_in.words import refusal
from tallystick.server.wording.worded import worded

router = APIRouter(prefix="/p/{firm}/enrol")


@router.get("/{kind}")
def start_page(member: AFreshMember, kind: MethodKind) -> Response:
    _allowed(member, kind)
    return member.visit.render("enrol_start.html", kind=kind, form={})


@router.post("/{kind}")
def start(member: AFreshMember, kind: MethodKind, form: Form) -> Response:
    """Begin. The code, or the WebAuthn challenge, is bound to this session."""
    _allowed(member, kind)
    visit, person = member.visit, member.session.person
    token, challenge = _token(member), chance.token_bytes(32)

    def work(connection: Connection) -> Started:
        attempts.begin(
            connection,
            firm_id=visit.firm.id,
            person_id=person.id,
            purpose=Purpose.ENROL,
            stage=Stage.CONFIRM,
            context={"kind": kind.value, "challenge": challenge.hex()},
            source=visit.browser.source,
            now=visit.state.now(),
            token=token,
        )
        context = context_for(member, connection, attempt=digest(token), challenge=challenge)
        started = METHODS[kind].start(context, second.as_person(person), form)
        under = attempts.find(connection, token, visit.firm.id, Purpose.ENROL, visit.state.now())
        assert under is not None
        values = dict(under.context) | {"key": started.key}
        attempts.advance(connection, under, stage=Stage.CONFIRM, context=values)
        return started

    try:
        started = member.act(work)
    except ApiError as error:
        return visit.render(
            "enrol_start.html", status=error.status, error=error, kind=kind, form=form
        )
    visit.state.outbox.wake()
    return _confirm_page(member, kind, started, form)


@router.get("/{kind}/{key}/sent")
def whether_sent(member: AMember, kind: MethodKind, key: str) -> Response:
    """The page that asks for the code, with what became of the message."""
    _allowed(member, kind)
    method, delivery = METHODS[kind], None
    if isinstance(method, SentMethod) and re.fullmatch(r"[0-9]{1,15}", key):
        with member.visit.state.database.read() as connection:
            context = context_for(member, connection, attempt=digest(_token(member)))
            delivery = method.delivery(context, key)
    if delivery is None:
        return member.visit.go(f"/enrol/{kind.value}")
    error = not_taken() if delivery is Delivery.REFUSED else None
    notice = None if error else sent(kind, delivery)
    started = Started(key, {"shown": "", "minutes": 0})
    return _confirm_page(member, kind, started, {}, error=error, notice=notice)


@router.post("/{kind}/{key}/confirm")
def confirm(member: AMember, kind: MethodKind, key: str, form: Form) -> Response:
    """Raises NeedsProofError: whoever finds the page open may scan what stands on it."""
    _allowed(member, kind)
    visit, person = member.visit, member.session.person
    # Who has no second factor yet may take his time: there is none to be asked for.
    if person.enrolled and not stepup.is_fresh(member.session, visit.state.now()):
        raise NeedsProofError(member, f"{visit.base}/enrol/{kind.value}")
    token = _token(member)

    def work(connection: Connection) -> Verdict | None:
        under = attempts.find(connection, token, visit.firm.id, Purpose.ENROL, visit.state.now())
        if under is None or _begun(under) != (kind.value, key):
            raise second.over()
        if not sessions.is_open(connection, member.session):
            raise second.over()
        challenge = bytes.fromhex(str(under.context["challenge"]))
        context = context_for(member, connection, attempt=under.id, challenge=challenge)
        verdict = METHODS[kind].finish(context, second.as_person(person), key, form)
        if verdict.accepted:
            attempts.finish(connection, under)
            note_change(
                member, connection, "method-enrolled", kind, worded("a way to sign in was added")
            )
            if not person.enrolled:
                # Opened by a password alone, perhaps by whoever else has read it.
                sessions.end_all(connection, person.id, but=member.session.id)
            if member.session.enrol_only:
                return _end_if_enough(member, connection, verdict)
            amr = verdict.amr or METHODS[kind].amr
            sessions.strengthen(connection, member.session, amr, visit.state.now())
        elif verdict.reason is Reason.NOT_ACCEPTED:
            note(member, connection, "key-refused", kind=kind.value, reason=verdict.why)
        return verdict

    try:
        verdict = member.act(work)
    except ApiError as error:
        return visit.render(
            "enrol_start.html", status=error.status, error=error, kind=kind, form=form
        )
    if verdict is None:
        visit.state.outbox.wake()
        return _sign_in_with_it(member)
    if not verdict.accepted:
        return _try_again(member, kind, key, verdict, form)
    visit.state.outbox.wake()
    return show_home(member, notice=worded("It works, and is enrolled."))


def _begun(under: Under) -> tuple[str, str]:
    """The kind and the key that this enrolment was begun with."""
    return str(under.context.get("kind", "")), str(under.context.get("key", ""))


def _end_if_enough(member: Member, connection: Connection, verdict: Verdict) -> Verdict | None:
    """A session that may only enrol has served once there is as much as policy asks for. → None: it
    is ended"""
    held = second.usable(context_for(member, connection), member.session.person)
    if second.too_few(member.session.policy, held):
        return verdict
    sessions.end(connection, member.session.person.id, member.session.id)
    return None


def _sign_in_with_it(member: Member) -> Response:
    visit = member.visit
    response = replace(visit, session=None).render(
        "sign_in.html",
        login=member.session.person.login,
        next="",
        notice=worded("It works, and is enrolled. Sign in with your password and with it."),
    )
    visit.drop_cookie(response, SESSION)
    return response


def _try_again(
    member: Member, kind: MethodKind, key: str, verdict: Verdict, form: Form
) -> Response:
    """The same page once more, or where that cannot be, the one before it."""
    error = refusal(verdict)
    with member.visit.state.database.read() as connection:
        started = METHODS[kind].show_again(
            context_for(member, connection), second.as_person(member.session.person), key
        )
    if started is None:
        return member.visit.render(
            "enrol_start.html", status=error.status, error=error, kind=kind, form={}
        )
    return _confirm_page(member, kind, started, form, error=error)


def _confirm_page(
    member: Member,
    kind: MethodKind,
    started: Started,
    form: Form,
    *,
    error: ApiError | None = None,
    notice: str | None = None,
) -> Response:
    return member.visit.render(
        "enrol_confirm.html",
        status=error.status if error else 200,
        error=error,
        notice=notice,
        kind=kind,
        key=started.key,
        show=started.show,
        label=form.get("label", ""),
    )


def _allowed(member: Member, kind: MethodKind) -> None:
    """Raises ApiError (403)."""
    if kind not in member.session.policy.methods:
        raise ApiError(
            403,
            "method-not-allowed",
            "Your firm does not use this method.",
            kept=NOTHING_CHANGED,
            todo="Choose another one.",
        )


def _token(member: Member) -> str:
    """One enrolment at a time in a session; its token never leaves the server."""
    return member.visit.state.ring.tag("enrol", member.session.handle.encode()).hex()
