"""The tables of logging in: factors, attempts, codes on their way, sessions, messages.

Tokens that a browser holds are stored as hashes. Times are whole seconds since 1970.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from tallystick.server.store.models import Base


class Factor(Base):
    """An enrolled second factor other than a card (a card is an assignment).

    kind: totp, sms, email, webauthn. secret: what verifying needs, encrypted (a TOTP key, or the
    telephone number or e-mail address). facts: public parameters as JSON. position: the last TOTP
    step accepted, or the WebAuthn signature counter; it only grows. confirmed_at: None until the
    user has proved that it works.
    """

    __tablename__ = "factor"

    id: Mapped[int] = mapped_column(primary_key=True)
    firm_id: Mapped[int] = mapped_column(ForeignKey("firm.id"))
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    label: Mapped[str] = mapped_column(String(64))
    secret_key_id: Mapped[str | None] = mapped_column(String(16), index=True)
    secret_box: Mapped[bytes | None] = mapped_column(LargeBinary)
    facts: Mapped[str] = mapped_column(Text)
    external_id: Mapped[bytes | None] = mapped_column(LargeBinary, unique=True)
    position: Mapped[int] = mapped_column(BigInteger)
    failures: Mapped[int]
    lockout_s: Mapped[int]
    blocked_until: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[int] = mapped_column(BigInteger)
    confirmed_at: Mapped[int | None] = mapped_column(BigInteger)
    last_used_at: Mapped[int | None] = mapped_column(BigInteger)

    __table_args__ = (Index("ix_factor_kind", "firm_id", "kind", "person_id"),)


class Attempt(Base):
    """One try to log in or to recover, from one browser. person_id is None for a name that does
    not exist: such an attempt looks the same and never succeeds.

    stage: password, second, done; for recovery prove, reset, done. context: JSON of the flow
    (where to go on to, the methods used so far, a WebAuthn challenge).
    """

    __tablename__ = "attempt"

    token_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    firm_id: Mapped[int] = mapped_column(ForeignKey("firm.id"))
    person_id: Mapped[int | None] = mapped_column(ForeignKey("person.id"), index=True)
    purpose: Mapped[str] = mapped_column(String(16))
    stage: Mapped[str] = mapped_column(String(16))
    context: Mapped[str] = mapped_column(Text)
    source: Mapped[str] = mapped_column(String(64))
    expires_at: Mapped[int] = mapped_column(BigInteger, index=True)


class SentCode(Base):
    """A one-time code sent by SMS or e-mail: good for one factor and one attempt, once. message_id:
    of the message that it was sent with, which is gone once the gateway has taken it."""

    __tablename__ = "sent_code"

    factor_id: Mapped[int] = mapped_column(
        ForeignKey("factor.id", ondelete="CASCADE"), primary_key=True
    )
    attempt: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    code_tag: Mapped[bytes] = mapped_column(LargeBinary(32))
    tries: Mapped[int]
    expires_at: Mapped[int] = mapped_column(BigInteger, index=True)
    message_id: Mapped[int | None] = mapped_column()


class RateRow(Base):
    """How often something happened in the window of time that ends at ends_at."""

    __tablename__ = "rate"

    bucket: Mapped[str] = mapped_column(String(120), primary_key=True)
    ends_at: Mapped[int] = mapped_column(BigInteger, index=True)
    count: Mapped[int]


class MessageRow(Base):
    """A message to be sent: the body is encrypted, and the row is deleted once it is sent."""

    __tablename__ = "message"

    id: Mapped[int] = mapped_column(primary_key=True)
    firm_id: Mapped[int] = mapped_column(ForeignKey("firm.id"))
    channel: Mapped[str] = mapped_column(String(8))
    body_key_id: Mapped[str] = mapped_column(String(16))
    body_box: Mapped[bytes] = mapped_column(LargeBinary)
    tries: Mapped[int]
    due_at: Mapped[int] = mapped_column(BigInteger, index=True)
    expires_at: Mapped[int] = mapped_column(BigInteger)


class SessionRow(Base):
    """Someone who is signed in with one browser. amr: methods used (RFC 8176), comma-separated.
    proved_at: when a second factor was last shown in it. handle: names it outside this table, and
    is never used again, as an id may be. enrol_only: it may enrol methods, and nothing else."""

    __tablename__ = "session"

    id: Mapped[int] = mapped_column(primary_key=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    firm_id: Mapped[int] = mapped_column(ForeignKey("firm.id"))
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"), index=True)
    amr: Mapped[str] = mapped_column(String(64))
    browser: Mapped[str] = mapped_column(String(255))
    source: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[int] = mapped_column(BigInteger)
    seen_at: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[int] = mapped_column(BigInteger)
    proved_at: Mapped[int | None] = mapped_column(BigInteger)
    handle: Mapped[str] = mapped_column(String(32), server_default="")
    enrol_only: Mapped[int] = mapped_column(server_default="0")

    __table_args__ = (Index("uq_session_handle", "handle", unique=True),)


class RememberedDevice(Base):
    """A browser that needs no second factor for a while, where policy allows it. handle: names it
    towards its owner."""

    __tablename__ = "remembered_device"

    token_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"), index=True)
    expires_at: Mapped[int] = mapped_column(BigInteger)
    handle: Mapped[str | None] = mapped_column(String(32))
    browser: Mapped[str] = mapped_column(String(255), server_default="")
    source: Mapped[str] = mapped_column(String(64), server_default="")
    created_at: Mapped[int] = mapped_column(BigInteger, server_default="0")

    __table_args__ = (Index("uq_remembered_device_handle", "handle", unique=True),)


class HelpRequest(Base):
    """Asked for by one member of staff, agreed to by another: a recovery with the help desk, or a
    card for someone with more rights (kind `recovery`, `hand-over`). detail: JSON; `voids` of a
    recovery (pairs of a method's kind and key), `serial` and `until` of a hand-over."""

    __tablename__ = "help_request"

    id: Mapped[int] = mapped_column(primary_key=True)
    firm_id: Mapped[int] = mapped_column(ForeignKey("firm.id"))
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    asked_by: Mapped[int] = mapped_column(ForeignKey("person.id"))
    agreed_by: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    code_tag: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    tries: Mapped[int]
    expires_at: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(String(16), server_default="recovery")
    reason: Mapped[str] = mapped_column(String(255), server_default="")
    detail: Mapped[str] = mapped_column(Text, server_default="{}")
    asked_at: Mapped[int] = mapped_column(BigInteger, server_default="0")


class OidcClient(Base):
    """A service that logs people in through OpenID Connect. redirect_uris, post_logout_uris: one a
    line. jwks: the keys it signs with to show who it is, as JSON, or "". backchannel_logout_uri:
    where it is told of sign-outs, or ""."""

    __tablename__ = "oidc_client"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    firm_id: Mapped[int] = mapped_column(ForeignKey("firm.id"))
    name: Mapped[str] = mapped_column(String(64))
    secret_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    redirect_uris: Mapped[str] = mapped_column(Text)
    post_logout_uris: Mapped[str] = mapped_column(Text, server_default="")
    jwks: Mapped[str] = mapped_column(Text, server_default="")
    backchannel_logout_uri: Mapped[str] = mapped_column(Text, server_default="")

    __table_args__ = (UniqueConstraint("firm_id", "name"),)


class OidcCode(Base):
    """An authorisation code (RFC 6749 4.1.2): short-lived, used once."""

    __tablename__ = "oidc_code"

    code_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    client_id: Mapped[str] = mapped_column(ForeignKey("oidc_client.id"))
    session_id: Mapped[int] = mapped_column(ForeignKey("session.id", ondelete="CASCADE"))
    redirect_uri: Mapped[str] = mapped_column(Text)
    scope: Mapped[str] = mapped_column(Text)
    nonce: Mapped[str] = mapped_column(Text)
    challenge: Mapped[str] = mapped_column(String(128))
    expires_at: Mapped[int] = mapped_column(BigInteger)
    claims: Mapped[str] = mapped_column(Text, server_default="")


class OidcGrant(Base):
    """What a service was let do with one code: the tokens of it are good while this is there.
    claims: JSON, asked for by name. refresh_hash: of the refresh token that is good now."""

    __tablename__ = "oidc_grant"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    code_hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    client_id: Mapped[str] = mapped_column(ForeignKey("oidc_client.id"))
    session_id: Mapped[int] = mapped_column(ForeignKey("session.id", ondelete="CASCADE"))
    scope: Mapped[str] = mapped_column(Text)
    claims: Mapped[str] = mapped_column(Text)
    refresh_hash: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    expires_at: Mapped[int] = mapped_column(BigInteger)


class OidcRequest(Base):
    """An authorisation request that is kept: too long for an address, or pushed by its client (RFC
    9126). query: JSON. pushed_by: the client's id, or "". An assertion that was seen (RFC 7523) is
    kept here, too, with an empty query."""

    __tablename__ = "oidc_request"

    id_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    firm_id: Mapped[int] = mapped_column(ForeignKey("firm.id"))
    pushed_by: Mapped[str] = mapped_column(String(32))
    query: Mapped[str] = mapped_column(Text)
    expires_at: Mapped[int] = mapped_column(BigInteger)


class OidcLogout(Base):
    """A service that is told when a session ends (Back-Channel Logout 1.0). session: its handle.
    subject: the person's name towards services. due_at: None while the session is there."""

    __tablename__ = "oidc_logout"

    id: Mapped[int] = mapped_column(primary_key=True)
    firm_id: Mapped[int] = mapped_column(ForeignKey("firm.id"))
    client_id: Mapped[str] = mapped_column(ForeignKey("oidc_client.id"))
    session: Mapped[str] = mapped_column(String(32))
    subject: Mapped[str] = mapped_column(String(32))
    tries: Mapped[int]
    due_at: Mapped[int | None] = mapped_column(BigInteger)
    expires_at: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (UniqueConstraint("session", "client_id"),)


class OidcAgain(Base):
    """An authorisation request that has to wait for a new sign-in (`prompt=login`, `max_age`).
    session: the handle of the one that was there, or ""."""

    __tablename__ = "oidc_again"

    request_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    firm_id: Mapped[int] = mapped_column(ForeignKey("firm.id"))
    session: Mapped[str] = mapped_column(String(32))
    asked_at: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[int] = mapped_column(BigInteger, index=True)


class SigningKeyRow(Base):
    """A key that ID tokens are signed with. The newest signs; older ones stay published."""

    __tablename__ = "signing_key"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    key_id: Mapped[str] = mapped_column(String(16))
    key_box: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[int] = mapped_column(BigInteger)
    retired_at: Mapped[int | None] = mapped_column(BigInteger)
