"""OpenID Connect over HTTP: discovery, authorisation, token, keys, user info."""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from urllib.parse import unquote, urlencode

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, RedirectResponse, Response
from sqlalchemy import Connection
from starlette.exceptions import HTTPException

from tallystick.server.accounts import firms, sessions
from tallystick.server.accounts.firms import KnownFirm
from tallystick.server.accounts.sessions import SignedIn
from tallystick.server.api.access import state_of
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.portal.account import context_for, note
from tallystick.server.portal.service_asking import KEPT
from tallystick.server.portal.web import (
    LANGUAGE,
    SERVICE_LANGUAGE,
    SESSION,
    AMember,
    AnyVisit,
    Form,
    Member,
    Visit,
)
from tallystick.server.services import oidc, oidc_clients, oidc_requests
from tallystick.server.services.oidc import AuthRequest, RequestError, with_query
from tallystick.server.services.oidc_clients import Client, TokenError
from tallystick.server.signing_in import second
from tallystick.server.store import signing_keys
from tallystick.server.wording.languages import Language, preferred, spoken
from tallystick.server.wording.worded import counted

router = APIRouter(prefix="/p/{firm}")

LONG = 1500  # characters of an address: a longer request is kept here, and its name sent on
CREDENTIALS = ("client_secret", "client_assertion", "client_assertion_type")


@router.get("/.well-known/openid-configuration")
def configuration(visit: AnyVisit) -> Response:
    return JSONResponse(oidc.discovery(_issuer(visit)))


@router.get("/oidc/jwks")
def keys(visit: AnyVisit) -> Response:
    state = visit.state
    with state.database.write() as connection:
        return JSONResponse(signing_keys.public_keys(connection, state.ring, state.now()))


@router.get("/oidc/authorize")
def authorize(visit: AnyVisit) -> Response:
    """Send the browser back to the service with a code, after signing in if need be. Raises
    ApiError (403) for a person who has no second factor that the service asks for."""
    pairs = visit.request.query_params.multi_items()
    query, kept = _whole(visit, dict(pairs))
    repeated = frozenset(
        name for name, times in Counter(name for name, _ in pairs).items() if times > 1
    )
    state = visit.state
    with state.database.read() as connection:
        try:
            request = oidc.check_request(connection, visit.firm.id, query, repeated)
        except RequestError as error:
            return RedirectResponse(error.url, status_code=303)
    language = _language_of_service(visit, query)
    response = _authorize(visit, request, query, kept)
    stays = response.headers["location"].startswith(visit.base + "/")
    if language is not None and stays:
        visit.set_cookie(response, SERVICE_LANGUAGE, language.value)
    elif visit.cookie(SERVICE_LANGUAGE):
        visit.drop_cookie(response, SERVICE_LANGUAGE)
    return response


def _language_of_service(visit: Visit, query: Mapping[str, str]) -> Language | None:
    """In which the service speaks with this person (`ui_locales`): pages follow it until she is
    back there, unless she has chosen one herself."""
    language = preferred(query.get("ui_locales", ""))
    own = spoken(visit.session.person.language) if visit.session else None
    if language is not None and own is None and spoken(visit.cookie(LANGUAGE)) is None:
        visit.request.state.language = language  # also for what goes wrong
    return language


@router.post("/oidc/authorize")
async def authorize_by_post(request: Request, firm: str) -> Response:
    """As GET (Core 3.1.2.1). The browser is sent to that: with a form of another site it does not
    send the cookie of its session. Nothing is decided here."""
    # What a client shows itself by is nothing for an address, and not asked for here.
    fields = [(name, value) for name, value in await _form(request) if name not in CREDENTIALS]
    return await run_in_threadpool(_keep_request, request, firm, fields)


def _keep_request(request: Request, firm: str, pairs: list[tuple[str, str]]) -> Response:
    state = state_of(request)
    with state.database.read() as connection:
        known = firms.by_name(connection, firm)
    base = f"/p/{known.name}/oidc/authorize"
    # A parameter that comes twice is refused there: it has to come twice there, too.
    address = f"{base}?{urlencode(pairs)}"
    if len(address) > LONG and len(dict(pairs)) == len(pairs):
        with state.database.write() as connection:
            name = oidc_requests.keep(connection, known.id, dict(pairs), state.now())
        address = f"{base}?{urlencode({KEPT: name})}"
    return RedirectResponse(address, status_code=303)


