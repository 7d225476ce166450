"""What staff decide together, invitations, proofs in a session and keys alone: who is written to,
who is let in, and to which second."""

from __future__ import annotations

import json
from dataclasses import replace
from uuid import UUID

import pytest
from sqlalchemy import select, update

from tallystick.common.secret import Secret
from tallystick.server.accounts import credentials, firms, passwords, people
from tallystick.server.accounts.credentials import Caller, Role
from tallystick.server.accounts.people import Keeper
from tallystick.server.accounts.policy import MethodKind, PersonRole
from tallystick.server.loans import holding
from tallystick.server.messages import outbox
from tallystick.server.methods import METHODS
from tallystick.server.rules.judge import Reason
from tallystick.server.rules.otp import hotp
from tallystick.server.signing_in import (
    inviting,
    login,
    passkey,
    recovery,
    stepup,
    together,
)
from tallystick.server.signing_in.attempts import Purpose
from tallystick.server.signing_in.login import Browser, Signed
from tallystick.server.signing_in.second import as_person
from tallystick.server.signing_in.stepup import KeptForm
from tallystick.server.stock import cards
from tallystick.server.stock.gathering import CardSeed
from tallystick.server.store.models import PersonRow
from tallystick.server.store.models_login import Attempt, Factor, HelpRequest
from tests.server.house import HERE, TOTP, locked_by, refused
from tests.server.soft_key import SoftKey

NEW = "another horse battery"
DAY_S = 86400


@pytest.fixture
def house(quick_house):
    return quick_house


def act(house, what, *arguments, **more):
    with house.write() as connection:
        return what(house.state, connection, *arguments, **more)


# -- two of the staff ------------------------------------------------------------------------------

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


def seed_of(serial: str) -> bytes:
    return serial.encode() * 10


def card(house, serial="A1") -> None:
    """In the stock."""
    seed = Secret(seed_of(serial))
    with house.write() as connection:
        ring, now = house.state.ring, house.clock()
        made = credentials.add(
            connection, ring, role=Role.STATION, name=serial, now=now, actor="test"
        )
        station = Caller(made.id, 1, Role.STATION, serial, "")
        cards.register(connection, ring, station, [CardSeed(serial, seed, 0)], now)


def hand_over(desk, login="boss", serial="A1", code=None, asker="sue", *, for_good=False):
    codes = (code or hotp(seed_of(serial), 0, 6),)
    return act(
        desk, together.ask_hand_over, desk.firm, desk.known(asker), serial, login=login,
        codes=codes, for_good=for_good,
    )  # fmt: skip


def acts(desk) -> list[tuple[str, str]]:
    with desk.write() as connection:
        query = "SELECT action, subject FROM audit ORDER BY number"
        return [tuple(row) for row in connection.exec_driver_sql(query)]


@pytest.mark.parametrize("for_good", [True, False])
def test_a_card_is_handed_over_when_a_colleague_agrees(desk, posted, for_good):
    card(desk)
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
    card(desk)
    card(desk, "B2")
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
    card(desk)
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
    card(desk)
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
    card(desk)
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
    card(desk, "B2")
    caller = cards.staff(desk.known("boss").id, 1, "boss", PersonRole.ADMINISTRATOR)
    holding.assign(connection, desk.state.ring, caller, "B2", login="ann", now=desk.clock())
    holding.confirm(connection, 1, "B2", desk.known().id, desk.clock())


def test_a_card_that_was_named_is_lost_and_said_so_in_order(desk):
    card(desk)
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


# -- invitations -----------------------------------------------------------------------------------


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


# -- a proof in a session --------------------------------------------------------------------------

FORM = KeptForm("/p/default/change", [("name", "value"), ("name", "ü")])


def begun(house, session, next_url="/on", form=FORM):
    return stepup.begin(house.state, session, HERE, next_url, form)


def proved(house, session):
    house.clock.advance(60)
    return stepup.prove(house.state, session, TOTP, house.key, {"code": house.code()}, HERE)


def test_a_proof_is_fresh_for_five_minutes(house):
    house.person()
    session = house.session(house.sign_in().session)
    for after, fresh in ((299, True), (300, False)):
        assert stepup.is_fresh(session, session.proved_at + after) is fresh


def test_a_form_is_kept_for_where_it_belongs(house):
    house.person()
    session = house.session(house.sign_in().session)
    begun(house, session)
    begun(house, session, "", None)  # back to the choice: both stay
    begun(house, session, "/on", None)
    assert proved(house, session) == stepup.Proved("/on", FORM)
    begun(house, session)
    begun(house, session, "/elsewhere", None)
    assert proved(house, session) == stepup.Proved("/elsewhere", None)
    begun(house, session, "", None)
    assert proved(house, session) == stepup.Proved("", None)


