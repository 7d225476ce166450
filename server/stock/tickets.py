"""Job tickets: so many cards of a kind, signed by two people. A station's own count is its word;
what is counted here is what is registered. Every function runs in its caller's transaction."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from tallystick.common import signed
from tallystick.common.errors import BadInputError
from tallystick.common.job_papers import ACCOUNT, CERTIFICATE, SIGNATURES, TICKET
from tallystick.server.accounts import people
from tallystick.server.accounts.credentials import Caller
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.store.audit import Act, record
from tallystick.server.store.database import AnyRow
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.store.models import CardRow, Signer, TicketCard, TicketRow

MOST_CARDS = 100_000
_ID = re.compile(r"[0-9a-f]{32}")
_PURPOSE = "certificate key"
NONE_REGISTERED = "No card was registered."


def certificate_key(ring: ServerKeyRing, firm_id: int) -> bytes:
    """32 private bytes: what signs the firm's certificates and accounts. It comes of the server's
    keys, and does not rotate."""
    return ring.tag(_PURPOSE, str(firm_id).encode())


def server_key_id(ring: ServerKeyRing, firm_id: int) -> str:
    """By which a ticket names the server, and the firm, that it is for."""
    return signed.key_id(signed.public_of(certificate_key(ring, firm_id)))


def add_signer(
    connection: Connection, ring: ServerKeyRing, firm_id: int, name: str, public: bytes,
    *, now: float, actor: str,
) -> None:  # fmt: skip
    """Raises ApiError (409) for a name or a key that is there already."""
    if any(_folded(name) == _folded(row.name) for row in signers(connection, firm_id)):
        raise _signs_already(name)
    values = {"firm_id": firm_id, "name": name, "public_key": public, "created_at": int(now)}
    try:
        connection.execute(insert(Signer), values)
    except IntegrityError:
        raise _signs_already(name) from None
    detail = {"key": signed.key_id(public)}
    record(connection, ring, [Act(int(now * 1000), firm_id, actor, "signer-added", name, detail)])


def _folded(name: str) -> str:
    """One form for names that a reader takes for the same: one person, who would sign twice."""
    return " ".join(people.canonical(name).split())


def _signs_already(name: str) -> ApiError:
    return ApiError(
        409,
        "duplicate-name",
        f"The name {name!r} or its key is a signer's already.",
        kept=NOTHING_CHANGED,
        todo="Two people sign a ticket, each with a key that nobody else has.",
    )


def revoke_signer(
    connection: Connection, ring: ServerKeyRing, firm_id: int, name: str, *, now: float, actor: str
) -> None:
    """His signature counts no more, on tickets of before either: open tickets rest until they are
    shown again, with two signatures that still count. Raises ApiError (404)."""
    done = connection.execute(
        update(Signer)
        .where(Signer.firm_id == firm_id, Signer.name == name, Signer.revoked_at.is_(None))
        .values(revoked_at=int(now))
    )
    if done.rowcount == 0:
        raise ApiError(
            404, "no-such-signer", f"Nobody named {name!r} signs tickets.", kept=NOTHING_CHANGED
        )
    connection.execute(
        update(TicketRow)
        .where(TicketRow.firm_id == firm_id, TicketRow.expires_at > int(now))
        .values(expires_at=int(now))
    )
    record(connection, ring, [Act(int(now * 1000), firm_id, actor, "signer-revoked", name)])


def signers(connection: Connection, firm_id: int) -> list[AnyRow]:
    return list(
        connection.execute(
            select(*Signer.__table__.columns).where(Signer.firm_id == firm_id).order_by(Signer.name)
        )
    )


def present(
    connection: Connection, ring: ServerKeyRing, caller: Caller, document: Any, now: float
) -> dict[str, Any]:
    """Take a ticket, or know it again. Raises ApiError (422) for one that is not signed by two,
    (409) for one that is over."""
    rows = [row for row in signers(connection, caller.firm_id) if row.revoked_at is None]
    publics = {signed.key_id(row.public_key): row.public_key for row in rows}
    try:
        statement, kids = signed.signers(TICKET, document, publics)
    except BadInputError as error:
        raise _bad(error.what) from None
    if len(kids) < SIGNATURES:
        raise _bad(f"The ticket has {len(kids)} of {SIGNATURES} signatures.")
    values = _values(statement, caller)
    if statement.get("server") not in (None, server_key_id(ring, caller.firm_id)):
        raise _bad("The ticket is for another server, or another firm.")
    if _is_new(connection, values, now):
        names = {signed.key_id(row.public_key): row.name for row in rows}
        detail: dict[str, str | int] = {
            "cards": values["cards"], "signed": ", ".join(sorted(names[kid] for kid in kids))
        }  # fmt: skip
        act = Act(int(now * 1000), caller.firm_id, caller.id, "ticket-taken", values["id"], detail)
        record(connection, ring, [act])
    known = _known(connection, caller, values)
    _refuse_over(known, caller, now)
    return view(known)


def _known(connection: Connection, caller: Caller, values: dict[str, Any]) -> AnyRow:
    """The ticket as it is kept; good for as long as was signed last. Raises ApiError (422)."""
    mine = (TicketRow.id == values["id"], TicketRow.firm_id == caller.firm_id)
    connection.execute(update(TicketRow).where(*mine).values(expires_at=values["expires_at"]))
    known = _find(connection, caller, values["id"])
    if known is None or any(getattr(known, name) != value for name, value in values.items()):
        raise _bad("The ticket has the number of another one.")
    return known


def _is_new(connection: Connection, values: dict[str, Any], now: float) -> bool:
    """Whether nobody has shown the ticket before; two may show it at the same moment."""
    try:
        with connection.begin_nested():
            connection.execute(insert(TicketRow), values | {"used": 0, "presented_at": int(now)})
    except IntegrityError:
        return False
    return True


def view(row: AnyRow) -> dict[str, Any]:
    """A ticket as the API shows it."""
    return {
        "id": row.id, "cards": row.cards, "used": row.used, "digits": row.digits,
        "expires_at": row.expires_at, "ended": row.account is not None,
    }  # fmt: skip


def spend(
    connection: Connection,
    caller: Caller,
    ticket_id: str | None,
    rows: Sequence[dict[str, Any]],
    now: float,
) -> None:
    """Count new cards of a station on its ticket. A serial number counts once a ticket, whatever
    becomes of its card. Raises ApiError (403) without a ticket where one is needed, (409) for one
    that has no place for them."""
    if ticket_id is None:
        if _signed_tickets_only(connection, caller.firm_id):
            raise ApiError(
                403,
                "ticket-needed",
                "This firm's stations register cards on a job ticket only.",
                kept=NONE_REGISTERED,
                todo="Have a ticket signed by two people, and give it with --ticket.",
            )
        return
    ticket = _find(connection, caller, ticket_id)
    if ticket is None:
        raise ApiError(
            404, "no-such-ticket", "The server has not seen that ticket.", kept=NONE_REGISTERED
        )
    _refuse_over(ticket, caller, now)
    if any(row["digits"] != ticket.digits for row in rows):
        raise ApiError(
            409, "other-kind", f"The ticket is for cards of {ticket.digits} digits.",
            kept=NONE_REGISTERED,
        )  # fmt: skip
    had = select(TicketCard.serial).where(TicketCard.ticket_id == ticket_id)
    counted = {row.serial for row in connection.execute(had)}
    new = [row["serial"] for row in rows if row["serial"] not in counted]
    done = connection.execute(
        update(TicketRow)
        .where(
            TicketRow.id == ticket_id,
            TicketRow.account.is_(None),
            TicketRow.used + len(new) <= TicketRow.cards,
        )
        .values(used=TicketRow.used + len(new))
    )
    if done.rowcount != 1:
        raise ApiError(
            409,
            "ticket-used-up",
            f"The ticket is for {ticket.cards} cards, and has no place for {len(new)} more.",
            kept=NONE_REGISTERED,
            todo="Cards beyond it need a ticket of their own.",
        )
    if new:
        connection.execute(
            insert(TicketCard),
            [{"ticket_id": ticket_id, "serial": one, "registered_at": int(now)} for one in new],
        )


def certify(
    connection: Connection,
    ring: ServerKeyRing,
    caller: Caller,
    ticket_id: str,
    serial: str,
    facts: dict[str, Any],
    now: float,
) -> str:
    """The certificate of a card that was registered on the ticket: compact JWS. Asked for again
    with the same facts, the same. Raises ApiError (404)."""
    ticket = _find(connection, caller, ticket_id)
    row = connection.execute(
        select(TicketCard.certificate, CardRow.registered_at)
        .join(CardRow, CardRow.serial == TicketCard.serial)
        .where(
            TicketCard.ticket_id == ticket_id,
            TicketCard.serial == serial,
            CardRow.firm_id == caller.firm_id,
            CardRow.registered_by == caller.id,
        )
    ).one_or_none()
    if ticket is None or row is None:
        raise ApiError(
            404, "no-such-card", f"No card {serial} was registered on that ticket.",
            kept="Nothing was signed.",
        )  # fmt: skip
    statement = {**facts, "sn": serial, "sta": caller.id, "tkt": ticket_id, "iat": int(now)}
    private = certificate_key(ring, caller.firm_id)
    if row.certificate is not None:
        public = signed.public_of(private)
        before = signed.read_compact(CERTIFICATE, row.certificate, {signed.key_id(public): public})
        if before | {"iat": int(now)} == statement:
            return str(row.certificate)
    text = signed.compact(CERTIFICATE, statement, private)
    connection.execute(
        update(TicketCard)
        .where(TicketCard.ticket_id == ticket_id, TicketCard.serial == serial)
        .values(certificate=text)
    )
    act = Act(int(now * 1000), caller.firm_id, caller.id, "card-certified", serial)
    record(connection, ring, [act])
    return text


def end(
    connection: Connection,
    ring: ServerKeyRing,
    caller: Caller,
    ticket_id: str,
    said: dict[str, Any],
    now: float,
) -> str:
    """End the job: nothing is registered on its ticket any more. → its account, compact JWS: what
    was made as the server counted it, and what the station says of the rest. Raises ApiError
    (404)."""
    ticket = _find(connection, caller, ticket_id)
    if ticket is None or ticket.station not in (None, caller.id):
        raise ApiError(
            404, "no-such-ticket", "The server has not seen that ticket.", kept=NOTHING_CHANGED
        )
    if ticket.account is not None:
        return str(ticket.account)
    same = (CardRow.serial == TicketCard.serial) & (CardRow.firm_id == caller.firm_id)
    made = connection.execute(
        select(TicketCard.serial, TicketCard.certificate, CardRow.id)
        .outerjoin(CardRow, same)
        .where(TicketCard.ticket_id == ticket_id)
        .order_by(TicketCard.serial)
    ).all()
    statement = {
        "tkt": ticket_id, "cards": ticket.cards, "made": [row.serial for row in made],
        "withdrawn": [row.serial for row in made if row.id is None],
        "certified": sum(row.certificate is not None for row in made), "station_says": said,
        "sta": caller.id, "iat": int(now),
    }  # fmt: skip
    text = signed.compact(ACCOUNT, statement, certificate_key(ring, caller.firm_id))
    ended = connection.execute(
        update(TicketRow)
        .where(TicketRow.id == ticket_id, TicketRow.used == len(made), TicketRow.account.is_(None))
        .values(account=text)
    )
    if ended.rowcount != 1:
        raise ApiError(
            409, "card-in-use", "A card was registered on the ticket meanwhile.",
            kept=NOTHING_CHANGED, todo="Try again when the stations stand still.",
        )  # fmt: skip
    act = Act(int(now * 1000), caller.firm_id, caller.id, "ticket-ended", ticket_id,
              {"made": len(made), "cards": ticket.cards})  # fmt: skip
    record(connection, ring, [act])
    return text


def _values(statement: dict[str, Any], caller: Caller) -> dict[str, Any]:
    """Raises ApiError (422)."""
    station = statement.get("station")
    try:
        ticket_id, count = statement["id"], statement["cards"]
        digits, expires = statement["digits"], statement["expires"]
        numbers = all(type(one) is int for one in (count, digits, expires))
        good = numbers and _ID.fullmatch(ticket_id) and 1 <= count <= MOST_CARDS
        good = good and 6 <= digits <= 8 and 0 < expires < 1 << 40
    except (KeyError, TypeError):
        good = False
    if not good or not (station is None or isinstance(station, str)):
        raise _bad("The ticket does not say for how many cards of which kind, and until when.")
    if station is not None and station != caller.id:
        raise ApiError(
            403, "wrong-role", f"The ticket is for the station {station}.", kept=NOTHING_CHANGED
        )
    return {
        "id": ticket_id, "firm_id": caller.firm_id, "cards": count, "digits": digits,
        "station": station, "expires_at": expires,
    }  # fmt: skip


def _find(connection: Connection, caller: Caller, ticket_id: str) -> AnyRow | None:
    query = select(*TicketRow.__table__.columns).where(
        TicketRow.id == ticket_id, TicketRow.firm_id == caller.firm_id
    )
    return connection.execute(query.with_for_update()).one_or_none()


def _refuse_over(ticket: AnyRow, caller: Caller, now: float) -> None:
    if ticket.account is not None or ticket.expires_at <= now:
        why = "its job has ended" if ticket.account is not None else "its time is over"
        raise ApiError(
            409, "ticket-over", f"The ticket is no longer good: {why}.", kept=NONE_REGISTERED,
            todo="Have a new one signed.",
        )  # fmt: skip
    if ticket.station not in (None, caller.id):
        raise ApiError(
            403, "wrong-role", "The ticket is for another station.", kept=NONE_REGISTERED
        )


def _signed_tickets_only(connection: Connection, firm_id: int) -> bool:
    """From the first signer on, and for good: revoking the last one opens no door."""
    count = select(func.count()).select_from(Signer).where(Signer.firm_id == firm_id)
    return bool(connection.execute(count).scalar())


def _bad(what: str) -> ApiError:
    return ApiError(
        422, "bad-ticket", what, kept=NOTHING_CHANGED,
        todo="`tally station job sign` adds a signature; the server knows who may sign.",
    )  # fmt: skip
