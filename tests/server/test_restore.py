"""A backup that is put back: what was under way is over, what came back is said, and nothing is
served before somebody has looked."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
from click.testing import CliRunner
from sqlalchemy import func, select

from tallystick.common.errors import RefusedError
from tallystick.server.accounts import firms, people
from tallystick.server.operating import operations
from tallystick.server.operating.brought_back import UNDER_WAY
from tallystick.server.operating.cli import server as command
from tallystick.server.serving.running import add_credential, listen, running_in_thread, serve
from tallystick.server.state import open_state
from tallystick.server.store.opened import opened
from tests.server.portal_driver import PASSWORD, Browser


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
