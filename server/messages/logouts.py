"""Services are told that somebody has signed out here (OpenID Connect Back-Channel Logout 1.0).

What is to be told waits in a table from the moment that the service gets its tokens, and becomes
due in the transaction that ends the session (`accounts.sessions`): however a session is ended, its
services hear of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from sqlalchemy import delete, select, update

from tallystick.common import chance
from tallystick.common.in_time import streamed
from tallystick.server import metrics
from tallystick.server.messages.sending import CLAIM_S, SendingThread, claim
from tallystick.server.store import signing_keys
from tallystick.server.store.audit import Act, record
from tallystick.server.store.database import AnyRow, Database
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.store.models import Firm
from tallystick.server.store.models_login import OidcClient, OidcLogout

log = logging.getLogger(__name__)

EVENT = "http://schemas.openid.net/event/backchannel-logout"
TOKEN_TYPE = "logout+jwt"  # noqa: S105  (what kind of token it is)
TOKEN_LIFE_S = 120
ANSWER_S = 5.0  # for each step
DEADLINE_S = 15.0  # for one service
MOST_TRIES = 8  # the last one two hours after the sign-out


class RefusedByServiceError(Exception):
    """The service has said no, and would say it again."""


class LogoutSender(SendingThread):
    """Tells services, in a thread. public_url: the issuers are below it."""

    def __init__(
        self,
        database: Database,
        ring: ServerKeyRing,
        public_url: str,
        clock: Callable[[], float],
        *,
        background: bool = True,
    ) -> None:
        self._database = database
        self._ring = ring
        self._public_url = public_url
        self._clock = clock
        super().__init__("logouts", background=background)

    def close(self) -> None:
        self.stop()
        self.join()

    def send_one(self) -> bool:
        now = int(self._clock())
        with self._database.read() as connection:
            row = connection.execute(
                select(*OidcLogout.__table__.columns, Firm.name, OidcClient.backchannel_logout_uri)
                .join(Firm, Firm.id == OidcLogout.firm_id)
                .join(OidcClient, OidcClient.id == OidcLogout.client_id)
                .where(OidcLogout.due_at <= now)
                .order_by(OidcLogout.due_at, OidcLogout.id)
                .limit(1)
            ).one_or_none()
        if row is None:
            return False
        if not claim(self._database, OidcLogout, row.id, row.tries, now):
            return True
        if not row.backchannel_logout_uri:
            self._forget(row)
            return True
        try:
            _post(row.backchannel_logout_uri, self._token(row, now))
        except RefusedByServiceError as error:
            self._forget(row, "oidc-logout-refused", error)
        except Exception as error:  # an address that the library refuses must not stop the rest
            self._later(row, error, now)
        else:
            self._forget(row, "oidc-logout-told")
        return True

    def _token(self, row: AnyRow, now: int) -> str:
        """Signed as ID tokens are, and of a kind that none of them is. It has no nonce (2.4)."""
        from joserfc import jwt  # noqa: PLC0415

        with self._database.write() as connection:
            key = signing_keys.current(connection, self._ring, now)
        header = {"alg": signing_keys.ALGORITHM, "kid": key.kid, "typ": TOKEN_TYPE}
        claims: dict[str, Any] = {
            "iss": f"{self._public_url}/p/{row.name}",
            "aud": row.client_id,
            "sub": row.subject,
            "sid": row.session,
            "iat": now,
            "exp": now + TOKEN_LIFE_S,
            "jti": chance.token_hex(16),
            "events": {EVENT: {}},
        }
        return jwt.encode(header, claims, key)

    def _later(self, row: AnyRow, error: Exception, now: int) -> None:
        """Whatever else this service is to be told waits as well: one that hangs holds up no
        other."""
        log.warning("service %s was not told of a sign-out: %s", row.client_id, error)
        with self._database.write() as connection:
            connection.execute(
                update(OidcLogout)
                .where(OidcLogout.client_id == row.client_id, OidcLogout.due_at <= now)
                .values(due_at=now + CLAIM_S)
            )
        if row.tries + 1 >= MOST_TRIES or now >= row.expires_at:
            self._forget(row, "oidc-logout-failed", error)
        else:
            metrics.MESSAGES.labels("logout", "failed").inc()

    def _forget(self, row: AnyRow, what: str = "", error: Exception | None = None) -> None:
        """what: the act for the audit log."""
        with self._database.write() as connection:
            connection.execute(delete(OidcLogout).where(OidcLogout.id == row.id))
            if what:
                details = {"tries": row.tries + 1} | ({"why": str(error)} if error else {})
                at_ms = int(self._clock() * 1000)
                act = Act(at_ms, row.firm_id, "server", what, row.client_id, details)
                record(connection, self._ring, [act])
        if what:
            outcome = "sent" if what == "oidc-logout-told" else "given-up"
            metrics.MESSAGES.labels("logout", outcome).inc()


def _post(uri: str, token: str) -> None:
    """Raises RefusedByServiceError; OSError when it may go well later. Neither has the answer's
    text in it, nor the token."""
    import httpx  # noqa: PLC0415

    try:
        with streamed(
            "POST",
            uri,
            deadline_s=DEADLINE_S,
            timeout_s=ANSWER_S,
            data={"logout_token": token},
            follow_redirects=False,
        ) as answer:
            status = answer.status_code
    except httpx.HTTPError as error:
        raise OSError(type(error).__name__) from None
    if status in (200, 204):
        return
    if 400 <= status < 500 and status not in (408, 429):
        raise RefusedByServiceError(f"status {status}")
    raise OSError(f"status {status}")
