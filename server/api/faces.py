"""The firm's face: what pages and mails show of it."""

from __future__ import annotations

import base64
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from tallystick.server.accounts import faces, firms
from tallystick.server.accounts.credentials import Caller
from tallystick.server.accounts.faces import Face
from tallystick.server.api.access import AState
from tallystick.server.api.cards import Admin
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.state import ServerState

router = APIRouter(prefix="/v1/firm/face", tags=["the firm"])

Word = Annotated[str, Field(max_length=120, pattern=r"^[^\x00-\x1f\x7f]*$")]


class FaceRequest(BaseModel):
    """What is left out stays as it is; "": none. colour: as #0b5cad."""

    model_config = ConfigDict(extra="forbid")
    name: Word | None = None
    colour: Word | None = None
    contact: Word | None = None


class LogoRequest(BaseModel):
    """picture_base64: a PNG or JPEG of at most a million bytes."""

    model_config = ConfigDict(extra="forbid")
    picture_base64: Annotated[str, Field(max_length=1_400_000)]


class LogoView(BaseModel):
    """path: where browsers find it. width, height: in pixels, as it is kept."""

    path: str
    width: int
    height: int


class FaceView(BaseModel):
    """colour_on_light, colour_on_dark: as pages use it. adapted: why they are not the firm's."""

    name: str
    contact: str
    colour: str
    colour_on_light: str
    colour_on_dark: str
    adapted: str
    logo: LogoView | None


def _view(firm: str, face: Face) -> FaceView:
    logo = face.logo
    return FaceView(
        name=face.name,
        contact=face.contact,
        colour=face.colour,
        colour_on_light=face.accents.light if face.accents else "",
        colour_on_dark=face.accents.dark if face.accents else "",
        adapted=face.adapted,
        logo=LogoView(path=f"/p/{firm}/logo/{logo.tag}.png", width=logo.width, height=logo.height)
        if logo
        else None,
    )


@router.get("")
def show(state: AState, caller: Admin) -> FaceView:
    """Name, help desk, colour and logo."""
    with state.database.read() as connection:
        firm = firms.by_id(connection, caller.firm_id)
        return _view(firm.name, faces.of(connection, firm))


@router.patch("")
def change(request: FaceRequest, state: AState, caller: Admin) -> FaceView:
    """422 for a colour that is none."""

    def work(connection: Connection) -> FaceView:
        firm = faces.change(
            connection,
            state.ring,
            firms.by_id(connection, caller.firm_id),
            now=state.now(),
            actor=caller.id,
            name=request.name,
            colour=request.colour,
            contact=request.contact,
        )
        return _view(firm.name, faces.of(connection, firm))

    return state.database.run(work)


@router.put("/logo")
def put_logo(request: LogoRequest, state: AState, caller: Admin) -> FaceView:
    """What is kept is drawn anew, as PNG. Raises ApiError (422) for what is no picture, or too
    large a one."""
    try:
        content = base64.b64decode(request.picture_base64, validate=True)
    except ValueError:
        raise ApiError(
            422,
            "bad-logo",
            "The picture is not in base64.",
            kept=NOTHING_CHANGED,
            todo="Send the bytes of the file in base64.",
        ) from None
    return _set_logo(state, caller, faces.read_logo(content))


@router.delete("/logo")
def delete_logo(state: AState, caller: Admin) -> FaceView:
    """The software's mark stands in its place again."""
    return _set_logo(state, caller, None)


def _set_logo(state: ServerState, caller: Caller, logo: faces.Logo | None) -> FaceView:
    def work(connection: Connection) -> FaceView:
        firm = firms.by_id(connection, caller.firm_id)
        faces.set_logo(connection, state.ring, firm.id, logo, now=state.now(), actor=caller.id)
        return _view(firm.name, faces.of(connection, firm))

    return state.database.run(work)
