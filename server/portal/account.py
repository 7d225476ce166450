"""A member's own page: second factors, sessions, password, address for notices."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter
from fastapi.responses import Response
from sqlalchemy import Connection

from tallystick.server.accounts import passwords, people, sessions
from tallystick.server.accounts.changes import masked
from tallystick.server.accounts.people import KnownPerson
from tallystick.server.accounts.policy import MethodKind
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.joining import keeping
from tallystick.server.messages.notices import notify
from tallystick.server.methods import METHODS
from tallystick.server.methods.base import Context, Held
from tallystick.server.methods.sent import EMAIL
from tallystick.server.portal import first_day
from tallystick.server.portal.web import AFreshMember, AMember, Form, Member, typed_twice
from tallystick.server.signing_in import limits, login, recovery, second
from tallystick.server.store import rates
from tallystick.server.store.audit import Act, record
from tallystick.server.wording.worded import Worded, worded

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
        held = second.usable(context_for(member, connection), session.person)
        listed = sessions.of_person(connection, session.person.id, now)
        remembered = sessions.remembered(connection, session.person.id, now)
    kinds = {one.kind for one in held}
    channels = visit.state.outbox.channels
    return visit.render(
        "home.html",
        status=error.status if error else 200,
        error=error,
        notice=notice,
        held=held,
        sessions=listed,
        remembered=remembered,
        missing=max(0, session.policy.recommended_methods - len(kinds)),
        required=second.too_few(session.policy, held, now),
        asked_from=session.policy.second_factor_from,
        ranked=first_day.ranked(session.policy, channels),
        nudge=first_day.next_step(session.policy, held, channels) if held else None,
        own_password=not login.asked_of_directory(session.person, session.policy),
    )


def context_for(
    member: Member, connection: Connection, *, attempt: bytes = b"", challenge: bytes = b""
) -> Context:
    visit = member.visit
    return second.context_of(
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
    try:
        with member.acting() as connection:
            before = _held(member, connection, kind, key).label
            context = context_for(member, connection)
            METHODS[kind].rename(context, second.as_person(member.session.person), key, label)
            what = worded("a way to sign in was renamed")
            said = f"{before} → {label}"
            note_change(member, connection, "method-renamed", kind, what, label=said)
    except ApiError as error:
        return show_home(member, error=error)
    member.visit.state.outbox.wake()
    return member.visit.go("/")


@router.get("/methods/{kind}/{key}/remove")
def remove_page(member: AFreshMember, kind: MethodKind, key: str) -> Response:
    """Asks once more: what is removed does not come back."""
    with member.visit.state.database.read() as connection:
        held = _held(member, connection, kind, key)
    return member.visit.render("remove.html", one=held)


@router.post("/methods/{kind}/{key}/remove")
def remove(member: AFreshMember, kind: MethodKind, key: str, form: Form) -> Response:
    """Not below what policy asks for: enrol another one first."""
    person = member.session.person
    state = member.visit.state
    try:
        with member.acting() as connection:
            # Of two removals at once, the second sees what the first has left.
            people.get(connection, person.firm_id, person.id, lock=True)
            gone = _held(member, connection, kind, key)
            context = context_for(member, connection)
            METHODS[kind].remove(context, second.as_person(person), key)
            if second.too_few(member.session.policy, second.usable(context, person)):
                raise ApiError(
                    409,
                    "too-few-methods",
                    worded(
                        "Your firm asks for {least} at least.",
                        least=member.session.policy.minimum_methods,
                    ),
                    kept="The method stays.",
                    todo="Enrol another one first.",
                )
            what = worded("a way to sign in was removed")
            note_change(member, connection, "method-removed", kind, what, label=gone.label)
    except ApiError as error:
        return show_home(member, error=error)
    state.outbox.wake()
    return show_home(member, notice=worded("It is removed."))


def _held(member: Member, connection: Connection, kind: MethodKind, key: str) -> Held:
    """One of the member's own methods. Raises ApiError (404)."""
    context = context_for(member, connection)
    for held in METHODS[kind].held(context, second.as_person(member.session.person)):
        if held.key == key:
            return held
    raise ApiError(
        404,
        "no-such-method",
        "This method is not enrolled.",
        kept=NOTHING_CHANGED,
        todo="Choose one of the methods listed in your account.",
    )


def note_change(
    member: Member,
    connection: Connection,
    action: str,
    kind: MethodKind,
    what: Worded,
    **facts: str,
) -> None:
    """Audit a change of methods and tell the user."""
    note(member, connection, action, kind=kind.value, **facts)
    tell(member, connection, member.session.person, what)


