"""A firm's people and groups as a directory sees them by SCIM 2.0 (RFC 7643, 7644).

The protocol is scim2-server's; here is what it reads and writes. What the directory tells of a
person is kept as it came, so that it reads back what it wrote; what is used here is taken out of
it: login, name, address, whether the person is active, groups, and by these the role. People that
the directory did not tell of are shown, so that it finds them by name; once it writes to one, it
keeps that one. Staff, and whom LDAP keeps, it does not take over.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypedDict, Union

from scim2_models import (
    AuthenticationScheme,
    Bulk,
    ChangePassword,
    EnterpriseUser,
    Error,
    ETag,
    Filter,
    ForbiddenException,
    Group,
    InvalidValueException,
    Meta,
    NotFoundException,
    Patch,
    PreconditionFailedException,
    Resource,
    ResourceType,
    ResponseParameters,
    SCIMException,
    ScimFilter,
    ScimPolicy,
    ScimProvider,
    SearchRequest,
    ServiceProviderConfig,
    Sort,
    UniquenessException,
    User,
)
from scim2_models.path import CompareOperator, Comparison
from scim2_server.service import ScimService
from scim2_server.storage import ScimStorage, SearchPage
from sqlalchemy import Connection, Subquery, delete, func, insert, select, update

from tallystick.common import chance
from tallystick.server.accounts import firms, people
from tallystick.server.accounts.credentials import Caller
from tallystick.server.accounts.people import Keeper, KnownPerson, canonical
from tallystick.server.accounts.policy import PersonRole
from tallystick.server.errors import ApiError
from tallystick.server.joining import keeping, leaving
from tallystick.server.joining.keeping import PersonWish, Ways
from tallystick.server.state import ServerState
from tallystick.server.store.audit import record
from tallystick.server.store.batches import batched
from tallystick.server.store.models import (
    DirectoryGroup,
    DirectoryMember,
    DirectoryRecord,
    PersonRow,
)

MOST_RESULTS = 200
AT_ONCE = 500
MAX_DOCUMENT = 64 * 1024  # characters
PERSON_TYPE, GROUP_TYPE = "User", "Group"
OURS = ("id", "meta", "password", "groups", "schemas")
WholeUser = User[EnterpriseUser]
# Entra ID names members that go in a value, not in the path, and adds the first address of a kind
# by a filter that nothing matches yet. Refused, whoever left a group would keep the role it gave.
AS_ENTRA = ScimPolicy(
    remove_value_as_filter=ScimPolicy.RemoveValue.apply,
    unmatched_path_filter=ScimPolicy.UnmatchedPathFilter.create,
)


def service() -> ScimService:
    """The protocol, with what we announce."""
    config = ServiceProviderConfig(
        patch=Patch(supported=True),
        bulk=Bulk(supported=False, max_operations=0, max_payload_size=0),
        filter=Filter(supported=True, max_results=MOST_RESULTS),
        change_password=ChangePassword(supported=False),
        sort=Sort(supported=True),
        etag=ETag(supported=True),
        authentication_schemes=[
            AuthenticationScheme(
                type=AuthenticationScheme.Type.oauthbearertoken,
                name="Bearer token",
                description="A credential of role scim.",
            )
        ],
    )
    types = [ResourceType.from_resource(WholeUser), ResourceType.from_resource(Group)]
    return ScimService(ScimProvider([User, Group, EnterpriseUser], types, config, AS_ENTRA))


def as_scim(error: ApiError) -> SCIMException:
    """The same refusal in the words of the protocol."""
    detail = f"{error.what} {error.todo}".strip()
    if error.code == "duplicate-login":
        return UniquenessException(detail=detail)
    if error.status == 404:
        return NotFoundException(detail=detail)
    if error.status == 422:
        return InvalidValueException(detail=detail)
    return SCIMException.from_error(Error(status=error.status, detail=detail))


class _PersonNamed(TypedDict, total=False):
    """What one person is known by."""

    login: str
    external_id: str


class PeopleStorage(ScimStorage):
    """One firm's people and groups. Each operation is a transaction."""

    def __init__(self, state: ServerState, caller: Caller) -> None:
        self._state = state
        self._caller = caller
        self._inside: Connection | None = None

    @contextmanager
    def operation(self) -> Iterator[None]:
        with self._transaction():
            yield

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        if self._inside is not None:
            yield self._inside
            return
        try:
            with self._state.database.write() as connection:
                self._inside = connection
                yield connection
        except ApiError as error:
            raise as_scim(error) from None
        finally:
            self._inside = None
        self._state.outbox.wake()

    def _ways(self, connection: Connection) -> Ways:
        firm = firms.by_id(connection, self._caller.firm_id)
        return Ways(self._state.ring, firm, self._caller, self._state.now(), Keeper.SCIM)

    def get(
        self,
        resource_type: ResourceType,
        resource_id: str,
        *,
        response_parameters: ResponseParameters[Any] | None = None,
    ) -> Resource[Any]:
        with self._transaction() as connection:
            return self._one(connection, resource_type, resource_id)

    def _one(
        self, connection: Connection, resource_type: ResourceType, resource_id: str
    ) -> Resource[Any]:
        read = self._groups if resource_type.name == GROUP_TYPE else self._people
        found = read(connection, resource_id)
        if not found:
            raise NotFoundException(detail=f"There is no {resource_type.name} {resource_id[:64]!r}")
        return found[0]

    def search(
        self,
        resource_types: list[ResourceType],
        search_request: SearchRequest[Any],
        *,
        position: Any = None,
    ) -> SearchPage:
        with self._reading() as connection:
            if [one.name for one in resource_types] == [PERSON_TYPE]:
                return self._search_people(connection, resource_types[0], search_request)
            return self._search_all(connection, resource_types, search_request)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """Others write meanwhile."""
        if self._inside is not None:
            yield self._inside
            return
        with self._state.database.read() as connection:
            yield connection

    def _search_people(
        self, connection: Connection, kind: ResourceType, search_request: SearchRequest[Any]
    ) -> SearchPage:
        """A firm may have a million: they are read piece by piece, and only a page is kept."""
        wanted = search_request.filter
        start, stop = _bounds(search_request)
        if wanted is None and search_request.sort_by is None:
            total = connection.scalar(select(func.count()).select_from(self._all_people()))
            return SearchPage(total or 0, self._people(connection, start=start, stop=stop))
        narrowed = _narrowed(kind, wanted)
        if wanted is not None and not wanted.models:
            wanted = ScimFilter[WholeUser](str(wanted))
        everybody = self._people(connection, **narrowed) if narrowed else self._each(connection)
        matching = (one for one in everybody if wanted is None or wanted.match(one))
        if search_request.sort_by is None:
            shown, total = [], 0
            for total, one in enumerate(matching, 1):
                if total > start and (stop is None or total <= stop):
                    shown.append(one)
            return SearchPage(total, shown)
        keys = [_sort_key(search_request, one) for one in matching]
        keys.sort(reverse=_descends(search_request))
        shown = [self._people(connection, handle)[0] for *_, handle in keys[start:stop]]
        return SearchPage(len(keys), shown)

    def _search_all(
        self,
        connection: Connection,
        resource_types: list[ResourceType],
        search_request: SearchRequest[Any],
    ) -> SearchPage:
        """Groups, of which a firm has few; or groups and people."""
        wanted = search_request.filter
        found: list[Resource[Any]] = []
        for one in resource_types:
            read = self._groups if one.name == GROUP_TYPE else self._people
            narrowed = _narrowed(one, wanted)
            found += self._people(connection, **narrowed) if narrowed else read(connection)
        if wanted is not None and not wanted.models and found:
            kinds = tuple(dict.fromkeys(type(one) for one in found))
            union: Any = Union[kinds]  # noqa: UP007 - made of what was found
            wanted = ScimFilter[union](str(wanted))
        matching = [one for one in found if wanted is None or wanted.match(one)]
        matching.sort(
            key=lambda one: _sort_key(search_request, one), reverse=_descends(search_request)
        )
        start, stop = _bounds(search_request)
        return SearchPage(len(matching), matching[start:stop])

    def create(self, resource_type: ResourceType, resource: Resource[Any]) -> Resource[Any]:
        with self._transaction() as connection:
            ways = self._ways(connection)
            if isinstance(resource, Group):
                made = self._new_group(connection, ways, resource)
                return self._one(connection, resource_type, made)
            assert isinstance(resource, User)
            wanted = _wanted(resource)
            person = keeping.add(
                connection,
                ways,
                replace(wanted, groups=()),
                external_id=_external_id(resource),
            )
            self._keep(connection, ways, person.id, resource)
            return self._one(connection, resource_type, person.handle)

    def update(
        self,
        resource_type: ResourceType,
        resource: Resource[Any],
        *,
        expected_version: str | None = None,
    ) -> Resource[Any]:
        with self._transaction() as connection:
            handle = str(resource.id)
            stored = self._one(connection, resource_type, handle)
            _check_version(stored, expected_version)
            ways = self._ways(connection)
            if isinstance(resource, Group):
                self._change_group(connection, ways, resource)
            else:
                assert isinstance(resource, User)
                self._change_person(connection, ways, resource)
            return self._one(connection, resource_type, handle)

    def delete(
        self,
        resource_type: ResourceType,
        resource_id: str,
        *,
        expected_version: str | None = None,
    ) -> None:
        with self._transaction() as connection:
            _check_version(self._one(connection, resource_type, resource_id), expected_version)
            ways = self._ways(connection)
            if resource_type.name == GROUP_TYPE:
                self._remove_group(connection, ways, resource_id)
            else:
                person = self._person(connection, resource_id)
                leaving.remove(connection, replace(ways, by=person.source), _may_take(person))

    # people

    def _person(self, connection: Connection, handle: str) -> KnownPerson:
        query = select(PersonRow.id).where(
            PersonRow.firm_id == self._caller.firm_id, PersonRow.handle == handle
        )
        number = connection.scalar(query)
        if number is None:
            raise NotFoundException(detail="There is no such User")
        return people.get(connection, self._caller.firm_id, number)

    def _all_people(self) -> Subquery:
        query = select(PersonRow.id).where(
            PersonRow.firm_id == self._caller.firm_id, PersonRow.handle.is_not(None)
        )
        return query.subquery()

    def _each(self, connection: Connection) -> Iterator[Resource[Any]]:
        """Everybody, in the order of the lists."""
        after = ""
        while some := self._people(connection, after=after, stop=AT_ONCE):
            yield from some
            after = str(some[-1].id)

    def _people(
        self,
        connection: Connection,
        handle: str = "",
        login: str = "",
        external_id: str = "",
        *,
        after: str = "",
        start: int = 0,
        stop: int | None = None,
    ) -> list[Resource[Any]]:
        """By handle. after: those whose handles come after this one. start, stop: of these."""
        firm_id = self._caller.firm_id
        query = select(
            PersonRow.id, PersonRow.login_key, DirectoryRecord.document, DirectoryRecord.changed_at
        )
        query = query.outerjoin(DirectoryRecord, DirectoryRecord.person_id == PersonRow.id)
        query = query.where(PersonRow.firm_id == firm_id, PersonRow.handle.is_not(None))
        for value, condition in (
            (handle, PersonRow.handle == handle),
            (login, PersonRow.login_key == canonical(login)),
            (external_id, PersonRow.external_id == external_id),
            (after, PersonRow.handle > after),
        ):
            if value:
                query = query.where(condition)
        query = query.order_by(PersonRow.handle).offset(start)
        rows = connection.execute(query if stop is None else query.limit(stop - start)).all()
        made: list[Resource[Any]] = []
        for some in batched(rows):
            known = people.of_logins(connection, firm_id, [row.login_key for row in some])
            groups = _groups_of_people(connection, [row.id for row in some], firm_id)
            made += (
                _as_user(known[row.login_key], row.document, row.changed_at, groups.get(row.id, []))
                for row in some
            )
        return made

    def _change_person(self, connection: Connection, ways: Ways, resource: User[Any]) -> None:
        person = _may_take(self._person(connection, str(resource.id)))
        wanted = _wanted(resource)
        if not person.source:
            said = "here → scim"
            record(connection, ways.ring, [ways.act("person-changed", person.login, kept=said)])
        people.change(
            connection,
            ways.firm.id,
            person.id,
            source=Keeper.SCIM.value,
            external_id=_external_id(resource),
        )
        gone = wanted.disabled and not person.disabled
        groups = tuple(_names_of(connection, person.id)) if person.source else person.groups
        role = keeping.role_by_groups(ways.firm.policy, groups)
        told = replace(wanted, disabled=None if gone else wanted.disabled, role=role)
        keeping.change(connection, ways, person.id, told)
        self._keep(connection, ways, person.id, resource)
        if gone:
            leaving.leave(connection, ways, [people.get(connection, ways.firm.id, person.id)])

    def _keep(
        self, connection: Connection, ways: Ways, person_id: int, resource: User[Any]
    ) -> None:
        """As it came, but for what is ours, and a password: that is not the directory's to set."""
        document = _dumped(resource)
        if len(document) > MAX_DOCUMENT:
            raise InvalidValueException(detail="There is too much in this resource")
        row = {"document": document, "changed_at": int(ways.now)}
        mine = DirectoryRecord.person_id == person_id
        changed = connection.execute(update(DirectoryRecord).where(mine).values(**row))
        if not changed.rowcount:
            connection.execute(insert(DirectoryRecord), {"person_id": person_id, **row})

    # groups

    def _groups(
        self, connection: Connection, handle: str = "", name: str = ""
    ) -> list[Resource[Any]]:
        query = select(*DirectoryGroup.__table__.columns).where(
            DirectoryGroup.firm_id == self._caller.firm_id
        )
        if handle:
            query = query.where(DirectoryGroup.handle == handle)
        rows = connection.execute(query.order_by(DirectoryGroup.id)).all()
        members: dict[int, list[dict[str, str]]] = {row.id: [] for row in rows}
        found = connection.execute(
            select(DirectoryMember.group_id, DirectoryMember.display, PersonRow.handle)
            .join(PersonRow, PersonRow.id == DirectoryMember.person_id)
            .where(DirectoryMember.group_id.in_(members))
            .order_by(PersonRow.id)
        )
        for row in found:
            one = {"value": row.handle, "$ref": f"Users/{row.handle}", "type": PERSON_TYPE}
            members[row.group_id].append(one | ({"display": row.display} if row.display else {}))
        return [_as_group(row, members[row.id]) for row in rows]

    def _new_group(self, connection: Connection, ways: Ways, resource: Group) -> str:
        handle = chance.token_hex(16)
        made = connection.execute(
            insert(DirectoryGroup).returning(DirectoryGroup.id),
            {
                "firm_id": ways.firm.id,
                "handle": handle,
                "name": _group_name(resource),
                "external_id": _external_id(resource),
                "created_at": int(ways.now),
                "changed_at": int(ways.now),
            },
        ).scalar_one()
        record(connection, ways.ring, [ways.act("group-added", _group_name(resource))])
        self._set_members(connection, ways, made, resource)
        return handle

    def _change_group(self, connection: Connection, ways: Ways, resource: Group) -> None:
        row = connection.execute(
            select(DirectoryGroup.id, DirectoryGroup.name)
            .where(
                DirectoryGroup.firm_id == ways.firm.id, DirectoryGroup.handle == str(resource.id)
            )
            .with_for_update()
        ).one()
        name = _group_name(resource)
        connection.execute(
            update(DirectoryGroup)
            .where(DirectoryGroup.id == row.id)
            .values(name=name, external_id=_external_id(resource), changed_at=int(ways.now))
        )
        touched = self._set_members(connection, ways, row.id, resource)
        if name != row.name:
            detail = {"name": f"{row.name} → {name}"[: keeping.MAX_TEXT * 2]}
            record(connection, ways.ring, [ways.act("group-changed", name, **detail)])
            _regroup(connection, ways, set(_members(connection, row.id)) - touched)

    def _remove_group(self, connection: Connection, ways: Ways, handle: str) -> None:
        row = connection.execute(
            select(DirectoryGroup.id, DirectoryGroup.name).where(
                DirectoryGroup.firm_id == ways.firm.id, DirectoryGroup.handle == handle
            )
        ).one()
        had = set(_members(connection, row.id))
        connection.execute(delete(DirectoryMember).where(DirectoryMember.group_id == row.id))
        connection.execute(delete(DirectoryGroup).where(DirectoryGroup.id == row.id))
        record(connection, ways.ring, [ways.act("group-deleted", row.name)])
        _regroup(connection, ways, had)

    def _set_members(
        self, connection: Connection, ways: Ways, group_id: int, resource: Group
    ) -> set[int]:
        """→ whoever came or went"""
        wanted = {
            str(one.value): (one.display or "")[: keeping.MAX_TEXT]
            for one in resource.members or []
            if one.value
        }
        query = select(PersonRow.id, PersonRow.handle).where(PersonRow.firm_id == ways.firm.id)
        known = {row.handle: row.id for row in connection.execute(query) if row.handle in wanted}
        if len(known) != len(wanted):
            raise InvalidValueException(
                detail="A member is no User of this firm; groups in groups are not taken"
            )
        had, shall = set(_members(connection, group_id)), set(known.values())
        connection.execute(delete(DirectoryMember).where(DirectoryMember.group_id == group_id))
        rows = [
            {"group_id": group_id, "person_id": number, "display": wanted[handle]}
            for handle, number in known.items()
        ]
        if rows:
            connection.execute(insert(DirectoryMember), rows)
        _regroup(connection, ways, had ^ shall)
        return had ^ shall


