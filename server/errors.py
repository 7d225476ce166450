"""Errors that the API answers with. Codes are public; texts are for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, SkipValidation

from tallystick.common.errors import RefusedError
from tallystick.server.wording.worded import worded


class EntryProblem(BaseModel):
    """What is wrong with one entry of a container, and what to do. number: from 1."""

    number: int
    serial: str | None
    code: str
    # What knows how it was made (`Worded`) stays so: a check would make a plain text of it.
    what: SkipValidation[str]
    todo: SkipValidation[str] = ""


class ErrorDetail(BaseModel):
    """What happened, what was kept, what to do next; for a container, a line per bad entry."""

    code: str
    what: str
    kept: str
    todo: str
    entries: list[EntryProblem] | None = None


class ErrorAnswer(BaseModel):
    """The body of every answer of 4xx and 5xx, except 429 of verification."""

    error: ErrorDetail


ERROR_ANSWERS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer} for status in (401, 403, 404, 409, 413, 422, 503)
}


class ApiError(RefusedError):
    """Becomes `{"error": {"code", "what", "kept", "todo"}}` with the HTTP status."""

    def __init__(
        self,
        status: int,
        code: str,
        what: str,
        *,
        kept: str = "",
        todo: str = "",
        entries: Sequence[EntryProblem] = (),
        retry_after_s: int = 0,
    ) -> None:
        super().__init__(what, kept=kept, todo=todo)
        self.retry_after_s = retry_after_s
        self.status = status
        self.code = code
        self.entries = entries

    def headers(self) -> dict[str, str]:
        """What an answer with this error carries besides its body."""
        headers = {"www-authenticate": "Bearer"} if self.status == 401 else {}
        return headers | ({"retry-after": str(self.retry_after_s)} if self.retry_after_s else {})

    def body(self) -> dict[str, Any]:
        error: dict[str, Any] = {
            "code": self.code,
            "what": self.what,
            "kept": self.kept,
            "todo": self.todo,
        }
        if self.entries:
            error["entries"] = [entry.model_dump() for entry in self.entries]
        return {"error": error}


def database_away() -> ApiError:
    """It has gone, or is busy: that is no fault of the request's."""
    return ApiError(
        503,
        "busy",
        "The database does not answer now.",
        kept="What the request asked for was done wholly or not at all.",
        todo="Look at what is there now, and try again in a moment.",
        retry_after_s=2,
    )


NOTHING_CHANGED = worded("Nothing was changed.")
NOT_REGISTERED = worded("None of the container was registered.")


def entry_problems(found: Sequence[tuple[int, str | None, ApiError]]) -> ApiError:
    """One error for all the bad entries of a container: number, serial, and what is wrong."""
    _, _, first = found[0]
    more = f" {len(found) - 1} more entries are bad." if len(found) > 1 else ""
    return ApiError(
        first.status,
        first.code,
        first.what + more,
        kept=first.kept or NOT_REGISTERED,
        todo=first.todo,
        entries=entry_lines(found),
    )


def entry_lines(found: Sequence[tuple[int, str | None, ApiError]]) -> list[EntryProblem]:
    """A line for each bad entry: number, serial, what is wrong with it and what to do."""
    return [
        EntryProblem(
            number=number, serial=serial, code=error.code, what=error.what, todo=error.todo
        )
        for number, serial, error in found
    ]


def not_found(serial: str) -> ApiError:
    return ApiError(
        404,
        "no-such-card",
        worded("No card with serial number {serial} is registered here.", serial=serial),
        todo="Check the serial number; register the card first.",
    )
