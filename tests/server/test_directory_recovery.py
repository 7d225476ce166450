"""Whose password is the directory's, and the help desk: it is asked for, and never set."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tallystick.server.accounts import people
from tallystick.server.accounts.people import Keeper
from tallystick.server.accounts.policy import MethodKind
from tallystick.server.signing_in import recovery
from tests.server.house import HERE, refused

THEIRS = "the one for the computer"


class DirectoryOfOne:
    def has_password(self, login: str, entry_id: str, password: str) -> bool:
        return (login, entry_id, password) == ("ann", "id-of-ann", THEIRS)


@pytest.fixture
def here(house):
    house.state = replace(house.state, directories={"default": DirectoryOfOne()})
    house.person("ann")
    house.change("ann", source=Keeper.LDAP.value, external_id="id-of-ann")
    house.policy(directory_passwords=True, recovery_methods=["totp"], minimum_methods=1)
    return house


def code_of_the_console(house) -> str:
    with house.write() as connection:
        ann = people.by_login(connection, house.firm.id, "ann")
        return recovery.console_help(house.state, connection, ann, house.clock())


def helped(house) -> str:
    return recovery.with_help(house.state, "default", "ann", code_of_the_console(house), HERE)


def reset(house, token: str, password: str) -> str | None:
    return recovery.reset(house.state, "default", token, password, HERE)


def test_a_factor_recovers_nothing_that_is_not_here(here):
    """Not even with the directory's password beside it."""
    with here.write() as connection:
        context = here.context(connection)
        person = people.by_login(connection, here.firm.id, "ann")
        token = recovery.attempts.begin(
            connection, firm_id=context.firm_id, person_id=person.id,
            purpose=recovery.Purpose.RECOVERY, stage=recovery.Stage.RESET,
            context={"kind": MethodKind.TOTP.value, "tries": 0}, source="", now=here.clock(),
        )  # fmt: skip
    for password in (THEIRS, "another good one"):
        with refused("password-elsewhere"):
            reset(here, token, password)


def test_its_password_has_so_many_tries(here):
    token = helped(here)
    for _ in range(recovery.TRIES_PER_ATTEMPT):
        with refused("wrong-password"):
            reset(here, token, "no")
    with refused("too-many"):
        reset(here, token, THEIRS)
    here.clock.advance(recovery.WINDOW_S)
    reset(here, helped(here), THEIRS)


def test_whoever_begins_anew_is_signed_out_and_older_codes_are_void(here):
    signed = here.second(here.first(password=THEIRS).attempt)
    here.clock.advance(60)
    assert here.session(signed.session) is not None
    token = helped(here)
    later = code_of_the_console(here)
    reset(here, token, THEIRS)
    assert here.session(signed.session) is None
    with refused("wrong-help-code"):
        recovery.with_help(here.state, "default", "ann", later, HERE)


def test_and_has_a_session_to_enrol_only_where_nothing_is_left(here):
    assert reset(here, helped(here), THEIRS) is None
    here.policy(methods=["card"], recovery_methods=["card"])
    token = reset(here, helped(here), THEIRS)
    assert token is not None and here.session(token).enrol_only
