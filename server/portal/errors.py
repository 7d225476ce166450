"""Errors as pages, for requests that come from a browser in the portal."""

from __future__ import annotations

import re
from collections.abc import Mapping

from fastapi import Request
from fastapi.responses import HTMLResponse, Response

from tallystick.server.errors import ApiError
from tallystick.server.portal.templating import TEMPLATES, page_headers
from tallystick.server.wording.languages import in_language, speaking
from tallystick.server.wording.worded import worded

PREFIX = "/p/"
# What programs of services ask, below a firm: they read JSON.
FOR_PROGRAMS = re.compile(r"/p/[^/]*/(\.well-known/.*|oidc/(token|par|revoke|userinfo|jwks))")


def wants_page(request: Request) -> bool:
    path = request.url.path
    return path.startswith(PREFIX) and not FOR_PROGRAMS.fullmatch(path)


def error_page(
    request: Request, error: ApiError, more: Mapping[str, str] | None = None
) -> Response:
    """What happened, what was kept, what to do next. more: headers."""
    firm = request.url.path[len(PREFIX) :].split("/", 1)[0]
    face = getattr(request.state, "face", None)  # not of a firm that there is not
    values = {
        "error": error,
        "home": f"{PREFIX}{firm}/",
        "base": f"{PREFIX}{firm}",
        "firm_name": face.name if face else firm,
        "title": worded("Not possible"),
        **getattr(request.state, "of_page", {}),
    } | ({"face": face} if face else {})
    with in_language(getattr(request.state, "language", speaking())):
        html = TEMPLATES.get_template("error.html").render(**values)
    headers = page_headers() | retry_header(error) | dict(more or {})
    return HTMLResponse(html, status_code=error.status, headers=headers)


def retry_header(error: ApiError | None) -> dict[str, str]:
    return {"retry-after": str(error.retry_after_s)} if error and error.retry_after_s else {}