def _members(connection: Connection, group_id: int) -> Sequence[int]:
    query = select(DirectoryMember.person_id).where(DirectoryMember.group_id == group_id)
    return connection.scalars(query).all()


def _names_of(connection: Connection, person_id: int) -> Sequence[str]:
    query = (
        select(DirectoryGroup.name)
        .join(DirectoryMember, DirectoryMember.group_id == DirectoryGroup.id)
        .where(DirectoryMember.person_id == person_id)
        .order_by(DirectoryGroup.name)
    )
    return list(dict.fromkeys(connection.scalars(query)))


def _regroup(connection: Connection, ways: Ways, touched: set[int]) -> None:
    """Groups of the directory are those that services are told of; and they give the role."""
    for number in sorted(touched):
        person = people.get(connection, ways.firm.id, number)
        if person.source is not Keeper.SCIM:
            continue
        groups = tuple(_names_of(connection, number))
        role = keeping.role_by_groups(ways.firm.policy, groups)
        keeping.change(connection, ways, number, PersonWish(groups=groups, role=role))


def _groups_of_people(
    connection: Connection, numbers: Sequence[int], firm_id: int
) -> dict[int, list[dict[str, str]]]:
    query = (
        select(DirectoryMember.person_id, DirectoryGroup.handle, DirectoryGroup.name)
        .join(DirectoryGroup, DirectoryGroup.id == DirectoryMember.group_id)
        .where(DirectoryGroup.firm_id == firm_id)
        .order_by(DirectoryGroup.id)
    )
    query = query.where(DirectoryMember.person_id.in_(numbers))
    found: dict[int, list[dict[str, str]]] = {}
    for row in connection.execute(query):
        found.setdefault(row.person_id, []).append(
            {"value": row.handle, "$ref": f"Groups/{row.handle}", "display": row.name,
             "type": "direct"}
        )  # fmt: skip
    return found


