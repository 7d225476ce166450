"""SCIM 2.0: the storage by its library's own contract, the protocol by a tester and a client that
are not ours, and what of it is ours: whose people, which roles, what leavers lose."""

from __future__ import annotations

import httpx2
import pytest
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_models import EnterpriseUser, Group, ScimProvider, SearchRequest, User
from scim2_server.testing import ScimStorageContract
from scim2_tester import Status, check_server
from sqlalchemy import select

from tallystick.server.accounts import firms, people
from tallystick.server.accounts.credentials import Caller, Role
from tallystick.server.accounts.policy import FirmPolicy
from tallystick.server.joining import scim
from tallystick.server.rules.otp import hotp
from tallystick.server.serving.running import add_credential
from tallystick.server.store.models import DirectoryRecord
from tallystick.server.store.opened import opened
from tests.server.conftest import bearer


class TestContract(ScimStorageContract):
    """scim2-server's own tests of a storage."""

    # Pages are numbered; by cursor (RFC 9865) there are none.
    for _name in [name for name in dir(ScimStorageContract) if name.startswith("test_cursor")]:
        locals()[_name] = None

    @pytest.fixture
    def provider(self):
        return scim.service().provider

    @pytest.fixture
    def storage(self, house):
        return scim.PeopleStorage(house.state, Caller("sc-1", 1, Role.SCIM, "directory", ""))


@pytest.fixture
def token(server) -> dict[str, str]:
    made = add_credential(server.settings, "scim", "directory")
    return {"authorization": f"Bearer {made.token.reveal().decode()}"}


@pytest.fixture(scope="module")
def described() -> list[ScimProvider]:
    """What the first server told of itself: its models take the client most of a second to make."""
    return []


@pytest.fixture
def client(server, token, described):
    url = f"{server.client.base_url}".rstrip("/") + "/scim/v2"
    with httpx2.Client(base_url=url, headers=token, timeout=60) as http:
        client = SyncSCIMClient(http, provider=described[0] if described else None)
        if not described:
            client.discover()
            described.append(client.provider)
        yield client


def test_the_tester_finds_nothing(client):
    results = check_server(client)
    wrong = [one for one in results if one.status not in (Status.SUCCESS, Status.SKIPPED)]
    assert [(one.title, one.reason) for one in wrong] == [], wrong
    assert len(results) > 50


def make(client, name="ann", **more) -> User:
    values = {"user_name": name, "display_name": name.title(), "external_id": f"x-{name}"} | more
    return client.create(User[EnterpriseUser](**values))


def known(server, login="ann") -> dict:
    found = server.get(f"/v1/people?q={login}&limit=500", server.admin).json()["people"]
    return next((one for one in found if one["login"] == login), {})


def test_people_come_change_and_leave(server, client):
    ann = make(client, emails=[{"value": "ann@example.org", "primary": True}])
    assert known(server) | {"id": 0, "created_at": 0} == {
        "id": 0, "login": "ann", "name": "Ann", "email": "ann@example.org", "role": "user",
        "groups": [], "disabled": False, "has_password": False, "enrolled": False,
        "kept_by": "scim", "created_at": 0,
    }  # fmt: skip
    seed = server.card()
    assert server.reason(hotp(seed, 0, 6)) == "ok"
    ann.user_name, ann.active = "ann.l", True
    ann = client.replace(ann)
    assert known(server, "ann.l")["name"] == "Ann"
    ann.active = False
    ann = client.replace(ann)
    assert known(server, "ann.l")["disabled"]
    assert server.get("/v1/cards/1000000001").json()["status"] == "lost"
    ann.active = True
    client.replace(ann)
    assert not known(server, "ann.l")["disabled"]
    client.delete(type(ann), ann.id)
    assert known(server, "ann.l") == {}
    gone = client.query(type(ann), ann.id, raise_scim_errors=False)
    assert gone.status == 404


