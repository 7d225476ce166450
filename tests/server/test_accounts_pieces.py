"""Sessions, passwords, credentials, factors and rights, each by itself: whose they are, and to
which second."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from sqlalchemy import insert, select, update

from tallystick.common.errors import BadInputError
from tallystick.server.accounts import credentials, factors, hashing, passwords, rights, sessions
from tallystick.server.accounts.credentials import Caller, Role
from tallystick.server.accounts.passwords import HashListFile, SmallBreachList
from tallystick.server.accounts.policy import FirmPolicy, MethodKind, PersonRole
from tallystick.server.accounts.rights import RIGHTS, Right
from tallystick.server.rules.throttle import Throttle
from tallystick.server.services import oidc_clients
from tallystick.server.store.database import StaleError
from tallystick.server.store.models import AuditEntry, CredentialRow, PersonRow
from tallystick.server.store.models_login import (
    Attempt,
    Factor,
    OidcCode,
    OidcLogout,
    RememberedDevice,
    SentCode,
    SessionRow,
)
from tests.server.house import TOTP, locked_by, refused

DAY_S = 86400


@pytest.fixture
def house(quick_house):
    return quick_house


# -- sessions --------------------------------------------------------------------------------------


def opened(house, name="ann", **more):
    """→ the token of a session of its own"""
    fields = {"amr": ("pwd", "otp", "mfa"), "browser": "b", "source": "s", "now": house.clock()}
    with house.write() as connection:
        return sessions.open_session(
            connection, person=house.known(name), policy=house.firm.policy, **fields | more
        )


def rows(house, table=SessionRow):
    with house.write() as connection:
        return connection.execute(select(*table.__table__.columns)).all()


def test_what_is_kept_of_a_session(house):
    person = house.person(enrolled=False)
    token = opened(house, browser="x" * 256, source="y" * 65)
    (row,) = rows(house)
    now = int(house.clock())
    assert row.token_hash == hashlib.sha256(token.encode()).digest() and len(token) == 43
    assert (len(row.browser), len(row.source), len(row.handle)) == (255, 64, 32)
    assert (row.created_at, row.seen_at, row.expires_at) == (now, now, now + 12 * 3600)
    assert (row.firm_id, row.person_id, row.enrol_only) == (1, person.id, 0)
    session = house.session(token)
    assert session == sessions.SignedIn(
        id=row.id, person=person, policy=house.firm.policy, firm="default",
        amr=("pwd", "otp", "mfa"), created_at=now, proved_at=now, handle=row.handle,
        enrol_only=False, seen_at=now,
    )  # fmt: skip
    assert house.session(opened(house, amr=("pwd",))).proved_at is None


def test_a_session_that_may_only_enrol_ends_after_a_quarter_of_an_hour(house):
    house.person(enrolled=False)
    opened(house, enrol_only=True)
    (row,) = rows(house)
    assert (row.enrol_only, row.expires_at) == (1, int(house.clock()) + 900)


def test_a_session_that_nobody_uses_is_over_after_an_hour(house):
    """docs/reference/server.md: 60 minutes unless policy says otherwise."""
    house.person(enrolled=False)
    token = opened(house)
    house.clock.advance(3599)
    assert house.session(token)
    house.change(disabled_at=1)
    assert house.session(token) is None  # nor is that of somebody who is barred
    house.change(disabled_at=None)
    house.clock.advance(1)
    assert house.session(token) is None


def test_a_session_is_touched_and_strengthened_by_its_handle(house):
    house.person(enrolled=False)
    one, two = (opened(house, amr=("pwd",)) for _ in range(2))
    session, now = house.session(one), int(house.clock())
    for after, due in ((59, False), (60, True), (61, True)):
        assert sessions.is_to_be_touched(session, now + after + 0.5) is due
    with house.write() as connection:
        sessions.touch(connection, session, now + 59)
        assert house.session(one).seen_at == now
        sessions.touch(connection, session, now + 60)
        sessions.strengthen(connection, session, ("sms",), now + 61)
    assert (house.session(one).seen_at, house.session(two).seen_at) == (now + 60, now)
    assert house.session(one).amr == ("pwd", "sms", "mfa")
    assert (house.session(one).proved_at, house.session(two).proved_at) == (now + 61, None)


def test_whether_a_session_is_open_yet(house):
    house.person(enrolled=False)
    one, two = (house.session(opened(house)) for _ in range(2))
    with house.write() as connection:
        assert sessions.is_open(connection, one)
        sessions.end(connection, one.person.id, one.id)
        assert not sessions.is_open(connection, one) and sessions.is_open(connection, two)


def test_sessions_as_their_owner_sees_them(house):
    house.person("bob", enrolled=False)
    ann = house.person(enrolled=False)
    opened(house, "bob")
    now = house.clock()
    numbers = [house.session(opened(house, now=now + at)).id for at in (0, 2, 1)]
    with house.write() as connection:
        listed = sessions.of_person(connection, ann.id, now)
        assert [one.id for one in listed] == [numbers[1], numbers[2], numbers[0]]
        assert (listed[2].browser, listed[2].source, listed[2].amr) == ("b", "s", "pwd,otp,mfa")
        for after, many in ((-1, 3), (0, 2), (2, 0)):
            found = sessions.of_person(connection, ann.id, now + 12 * 3600 + after)
            assert len(found) == many


def followed(house, *tokens) -> None:
    """A service of each session is told of its end, and has a code of it on its way."""
    with house.write() as connection:
        number, _ = oidc_clients.add_client(
            connection, house.state.ring, firm_id=1, name="Service",
            redirect_uris=["https://service.example/"], now=house.clock(), actor="test",
        )  # fmt: skip
        for at, token in enumerate(tokens):
            session = house.session(token)
            connection.execute(
                insert(OidcCode),
                {"code_hash": bytes([at]), "client_id": number, "session_id": session.id,
                 "redirect_uri": "", "scope": "", "nonce": "", "challenge": "", "expires_at": 0},
            )  # fmt: skip
            connection.execute(
                insert(OidcLogout),
                {"firm_id": 1, "client_id": number, "session": session.handle, "subject": "x",
                 "tries": 0, "due_at": None, "expires_at": 0},
            )  # fmt: skip


def told(house) -> dict[str, int]:
    return {row.session: row.due_at for row in rows(house, OidcLogout) if row.due_at is not None}


def test_a_session_that_is_ended_takes_its_codes_along_and_services_hear_of_it(house):
    house.person("bob", enrolled=False)
    ann = house.person(enrolled=False)
    tokens = [opened(house), opened(house), opened(house, "bob")]
    one, two, theirs = (house.session(token) for token in tokens)
    followed(house, *tokens)
    with house.write() as connection:
        sessions.end(connection, ann.id, theirs.id)
        assert told(house) == {} and len(rows(house, OidcCode)) == 3
        sessions.end(connection, ann.id, one.id)
    assert told(house) == {one.handle: 0}
    assert {row.session_id for row in rows(house, OidcCode)} == {two.id, theirs.id}
    with house.write() as connection:
        connection.execute(update(OidcLogout).values(due_at=7).where(OidcLogout.session == "none"))
        sessions.end_all(connection, ann.id, but=two.id)
        assert told(house) == {one.handle: 0}
        sessions.end_all(connection, ann.id)
    assert told(house) == {one.handle: 0, two.handle: 0}
    assert {row.session_id for row in rows(house, OidcCode)} == {theirs.id}
    assert [row.id for row in rows(house)] == [theirs.id]


def test_who_was_told_of_an_end_is_not_told_anew(house):
    ann = house.person(enrolled=False)
    token = opened(house)
    followed(house, token)
    with house.write() as connection:
        connection.execute(update(OidcLogout).values(due_at=99))
        sessions.end_all(connection, ann.id)
    assert told(house) == {rows(house, OidcLogout)[0].session: 99}


def under_way(house, person_id, *purposes) -> None:
    """Attempts, each with a code on its way."""
    with house.write() as connection:
        for purpose in purposes:
            name = f"{person_id} {purpose}".encode()
            connection.execute(
                insert(Attempt),
                {"token_hash": name, "firm_id": 1, "person_id": person_id, "purpose": purpose,
                 "stage": "second", "context": "{}", "source": "", "expires_at": 0},
            )  # fmt: skip
            connection.execute(
                insert(SentCode),
                {"factor_id": int(house.key), "attempt": name, "code_tag": b"", "tries": 0,
                 "expires_at": 0},
            )  # fmt: skip


def left(house) -> list[str]:
    codes = sorted(row.attempt.decode() for row in rows(house, SentCode))
    assert codes == sorted(row.token_hash.decode() for row in rows(house, Attempt))
    return codes


def test_what_is_under_way_ends_with_the_sessions_or_with_recoveries_alone(house):
    bob, ann = house.person("bob"), house.person()
    every = ("login", "radius", "recovery", "prove")
    for person in (ann, bob):
        under_way(house, person.id, *every)
    tokens = [opened(house), opened(house, enrol_only=True), opened(house, "bob", enrol_only=True)]
    theirs = sorted(f"{bob.id} {purpose}" for purpose in every)
    with house.write() as connection:
        sessions.end_recoveries(connection, ann.id)
    mine = [f"{ann.id} {purpose}" for purpose in ("login", "prove", "radius")]
    assert left(house) == sorted(theirs + mine)
    assert [bool(house.session(token)) for token in tokens] == [True, False, True]
    with house.write() as connection:
        sessions.end_all(connection, ann.id)
    assert left(house) == sorted([*theirs, f"{ann.id} prove"])
    assert [bool(house.session(token)) for token in tokens] == [False, False, True]


# -- remembered browsers ---------------------------------------------------------------------------


def remembered(house, name="ann", days=2, **more):
    policy = house.firm.policy.model_copy(update={"remember_device_days": days})
    with house.write() as connection:
        return sessions.remember_device(
            connection, house.known(name).id, policy, house.clock(), **more
        )


def test_what_is_kept_of_a_remembered_browser(house):
    ann = house.person(enrolled=False)
    assert remembered(house, days=0) is None and rows(house, RememberedDevice) == []
    assert remembered(house, days=1)
    token = remembered(house, browser="x" * 256, source="y" * 65)
    now = int(house.clock())
    one, two = sorted(rows(house, RememberedDevice), key=lambda row: row.expires_at)
    assert (one.expires_at, two.expires_at) == (now + DAY_S, now + 2 * DAY_S)
    assert two.token_hash == sessions.digest(token) and two.created_at == now
    assert (len(two.browser), len(two.source), len(two.handle)) == (255, 64, 32)
    with house.write() as connection:
        shown = sessions.remembered(connection, ann.id, now + DAY_S - 1)
        assert {(o.handle, o.expires_at) for o in shown} == {
            (one.handle, one.expires_at), (two.handle, two.expires_at),
        }  # fmt: skip
        assert len(sessions.remembered(connection, ann.id, now + DAY_S)) == 1


def test_a_remembered_browser_is_forgotten_by_its_owner_alone(house):
    bob, ann = house.person("bob", enrolled=False), house.person(enrolled=False)
    remembered(house, "bob")
    remembered(house)
    handle = {row.person_id: row.handle for row in rows(house, RememberedDevice)}
    with house.write() as connection:
        assert [one.handle for one in sessions.remembered(connection, ann.id, 0)] == [
            handle[ann.id]
        ]
        assert sessions.forget_device(connection, ann.id, handle[bob.id]) is False
        assert sessions.forget_device(connection, ann.id, handle[ann.id]) is True
        assert sessions.forget_device(connection, ann.id, handle[ann.id]) is False
        remembered(house)
        sessions.end_all(connection, ann.id)
    assert [row.person_id for row in rows(house, RememberedDevice)] == [bob.id]


def test_a_token_of_a_remembered_browser_and_what_is_none(house):
    bob, ann = house.person("bob", enrolled=False), house.person(enrolled=False)
    token, now = remembered(house), int(house.clock())
    policy = house.firm.policy.model_copy(update={"remember_device_days": 1})
    with house.write() as connection:

        def is_it(person=ann, policy=policy, token=token, after=0) -> bool:
            return sessions.is_remembered(connection, person.id, policy, token, now + after)

        assert is_it() and is_it(after=2 * DAY_S - 1)
        never = policy.model_copy(update={"remember_device_days": 0})
        assert not any((is_it(after=2 * DAY_S), is_it(bob), is_it(policy=never), is_it(token="")))
        assert is_it(token="x") is False


def test_a_stricter_policy_shortens_what_is_longer_of_its_firm(house):
    house.person(enrolled=False)
    remembered(house, days=1)
    remembered(house, days=3)
    opened(house)
    now = int(house.clock())
    old = house.firm.policy
    new = old.model_copy(update={"remember_device_days": 2, "session_hours": 1})

    def ends(table) -> list[int]:
        return sorted(row.expires_at - now for row in rows(house, table))

    with house.write() as connection:
        sessions.shorten(connection, 2, old, new, now)
        assert (ends(RememberedDevice), ends(SessionRow)) == ([DAY_S, 3 * DAY_S], [12 * 3600])
        sessions.shorten(connection, 1, old, new, now)
        assert (ends(RememberedDevice), ends(SessionRow)) == ([DAY_S, 2 * DAY_S], [3600])
        sessions.shorten(connection, 1, old, old, now + 60 * 60 - 1)
        assert ends(SessionRow) == [3600]
        connection.execute(update(SessionRow).values(expires_at=now + 3601))
        sessions.shorten(connection, 1, old, old, now + 60 * 60)  # nobody had used it for so long
        assert ends(SessionRow) == [3600]
        sessions.shorten(connection, 1, old, old, now + 60 * 60 + 9)  # over is over
        assert ends(SessionRow) == [3600]


# -- passwords -------------------------------------------------------------------------------------

NOW = 1_800_000_000.0
GOOD = "otter gravel summit"


class NothingBreached:
    def has(self, password: str) -> bool:
        return password.startswith("stolen")


def problem(password, login="someone", policy=None, about=()):
    """→ what is wrong with a new password, or ''"""
    try:
        passwords.check_new(password, login, policy or FirmPolicy(), NothingBreached(), NOW, about)
    except passwords.ApiError as error:
        assert (error.status, error.code) == (422, "bad-password")
        return error.what
    return ""


EARLY = "The new password is one that guessers try early."


@pytest.mark.parametrize(
    ("password", "found"),
    [
        ("vK7#qzPw", ""),
        ("vK7#qzP", "The new password has fewer than 8 characters."),
        ("vK\ufb00#qzP", ""),  # a ligature: eight characters when it is taken apart
        (GOOD * 13 + "123456789", ""),
        (GOOD * 13 + "1234567890", "The new password has more than 256 characters."),
        ("Someone at sea 19", "The new password contains the login name."),
        ("stolen gravel summit", EARLY),
        ("abcdabdcabcdacbd", EARLY),  # four characters
        ("correcthorse", EARLY),
    ],
)
def test_what_is_wrong_with_a_new_password(password, found):
    assert len(GOOD * 13 + "123456789") == 256
    assert problem(password) == found


def test_a_login_name_of_three_letters_is_in_good_passwords_by_chance():
    assert problem(GOOD, login="ott") == ""
    assert problem(GOOD, login="otte") == "The new password contains the login name."


def test_a_new_password_has_five_different_characters_at_least(monkeypatch):
    monkeypatch.setattr(passwords, "_is_guessed_early", lambda *_: False)
    assert (problem("aabbccdd"), problem("aabbccde")) == (EARLY, "")


def test_a_password_that_is_the_only_factor_is_longer():
    alone = FirmPolicy(minimum_methods=0)
    assert problem("vK7#qzPwRt2!mN", policy=alone) == (
        "The new password has fewer than 15 characters."
    )
    assert problem("vK7#qzPwRt2!mNx", policy=alone) == ""


def test_what_is_known_of_somebody_is_no_password():
    about = ("anna.lindqvist@firm.example", "Anna Lindqvist")
    for password in ("annalindqvist9", "lindqvist.firm", "Lindqvist2024"):
        assert problem(password, about=about) == EARLY, password
    assert problem("lindqvist.firm") == ""
    assert passwords._words("a.b", "", "c") == ["a.b", "c", "ab", "a", "b"]


@pytest.mark.parametrize(("guesses", "early"), [(10**8 - 1, True), (10**8, False)])
def test_how_many_guesses_are_early(monkeypatch, guesses, early):
    """And no more than 72 characters are looked at: the time grows with their square."""
    seen = []

    def estimate(password, user_inputs):
        seen.append((password, user_inputs))
        return {"guesses": guesses}

    monkeypatch.setattr("zxcvbn.zxcvbn", estimate)
    assert passwords._is_guessed_early("x" * 73, ["known"]) is early
    assert seen == [("x" * 72, ["known"])]


def test_passwords_are_hashed_at_the_cost_that_is_stated(full_cost_passwords):
    """docs/reference/server.md; RFC 9106's second recommendation, in one lane."""
    assert passwords.hash_new(GOOD).startswith("$argon2id$v=19$m=65536,t=3,p=1$")


