"""Refusals that changed nothing: limits that were reached, tokens that are wrong. They are written
when the request has been answered, and a bounded number of each, for anybody can cause them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from tallystick.server.errors import ApiError
from tallystick.server.rules.addresses import counted_by
from tallystick.server.store import origin as origins
from tallystick.server.store import rates
from tallystick.server.store.audit import Act, record
from tallystick.server.store.database import Database
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.store.models import Firm
from tallystick.server.store.origin import Incident, Origin

WINDOW_S = 900
OF_A_KIND = 20  # entries in a window, of one place


WRONG_TOKEN = Incident("token", "token-wrong", "")  # unknown, or revoked


def note_refused(error: ApiError) -> None:
    """Whoever answers an error says so here: a wrong bearer token has to be seen."""
    if error.code in ("unknown-credential", "revoked-credential"):
        origins.note(WRONG_TOKEN)


def write(
    database: Database, ring: ServerKeyRing, origin: Origin, firm: str | None, now: float
) -> None:
    """Entries for what was refused in a request. firm: by name, where the request was to one."""
    incidents = list(dict.fromkeys(origin.incidents))
    if not incidents:
        return

    def work(connection: Connection) -> None:
        firm_id = connection.scalar(select(Firm.id).where(Firm.name == firm)) if firm else None
        acts = _acts(connection, incidents, origin, firm_id, now)
        if acts:
            record(connection, ring, acts)

    database.run(work)


def _acts(
    connection: Connection,
    incidents: Sequence[Incident],
    origin: Origin,
    firm_id: int | None,
    now: float,
) -> list[Act]:
    acts = []
    place = counted_by(origin.address)
    for one in incidents:
        bucket = f"incident|{one.act}|{place}"[:120]
        if rates.note(connection, bucket, window_s=WINDOW_S, now=now) <= OF_A_KIND:
            act = Act(int(now * 1000), firm_id, "unknown", one.act, one.what, None, origin)
            acts.append(act)
    return acts
