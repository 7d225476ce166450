"""The page at `/`: on to the firm, where there is one; otherwise its name is asked for. It lists
none: who uses this server is nobody's business."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from tallystick.server.accounts import firms
from tallystick.server.accounts.policy import FIRM_NAME
from tallystick.server.api.access import AState
from tallystick.server.errors import ApiError
from tallystick.server.portal.templating import TEMPLATES, page_headers

router = APIRouter()


@router.get("/")
def front(request: Request, state: AState, firm: str = "") -> Response:
    """firm: a name that was typed."""
    name = firm.strip().lower()
    error = None
    with state.database.read() as connection:
        known = firms.list_all(connection)
    if len(known) == 1:
        return RedirectResponse(f"/p/{known[0].name}/", status_code=303)
    if name and FIRM_NAME.fullmatch(name) and any(one.name == name for one in known):
        return RedirectResponse(f"/p/{name}/", status_code=303)
    if name:
        error = ApiError(
            404,
            "no-such-firm",
            "There is no firm of that name here.",
            todo="Look at the address that your firm gave you: the name stands after /p/.",
        )
    html = TEMPLATES.get_template("front.html").render(error=error, typed=firm[:80])
    return HTMLResponse(html, status_code=404 if error else 200, headers=page_headers())