def _may_take(person: KnownPerson) -> KnownPerson:
    """Raises ForbiddenException for staff whom the directory does not keep, and whom LDAP keeps."""
    staff = not person.source and person.role is not PersonRole.USER
    if staff or person.source is Keeper.LDAP:
        why = "is of this server's staff" if staff else "is kept by LDAP"
        raise ForbiddenException(
            detail=f"{person.login} {why}, and not taken over. An administrator of the server may "
            f"say otherwise: tally server person set {person.login} --kept-by scim"
        )
    return person


def _wanted(resource: User[Any]) -> PersonWish:
    name = resource.name
    parts = (name.given_name, name.family_name) if name else ()
    shown = resource.display_name or (name.formatted if name else None)
    return PersonWish(
        login=resource.user_name or "",
        name=(shown or " ".join(filter(None, parts)))[: keeping.MAX_TEXT],
        email=_email(resource),
        # Left out, it says nothing: who has left comes back by a plain "true" only.
        disabled=None if resource.active is None else not resource.active,
    )


def _email(resource: User[Any]) -> str:
    """The primary one, or one for work, or the first."""
    emails = [one for one in resource.emails or [] if one.value]
    emails.sort(key=lambda one: (not one.primary, one.type != "work"))
    return str(emails[0].value) if emails else ""


