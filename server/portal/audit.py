"""The audit log: searched, a page at a time, and exported."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends
from fastapi.responses import Response, StreamingResponse

from tallystick.server.accounts import trail
from tallystick.server.accounts.rights import Right
from tallystick.server.accounts.trail import Sought
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.portal.browsers import in_short
from tallystick.server.portal.templating import local_time
from tallystick.server.portal.web import Member, staff
from tallystick.server.rules import acts
from tallystick.server.rules.addresses import plainly
from tallystick.server.store.audit import Act, record
from tallystick.server.store.roads import Place
from tallystick.server.wording.worded import worded

router = APIRouter(prefix="/p/{firm}/audit")

PAGE = 50
TYPES = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
SeesAudit = Annotated[Member, Depends(staff(Right.SEE_AUDIT))]


def search_form(
    q: str = "", actor: str = "", act: str = "", address: str = "", since: str = "", until: str = ""
) -> Mapping[str, str]:
    """A dependency: what the form of the page says."""
    sent = {"q": q, "actor": actor, "act": act, "address": address, "since": since, "until": until}
    return {name: value.strip().replace("\0", "")[:255] for name, value in sent.items()}


ASearch = Annotated[Mapping[str, str], Depends(search_form)]


@router.get("")
def audit_page(member: SeesAudit, search: ASearch, after: str = "") -> Response:
    """The newest first."""
    visit = member.visit
    error: ApiError | None = None
    entries: list[dict[str, Any]] = []
    older: Place | None = None
    try:
        sought = _sought(search, visit.firm.policy.time_zone)
        with visit.state.database.read() as connection:
            entries, older = trail.page(
                connection,
                visit.state.names,
                visit.firm.id,
                sought,
                after=Place.parse(after),
                limit=PAGE,
            )
    except ApiError as wrong:
        error = wrong
    return visit.render(
        "audit.html",
        status=error.status if error else 200,
        error=error,
        entries=[_shown(entry, visit.firm.policy.time_zone) for entry in entries],
        search=search,
        query=urlencode({name: value for name, value in search.items() if value}),
        older=str(older) if older else "",
        newest=not after,
        acts=sorted((words, act) for act, words in acts.WORDS.items()),
    )


@router.get("/export")
def export(member: SeesAudit, search: ASearch, form: str = "jsonl") -> Response:
    """All that is sought, as lines of JSON or as a table. Raises ApiError (422)."""
    visit = member.visit
    state, person = visit.state, member.session.person
    if form not in TYPES:
        raise ApiError(
            422, "bad-form", "There is no such form.", kept=NOTHING_CHANGED, todo="jsonl or csv."
        )
    sought = _sought(search, visit.firm.policy.time_zone)
    with member.acting() as connection:
        now_ms = int(state.now() * 1000)
        facts = {name: value for name, value in search.items() if value} | {"form": form}
        act = Act(now_ms, visit.firm.id, f"person:{person.id}", "log-exported", "audit", facts)
        record(connection, state.ring, [act])
    pieces = trail.export(state.database, state.names, visit.firm.id, sought, form)
    name = f"audit-{visit.firm.name}.{form}"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(pieces, media_type=TYPES[form], headers=headers)


def _sought(search: Mapping[str, str], zone: str) -> Sought:
    """Raises ApiError (422) for a date that is none."""
    since, until = _day(search["since"], zone), _day(search["until"], zone, end=True)
    if search["act"] and not re.fullmatch(r"[a-z-]{1,40}", search["act"]):
        raise ApiError(422, "bad-act", "There is no such act.", kept=NOTHING_CHANGED)
    return Sought(
        person=search["q"],
        actor=search["actor"],
        act=search["act"],
        address=plainly(search["address"]),
        since_ms=since,
        until_ms=until,
    )


def _day(text: str, zone: str, *, end: bool = False) -> int | None:
    """A day's first millisecond in the firm's time zone, or the one after its last."""
    if not text:
        return None
    try:
        if not DATE.fullmatch(text):
            raise ValueError
        day = datetime.fromisoformat(text) + timedelta(days=1 if end else 0)
        return int(day.replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise ApiError(
            422,
            "bad-date",
            worded("{text} is not a day.", text=text),
            kept=NOTHING_CHANGED,
            todo="Write it as 2027-01-31.",
        ) from None


def _shown(entry: Mapping[str, Any], zone: str) -> dict[str, Any]:
    own = entry["subject"] == entry["actor"]
    return {
        **entry,
        "at_s": int(datetime.fromisoformat(entry["at"]).timestamp()),
        "whom": "" if own and acts.stand_alone(entry["act"]) else entry["subject"],
        "words": acts.in_words(entry["act"]),
        "browser": in_short(entry["browser"]),
        "facts": [_fact(name, value, zone) for name, value in entry["detail"].items()],
    }


def _fact(name: str, value: object, zone: str) -> tuple[str, str]:
    """What changed reads as “from what to what”; a time as a time."""
    if name == "until" and isinstance(value, int):
        return name, local_time(value, zone)
    if name.endswith("_s"):
        name, value = name.removesuffix("_s"), f"{value} s"
    return name.replace("_", " ").replace("-", " "), str(value)
