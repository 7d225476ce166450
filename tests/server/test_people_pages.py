"""Pages of staff about many people: a list as a file, leavers, what a directory keeps."""

from __future__ import annotations

import re

import pytest

from tallystick.server.accounts import firms, people
from tallystick.server.accounts.policy import PersonRole
from tallystick.server.store.opened import opened
from tests.server.portal_driver import Browser, Portal


def send(browser: Browser, content: str | None, **fields: str) -> Browser:
    token = re.search(r'name="csrf" value="(\w+)"', browser.get("/people/import").page.text)
    files = {} if content is None else {"file": ("people.csv", content.encode(), "text/csv")}
    browser.page = browser.http.post(
        f"{browser.base}/people/import",
        data={"csrf": token.group(1), "at_most": "10"} | fields,
        files=files or {"other": ("x", b"", "text/plain")},
        headers={"origin": browser.origin},
    )
    return browser


def person_of(portal: Portal, login: str) -> people.KnownPerson:
    with opened(portal.settings) as parts, parts.database.read() as connection:
        return people.by_login(connection, firms.by_name(connection, "default").id, login)


@pytest.fixture
def boss(portal) -> Browser:
    return portal.staff("boss", "administrator")


def test_a_list_is_shown_first_and_then_done(portal, boss):
    csv = "login,name,role\nann,Ann Ö,support\nbob,Bob,\n"
    page = send(boss, csv).page.text
    assert "nothing was done yet" in page and "2 added" in page
    assert "ann" not in boss.get("/people").page.text
    assert "Done." in send(boss, csv, now="yes").page.text
    assert person_of(portal, "ann").role is PersonRole.SUPPORT
    assert "Ann Ö" in boss.get(f"/people/{person_of(portal, 'ann').id}").page.text
    exported = boss.get("/people/export").page
    assert exported.headers["content-type"] == "text/csv; charset=utf-8"
    assert "3 as before" in send(boss, exported.text, now="yes").page.text


def test_what_a_page_leaves_out_is_said_in_the_readers_language(portal, boss, monkeypatch):
    for page in ("staff_bulk", "staff_invitations"):
        monkeypatch.setattr(f"tallystick.server.portal.{page}.SHOWN", 2)
    csv = "login\n" + "".join(f"p{number}\n" for number in range(4))
    page = send(boss, csv, now="yes").page.text
    assert "4 added" in page and "Of each, the first 2 are shown." in page
    assert "The first 2. The table (CSV) has all of them." in boss.get("/behind").page.text
    boss.http.headers["accept-language"] = "de"
    page = send(boss, csv.replace("p", "q")).page.text
    assert "Gezeigt werden jeweils die ersten 2." in page
    assert "Die ersten 2. In der Tabelle (CSV) stehen alle." in boss.get("/behind").page.text
    boss.get("/invitations").post("/invitations", by="letter")
    page = boss.get("/invitations").page.text
    assert "Gezeigt werden die ersten 2." in page
    assert len(set(re.findall(r"/people/(\d+)", page))) == 2
    twice = send(boss, "login\nann\nann\n").page
    assert twice.status_code == 422 and "Zeile 3: In Zeile 2 geht es schon um ann." in twice.text


def test_bad_lines_are_listed(boss):
    page = send(boss, "login,email\nann,<script>\n,x\n", now="yes").page
    assert page.status_code == 422
    assert "Lines to correct" in page.text and "<script>" not in page.text
    assert "ann" not in boss.get("/people").page.text.replace("Cannot", "")


def test_columns_that_are_not_read_are_named(boss):
    page = send(boss, "login,<b>adress\nzoe,zoe@example.org\n").page
    assert "These columns are not read" in page.text and "&lt;b&gt;adress" in page.text
    assert "These columns" not in send(boss, "login\nzoe\n").page.text


@pytest.mark.parametrize("content", [None, "", "x" * (6 * 1024 * 1024)])
def test_no_file_and_a_huge_one(boss, content):
    page = send(boss, content).page
    assert page.status_code in (413, 422)
    assert boss.get("/people").page.status_code == 200


