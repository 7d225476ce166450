"""Log-in for what nginx serves: asks Tallystick by OpenID Connect, and answers `auth_request`.

    pip install authlib httpx itsdangerous starlette uvicorn
    LOGIN_ISSUER=https://id.example/p/default LOGIN_CLIENT_ID=oc-… LOGIN_CLIENT_SECRET=… \
        LOGIN_SESSION_SECRET=… uvicorn --factory login:app --uds /run/login.sock
"""

import os
import time

from authlib.integrations.starlette_client import OAuth, OAuthError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

HOURS = 8


async def check(request):
    """nginx asks before each page: 204 with who it is, or 401."""
    session = request.session
    if not session.get("user") or session.get("until", 0) < time.time():
        return Response(status_code=401)
    groups = ",".join(session["groups"])
    headers = {"x-user": session["user"].encode().hex(), "x-groups": groups.encode().hex()}
    return Response(status_code=204, headers=headers)


async def start(request):
    """To Tallystick, and afterwards to the page that was wanted: a path of this host, no other."""
    wanted = request.url.query.removeprefix("next=")  # as it is: nginx puts no & in other words
    plain = wanted.startswith("/") and not wanted.startswith("//") and "\\" not in wanted
    request.session["next"] = wanted if plain and wanted.isprintable() else "/"
    back = os.environ.get("LOGIN_CALLBACK") or str(request.url_for("callback"))
    return await request.app.state.oauth.tallystick.authorize_redirect(request, back)


async def callback(request):
    """With a code. The library checks state, nonce and signature, and sends the PKCE verifier."""
    try:
        token = await request.app.state.oauth.tallystick.authorize_access_token(request)
    except OAuthError as error:
        return PlainTextResponse(f"Not signed in: {error.error}", status_code=403)
    claims, wanted = token["userinfo"], request.session.get("next", "/")
    request.session.clear()
    request.session.update(
        user=claims["preferred_username"],
        groups=claims.get("groups", []),
        until=time.time() + HOURS * 3600,
    )
    return RedirectResponse(wanted, status_code=303)


async def leave(request):
    """Sign out here, and at Tallystick as the person wishes."""
    request.session.clear()
    return RedirectResponse(os.environ["LOGIN_ISSUER"] + "/oidc/end-session", status_code=303)


def app():
    oauth = OAuth()
    oauth.register(
        "tallystick",
        client_id=os.environ["LOGIN_CLIENT_ID"],
        client_secret=os.environ["LOGIN_CLIENT_SECRET"],
        server_metadata_url=os.environ["LOGIN_ISSUER"] + "/.well-known/openid-configuration",
        client_kwargs={
            "scope": "openid profile groups",
            "code_challenge_method": "S256",
            "token_endpoint_auth_method": "client_secret_basic",
        },
    )
    routes = [
        Route("/_login/check", check),
        Route("/_login/start", start),
        Route("/_login/callback", callback, name="callback"),
        Route("/_login/leave", leave, methods=["POST"]),
    ]
    cookie = Middleware(
        SessionMiddleware,
        secret_key=os.environ["LOGIN_SESSION_SECRET"],
        session_cookie="login",
        max_age=HOURS * 3600,
        same_site="lax",
        https_only=os.environ.get("LOGIN_INSECURE") != "yes",
    )
    made = Starlette(routes=routes, middleware=[cookie])
    made.state.oauth = oauth
    return made