def _whole(visit: Visit, query: dict[str, str]) -> tuple[dict[str, str], str]:
    """The request that an address stands for: itself, one that is kept here, or one that its client
    has pushed, which comes once (RFC 9126 4). → and its name, if it is kept. Raises ApiError (400)
    when it is over."""
    state, uri = visit.state, query.get("request_uri", "")
    pushed_by = query.get("client_id", "") if uri.startswith(oidc_requests.URN) else ""
    name = uri.removeprefix(oidc_requests.URN) if pushed_by else query.get(KEPT, "")
    if not name:
        return {field: value for field, value in query.items() if value}, ""
    with state.database.write() as connection:
        found = oidc_requests.kept(connection, visit.firm.id, name, state.now(), pushed_by)
        if pushed_by:
            oidc_requests.forget(connection, name)
    if found is None:
        raise ApiError(
            400,
            "request-over",
            "The request of the service is too old, or was answered already.",
            kept=NOTHING_CHANGED,
            todo="Go back to the service, and sign in from there again.",
        )
    return found, "" if pushed_by else name


def _back(visit: Visit, query: dict[str, str]) -> str:
    """Where the browser comes by again after signing in."""
    address = f"{visit.base}/oidc/authorize?{urlencode(query)}"
    if len(address) <= LONG:
        return address
    with visit.state.database.write() as connection:
        name = oidc_requests.keep(connection, visit.firm.id, query, visit.state.now())
    return f"{visit.base}/oidc/authorize?{urlencode({KEPT: name})}"


def _authorize(visit: Visit, request: AuthRequest, query: dict[str, str], kept: str) -> Response:
    """kept: the name of a request that is kept here, or ""."""
    state = visit.state
    prompts = query.get("prompt", "").split()
    # A session that may only enrol is none towards services.
    session = visit.session if visit.session and not visit.session.enrol_only else None
    asked = bool({"login", "select_account"} & set(prompts)) or _too_old(
        visit, query.get("max_age", "")
    )
    other = session is not None and _is_about_another(visit, request, session, query)
    with state.database.write() as connection:
        anew = oidc.must_sign_in_anew(
            connection, request, session, state.now(), asked=asked and "none" not in prompts
        )
    if session is None or anew or other or (asked and "none" in prompts):
        if "none" in prompts:
            return _go_back(request, "login_required")
        return visit.go(f"/sign-in?{urlencode({'next': _back(visit, query), 'again': 'yes'})}")
    missing = _missing(visit, session)
    wanted = {*query.get("acr_values", "").split()}
    strong = "mfa" in wanted or ("mfa" in request.claims.acr and "pwd" not in request.claims.acr)
    if strong and not session.person.enrolled:
        missing = max(1, missing)
    if missing:
        if "none" in prompts:
            return _go_back(request, "interaction_required")
        raise ApiError(
            403,
            "needs-second-factor",
            counted(
                "To go on to {name}, you need {count} more kind of second factor.",
                "To go on to {name}, you need {count} more kinds of second factor.",
                missing,
                name=request.client.name,
            ),
            kept=NOTHING_CHANGED,
            todo="Enrol it in your account, and come back.",
        )
    if "mfa" not in session.amr and not _password_is_enough(visit, session, strong=strong):
        if "none" in prompts:
            return _go_back(request, "interaction_required")
        return visit.go(f"/prove?{urlencode({'next': _back(visit, query)})}")
    with state.database.write() as connection:
        url = oidc.issue_code(connection, request, session, state.now())
        if kept:
            oidc_requests.forget(connection, kept)
    return RedirectResponse(url, status_code=303)


def _is_about_another(
    visit: Visit, request: AuthRequest, session: SignedIn, query: Mapping[str, str]
) -> bool:
    """Whether the service means somebody else than who is signed in (`id_token_hint`, or `sub`
    among the claims; Core 3.1.2.1, 5.5.1)."""
    hint, subject = query.get("id_token_hint", ""), request.claims.subject
    if not hint and not subject:
        return False
    state = visit.state
    own = oidc.subject_of(state.ring, visit.firm.id, session.person.id)
    with state.database.read() as connection:
        claims = oidc.hinted(
            connection, state.ring, issuer=_issuer(visit), token=hint, now=state.now()
        )
    return (bool(subject) and subject != own) or (bool(hint) and (claims or {}).get("sub") != own)


@router.post("/oidc/par")
async def push(request: Request, firm: str) -> Response:
    """Keep a request of a client that shows who it is (RFC 9126)."""
    return await _for_program(request, firm, _push)