def test_a_form_of_another_site_imports_nothing(boss):
    boss.page = boss.http.post(
        f"{boss.base}/people/import",
        data={"csrf": "0" * 32, "now": "yes"},
        files={"file": ("people.csv", b"login\nmallory\n", "text/csv")},
        headers={"origin": "https://evil.example"},
    )
    assert boss.page.status_code == 403
    assert "mallory" not in boss.get("/people").page.text


def test_a_slip_of_the_hand_takes_nothing_away(portal, boss):
    portal.person("ann")
    ann = person_of(portal, "ann")
    for act in ("leave", "delete"):
        boss.get(f"/people/{ann.id}").post(f"/people/{ann.id}/{act}", login="an")
        assert "not ann" in boss.problem
    assert Browser(portal.url).sign_in("ann").heading == "You are signed in"
    boss.get(f"/people/{ann.id}").post(f"/people/{ann.id}/leave", login="ann")
    assert Browser(portal.url).sign_in("ann").page.status_code == 401
    boss.get(f"/people/{ann.id}").post(f"/people/{ann.id}/delete", login="ANN")
    assert "ann" not in boss.get("/people").page.text
    me = person_of(portal, "boss")
    boss.get("/people").post(f"/people/{me.id}/delete", login="boss")
    assert "Nobody" in boss.problem


def test_two_become_one(portal, boss):
    send(boss, "login,name\nann,\nann.l,Ann L\n", now="yes")
    ann = person_of(portal, "ann")
    boss.get(f"/people/{ann.id}").post(f"/people/{ann.id}/merge", login="ann", other="anne")
    assert "ann" in boss.page.text and boss.page.status_code == 404
    boss.get(f"/people/{ann.id}").post(f"/people/{ann.id}/merge", login="ann", other="ann.l")
    assert person_of(portal, "ann").full_name == "Ann L"
    assert "ann.l" not in boss.get("/people").page.text


def test_what_a_directory_keeps(portal, boss):
    portal.person("ann", email="ann@example.org")
    ann = person_of(portal, "ann")
    with opened(portal.settings) as parts, parts.database.write() as connection:
        people.change(connection, ann.firm_id, ann.id, source="scim")
    own = Browser(portal.url).sign_in("ann")
    own.get("/address")
    if own.heading == "Address for notices":
        own.post("/address", address="other@example.org")
    assert person_of(portal, "ann").email == "ann@example.org"
    page = boss.get(f"/people/{ann.id}").page.text
    assert "SCIM" in page and "readonly" in page
    fields = {"login": "ann", "name": "", "email": "x@example.org", "role": "user", "groups": ""}
    boss.post(f"/people/{ann.id}", **fields)
    assert "keeps what is said" in boss.problem
    boss.get(f"/people/{ann.id}").post(f"/people/{ann.id}/release", login="ann")
    boss.post(f"/people/{ann.id}", **fields)
    assert person_of(portal, "ann").email == "x@example.org"


def test_roles_by_groups_in_the_policy(portal, boss):
    everything = dict(
        re.findall(r'name="([\w.]+)" type="\w+" value="([^"]*)"', boss.get("/policy").page.text)
    ) | dict.fromkeys(re.findall(r'name="([\w.]+)" value="yes" checked', boss.page.text), "yes")
    lines = "Help desk = support\n Bosses=Administrator \n"
    boss.post("/policy", **everything | {"group_roles": lines, "directory_passwords.yes": "yes"})
    assert "in force" in boss.page.text, boss.problem
    with opened(portal.settings) as parts, parts.database.read() as connection:
        policy = firms.by_name(connection, "default").policy
    assert policy.group_roles == {"Help desk": "support", "Bosses": "administrator"}
    assert policy.directory_passwords
    assert "Help desk = support" in boss.get("/policy").page.text
    for wrong in ("Help desk", "Help desk = chief", " = user"):
        boss.get("/policy").post("/policy", **everything | {"group_roles": wrong})
        assert "group_roles" in boss.problem
