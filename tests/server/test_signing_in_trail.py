"""What signing in, recovery and the staff's decisions leave in the audit log: who, what, of whom,
and when, to a thousandth of a second; and nothing else."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select

from tallystick.server.signing_in import inviting, login, recovery, together
from tallystick.server.signing_in.attempts import Purpose
from tallystick.server.signing_in.login import Way
from tallystick.server.store.models import AuditEntry
from tests.server.house import HERE, TOTP, refused

NEW = "another horse battery"
VPN = Way(Purpose.RADIUS, "vpn", opens=False)


class Trail:
    """The entries since it was last asked."""

    def __init__(self, house) -> None:
        self.house, self.known = house, set()
        self._rows()
        house.clock.advance(60.25)

    def _rows(self) -> list:
        with self.house.state.database.read() as connection:
            rows = connection.execute(select(*AuditEntry.__table__.columns)).all()
        fresh = [row for row in rows if (row.chain, row.number) not in self.known]
        self.known |= {(row.chain, row.number) for row in fresh}
        return fresh

    def new(self) -> list[tuple]:
        """(actor, action, subject, detail) of each; they are of this moment, and of the firm."""
        rows = self._rows()
        assert {(row.at_ms, row.firm_id) for row in rows} <= {(int(self.house.clock() * 1000), 1)}
        return [
            (row.actor, row.action, row.subject, json.loads(row.detail or "{}")) for row in rows
        ]


@pytest.fixture
def house(quick_house):
    return quick_house


def checked(reason, kind="totp"):
    return ("person:1", "factor-checked", "ann", {"kind": kind, "reason": reason})


def test_signing_in(house):
    house.person()
    trail = Trail(house)
    with refused("wrong-password"):
        house.first(password="no")
    assert trail.new() == [("person:1", "password-wrong", "person:1", {})]
    with refused("wrong-password"):
        house.first("nobody")
    assert trail.new() == [("unknown", "password-wrong", "unknown", {})]
    token = house.first().attempt
    house.second(token, house.wrong())
    assert trail.new() == [checked("wrong")]
    house.second(token)
    signed = ("person:1", "signed-in", "person:1", {"amr": "pwd,otp,mfa"})
    assert trail.new() == [checked("ok"), signed]


def test_signing_in_to_the_vpn(house):
    house.person()
    trail = Trail(house)
    token = house.first(way=VPN).attempt
    login.with_code(house.state, "default", token, house.wrong(), HERE, VPN)
    assert trail.new() == [checked("wrong")]
    login.with_code(house.state, "default", token, house.code(), HERE, VPN)
    signed = ("person:1", "signed-in", "person:1", {"amr": "pwd,otp,mfa", "by": "radius"})
    assert trail.new() == [checked("ok"), signed]
    token = house.first(way=VPN).attempt
    login.with_code(house.state, "default", token, house.code(), HERE, VPN)
    assert trail.new() == [checked("replayed")]


def test_where_there_is_nowhere_to_enrol_what_is_lacking(house):
    house.person()
    house.policy(minimum_methods=2)
    trail = Trail(house)
    assert house.first(way=VPN).attempt == ""
    assert trail.new() == [("person:1", "factor-missing", "person:1", {"by": "radius"})]


def test_a_recovery_is_of_somebody_who_has_not_proved_who_he_is(house):
    house.person()
    trail = Trail(house)
    token = recovery.start(house.state, "default", "ann", TOTP, HERE)
    assert trail.new() == [("unknown", "recovery-begun", "ann", {"kind": "totp"})]
    recovery.prove(house.state, "default", token, {"code": house.wrong()}, HERE)
    assert trail.new() == [checked("wrong"), ("unknown", "recovery-wrong", "ann", {"kind": "totp"})]
    token = recovery.start(house.state, "default", "nobody", TOTP, HERE)
    recovery.prove(house.state, "default", token, {"code": house.wrong()}, HERE)
    assert trail.new() == [
        ("unknown", "recovery-begun", "unknown", {"kind": "totp"}),
        ("unknown", "recovery-wrong", "unknown", {"kind": "totp"}),
    ]


def test_a_code_of_the_console_and_what_it_voids(house):
    house.person()
    trail = Trail(house)
    with house.write() as connection:
        code = recovery.console_help(
            house.state, connection, house.known(), house.clock(), [("totp", house.key)]
        )
    assert trail.new() == [("console", "help-code-made", "ann", {})]
    with refused("wrong-help-code"):
        recovery.with_help(house.state, "default", "ann", "2222", HERE)
    assert trail.new() == [("unknown", "help-code-wrong", "ann", {})]
    token = recovery.with_help(house.state, "default", "ann", code, HERE)
    assert trail.new() == [("unknown", "help-code-used", "ann", {})]
    recovery.reset(house.state, "default", token, NEW, HERE)
    assert trail.new() == [
        ("person:1", "method-voided", "ann", {"kind": "totp", "method": house.key}),
        ("person:1", "password-changed", "ann", {}),
        ("person:1", "enrol-only-session", "ann", {}),
    ]


def test_two_of_the_staff_decide(house):
    house.person(enrolled=False)
    for name in ("sue", "sam"):
        house.person(name, enrolled=False)
        house.change(name, role="support")
    trail = Trail(house)
    ann, sue, sam = (house.known(name) for name in ("ann", "sue", "sam"))

    def act(what, *arguments, **more):
        with house.write() as connection:
            return what(house.state, connection, *arguments, **more)

    lost = [("totp", "3"), ("card", "A1")]
    number = act(together.ask_recovery, house.firm, sue, ann, reason="it fell", voids=lost)
    said = {"reason": "it fell", "voids": "totp 3, card A1"}
    assert trail.new() == [("person:2", "help-asked", "ann", said)]
    act(together.agree, house.firm, sam, number, helped_id=ann.id)
    assert trail.new() == [("person:3", "help-agreed", "ann", {})]
    act(together.collect, sue, number, helped_id=ann.id)
    assert trail.new() == [("person:2", "help-code-made", "ann", {})]
    act(together.withdraw, sam, number, helped_id=ann.id)
    assert trail.new() == [("person:3", "help-withdrawn", "ann", {"asked_by": "sue"})]
    act(together.ask_recovery, house.firm, sue, ann)
    assert trail.new() == [("person:2", "help-asked", "ann", {"reason": ""})]


def test_invitations(house):
    house.person(enrolled=False)
    with house.write() as connection:
        connection.exec_driver_sql("UPDATE person SET password_hash = NULL, password_at = NULL")
    house.change(email="ann@example.org")
    trail = Trail(house)

    def act(what, **more):
        with house.write() as connection:
            return what(
                house.state, connection, house.firm, house.known(),
                actor="person:9", now=house.clock(), **more,
            )  # fmt: skip

    act(inviting.invite, public_url="https://here")
    assert trail.new() == [("person:9", "person-invited", "ann", {"by": "mail"})]
    act(inviting.print_letter)
    assert trail.new() == [("person:9", "person-invited", "ann", {"by": "letter"})]
    act(inviting.withdraw)
    assert trail.new() == [("person:9", "invitation-withdrawn", "ann", {})]
    with refused("invitation-over"):
        inviting.accept(house.state, "default", "1-222222222222", NEW, HERE)
    assert trail.new() == [("unknown", "help-code-wrong", "unknown", {})]
