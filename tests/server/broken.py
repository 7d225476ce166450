"""Servers of which one guard does nothing.

Each row of docs/reference/server-threats.md that names a guard has its patch here; the tests that
the row cites must fail with it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from tallystick.server.accounts import passwords
from tallystick.tools.campaign.server.accounts_zoo import ZOO, BrokenServer, Patch


def _always(value: object) -> Any:
    return lambda *_, **__: value


def _unbound_seeds() -> list[Patch]:
    from tallystick.server.stock import cards

    return [(cards, "seed_binding", _always("x"))]


def _code_again() -> list[Patch]:
    from tallystick.server.checking import tokens

    return [(tokens, "move", _always(None))]


def _no_pause() -> list[Patch]:
    from tallystick.server.rules.throttle import Throttle

    return [(Throttle, "wait_s", _always(0))]


def _no_tombstones() -> list[Patch]:
    from tallystick.server.stock import cards

    return [(cards, "_graves", _always({}))]


def _no_stations_own() -> list[Patch]:
    from tallystick.server.accounts.credentials import Role
    from tallystick.server.stock import cards

    real = cards.find
    return [
        (cards, "find", lambda c, caller, serial, **m: real(
            c, replace(caller, role=Role.ADMIN), serial, **m))
    ]  # fmt: skip


def _names_told() -> list[Patch]:
    from tallystick.server.signing_in import recovery

    real = recovery._first_of_kind

    def told(context: Any, person: Any, kind: Any) -> Any:
        if person is None:
            raise recovery.over()
        return real(context, person, kind)

    return [(recovery, "_first_of_kind", told)]


def _password_alone() -> list[Patch]:
    from tallystick.server.accounts import sessions

    return [(sessions, "is_remembered", _always(True))]


def _stale_changes() -> list[Patch]:
    from tallystick.server.signing_in import stepup

    return [(stepup, "is_fresh", _always(True))]


def _foreign_forms() -> list[Patch]:
    import hmac

    from tallystick.server.portal import web

    class Careless:
        compare_digest = staticmethod(_always(True))
        digest = hmac.digest

    return [(web, "hmac", Careless)]


def _any_redirect() -> list[Patch]:
    from tallystick.server.services import oidc

    real = oidc.find_client

    class Any_(tuple):
        def __contains__(self, _: object) -> bool:
            return True

    def careless(*args: Any) -> Any:
        found = real(*args)
        return found and replace(found, redirect_uris=Any_(found.redirect_uris))

    return [(oidc, "find_client", careless)]


def _unsigned_packets() -> list[Patch]:
    from pyrad.packet import AuthPacket

    return [(AuthPacket, "verify_message_authenticator", _always(True))]


def _in_frames() -> list[Patch]:
    from tallystick.server.methods import fido

    return [(fido, "_in_a_frame", _always(False)), (fido, "_is_of", _always(True))]


def _lock_outs_lifted() -> list[Patch]:
    from tallystick.server.loans import holding

    return [(holding, "UNLOCKS_PER_DAY", 10**6)]


def _own_rights() -> list[Patch]:
    from tallystick.server.portal import web

    real = web.Visit.rights
    from tallystick.server.accounts.rights import Right

    return [(web.Visit, "rights", lambda self: frozenset(Right) if real(self) else real(self))]


def _desk_without_code() -> list[Patch]:
    from tallystick.server.loans import desk

    return [(desk, "prove", _always(None))]


def _any_body() -> list[Patch]:
    from tallystick.server.serving import limits

    return [(limits, "BODY_LIMIT", 2**60)]


def _no_voids() -> list[Patch]:
    from tallystick.server.signing_in import recovery

    return [(recovery, "forget_requests", _always(None))]


def _number_for_handle() -> list[Patch]:
    from tallystick.server.accounts import sessions

    return [(sessions, "is_open", _always(True))]


def _enrols_anything() -> list[Patch]:
    from tallystick.server.portal import enrol

    class Whatever:
        def __ne__(self, _: object) -> bool:
            return False

        __hash__ = None  # type: ignore[assignment]

    return [(enrol, "_begun", _always(Whatever()))]


def _no_known_browser() -> list[Patch]:
    from tallystick.server.signing_in import known

    return [(known, "name_of", _always(""))]


def _waited_for() -> list[Patch]:
    from tallystick.server.serving import answers

    return [(answers, "_limit_s", _always(None))]


def _anybodys_answer() -> list[Patch]:
    from tallystick.server.checking import answers

    real = answers.name_of
    return [(answers, "name_of", lambda _, *rest: real("", *rest))]


def _eap_unsigned() -> list[Patch]:
    from tallystick.server.services.radius import RadiusServer

    return [(RadiusServer, "_is_genuine", _always(True))]


def _unbound_boxes() -> list[Patch]:
    from tallystick.server.store.keys import ServerKeyRing

    seal, unseal = ServerKeyRing.encrypt, ServerKeyRing.decrypt
    return [
        (ServerKeyRing, "encrypt", lambda self, text, _: seal(self, text, "")),
        (ServerKeyRing, "decrypt", lambda self, box, _: unseal(self, box, "")),
    ]


def _all_the_messages() -> list[Patch]:
    from tallystick.server.signing_in import recovery

    return [(recovery, "RECOVERY_SHARE", 1)]


def _each_address() -> list[Patch]:
    from tallystick.server.rules import addresses

    return [(addresses, "counted_by", lambda source: source)]


def _untold() -> list[Patch]:
    from tallystick.server.messages import notices

    return [(notices, "notify", _always(None))]


def _is_disabled_at(part: Any) -> bool:
    table = getattr(part, "table", None)
    return getattr(part, "name", "") == "disabled_at" and getattr(table, "name", "") == "person"


def _barred_verifies() -> list[Patch]:
    """The statements as they are, but that nobody is disabled."""
    from sqlalchemy import null
    from sqlalchemy.sql import visitors

    from tallystick.server.checking import tokens

    def enabled(statement: Any) -> Any:
        return visitors.replacement_traverse(
            statement, {}, lambda part, **_: null() if _is_disabled_at(part) else None
        )

    names = ("_CARDS_BY_USER", "_CARDS_BY_SERIAL", "_APPS_BY_USER")
    return [(tokens, name, enabled(getattr(tokens, name))) for name in names]


def _forbidden_verifies() -> list[Patch]:
    from tallystick.server.accounts.policy import MethodKind
    from tallystick.server.checking import verification

    real = verification._question
    return [
        (verification, "_question", lambda *args: replace(
            real(*args), methods=frozenset(MethodKind)))
    ]  # fmt: skip


def _long_sessions() -> list[Patch]:
    from tallystick.server.accounts import sessions

    return [(sessions, "shorten", _always(None))]


def _firms_together() -> list[Patch]:
    from sqlalchemy import select

    from tallystick.server.accounts import people
    from tallystick.server.store.models import PersonRow

    real = people.get

    def anybody(connection: Any, firm_id: int, person_id: int, **more: Any) -> Any:
        query = select(PersonRow.firm_id).where(PersonRow.id == person_id)
        return real(connection, connection.scalar(query) or firm_id, person_id, **more)

    return [(people, "get", anybody)]


def _unconfirmed_restore() -> list[Patch]:
    from tallystick.server.store import restored

    return [(restored, "must_be_confirmed", _always(None))]


def _counters_stay() -> list[Patch]:
    from tallystick.server.operating import operations

    return [(operations, "_moved_on", lambda row, *_: row.moving_factor)]


def _loans_last() -> list[Patch]:
    from sqlalchemy import true

    from tallystick.server.stock import cards

    return [(cards, "live", lambda _: true())]


def _macs_unread() -> list[Patch]:
    from tallystick.server.stock.containers import Container

    return [(Container, "_mac_is_right", _always(True))]


def _weak_containers() -> list[Patch]:
    from tallystick.server.stock import containers

    return [(containers, "MACS", {**containers.MACS, **containers.OLD_MACS})]


def _own_role() -> list[Patch]:
    from tallystick.server.joining.keeping import Ways

    return [(Ways, "is_own", _always(False))]


def _scim_takes_staff() -> list[Patch]:
    from tallystick.server.joining import scim

    return [(scim, "_may_take", lambda person: person)]


def _ldap_takes_staff() -> list[Patch]:
    from tallystick.server.accounts.people import canonical
    from tallystick.server.joining import reading

    def anybody(_: Any, __: Any, entry: Any, by_login: Any) -> Any:
        return by_login.get(canonical(entry.login))

    return [(reading, "_adopted", anybody)]


def _many_leave() -> list[Patch]:
    from tallystick.server.joining import bulk

    return [(bulk, "must_not_be_many", _always(None))]


def _any_certificate() -> list[Patch]:
    import ldap

    return [(ldap, "OPT_X_TLS_DEMAND", ldap.OPT_X_TLS_NEVER)]


def _leavers_cards() -> list[Patch]:
    from tallystick.server.joining import leaving

    return [(leaving, "_keep_cards_back", _always([]))]


def _keys_alone_anyway() -> list[Patch]:
    from tallystick.server.signing_in import passkey

    return [(passkey, "_must_be_allowed", _always(None))]


def _handed_keys_alone() -> list[Patch]:
    from tallystick.server.methods.stored import StoredMethod
    from tallystick.server.methods.webauthn import WebAuthnMethod

    return [(WebAuthnMethod, "held", StoredMethod.held)]


def _counter_stands() -> list[Patch]:
    from tallystick.server.methods import fido

    real = fido.check_assertion
    return [(fido, "check_assertion", lambda *args, **m: real(*args, **m | {"sign_count": 0}))]


def _unscrubbed() -> list[Patch]:
    from tallystick.server.serving import logs

    return [(logs, "scrub", lambda text: text)]


def _trailers_believed() -> list[Patch]:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    from tallystick.server.serving.protocol import BoundedProtocol

    return [(BoundedProtocol, "on_header", HttpToolsProtocol.on_header)]


def _numbers_again() -> list[Patch]:
    from tallystick.server.store import numbers

    return [(numbers, "unused", _always({}))]


def _endless_queue() -> list[Patch]:
    from tallystick.server.accounts.hashing import Hashing

    return [(Hashing, "run", lambda _, work: work())]


def _anybodys_proxy() -> list[Patch]:
    from tallystick.server.rules import addresses

    return [(addresses, "_trusted", _always(True))]


def _formulas() -> list[Patch]:
    from tallystick.server.rules import tables

    return [(tables, "MARKED", ())]


def _any_picture() -> list[Patch]:
    from tallystick.server.accounts import faces

    return [(faces, "FORMATS", None)]


def _next_anywhere() -> list[Patch]:
    from tallystick.server.portal.web import Visit

    return [(Visit, "safe_next", lambda _, wanted: wanted)]


def _seal_unread() -> list[Patch]:
    import hmac

    from tallystick.server.store import audit

    class Careless:
        compare_digest = staticmethod(_always(True))
        digest = hmac.digest

    return [(audit, "hmac", Careless)]


def _goes_on_after_enrolment() -> list[Patch]:
    from tallystick.server.accounts import sessions

    real = sessions.end_all

    def of_others(connection: Any, person_id: int, *, but: int | None = None) -> None:
        if but is None:
            real(connection, person_id)

    return [(sessions, "end_all", of_others)]


def _silent_merge() -> list[Patch]:
    from tallystick.server.joining import merging

    return [(merging, "_tell", _always(None))]


def _acts_late() -> list[Patch]:
    from tallystick.server.accounts import credentials
    from tallystick.server.portal import web

    return [
        (web.Member, "must_still_be", _always(None)),
        (credentials, "must_still_be", _always(None)),
    ]


def _vouched_for_ever() -> list[Patch]:
    from tallystick.server.signing_in import recovery

    return [(recovery, "_is_vouched_for", _always(True))]


def _idle_again() -> list[Patch]:
    from tallystick.server.accounts import sessions

    return [(sessions, "shorten", _always(None))]


def _sheets_come_back() -> list[Patch]:
    from tallystick.server.operating import brought_back

    return [(brought_back, "void_sheets", _always(0))]


BROKEN = {
    "acts-late": _acts_late,
    "vouched-for-ever": _vouched_for_ever,
    "idle-again": _idle_again,
    "sheets-come-back": _sheets_come_back,
    "goes-on-after-enrolment": _goes_on_after_enrolment,
    "silent-merge": _silent_merge,
    "boxes-unbound": _unbound_boxes,
    "recovery-share": _all_the_messages,
    "own-address": _each_address,
    "untold": _untold,
    "barred-verifies": _barred_verifies,
    "forbidden-verifies": _forbidden_verifies,
    "long-sessions": _long_sessions,
    "firms-together": _firms_together,
    "restore-unconfirmed": _unconfirmed_restore,
    "counters-stay": _counters_stay,
    "loans-last": _loans_last,
    "macs-unread": _macs_unread,
    "weak-containers": _weak_containers,
    "own-role": _own_role,
    "scim-takes-staff": _scim_takes_staff,
    "ldap-takes-staff": _ldap_takes_staff,
    "many-leave": _many_leave,
    "any-certificate": _any_certificate,
    "leavers-cards": _leavers_cards,
    "keys-alone-anyway": _keys_alone_anyway,
    "handed-key-alone": _handed_keys_alone,
    "counter-stands": _counter_stands,
    "logs-unscrubbed": _unscrubbed,
    "endless-queue": _endless_queue,
    "anybodys-proxy": _anybodys_proxy,
    "trailers-believed": _trailers_believed,
    "numbers-again": _numbers_again,
    "formulas": _formulas,
    "any-picture": _any_picture,
    "next-anywhere": _next_anywhere,
    "seal-unread": _seal_unread,
    "anybodys-answer": _anybodys_answer,
    "eap-unsigned": _eap_unsigned,
    "number-for-handle": _number_for_handle,
    "enrols-anything": _enrols_anything,
    "known-browser": _no_known_browser,
    "answer-time": _waited_for,
    "seed-binding": _unbound_seeds,
    "one-use": _code_again,
    "pause": _no_pause,
    "tombstones": _no_tombstones,
    "stations-own": _no_stations_own,
    "names": _names_told,
    "second-factor": _password_alone,
    "fresh-proof": _stale_changes,
    "own-forms": _foreign_forms,
    "redirect-uri": _any_redirect,
    "authenticator": _unsigned_packets,
    "own-frame": _in_frames,
    "unlocks": _lock_outs_lifted,
    "rights": _own_rights,
    "card-in-hand": _desk_without_code,
    "body-limit": _any_body,
    "help-void": _no_voids,
} | {one.name: one.patches for one in ZOO}

LOOSE: list[AbstractContextManager[None]] = []


def let_loose(name: str) -> None:
    """For good: in a process that does nothing else."""
    passwords._hashing.cache_clear()  # its threads were left behind
    loose = BrokenServer(name, "", BROKEN[name], ()).let_loose()
    loose.__enter__()
    LOOSE.append(loose)  # what nobody keeps is tamed