def test_groups_give_roles_and_are_told_to_services(server, client):
    policy(server, group_roles={"Bosses": "administrator", "help desk": "support"})
    ann, bob = make(client), make(client, "bob")
    desk = client.create(Group(display_name="Help Desk", members=[{"value": ann.id}]))
    assert (known(server)["role"], known(server)["groups"]) == ("support", ["Help Desk"])
    bosses = client.create(Group(display_name="Bosses"))
    bosses.members = [{"value": ann.id}, {"value": bob.id}]
    bosses = client.replace(bosses)
    assert known(server)["role"] == known(server, "bob")["role"] == "administrator"
    assert [one.display for one in client.query(type(ann), ann.id).groups] == [
        "Help Desk", "Bosses",
    ]  # fmt: skip
    desk.display_name = "Others"
    client.replace(desk)
    bosses.members = [{"value": bob.id}]
    client.replace(bosses)
    assert (known(server)["role"], known(server)["groups"]) == ("user", ["Others"])
    client.delete(Group, desk.id)
    assert known(server)["groups"] == []
    # What SCIM keeps is not changed here: neither the role that groups give.
    path = f"/v1/people/{known(server)['id']}"
    for body in ({"role": "administrator"}, {"name": "x"}, {"groups": ["Bosses"]},
                 {"disabled": True}, {"email": "eve@example.org"}):  # fmt: skip
        answer = server.client.patch(path, json=body, headers=bearer(server.admin))
        assert answer.json()["error"]["code"] == "kept-by-directory", body
    assert server.client.delete(path, headers=bearer(server.admin)).status_code == 409


def test_the_last_administrator_is_not_taken_away(server, client):
    policy(server, group_roles={"Bosses": "administrator"})
    ann = make(client)
    bosses = client.create(Group(display_name="Bosses", members=[{"value": ann.id}]))
    answer = client.delete(Group, bosses.id, raise_scim_errors=False)
    assert answer.status == 409 and "last administrator" in answer.detail
    assert known(server)["role"] == "administrator"
    assert client.query(Group, bosses.id).members


def test_whom_it_does_not_take_over(server, client, token):
    """A directory's token is not to become whoever runs this server."""
    for login, role in (("boss", "administrator"), ("cat", "user"), ("dan", "user")):
        body = {"login": login, "role": role, "email": f"{login}@example.org"}
        server.client.post("/v1/people", json=body, headers=bearer(server.admin))
    with opened(server.settings) as parts, parts.database.write() as connection:
        people.change(connection, 1, known(server, "dan")["id"], source="ldap")
    found = {
        one.user_name: one
        for one in client.query(User[EnterpriseUser], query_parameters=SearchRequest()).resources
    }
    for login in ("boss", "dan"):
        found[login].display_name = "Eve"
        answer = client.replace(found[login], raise_scim_errors=False)
        assert answer.status == 403 and "--kept-by scim" in answer.detail
        answer = client.delete(User[EnterpriseUser], found[login].id, raise_scim_errors=False)
        assert answer.status == 403
        assert known(server, login)["name"] == ""
    found["cat"].display_name = "Cat"
    client.replace(found["cat"])
    assert (known(server, "cat")["name"], known(server, "cat")["kept_by"]) == ("Cat", "scim")


def test_a_login_is_taken_once(client):
    make(client)
    answer = client.create(User[EnterpriseUser](user_name="ANN"), raise_scim_errors=False)
    assert (answer.status, answer.scim_type) == (409, "uniqueness")


@pytest.mark.parametrize("text", ['userName eq "ANN"', 'externalId eq "x-ann"'])
def test_one_is_found_as_directories_ask(client, text):
    make(client), make(client, "bob")
    found = client.query(User[EnterpriseUser], query_parameters=SearchRequest(filter=text))
    assert [one.user_name for one in found.resources] == ["ann"]


def test_a_password_is_not_the_directorys_to_set(server, client, token):
    make(client, password="correct horse battery")
    assert not known(server)["has_password"]
    with opened(server.settings) as parts, parts.database.read() as connection:
        kept = connection.scalar(select(DirectoryRecord.document))
    assert "horse" not in kept