def test_a_form_as_long_as_is_kept_and_one_longer(house):
    house.person()
    session = house.session(house.sign_in().session)
    around = len(json.dumps(["/", [["a", ""]]]))
    for more, kept in ((0, True), (1, False)):
        form = KeptForm("/", [("a", "x" * (100_000 - around + more))])
        begun(house, session, form=form)
        assert proved(house, session).form == (form if kept else None)


def test_a_form_is_for_its_session_and_its_key(house):
    house.person()
    session = house.session(house.sign_in().session)
    sealed = stepup._sealed(house.state, session, FORM)
    assert stepup._opened(house.state, session, sealed) == FORM
    assert stepup._opened(house.state, replace(session, handle="x"), sealed) is None
    assert stepup._opened(house.state, session, "") is None


def test_a_code_of_a_proof_is_sent_at_once(house, posted):
    house.person()
    session = house.session(house.sign_in().session)
    with house.write() as connection:
        context = house.context(connection)
        started = METHODS[MethodKind.EMAIL].start(
            context, as_person(session.person), {"address": "ann@elsewhere.org"}
        )
        connection.exec_driver_sql("UPDATE factor SET confirmed_at = 1")
    key = started.key
    begun(house, session)
    assert len(stepup.choices(house.state, session, HERE)) == 2
    assert stepup.delivered(house.state, session, MethodKind.EMAIL, key, HERE) is None
    many = len(posted)
    stepup.challenge(house.state, session, MethodKind.EMAIL, key, HERE)
    assert house.state.outbox.woken[-1] == len(posted) == many + 1
    assert stepup.delivered(house.state, session, MethodKind.EMAIL, key, HERE) is not None
    assert stepup.delivered(house.state, session, TOTP, house.key, HERE) is None
    other = house.session(house.sign_in().session)
    begun(house, other)  # what was sent for one is not for the other
    assert stepup.delivered(house.state, other, MethodKind.EMAIL, key, HERE) is None
    token = house.first().attempt
    assert login.delivered(house.state, "default", token, MethodKind.EMAIL, key) is None
    login.challenge(house.state, "default", token, MethodKind.EMAIL, key, HERE.source)
    assert house.state.outbox.woken[-1] == len(posted) == many + 2
    assert login.delivered(house.state, "default", token, MethodKind.EMAIL, key) is not None


def test_a_known_browser_proves_in_a_session_in_spite_of_strangers(house):
    house.person()
    signed = house.sign_in()
    session = house.session(signed.session)
    with house.write() as connection:
        connection.exec_driver_sql("UPDATE factor SET failures = 9, blocked_until = 9999999999")
    begun(house, session)
    known = replace(HERE, known=signed.known)
    code = {"code": house.code()}
    stranger = stepup.prove(house.state, session, TOTP, house.key, code, HERE)
    assert stranger.reason is Reason.THROTTLED
    assert stepup.prove(house.state, session, TOTP, house.key, code, known) == stepup.Proved(
        "/on", FORM
    )


def test_a_key_proves_in_a_session(house, key):
    session = house.session(answered(house, key, *asked(house)).session)
    begun(house, session)
    with house.write() as connection:
        number = str(connection.scalar(select(Factor.id).where(Factor.external_id == key.id)))
    shown = stepup.challenge(house.state, session, MethodKind.WEBAUTHN, number, HERE)
    form = {"response": key.get(json.loads(shown["options"]), "http://localhost")}
    proof = stepup.prove(house.state, session, MethodKind.WEBAUTHN, number, form, HERE)
    assert proof == stepup.Proved("/on", FORM)


# -- a key alone -----------------------------------------------------------------------------------

MODEL = UUID("00000000-0000-4000-8000-000000000007")


@pytest.fixture
def key(house):
    """Of ann, in a firm that lets keys alone sign in."""
    house.state = replace(house.state, public_url="http://localhost")
    house.person(enrolled=False)
    house.policy(key_alone=True)
    return enrolled_key(house)


def enrolled_key(house) -> SoftKey:
    made = SoftKey(MODEL)
    with house.write() as connection:
        context = replace(house.context(connection), challenge=b"c" * 32)
        owner = as_person(house.known())
        started = METHODS[MethodKind.WEBAUTHN].start(context, owner, {"label": "Key"})
        answer = made.create(json.loads(started.show["options"]), "http://localhost")
        verdict = METHODS[MethodKind.WEBAUTHN].finish(
            context, owner, started.key, {"response": answer}
        )
        assert verdict.accepted
    return made


def asked(house, next_url="/on"):
    found = passkey.begin(house.state, "default", HERE, next_url)
    return found.attempt, json.loads(found.options)


def answered(house, key, token, options, named=True):
    form = {"response": key.get(options, "http://localhost", named=named)}
    return passkey.finish(house.state, "default", token, form, HERE)


def failures(house) -> int:
    with house.write() as connection:
        query = "SELECT coalesce(sum(count), 0) FROM rate WHERE bucket LIKE 'password-source|%'"
        return connection.exec_driver_sql(query).scalar_one()


