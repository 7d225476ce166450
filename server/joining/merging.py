"""Two accounts of one person become one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, select, update

from tallystick.server.accounts import people
from tallystick.server.accounts.people import Keeper, KnownPerson
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.joining import keeping, leaving
from tallystick.server.joining.keeping import Ways
from tallystick.server.signing_in import inviting
from tallystick.server.store.audit import record
from tallystick.server.store.models import Assignment, DirectoryMember, DirectoryRecord, PersonRow
from tallystick.server.wording.worded import worded


def merge(connection: Connection, ways: Ways, stays: KnownPerson, goes: KnownPerson) -> KnownPerson:
    """Cards, loans and groups go over to the one that stays, and so do name and address where it
    has none; then the other is deleted. Ways to sign in that it enrolled itself go with it: what
    was proved for one account says nothing about another. A card recovers nothing before its
    holder has shown it anew. What a directory keeps goes on in the account that stays.

    Raises ApiError: 403 for one's own account; 409 where a directory keeps both, for different
    roles, where only one of them is barred and a directory keeps the one that goes, and the last
    administrator; 422 for one and the same.
    """
    if stays.id == goes.id:
        raise ApiError(
            422, "same-person", "This is one account, not two.", kept=NOTHING_CHANGED,
            todo="Name the account that goes.",
        )  # fmt: skip
    if ways.is_own(stays) or ways.is_own(goes):
        raise keeping.own_account()
    if stays.source and goes.source:
        raise keeping.kept_elsewhere(goes)
    if stays.role is not goes.role:
        raise ApiError(
            409,
            "other-role",
            worded(
                "{one} is {role}, {other} is {other_role}.",
                one=stays.login,
                role=stays.role.value,
                other=goes.login,
                other_role=goes.role.value,
            ),
            kept=NOTHING_CHANGED,
            todo="Give both the role that the person shall have.",
        )
    if goes.source and stays.disabled is not goes.disabled:
        raise _one_is_barred(stays, goes)
    cards = connection.execute(
        update(Assignment)
        .where(Assignment.person_id == goes.id)
        .values(person_id=stays.id, confirmed_at=None)
    ).rowcount
    groups = tuple(dict.fromkeys((*stays.groups, *goes.groups)))
    keeper = stays if stays.source or not goes.source else goes
    columns = {
        "full_name": keeper.full_name or stays.full_name or goes.full_name,
        **_address(connection, keeper, stays, goes),
        "groups": "\n".join(keeper.groups if keeper.source else groups),
    }
    if keeper is goes:
        columns |= {"source": goes.source.value, "external_id": goes.external_id}
        columns["handle"] = goes.handle
        _hand_over(connection, stays, goes)
    _tell(connection, ways, stays, goes)
    leaving.remove(connection, replace(ways, by=goes.source), goes)
    people.change(connection, ways.firm.id, stays.id, **columns)
    acts = [ways.act("people-merged", stays.login, gone=goes.login, number=goes.id)]
    if columns["email"] != stays.email and inviting.forget_mailed(connection, stays.id):
        acts.append(ways.act("invitation-withdrawn", stays.login))
    if cards:
        people.note_enrolment(connection, stays.id, ways.now)
    record(connection, ways.ring, acts)
    return people.get(connection, ways.firm.id, stays.id)


def _tell(connection: Connection, ways: Ways, stays: KnownPerson, goes: KnownPerson) -> None:
    """Both, at the addresses of before: whoever of the two did not want it is to know."""
    tell = keeping.teller(connection, ways)
    tell(goes, worded("it became one with the account {login}", login=stays.login))
    tell(stays, worded("the account {login} became one with it", login=goes.login))


def _address(connection: Connection, *whose: KnownPerson) -> dict[str, Any]:
    """The first that one of them has, with whether the firm vouches for it: somebody may have
    given it himself."""
    for one in whose:
        if one.email:
            query = select(PersonRow.email_verified).where(PersonRow.id == one.id)
            return {"email": one.email, "email_verified": connection.scalar(query)}
    return {"email": None, "email_verified": 0}


def _one_is_barred(stays: KnownPerson, goes: KnownPerson) -> ApiError:
    """What a directory bars is not let in by this, and what it lets in is not barred."""
    barred = goes if goes.disabled else stays
    return ApiError(
        409,
        "one-is-barred",
        worded("{login} is barred, and the other account is not.", login=barred.login),
        kept=NOTHING_CHANGED,
        todo=worded(
            "{login} goes on in the directory's keeping: disable or enable it first, as the "
            "directory has it.",
            login=stays.login,
        ),
    )


def _hand_over(connection: Connection, stays: KnownPerson, goes: KnownPerson) -> None:
    """To the directory, the account that stays is the one that it knows."""
    for table in (DirectoryRecord, DirectoryMember):
        connection.execute(
            update(table).where(table.person_id == goes.id).values(person_id=stays.id)
        )


def release(connection: Connection, ways: Ways, person: KnownPerson, to: Keeper) -> None:
    """Another keeps what is said of this person from now on."""
    people.change(connection, ways.firm.id, person.id, source=to.value)
    said = f"{person.source.value or 'here'} → {to.value or 'here'}"
    record(connection, ways.ring, [ways.act("person-changed", person.login, kept=said)])
