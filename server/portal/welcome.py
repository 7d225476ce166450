"""The first page of a new person: the invitation's link, a password, and on to enrolling."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from tallystick.server.errors import ApiError
from tallystick.server.portal.web import SESSION, AnyVisit, Form, Visit, typed_twice
from tallystick.server.signing_in import inviting

router = APIRouter(prefix="/p/{firm}")


@router.get("/welcome/{link}")
def welcome_page(visit: AnyVisit, link: str) -> Response:
    """Looking at it uses nothing up."""
    return _page(visit, link)


def _page(visit: Visit, link: str, error: ApiError | None = None) -> Response:
    person = inviting.welcomed(visit.state, visit.firm.name, link[:40], visit.browser)
    return visit.render(
        "welcome.html", status=error.status if error else 200, error=error, person=person, link=link
    )


@router.post("/welcome/{link}")
def accept(visit: AnyVisit, link: str, form: Form) -> Response:
    try:
        password = typed_twice(form)
        token = inviting.accept(visit.state, visit.firm.name, link[:40], password, visit.browser)
    except ApiError as error:
        if error.status == 401:
            raise
        return _page(visit, link, error)
    response = visit.go("/")
    visit.set_cookie(response, SESSION, token)
    return response
