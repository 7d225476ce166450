"""What gives rights is told to every administrator, also one whose account was taken over."""

from __future__ import annotations

import re

from click.testing import CliRunner

from tallystick.common import moments
from tallystick.server.accounts import people
from tallystick.server.operating.cli import server as commands
from tallystick.server.store.opened import opened
from tests.server.portal_driver import Browser, Portal


def addressed(portal: Portal, **addresses: str) -> None:
    with opened(portal.settings) as parts, parts.database.write() as connection:
        for login, address in addresses.items():
            person = people.by_login(connection, 1, login)
            people.change(connection, 1, person.id, email=address)


def told(portal: Portal, subject: str, count: int) -> list[dict[str, str]]:
    """The mails with this subject, once there are so many."""
    for waited in range(1, 40):
        found = [one for one in portal.messages(waited) if one["subject"] == subject]
        if len(found) >= count:
            return found
    raise AssertionError("never told")


def two(portal: Portal):
    boss = portal.staff("boss", "administrator")
    portal.staff("chief", "administrator")
    portal.staff("eye", "auditor")
    addressed(portal, boss="boss@f.example", chief="chief@f.example", eye="eye@f.example")
    return boss


def change(boss: Browser, **fields: str) -> None:
    page = boss.get("/policy").page.text
    everything = dict(re.findall(r'name="([\w.]+)" type="\w+" value="([^"]*)"', page))
    ticked = re.findall(r'name="([\w.]+)" value="yes" checked', page)
    boss.post("/policy", **everything | dict.fromkeys(ticked, "yes") | fields)
    assert boss.page.status_code == 200


def test_a_policy_that_was_changed(portal):
    boss = two(portal)
    portal.policy(display_name="Nord", languages=["de"])
    change(boss, max_failures="7")
    found = told(portal, "Eine Änderung bei Nord", 2)
    assert {one["to"] for one in found} == {"boss@f.example", "chief@f.example"}
    assert all("boss hat die Richtlinie geändert: max_failures" in one["text"] for one in found)
    change(boss, max_failures="7")  # nothing changes: nobody is told
    change(boss, max_failures="8")
    assert len(told(portal, "Eine Änderung bei Nord", 4)) == 4


def test_a_policy_that_the_console_changed(portal, tmp_path, monkeypatch):
    monkeypatch.setattr(moments, "now", portal.clock)
    two(portal)
    (tmp_path / "p.json").write_text('{"max_failures": 9}')
    run = CliRunner().invoke(
        commands,
        ["firm", "policy", "default", "--set", str(tmp_path / "p.json"),
         "--db", portal.settings.db_url, "--key-file", str(portal.settings.key_file)],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    (first, _) = told(portal, "A change at default", 2)
    assert "the console changed the policy: max_failures (" in first["text"]


def test_somebody_who_was_made_an_administrator(portal):
    boss = two(portal)
    portal.person("ann", email="ann@f.example")
    with opened(portal.settings) as parts, parts.database.read() as connection:
        number = people.by_login(connection, 1, "ann").id
    boss.get(f"/people/{number}").post(
        f"/people/{number}", login="ann", name="", email="ann@f.example", role="administrator"
    )
    found = told(portal, "A change at default", 2)
    assert {one["to"] for one in found} == {"boss@f.example", "chief@f.example"}
    assert "boss made ann an administrator (" in found[0]["text"]
    boss.get("/people").post("/people", login="zoe", role="administrator")
    assert len(told(portal, "A change at default", 5)) == 5  # ann is one now
    boss.get("/people").post("/people", login="tim", role="user")
    assert len([m for m in portal.messages(5) if m["subject"] == "A change at default"]) == 5
