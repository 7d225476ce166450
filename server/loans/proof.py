"""Which card is in somebody's hand: by a code of it (two, when it has drifted), or, for a flat or
broken card that gives none, by a reason that staff state. Every act without a code is audited with
its reason, and one member of staff may do so many in a day as the firm's policy allows."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from tallystick.server.accounts.credentials import Caller, Role
from tallystick.server.accounts.policy import FirmPolicy
from tallystick.server.checking.proof import judge_card
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.rules.judge import Judgement, Reason
from tallystick.server.stock.cards import generator_of
from tallystick.server.store import rates
from tallystick.server.store.audit import Act, record
from tallystick.server.store.database import AnyRow
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.wording.worded import worded

Codes = tuple[str, ...]
DAY_S = 86400


@dataclass(frozen=True)
class Proof:
    """skipped: presses of the card that the server had not seen before its code. reason: why there
    was no code."""

    skipped: int = 0
    reason: str = ""

    def facts(self) -> dict[str, str | int]:
        """For the audit log."""
        facts: dict[str, str | int] = {}
        if self.skipped:
            facts["skipped"] = self.skipped
        if self.reason:
            facts["without_code"] = self.reason
        return facts


def prove(
    connection: Connection,
    ring: ServerKeyRing,
    caller: Caller,
    row: AnyRow,
    codes: Codes | None,
    policy: FirmPolicy,
    now: float,
    *,
    act: str,
    reason: str = "",
) -> Proof | ApiError:
    """By the codes; without any, by the reason where the act allows one (and gives it on here). An
    administrator may do without either.

    → an ApiError when the codes were judged and refused: that holds as a guess. Raises ApiError
    (422) for no code or one of the wrong length: no guess is counted; 429 for too many acts
    without a code.
    """
    if codes is None and reason:
        _take_one_without(connection, caller, policy, now)
        return Proof(reason=reason)
    if codes is None and caller.role is Role.ADMIN:
        return Proof()
    if codes is None:
        raise _no_code(row)
    if not generator_of(row).fits(codes):
        raise _wrong_length(row)
    rules = policy.desk_codes()
    verdict = judge_card(connection, ring, row, codes, policy, now, rules=rules)
    if verdict.reason is Reason.OK:
        return Proof(skipped=verdict.skipped)
    detail = {"for": act, "reason": verdict.reason.value}
    refused = Act(
        int(now * 1000), caller.firm_id, caller.id, "card-code-refused", row.serial, detail
    )
    record(connection, ring, [refused])
    return _refusal(row.serial, verdict)


def _take_one_without(
    connection: Connection, caller: Caller, policy: FirmPolicy, now: float
) -> None:
    if caller.role is Role.ADMIN:
        return
    if not policy.desk_without_code_per_day:
        raise ApiError(
            403,
            "code-needed",
            "This firm takes no card back, and retires none, without a code of it.",
            kept=NOTHING_CHANGED,
            todo="Have an administrator do it.",
        )
    rates.take(
        connection,
        f"without-code|{caller.id}",
        limit=policy.desk_without_code_per_day,
        window_s=DAY_S,
        now=now,
        what=worded("cards without a code today"),
    )


def _no_code(row: AnyRow) -> ApiError:
    return ApiError(
        422,
        "code-needed",
        worded("This needs a code of card {serial}.", serial=row.serial),
        kept=NOTHING_CHANGED,
        todo="Press the card's button and type the code on its display.",
    )


def _wrong_length(row: AnyRow) -> ApiError:
    digits = generator_of(row).digits
    return ApiError(
        422,
        "wrong-length",
        worded(
            "The codes of card {serial} have {digits} digits.", serial=row.serial, digits=digits
        ),
        kept="Nothing was changed, nor counted as a guess.",
        todo=worded("Type all {digits} digits.", digits=digits),
    )


def _refusal(serial: str, verdict: Judgement) -> ApiError:
    code, status, what, todo = {
        Reason.WRONG: (
            "wrong-code",
            409,
            f"This code is not one of card {serial}.",
            "Compare the serial number on the card's back with the one scanned, press its button "
            "and type the new code. A card that gives no code, or none that is found, can be taken "
            "back, reported lost or retired without one.",
        ),
        Reason.REPLAYED: (
            "replayed-code",
            409,
            f"This code of card {serial} was used before.",
            "Press the card's button again when its display is dark, and type the new code.",
        ),
        Reason.RESYNCHRONISE: (
            "card-drifted",
            409,
            f"Card {serial} was pressed about {verdict.skipped} times without the server, which "
            "has lost count.",
            "Press its button again when its display is dark, and give both codes, one after the "
            "other.",
        ),
        Reason.THROTTLED: (
            "throttled",
            429,
            f"Too many wrong codes of card {serial}: the next is looked at in "
            f"{verdict.retry_after_s} s.",
            "Wait, or have the lock-out lifted.",
        ),
    }[verdict.reason]
    return ApiError(status, code, what, kept="Who holds the card was not changed.", todo=todo)
