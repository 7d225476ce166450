"""A second factor once more, before a change in one's own account."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from tallystick.server.accounts.policy import MethodKind
from tallystick.server.errors import ApiError
from tallystick.server.portal import policy_form
from tallystick.server.portal.asking import Asking, pages
from tallystick.server.portal.web import AMember, Form, Visit
from tallystick.server.rules.judge import Verdict
from tallystick.server.signing_in import stepup

FLOW = "prove"

router = APIRouter(prefix="/p/{firm}/prove")


def asking(member: AMember) -> Asking:
    """The session is asked."""
    visit, session = member.visit, member.session
    return Asking(
        visit,
        FLOW,
        choices=lambda: stepup.choices(visit.state, session, visit.browser),
        challenge=lambda kind, key: stepup.challenge(
            visit.state, session, kind, key, visit.browser
        ),
        delivered=lambda kind, key: stepup.delivered(
            visit.state, session, kind, key, visit.browser
        ),
    )


AnAsking = Annotated[Asking, Depends(asking)]

router.include_router(pages(asking))


@router.get("")
def choose_page(member: AMember, asking: AnAsking, next: str = "") -> Response:
    visit = member.visit
    return asking.choose(
        stepup.begin(visit.state, member.session, visit.browser, visit.safe_next(next))
    )


@router.post("/{kind}/{key}")
def prove(member: AMember, asking: AnAsking, kind: MethodKind, key: str, form: Form) -> Response:
    visit = member.visit
    outcome = stepup.prove(visit.state, member.session, kind, key, form, visit.browser)
    if isinstance(outcome, Verdict):
        return asking.again(kind, key, outcome)
    # A page, not a redirect: see signing in.
    go_on = outcome.next_url or f"{visit.base}/"
    if outcome.form:
        lines = _lines(visit, outcome.form)
        return visit.render("kept_form.html", go_on=go_on, kept=outcome.form, lines=lines)
    return visit.render("signed_in.html", go_on=go_on, flow=FLOW)


def _lines(visit: Visit, kept: stepup.KeptForm) -> list[tuple[str, str]]:
    """What a form says, for whoever has it done: somebody else may have sent it from this desk. Of
    a policy, what it changes: among fifty fields nobody sees one."""
    if kept.path == f"{visit.base}/policy":
        with suppress(ApiError):  # it will be refused, and said why
            return policy_form.changes_of(visit.firm.policy, dict(kept.fields))
    return [(name, value) for name, value in kept.fields if value]
