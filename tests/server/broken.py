"""A pytest plugin (`-p tests.server.broken`): the guard that TALLY_BREAK names does nothing.

Each row of docs/reference/server-threats.md that names a guard has its patch here; the tests that
the row cites must fail with it.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

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


BROKEN = {
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

name = os.environ.get("TALLY_BREAK")
if name:
    loose = BrokenServer(name, "", BROKEN[name], ()).let_loose()  # kept: it is never tamed
    loose.__enter__()
