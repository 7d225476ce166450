"""Verify codes: what services ask. The path that must be fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tallystick.server.accounts.policy import MethodKind
from tallystick.server.api.access import state_of, token_hash
from tallystick.server.checking.answers import MAX_NAME, MIN_NAME
from tallystick.server.checking.verification import CodeCheck, CodeOutcome
from tallystick.server.rules.judge import Reason

KEY = "Idempotency-Key"
_NAME = f"[A-Za-z0-9_-]{{{MIN_NAME},{MAX_NAME}}}"
# An RFC 8941 string, or the bare text: both are in use.
KEY_PATTERN = f'^(?:{_NAME}|"{_NAME}")$'

router = APIRouter(prefix="/v1", tags=["verification"])

Code = Annotated[str, Field(pattern=r"^[0-9]{6,8}$")]
User = Annotated[str | None, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]
Serial = Annotated[str | None, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


CheckName = Annotated[
    str | None,
    Header(
        alias=KEY,
        pattern=KEY_PATTERN,
        description="A random name for this check. The same check with the same name gets the same "
        "answer for ten minutes, and is judged once: for asking again when no answer came.",
    ),
]


class _Subject(BaseModel):
    """Whose code: exactly one of user and serial."""

    model_config = ConfigDict(extra="forbid")
    user: User = None
    serial: Serial = None

    @model_validator(mode="after")
    def one_subject(self) -> _Subject:
        if (self.user is None) == (self.serial is None):
            raise ValueError("give either user or serial")
        return self


class VerifyRequest(_Subject):
    code: Code


class ResynchroniseRequest(_Subject):
    codes: tuple[Code, Code]

    @model_validator(mode="after")
    def same_length(self) -> ResynchroniseRequest:
        if len(self.codes[0]) != len(self.codes[1]):
            raise ValueError("both codes have the same number of digits")
        return self


class VerifyAnswer(BaseModel):
    accepted: bool
    reason: Reason
    method: MethodKind | None
    serial: str | None


class ThrottledAnswer(BaseModel):
    reason: Reason
    retry_after_s: int


ANSWERS = {429: {"model": ThrottledAnswer}}


@router.post("/verify", response_model=VerifyAnswer, responses=ANSWERS)  # type: ignore[arg-type]
async def verify(
    body: VerifyRequest, request: Request, idempotency_key: CheckName = None
) -> Response:
    """Is this the next code of the card, or of one of the user's cards or authenticator apps? A
    right code is right once."""
    return await _answer(request, body, idempotency_key)


@router.post("/resynchronise", response_model=VerifyAnswer, responses=ANSWERS)  # type: ignore[arg-type]
async def resynchronise(
    body: ResynchroniseRequest, request: Request, idempotency_key: CheckName = None
) -> Response:
    """Find a card that was pressed too often again, by two successive codes (RFC 4226 7.4)."""
    return await _answer(request, body, idempotency_key)


@dataclass(frozen=True)
class CheckRoute:
    """A call that checks codes: what it takes, and its route."""

    model: type[VerifyRequest] | type[ResynchroniseRequest]
    route: APIRoute


# By path. Most are answered before a route is looked for (`serving.quick`).
_TAKEN: dict[str, type[VerifyRequest] | type[ResynchroniseRequest]] = {
    "/v1/verify": VerifyRequest,
    "/v1/resynchronise": ResynchroniseRequest,
}
ROUTES = {
    route.path: CheckRoute(_TAKEN[route.path], route)
    for route in router.routes
    if isinstance(route, APIRoute)
}


async def _answer(
    request: Request, asked: VerifyRequest | ResynchroniseRequest, key: str | None
) -> Response:
    check = check_of(asked, token_hash(request), key or "")
    return answer_to(await state_of(request).group.check(check))


def check_of(asked: VerifyRequest | ResynchroniseRequest, token: bytes, key: str) -> CodeCheck:
    """token: the hash of the asker's. key: as its header has it."""
    codes = (asked.code,) if isinstance(asked, VerifyRequest) else asked.codes
    return CodeCheck(token, asked.user, asked.serial, codes, key=key.strip('"'))


def answer_to(outcome: CodeOutcome) -> Response:
    if outcome.reason is Reason.THROTTLED:
        wait = outcome.retry_after_s
        return JSONResponse(
            {"reason": outcome.reason, "retry_after_s": wait},
            status_code=429,
            headers={"retry-after": str(wait)},
        )
    return JSONResponse(
        {
            "accepted": outcome.accepted,
            "reason": outcome.reason,
            "method": outcome.method,
            "serial": outcome.serial,
        }
    )
