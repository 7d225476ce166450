"""Credentials: what administrators manage over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field

from tallystick.server.accounts import credentials
from tallystick.server.accounts.credentials import Caller, Role
from tallystick.server.api.access import AState, only

router = APIRouter(prefix="/v1/credentials", tags=["credentials"])

Admin = Annotated[Caller, Depends(only(Role.ADMIN))]
CredentialId = Annotated[str, Path(pattern=r"^[a-z0-9-]{1,24}$")]


class NewCredentialRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    role: Role
    name: str = Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")


class NewCredentialAnswer(BaseModel):
    """The only time that token and psk are shown."""

    id: str
    role: Role
    token: str
    psk: str | None = None


class CredentialView(BaseModel):
    id: str
    role: Role
    name: str
    created_at: int
    revoked_at: int | None


class CredentialList(BaseModel):
    credentials: list[CredentialView]


@router.post("", status_code=201, response_model_exclude_none=True)
def add(body: NewCredentialRequest, state: AState, caller: Admin) -> NewCredentialAnswer:
    """Make a credential in the administrator's firm."""
    with state.database.write() as connection:
        made = credentials.add(
            connection,
            state.ring,
            role=body.role,
            name=body.name,
            now=state.now(),
            actor=caller.id,
            firm_id=caller.firm_id,
        )
    return NewCredentialAnswer(
        id=made.id,
        role=made.role,
        token=made.token.reveal().decode(),
        psk=made.psk.reveal().hex() if made.psk else None,
    )


@router.get("")
def show(state: AState, caller: Admin) -> CredentialList:
    """The firm's credentials, revoked ones too."""
    with state.database.read() as connection:
        rows = credentials.list_all(connection, caller.firm_id)
    return CredentialList(credentials=[CredentialView(**row) for row in rows])


@router.delete("/{credential_id}", status_code=204)
def revoke(credential_id: CredentialId, state: AState, caller: Admin) -> None:
    """Refuse the credential from now on."""
    with state.database.write() as connection:
        credentials.revoke(
            connection,
            state.ring,
            credential_id,
            now=state.now(),
            actor=caller.id,
            firm_id=caller.firm_id,
        )
