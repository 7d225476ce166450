"""What is asked, what an answer means, and when to ask again: the same for both clients.

A check has a random name, which goes with every try (`Idempotency-Key`). The server judges it once
and gives later tries the answer of the first, for ten minutes: a code that was accepted, and whose
answer was lost, is accepted when asked again, and nobody else can use it. A server of before
this release knows no names: there such a code is refused as `replayed`.
"""

from __future__ import annotations

import json
import random
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tallystick.common.errors import BadInputError, RefusedError, UnreachableError

VERIFY, RESYNCHRONISE = "/v1/verify", "/v1/resynchronise"
_CODE = re.compile(r"[0-9]{6,8}")
_MOST_WAIT_S = 30.0  # that a server's Retry-After is believed
NOT_A_CODE, WRONG_LENGTH, THROTTLED = "not-a-code", "wrong-length", "throttled"


class CheckRefusedError(RefusedError):
    """The server judges no such check: the credential, the user's name or the server itself is not
    right. status: of HTTP; code: the server's word for it. No code was used or counted."""

    def __init__(self, status: int, code: str, what: str, *, kept: str, todo: str) -> None:
        super().__init__(what, kept=kept, todo=todo)
        self.status = status
        self.code = code


class NoAnswerError(UnreachableError):
    """No answer came in time. What was asked may have been judged: a right code may be used up."""


@dataclass(frozen=True)
class CheckedCode:
    """What the server says of a code. True in a condition when the code is accepted.

    reason: `ok`, `wrong`, `replayed` (it was accepted before), `resynchronise` (two successive
    codes are needed), `no-card` (nobody of that name has one), `throttled` (retry_after_s seconds
    are to pass), `wrong-length`, or `not-a-code` (not six to eight digits: the server was not
    asked).
    method: `card` or `totp`; serial: of the card.
    """

    accepted: bool
    reason: str
    method: str | None = None
    serial: str | None = None
    retry_after_s: int = 0

    def __bool__(self) -> bool:
        return self.accepted


@dataclass(frozen=True)
class Patience:
    """How long to try. total_s: in all, whatever happens. answer_s: for an answer to one try.
    pause_s: before the second try; each later pause is twice as long, to longest_pause_s at most.
    A pause is shortened by up to its half, by chance, so that not all clients come at once."""

    total_s: float = 10.0
    answer_s: float = 3.0
    pause_s: float = 0.1
    longest_pause_s: float = 2.0

    def before(self, attempt: int) -> float:
        """Seconds to wait before a try; attempt: 1 is the second."""
        whole = min(self.pause_s * 2.0 ** min(attempt - 1, 32), self.longest_pause_s)
        return whole * random.uniform(0.5, 1.0)


@dataclass(frozen=True)
class VerifyCall:
    """One question, however often it is asked. body: holds codes, and shows in no repr."""

    path: str
    body: dict[str, Any] = field(repr=False)
    name: str = field(repr=False, default_factory=lambda: secrets.token_urlsafe(24))

    @property
    def headers(self) -> dict[str, str]:
        return {"Content-Type": "application/json", "Idempotency-Key": self.name}

    @property
    def content(self) -> bytes:
        return json.dumps(self.body).encode()


def check_of(
    path: str, codes: tuple[str, ...], user: str | None, serial: str | None
) -> VerifyCall | None:
    """None when the codes are none. Raises BadInputError unless there is either a user or a serial
    number."""
    if (user is None) == (serial is None):
        raise BadInputError(
            "A check is about either a user or a card.", todo="Give `user` or `serial`."
        )
    if not all(_CODE.fullmatch(code) for code in codes) or len(set(map(len, codes))) != 1:
        return None
    subject = {"user": user} if user is not None else {"serial": serial}
    given = {"code": codes[0]} if path == VERIFY else {"codes": list(codes)}
    return VerifyCall(path, {**subject, **given})


def none_of_that_form() -> CheckedCode:
    return CheckedCode(accepted=False, reason=NOT_A_CODE)


@dataclass(frozen=True)
class TryLater:
    """No verdict. why: for a person. after_s: the server asks for so much time. asked: the server
    may have the check. todo: what must be done first: until then no try is any use."""

    why: str
    after_s: float = 0.0
    asked: bool = True
    todo: str = ""


def read(status: int, headers: Mapping[str, str], content: bytes) -> CheckedCode | TryLater:
    """What an answer says. Raises CheckRefusedError."""
    value = _object(content)
    if status == 200 and isinstance(value.get("accepted"), bool) and value.get("reason"):
        return CheckedCode(
            accepted=value["accepted"],
            reason=str(value["reason"]),
            method=_text(value.get("method")),
            serial=_text(value.get("serial")),
        )
    if status == 429 and value.get("reason") == THROTTLED:
        wait = value.get("retry_after_s")
        wait = max(wait, 0) if isinstance(wait, int) else 0
        return CheckedCode(accepted=False, reason=THROTTLED, retry_after_s=wait)
    error = value.get("error")
    error = error if isinstance(error, dict) else {}
    if status >= 500 or status == 429:
        said = f": {error['what']}" if error.get("what") else "."
        after_s = _seconds(headers.get("retry-after"))
        return TryLater(f"It answers with status {status}{said}", after_s)
    if error.get("code") == WRONG_LENGTH:
        return CheckedCode(accepted=False, reason=WRONG_LENGTH)
    raise CheckRefusedError(
        status,
        str(error.get("code") or ""),
        str(
            error.get("what") or f"The server answers with status {status}, as no Tallystick does."
        ),
        kept=str(error.get("kept") or "As far as can be told, no code was used."),
        todo=str(error.get("todo") or "Check the server's URL."),
    )


def no_answer(url: str, later: TryLater, tries: int, *, asked: bool) -> NoAnswerError:
    times = "once" if tries == 1 else f"{tries} times"
    if later.after_s:
        later = replace(later, why=f"{later.why} It asks for time.")
    return NoAnswerError(
        f"The server at {url} gave no answer, asked {times}. {later.why}",
        kept="The code may have been judged: if it was right, it is used up."
        if asked
        else "The server was not reached, and the code not used.",
        todo=later.todo or "Refuse for now; the user tries again, with a new code.",
    )


def _object(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _seconds(text: str | None) -> float:
    return min(float(text), _MOST_WAIT_S) if text and text.isdecimal() else 0.0
