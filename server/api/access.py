"""Who may call what. `only(Role...)` is the dependency that every route but health declares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request

from tallystick.server.accounts.credentials import (
    MAX_TOKEN_LENGTH,
    Caller,
    Role,
    authenticate,
    hash_token,
    unknown_credential,
)
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.state import ServerState

SCHEME = "bearer "


def state_of(request: Request) -> ServerState:
    """The server's parts."""
    state = request.app.state.server
    assert isinstance(state, ServerState)
    return state


AState = Annotated[ServerState, Depends(state_of)]


def token_hash(request: Request) -> bytes:
    """The hash of the bearer token. Raises ApiError (401) when there is none."""
    return hash_of_bearer(request.headers.get("authorization", ""))


def hash_of_bearer(header: str) -> bytes:
    """As `token_hash`, of the header `authorization`."""
    token = header[len(SCHEME) :].strip()
    if header[: len(SCHEME)].lower() != SCHEME or not 0 < len(token) <= MAX_TOKEN_LENGTH:
        raise unknown_credential()
    return hash_token(token)


def only(*roles: Role) -> Callable[[Request], Caller]:
    """A dependency: the authenticated caller, if it has one of the roles.

    Raises ApiError: 401 unknown or revoked, 403 wrong role.
    """

    def caller(request: Request) -> Caller:
        digest = token_hash(request)
        with state_of(request).database.read() as connection:
            found = authenticate(connection, digest)
        if found.role not in roles:
            raise ApiError(
                403,
                "wrong-role",
                f"A {found.role.value} credential may not do this.",
                kept=NOTHING_CHANGED,
                todo="Use a credential of role " + " or ".join(role.value for role in roles) + ".",
            )
        return found

    return caller
