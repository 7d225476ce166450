"""OpenID Connect provider: authorisation code flow with PKCE, one issuer a firm.

Only what is safe and needed: confidential clients, exact redirect URIs, S256 challenges, codes that
work once, ID tokens signed with RS256 (joserfc). OpenID Connect Core 1.0, RFC 7636, RFC 9700.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from tallystick.common import base64url, chance
from tallystick.server.accounts import sessions
from tallystick.server.accounts.sessions import SignedIn
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.services.oidc_clients import (
    ASSERTION_ALGORITHMS,
    Client,
    TokenError,
    authenticate,
    find_client,
)
from tallystick.server.store import signing_keys
from tallystick.server.store.audit import Act, record
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.store.models import PersonRow
from tallystick.server.store.models_login import (
    OidcAgain,
    OidcCode,
    OidcGrant,
    OidcLogout,
    SessionRow,
)
from tallystick.server.wording.languages import SPOKEN

CODE_LIFE_S = 60
AGAIN_LIFE_S = 3600
TOKEN_LIFE_S = 300
CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
MAX_AGE = re.compile(r"[0-9]{1,10}")
MAX_TEXT = 2048  # characters of nonce and scope; a state comes back whatever its length
MAX_CLAIMS = 8192
OFFLINE = "offline_access"
AUTH_METHODS = ["client_secret_basic", "client_secret_post", "private_key_jwt"]
# Parameters that this provider has no use for, and by which name it says so (Core 6.1, 6.2, 7.2.1).
NOT_OFFERED = {
    "request": "request_not_supported",
    "request_uri": "request_uri_not_supported",
    "registration": "registration_not_supported",
}
# What may be asked for by name (Core 5.5), and where else it comes from.
BY_SCOPE = {
    "preferred_username": "profile",
    "name": "profile",
    "email": "email",
    "email_verified": "email",
    "groups": "groups",
}
WHERE = ("userinfo", "id_token")
ACR = ("mfa", "pwd")


@dataclass(frozen=True)
class Asked:
    """Claims that a request names (Core 5.5). userinfo, id_token: names. acr: values that it cannot
    do without. subject: the only one whom it is about."""

    userinfo: tuple[str, ...] = ()
    id_token: tuple[str, ...] = ()
    acr: tuple[str, ...] = ()
    subject: str = ""


@dataclass(frozen=True)
class AuthRequest:
    """A valid authorisation request."""

    client: Client
    redirect_uri: str
    scope: str
    state: str
    nonce: str
    challenge: str
    claims: Asked = Asked()


class RequestError(Exception):
    """An error that goes back to the client by redirect (RFC 6749 4.1.2.1)."""

    def __init__(self, redirect_uri: str, state: str, error: str, description: str) -> None:
        super().__init__(description)
        values = {"error": error, "error_description": description}
        if state:
            values["state"] = state
        self.url = with_query(redirect_uri, values)


def check_request(
    connection: Connection,
    firm_id: int,
    query: dict[str, str],
    repeated: frozenset[str] = frozenset(),
) -> AuthRequest:
    """repeated: parameters that came more than once. Raises ApiError (400) where nothing may be
    redirected, else RequestError."""
    client = find_client(connection, firm_id, query.get("client_id", ""))
    uri = query.get("redirect_uri", "")
    if (
        client is None
        or uri not in client.redirect_uris
        or repeated & {"client_id", "redirect_uri"}
    ):
        raise ApiError(
            400,
            "bad-client",
            "The service that sent you here is not registered, or sent a wrong address.",
            kept=NOTHING_CHANGED,
            todo="Tell the people who run that service.",
        )
    state = query.get("state", "")

    def problem(error: str, description: str) -> RequestError:
        return RequestError(uri, state, error, description)

    for error, description in _form_problems(query, repeated):
        raise problem(error, description)
    if query.get("response_type") != "code":
        raise problem("unsupported_response_type", "only response_type=code is offered")
    if query.get("response_mode", "query") != "query":
        raise problem("invalid_request", "only response_mode=query is offered")
    scope = query.get("scope", "")
    if "openid" not in scope.split():
        raise problem("invalid_scope", "scope lacks openid")
    try:
        claims = _asked_claims(query.get("claims", ""))
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise problem("invalid_request", "claims is not as Core 5.5 has it") from None
    if claims.acr and not set(ACR) & set(claims.acr):
        raise problem("unmet_authentication_requirements", f"acr is {' or '.join(ACR)} here")
    challenge = query.get("code_challenge", "")
    if query.get("code_challenge_method") != "S256" or not CHALLENGE.fullmatch(challenge):
        raise problem("invalid_request", "PKCE with code_challenge_method=S256 is required")
    return AuthRequest(client, uri, scope, state, query.get("nonce", ""), challenge, claims)


def _form_problems(query: dict[str, str], repeated: frozenset[str]) -> Iterator[tuple[str, str]]:
    """What is wrong with a request whatever it asks for: error and description."""
    if repeated:
        yield "invalid_request", "a parameter came more than once"
    for name, error in NOT_OFFERED.items():
        if name in query:
            yield error, f"{name} is not offered"
    if any(len(query.get(name, "")) > MAX_TEXT for name in ("nonce", "scope")):
        yield "invalid_request", f"nonce and scope have at most {MAX_TEXT} characters"
    if any("\0" in value for value in query.values()):
        yield "invalid_request", "a parameter has a NUL in it"
    if "response_type" not in query:
        yield "invalid_request", "response_type is missing"
    prompts = query.get("prompt", "").split()
    if "none" in prompts and len(prompts) > 1:
        yield "invalid_request", "prompt=none stands alone"
    if not MAX_AGE.fullmatch(query.get("max_age", "0")):
        yield "invalid_request", "max_age is a number of seconds"


def _asked_claims(text: str) -> Asked:
    """Raises ValueError, TypeError, AttributeError, RecursionError: of another form."""
    if not text:
        return Asked()
    if len(text) > MAX_CLAIMS:
        raise ValueError("too long")
    given = json.loads(text)
    named = {where: given[where] for where in WHERE if where in given}
    if not isinstance(given, dict) or not all(isinstance(one, dict) for one in named.values()):
        raise TypeError("an object is expected")
    named = {where: {} for where in WHERE} | named
    wanted = {where: tuple(name for name in BY_SCOPE if name in named[where]) for where in WHERE}
    acr = named["id_token"].get("acr") or {}
    values = acr.get("values") or ([acr["value"]] if "value" in acr else [])
    subjects = {(named[where].get("sub") or {}).get("value", "") for where in WHERE} - {""}
    texts = [*values, *subjects] if isinstance(values, list) else [None]
    if len(subjects) > 1 or not all(isinstance(one, str) for one in texts):
        raise TypeError("a text is expected")
    acr_values = tuple(values) if acr.get("essential") is True else ()
    return Asked(wanted["userinfo"], wanted["id_token"], acr_values, "".join(subjects))


def must_sign_in_anew(
    connection: Connection,
    request: AuthRequest,
    session: SignedIn | None,
    now: float,
    *,
    asked: bool,
) -> bool:
    """Whether this request has to wait for a sign-in that began after it (`prompt=login`,
    `max_age`; OpenID Connect Core 3.1.2.1). asked: it says so now. That it said so is kept here:
    what the browser is sent with later does not take it back. Nor does another state or nonce in
    the address, for whoever has the browser can put back in the answer what the service knows. The
    challenge he cannot change: only the service has what it was made of."""
    whole, challenge = _request_hash(request), _challenge_hash(request)
    connection.execute(delete(OidcAgain).where(OidcAgain.expires_at <= int(now)))
    rows = connection.execute(
        select(OidcAgain.request_hash, OidcAgain.session, OidcAgain.asked_at).where(
            OidcAgain.request_hash.in_((whole, challenge))
        )
    ).all()
    if asked and whole not in {row.request_hash for row in rows}:
        for digest in (whole, challenge):
            _will_sign_in_anew(connection, digest, request, session, now)
        return True
    # They stay: the browser may come by once more, from a page that asks for a second factor.
    return any(
        session is None or session.handle == row.session or session.created_at < row.asked_at
        for row in rows
    )


def _will_sign_in_anew(
    connection: Connection,
    digest: bytes,
    request: AuthRequest,
    session: SignedIn | None,
    now: float,
) -> None:
    insert_it = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    # For as long as this session may last: whoever waits does not pass with it.
    life_s = max(AGAIN_LIFE_S, session.policy.session_hours * 3600 if session else 0)
    values = {
        "session": session.handle if session else "",
        "asked_at": int(now),
        "expires_at": int(now) + life_s,
    }
    made = insert_it(OidcAgain).values(
        request_hash=digest, firm_id=request.client.firm_id, **values
    )
    connection.execute(
        made.on_conflict_do_update(index_elements=[OidcAgain.request_hash], set_=values)
    )


def _request_hash(request: AuthRequest) -> bytes:
    parts = (request.client.id, request.redirect_uri, request.state, request.nonce)
    return hashlib.sha256("\0".join((*parts, request.challenge)).encode()).digest()


def _challenge_hash(request: AuthRequest) -> bytes:
    return hashlib.sha256(f"{request.client.id}\0{request.challenge}".encode()).digest()


def issue_code(connection: Connection, request: AuthRequest, session: SignedIn, now: float) -> str:
    """→ where the browser goes: the redirect URI with a code that works once, within a minute.
    Raises ApiError (401) when the session was ended since it was looked up."""
    if not sessions.is_open(connection, session):
        raise ApiError(
            401,
            "session-over",
            "You were signed out.",
            kept=NOTHING_CHANGED,
            todo="Sign in again.",
        )
    code = chance.token_urlsafe(32)
    connection.execute(delete(OidcCode).where(OidcCode.expires_at <= int(now)))
    connection.execute(
        insert(OidcCode),
        {
            "code_hash": _digest(code),
            "client_id": request.client.id,
            "session_id": session.id,
            "redirect_uri": request.redirect_uri,
            "scope": request.scope,
            "nonce": request.nonce,
            "challenge": request.challenge,
            "claims": json.dumps({w: getattr(request.claims, w) for w in (*WHERE, "acr")}),
            "expires_at": int(now) + CODE_LIFE_S,
        },
    )
    values = {"code": code} | ({"state": request.state} if request.state else {})
    return with_query(request.redirect_uri, values)


def redeem(
    connection: Connection,
    ring: ServerKeyRing,
    *,
    issuer: str,
    firm_id: int,
    form: dict[str, str],
    credentials: tuple[str, str],
    now: float,
    client: Client | None = None,
) -> dict[str, Any] | TokenError:
    """Token endpoint. client: has shown who it is in another way. → the token response, or an error
    after which the transaction is committed all the same: a code is spent by the first valid client
    that sends it, whatever else is wrong. Raises TokenError where nothing was changed."""
    client = client or authenticate(connection, firm_id, *credentials)
    kind = form.get("grant_type")
    if kind == "refresh_token":
        return _refresh(connection, ring, issuer, client, form, now)
    if kind != "authorization_code":
        raise TokenError("unsupported_grant_type" if kind else "invalid_request")
    digest = _digest(form.get("code", ""))
    row = connection.execute(
        delete(OidcCode).where(OidcCode.code_hash == digest).returning(*OidcCode.__table__.columns)
    ).one_or_none()
    if row is None:
        # Somebody has redeemed it before. Who of the two stole it is not known (RFC 6749 4.1.2).
        again = OidcGrant.code_hash == digest
        _end_grant(connection, ring, client, again, now, why="a code came again")
        return TokenError("invalid_grant")
    verifier = form.get("code_verifier", "")
    if (
        row.expires_at <= int(now)
        or row.client_id != client.id
        or row.redirect_uri != form.get("redirect_uri")
        or not VERIFIER.fullmatch(verifier)
        or not hmac.compare_digest(_s256(verifier), row.challenge)
    ):
        return TokenError("invalid_grant")
    session = _session(connection, client.firm_id, row.session_id, now)
    if session is None:
        return TokenError("invalid_grant")
    offline = OFFLINE in row.scope.split()
    grant = Grant(chance.token_hex(16), client, row.scope, row.claims or "{}", row.nonce)
    refresh = _refresh_token(grant.id) if offline else ""
    connection.execute(
        insert(OidcGrant),
        {
            "id": grant.id,
            "code_hash": digest,
            "client_id": client.id,
            "session_id": row.session_id,
            "scope": row.scope,
            "claims": grant.claims,
            "refresh_hash": _digest(refresh) if offline else None,
            "expires_at": session.expires_at if offline else int(now) + TOKEN_LIFE_S,
        },
    )
    _will_be_told(connection, ring, client, session)
    act = Act(
        int(now * 1000), client.firm_id, f"person:{session.person}", "oidc-signed-in", client.id
    )
    record(connection, ring, [act])
    return _tokens(connection, ring, issuer, grant, session, refresh, now)


def _will_be_told(
    connection: Connection, ring: ServerKeyRing, client: Client, session: Any
) -> None:
    """When the session ends, if the client wants to know then. It is noted once."""
    with suppress(IntegrityError), connection.begin_nested():
        connection.execute(
            insert(OidcLogout),
            {
                "firm_id": client.firm_id,
                "client_id": client.id,
                "session": session.handle,
                "subject": subject_of(ring, client.firm_id, session.person),
                "tries": 0,
                "expires_at": session.expires_at,
            },
        )


@dataclass(frozen=True)
class Grant:
    """claims: JSON, names by where they go. nonce: of the request; empty when refreshed."""

    id: str
    client: Client
    scope: str
    claims: str
    nonce: str = ""

    def wanted(self, where: str) -> tuple[str, ...]:
        return tuple(json.loads(self.claims).get(where, ()))


def _refresh(
    connection: Connection,
    ring: ServerKeyRing,
    issuer: str,
    client: Client,
    form: dict[str, str],
    now: float,
) -> dict[str, Any] | TokenError:
    """New tokens, and a new refresh token: one that comes twice ends the grant (RFC 9700 4.14.2).
    None outlives the sign-in."""
    token = form.get("refresh_token", "")
    row = connection.execute(
        select(*OidcGrant.__table__.columns)
        .where(OidcGrant.id == token.split(".")[0], OidcGrant.client_id == client.id)
        .with_for_update()
    ).one_or_none()
    if row is None or row.refresh_hash is None or row.expires_at <= int(now):
        return TokenError("invalid_grant")
    if not hmac.compare_digest(row.refresh_hash, _digest(token)):
        same = OidcGrant.id == row.id
        _end_grant(connection, ring, client, same, now, why="a refresh token came again")
        return TokenError("invalid_grant")
    session = _session(connection, client.firm_id, row.session_id, now)
    if session is None:
        return TokenError("invalid_grant")
    scope = form.get("scope", row.scope)
    if not set(scope.split()) <= set(row.scope.split()):
        return TokenError("invalid_scope")
    new = _refresh_token(row.id)
    connection.execute(
        update(OidcGrant).where(OidcGrant.id == row.id).values(refresh_hash=_digest(new))
    )
    return _tokens(
        connection, ring, issuer, Grant(row.id, client, scope, row.claims), session, new, now
    )


def revoke(
    connection: Connection,
    ring: ServerKeyRing,
    *,
    firm_id: int,
    token: str,
    client: Client,
    now: float,
) -> None:
    """End what a token belongs to (RFC 7009); one that is none is as good as ended."""
    number = token.split(".", maxsplit=1)[0]
    claims = signing_keys.claims_of(connection, ring, token, now)
    if claims is not None:
        number = str(claims.get("grant", ""))
    named = (OidcGrant.id == number) & (OidcGrant.client_id == client.id)
    _end_grant(connection, ring, client, named, now, why="revoked")


def _end_grant(
    connection: Connection,
    ring: ServerKeyRing,
    client: Client,
    which: ColumnElement[bool],
    now: float,
    *,
    why: str,
) -> None:
    """Its tokens are worth nothing from now on. Two who have one code, or one refresh token: one of
    them is a thief."""
    ended = connection.execute(delete(OidcGrant).where(which).returning(OidcGrant.session_id))
    for session_id in list(ended.scalars()):
        of = select(SessionRow.person_id).where(SessionRow.id == session_id)
        subject = f"person:{connection.scalar(of)}"
        act = Act(
            int(now * 1000), client.firm_id, client.id, "oidc-tokens-ended", subject, {"why": why}
        )
        record(connection, ring, [act])


def _session(connection: Connection, firm_id: int, session_id: int, now: float) -> Any:
    return connection.execute(
        select(SessionRow.id, SessionRow.amr, SessionRow.created_at, PersonRow.id.label("person"))
        .add_columns(*PERSON, SessionRow.handle, SessionRow.expires_at)
        .join(PersonRow, PersonRow.id == SessionRow.person_id)
        .where(SessionRow.id == session_id, *_alive(firm_id, now))
    ).one_or_none()


def _tokens(
    connection: Connection,
    ring: ServerKeyRing,
    issuer: str,
    grant: Grant,
    session: Any,
    refresh: str,
    now: float,
) -> dict[str, Any]:
    from joserfc import jwt  # noqa: PLC0415

    client = grant.client
    key = signing_keys.current(connection, ring, now)
    amr = session.amr.split(",")
    times = {"iat": int(now), "exp": int(now) + TOKEN_LIFE_S}
    subject = subject_of(ring, client.firm_id, session.person)
    header = {"alg": signing_keys.ALGORITHM, "kid": key.kid}
    access = jwt.encode(
        header | {"typ": "at+jwt"},
        {"iss": issuer, "aud": f"{issuer}/userinfo", "sub": subject, "sid": session.handle}
        | {"client_id": client.id, "scope": grant.scope, "grant": grant.id}
        | {"jti": chance.token_hex(8)}
        | times,
        key,
    )
    claims: dict[str, Any] = {
        "iss": issuer,
        "aud": client.id,
        "sub": subject,
        "auth_time": session.created_at,
        "amr": amr,
        "acr": _acr(amr, grant.wanted("acr")),
        "sid": session.handle,
        "at_hash": _half_hash(access),
    } | times
    if grant.nonce:
        claims["nonce"] = grant.nonce
    claims |= _profile(grant.scope, session, grant.wanted("id_token"))
    answer = {
        "access_token": access,
        "token_type": "Bearer",
        "expires_in": TOKEN_LIFE_S,
        "scope": grant.scope,
        "id_token": jwt.encode(header, claims, key),
    }
    return answer | ({"refresh_token": refresh} if refresh else {})


def _acr(amr: list[str], wanted: tuple[str, ...]) -> str:
    """wanted: the values that the service cannot do without: it is told one of them (Core 5.5.1.1).
    Who has shown a second factor has done what `pwd` stands for, too."""
    known = "mfa" if "mfa" in amr else "pwd"
    return "pwd" if known not in wanted and "pwd" in wanted else known


def _refresh_token(grant_id: str) -> str:
    return f"{grant_id}.{chance.token_urlsafe(32)}"


def user_info(
    connection: Connection,
    ring: ServerKeyRing,
    *,
    issuer: str,
    firm_id: int,
    token: str,
    now: float,
) -> dict[str, Any]:
    """The claims about the user of an access token whose session and grant still live.

    Raises TokenError (401).
    """
    claims = signing_keys.claims_of(connection, ring, token, now)
    good = (
        claims is not None
        and claims.get("iss") == issuer
        and claims.get("aud") == f"{issuer}/userinfo"
        and _seconds(claims.get("exp")) > now
    )
    row = None
    if claims is not None and good:
        row = connection.execute(
            select(PersonRow.id, *PERSON, OidcGrant.claims)
            .join(SessionRow, SessionRow.person_id == PersonRow.id)
            .join(OidcGrant, OidcGrant.session_id == SessionRow.id)
            .where(OidcGrant.id == str(claims.get("grant", "")))
            .where(SessionRow.handle == str(claims.get("sid", "")), *_alive(firm_id, now))
        ).one_or_none()
    if claims is None or row is None:
        raise TokenError("invalid_token", 401)
    subject = subject_of(ring, firm_id, row.id)
    if subject != claims.get("sub"):
        raise TokenError("invalid_token", 401)
    wanted = tuple(json.loads(row.claims or "{}").get("userinfo", ()))
    return {"sub": subject} | _profile(str(claims["scope"]), row, wanted)


def hinted(
    connection: Connection, ring: ServerKeyRing, *, issuer: str, token: str, now: float
) -> dict[str, Any] | None:
    """The claims of an ID token of ours that is shown again (`id_token_hint`), also when its time
    is over; None: it is none."""
    claims = signing_keys.claims_of(connection, ring, token, now)
    if claims is None or claims.get("iss") != issuer or "auth_time" not in claims:
        return None
    return claims


PERSON = (
    PersonRow.login,
    PersonRow.email,
    PersonRow.email_verified,
    PersonRow.full_name,
    PersonRow.groups,
)


def _alive(firm_id: int, now: float) -> tuple[Any, ...]:
    """SQL conditions: the session still serves, and for services, too."""
    return (
        SessionRow.firm_id == firm_id,
        SessionRow.expires_at > int(now),
        SessionRow.enrol_only == 0,
        PersonRow.disabled_at.is_(None),
    )


def _seconds(value: object) -> int:
    return value if isinstance(value, int) else 0


def discovery(issuer: str) -> dict[str, Any]:
    """OpenID Connect Discovery 1.0, section 3."""
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/oidc/authorize",
        "token_endpoint": f"{issuer}/oidc/token",
        "userinfo_endpoint": f"{issuer}/oidc/userinfo",
        "jwks_uri": f"{issuer}/oidc/jwks",
        "pushed_authorization_request_endpoint": f"{issuer}/oidc/par",
        "revocation_endpoint": f"{issuer}/oidc/revoke",
        "end_session_endpoint": f"{issuer}/oidc/end-session",
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [signing_keys.ALGORITHM],
        "token_endpoint_auth_methods_supported": AUTH_METHODS,
        "token_endpoint_auth_signing_alg_values_supported": ASSERTION_ALGORITHMS,
        "revocation_endpoint_auth_methods_supported": AUTH_METHODS,
        "scopes_supported": ["openid", "profile", "email", "groups", OFFLINE],
        "claims_supported": ["sub", *BY_SCOPE, "acr", "amr", "auth_time", "sid"],
        "acr_values_supported": list(ACR),
        "code_challenge_methods_supported": ["S256"],
        "claims_parameter_supported": True,
        "ui_locales_supported": [one.value for one in SPOKEN],
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "authorization_response_iss_parameter_supported": False,
        "backchannel_logout_supported": True,
        "backchannel_logout_session_supported": True,
    }


def subject_of(ring: ServerKeyRing, firm_id: int, person_id: int) -> str:
    """The person's name towards services: stable, and says nothing."""
    return ring.tag("oidc-subject", f"{firm_id}|{person_id}".encode()).hex()[:32]


def with_query(uri: str, values: dict[str, str]) -> str:
    return uri + ("&" if "?" in uri else "?") + urlencode(values)


def _profile(scope: str, person: Any, wanted: tuple[str, ...] = ()) -> dict[str, Any]:
    """The claims that scopes stand for (Core 5.4), or that were asked for by name (5.5); what is
    not known is left out."""
    groups = person.groups.split("\n") if person.groups else []
    known: dict[str, Any] = {"preferred_username": person.login}
    if person.full_name:
        known["name"] = person.full_name
    if person.email:
        known |= {"email": person.email, "email_verified": bool(person.email_verified)}
    known["groups"] = groups
    scopes = scope.split()
    return {
        name: value for name, value in known.items() if BY_SCOPE[name] in scopes or name in wanted
    }


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _s256(verifier: str) -> str:
    return base64url.encode(hashlib.sha256(verifier.encode()).digest())


def _half_hash(token: str) -> str:
    return base64url.encode(hashlib.sha256(token.encode()).digest()[:16])