def test_a_password_is_right_in_the_form_that_was_typed_or_its_normal_one():
    composed, apart = "caf\u00e9 gravel", "cafe\u0301 gravel"
    assert passwords.normalised(apart) == composed
    stored = passwords.hash_new(apart)
    assert passwords.matches(stored, composed) and passwords.matches(stored, apart)
    old = passwords.HASHER.hash(apart)  # of before they were normalised
    assert passwords.matches(old, apart) and not passwords.matches(old, composed)


def test_what_matches_nothing():
    stored = passwords.hash_new(GOOD)
    for hashed, password in (
        (stored, "another"), (None, GOOD), (None, "nobody's password"), ("", GOOD),
        ("no hash", GOOD),
    ):  # fmt: skip
        assert passwords.matches(hashed, password) is False
    long = "x" * 256
    assert passwords.matches(passwords.HASHER.hash(long), long + "y")
    assert not passwords.matches(passwords.HASHER.hash(long), "x" * 255)


def test_a_password_is_of_one_person(house):
    bob, ann = house.person("bob", enrolled=False), house.person(enrolled=False)
    with house.write() as connection:
        passwords.store(connection, ann.id, "hashed", 7.9)
        assert passwords.stored_hash(connection, ann.id) == "hashed"
        assert passwords.stored_hash(connection, bob.id) != "hashed"
        assert connection.scalar(select(PersonRow.password_at).where(PersonRow.id == ann.id)) == 7
        assert passwords.stored_hash(connection, bob.id + ann.id) is None


