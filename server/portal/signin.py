"""Sign in, the second factor, sign out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from tallystick.server.accounts import sessions
from tallystick.server.accounts.policy import MethodKind
from tallystick.server.errors import ApiError
from tallystick.server.portal.account import note
from tallystick.server.portal.asking import Asking, pages
from tallystick.server.portal.service_asking import service_that_asks
from tallystick.server.portal.web import (
    ATTEMPT,
    DEVICE,
    KNOWN,
    SESSION,
    AMember,
    AnyVisit,
    Form,
    Member,
    Visit,
)
from tallystick.server.rules.judge import Verdict
from tallystick.server.signing_in import known, login, passkey
from tallystick.server.signing_in.login import PendingSignIn, Signed

FLOW = "second"

router = APIRouter(prefix="/p/{firm}")


@router.get("/sign-in")
def sign_in_page(visit: AnyVisit, next: str = "", again: str = "") -> Response:
    """again: also for someone who is signed in, as a service may ask (OpenID Connect, `prompt`)."""
    if visit.session is not None and not again and not visit.session.enrol_only:
        return visit.go("/")
    return show_sign_in(visit, "", visit.safe_next(next))


def show_sign_in(
    visit: Visit, login: str, next_url: str, error: ApiError | None = None
) -> Response:
    return visit.render(
        "sign_in.html",
        status=error.status if error else 200,
        error=error,
        login=login,
        next=next_url,
        service=service_that_asks(visit, next_url),
        key_alone=passkey.allowed(visit.firm.policy),
    )


@router.post("/sign-in")
def sign_in(visit: AnyVisit, form: Form) -> Response:
    name = form.get("login", "").strip()[:255]
    next_url = visit.safe_next(form.get("next", ""))
    try:
        outcome = login.with_password(
            visit.state, visit.firm.name, name, form.get("password", ""), visit.browser, next_url
        )
    except ApiError as error:
        return show_sign_in(visit, name, next_url, error)
    if isinstance(outcome, PendingSignIn):
        response = visit.go("/second")
        visit.set_cookie(response, ATTEMPT, outcome.attempt)
        return response
    return signed_page(visit, outcome)


def asking(visit: AnyVisit) -> Asking:
    """Whoever has the cookie of an attempt is asked."""
    state, firm, attempt = visit.state, visit.firm.name, visit.cookie(ATTEMPT)
    return Asking(
        visit,
        FLOW,
        choices=lambda: login.choices(state, firm, attempt),
        challenge=lambda kind, key: login.challenge(
            state, firm, attempt, kind, key, visit.browser.source
        ),
        delivered=lambda kind, key: login.delivered(state, firm, attempt, kind, key),
    )


AnAsking = Annotated[Asking, Depends(asking)]

router.include_router(pages(asking), prefix="/second")


@router.get("/second")
def choose_page(asking: AnAsking) -> Response:
    return asking.choose(asking.choices())


@router.post("/second/{kind}/{key}")
def prove(visit: AnyVisit, asking: AnAsking, kind: MethodKind, key: str, form: Form) -> Response:
    outcome = login.with_factor(
        visit.state,
        visit.firm.name,
        visit.cookie(ATTEMPT),
        kind,
        key,
        form,
        visit.browser,
        remember=form.get("remember") == "yes",
    )
    if isinstance(outcome, Verdict):
        return asking.again(kind, key, outcome)
    return signed_page(visit, outcome)


@router.post("/sign-out")
def sign_out(member: AMember, form: Form) -> Response:
    visit = member.visit
    with visit.state.database.write() as connection:
        sessions.end(connection, member.session.person.id, member.session.id)
        note(member, connection, "signed-out")
    response = visit.go("/sign-in")
    visit.drop_cookie(response, SESSION)
    return response


def signed_page(visit: Visit, signed: Signed) -> Response:
    """On with a new session. The last step is a page, not a redirect: a form may only lead to
    this site, and the next page may lead on to a service elsewhere."""
    if visit.session is not None:  # signed in anew: the session before is over
        with visit.state.database.write() as connection:
            sessions.end(connection, visit.session.person.id, visit.session.id)
            note(Member(visit, visit.session), connection, "signed-out", by="signing in anew")
    go_on = signed.next_url or f"{visit.base}/"
    response = visit.render("signed_in.html", go_on=go_on, flow=FLOW)
    visit.set_cookie(response, SESSION, signed.session)
    visit.drop_cookie(response, ATTEMPT)
    if signed.known:
        visit.set_cookie(response, KNOWN, signed.known, days=known.DAYS)
    if signed.device:
        visit.set_cookie(
            response, DEVICE, signed.device, days=visit.firm.policy.remember_device_days
        )
    return response