def tell(member: Member, connection: Connection, person: KnownPerson, what: Worded) -> None:
    """A notice to someone of the member's firm. what: ends "In your account at FIRM, …"."""
    visit = member.visit
    notify(
        connection,
        visit.state.ring,
        firm=visit.firm.name,
        policy=member.session.policy,
        person=person,
        what=what,
        now=visit.state.now(),
    )


def note(member: Member, connection: Connection, action: str, **detail: str | int) -> None:
    """Audit what a member does to his own account."""
    person, state = member.session.person, member.visit.state
    actor = f"person:{person.id}"
    act = Act(int(state.now() * 1000), person.firm_id, actor, action, person.login, detail)
    record(connection, state.ring, [act])


@router.post("/sessions/{session_id}/end")
def end_session(member: AMember, session_id: int, form: Form) -> Response:
    with member.acting() as connection:
        listed = sessions.of_person(connection, member.session.person.id, member.visit.state.now())
        sessions.end(connection, member.session.person.id, session_id)
        ended = next((one for one in listed if one.id == session_id), None)
        if ended is not None:
            note(member, connection, "session-ended", of=ended.source)
    return member.visit.go("/")


@router.post("/sessions/end-others")
def end_others(member: AMember, form: Form) -> Response:
    with member.acting() as connection:
        sessions.end_all(connection, member.session.person.id, but=member.session.id)
        note(member, connection, "sessions-ended", but="this one")
    return member.visit.go("/")


@router.post("/browsers/{handle}/forget")
def forget_browser(member: AMember, handle: str, form: Form) -> Response:
    """A remembered browser is asked for a second factor again."""
    person = member.session.person
    with member.acting() as connection:
        if sessions.forget_device(connection, person.id, handle[:32]):
            note(member, connection, "browser-forgotten")
    return member.visit.go("/")


@router.get("/password")
def password_page(member: AFreshMember) -> Response:
    return member.visit.render("password.html")


@router.post("/password")
def change_password(member: AFreshMember, form: Form) -> Response:
    """Needs the old password, too."""
    visit, person = member.visit, member.session.person
    state = visit.state
    try:
        if login.asked_of_directory(person, member.session.policy):
            raise login.password_elsewhere()
        with member.acting() as connection:
            rates.take(
                connection,
                f"own-password|{person.id}",
                limit=PASSWORD_TRIES,
                window_s=limits.PASSWORD_WINDOW_S,
                now=state.now(),
                what=worded("tries"),
            )
            stored = passwords.stored_hash(connection, person.id)
        if not passwords.matches(stored, form.get("old", "")):
            with member.acting() as connection:
                note(member, connection, "password-wrong")
            raise ApiError(
                422,
                "wrong-password",
                "The old password is wrong.",
                kept=NOTHING_CHANGED,
                todo="Try again.",
            )
        new = typed_twice(form)
        policy, about = member.session.policy, people.known_of(person)
        passwords.check_new(new, person.login, policy, state.breached, state.now(), about)
        hashed = passwords.hash_new(new)
    except ApiError as error:
        return visit.render("password.html", status=error.status, error=error)
    with member.acting() as connection:
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
    return show_home(member, notice=worded("Your password is changed; other sessions are ended."))


@router.get("/address")
def address_page(member: AFreshMember) -> Response:
    return member.visit.render("address.html", address=member.session.person.email or "")


@router.post("/address")
def change_address(member: AFreshMember, form: Form) -> Response:
    """Where notices of changes go. The old address is told of the new one."""
    visit, person = member.visit, member.session.person
    state, before = visit.state, person.email or ""
    address = form.get("address", before).strip()
    if person.source:
        error = keeping.kept_elsewhere(person)
        return visit.render("address.html", status=409, error=error, address=before)
    if address == before:  # it stays the one that the firm vouches for, if it does
        return visit.go("/")
    if address and not EMAIL.fullmatch(address):
        error = ApiError(
            422,
            "bad-address",
            "This is not an e-mail address.",
            kept=NOTHING_CHANGED,
            todo="Correct it and send it again.",
        )
        return visit.render("address.html", status=422, error=error, address=address)
    with member.acting() as connection:
        what = worded("the address for such notices was changed")
        tell(member, connection, person, what)
        people.change(
            connection, person.firm_id, person.id, email=address or None, email_verified=0
        )
        if address:
            tell(member, connection, replace(person, email=address), what)
        change = f"{masked(person.email)} → {masked(address)}"
        note(member, connection, "address-changed", address=change)
    state.outbox.wake()
    return visit.go("/")
