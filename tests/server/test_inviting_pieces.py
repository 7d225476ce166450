"""Invitations: who is written to, who is let in, and to which second."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import select, update

from tallystick.server.accounts import passwords, people
from tallystick.server.accounts.people import Keeper
from tallystick.server.signing_in import (
    inviting,
    recovery,
)
from tallystick.server.store.models import PersonRow
from tests.server.house import HERE, act, acts, locked_by, refused

NEW = "another horse battery"
DAY_S = 86400


@pytest.fixture
def house(quick_house):
    return quick_house


@pytest.fixture
def guest(house):
    """ann, who has had no password yet, and bob, who is no guest."""
    house.person(enrolled=False)
    house.person("bob", enrolled=False)
    with house.write() as connection:
        mine = PersonRow.login == "ann"
        nothing = {"password_hash": None, "password_at": None, "email": "ann@x.org"}
        connection.execute(update(PersonRow).where(mine).values(**nothing))
    return house


def invite(house, name="ann", what=inviting.invite, **more):
    if what is inviting.invite:
        more = {"public_url": "https://here"} | more
    return act(
        house, what, house.firm, house.known(name), actor="console", now=house.clock(), **more
    )


def link_of(posted) -> str:
    return posted[-1]["letter"].text.split("https://here/p/default/welcome/")[1].split()[0]


def test_an_invitation_is_good_for_two_weeks_and_opens_a_session(guest, posted):
    invite(guest)
    assert posted[-1]["letter"].to == "ann@x.org"
    link = link_of(posted)
    guest.clock.advance(14 * DAY_S - 1)
    assert inviting.welcomed(guest.state, "default", link, HERE).login == "ann"
    with refused("bad-password"):
        inviting.accept(guest.state, "default", link, "short", HERE)
    guest.change("ann", role="support")
    many = len(posted)
    session = guest.session(inviting.accept(guest.state, "default", link, NEW, HERE))
    assert (session.person.login, session.amr, session.enrol_only) == ("ann", ("pwd",), False)
    assert ("invitation-used", "ann") in acts(guest)
    assert guest.state.outbox.woken[-1] > many  # that the password was changed, was told
    assert guest.known().colleague_from == int(guest.clock()) + 3 * DAY_S
    for name in (inviting.welcomed, lambda *a: inviting.accept(*a[:3], NEW, a[3])):
        with refused("invitation-over") as caught:
            name(guest.state, "default", link, HERE)
        assert caught.value.status == 401


def test_of_two_invitations_the_newer_is_good_and_none_for_whoever_has_a_password(guest, posted):
    invite(guest)
    old = link_of(posted)
    invite(guest)
    with refused("invitation-over"):
        inviting.welcomed(guest.state, "default", old, HERE)
    assert inviting.welcomed(guest.state, "default", link_of(posted), HERE)
    guest.change("ann", password_hash="x")
    with refused("invitation-over"):
        inviting.welcomed(guest.state, "default", link_of(posted), HERE)


def test_an_invitation_that_is_over_and_links_that_are_none(guest, posted):
    invite(guest)
    link = link_of(posted)
    number, _, code = link.partition("-")
    for wrong in (
        "", "x", f"{number}-{'2' * 12}", f"{int(number) - 1}-{code}", link.lower() + "x",
    ):  # fmt: skip
        with refused("invitation-over"):
            inviting.welcomed(guest.state, "default", wrong, HERE)
    guest.clock.advance(14 * DAY_S)
    with refused("invitation-over"):
        inviting.welcomed(guest.state, "default", link, HERE)


def test_wrong_links_count_as_wrong_help_codes_do(guest):
    guest.policy(recoveries_per_source_per_hour=5)
    for _ in range(5):
        with refused("invitation-over"):
            inviting.welcomed(guest.state, "default", "x", HERE)
    with refused("too-many"):
        inviting.welcomed(guest.state, "default", "x", HERE)


def test_a_person_gets_ten_invitations_in_a_day(guest):
    guest.clock.now = 21_000 * DAY_S + DAY_S - 1.0
    for _ in range(10):
        invite(guest)
    with refused("too-many") as caught:
        invite(guest)
    assert caught.value.retry_after_s == 1
    guest.clock.advance(1)
    invite(guest)


def test_whom_nobody_invites(guest):
    for change, words in (
        ({"email": None}, "ann has no e-mail address."),
        ({"disabled_at": 1}, "ann is barred."),
        ({"password_hash": "x"}, "ann has a password already."),
        ({"password_at": 1}, "ann has had this account before."),
        ({"enrolled_at": 1}, "ann has had this account before."),
    ):
        guest.change("ann", **change)
        with refused("not-invited") as caught:
            invite(guest)
        assert (caught.value.status, caught.value.what) == (409, words)
        guest.change("ann", **dict.fromkeys(change) | {"email": "ann@x.org"})
    invite(guest)


def test_of_several_reasons_against_an_invitation_the_first_is_told(guest):
    guest.policy(directory_passwords=True)
    guest.change("bob", source=Keeper.LDAP.value, disabled_at=1, email=None)
    for what in (inviting.invite, inviting.print_letter):
        with refused("not-invited") as caught:
            invite(guest, "bob", what)
        assert caught.value.what == "bob is barred."


def test_a_password_that_is_refused_is_not_hashed(guest, posted, monkeypatch):
    invite(guest)
    token = helped(guest, "bob")
    monkeypatch.setattr(passwords, "hash_new", lambda _: pytest.fail("hashed for nothing"))
    with refused("bad-password"):
        inviting.accept(guest.state, "default", link_of(posted), "short", HERE)
    with refused("bad-password"):
        recovery.reset(guest.state, "default", token, "short", HERE)


def helped(house, name) -> str:
    with house.write() as connection:
        code = recovery.console_help(house.state, connection, house.known(name), house.clock())
    return recovery.with_help(house.state, "default", name, code, HERE)


def test_a_code_of_the_help_desk_proves_nothing(guest):
    with refused("attempt-over"):
        recovery.prove(guest.state, "default", helped(guest, "bob"), {"code": "1"}, HERE)


@pytest.mark.parametrize("change", ["used", "barred"])
def test_an_invitation_that_somebody_else_used_meanwhile(guest, posted, monkeypatch, change):
    invite(guest)
    genuine = passwords.hash_new

    def slowly(password):
        if change == "barred":
            guest.change("ann", disabled_at=1)
        else:
            invite(guest, what=inviting.withdraw)
        return genuine(password)

    monkeypatch.setattr(passwords, "hash_new", slowly)
    with refused("invitation-over"):
        inviting.accept(guest.state, "default", link_of(posted), NEW, HERE)
    assert not guest.known().has_password


def test_whoever_is_let_in_is_not_changed_meanwhile(guest, posted):
    """PostgreSQL: of two who open a link one is first; who would bar ann waits."""
    invite(guest)
    with guest.write() as connection:
        looked = locked_by(
            connection, lambda: inviting.welcomed(guest.state, "default", link_of(posted), HERE)
        )
        let_in = locked_by(
            connection, lambda: inviting.accept(guest.state, "default", link_of(posted), NEW, HERE)
        )
    assert "help_request" not in looked and {"help_request", "person"} <= let_in


def test_policy_and_person_are_as_they_are_when_the_link_is_used_up(guest, posted, monkeypatch):
    invite(guest)
    find, hashed = inviting._find, passwords.hash_new

    def hash_slowly(password):
        guest.policy(session_hours=1, session_idle_minutes=1440)
        return hashed(password)

    def find_slowly(*arguments, lock=False):
        row = find(*arguments, lock=lock)
        if lock:
            guest.change("ann", disabled_at=1)
        return row

    monkeypatch.setattr(inviting, "_find", find_slowly)
    with refused("invitation-over"):
        inviting.accept(guest.state, "default", link_of(posted), NEW, HERE)
    monkeypatch.setattr(inviting, "_find", find)
    guest.change("ann", disabled_at=None)
    monkeypatch.setattr(passwords, "hash_new", hash_slowly)
    token = inviting.accept(guest.state, "default", link_of(posted), NEW, HERE)
    guest.clock.advance(3600)
    assert guest.session(token) is None


def test_a_new_password_takes_ones_own_invitation_away(guest):
    code = invite(guest, what=inviting.print_letter).code
    assert recovery.reset(guest.state, "default", helped(guest, "bob"), NEW, HERE) is None
    token = recovery.with_help(guest.state, "default", "ann", code, HERE)
    invite(guest, what=inviting.print_letter)  # another one, meanwhile
    assert recovery.reset(guest.state, "default", token, NEW, HERE) is None
    with guest.write() as connection:
        assert inviting.listed(connection, 1, guest.clock()) == []


def test_a_letter_opens_nothing_for_whoever_has_enrolled_meanwhile(guest):
    code = invite(guest, what=inviting.print_letter).code
    guest.change("ann", enrolled_at=1)
    with refused("wrong-help-code"):
        recovery.with_help(guest.state, "default", "ann", code, HERE)
    guest.change("ann", enrolled_at=None)
    assert recovery.with_help(guest.state, "default", "ann", code, HERE)


def test_a_letter_makes_a_new_colleague_too(guest):
    guest.change("ann", role="support")
    code = invite(guest, what=inviting.print_letter).code
    token = recovery.with_help(guest.state, "default", "ann", code, HERE)
    assert recovery.reset(guest.state, "default", token, NEW, HERE) is None
    assert guest.known().colleague_from == int(guest.clock()) + 3 * DAY_S
    token = helped(guest, "bob")
    guest.change("bob", role="support")
    assert recovery.reset(guest.state, "default", token, NEW, HERE) is None
    assert guest.known("bob").colleague_from is None
    assert "enrol-only-session" not in {action for action, _ in acts(guest)}


def test_whose_password_is_the_directorys_is_told_where_to_sign_in(guest, posted):
    guest.policy(directory_passwords=True)
    guest.change("bob", source=Keeper.LDAP.value, email="bob@x.org")
    invite(guest, "bob")
    assert "https://here/p/default/sign-in" in posted[-1]["letter"].text
    with refused("not-invited") as caught:
        invite(guest, "bob", inviting.print_letter)
    assert caught.value.what == "bob has a password in the directory."


def test_a_letter_and_what_is_listed_of_it(guest):
    guest.change("ann", full_name="Ann A")
    printed = invite(guest, what=inviting.print_letter)
    ann, end = guest.known(), int(guest.clock()) + 14 * DAY_S
    assert (printed.login, printed.name, printed.expires_at) == ("ann", "Ann A", end)
    assert recovery.with_help(guest.state, "default", "ann", printed.code, HERE)
    invite(guest, what=inviting.print_letter)

    def listed(after=0, firm_id=1):
        with guest.write() as connection:
            now = guest.clock() + after
            found = inviting.listed(connection, firm_id, now)
            if firm_id == 1:
                assert inviting.of_people(connection, [ann.id], now) == found
            assert inviting.of_people(connection, [ann.id + 1], now) == []
            return found

    wanted = inviting.OpenInvitation(
        ann.id, "ann", "Ann A", "ann@x.org", "letter", int(guest.clock()), end, over=False
    )
    assert listed() == listed(14 * DAY_S - 1) == [wanted]
    assert listed(14 * DAY_S) == [replace(wanted, over=True)]
    assert listed(firm_id=2) == []


def test_an_address_that_is_not_hers_any_more_takes_the_link_along_and_no_letter(guest):
    for what, gone in ((inviting.invite, True), (inviting.print_letter, False)):
        invite(guest, what=what)
        with guest.write() as connection:
            assert inviting.forget_mailed(connection, guest.known("bob").id) is False
            assert inviting.forget_mailed(connection, guest.known().id) is gone
            assert len(inviting.listed(connection, 1, 0)) == (not gone)
    invite(guest, what=inviting.withdraw)
    with refused("no-invitation") as caught:
        invite(guest, what=inviting.withdraw)
    assert caught.value.status == 404


def test_who_may_be_invited_is_the_same_to_the_database(guest):
    def invitable() -> set[str]:
        with guest.write() as connection:
            whom = inviting.invitable(guest.firm, guest.clock())
            found = set(connection.scalars(select(PersonRow.login).where(whom)))
            everybody = people.everybody(connection, 1)
        if found:
            assert found == {o.login for o in everybody if inviting.may_be_invited(guest.firm, o)}
        return found

    assert invitable() == {"ann"}
    for change in ("disabled_at", "enrolled_at", "password_at"):
        guest.change("ann", **{change: 1})
        assert invitable() == set()
        guest.change("ann", **{change: None})
    guest.change("ann", password_hash="x")
    assert invitable() == set()
    guest.change("ann", source=Keeper.LDAP.value)
    assert invitable() == set()
    guest.policy(directory_passwords=True)
    assert invitable() == {"ann"}
    guest.change("ann", password_at=1)
    assert invitable() == {"ann"}
    guest.change("ann", password_at=None)
    invite(guest, "ann")  # is told where to sign in; there is no invitation
    assert invitable() == {"ann"}
    guest.change("ann", source="", password_hash=None)
    invite(guest, "ann")
    assert invitable() == set()
    guest.clock.advance(14 * DAY_S)
    assert invitable() == {"ann"}
