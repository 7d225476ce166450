"""The pages that ask for a second factor: to sign in, and again before a change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from tallystick.server.accounts.policy import MethodKind
from tallystick.server.errors import ApiError
from tallystick.server.messages.outbox import Delivery
from tallystick.server.methods import METHODS, at_hand
from tallystick.server.methods.base import Held
from tallystick.server.portal.web import Form, Visit
from tallystick.server.rules.judge import Verdict
from tallystick.server.signing_in.words import refusal
from tallystick.server.wording.worded import worded

WAITING = worded("The message is being sent. Look again in a moment.")
TAKEN = worded("The message was handed over. It can take a minute.")
MAIL_TAKEN = worded(
    "The message was handed over. It can take a minute; look among unwanted mail, too."
)


def sent(kind: MethodKind, delivery: Delivery) -> str:
    """What became of a message that no provider refused."""
    if delivery is Delivery.WAITING:
        return WAITING
    return MAIL_TAKEN if kind is MethodKind.EMAIL else TAKEN


def not_taken() -> ApiError:
    return ApiError(
        503,
        "not-sent",
        "Nothing was sent: the provider did not take the message.",
        kept="It is tried again, as long as the code is good.",
        todo="Use another method, or ask your help desk.",
    )


@dataclass(frozen=True)
class Asking:
    """Who is asked, and in which flow: `second` (signing in) or `prove`. The flow is also where
    its pages are, and templates go by it. The calls raise ApiError (401) once it is over."""

    visit: Visit
    flow: str
    choices: Callable[[], list[Held]]
    challenge: Callable[[MethodKind, str], Mapping[str, Any]]
    delivered: Callable[[MethodKind, str], Delivery | None]

    def choose(self, held: list[Held], *, error: ApiError | None = None) -> Response:
        """Which one? A card that is the only one is asked for at once."""
        if error is None and len(held) == 1 and held[0].kind is MethodKind.CARD:
            return self.visit.go(f"/{self.flow}/card/{held[0].key}")
        status = error.status if error else 200
        return self.visit.render(
            "choose.html", status=status, error=error, held=held, flow=self.flow
        )

    def ask(self, kind: MethodKind, key: str, *, error: ApiError | None = None) -> Response:
        """Send a code, or make WebAuthn options, and ask for the proof. Where that cannot be done,
        the user may choose another factor."""
        try:
            show = self.challenge(kind, key)
        except ApiError as problem:
            if problem.status == 401:
                raise
            return self.choose(self.choices(), error=problem)
        return self._page(kind, key, show, error)

    def again(self, kind: MethodKind, key: str, verdict: Verdict) -> Response:
        """Ask once more after a refusal. A code that was sent stays good: no other one is sent."""
        error = refusal(verdict)
        if METHODS[kind].sends:
            return self._page(kind, key, {"shown": "", "minutes": 0}, error)
        return self.ask(kind, key, error=error)

    def whether_sent(self, kind: MethodKind, key: str) -> Response:
        """The same page, with what became of the message; no other one is sent."""
        delivery = self.delivered(kind, key)
        if delivery is None:
            return self.choose(self.choices())
        error = not_taken() if delivery is Delivery.REFUSED else None
        notice = None if error else sent(kind, delivery)
        return self._page(kind, key, {"shown": "", "minutes": 0}, error, notice)

    def _page(
        self,
        kind: MethodKind,
        key: str,
        show: Mapping[str, Any],
        error: ApiError | None,
        notice: str | None = None,
    ) -> Response:
        status = error.status if error else 200
        return self.visit.render(
            "second.html",
            status=status,
            error=error,
            notice=notice,
            kind=kind,
            key=key,
            show=show,
            flow=self.flow,
        )


def pages(asking: Callable[..., Asking]) -> APIRouter:
    """The pages that ask, below the flow's own path. asking: a dependency that tells who it is."""
    router = APIRouter()
    asked = Depends(asking)

    @router.get("/{kind}/{key}")
    def page(kind: MethodKind, key: str, asking: Asking = asked) -> Response:
        """Where asking sends nothing, a link is enough."""
        if not at_hand(kind):
            return asking.choose(asking.choices())
        return asking.ask(kind, key)

    @router.get("/{kind}/{key}/sent")
    def whether_sent(kind: MethodKind, key: str, asking: Asking = asked) -> Response:
        return asking.whether_sent(kind, key)

    @router.post("/{kind}/{key}/ask")
    def ask(kind: MethodKind, key: str, form: Form, asking: Asking = asked) -> Response:
        """Send a code, or make WebAuthn options."""
        return asking.ask(kind, key)

    return router