def test_each_role_at_the_door(server, client):
    """And errors have the protocol's form."""
    for role in Role:
        made = bearer(add_credential(server.settings, role, f"d-{role}"))
        for method, path in (("GET", "Users"), ("POST", "Groups"), ("DELETE", "Users/x")):
            answer = server.client.request(method, f"/scim/v2/{path}", json={}, headers=made)
            assert (answer.status_code == 403) == (role is not Role.SCIM), (role, method)
            assert answer.headers["content-type"].startswith("application/scim+json")
    answer = server.client.get("/scim/v2/Users")
    assert answer.status_code == 401 and answer.json()["status"] == "401"
    assert "Bearer" in answer.headers["www-authenticate"]
    # And the directory's credential opens nothing else.
    made = bearer(add_credential(server.settings, "scim", "elsewhere"))
    for path in ("/v1/people", "/v1/cards", "/v1/credentials"):
        assert server.client.get(path, headers=made).status_code == 403


def test_firms_are_apart(server, client):
    ann = make(client)
    with opened(server.settings) as parts, parts.database.write() as connection:
        firms.add(connection, parts.ring, "other", now=0, actor="test")
    other = bearer(add_credential(server.settings, "scim", "x", firm="other"))
    for method in ("GET", "DELETE"):
        answer = server.client.request(method, f"/scim/v2/Users/{ann.id}", headers=other)
        assert answer.status_code == 404
    assert server.client.get("/scim/v2/Users", headers=other).json()["totalResults"] == 0
    body = {"displayName": "g", "members": [{"value": ann.id}]}
    answer = server.client.post("/scim/v2/Groups", json=body, headers=other)
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"x"', b"\xff", b'{"userName":5}', b'{"userName":"a\\u0000b"}',
     b'{"userName":""}', b'{"userName":"%s"}' % (b"x" * 300), b'{"userName":"x","emails":"y"}',
     b'{"userName":"x","emails":[{"value":"not an address"}]}',
     b'{"userName":"x","title":"%s"}' % (b"x" * 100_000)],
)  # fmt: skip
def test_bad_requests_are_refused(server, token, body):
    headers = token | {"content-type": "application/scim+json"}
    answer = server.client.post("/scim/v2/Users", content=body, headers=headers)
    assert answer.status_code in (400, 415), answer.text
    assert answer.json()["detail"]
    assert known(server, "x") == {}


def policy(server, **fields) -> None:
    with opened(server.settings) as parts, parts.database.write() as connection:
        wanted = FirmPolicy(**fields)
        firms.set_policy(connection, parts.ring, 1, wanted, now=0, actor="test")


PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


@pytest.mark.parametrize(
    "off",
    [
        {"op": "Replace", "path": "active", "value": "False"},
        {"op": "replace", "path": "active", "value": False},
        {"op": "replace", "value": {"active": False}},
    ],
)
def test_leavers_as_large_directories_write_them(server, client, token, off):
    """Entra ID and Okta write operations in their own ways; all of them end an account."""
    ann = make(client)
    body = {"schemas": [PATCH], "Operations": [off]}
    answer = server.client.patch(f"/scim/v2/Users/{ann.id}", json=body, headers=token)
    assert answer.status_code in (200, 204), answer.text
    assert known(server)["disabled"]


def test_who_has_left_comes_back_by_a_plain_true_only(server, client, token):
    ann = make(client)
    path, schema = f"/scim/v2/Users/{ann.id}", "urn:ietf:params:scim:schemas:core:2.0:User"
    for active, disabled in ((False, True), (None, True), (True, False), (None, False)):
        body = {"schemas": [schema], "userName": "ann"}
        body |= {} if active is None else {"active": active}
        answer = server.client.put(path, json=body, headers=token)
        assert answer.status_code == 200, answer.text
        assert known(server)["disabled"] is disabled, active
    patch = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"]}
    for operation in ({"op": "replace", "path": "active", "value": False},
                      {"op": "remove", "path": "active"}):  # fmt: skip
        body = patch | {"Operations": [operation]}
        assert server.client.patch(path, json=body, headers=token).status_code in (200, 204)
        assert known(server)["disabled"] is True, operation
    assert "active" not in server.client.get(path, headers=token).json()


