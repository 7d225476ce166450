"""What staff decide together: who is written to, what is refused, and to which second."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from sqlalchemy import select, update

from tallystick.server.accounts.policy import MethodKind, PersonRole
from tallystick.server.loans import holding
from tallystick.server.messages import outbox
from tallystick.server.rules.judge import Reason
from tallystick.server.rules.otp import hotp
from tallystick.server.signing_in import (
    login,
    recovery,
    together,
)
from tallystick.server.signing_in.attempts import Purpose
from tallystick.server.signing_in.login import Signed
from tallystick.server.stock import cards
from tallystick.server.store.models_login import Attempt, HelpRequest
from tests.server.house import HERE, TOTP, act, acts, locked_by, refused, seed_of, stocked

NEW = "another horse battery"


@pytest.fixture
def house(quick_house):
    return quick_house


STAFF = {
    "sue": "support", "sam": "support", "boss": "administrator", "eye": "auditor", "new": "support",
    "barred": "support", "mute": "support",
}  # fmt: skip


@pytest.fixture
def desk(house):
    house.person(enrolled=False)
    for name, role in STAFF.items():
        house.person(name, enrolled=False)
        house.change(name, role=role, email=f"{name}@x.org" if name != "mute" else None)
    house.change("ann", email="ann@x.org")
    house.change("barred", disabled_at=1)
    house.change("new", colleague_from=int(house.clock()) + 1)
    return house


def ask(desk, asker="sue", person="ann", **more):
    return act(
        desk, together.ask_recovery, desk.firm, desk.known(asker), desk.known(person), **more
    )


def test_who_may_agree_is_written_to_and_nobody_else(desk, posted):
    ask(desk, reason="it fell")
    assert {one["letter"].to for one in posted} == {"sam@x.org", "boss@x.org"}
    (letter, *_) = (one["letter"] for one in posted)
    assert letter.subject == "sue waits for a colleague"
    lines = letter.text.splitlines()
    assert lines[:2] == ["sue asks to recover the account of ann.", "Why: it fell."]
    assert lines[2].startswith("Somebody else of the staff has to agree by ")
    assert "09:00" in lines[2]  # in an hour
    assert lines[-1] == f"{desk.state.public_url}/p/default/waiting"
    now = desk.clock()
    assert {(one["channel"], one["now"], one["life_s"], one["firm_id"]) for one in posted} == {
        (outbox.EMAIL, now, 3600, 1)
    }
    posted.clear()
    desk.clock.advance(1)  # the new one counts from now on
    ask(desk)
    assert {one["letter"].to for one in posted} == {"sam@x.org", "boss@x.org", "new@x.org"}
    assert posted[0]["letter"].text.splitlines()[1] == "Why: no reason was given."
    posted.clear()
    ask(desk, person="boss")  # two of the support have not her rights together
    assert posted == []
    ask(desk, asker="boss", person="eye")
    assert {one["letter"].to for one in posted} == {"sue@x.org", "sam@x.org", "new@x.org"}


def test_a_request_as_staff_see_it_the_oldest_first(desk, monkeypatch):
    numbers = iter((2, 1, 3))
    monkeypatch.setattr(recovery, "new_number", lambda: next(numbers))
    lost = [("totp", "3")]
    ask(desk, reason="it fell", voids=lost)
    ask(desk, person="sam")
    now = int(desk.clock())
    with desk.write() as connection:
        recovery.console_help(desk.state, connection, desk.known("eye"), now)  # waits for nobody
        one, two = together.waiting(connection, 1, now + 3599)
        assert two == together.WaitingDecision(
            id=2, kind="recovery", person_id=desk.known().id, person="ann",
            asked_by=desk.known("sue").id, asker="sue", agreed_by=None, reason="it fell",
            detail={"voids": [["totp", "3"]]}, asked_at=now, expires_at=now + 3600,
        )  # fmt: skip
        mine = together.waiting(connection, 1, now, person_id=desk.known("sam").id)
        assert [found.id for found in mine] == [one.id] == [1]
        assert together.waiting(connection, 1, now + 3600) == []
        assert together.waiting(connection, 2, now) == []


def test_what_a_decision_answers_when_it_is_refused(desk):
    number = ask(desk)

    def agree(other, helped="ann", number=number):
        act(
            desk, together.agree, desk.firm, desk.known(other), number,
            helped_id=desk.known(helped).id,
        )  # fmt: skip

    for code, status, refuse in (
        ("needs-two", 403, lambda: ask(desk, "sue", "sue")),
        ("new-colleague", 403, lambda: ask(desk, "new")),
        ("no-such-request", 404, lambda: agree("sam", "boss")),
        ("no-such-request", 404, lambda: agree("sam", number=number + 1)),
        ("new-colleague", 403, lambda: agree("new")),
        ("needs-two", 403, lambda: agree("eye")),
        ("needs-two", 403, lambda: agree("barred")),
        ("needs-two", 403, lambda: agree("sue")),
        ("no-such-request", 404, lambda: agree("sue", "boss")),  # of the page: it says nothing
    ):
        with refused(code) as caught:
            refuse()
        assert caught.value.status == status
    with refused("new-colleague") as caught:
        agree("new")
    assert caught.value.what == "new is new among the staff."
    assert caught.value.todo.startswith("For 3 days,")
    other = ask(desk, person="boss")
    with refused("new-colleague"):
        agree("new", "boss", other)
    desk.change("new", disabled_at=1)
    for again in (lambda: agree("new"), lambda: ask(desk, "new", "new")):
        with refused("needs-two"):
            again()
    with refused("needs-more-rights") as caught:
        agree("sam", "boss", other)
    assert caught.value.status == 403
    assert caught.value.what == "boss has rights that neither of you has."


def test_a_request_is_withdrawn_alone(desk):
    one, two = ask(desk), ask(desk, person="sam")
    sue = desk.known("sue")
    with refused("no-such-request"):
        act(desk, together.withdraw, sue, one, helped_id=desk.known("sam").id)
    act(desk, together.withdraw, sue, one, helped_id=desk.known().id)
    with desk.write() as connection:
        assert list(connection.scalars(select(HelpRequest.id))) == [two]
    with refused("no-such-request"):
        act(desk, together.withdraw, sue, one, helped_id=desk.known().id)


def test_what_was_agreed_to_is_collected_while_both_still_might(desk):
    one, two = ask(desk), ask(desk, person="sam")
    ann = desk.known()
    act(desk, together.agree, desk.firm, desk.known("sam"), one, helped_id=ann.id)
    with desk.write() as connection:
        agreed = dict(connection.execute(select(HelpRequest.id, HelpRequest.agreed_by)).all())
    assert agreed == {one: desk.known("sam").id, two: None}
    desk.change("sam", disabled_at=1)
    with refused("needs-two"):
        act(desk, together.collect, desk.known("sue"), one, helped_id=ann.id)
    desk.change("sam", disabled_at=None)
    assert act(desk, together.collect, desk.known("sue"), one, helped_id=ann.id)
    with desk.write() as connection:
        tags = dict(connection.execute(select(HelpRequest.id, HelpRequest.code_tag)).all())
    assert tags[one] and tags[two] is None


def test_what_was_decided_is_void_for_whoever_is_somebody_else_now(desk):
    number, ann = ask(desk), desk.known()
    act(desk, together.agree, desk.firm, desk.known("sam"), number, helped_id=ann.id)
    code = act(desk, together.collect, desk.known("sue"), number, helped_id=ann.id)
    other = ask(desk, person="sam")
    token = recovery.with_help(desk.state, "default", "ann", code, HERE)
    ask(desk)
    with desk.write() as connection:
        recovery.void_help(connection, ann.id)
        assert [one.id for one in together.waiting(connection, 1, desk.clock())] == [other]
    with refused("attempt-over"):
        recovery.reset(desk.state, "default", token, NEW, HERE)


def nobody_agreed(desk) -> None:
    """As no request with a code is."""
    with desk.write() as connection:
        connection.execute(update(HelpRequest).values(agreed_by=None))
        for token, text in connection.execute(select(Attempt.token_hash, Attempt.context)).all():
            context = json.loads(text)
            context["decided"] = [context["decided"][0], None]
            mine = update(Attempt).where(Attempt.token_hash == token)
            connection.execute(mine.values(context=json.dumps(context)))


@pytest.mark.parametrize(
    ("change", "good"),
    [
        (lambda desk: None, True),
        (lambda desk: desk.change("sam", disabled_at=1), False),
        (lambda desk: desk.change("sue", role="auditor"), False),
        (lambda desk: desk.change("ann", role="auditor"), False),
        (lambda desk: desk.change("sue", role="administrator"), True),
        (nobody_agreed, False),
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_code_is_good_while_the_two_who_decided_might_do_so(desk, change, good, when):
    number, ann = ask(desk), desk.known()
    act(desk, together.agree, desk.firm, desk.known("sam"), number, helped_id=ann.id)
    code = act(desk, together.collect, desk.known("sue"), number, helped_id=ann.id)
    if when == "before":
        change(desk)
    if when == "before" and not good:
        with refused("wrong-help-code"):
            recovery.with_help(desk.state, "default", "ann", code, HERE)
        return
    token = recovery.with_help(desk.state, "default", "ann", code, HERE)
    if when == "after":
        change(desk)
    if good:
        assert recovery.reset(desk.state, "default", token, NEW, HERE) is None
        return
    with refused("attempt-over"):
        recovery.reset(desk.state, "default", token, NEW, HERE)


def hand_over(desk, login="boss", serial="A1", code=None, asker="sue", *, for_good=False):
    codes = (code or hotp(seed_of(serial), 0, 6),)
    return act(
        desk, together.ask_hand_over, desk.firm, desk.known(asker), serial, login=login,
        codes=codes, for_good=for_good,
    )  # fmt: skip


@pytest.mark.parametrize("for_good", [True, False])
def test_a_card_is_handed_over_when_a_colleague_agrees(desk, posted, for_good):
    stocked(desk)
    before = len(acts(desk))
    number = hand_over(desk, for_good=for_good)
    assert {one["letter"].text.splitlines()[0] for one in posted} == set()  # nobody has the rights
    desk.change("sam", role="administrator")
    number = hand_over(desk, code=hotp(seed_of("A1"), 1, 6), for_good=for_good)
    assert {one["letter"].to for one in posted} == {"sam@x.org"}
    text = posted[0]["letter"].text.splitlines()
    assert text[:2] == ["sue asks to hand a card to boss.", "Why: card A1."]
    with desk.write() as connection:
        (waits,) = together.waiting(connection, 1, desk.clock())
        assert (waits.id, waits.kind, waits.reason) == (number, "hand-over", "card A1")
        assert waits.detail == {"serial": "A1", "for_good": for_good}
        assert (
            waits.expires_at == int(desk.clock()) + 3600
            and waits.asked_at == waits.expires_at - 3600
        )
    sam, boss = desk.known("sam"), desk.known("boss")
    act(desk, together.agree, desk.firm, sam, number, helped_id=boss.id)
    with desk.write() as connection:
        assert together.waiting(connection, 1, desk.clock()) == []
        (row,) = connection.exec_driver_sql("SELECT person_id, expires_at FROM assignment").all()
    assert row[0] == boss.id and (row[1] is None) is for_good
    done = "card-assigned" if for_good else "card-lent"
    assert acts(desk)[before:] == [
        ("hand-over-asked", "boss"), ("hand-over-asked", "boss"), ("hand-over-agreed", "boss"),
        (done, "A1"),
    ]  # fmt: skip


def test_a_card_that_is_refused_leaves_what_was_asked_for_before(desk):
    stocked(desk)
    stocked(desk, "B2")
    number = hand_over(desk)
    refusal = hand_over(desk, serial="B2", code="000000")
    assert refusal.code == "wrong-code"
    with desk.write() as connection:
        assert [one.id for one in together.waiting(connection, 1, desk.clock())] == [number]
    later = hand_over(desk, serial="B2")
    with desk.write() as connection:
        assert [one.id for one in together.waiting(connection, 1, desk.clock())] == [later]
    act(desk, together.withdraw, desk.known("sam"), later, helped_id=desk.known("boss").id)
    assert acts(desk)[-1] == ("hand-over-withdrawn", "boss")


def test_of_several_reasons_against_a_card_the_first_is_told(desk):
    stocked(desk)
    desk.change("new", disabled_at=None)

    def is_refused(why, **more):
        with refused(why):
            hand_over(desk, **more)

    with desk.write() as connection:
        connection.exec_driver_sql("UPDATE card SET valid_until = 1")
    is_refused("card-expired", login="nobody")
    with desk.write() as connection:
        connection.exec_driver_sql("UPDATE card SET status = 'lost'")
    is_refused("card-lost")
    with desk.write() as connection:
        connection.exec_driver_sql("UPDATE card SET status = 'in-service', valid_until = NULL")
        caller = cards.staff(desk.known("boss").id, 1, "boss", PersonRole.ADMINISTRATOR)
        holding.assign(connection, desk.state.ring, caller, "A1", login="ann", now=desk.clock())
    is_refused("needs-two", login="new", asker="new")
    is_refused("new-colleague", asker="new")
    is_refused("already-assigned", code="1")


def test_a_card_recovers_after_its_holder_has_shown_it_beside_a_password(desk):
    desk.policy(methods=["card", "totp"], recovery_methods=["card"])
    desk.enrol("ann")
    stocked(desk)
    with desk.write() as connection:
        caller = cards.staff(desk.known("boss").id, 1, "boss", PersonRole.ADMINISTRATOR)
        holding.assign(connection, desk.state.ring, caller, "A1", login="ann", now=desk.clock())

    def recovers(factor: int) -> bool:
        token = recovery.start(desk.state, "default", "ann", MethodKind.CARD, HERE)
        code = {"code": hotp(seed_of("A1"), factor, 6)}
        return recovery.prove(desk.state, "default", token, code, HERE).accepted

    assert not recovers(0)
    with desk.write() as connection:  # another one of hers was shown: this one was not
        card_two(desk, connection)
    assert not recovers(0)
    token = desk.first("ann").attempt
    code = {"code": hotp(seed_of("A1"), 1, 6)}
    assert isinstance(
        login.with_factor(
            desk.state, "default", token, MethodKind.CARD, "A1", code, HERE, remember=False
        ),
        Signed,
    )
    assert recovers(2)


@pytest.fixture
def both(desk):
    """ann has an app and card A1, and a browser that is known."""
    desk.policy(max_failures=3)
    desk.enrol("ann")
    desk.known_browser = replace(HERE, known=desk.sign_in("ann").known)
    stocked(desk)
    with desk.write() as connection:
        caller = cards.staff(desk.known("boss").id, 1, "boss", PersonRole.ADMINISTRATOR)
        holding.assign(connection, desk.state.ring, caller, "A1", login="ann", now=desk.clock())
    return desk


def counted(house) -> tuple[int, int]:
    """Failures of the app, and of the card."""
    with house.write() as connection:
        app = connection.exec_driver_sql("SELECT failures FROM factor").scalar_one()
        return app, connection.exec_driver_sql("SELECT failures FROM card").scalar_one()


def locked(house) -> None:
    with house.write() as connection:
        for table in ("factor", "card"):
            connection.exec_driver_sql(
                f"UPDATE {table} SET failures = 9, lockout_s = 60, blocked_until = 9999999999"
            )


def test_a_wrong_code_counts_once_at_a_card_and_an_app(both):
    vpn = login.Way(Purpose.RADIUS, "vpn", opens=False)
    token = both.first(way=vpn).attempt
    wrong = login.with_code(both.state, "default", token, "000000", HERE, vpn)
    assert wrong.reason is Reason.WRONG and counted(both) == (1, 1)


def test_a_code_of_a_card_is_as_good_as_an_apps_where_policy_allows_cards(both):
    both.policy(methods=["totp"], recovery_methods=[])
    token = both.first("ann").attempt
    assert both.second(token, hotp(seed_of("A1"), 0, 6)).reason is Reason.WRONG
    both.policy(methods=["totp", "card"])
    assert isinstance(both.second(token, hotp(seed_of("A1"), 0, 6)), Signed)
    with both.write() as connection:
        query = "SELECT detail FROM audit WHERE action = 'factor-checked' ORDER BY number DESC"
        last = json.loads(connection.exec_driver_sql(query).scalar())
    assert last == {"kind": "card", "reason": "ok"}


def test_a_known_browser_proves_by_a_card_in_spite_of_strangers(both):
    for factor, kind, key in ((0, TOTP, both.key), (1, MethodKind.CARD, "A1")):
        locked(both)
        token = both.first("ann", browser=both.known_browser).attempt
        code = {"code": hotp(seed_of("A1"), factor, 6)}
        signed = login.with_factor(
            both.state, "default", token, kind, key, code, both.known_browser, remember=False
        )
        assert isinstance(signed, Signed) and counted(both) == (0, 0)


def card_two(desk, connection) -> None:
    stocked(desk, "B2")
    caller = cards.staff(desk.known("boss").id, 1, "boss", PersonRole.ADMINISTRATOR)
    holding.assign(connection, desk.state.ring, caller, "B2", login="ann", now=desk.clock())
    holding.confirm(connection, 1, "B2", desk.known().id, desk.clock())


def test_a_card_that_was_named_is_lost_and_said_so_in_order(desk):
    stocked(desk)
    with desk.write() as connection:
        caller = cards.staff(desk.known("boss").id, 1, "boss", PersonRole.ADMINISTRATOR)
        holding.assign(connection, desk.state.ring, caller, "A1", login="ann", now=desk.clock())
        code = recovery.console_help(
            desk.state, connection, desk.known(), desk.clock(), [("card", "A1")]
        )
    token = recovery.with_help(desk.state, "default", "ann", code, HERE)
    before = len(acts(desk))
    recovery.reset(desk.state, "default", token, NEW, HERE)
    found = acts(desk)[before:]
    assert found == [
        ("card-lost", "A1"), ("card-taken-back", "A1"), ("method-voided", "ann"),
        ("password-changed", "ann"), ("enrol-only-session", "ann"),
    ]  # fmt: skip


def told(desk, since=0):
    """Entries of the audit log: what, of whom, facts."""
    query = "SELECT action, subject, detail FROM audit WHERE number > ? ORDER BY number"
    with desk.write() as connection:
        rows = connection.exec_driver_sql(query, (since,)).all()
    return [(*row[:2], json.loads(row.detail or "{}")) for row in rows]


def test_each_step_of_a_decision_is_in_the_audit_log(desk):
    desk.clock.now = int(desk.clock()) + 0.25
    before = len(acts(desk))
    ann, sue, sam = (desk.known(name).id for name in ("ann", "sue", "sam"))
    number = ask(desk, reason="it fell", voids=[("totp", "3"), ("sms", "4")])
    act(desk, together.agree, desk.firm, desk.known("sam"), number, helped_id=ann)
    act(desk, together.collect, desk.known("sue"), number, helped_id=ann)
    act(desk, together.withdraw, desk.known("sam"), number, helped_id=ann)
    ask(desk)
    assert told(desk, before) == [
        ("help-asked", "ann", {"reason": "it fell", "voids": "totp 3, sms 4"}),
        ("help-agreed", "ann", {}),
        ("help-code-made", "ann", {}),
        ("help-withdrawn", "ann", {"asked_by": "sue"}),
        ("help-asked", "ann", {"reason": ""}),
    ]
    with desk.write() as connection:
        rows = connection.exec_driver_sql(
            "SELECT at_ms, actor FROM audit WHERE number > ? ORDER BY number", (before,)
        ).all()
    assert {row.at_ms for row in rows} == {int(desk.clock() * 1000)}
    assert [row.actor for row in rows] == [f"person:{one}" for one in (sue, sam, sue, sam, sue)]


def test_so_is_each_step_of_a_card_that_changes_hands(desk):
    stocked(desk)
    boss, before = desk.known("boss").id, len(acts(desk))
    number = hand_over(desk)
    act(desk, together.withdraw, desk.known("sam"), number, helped_id=boss)
    assert told(desk, before) == [
        ("hand-over-asked", "boss", {"card": "A1"}),
        ("hand-over-withdrawn", "boss", {"asked_by": "sue"}),
    ]


def test_a_card_that_is_asked_for_is_nobody_elses_meanwhile(desk):
    stocked(desk)
    with desk.write() as connection:
        assert "card" in locked_by(connection, lambda: hand_over(desk))


def test_what_is_not_collected(desk):
    """Nor is anybody told that it is there."""
    ann, sam = desk.known().id, desk.known("sam")
    number = ask(desk)

    def collect(by="sue", helped=ann, number=number):
        return act(desk, together.collect, desk.known(by), number, helped_id=helped)

    with refused("needs-two"):  # nobody has agreed
        collect()
    act(desk, together.agree, desk.firm, sam, number, helped_id=ann)
    with refused("needs-two"):  # it is for the one who asked
        collect("sam")
    with refused("no-such-request"):
        collect(helped=sam.id)
    with refused("no-such-request"):
        collect("boss", helped=sam.id)
    stocked(desk)
    card = hand_over(desk)
    with refused("no-such-request"):
        collect(number=card, helped=desk.known("boss").id)
    assert collect()


def test_a_request_is_over_after_an_hour(desk):
    number, ann = ask(desk), desk.known().id
    desk.clock.now = int(desk.clock()) + 3600.0
    with refused("no-such-request"):
        act(desk, together.withdraw, desk.known("sue"), number, helped_id=ann)
    desk.clock.now -= 0.1
    act(desk, together.withdraw, desk.known("sue"), number, helped_id=ann)