def _external_id(resource: Resource[Any]) -> str:
    text = resource.external_id or ""
    if len(text) > keeping.MAX_TEXT:
        raise InvalidValueException(detail="externalId is too long")
    return text


def _group_name(resource: Group) -> str:
    name = keeping.one_line(resource.display_name or "", "group")
    if not name:
        raise InvalidValueException(detail="A group needs a displayName")
    return name


def _dumped(resource: Resource[Any]) -> str:
    values = resource.model_dump(mode="json", exclude_none=True)
    return json.dumps({key: one for key, one in values.items() if key not in OURS})


def _as_user(
    person: KnownPerson,
    document: str | None,
    changed_at: int | None,
    groups: list[dict[str, str]],
) -> Resource[Any]:
    values: dict[str, Any]
    if document is not None and person.source is Keeper.SCIM:
        values = json.loads(document)
        told = "active" in values
    else:
        values, told = {"displayName": person.full_name or None}, True
        if person.email:
            values["emails"] = [{"value": person.email, "type": "work", "primary": True}]
        if person.external_id:
            values["externalId"] = person.external_id
    values["userName"] = person.login
    if told:  # what the directory took away is not there when it reads it
        values["active"] = not person.disabled
    if groups:
        values["groups"] = groups
    resource: Resource[Any] = WholeUser.model_validate(values)
    resource.id = person.handle
    at = changed_at if changed_at is not None else person.created_at
    return _with_meta(resource, PERSON_TYPE, person.created_at, at)


