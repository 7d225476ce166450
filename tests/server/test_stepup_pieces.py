"""Proofs in a session, the form that is kept meanwhile, and keys alone: who is let in."""

from __future__ import annotations

import json
from dataclasses import replace
from uuid import UUID

import pytest
from sqlalchemy import select

from tallystick.server.accounts import firms
from tallystick.server.accounts.policy import MethodKind
from tallystick.server.methods import METHODS
from tallystick.server.rules.judge import Reason
from tallystick.server.signing_in import (
    login,
    passkey,
    stepup,
)
from tallystick.server.signing_in.login import Browser, Signed
from tallystick.server.signing_in.second import as_person
from tallystick.server.signing_in.stepup import KeptForm
from tallystick.server.store.models_login import Factor
from tests.server.house import HERE, TOTP, acts, locked_by, refused
from tests.server.soft_key import SoftKey


@pytest.fixture
def house(quick_house):
    return quick_house


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
