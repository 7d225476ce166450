"""The firm's face: its logo and colours as browsers fetch them, and the page that changes them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from tallystick.server.accounts import faces, firms
from tallystick.server.accounts.faces import Face
from tallystick.server.accounts.rights import Right
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.portal.web import AnyVisit, FileForm, Member, staff
from tallystick.server.wording.worded import worded

router = APIRouter(prefix="/p/{firm}")

# The name changes with the content.
KEPT = {"cache-control": "public, max-age=31536000, immutable"}
SeesPolicy = Annotated[Member, Depends(staff(Right.SEE_POLICY))]
ChangesPolicy = Annotated[Member, Depends(staff(Right.SEE_POLICY, Right.CHANGE_POLICY))]


@router.get("/logo/{name}")
def logo(visit: AnyVisit, name: str) -> Response:
    """Whoever may see the sign-in page may see it. Raises ApiError (404)."""
    with visit.state.database.read() as connection:
        found = faces.logo_of(connection, visit.firm.id)
    if found is None or name != f"{found.tag}.png":
        raise ApiError(
            404,
            "no-such-logo",
            "There is no such picture.",
            kept=NOTHING_CHANGED,
            todo="Reload the page.",
        )
    return Response(found.png, media_type="image/png", headers=KEPT)


@router.get("/colours/{name}")
def colours(visit: AnyVisit, name: str) -> Response:
    """name: COLOUR.css, without its #. A sheet of its own, since pages may have no style inside.
    Raises ApiError (404)."""
    used = visit.face.accents
    if used is None or name != f"{visit.face.colour[1:]}.css":
        raise ApiError(
            404,
            "no-such-colour",
            "The firm has no such colour.",
            kept=NOTHING_CHANGED,
            todo="Reload the page.",
        )
    sheet = (
        f":root{{--accent:{used.light};--on-accent:#ffffff}}\n"
        f"@media(prefers-color-scheme:dark){{:root{{--accent:{used.dark};--on-accent:#0c1a2a}}}}\n"
    )
    return Response(sheet, media_type="text/css", headers=KEPT)


@router.get("/face")
def face_page(member: SeesPolicy) -> Response:
    return _page(member)


def _page(
    member: Member,
    *,
    error: ApiError | None = None,
    notice: str | None = None,
    sent: dict[str, str] | None = None,
) -> Response:
    policy = member.visit.firm.policy
    values = {
        "name": policy.display_name,
        "colour": policy.colour,
        "contact": policy.desk_contact,
    }
    return member.visit.render(
        "face.html",
        status=error.status if error else 200,
        error=error,
        notice=notice,
        values=values | (sent or {}),
    )


@router.post("/face")
def change(member: ChangesPolicy, form: FileForm) -> Response:
    """Name, colour and contact; a new logo where a file was chosen, or none any more."""
    visit, state, fields = member.visit, member.visit.state, form.fields
    sent = {name: fields.get(name, "").strip() for name in ("name", "colour", "contact")}
    actor = f"person:{member.session.person.id}"
    try:
        logo = faces.read_logo(b"".join(form.file.pieces())) if form.file else None
        with member.acting() as connection:
            firm = faces.change(
                connection,
                state.ring,
                firms.by_id(connection, visit.firm.id),
                now=state.now(),
                actor=actor,
                **sent,
            )
            if logo is not None or fields.get("no_logo"):
                faces.set_logo(connection, state.ring, firm.id, logo, now=state.now(), actor=actor)
    except ApiError as error:
        return _page(member, error=error, sent=sent)
    with state.database.read() as connection:
        face: Face = faces.of(connection, firm)
    shown = visit.of_firm(firm, face)
    return _page(
        Member(shown, member.session),
        notice=worded("It is changed. {adapted}", adapted=face.adapted)
        if face.adapted
        else worded("It is changed."),
    )
