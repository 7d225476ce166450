"""OpenID Connect over HTTP: discovery, authorisation, token, keys, user info."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from urllib.parse import unquote, urlencode

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, RedirectResponse, Response

from tallystick.server.accounts import firms, sessions
from tallystick.server.accounts.sessions import SignedIn
from tallystick.server.api.access import state_of
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.portal.account import context_for
from tallystick.server.portal.web import AnyVisit, Member, Visit
from tallystick.server.services import oidc
from tallystick.server.services.oidc import AuthRequest, RequestError, TokenError, with_query
from tallystick.server.signing_in import second

router = APIRouter(prefix="/p/{firm}")


@router.get("/.well-known/openid-configuration")
def configuration(visit: AnyVisit) -> Response:
    return JSONResponse(oidc.discovery(_issuer(visit)))


@router.get("/oidc/jwks")
def keys(visit: AnyVisit) -> Response:
    state = visit.state
    with state.database.write() as connection:
        return JSONResponse(oidc.public_keys(connection, state.ring, state.now()))


@router.get("/oidc/authorize")
def authorize(visit: AnyVisit) -> Response:  # noqa: PLR0911  (one for each end that it may have)
    """Send the browser back to the service with a code, after signing in if need be. Raises
    ApiError (403) for a person who has no second factor that the service asks for."""
    query = dict(visit.request.query_params)
    state = visit.state
    with state.database.read() as connection:
        try:
            request = oidc.check_request(connection, visit.firm.id, query)
        except RequestError as error:
            return RedirectResponse(error.url, status_code=303)
    prompts = query.get("prompt", "").split()
    # A session that may only enrol is none towards services.
    session = visit.session if visit.session and not visit.session.enrol_only else None
    asked = "login" in prompts or _too_old(visit, query.get("max_age", ""))
    with state.database.write() as connection:
        anew = oidc.must_sign_in_anew(
            connection, request, session, state.now(), asked=asked and "none" not in prompts
        )
    if session is None or anew or (asked and "none" in prompts):
        if "none" in prompts:
            return _go_back(request, "login_required")
        back = f"{visit.base}/oidc/authorize?{urlencode(query)}"
        return visit.go(f"/sign-in?{urlencode({'next': back, 'again': 'yes'})}")
    missing = _missing(visit, session)
    if "mfa" in query.get("acr_values", "").split() and not session.person.enrolled:
        missing = max(1, missing)
    if missing:
        if "none" in prompts:
            return _go_back(request, "interaction_required")
        raise ApiError(
            403,
            "needs-second-factor",
            f"To go on to {request.client.name}, you need {missing} more kind"
            f"{'s' if missing > 1 else ''} of second factor.",
            kept=NOTHING_CHANGED,
            todo="Enrol it in your account, and come back.",
        )
    if "mfa" not in session.amr and not _password_is_enough(visit, session, query):
        if "none" in prompts:
            return _go_back(request, "interaction_required")
        back = f"{visit.base}/oidc/authorize?{urlencode(query)}"
        return visit.go(f"/prove?{urlencode({'next': back})}")
    with state.database.write() as connection:
        url = oidc.issue_code(connection, request, session, state.now())
    return RedirectResponse(url, status_code=303)


@router.post("/oidc/token")
async def token(request: Request, firm: str) -> Response:
    """Exchange a code. No cookies are looked at, so nothing here can be forged by a page."""
    fields = await request.form(max_files=0, max_fields=20, max_part_size=4096)
    form = {name: value for name, value in fields.items() if isinstance(value, str)}
    return await run_in_threadpool(_token, request, firm, form)


def _token(request: Request, firm: str, form: dict[str, str]) -> Response:
    state = state_of(request)
    try:
        credentials = _credentials(request, form)
        with state.database.write() as connection:
            known = firms.by_name(connection, firm)
            outcome = oidc.redeem(
                connection,
                state.ring,
                issuer=f"{state.public_url}/p/{known.name}",
                firm_id=known.id,
                form=form,
                credentials=credentials,
                now=state.now(),
            )
    except TokenError as error:
        headers = {"www-authenticate": "Basic"} if error.status == 401 else None
        return JSONResponse({"error": error.error}, status_code=error.status, headers=headers)
    if isinstance(outcome, TokenError):  # returned, not raised, so that the code stays spent
        return JSONResponse({"error": outcome.error}, status_code=outcome.status)
    return JSONResponse(outcome, headers={"pragma": "no-cache"})


@router.get("/oidc/userinfo")
def user_info(visit: AnyVisit) -> Response:
    header = visit.request.headers.get("authorization", "")
    state = visit.state
    try:
        with state.database.read() as connection:
            claims = oidc.user_info(
                connection,
                state.ring,
                issuer=_issuer(visit),
                firm_id=visit.firm.id,
                token=header.removeprefix("Bearer ").strip(),
                now=state.now(),
            )
    except TokenError as error:
        headers = {"www-authenticate": f'Bearer error="{error.error}"'}
        return JSONResponse({"error": error.error}, status_code=error.status, headers=headers)
    return JSONResponse(claims)


def _issuer(visit: Visit) -> str:
    return visit.state.public_url + visit.base


def _go_back(request: AuthRequest, error: str) -> Response:
    values = {"error": error} | ({"state": request.state} if request.state else {})
    return RedirectResponse(with_query(request.redirect_uri, values), status_code=303)


def _missing(visit: Visit, session: SignedIn) -> int:
    """How many kinds of second factor the person still has to enrol."""
    member = Member(visit, session)
    with visit.state.database.read() as connection:
        held = second.usable(context_for(member, connection), session.person)
    return second.too_few(session.policy, held)


def _password_is_enough(visit: Visit, session: SignedIn, query: Mapping[str, str]) -> bool:
    """Nothing else is enrolled, or policy lets this browser be remembered; and the service does not
    ask for more (`acr_values`, OpenID Connect Core 3.1.2.1)."""
    if not session.person.enrolled:
        return True
    if "mfa" in query.get("acr_values", "").split():
        return False
    with visit.state.database.read() as connection:
        return sessions.is_remembered(
            connection,
            session.person.id,
            session.policy,
            visit.browser.device,
            visit.state.now(),
        )


def _too_old(visit: Visit, max_age: str) -> bool:
    if visit.session is None or not re.fullmatch(r"[0-9]{1,10}", max_age):
        return False
    return visit.state.now() - visit.session.created_at > int(max_age)


def _credentials(request: Request, form: dict[str, str]) -> tuple[str, str]:
    """client_secret_basic or client_secret_post (RFC 6749 2.3.1). Raises TokenError (401)."""
    header = request.headers.get("authorization", "")
    if not header:
        return form.get("client_id", ""), form.get("client_secret", "")
    try:
        kind, value = header.split(" ", 1)
        client_id, secret = base64.b64decode(value, validate=True).decode().split(":", 1)
    except (ValueError, binascii.Error):
        raise TokenError("invalid_client", 401) from None
    if kind.lower() != "basic":
        raise TokenError("invalid_client", 401)
    return unquote(client_id), unquote(secret)
