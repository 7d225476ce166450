"""Sign in with a security key alone."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from tallystick.server.errors import ApiError
from tallystick.server.portal.signin import show_sign_in, signed_page
from tallystick.server.portal.web import ATTEMPT, AnyVisit, Form
from tallystick.server.rules.judge import Verdict
from tallystick.server.signing_in import passkey
from tallystick.server.signing_in.words import refusal

router = APIRouter(prefix="/p/{firm}")


@router.post("/passkey")
def ask(visit: AnyVisit, form: Form) -> Response:
    next_url = visit.safe_next(form.get("next", ""))
    try:
        asked = passkey.begin(visit.state, visit.firm.name, visit.browser, next_url)
    except ApiError as error:
        return show_sign_in(visit, "", next_url, error)
    response = visit.render("passkey.html", options=asked.options, next=next_url)
    visit.set_cookie(response, ATTEMPT, asked.attempt)
    return response


@router.post("/passkey/prove")
def prove(visit: AnyVisit, form: Form) -> Response:
    next_url = visit.safe_next(form.get("next", ""))
    try:
        outcome = passkey.finish(
            visit.state, visit.firm.name, visit.cookie(ATTEMPT), form, visit.browser
        )
    except ApiError as error:
        return show_sign_in(visit, "", next_url, error)
    if isinstance(outcome, Verdict):
        return show_sign_in(visit, "", next_url, refusal(outcome))
    return signed_page(visit, outcome)
