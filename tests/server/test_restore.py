"""A backup that is put back: what was under way is over, what came back is said, and nothing is
served before somebody has looked."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from click.testing import CliRunner
from sqlalchemy import func, select

from tallystick.common.errors import BadInputError, RefusedError
from tallystick.server.accounts import firms, people
from tallystick.server.operating import operations
from tallystick.server.operating.brought_back import UNDER_WAY
from tallystick.server.operating.cli import server as command
from tallystick.server.services import oidc_clients
from tallystick.server.serving.running import add_credential, listen, running_in_thread, serve
from tallystick.server.state import open_state
from tallystick.server.store import signing_keys
from tallystick.server.store.database import Database
from tallystick.server.store.models_login import Factor
from tallystick.server.store.opened import opened
from tallystick.server.store.restored import confirm, unconfirmed
from tests.server.portal_driver import PASSWORD, Browser
from tests.server.test_portal import register_card
from tests.server.test_two_factors import sql

METHODS_OF_ANN = ("totp", "email", "card")


def copy_of(settings, path):
    with opened(settings) as parts:
        operations.backup(parts.database, path)
    return path


@pytest.fixture
def restored(portal, tmp_path):
    """→ settings of a database that was restored from a copy with ann signed in, by the command,
    and what that printed"""
    portal.policy(remember_device_days=30)
    portal.person("ann")
    portal.person("bob", "support")
    ann = Browser(portal.url).sign_in("ann")
    gone = add_credential(portal.settings, "station", "line 1")
    Browser(portal.url).get("/recover").post("/recover", login="bob", kind="totp")
    backup = copy_of(portal.settings, tmp_path / "backup.db")
    with opened(portal.settings) as parts, parts.database.write() as connection:
        bob = people.by_login(connection, 1, "bob")
        people.change(connection, 1, bob.id, disabled_at=1)
    CliRunner().invoke(
        command,
        ["credential", "revoke", gone.id, "--db", portal.settings.db_url],
        catch_exceptions=False,
    )
    portal.policy(password_min_length=20)
    later = copy_of(portal.settings, tmp_path / "later.db")
    settings = replace(portal.settings, db_url=f"sqlite:///{tmp_path / 'new' / 'r.db'}")
    where = ["--db", settings.db_url, "--key-file", str(settings.key_file)]
    done = CliRunner().invoke(
        command,
        ["restore", str(backup), "--counters-from", str(later), *where, "--json"],
        catch_exceptions=False,
    )
    return settings, json.loads(done.stdout), ann, where


def test_what_was_under_way_is_over(restored):
    settings, report, ann, where = restored
    assert report["dropped"]["sessions"] >= 1
    assert report["dropped"]["sign-ins and recoveries under way"] >= 1
    with opened(settings) as parts, parts.database.read() as connection:
        for table in UNDER_WAY.values():
            assert connection.scalar(select(func.count()).select_from(table)) == 0, table
    CliRunner().invoke(command, ["confirm-restore", "--yes", *where], catch_exceptions=False)
    with running_in_thread(settings) as url:
        ann.http.base_url = url
        assert ann.get("/").heading == "Sign in"
        assert Browser(url).sign_in("ann", PASSWORD).heading == "You are signed in"


def test_it_lists_what_came_back_and_what_is_otherwise_in_the_later_copy(restored):
    _, report, _, where = restored
    assert report["brought_back"]["people"] == ["default/ann", "default/bob"]
    assert [one.split(" (")[0] for one in report["brought_back"]["credentials"]] == [
        "station line 1"
    ]
    differs = {(one["kind"], one["name"].split(" (")[0]): one for one in report["differs"]}
    assert set(differs) == {
        ("person", "default/bob"),
        ("credential", "station line 1"),
        ("policy", "default"),
    }
    bob = differs["person", "default/bob"]
    assert (bob["restored"], bob["later"]) == ("may sign in, support", "barred, support")
    shown = CliRunner().invoke(command, ["confirm-restore", *where], input="n\n")
    assert shown.exit_code != 0
    for words in ("default/ann, default/bob", "barred", "revoked", "1 sessions", "line 1"):
        assert words in shown.output, shown.output


def test_nothing_is_served_before_it_was_confirmed(restored):
    settings, _, _, where = restored
    with pytest.raises(RefusedError, match="confirmed") as refused:
        open_state(settings)
    assert "confirm-restore" in refused.value.todo
    with listen("127.0.0.1", 0) as sock, pytest.raises(RefusedError):
        serve(settings, sock, ready=lambda: pytest.fail("it says that it is ready"))
    shown = CliRunner().invoke(command, ["run", "--port", "0", *where])
    assert isinstance(shown.exception, RefusedError) and "http:" not in shown.output
    done = CliRunner().invoke(command, ["confirm-restore", *where], input="y\n")
    assert done.exit_code == 0
    open_state(settings).close()
    again = CliRunner().invoke(command, ["confirm-restore", "--yes", *where])
    assert again.exit_code != 0
    with opened(settings) as parts, parts.database.read() as connection:
        from tallystick.server.store.models import AuditEntry

        acts = connection.scalars(select(AuditEntry.action)).all()
        assert {"restored", "restore-confirmed"} <= set(acts)
        assert firms.by_name(connection, "default").policy.password_min_length == 8


def test_without_a_later_copy_it_says_that_nothing_is_known(portal, tmp_path):
    backup = copy_of(portal.settings, tmp_path / "backup.db")
    new = f"sqlite:///{tmp_path / 'r.db'}"
    shutil.copy(portal.settings.key_file, tmp_path / "r.keys")
    done = CliRunner().invoke(command, ["restore", str(backup), "--db", new])
    assert done.exit_code == 0, done.output
    assert "Nothing is known of what was revoked" in done.output
    assert "confirm-restore" in done.output


# what a later copy knows ----------------------------------------------------------------------


def put_back(portal, backup, tmp_path, later=None, name="r") -> dict:
    """→ the report; the database is NAME.db"""
    database = Database(f"sqlite:///{tmp_path / f'{name}.db'}")
    with opened(portal.settings) as parts:
        operations.restore(
            database, backup, ring=parts.ring, advance=5, newer=later, now=portal.clock()
        )
    with database.read() as connection:
        found = unconfirmed(connection)
    database.close()
    return found


def enrolled_again(portal, browser) -> None:
    """The telephone was stolen: another one is in its place, and has its number, as SQLite of older
    versions gave it."""
    ((number,),) = sql(portal, "SELECT id FROM factor")
    sql(portal, "DELETE FROM factor")
    portal.clock.advance(60)
    portal.enrol_totp(browser)
    sql(portal, f"UPDATE factor SET id = {number}")


def test_a_telephone_that_has_the_number_of_a_stolen_one_is_another(portal, tmp_path):
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann")
    portal.enrol_totp(browser)
    backup = copy_of(portal.settings, tmp_path / "backup.db")
    enrolled_again(portal, browser)
    later = copy_of(portal.settings, tmp_path / "later.db")
    (one,) = put_back(portal, backup, tmp_path, later)["differs"]
    ((number,),) = sql(portal, "SELECT id FROM factor")
    assert (one["kind"], one["name"]) == ("method", f"default/ann: totp {number}")
    assert one["restored"] != one["later"] and one["later"].startswith("enrolled 2027-01-15 08:0")
    assert put_back(portal, later, tmp_path, later, "s")["differs"] == []


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("address", "UPDATE person SET email = 'ann@new.example'"),
        ("address", "UPDATE person SET email_verified = 0"),
        ("groups", "UPDATE person SET groups = 'vpn'"),
        ("keys of service", "UPDATE oidc_client SET secret_hash = x'00'"),
        ("keys of service", "UPDATE oidc_client SET jwks = '{}'"),
        ("service", "UPDATE oidc_client SET redirect_uris = 'https://else.example/'"),
        ("signing key", "UPDATE signing_key SET retired_at = 5"),
        ("password", "UPDATE person SET password_hash = 'x'"),
        ("terms of holder", "UPDATE assignment SET confirmed_at = NULL"),
        ("terms of holder", "UPDATE assignment SET expires_at = 1800000000"),
        ("signer of tickets", "UPDATE signer SET revoked_at = 5"),
        ("ticket", "UPDATE ticket SET used = 3"),
        ("ticket", "UPDATE ticket SET account = '{}'"),
    ],
)
def test_whatever_opens_something_is_compared(portal, tmp_path, container_class, kind, change):
    portal.person("ann", email="ann@firm.example")
    with opened(portal.settings) as parts, parts.database.write() as connection:
        signing_keys.current(connection, parts.ring, portal.clock())
    register_card(portal, container_class)
    sql(
        portal,  # she has shown it with her password
        "INSERT INTO assignment (card_id, person_id, assigned_at, assigned_by, confirmed_at) "
        "SELECT card.id, person.id, 1, 'x', 2 FROM card, person",
    )
    wiki_of(portal)
    ticket_of(portal)
    backup = copy_of(portal.settings, tmp_path / "backup.db")
    sql(portal, change)
    later = copy_of(portal.settings, tmp_path / "later.db")
    (one,) = put_back(portal, backup, tmp_path, later)["differs"]
    assert one["kind"] == kind and "ann@" not in str(one)


def wiki_of(portal) -> None:
    """A service of OpenID Connect."""
    with opened(portal.settings) as parts, parts.database.write() as connection:
        oidc_clients.add_client(
            connection, parts.ring, firm_id=1, name="wiki", now=portal.clock(), actor="test",
            redirect_uris=["https://wiki.example/"],
        )  # fmt: skip


def ticket_of(portal) -> None:
    """Max signs tickets; there is a job of five cards, of which two are made."""
    sql(
        portal,
        "INSERT INTO signer (firm_id, name, public_key, created_at) VALUES (1, 'max', :key, 1)",
        key=bytes(32),
    )
    sql(
        portal,
        "INSERT INTO ticket (id, firm_id, cards, used, digits, expires_at, presented_at) "
        "VALUES ('t-1', 1, 5, 2, 6, 9, 1)",
    )


def test_services_and_signers_that_come_back_are_listed(portal, tmp_path):
    """Also without a later copy: one of them may have been taken away since."""
    wiki_of(portal)
    ticket_of(portal)
    backup = copy_of(portal.settings, tmp_path / "backup.db")
    back = put_back(portal, backup, tmp_path)["brought_back"]
    assert back["services"] == ["default/wiki"]
    assert back["signers of tickets"] == ["default/max"]
    sql(portal, "UPDATE signer SET revoked_at = 5")
    later = copy_of(portal.settings, tmp_path / "later.db")
    assert put_back(portal, later, tmp_path, name="s")["brought_back"]["signers of tickets"] == []


@pytest.mark.parametrize("later", [True, False])
def test_backup_codes_that_were_used_are_not_good_again(portal, tmp_path, later):
    """Of a sheet that no later copy knows, nobody knows which were."""
    portal.policy(methods=[*METHODS_OF_ANN, "codes"])
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann")
    browser.get("/enrol/codes").post("/enrol/codes", label="Sheet")
    codes = re.findall(r'class="secret">([\w-]+)<', browser.page.text)
    key = re.search(r"/enrol/codes/(\d+)/confirm", browser.page.text).group(1)
    browser.post(f"/enrol/codes/{key}/confirm", code=codes[0])
    backup = copy_of(portal.settings, tmp_path / "backup.db")
    assert with_code(portal.url, key, codes[1]) == "You are signed in"
    copy = copy_of(portal.settings, tmp_path / "later.db") if later else None
    report = put_back(portal, backup, tmp_path, copy)
    assert report["dropped"]["sheets of backup codes"] == (0 if later else 1)
    settings = replace(portal.settings, db_url=f"sqlite:///{tmp_path / 'r.db'}")
    with opened(settings) as parts, parts.database.write() as connection:
        confirm(connection, parts.ring, portal.clock(), "console")
    with running_in_thread(settings) as url:
        assert with_code(url, key, codes[1]) != "You are signed in"
        assert (with_code(url, key, codes[2]) == "You are signed in") is later


def with_code(url: str, key: str, code: str) -> str:
    browser = Browser(url).sign_in("ann")
    if "second" not in str(browser.page.url):
        return browser.heading
    return browser.post(f"/second/codes/{key}", code=code).heading


def test_nor_is_the_code_of_an_app_that_was_used_just_now(portal, tmp_path):
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann")
    totp = portal.enrol_totp(browser)
    backup = copy_of(portal.settings, tmp_path / "backup.db")
    put_back(portal, backup, tmp_path)
    settings = replace(portal.settings, db_url=f"sqlite:///{tmp_path / 'r.db'}")
    with opened(settings) as parts, parts.database.read() as connection:
        position = connection.scalar(select(Factor.position))
    assert position >= int(portal.clock()) // 30 + 5 and totp


def test_a_later_copy_that_is_not_there_changes_nothing(portal, tmp_path):
    backup = copy_of(portal.settings, tmp_path / "backup.db")
    with pytest.raises(BadInputError, match="no later copy"):
        put_back(portal, backup, tmp_path, tmp_path / "none.db")
    put_back(portal, backup, tmp_path)  # the new database is still empty


def test_one_that_cannot_be_read_as_a_whole_is_said_to_be_so(portal, tmp_path):
    backup = copy_of(portal.settings, tmp_path / "backup.db")
    later = copy_of(portal.settings, tmp_path / "later.db")
    with closing(sqlite3.connect(later)) as connection:
        connection.execute("DROP TABLE factor")
        connection.commit()
    (one,) = put_back(portal, backup, tmp_path, later)["differs"]
    assert (one["kind"], one["later"]) == ("method", "not readable (OperationalError)")
