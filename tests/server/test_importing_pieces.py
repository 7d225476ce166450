"""Token files taken in: registered and handed out, all of it or nothing, though others act
meanwhile."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError, OperationalError

from tallystick.common.secret import Secret
from tallystick.server.accounts import credentials
from tallystick.server.accounts.credentials import Caller, Role
from tallystick.server.errors import ApiError, EntryProblem
from tallystick.server.loans import importing
from tallystick.server.loans.importing import Intent
from tallystick.server.stock import staged
from tallystick.server.stock.gathered import Taken
from tallystick.server.stock.gathering import CardSeed
from tallystick.server.stock.staged import StagedEntries
from tallystick.server.store.audit import AuditEntry
from tallystick.server.store.batches import batched
from tallystick.server.store.database import StaleError
from tallystick.server.store.models import Assignment, CardRow, CredentialRow, PersonRow, Tombstone
from tests.server.house import seed_of

SKIP, DRY, NEW = Intent(skip=True), Intent(dry_run=True), Intent(new_users=True)


class Importer:
    def __init__(self, house) -> None:
        self.house = house
        house.person(enrolled=False)
        self.caller = self.credential()
        self.told: list[tuple[str, int, int]] = []

    def credential(self, role=Role.ADMIN, name="importer") -> Caller:
        with self.house.write() as connection:
            made = credentials.add(
                connection, self.house.state.ring, role=role, name=name, now=self.house.clock(),
                actor="test",
            )  # fmt: skip
        return Caller(made.id, 1, role, name, "")

    def take(self, *entries, intent=Intent(), caller=None, left_out=(), tell=None):  # noqa: B008
        """entries: serial numbers, or (serial number, more of it)."""
        there = StagedEntries()
        for number, entry in enumerate(entries, start=1):
            serial, more = (entry, {}) if isinstance(entry, str) else entry
            more = {"seed": seed_of(serial), "moving_factor": 7} | more
            more["seed"] = Secret(more["seed"])
            there.put(number, CardSeed(serial, **more))
        taken = Taken("a kind", there, list(left_out))
        tell = tell or (lambda *said: self.told.append(said))
        return importing.take_in(
            self.house.state.database, self.house.state.ring, caller or self.caller, taken, intent,
            self.house.clock(), tell,
        )  # fmt: skip

    def all_of(self, *columns):
        with self.house.write() as connection:
            return connection.execute(select(*columns)).all()

    def cards(self):
        """(serial number, who has it)"""
        query = (
            select(CardRow.serial, PersonRow.login)
            .outerjoin(Assignment, Assignment.card_id == CardRow.id)
            .outerjoin(PersonRow, PersonRow.id == Assignment.person_id)
            .order_by(CardRow.serial)
        )
        with self.house.write() as connection:
            return [tuple(row) for row in connection.execute(query)]

    def acts(self):
        """(action, subject, chain) of what was done with cards and people"""
        query = (
            select(AuditEntry.action, AuditEntry.subject, AuditEntry.chain, AuditEntry.actor)
            .where(AuditEntry.actor == self.caller.id)
            .order_by(AuditEntry.chain.desc(), AuditEntry.number)
        )
        with self.house.write() as connection:
            return [tuple(row[:3]) for row in connection.execute(query)]


@pytest.fixture
def importer(quick_house):
    return Importer(quick_house)


def problems_of(act) -> ApiError:
    with pytest.raises(ApiError) as caught:
        act()
    return caught.value


def lines(found):
    return [(one.number, one.serial, one.code) for one in found]


def test_what_a_file_has_is_registered_and_given_to_whom_it_names(importer):
    done = importer.take("A1", ("B2", {"user": "ann"}), ("C3", {"user": "zoe"}))
    assert importer.cards() == [("A1", None), ("B2", "ann"), ("C3", None)]
    assert (done.new, done.left_out) == (True, [])
    answers = list(done.cards)
    assert [(one["serial"], one["status"], one["assigned"], one["user"]) for one in answers] == [
        ("A1", "registered", False, None), ("B2", "registered", True, "ann"),
        ("C3", "registered", False, "zoe"),
    ]  # fmt: skip
    assert importer.acts() == [
        ("card-assigned", "B2", "main"), *(("card-registered", one, "main")
                                           for one in ("A1", "B2", "C3")),
    ]  # fmt: skip
    rows = importer.all_of(CardRow.firm_id, CardRow.registered_by, CardRow.registered_at,
                           CardRow.moving_factor)  # fmt: skip
    assert set(rows) == {(1, importer.caller.id, int(importer.house.clock()), 7)}
    assert importer.told == [("sealed", 3, 3), ("registered", 0, 3)]


def test_a_second_time_it_is_there_already(importer):
    importer.take("A1", "B2")
    before = importer.acts()
    done = importer.take("A1", ("B2", {"user": "ann"}))
    assert [one["status"] for one in done.cards] == ["already-registered"] * 2
    assert not done.new and importer.cards() == [("A1", None), ("B2", "ann")]
    assert importer.acts() == [*before[:2], ("card-assigned", "B2", "main")]


def test_people_are_made_known_when_asked(importer):
    importer.take(("A1", {"user": "zoe"}), intent=NEW)
    assert importer.cards() == [("A1", "zoe")]
    assert [one[0] for one in importer.acts()] == [
        "person-added", "card-assigned", "card-registered",
    ]  # fmt: skip


def test_cards_are_handed_to_nobody_when_asked(importer):
    done = importer.take(("A1", {"user": "ann"}), intent=Intent(assign=False))
    assert importer.cards() == [("A1", None)]
    assert [one["assigned"] for one in done.cards] == [False]


@pytest.mark.parametrize("many", [1, 2])
def test_a_dry_run_says_what_would_be_and_keeps_nothing(importer, many, monkeypatch):
    monkeypatch.setattr(importing, "FEW", 1)
    entries = [("A1", {"user": "zoe"}), "B2"][:many]
    done = importer.take(*entries, intent=replace(DRY, new_users=True))
    assert done.new and [one["assigned"] for one in done.cards] == [True, False][:many]
    assert importer.cards() == [] and importer.acts() == []
    assert importer.told == [("sealed", many, many), ("registered", 0, many)]


def test_a_large_file_has_a_chain_of_its_own_in_the_log(importer, monkeypatch):
    assert importing.FEW == 1000
    monkeypatch.setattr(importing, "FEW", 2)
    importer.take("A1", "B2")
    assert importer.told == [("sealed", 2, 2), ("registered", 0, 2)]
    assert {chain for _, _, chain in importer.acts()} == {"main"}
    importer.told.clear()
    importer.take("A1", "C3", "D4", "E5")
    late = importer.acts()[2:]
    assert [one[:2] for one in late] == [("card-registered", one) for one in ("C3", "D4", "E5")]
    assert len({chain for _, _, chain in late}) == 1 and late[0][2].startswith("i-")
    assert importer.told == [("sealed", 4, 4), ("linked", 4, 4), ("registered", 0, 3)]
    opened = importer.all_of(AuditEntry.action, AuditEntry.subject, AuditEntry.chain)
    assert ("chain-opened", late[0][2], "main") in opened


# -- what is wrong ---------------------------------------------------------------------------------

TWICE = ("B2", {"seed": seed_of("A1")})


def test_one_bad_entry_and_nothing_is_kept(importer):
    importer.take("A1")
    other = ("A1", {"seed": seed_of("Z9")})
    error = problems_of(lambda: importer.take("C3", TWICE, other))
    assert lines(error.entries) == [(2, "B2", "duplicate-seed"), (3, "A1", "duplicate-serial")]
    assert error.status == 409 and importer.cards() == [("A1", None)]


def test_bad_entries_are_left_out_when_asked(importer):
    before = EntryProblem(number=9, serial="Z9", code="x", what="y")
    importer.take("A1")
    done = importer.take("C3", TWICE, intent=SKIP, left_out=[before])
    assert lines(done.left_out) == [(9, "Z9", "x"), (2, "B2", "duplicate-seed")]
    assert importer.cards() == [("A1", None), ("C3", None)]
    assert [one["serial"] for one in done.cards] == ["C3"]


@pytest.mark.parametrize("apart", [False, True])
def test_two_entries_of_one_seed_in_one_file(importer, monkeypatch, apart):
    """In the order of the file, whichever batch they come in."""
    if apart:
        monkeypatch.setattr(staged, "batched", partial(batched, size=1))
    first = ("A1", {"seed": seed_of("S")})
    again = ("B2", {"seed": seed_of("S")})
    error = problems_of(lambda: importer.take(first, again))
    assert lines(error.entries) == [(2, "B2", "duplicate-seed")]
    done = importer.take(first, again, intent=SKIP)
    assert importer.cards() == [("A1", None)] and len(done.left_out) == 1


def test_problems_are_named_in_the_order_of_the_file(importer):
    importer.take("Q1")
    serial = ("Q1", {"seed": seed_of("Z9")})
    shared = [(name, {"seed": seed_of("S")}) for name in ("A1", "B2")]
    error = problems_of(lambda: importer.take(shared[0], serial, shared[1], serial))
    assert [one.number for one in error.entries] == sorted(one.number for one in error.entries)
    assert error.entries[0].number in (2, 3)


def test_a_card_that_cannot_be_handed_out_keeps_the_whole_file_out(importer):
    importer.house.change(role="administrator")
    desk = importer.credential(Role.DESK, "desk")
    error = problems_of(
        lambda: importer.take(
            ("A1", {"user": "ann"}), "B2", ("C3", {"user": "ann"}), caller=desk, intent=SKIP
        )
    )
    assert [(one.number, one.serial) for one in error.entries] == [(1, "A1"), (3, "C3")]
    assert error.status == 403 and importer.cards() == []


@pytest.mark.parametrize("what", ["registered", "handed out"])
def test_so_many_problems_are_not_all_named(importer, monkeypatch, what):
    """Nobody reads them all, and the work ends there."""
    monkeypatch.setattr(importing, "MOST_PROBLEMS", 2)
    monkeypatch.setattr(staged, "batched", partial(batched, size=1))
    names = ("A1", "B2", "C3", "D4")
    if what == "registered":
        importer.take(*names)
        bad = [(one, {"seed": seed_of("x" + one)}) for one in names]
        caller = None
    else:
        importer.house.change(role="administrator")
        bad = [(one, {"user": "ann"}) for one in names]
        caller = importer.credential(Role.DESK, "desk")
    few = problems_of(lambda: importer.take(*bad[:2], caller=caller))
    assert len(few.entries) == 2
    with pytest.raises(ApiError) as caught:
        importer.take(*bad, caller=caller, intent=SKIP if what == "registered" else Intent())
    assert len(caught.value.entries) >= 3
    if what == "handed out":
        assert len(caught.value.entries) == 3


# -- others meanwhile ------------------------------------------------------------------------------


def test_a_grave_that_is_dug_meanwhile_is_looked_at(importer):
    """A seed that was here starts no lower than where it stopped."""
    found = importer.house.state.ring.fingerprint(seed_of("A1"), "sha1")
    tries = []

    def tell(what, *_):
        if what == "registered" and what not in tries:
            with importer.house.write() as connection:
                grave = {"seed_fingerprint": found, "firm_id": 1, "serial": "A1",
                         "moving_factor": 99, "deleted_at": 0}  # fmt: skip
                connection.execute(insert(Tombstone), grave)
        tries.append(what)

    importer.take("A1", tell=tell)
    assert importer.all_of(CardRow.moving_factor) == [(99,)]
    assert tries == ["sealed", "registered"] * 2


def test_a_credential_that_is_revoked_meanwhile_registers_nothing(importer):
    def tell(what, *_):
        if what == "registered":
            with importer.house.write() as connection:
                connection.execute(update(CredentialRow).values(revoked_at=1))

    error = problems_of(lambda: importer.take("A1", tell=tell))
    assert error.status == 401 and importer.cards() == []


def test_whoever_is_told_may_end_it(importer):
    class StoppedError(Exception):
        pass

    def tell(*_):
        raise StoppedError

    with pytest.raises(StoppedError):
        importer.take("A1", tell=tell)
    assert importer.cards() == []


def fails(monkeypatch, times, error):
    """So many tries fail; → those that were made"""
    tries = []
    genuine = importing._Work.once

    def once(work):
        tries.append(1)
        if len(tries) <= times:
            raise error
        return genuine(work)

    monkeypatch.setattr(importing._Work, "once", once)
    return tries


def of_database(state):
    original = type("Error", (Exception,), {"sqlstate": state})()
    return OperationalError(None, None, original)


IN_THE_WAY = [StaleError(), IntegrityError(None, None, Exception()), of_database("40001")]


@pytest.mark.parametrize("error", IN_THE_WAY, ids=repr)
def test_where_another_was_first_it_is_tried_again(importer, monkeypatch, error):
    tries = fails(monkeypatch, 4, error)
    assert importer.take("A1").new and len(tries) == 5


@pytest.mark.parametrize("error", IN_THE_WAY, ids=repr)
def test_and_not_for_ever(importer, monkeypatch, error):
    tries = fails(monkeypatch, 9, error)
    with pytest.raises(type(error)):
        importer.take("A1")
    assert len(tries) == importing.MOST_TRIES


def test_nothing_else_is_tried_again(importer, monkeypatch):
    tries = fails(monkeypatch, 1, of_database("42601"))
    with pytest.raises(OperationalError):
        importer.take("A1")
    assert len(tries) == 1


def test_who_has_a_card_is_of_the_last_try(importer):
    """At the first, somebody who had left was there yet."""
    tries = []

    def tell(what, *_):
        if what != "registered":
            return
        tries.append(what)
        if len(tries) == 2:
            with importer.house.write() as connection:
                connection.execute(delete(PersonRow))

    there = StagedEntries()
    there.put(1, CardSeed("A1", Secret(seed_of("A1")), 0, user="ann"))
    house = importer.house
    taken = Taken("a kind", there, [])
    work = importing._Work(house.state.database, house.state.ring, importer.caller, taken,
                           DRY, house.clock(), tell)  # fmt: skip
    assert [one["assigned"] for one in work.once().cards] == [True]
    assert [one["assigned"] for one in work.once().cards] == [False]


def test_nobody_has_to_be_told(importer):
    there = StagedEntries()
    there.put(1, CardSeed("A1", Secret(seed_of("A1")), 0))
    house = importer.house
    importing.take_in(house.state.database, house.state.ring, importer.caller,
                      Taken("a kind", there, []), Intent(), house.clock())  # fmt: skip
    assert importer.cards() == [("A1", None)]