def test_a_key_alone_is_let_in_where_it_was_asked_for(house, key):
    token, options = asked(house)
    assert len(options["challenge"]) == 43  # 32 bytes that nobody guesses
    found: list = []
    with house.write() as connection:
        locked = locked_by(connection, lambda: found.append(answered(house, key, token, options)))
    (signed,) = found
    assert "person" in locked  # PostgreSQL: who would bar her waits
    assert isinstance(signed, Signed) and signed.next_url == "/on" and signed.known
    assert house.session(signed.session).amr == ("pop", "user", "mfa")
    assert failures(house) == 0
    with refused("attempt-over"):
        answered(house, key, token, options)


def test_a_key_beside_other_methods_answers_for_itself(house, key):
    house.enrol("ann")
    for one in (enrolled_key(house), key):
        assert isinstance(answered(house, one, *asked(house)), Signed)
    token = house.first("ann").attempt
    with house.write() as connection:
        number = str(connection.scalar(select(Factor.id).where(Factor.external_id == key.id)))
    shown = login.challenge(house.state, "default", token, MethodKind.WEBAUTHN, number, HERE.source)
    form = {"response": key.get(json.loads(shown["options"]), "http://localhost")}
    signed = login.with_factor(
        house.state, "default", token, MethodKind.WEBAUTHN, number, form, HERE, remember=False
    )
    assert isinstance(signed, Signed)


def test_what_is_no_key_of_anybody(house, key):
    for spoil, code, status in (
        (lambda: setattr(key, "id", b"x" * 32), "key-unknown", 401),
        (lambda: house.change(disabled_at=1), "key-unknown", 401),
        (lambda: house.policy(methods=["webauthn", "totp"], key_alone=False),
         "key-alone-not-allowed", 403),
    ):  # fmt: skip
        token, options = asked(house)
        before, kept = failures(house), (key.id, house.firm.policy)
        spoil()
        with refused(code) as caught:
            answered(house, key, token, options)
        assert caught.value.status == status
        assert failures(house) == before + (code == "key-unknown")
        if code == "key-unknown":
            whose = "unknown" if key.id != kept[0] else f"person:{house.known().id}"
            assert acts(house)[-1] == (code, whose)
        key.id = kept[0]
        house.change(disabled_at=None)
    with refused("key-alone-not-allowed"):
        asked(house)
    assert not passkey.allowed(house.firm.policy)
    without = house.firm.policy.model_copy(
        update={"key_alone": True, "methods": frozenset({MethodKind.TOTP})}
    )
    assert not passkey.allowed(without)


def test_an_answer_that_names_nobody_or_is_wrong_counts_as_a_failure(house, key):
    house.person("bob")
    house.enrol("ann")  # two apps, which have no name that a key could answer with
    token, options = asked(house)
    with refused("key-unknown"):
        answered(house, key, token, options, named=False)
    token, options = asked(house)
    wrong = answered(house, key, token, options | {"challenge": "AAAA"})
    assert wrong.reason is Reason.WRONG and failures(house) == 2
    assert [action for action, _ in acts(house)[-2:]] == ["key-unknown", "factor-checked"]
    with refused("attempt-over"):
        answered(house, key, token, options)


def test_a_key_that_was_handed_out_opens_nothing_before_it_was_shown(house, key):
    with house.write() as connection:
        connection.exec_driver_sql(
            "UPDATE factor SET facts = replace(facts, '\"handed\": false', '\"handed\": true')"
        )
    token, options = asked(house)
    with refused("key-unconfirmed") as caught:
        answered(house, key, token, options)
    assert caught.value.status == 403 and failures(house) == 1
    with refused("key-unconfirmed"):  # asking for it confirmed nothing
        answered(house, key, *asked(house))
    assert acts(house)[-1][0] == "key-unconfirmed"


def test_a_key_of_another_firm_is_nobodys(house, key):
    with house.write() as connection:
        firms.add(connection, house.state.ring, "other", now=house.clock(), actor="test")
        other = firms.by_name(connection, "other")
        policy = house.firm.policy
        firms.set_policy(
            connection, house.state.ring, other.id, policy, now=house.clock(), actor="test"
        )
    found = passkey.begin(house.state, "other", HERE, "")
    form = {"response": key.get(json.loads(found.options), "http://localhost", named=True)}
    with refused("key-unknown"):
        passkey.finish(house.state, "other", found.attempt, form, HERE)


def test_a_place_with_too_many_failures_is_asked_for_no_key(house, key):
    house.policy(sign_in_failures_per_source=10)
    for number in range(10):
        with refused("wrong-password"):
            house.first(f"nobody{number}")
    with refused("too-many"):
        asked(house)
    house.policy(key_alone=False)
    with refused("key-alone-not-allowed"):
        asked(house)
    house.policy(key_alone=True)
    assert passkey.begin(house.state, "default", Browser("198.51.100.7", ""), "")
