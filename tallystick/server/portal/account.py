"""A member's own page: second factors, sessions, password."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response
from sqlalchemy import Connection

from tallystick.server import login, passwords, rates, recovery, sessions
from tallystick.server.audit import Act, record
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.methods import METHODS
from tallystick.server.methods.base import Context
from tallystick.server.notices import notify
from tallystick.server.policy import MethodKind
from tallystick.server.portal.web import AMember, Form, Member

router = APIRouter(prefix="/p/{firm}")

PASSWORD_TRIES = 10


@router.get("/")
def home(member: AMember) -> Response:
    return show_home(member)


def show_home(
    member: Member, *, error: ApiError | None = None, notice: str | None = None
) -> Response:
    visit, session = member.visit, member.session
    now = visit.state.now()
    with visit.state.database.read() as connection:
        held = login.usable(context_for(member, connection), session.person)
        listed = sessions.of_person(connection, session.person.id, now)
    kinds = {one.kind for one in held}
    return visit.render(
        "home.html",
        status=error.status if error else 200,
        error=error,
        notice=notice,
        held=held,
        sessions=listed,
        missing=max(0, session.policy.recommended_methods - len(kinds)),
        required=max(0, session.policy.minimum_methods - len(kinds)),
        kinds=[kind for kind in METHODS if kind in session.policy.methods],
    )


def context_for(
    member: Member, connection: Connection, *, attempt: bytes = b"", challenge: bytes = b""
) -> Context:
    visit = member.visit
    return login.context_of(
        visit.state,
        connection,
        visit.firm.id,
        visit.firm.name,
        visit.firm.policy,
        visit.browser.source,
        attempt=attempt,
        challenge=challenge,
    )


@router.post("/methods/{kind}/{key}/rename")
def rename(member: AMember, kind: MethodKind, key: str, form: Form) -> Response:
    label = form.get("label", "").strip()
    if not 0 < len(label) <= 64 or not label.isprintable():
        return show_home(
            member,
            error=ApiError(
                422,
                "bad-label",
                "A name has 1 to 64 characters.",
                kept=NOTHING_CHANGED,
                todo="Choose another one.",
            ),
        )
    with member.visit.state.database.write() as connection:
        context = context_for(member, connection)
        METHODS[kind].rename(context, login.as_person(member.session.person), key, label)
    return member.visit.go("/")


@router.post("/methods/{kind}/{key}/remove")
def remove(member: AMember, kind: MethodKind, key: str, form: Form) -> Response:
    """Not below what policy asks for: enrol another one first."""
    person = member.session.person
    state = member.visit.state
    if "mfa" not in member.session.amr:
        return show_home(
            member,
            error=ApiError(
                403,
                "needs-second-factor",
                "To remove a method, sign in with a second factor.",
                kept=NOTHING_CHANGED,
                todo="Sign out, and sign in again.",
            ),
        )
    try:
        with state.database.write() as connection:
            context = context_for(member, connection)
            METHODS[kind].remove(context, login.as_person(person), key)
            if len(login.usable(context, person)) < member.session.policy.minimum_methods:
                raise ApiError(
                    409,
                    "too-few-methods",
                    f"Your firm asks for {member.session.policy.minimum_methods} at least.",
                    kept="The method stays.",
                    todo="Enrol another one first.",
                )
            note_change(member, connection, "method-removed", kind, "a way to sign in was removed")
    except ApiError as error:
        return show_home(member, error=error)
    state.outbox.wake()
    return show_home(member, notice="It is removed.")


def note_change(
    member: Member, connection: Connection, action: str, kind: MethodKind, what: str
) -> None:
    """Audit a change of methods and tell the user."""
    person, state = member.session.person, member.visit.state
    actor = f"person:{person.id}"
    act = Act(
        int(state.now() * 1000), person.firm_id, actor, action, person.login, {"kind": kind.value}
    )
    record(connection, state.ring, [act])
    notify(
        connection,
        state.ring,
        firm=member.visit.firm.name,
        policy=member.session.policy,
        person=person,
        what=what,
        now=state.now(),
    )


@router.post("/sessions/{session_id}/end")
def end_session(member: AMember, session_id: int, form: Form) -> Response:
    with member.visit.state.database.write() as connection:
        sessions.end(connection, member.session.person.id, session_id)
    return member.visit.go("/")


@router.post("/sessions/end-others")
def end_others(member: AMember, form: Form) -> Response:
    with member.visit.state.database.write() as connection:
        sessions.end_all(connection, member.session.person.id, but=member.session.id)
    return member.visit.go("/")


@router.get("/password")
def password_page(member: AMember) -> Response:
    return member.visit.render("password.html")


@router.post("/password")
def change_password(member: AMember, form: Form) -> Response:
    """Needs the old password, so that an open browser is not enough."""
    visit, person = member.visit, member.session.person
    state = visit.state
    try:
        with state.database.write() as connection:
            rates.take(
                connection,
                f"own-password|{person.id}",
                limit=PASSWORD_TRIES,
                window_s=login.PASSWORD_WINDOW_S,
                now=state.now(),
                what="tries",
            )
            stored = passwords.stored_hash(connection, person.id)
        if not passwords.matches(stored, form.get("old", "")):
            raise ApiError(
                422,
                "wrong-password",
                "The old password is wrong.",
                kept=NOTHING_CHANGED,
                todo="Try again.",
            )
        new = form.get("password", "")
        passwords.check_new(new, person.login, member.session.policy, state.breached)
        hashed = passwords.hash_new(new)
    except ApiError as error:
        return visit.render("password.html", status=error.status, error=error)
    with state.database.write() as connection:
        recovery.set_password(
            state,
            connection,
            visit.firm.name,
            member.session.policy,
            person,
            hashed,
            keep_session=member.session.id,
        )
    state.outbox.wake()
    return show_home(member, notice="Your password is changed; other sessions are ended.")
