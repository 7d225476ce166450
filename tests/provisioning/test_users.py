"""A user that a card is made for is known before anything is written to the card."""

from __future__ import annotations

from tallystick.common.errors import RefusedError
from tallystick.server.accounts import people
from tallystick.server.accounts.policy import PersonRole
from tallystick.server.store.opened import opened
from tests.provisioning.pty_card import PtyCard


def test_a_misspelt_user_is_refused_with_the_nearest(own_station, memory_card):
    with PtyCard(memory_card) as line:
        for typed in ("adda", "Adaa"):
            error = own_station.fails(
                RefusedError, "provision", "--port", line.port, "--user", typed
            )
            assert f"no user '{typed}'" in error.what and "Did you mean ada?" in error.todo
            assert error.kept == "Nothing was written to any card."
        assert not memory_card.seed and memory_card.life_cycle == 1
        made = own_station.ok("provision", "--port", line.port, "--user", "ADA")
    assert made["server"]["user"] == "ada"
    assert own_station.card(memory_card.serial).json()["user"] == "ada"


def test_who_has_more_rights_is_refused_before_the_card(own_station, memory_card):
    with opened(own_station.settings) as parts, parts.database.write() as connection:
        role = PersonRole.ADMINISTRATOR
        people.add(connection, firm_id=1, login="boss", role=role, email=None, now=0)
    with PtyCard(memory_card) as line:
        for words in ((), ("--new-user",)):
            error = own_station.fails(
                RefusedError, "provision", "--port", line.port, "--user", "boss", *words
            )
            assert "rights that a station does not have" in error.what
            assert "administrator" in error.todo
            assert error.kept == "Nothing was written to any card."
    assert not memory_card.seed and memory_card.life_cycle == 1
