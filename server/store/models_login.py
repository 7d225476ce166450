"""The tables of logging in: factors, attempts, codes on their way, sessions, messages.

Tokens that a browser holds are stored as hashes. Times are whole seconds since 1970.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    ColumnClause,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
)

from tallystick.server.store.declared import Base, column


class Factor(Base):
    """An enrolled second factor other than a card (a card is an assignment).

    kind: totp, sms, email, webauthn. secret: what verifying needs, encrypted (a TOTP key, or the
    telephone number or e-mail address). facts: public parameters as JSON. position: the last TOTP
    step accepted, or the WebAuthn signature counter; it only grows. confirmed_at: None until the
    user has proved that it works.
    """

    __tablename__ = "factor"

    id: ColumnClause[int] = column(primary_key=True)
    firm_id: ColumnClause[int] = column(ForeignKey("firm.id"))
    person_id: ColumnClause[int] = column(ForeignKey("person.id"), index=True)
    kind: ColumnClause[str] = column(String(16))
    label: ColumnClause[str] = column(String(64))
    secret_key_id: ColumnClause[str | None] = column(String(16), index=True)
    secret_box: ColumnClause[bytes | None] = column(LargeBinary)
    facts: ColumnClause[str] = column(Text)
    external_id: ColumnClause[bytes | None] = column(LargeBinary, unique=True)
    position: ColumnClause[int] = column(BigInteger)
    failures: ColumnClause[int]
    lockout_s: ColumnClause[int]
    blocked_until: ColumnClause[int] = column(BigInteger)
    created_at: ColumnClause[int] = column(BigInteger)
    confirmed_at: ColumnClause[int | None] = column(BigInteger)
    last_used_at: ColumnClause[int | None] = column(BigInteger)

    __table_args__ = (Index("ix_factor_kind", "firm_id", "kind", "person_id"),)


class Attempt(Base):
    """One try to log in or to recover, from one browser. person_id is None for a name that does
    not exist: such an attempt looks the same and never succeeds.

    stage: password, second, done; for recovery prove, reset, done. context: JSON of the flow
    (where to go on to, the methods used so far, a WebAuthn challenge).
    """

    __tablename__ = "attempt"

    token_hash: ColumnClause[bytes] = column(LargeBinary(32), primary_key=True)
    firm_id: ColumnClause[int] = column(ForeignKey("firm.id"))
    person_id: ColumnClause[int | None] = column(ForeignKey("person.id"), index=True)
    purpose: ColumnClause[str] = column(String(16))
    stage: ColumnClause[str] = column(String(16))
    context: ColumnClause[str] = column(Text)
    source: ColumnClause[str] = column(String(64))
    expires_at: ColumnClause[int] = column(BigInteger, index=True)


class SentCode(Base):
    """A one-time code sent by SMS or e-mail: good for one factor and one attempt, once. message_id:
    of the message that it was sent with, which is gone once the gateway has taken it."""

    __tablename__ = "sent_code"

    factor_id: ColumnClause[int] = column(
        ForeignKey("factor.id", ondelete="CASCADE"), primary_key=True
    )
    attempt: ColumnClause[bytes] = column(LargeBinary(32), primary_key=True)
    code_tag: ColumnClause[bytes] = column(LargeBinary(32))
    tries: ColumnClause[int]
    expires_at: ColumnClause[int] = column(BigInteger, index=True)
    message_id: ColumnClause[int | None] = column()


class RateRow(Base):
    """How often something happened in the window of time that ends at ends_at."""

    __tablename__ = "rate"

    bucket: ColumnClause[str] = column(String(120), primary_key=True)
    ends_at: ColumnClause[int] = column(BigInteger, index=True)
    count: ColumnClause[int]


class MessageRow(Base):
    """A message to be sent: the body is encrypted, and the row is deleted once it is sent."""

    __tablename__ = "message"

    id: ColumnClause[int] = column(primary_key=True)
    firm_id: ColumnClause[int] = column(ForeignKey("firm.id"))
    channel: ColumnClause[str] = column(String(8))
    body_key_id: ColumnClause[str] = column(String(16))
    body_box: ColumnClause[bytes] = column(LargeBinary)
    tries: ColumnClause[int]
    due_at: ColumnClause[int] = column(BigInteger, index=True)
    expires_at: ColumnClause[int] = column(BigInteger)


class SessionRow(Base):
    """Someone who is signed in with one browser. amr: methods used (RFC 8176), comma-separated.
    proved_at: when a second factor was last shown in it. handle: names it outside this table, and
    is never used again, as an id may be. enrol_only: it may enrol methods, and nothing else."""

    __tablename__ = "session"

    id: ColumnClause[int] = column(primary_key=True)
    token_hash: ColumnClause[bytes] = column(LargeBinary(32), unique=True)
    firm_id: ColumnClause[int] = column(ForeignKey("firm.id"))
    person_id: ColumnClause[int] = column(ForeignKey("person.id"), index=True)
    amr: ColumnClause[str] = column(String(64))
    browser: ColumnClause[str] = column(String(255))
    source: ColumnClause[str] = column(String(64))
    created_at: ColumnClause[int] = column(BigInteger)
    seen_at: ColumnClause[int] = column(BigInteger)
    expires_at: ColumnClause[int] = column(BigInteger)
    proved_at: ColumnClause[int | None] = column(BigInteger)
    handle: ColumnClause[str] = column(String(32), server_default="")
    enrol_only: ColumnClause[int] = column(server_default="0")

    __table_args__ = (Index("uq_session_handle", "handle", unique=True),)


class RememberedDevice(Base):
    """A browser that needs no second factor for a while, where policy allows it. handle: names it
    towards its owner."""

    __tablename__ = "remembered_device"

    token_hash: ColumnClause[bytes] = column(LargeBinary(32), primary_key=True)
    person_id: ColumnClause[int] = column(ForeignKey("person.id"), index=True)
    expires_at: ColumnClause[int] = column(BigInteger)
    handle: ColumnClause[str | None] = column(String(32))
    browser: ColumnClause[str] = column(String(255), server_default="")
    source: ColumnClause[str] = column(String(64), server_default="")
    created_at: ColumnClause[int] = column(BigInteger, server_default="0")

    __table_args__ = (Index("uq_remembered_device_handle", "handle", unique=True),)


class HelpRequest(Base):
    """Asked for by one member of staff, agreed to by another: a recovery with the help desk, or a
    card for someone with more rights (kind `recovery`, `hand-over`). detail: JSON; `voids` of a
    recovery (pairs of a method's kind and key), `serial` and `until` of a hand-over."""

    __tablename__ = "help_request"

    id: ColumnClause[int] = column(primary_key=True)
    firm_id: ColumnClause[int] = column(ForeignKey("firm.id"))
    person_id: ColumnClause[int] = column(ForeignKey("person.id"))
    asked_by: ColumnClause[int] = column(ForeignKey("person.id"))
    agreed_by: ColumnClause[int | None] = column(ForeignKey("person.id"))
    code_tag: ColumnClause[bytes | None] = column(LargeBinary(32))
    tries: ColumnClause[int]
    expires_at: ColumnClause[int] = column(BigInteger)
    kind: ColumnClause[str] = column(String(16), server_default="recovery")
    reason: ColumnClause[str] = column(String(255), server_default="")
    detail: ColumnClause[str] = column(Text, server_default="{}")
    asked_at: ColumnClause[int] = column(BigInteger, server_default="0")


class OidcClient(Base):
    """A service that logs people in through OpenID Connect. redirect_uris, post_logout_uris: one a
    line. jwks: the keys it signs with to show who it is, as JSON, or "". backchannel_logout_uri:
    where it is told of sign-outs, or ""."""

    __tablename__ = "oidc_client"

    id: ColumnClause[str] = column(String(32), primary_key=True)
    firm_id: ColumnClause[int] = column(ForeignKey("firm.id"))
    name: ColumnClause[str] = column(String(64))
    secret_hash: ColumnClause[bytes] = column(LargeBinary(32))
    redirect_uris: ColumnClause[str] = column(Text)
    post_logout_uris: ColumnClause[str] = column(Text, server_default="")
    jwks: ColumnClause[str] = column(Text, server_default="")
    backchannel_logout_uri: ColumnClause[str] = column(Text, server_default="")

    __table_args__ = (UniqueConstraint("firm_id", "name"),)


class OidcCode(Base):
    """An authorisation code (RFC 6749 4.1.2): short-lived, used once."""

    __tablename__ = "oidc_code"

    code_hash: ColumnClause[bytes] = column(LargeBinary(32), primary_key=True)
    client_id: ColumnClause[str] = column(ForeignKey("oidc_client.id"))
    session_id: ColumnClause[int] = column(ForeignKey("session.id", ondelete="CASCADE"))
    redirect_uri: ColumnClause[str] = column(Text)
    scope: ColumnClause[str] = column(Text)
    nonce: ColumnClause[str] = column(Text)
    challenge: ColumnClause[str] = column(String(128))
    expires_at: ColumnClause[int] = column(BigInteger)
    claims: ColumnClause[str] = column(Text, server_default="")


class OidcGrant(Base):
    """What a service was let do with one code: the tokens of it are good while this is there.
    claims: JSON, asked for by name. refresh_hash: of the refresh token that is good now."""

    __tablename__ = "oidc_grant"

    id: ColumnClause[str] = column(String(32), primary_key=True)
    code_hash: ColumnClause[bytes] = column(LargeBinary(32), unique=True)
    client_id: ColumnClause[str] = column(ForeignKey("oidc_client.id"))
    session_id: ColumnClause[int] = column(ForeignKey("session.id", ondelete="CASCADE"))
    scope: ColumnClause[str] = column(Text)
    claims: ColumnClause[str] = column(Text)
    refresh_hash: ColumnClause[bytes | None] = column(LargeBinary(32))
    expires_at: ColumnClause[int] = column(BigInteger)


class OidcRequest(Base):
    """An authorisation request that is kept: too long for an address, or pushed by its client (RFC
    9126). query: JSON. pushed_by: the client's id, or "". An assertion that was seen (RFC 7523) is
    kept here, too, with an empty query."""

    __tablename__ = "oidc_request"

    id_hash: ColumnClause[bytes] = column(LargeBinary(32), primary_key=True)
    firm_id: ColumnClause[int] = column(ForeignKey("firm.id"))
    pushed_by: ColumnClause[str] = column(String(32))
    query: ColumnClause[str] = column(Text)
    expires_at: ColumnClause[int] = column(BigInteger)


class OidcLogout(Base):
    """A service that is told when a session ends (Back-Channel Logout 1.0). session: its handle.
    subject: the person's name towards services. due_at: None while the session is there."""

    __tablename__ = "oidc_logout"

    id: ColumnClause[int] = column(primary_key=True)
    firm_id: ColumnClause[int] = column(ForeignKey("firm.id"))
    client_id: ColumnClause[str] = column(ForeignKey("oidc_client.id"))
    session: ColumnClause[str] = column(String(32))
    subject: ColumnClause[str] = column(String(32))
    tries: ColumnClause[int]
    due_at: ColumnClause[int | None] = column(BigInteger)
    expires_at: ColumnClause[int] = column(BigInteger)

    __table_args__ = (UniqueConstraint("session", "client_id"),)


class OidcAgain(Base):
    """An authorisation request that has to wait for a new sign-in (`prompt=login`, `max_age`).
    session: the handle of the one that was there, or ""."""

    __tablename__ = "oidc_again"

    request_hash: ColumnClause[bytes] = column(LargeBinary(32), primary_key=True)
    firm_id: ColumnClause[int] = column(ForeignKey("firm.id"))
    session: ColumnClause[str] = column(String(32))
    asked_at: ColumnClause[int] = column(BigInteger)
    expires_at: ColumnClause[int] = column(BigInteger, index=True)


class SigningKeyRow(Base):
    """A key that ID tokens are signed with. The newest signs; older ones stay published."""

    __tablename__ = "signing_key"

    id: ColumnClause[str] = column(String(32), primary_key=True)
    key_id: ColumnClause[str] = column(String(16))
    key_box: ColumnClause[bytes] = column(LargeBinary)
    created_at: ColumnClause[int] = column(BigInteger)
    retired_at: ColumnClause[int | None] = column(BigInteger)
