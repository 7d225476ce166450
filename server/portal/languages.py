"""The language that somebody wants: kept with the person, and in the browser for the time before
she has signed in."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response

from tallystick.server.accounts import people
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.portal.web import LANGUAGE, LANGUAGE_DAYS, AnyVisit, Form
from tallystick.server.wording.languages import spoken

router = APIRouter(prefix="/p/{firm}")


@router.post("/language")
def choose(visit: AnyVisit, form: Form) -> Response:
    """Back to the page where it was chosen. Raises ApiError (422)."""
    language = spoken(form.get("language"))
    if language is None:
        raise ApiError(
            422,
            "no-such-language",
            "Pages are not written in this language.",
            kept=NOTHING_CHANGED,
            todo="Choose one of those at the foot of the page.",
        )
    if visit.session is not None:
        person = visit.session.person
        with visit.state.database.write() as connection:
            people.change(connection, person.firm_id, person.id, language=language.value)
    back = visit.safe_next(form.get("next", ""))
    response = RedirectResponse(back or f"{visit.base}/", status_code=303)
    visit.set_cookie(response, LANGUAGE, language.value, days=LANGUAGE_DAYS)
    return response
