"""How many tries a name and a place have. What counts is failures: an office behind one address may
sign in as often as it likes, and a stranger's tries do not keep a name's owner out elsewhere."""

from __future__ import annotations

from sqlalchemy import Connection

from tallystick.server.accounts.policy import FirmPolicy
from tallystick.server.rules.addresses import counted_by
from tallystick.server.store import rates
from tallystick.server.wording.worded import worded

PASSWORD_WINDOW_S = 900
HOUR_S = 3600
RECOVERIES_PER_NAME = 10
# All places together may guess so many times what one place may: that bounds a botnet, and leaves
# the name to its owner while one stranger tries.
ALL_PLACES = 10
BUCKET = 120  # characters that the table has room for

_TRIES = worded("tries to sign in")


def before_password(
    connection: Connection,
    policy: FirmPolicy,
    firm_id: int,
    name: str,
    source: str,
    now: float,
    known: str = "",
) -> None:
    """Count a try for a name, before it is judged: so T tries are judged, however many come at
    once. name: the bucket of the name. known: the name of a browser that its owner has signed in
    with before, which has T tries of its own. Raises ApiError (429)."""
    if known:
        rates.take(
            connection,
            f"{name}|{known}",
            limit=policy.password_max_failures,
            window_s=PASSWORD_WINDOW_S,
            now=now,
            what=_TRIES,
        )
        return
    before_key(connection, policy, firm_id, source, now)
    for bucket, limit in (
        (_here(name, source), policy.password_max_failures),
        (name, policy.password_max_failures * ALL_PLACES),
    ):
        rates.take(
            connection, bucket, limit=limit, window_s=PASSWORD_WINDOW_S, now=now, what=_TRIES
        )


def before_key(
    connection: Connection, policy: FirmPolicy, firm_id: int, source: str, now: float
) -> None:
    """A key is nobody's name: only the place counts. Raises ApiError (429)."""
    rates.refuse_at(
        connection,
        _source(firm_id, source),
        limit=policy.sign_in_failures_per_source,
        window_s=PASSWORD_WINDOW_S,
        now=now,
        what=_TRIES,
    )


def password_failed(connection: Connection, firm_id: int, source: str, now: float) -> None:
    """It was wrong, or there is nobody of that name: the place has one try less."""
    rates.note(connection, _source(firm_id, source), window_s=PASSWORD_WINDOW_S, now=now)


def before_recovery(
    connection: Connection, policy: FirmPolicy, firm_id: int, name: str, source: str, now: float
) -> None:
    """name: the bucket of the name. Raises ApiError (429)."""
    for bucket, limit in (
        (_here(f"recover-source|{firm_id}", source), policy.recoveries_per_source_per_hour),
        (_here(name, source), RECOVERIES_PER_NAME),
    ):
        rates.take(
            connection,
            bucket,
            limit=limit,
            window_s=HOUR_S,
            now=now,
            what=worded("recoveries"),
        )


def before_help_code(
    connection: Connection, policy: FirmPolicy, firm_id: int, source: str, now: float
) -> None:
    """Raises ApiError (429) where too many help codes were wrong."""
    rates.refuse_at(
        connection,
        _help(firm_id, source),
        limit=policy.recoveries_per_source_per_hour,
        window_s=HOUR_S,
        now=now,
        what=worded("tries"),
    )


def help_code_failed(connection: Connection, firm_id: int, source: str, now: float) -> None:
    rates.note(connection, _help(firm_id, source), window_s=HOUR_S, now=now)


def _source(firm_id: int, source: str) -> str:
    return _here(f"password-source|{firm_id}", source)


def _help(firm_id: int, source: str) -> str:
    return _here(f"help-source|{firm_id}", source)


def _here(bucket: str, source: str) -> str:
    """Of one place. What is no address, as a telephone number, may be long."""
    return f"{bucket}|{counted_by(source)}"[:BUCKET]