def hash_list(tmp_path, many: int, *, count="", end="\n"):
    """A file of the hashes of `password 0`, `password 2`, ..."""
    hashes = sorted(
        hashlib.sha1(f"password {2 * n}".encode()).hexdigest().upper() for n in range(many)
    )
    path = tmp_path / "list"
    path.write_bytes(end.join(f"{one}{count}" for one in hashes).encode() + end.encode())
    return path


@pytest.mark.parametrize("many", [1, 2, 3, 7, 40])
@pytest.mark.parametrize(("count", "end"), [("", "\n"), (":12", "\r\n")])
def test_a_list_has_what_stands_in_it_and_nothing_else(tmp_path, many, count, end):
    listed = HashListFile(hash_list(tmp_path, many, count=count, end=end))
    found = [listed.has(f"password {n}") for n in range(2 * many)]
    assert found == [True, False] * many
    assert listed.has("PassWord123")  # the short list counts besides


def test_a_list_without_a_last_line_end(tmp_path):
    path = hash_list(tmp_path, 5)
    path.write_bytes(path.read_bytes().rstrip())
    listed = HashListFile(path)
    assert all(listed.has(f"password {2 * n}") for n in range(5))


def test_while_a_list_cannot_be_read_the_short_one_counts_alone(tmp_path, caplog):
    path = hash_list(tmp_path, 1)
    listed = HashListFile(path)
    path.unlink()
    assert listed.has("password 0") is False and listed.has("password123") is True
    assert "the list of breached passwords cannot be read" in caplog.text