def _push(request: Request, firm: str, pairs: list[tuple[str, str]]) -> Response:
    state, form = state_of(request), dict(pairs)
    query = {name: value for name, value in form.items() if name not in CREDENTIALS}
    try:
        if len(form) < len(pairs) or "request_uri" in form:
            raise TokenError("invalid_request")
        with state.database.write() as connection:
            known = firms.by_name(connection, firm)
            client = _client(request, connection, known, form)
            query["client_id"] = client.id
            try:
                oidc.check_request(connection, known.id, query)
            except (RequestError, ApiError):
                raise TokenError("invalid_request") from None
            name = oidc_requests.keep(connection, known.id, query, state.now(), client)
    except TokenError as error:
        return _refused(error)
    answer = {"request_uri": oidc_requests.URN + name, "expires_in": oidc_requests.PUSHED_S}
    return JSONResponse(answer, status_code=201)


@router.post("/oidc/revoke")
async def revoke(request: Request, firm: str) -> Response:
    """End what a token belongs to (RFC 7009)."""
    return await _for_program(request, firm, _revoke)


def _revoke(request: Request, firm: str, pairs: list[tuple[str, str]]) -> Response:
    state, form = state_of(request), dict(pairs)
    try:
        if len(form) < len(pairs):
            raise TokenError("invalid_request")
        with state.database.write() as connection:
            known = firms.by_name(connection, firm)
            client = _client(request, connection, known, form)
            oidc.revoke(
                connection,
                state.ring,
                firm_id=known.id,
                token=form.get("token", ""),
                client=client,
                now=state.now(),
            )
    except TokenError as error:
        return _refused(error)
    return Response(status_code=200)


@router.post("/oidc/end-session")
async def end_session_by_post(request: Request, visit: AnyVisit) -> Response:
    """As GET, and the browser is sent to that: with a form of another site it does not send the
    cookie of its session."""
    pairs = [*request.query_params.multi_items(), *await _form(request)]
    return visit.go(f"/oidc/end-session?{urlencode(pairs)}")


@router.get("/oidc/end-session")
def end_session(visit: AnyVisit) -> Response:
    """Sign out, as a service asks (RP-Initiated Logout 1.0). With an ID token of this very session
    at once; otherwise the person is asked. Goes back to a registered address only."""
    query = {field: value for field, value in visit.request.query_params.items() if value}
    state, session = visit.state, visit.session
    with state.database.read() as connection:
        claims = oidc.hinted(
            connection,
            state.ring,
            issuer=_issuer(visit),
            token=query.get("id_token_hint", ""),
            now=state.now(),
        )
    client_id = str((claims or {}).get("aud") or query.get("client_id", ""))
    client, to = _asks_to_sign_out(visit, query, client_id)
    if session is not None and (claims is None or claims.get("sid") != session.handle):
        # Any page may send a browser here: whoever is signed in has to say so (section 2).
        fields = {"client_id": client_id} | {
            field: query[field] for field in ("post_logout_redirect_uri", "state") if field in query
        }
        return visit.render(
            "sign_out.html", fields=fields, service=client.name if client is not None else ""
        )
    if session is not None:
        _sign_out(visit, session, client_id)
    response = RedirectResponse(to, status_code=303) if to else visit.go("/sign-in")
    visit.drop_cookie(response, SESSION)
    return response


@router.post("/oidc/sign-out")
def sign_out(member: AMember, form: Form) -> Response:
    """The person has said so. A page, not a redirect: a form may only lead to this site, and the
    service is elsewhere."""
    client, to = _asks_to_sign_out(member.visit, form, form.get("client_id", ""))
    _sign_out(member.visit, member.session, client.id if client is not None else "")
    visit = replace(member.visit, session=None)
    response = visit.render("signed_out.html", go_on=to) if to else visit.go("/sign-in")
    visit.drop_cookie(response, SESSION)
    return response


def _asks_to_sign_out(
    visit: Visit, query: Mapping[str, str], client_id: str
) -> tuple[Client | None, str]:
    """→ the service that asks for it, and where the browser goes then, or "". Raises ApiError (400)
    for an address that is not registered."""
    with visit.state.database.read() as connection:
        client = oidc_clients.find_client(connection, visit.firm.id, client_id)
    uri, state = query.get("post_logout_redirect_uri", ""), query.get("state", "")
    known = client is not None and uri in client.post_logout_uris
    if query.get("client_id", client_id) != client_id or (uri and not known):
        raise ApiError(
            400,
            "bad-client",
            "The service that wants you to sign out is not registered, or sent a wrong address.",
            kept="You are signed in as before.",
            todo="Sign out on the page of your account.",
        )
    return client, with_query(uri, {"state": state}) if uri and state else uri


def _sign_out(visit: Visit, session: SignedIn, client_id: str) -> None:
    with visit.state.database.write() as connection:
        sessions.end(connection, session.person.id, session.id)
        note(Member(visit, session), connection, "signed-out", by=client_id)


@router.post("/oidc/token")
async def token(request: Request, firm: str) -> Response:
    """Exchange a code. No cookies are looked at, so nothing here can be forged by a page."""
    return await _for_program(request, firm, _token)