def test_the_first_address_as_large_directories_write_it(server, client, token):
    """Entra ID adds it by a filter that nothing matches yet."""
    ann = make(client)

    def patch(*operations) -> int:
        body = {"schemas": [PATCH], "Operations": list(operations)}
        return server.client.patch(
            f"/scim/v2/Users/{ann.id}", json=body, headers=token
        ).status_code  # fmt: skip

    path = 'emails[type eq "work"]'
    assert patch({"op": "remove", "path": "emails"}) in (200, 204)
    assert known(server)["email"] is None
    for op in ("Add", "Replace"):
        new = f"{op.lower()}@example.org"
        assert patch({"op": op, "path": f"{path}.value", "value": new}) in (200, 204)
        assert known(server)["email"] == new
        assert patch({"op": "remove", "path": path}) in (200, 204)
    # What a filter does not describe is made of nothing.
    assert patch({"op": "Add", "path": 'emails[type co "w"].value', "value": new}) == 400
    assert known(server)["email"] is None


def test_one_member_of_two_goes_as_large_directories_write_it(server, client, token):
    ann, bob = make(client), client.create(User(user_name="bob"))
    members = [Group.Members(value=one.id) for one in (ann, bob)]
    group = client.create(Group(display_name="Staff", members=members))
    away = {"op": "Remove", "path": "members", "value": [{"value": bob.id}]}
    body = {"schemas": [PATCH], "Operations": [away]}
    answer = server.client.patch(f"/scim/v2/Groups/{group.id}", json=body, headers=token)
    assert answer.status_code in (200, 204), answer.text
    assert known(server)["groups"] == ["Staff"] and known(server, "bob")["groups"] == []


def test_members_as_large_directories_write_them(server, client, token):
    ann, group = make(client), client.create(Group(display_name="Staff"))

    def patch(*operations) -> None:
        body = {"schemas": [PATCH], "Operations": list(operations)}
        answer = server.client.patch(f"/scim/v2/Groups/{group.id}", json=body, headers=token)
        assert answer.status_code in (200, 204), answer.text

    for away in (
        {"op": "Remove", "path": f'members[value eq "{ann.id}"]'},
        {"op": "remove", "path": "members"},
        {"op": "Remove", "path": "members", "value": [{"value": ann.id}]},
    ):
        patch({"op": "Add", "path": "members", "value": [{"value": ann.id}]})
        assert known(server)["groups"] == ["Staff"]
        patch(away)
        assert known(server)["groups"] == []


def test_a_large_firm_is_read_piece_by_piece(server, client, token, monkeypatch):
    """Every page the same order, nobody twice or left out, and no more read than is asked for."""
    monkeypatch.setattr(scim, "AT_ONCE", 3)
    with opened(server.settings) as parts, parts.database.write() as connection:
        for n in range(11):
            people.ensure(connection, 1, f"p{n:02}", 0)
    url = f"{server.client.base_url}".rstrip("/") + "/scim/v2/Users"
    made = []
    as_user = scim._as_user
    monkeypatch.setattr(scim, "_as_user", lambda *given: made.append(1) or as_user(*given))

    def names(**asked: object) -> tuple[int, list[str]]:
        made.clear()
        answer = httpx2.get(url, params=asked, headers=token, timeout=60).json()
        return answer["totalResults"], [one["userName"] for one in answer.get("Resources", [])]

    seen: list[str] = []
    for start in range(1, 13, 4):
        total, some = names(startIndex=start, count=4)
        assert total == 11 and len(made) == len(some) <= 4
        seen += some
    assert sorted(seen) == [f"p{n:02}" for n in range(11)]
    odd = 'userName sw "p0"'
    assert names(filter=odd, startIndex=1, count=200) == (10, [n for n in seen if n < "p1"])
    assert names(filter=odd, startIndex=4, count=2) == (10, [n for n in seen if n < "p1"][3:5])
    assert names(filter=odd, count=0) == (10, [])
    down = {"sortBy": "userName", "sortOrder": "descending"}
    assert names(**down, startIndex=2, count=3) == (11, ["p09", "p08", "p07"])
    assert names(filter='userName eq "P03"', count=5) == (1, ["p03"])
    assert names(startIndex=12, count=5) == (11, [])
