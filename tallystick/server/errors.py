"""Errors that the API answers with. Codes are public; texts are for people."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from tallystick.common.errors import RefusedError


class ErrorDetail(BaseModel):
    """What happened, what was kept, what to do next."""

    code: str
    what: str
    kept: str
    todo: str


class ErrorAnswer(BaseModel):
    """The body of every answer of 4xx and 5xx, except 429 of verification."""

    error: ErrorDetail


ERROR_ANSWERS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer} for status in (401, 403, 404, 409, 413, 422, 503)
}


class ApiError(RefusedError):
    """Becomes `{"error": {"code", "what", "kept", "todo"}}` with the HTTP status."""

    def __init__(
        self, status: int, code: str, what: str, *, kept: str = "", todo: str = ""
    ) -> None:
        super().__init__(what, kept=kept, todo=todo)
        self.status = status
        self.code = code

    def body(self) -> dict[str, dict[str, str]]:
        return {
            "error": {"code": self.code, "what": self.what, "kept": self.kept, "todo": self.todo}
        }


NOTHING_CHANGED = "Nothing was changed."


def not_found(serial: str) -> ApiError:
    return ApiError(
        404,
        "no-such-card",
        f"No card with serial number {serial} is registered here.",
        todo="Check the serial number; register the card first.",
    )