@pytest.mark.parametrize("content", [b"", b"password\n", b"a" * 40, b"0" * 41, b"0" * 40 + b":\n"])
def test_what_is_no_list_is_said_so_at_the_start(tmp_path, content):
    path = tmp_path / "list"
    with pytest.raises(BadInputError, match="cannot be read"):
        HashListFile(path)
    path.write_bytes(content)
    with pytest.raises(BadInputError, match="its first line is no SHA-1 hash"):
        HashListFile(path)


def test_the_short_list():
    assert SmallBreachList().has("Password123") and not SmallBreachList().has(GOOD)


# -- threads that hash -----------------------------------------------------------------------------


def test_a_core_is_left_for_checks_of_codes(monkeypatch):
    """Of those that this process may use."""
    for cores, most in ((1, 1), (2, 1), (3, 2), (4, 3), (64, 3)):
        mine = {0: set(range(cores))}
        monkeypatch.setattr("os.sched_getaffinity", mine.__getitem__)
        assert hashing.at_once() == most


def test_places_come_free_whatever_became_of_the_work():
    kiln = hashing.Hashing(at_once=1, queue=0)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            kiln.run(lambda: 1 // 0)
        assert kiln.run(lambda: 7) == 7


def test_when_all_places_are_taken_the_next_one_is_told_to_come_back():
    kiln = hashing.Hashing(at_once=1, queue=1)
    with refused("busy") as caught:
        kiln.run(lambda: kiln._taken == 1 and _occupied(kiln))
    assert (caught.value.status, caught.value.retry_after_s) == (503, 5)
    assert caught.value.todo == "Try again in 5 seconds."
    assert hashing.NICENESS == 10  # docs/reference/server.md: they yield to checks


def _occupied(kiln) -> None:
    kiln._taken += 1  # a second one waits
    try:
        kiln.run(lambda: None)
    finally:
        kiln._taken -= 1


# -- credentials -----------------------------------------------------------------------------------


def added(house, role=Role.SERVICE, name="x", **more):
    with house.write() as connection:
        return credentials.add(
            connection, house.state.ring, role=role, name=name, now=house.clock(), actor="test",
            **more,
        )  # fmt: skip


def test_a_credential_and_what_is_kept_of_it(house):
    made = added(house)
    (row,) = rows(house, CredentialRow)
    token = made.token.reveal().decode()
    assert token.startswith("tally_") and len(token) == 6 + 43 < credentials.MAX_TOKEN_LENGTH
    assert row.token_hash == hashlib.sha256(token.encode()).digest()
    assert (row.id, row.firm_id, row.role, row.name) == (made.id, 1, "service", "x")
    assert made.id[:3] == "se-" and len(made.id) == 15 and row.created_at == int(house.clock())
    assert (made.psk, row.psk_key_id, row.psk_box) == (None, None, None)
    entry = rows(house, AuditEntry)[-1]
    assert (entry.at_ms, entry.actor, entry.action, entry.subject, entry.detail) == (
        int(house.clock() * 1000), "test", "credential-added", made.id, '{"role":"service"}',
    )  # fmt: skip


def test_a_station_has_a_key_of_its_own_besides(house):
    one, two = (added(house, Role.STATION, name) for name in "ab")
    with house.write() as connection:
        for made in (one, two):
            kept = credentials.station_psk(connection, house.state.ring, made.id)
            assert kept.reveal() == made.psk.reveal() and len(kept.reveal()) == 16
    assert one.psk.reveal() != two.psk.reveal()


def test_a_name_of_a_credential_is_there_once(house):
    added(house)
    with refused("duplicate-name") as caught:
        added(house)
    assert caught.value.status == 409


def test_a_credential_is_known_until_it_is_revoked(house):
    made, other = added(house), added(house, Role.ADMIN, "y")
    hashed = credentials.hash_token(made.token.reveal().decode())
    with house.write() as connection:
        caller = credentials.authenticate(connection, hashed)
        assert (caller.id, caller.firm_id, caller.role, caller.name) == (made.id, 1, made.role, "x")
        assert caller.person_role is None and caller.policy
        with refused("unknown-credential") as caught:
            credentials.authenticate(connection, b"other")
        assert caught.value.status == 401
        found = credentials.authenticate_all(connection, [hashed, b"other"])
        assert found[b"other"].row is None and found[hashed].row.id == made.id

        def revoke(**more):
            credentials.revoke(
                connection, house.state.ring, made.id, now=house.clock(), actor="boss", **more
            )

        with refused("no-such-credential") as caught:
            revoke(firm_id=2)
        assert caught.value.status == 404
        credentials.must_still_be(connection, caller)
        revoke(firm_id=1)
        with refused("revoked-credential") as caught:
            credentials.authenticate(connection, hashed)
        assert caught.value.status == 401
        with refused("rights-taken") as caught:
            credentials.must_still_be(connection, caller)
        assert caught.value.status == 401
        credentials.must_still_be(connection, replace(caller, id=other.id))
        many = len(rows(house, AuditEntry))
        house.clock.advance(60)
        revoke()  # twice is the same as once
        revoked = {row.id: row.revoked_at for row in rows(house, CredentialRow)}
        assert revoked == {made.id: int(house.clock()) - 60, other.id: None}
        assert len(rows(house, AuditEntry)) == many
    entry = rows(house, AuditEntry)[-1]
    assert (entry.actor, entry.action, entry.subject) == ("boss", "credential-revoked", made.id)
    assert (entry.at_ms, entry.firm_id) == (int(house.clock() - 60) * 1000, 1)


def test_credentials_are_listed_with_their_firm_oldest_first(house):
    names = ("c", "b", "a")
    for name in names:
        added(house, name=name)
        house.clock.advance(1)
    with house.write() as connection:
        listed = credentials.list_all(connection, 1)
        assert [(one["name"], one["firm"]) for one in listed] == [(n, "default") for n in names]
        assert "token_hash" not in listed[0]
        assert credentials.list_all(connection, 2) == []
        assert len(credentials.list_all(connection)) == 3


@pytest.mark.parametrize(
    "change", [{}, {"disabled_at": 1}, {"role": "support"}, {"id": 1}], ids=str
)
def test_somebody_whose_rights_were_taken_meanwhile(house, change):
    house.person("bob", enrolled=False)
    ann = house.person(enrolled=False)
    house.change("ann", role="administrator")
    caller = Caller(f"person:{ann.id}", 1, Role.ADMIN, "ann", "", PersonRole.ADMINISTRATOR)
    if "id" in change:
        caller = replace(caller, id="person:999")
    elif change:
        house.change("ann", **change)
    with house.write() as connection:
        if not change:
            credentials.must_still_be(connection, caller)
            return
        with refused("rights-taken"):
            credentials.must_still_be(connection, caller)


# -- factors ---------------------------------------------------------------------------------------


def created(house, name="ann", kind=TOTP, secret=b"secret", **more):
    person = house.known(name)
    with house.write() as connection:
        return factors.create(
            connection, house.state.ring, firm_id=1, person_id=person.id, kind=kind, label="l",
            facts={"a": 1}, secret=secret, now=house.clock(), **more,
        )  # fmt: skip


def test_what_is_kept_of_a_factor(house):
    ann = house.person(enrolled=False)
    number = created(house)
    with house.write() as connection:
        factor = factors.get(connection, ann.id, number)
        assert factor.secret(house.state.ring) == b"secret"
        assert factor == factors.Enrolled(
            id=number, firm_id=1, person_id=ann.id, kind=TOTP, label="l", facts={"a": 1},
            position=0, throttle=Throttle(0, 0, 0), created_at=int(house.clock()),
            confirmed_at=None, last_used_at=None, box=factor.box, external_id=None,
        )  # fmt: skip
    plain = created(house, kind=MethodKind.WEBAUTHN, secret=None, external_id=b"id", position=7)
    with house.write() as connection:
        factor = factors.get(connection, ann.id, plain)
        assert (factor.box, factor.external_id, factor.position) == (None, b"id", 7)


def test_a_new_start_takes_the_place_of_one_that_was_never_confirmed(house):
    bob, ann = house.person("bob", enrolled=False), house.person(enrolled=False)
    kept = [created(house, "bob"), created(house, kind=MethodKind.SMS), created(house)]
    with house.write() as connection:
        factors.confirm(connection, ann.id, kept[2], house.clock())
        stale = created(house)
        for number in (*kept, stale):
            connection.execute(
                insert(SentCode),
                {"factor_id": number, "attempt": b"", "code_tag": b"", "tries": 0,
                 "expires_at": 0},
            )  # fmt: skip
        fresh = created(house)
    assert {row.id for row in rows(house, Factor)} == {*kept, fresh}
    assert {row.factor_id for row in rows(house, SentCode)} == set(kept)
    assert bob.id != ann.id


def test_a_factor_that_is_confirmed_and_no_other(house):
    ann = house.person(enrolled=False)
    one = created(house, kind=MethodKind.WEBAUTHN, external_id=b"one")
    two = created(house, kind=MethodKind.SMS)
    with house.write() as connection:
        assert factors.of_person(connection, ann.id) == []
        assert factors.is_known(connection, b"one") and not factors.is_known(connection, b"two")
        assert factors.owner_of(connection, b"one") is None
        factors.confirm(connection, ann.id, one, house.clock())
        assert [factor.id for factor in factors.of_person(connection, ann.id)] == [one]
        assert factors.of_person(connection, ann.id + 1) == []
        assert factors.get(connection, ann.id, one).confirmed_at == int(house.clock())
        assert factors.owner_of(connection, b"one") == (ann.id, one)
        assert factors.owner_of(connection, b"two") is None
        factors.rename(connection, ann.id, one, "mine")
        labels = [factors.get(connection, ann.id, number).label for number in (one, two)]
        assert labels == ["mine", "l"]
    assert house.known().enrolled


def test_a_factor_that_is_removed_takes_its_codes_along(house):
    ann = house.person(enrolled=False)
    one, two = created(house), created(house, kind=MethodKind.SMS)
    with house.write() as connection:
        for number in (one, two):
            connection.execute(
                insert(SentCode),
                {"factor_id": number, "attempt": b"", "code_tag": b"", "tries": 0,
                 "expires_at": 0},
            )  # fmt: skip
        assert factors.remove(connection, ann.id, one).id == one
        with refused("no-such-method") as caught:
            factors.get(connection, ann.id, one)
        assert caught.value.status == 404
    assert [row.factor_id for row in rows(house, SentCode)] == [two]
    assert [row.id for row in rows(house, Factor)] == [two]


def test_a_factor_moves_alone_and_keeps_its_facts_unless_it_is_told(house):
    ann = house.person(enrolled=False)
    one, two = created(house), created(house, kind=MethodKind.SMS)
    with house.write() as connection:
        before = factors.get(connection, ann.id, one)
        locked = Throttle(3, 60, 99)
        after = factors.move(connection, before, position=5, throttle=locked, used_at=8)
        assert after == factors.get(connection, ann.id, one)
        assert (after.position, after.throttle, after.last_used_at) == (5, locked, 8)
        assert after.facts == {"a": 1}
        factors.move(connection, after, position=6, throttle=locked, used_at=9, facts={"b": 2})
        assert factors.get(connection, ann.id, one).facts == {"b": 2}
        assert factors.get(connection, ann.id, two).position == 0
        with pytest.raises(StaleError):  # another request was first
            factors.move(connection, after, position=7, throttle=locked, used_at=9)
        assert factors.get(connection, ann.id, one).position == 6


def test_what_strangers_have_locked_of_a_person(house):
    bob, ann = house.person("bob", enrolled=False), house.person(enrolled=False)
    for name in ("bob", "ann"):
        person, number = house.known(name), created(house, name)
        with house.write() as connection:
            factor = factors.get(connection, person.id, number)
            locked = Throttle(3, 60, 99)
            factors.move(connection, factor, position=1, throttle=locked, used_at=None)
    with house.write() as connection:
        assert factors.any_locked(connection, ann.id, 98)
        assert not factors.any_locked(connection, ann.id, 99)
        assert not factors.any_locked(connection, ann.id + bob.id, 98)
        factors.unlock(connection, ann.id)
        assert not factors.any_locked(connection, ann.id, 98)
        assert factors.any_locked(connection, bob.id, 98)
    throttles = {
        row.person_id: (row.failures, row.lockout_s, row.blocked_until)
        for row in rows(house, Factor)
    }
    assert throttles == {ann.id: (0, 0, 0), bob.id: (3, 60, 99)}


@pytest.mark.parametrize(
    "act",
    [
        lambda c, person, number: factors.get(c, person, number, lock=True),
        lambda c, person, number: factors.rename(c, person, number, "mine"),
        factors.remove,
    ],
)
def test_a_factor_that_is_to_be_changed_is_locked(house, act):
    """PostgreSQL: another request waits until this one is done."""
    ann = house.person(enrolled=False)
    number = created(house)
    with house.write() as connection:
        assert not locked_by(connection, lambda: factors.get(connection, ann.id, number))
        assert locked_by(connection, lambda: act(connection, ann.id, number)) == {"factor"}


# -- rights ----------------------------------------------------------------------------------------


def test_what_each_role_may(house):
    """docs/reference/people.md has the table."""
    user, support, auditor, boss = (
        RIGHTS[role]
        for role in (
            PersonRole.USER, PersonRole.SUPPORT, PersonRole.AUDITOR, PersonRole.ADMINISTRATOR,
        )
    )  # fmt: skip
    assert user == set()
    assert {right.value for right in support} == {
        "see-people", "help-people", "see-cards", "hand-out-cards", "remove-methods",
    }  # fmt: skip
    assert {right.value for right in auditor} == {
        "see-people", "see-cards", "see-policy", "see-audit",
    }  # fmt: skip
    assert boss == {*Right} - {Right.LIFT_LOCKOUT}


def test_who_lifts_lock_outs_is_for_policy_to_say():
    policy = FirmPolicy(lockout_lifted_by=[PersonRole.SUPPORT])
    may = {role for role in PersonRole if Right.LIFT_LOCKOUT in rights.rights_of(role, policy)}
    assert may == {PersonRole.SUPPORT}
    for role in PersonRole:
        assert rights.rights_of(role, policy) - {Right.LIFT_LOCKOUT} == RIGHTS[role]


def test_one_of_those_who_decide_has_every_right_of_whom_they_help():
    user, support, auditor, boss = (
        PersonRole.USER, PersonRole.SUPPORT, PersonRole.AUDITOR, PersonRole.ADMINISTRATOR,
    )  # fmt: skip
    for ones, other, enough in (
        ((user,), user, True),
        ((support,), support, True),
        ((support, support), auditor, False),
        ((support, auditor), boss, False),
        ((support, boss), boss, True),
        ((user, user), support, False),
        ((), user, False),
    ):
        assert rights.covers(*ones, other=other) is enough


def test_what_a_caller_counts_as():
    def role_of(role, person_role=None):
        return rights.role_of(Caller("x", 1, role, "x", "", person_role))

    assert role_of(Role.DESK, PersonRole.USER) is PersonRole.USER
    assert role_of(Role.ADMIN) is PersonRole.ADMINISTRATOR
    for role in (Role.DESK, Role.STATION, Role.SERVICE):
        assert role_of(role) is PersonRole.SUPPORT
    error = rights.needs_more_rights("ann")
    assert (error.status, error.code) == (403, "needs-more-rights")
    assert error.what == "ann has rights that you do not have."