def _as_group(row: Any, members: list[dict[str, str]]) -> Resource[Any]:
    values: dict[str, Any] = {"displayName": row.name, "externalId": row.external_id or None}
    if members:
        values["members"] = members
    resource = Group.model_validate(values)
    resource.id = row.handle
    return _with_meta(resource, GROUP_TYPE, row.created_at, row.changed_at)


def _with_meta(resource: Resource[Any], kind: str, made: int, changed: int) -> Resource[Any]:
    """The version is of what is said, so that it changes with that and with nothing else."""
    said = json.dumps(resource.model_dump(mode="json", exclude_none=True), sort_keys=True)
    version = hashlib.sha256(f"{changed}|{said}".encode()).hexdigest()[:32]
    resource.meta = Meta(
        resource_type=kind,
        created=datetime.fromtimestamp(made, UTC),
        last_modified=datetime.fromtimestamp(changed, UTC),
        version=f'W/"{version}"',
    )
    return resource


def _check_version(stored: Resource[Any], expected: str | None) -> None:
    assert stored.meta is not None
    if expected is not None and stored.meta.version != expected:
        raise PreconditionFailedException


def _bounds(search_request: SearchRequest[Any]) -> tuple[int, int | None]:
    start = search_request.start_index_0 or 0
    return start, None if search_request.count is None else start + search_request.count


def _descends(search_request: SearchRequest[Any]) -> bool:
    return (
        search_request.sort_by is not None
        and search_request.sort_order == SearchRequest.SortOrder.descending
    )


def _sort_key(search_request: SearchRequest[Any], resource: Resource[Any]) -> tuple[Any, ...]:
    value = search_request.sort_value(resource) if search_request.sort_by else None
    return value is None, value if value is not None else "", str(resource.id)


def _narrowed(resource_type: ResourceType, wanted: ScimFilter[Any] | None) -> _PersonNamed:
    """What directories ask for one person with: not everybody is read for that."""
    node = wanted.ast if wanted is not None else None
    if resource_type.name != PERSON_TYPE or not isinstance(node, Comparison):
        return {}
    if node.op is not CompareOperator.eq or not isinstance(node.value, str) or not node.value:
        return {}
    match str(node.attr_path).rpartition(":")[2].lower():
        case "username":
            return {"login": node.value}
        case "externalid":
            return {"external_id": node.value}
    return {}