def _token(request: Request, firm: str, pairs: list[tuple[str, str]]) -> Response:
    state, form = state_of(request), dict(pairs)
    try:
        if len(form) < len(pairs):
            raise TokenError("invalid_request")
        with state.database.write() as connection:
            known = firms.by_name(connection, firm)
            client = _client(request, connection, known, form)
            outcome = oidc.redeem(
                connection,
                state.ring,
                issuer=f"{state.public_url}/p/{known.name}",
                firm_id=known.id,
                form=form,
                credentials=("", ""),
                now=state.now(),
                client=client,
            )
    except TokenError as error:
        return _refused(error)
    if isinstance(outcome, TokenError):  # returned, not raised, so that the code stays spent
        return JSONResponse({"error": outcome.error}, status_code=outcome.status)
    return JSONResponse(outcome, headers={"pragma": "no-cache"})


def _refused(error: TokenError) -> Response:
    headers = {"www-authenticate": "Basic"} if error.status == 401 else None
    return JSONResponse({"error": error.error}, status_code=error.status, headers=headers)


@router.api_route("/oidc/userinfo", methods=["GET", "POST"])
async def user_info(request: Request, visit: AnyVisit) -> Response:
    """The token in the header, or in a form (RFC 6750 2.1, 2.2)."""
    try:
        form = dict(await _form(request)) if request.method == "POST" else {}
    except HTTPException:
        return _refused(TokenError("invalid_request"))
    return await run_in_threadpool(_user_info, visit, form.get("access_token", ""))


def _user_info(visit: Visit, posted: str) -> Response:
    kind, _, value = visit.request.headers.get("authorization", "").strip().partition(" ")
    in_header = value.strip() if kind.lower() == "bearer" else ""
    state = visit.state
    if in_header and posted:
        headers = {"www-authenticate": 'Bearer error="invalid_request"'}
        return JSONResponse({"error": "invalid_request"}, status_code=400, headers=headers)
    try:
        with state.database.read() as connection:
            claims = oidc.user_info(
                connection,
                state.ring,
                issuer=_issuer(visit),
                firm_id=visit.firm.id,
                token=in_header or posted,
                now=state.now(),
            )
    except TokenError as error:
        headers = {"www-authenticate": f'Bearer error="{error.error}"'}
        if not in_header and not posted:  # nothing was shown, so nothing was wrong (RFC 6750 3.1)
            headers = {"www-authenticate": "Bearer"}
        return JSONResponse({"error": error.error}, status_code=error.status, headers=headers)
    return JSONResponse(claims)


async def _form(request: Request) -> list[tuple[str, str]]:
    """Fields, in order; an empty one is as good as none (RFC 6749 3.1, 3.2)."""
    fields = await request.form(max_files=0, max_fields=50, max_part_size=64 * 1024)
    return [
        (name, value) for name, value in fields.multi_items() if isinstance(value, str) and value
    ]


async def _for_program(
    request: Request, firm: str, answer: Callable[[Request, str, list[tuple[str, str]]], Response]
) -> Response:
    """The answer to a program's form, errors in JSON (RFC 6749 5.2)."""
    try:
        pairs = await _form(request)
    except HTTPException:
        return _refused(TokenError("invalid_request"))
    return await run_in_threadpool(answer, request, firm, pairs)


def _client(
    request: Request, connection: Connection, firm: KnownFirm, form: dict[str, str]
) -> Client:
    """Who asks, by its secret or by what it has signed, and by one of them only (RFC 6749 2.3, RFC
    7521 4.2). Raises TokenError (400, 401)."""
    state = state_of(request)
    if "client_assertion" in form:
        if "client_secret" in form or "authorization" in request.headers:
            raise TokenError("invalid_request")
        return oidc_clients.by_assertion(
            connection,
            firm.id,
            issuer=f"{state.public_url}/p/{firm.name}",
            form=form,
            now=state.now(),
        )
    client_id, secret = _credentials(request, form)
    for name, shown in (("client_id", client_id), ("client_secret", secret)):
        if form.get(name, shown) != shown:
            raise TokenError("invalid_request")
    return oidc_clients.authenticate(connection, firm.id, client_id, secret)


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
    return second.too_few(session.policy, held, visit.state.now())


def _password_is_enough(visit: Visit, session: SignedIn, *, strong: bool) -> bool:
    """Nothing else is enrolled, or policy lets this browser be remembered; and the service does not
    ask for more (strong: by `acr_values` or `acr`, OpenID Connect Core 3.1.2.1, 5.5.1.1)."""
    if not session.person.enrolled:
        return True
    if strong:
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
