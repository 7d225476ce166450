"""A route whose usual request takes no detour.

For each request FastAPI works out anew what its endpoint's parameters are: more than half of what a
check costs the event loop. Here a whole JSON body of the right form is read straight away. Whatever
is not exactly that takes FastAPI's way, and gets its answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import Any, get_type_hints

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from tallystick.server.checking.answers import MAX_NAME, MIN_NAME

JSON, KEY = "application/json", "Idempotency-Key"
_NAME = f"[A-Za-z0-9_-]{{{MIN_NAME},{MAX_NAME}}}"
# An RFC 8941 string, or the bare text: both are in use.
KEY_PATTERN = f'^(?:{_NAME}|"{_NAME}")$'
_KEY = re.compile(KEY_PATTERN)


class QuickRoute(APIRoute):
    """Its endpoint takes (body, request, key): a pydantic model, and the text of the header KEY or
    None. For FastAPI's way it declares the same."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        usual = super().get_route_handler()
        model: type[BaseModel] = get_type_hints(self.endpoint)["body"]

        async def answer(request: Request) -> Response:
            headers = request.headers
            key = headers.get(KEY)
            whole = headers.get("content-type") == JSON and "content-length" in headers
            if whole and (key is None or _KEY.fullmatch(key)):
                try:
                    body = model.model_validate_json(await request.body())
                except (ValidationError, ClientDisconnect):
                    return await usual(request)  # which says what is wrong
                answered: Response = await self.endpoint(body, request, key)
                return answered
            return await usual(request)

        return answer
