"""A second factor once more, before a change in one's own account."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from tallystick.server import stepup
from tallystick.server.errors import ApiError
from tallystick.server.methods.base import Verdict
from tallystick.server.policy import MethodKind
from tallystick.server.portal.web import AMember, Form, Member
from tallystick.server.portal.words import refusal

router = APIRouter(prefix="/p/{firm}/prove")


@router.get("")
def choose_page(member: AMember, next: str = "") -> Response:
    visit = member.visit
    held = stepup.begin(visit.state, member.session, visit.browser, visit.safe_next(next))
    if len(held) == 1 and held[0].kind is MethodKind.CARD:
        return visit.go(f"/prove/card/{held[0].key}")
    return visit.render("choose.html", held=held, flow="prove")


@router.get("/card/{key}")
def card_page(member: AMember, key: str) -> Response:
    """Asking for a card's code sends nothing, so a link is enough."""
    return _ask(member, MethodKind.CARD, key)


@router.get("/totp/{key}")
def totp_page(member: AMember, key: str) -> Response:
    return _ask(member, MethodKind.TOTP, key)


@router.post("/{kind}/{key}/ask")
def ask(member: AMember, kind: MethodKind, key: str, form: Form) -> Response:
    """Send a code, or make WebAuthn options."""
    return _ask(member, kind, key)


def _ask(
    member: Member, kind: MethodKind, key: str, *, error: ApiError | None = None, status: int = 200
) -> Response:
    visit = member.visit
    show = stepup.challenge(visit.state, member.session, kind, key, visit.browser)
    return visit.render(
        "second.html", status=status, error=error, kind=kind, key=key, show=show, flow="prove"
    )


@router.post("/{kind}/{key}")
def prove(member: AMember, kind: MethodKind, key: str, form: Form) -> Response:
    visit = member.visit
    outcome = stepup.prove(visit.state, member.session, kind, key, form, visit.browser)
    if not isinstance(outcome, Verdict):
        # A page, not a redirect: see signing in.
        return visit.render("signed_in.html", go_on=outcome or f"{visit.base}/", flow="prove")
    error = refusal(outcome)
    if kind in (MethodKind.SMS, MethodKind.EMAIL):
        return visit.render(
            "second.html",
            status=error.status,
            error=error,
            kind=kind,
            key=key,
            show={"shown": "", "minutes": 0},
            flow="prove",
        )
    return _ask(member, kind, key, error=error, status=error.status)
