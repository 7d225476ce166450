"""The tables. The migrations in `migrations/versions` make them; a test holds the two together.

Times are whole seconds since 1970 unless the column says milliseconds.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tallystick.server.store import said


class Base(DeclarativeBase):
    """Base of all tables."""


class Firm(Base):
    """A tenant. Everything else belongs to exactly one."""

    __tablename__ = "firm"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    policy: Mapped[str] = mapped_column(Text)


class FirmLogo(Base):
    """A firm's logo as PNG. tag: of its content. width, height: in pixels."""

    __tablename__ = "firm_logo"

    firm_id: Mapped[int] = mapped_column(
        ForeignKey("firm.id"), primary_key=True, autoincrement=False
    )
    png: Mapped[bytes] = mapped_column(LargeBinary)
    tag: Mapped[str] = mapped_column(String(16))
    width: Mapped[int] = mapped_column()
    height: Mapped[int] = mapped_column()
    changed_at: Mapped[int] = mapped_column(BigInteger)


class CredentialRow(Base):
    """A bearer token of a station, service or administrator. Only its hash is kept."""

    __tablename__ = "credential"

    id: Mapped[str] = mapped_column(String(24), primary_key=True)
    firm_id: Mapped[int] = mapped_column(ForeignKey("firm.id"))
    role: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(64))
    token_hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    psk_key_id: Mapped[str | None] = mapped_column(String(16))
    psk_box: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[int] = mapped_column(BigInteger)
    revoked_at: Mapped[int | None] = mapped_column(BigInteger)

    __table_args__ = (UniqueConstraint("firm_id", "name"),)


class PersonRow(Base):
    """Someone who logs in. login_key: the login as it is looked up (`people.canonical`), unique
    within the firm.

    password_hash: argon2id in its own format, or None: no password was set yet. password_at: when
    it was set. enrolled_at: when the first second factor was enrolled; from then on a password
    alone never signs in.
    email_verified: the firm's staff, not the person, gave the address. full_name, groups (one a
    line): for services.
    recovered_by: what recovered the password; it does not serve as second factor until something
    else has. language: that the person has chosen, or "". colleague_from: from when on this member
    of staff counts as the second one of two (`people.NEW_COLLEAGUE_S`); None: since ever. left_at:
    when everything was taken from a leaver, who is barred since.
    """

    __tablename__ = "person"

    id: Mapped[int] = mapped_column(primary_key=True)
    firm_id: Mapped[int] = mapped_column(ForeignKey("firm.id"))
    login: Mapped[str] = mapped_column(String(255))
    login_key: Mapped[str] = mapped_column(String(255), server_default="")
    role: Mapped[str] = mapped_column(String(16))
    email: Mapped[str | None] = mapped_column(String(255))
    disabled_at: Mapped[int | None] = mapped_column(BigInteger)
    password_hash: Mapped[str | None] = mapped_column(String(255))
    enrolled_at: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[int] = mapped_column(BigInteger)
    recovered_by: Mapped[str | None] = mapped_column(String(16))
    password_at: Mapped[int | None] = mapped_column(BigInteger)
    email_verified: Mapped[int] = mapped_column(server_default="0")
    full_name: Mapped[str] = mapped_column(String(255), server_default="")
    groups: Mapped[str] = mapped_column(Text, server_default="")
    handle: Mapped[str | None] = mapped_column(String(32))
    source: Mapped[str] = mapped_column(String(16), server_default="")
    external_id: Mapped[str] = mapped_column(String(255), server_default="")
    language: Mapped[str] = mapped_column(String(8), server_default="")
    colleague_from: Mapped[int | None] = mapped_column(BigInteger)
    left_at: Mapped[int | None] = mapped_column(BigInteger)

    __table_args__ = (
        UniqueConstraint("firm_id", "login"),
        Index("uq_person_login_key", "firm_id", "login_key", unique=True),
        Index("uq_person_handle", "handle", unique=True),
    )


class Departed(Base):
    """What stays of a person that was deleted: a number that nobody else gets. Entries of the audit
    log call people by it."""

    __tablename__ = "departed"

    person_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    firm_id: Mapped[int] = mapped_column(ForeignKey("firm.id"))
    at: Mapped[int] = mapped_column(BigInteger)


class DirectoryRecord(Base):
    """A person as a directory told of it by SCIM: JSON, with what is of no use here, so that the
    directory reads back what it wrote."""

    __tablename__ = "directory_record"

    person_id: Mapped[int] = mapped_column(
        ForeignKey("person.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    document: Mapped[str] = mapped_column(Text)
    changed_at: Mapped[int] = mapped_column(BigInteger)


class DirectoryGroup(Base):
    """A group that a directory told of by SCIM. handle: its name towards that directory."""

    __tablename__ = "directory_group"

    id: Mapped[int] = mapped_column(primary_key=True)
    firm_id: Mapped[int] = mapped_column(ForeignKey("firm.id"), index=True)
    handle: Mapped[str] = mapped_column(String(32), unique=True)
    name: Mapped[str] = mapped_column(String(255))
    external_id: Mapped[str] = mapped_column(String(255), server_default="")
    created_at: Mapped[int] = mapped_column(BigInteger)
    changed_at: Mapped[int] = mapped_column(BigInteger)


class DirectoryMember(Base):
    """Somebody is in a directory's group. display: what the directory calls this entry."""

    __tablename__ = "directory_member"

    group_id: Mapped[int] = mapped_column(
        ForeignKey("directory_group.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    person_id: Mapped[int] = mapped_column(
        ForeignKey("person.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
        index=True,
    )
    display: Mapped[str] = mapped_column(String(255), server_default="")


class CardRow(Base):
    """A card that the server can verify: HOTP, or TOTP (step_s > 0).

    moving_factor: the next one expected (a time step for TOTP); it only grows. algorithm: sha1,
    sha256 or sha512. drift: time steps that its clock is ahead. valid_until: from this second on it
    verifies nothing (a key's expiry date, RFC 6030 section 5). failures, lockout_s, blocked_until:
    throttling (RFC 4226 7.3). seed_fingerprint is unique over all cards of all firms.
    """

    __tablename__ = "card"

    id: Mapped[int] = mapped_column(primary_key=True)
    firm_id: Mapped[int] = mapped_column(ForeignKey("firm.id"))
    serial: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(16))
    digits: Mapped[int]
    moving_factor: Mapped[int] = mapped_column(BigInteger)
    seed_key_id: Mapped[str] = mapped_column(String(16), index=True)
    seed_box: Mapped[bytes] = mapped_column(LargeBinary)
    seed_fingerprint: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    registered_by: Mapped[str] = mapped_column(ForeignKey("credential.id"))
    registered_at: Mapped[int] = mapped_column(BigInteger)
    last_used_at: Mapped[int | None] = mapped_column(BigInteger)
    failures: Mapped[int]
    lockout_s: Mapped[int]
    blocked_until: Mapped[int] = mapped_column(BigInteger)
    algorithm: Mapped[str] = mapped_column(String(8), server_default="sha1")
    step_s: Mapped[int] = mapped_column(server_default="0")
    drift: Mapped[int] = mapped_column(server_default="0")
    valid_until: Mapped[int | None] = mapped_column(BigInteger)

    __table_args__ = (UniqueConstraint("firm_id", "serial"),)


class Assignment(Base):
    """Who holds a card now. At most one row a card; all of a loan's data goes with its row.
    label: what its holder calls it. confirmed_at: when its holder first showed it together with
    another factor; before that it recovers nothing."""

    __tablename__ = "assignment"

    card_id: Mapped[int] = mapped_column(ForeignKey("card.id"), primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"), index=True)
    assigned_at: Mapped[int] = mapped_column(BigInteger)
    assigned_by: Mapped[str] = mapped_column(String(255))
    expires_at: Mapped[int | None] = mapped_column(BigInteger)
    label: Mapped[str | None] = mapped_column(String(64))
    confirmed_at: Mapped[int | None] = mapped_column(BigInteger)


class DeskActRow(Base):
    """The last act at a desk on a card, while it can be undone. kept: JSON, how its cards were
    before and after, and which messages wait."""

    __tablename__ = "desk_act"

    card_id: Mapped[int] = mapped_column(
        ForeignKey("card.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    actor: Mapped[str] = mapped_column(String(255))
    act: Mapped[str] = mapped_column(String(40))
    until: Mapped[int] = mapped_column(BigInteger)
    kept: Mapped[str] = mapped_column(Text)


class Tombstone(Base):
    """What stays of a deleted card, so that its counter never goes back. as_given: of an older
    version, with a fingerprint of the key as it was given, zeros at its end and all."""

    __tablename__ = "tombstone"

    seed_fingerprint: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    firm_id: Mapped[int] = mapped_column(ForeignKey("firm.id"))
    serial: Mapped[str] = mapped_column(String(64))
    moving_factor: Mapped[int] = mapped_column(BigInteger)
    deleted_at: Mapped[int] = mapped_column(BigInteger)
    as_given: Mapped[int] = mapped_column(server_default="0")


class Signer(Base):
    """Somebody whose signature counts on job tickets. From the first one on, the firm's stations
    register cards on tickets only."""

    __tablename__ = "signer"

    id: Mapped[int] = mapped_column(primary_key=True)
    firm_id: Mapped[int] = mapped_column(ForeignKey("firm.id"))
    name: Mapped[str] = mapped_column(String(64))
    public_key: Mapped[bytes] = mapped_column(LargeBinary(32))
    created_at: Mapped[int] = mapped_column(BigInteger)
    revoked_at: Mapped[int | None] = mapped_column(BigInteger)

    __table_args__ = (
        UniqueConstraint("firm_id", "name"),
        UniqueConstraint("firm_id", "public_key"),
    )


class TicketRow(Base):
    """A job: so many cards may be registered on it. used: serial numbers that were; it only grows.
    account: the signed account of the job, once it has ended."""

    __tablename__ = "ticket"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    firm_id: Mapped[int] = mapped_column(ForeignKey("firm.id"))
    cards: Mapped[int]
    used: Mapped[int]
    digits: Mapped[int]
    station: Mapped[str | None] = mapped_column(String(24))
    expires_at: Mapped[int] = mapped_column(BigInteger)
    presented_at: Mapped[int] = mapped_column(BigInteger)
    account: Mapped[str | None] = mapped_column(Text)


class TicketCard(Base):
    """A card that was registered on a ticket; it counts, whatever becomes of it. certificate: as
    it was signed."""

    __tablename__ = "ticket_card"

    ticket_id: Mapped[str] = mapped_column(ForeignKey("ticket.id"), primary_key=True)
    serial: Mapped[str] = mapped_column(String(64), primary_key=True)
    registered_at: Mapped[int] = mapped_column(BigInteger)
    certificate: Mapped[str | None] = mapped_column(Text)


class SerialRange(Base):
    """Serial numbers that a firm gives to new devices: their letters, and as many digits. next: the
    lowest that nobody has been given; it only grows."""

    __tablename__ = "serial_range"

    firm_id: Mapped[int] = mapped_column(ForeignKey("firm.id"), primary_key=True)
    letters: Mapped[str] = mapped_column(String(64), primary_key=True)
    digits: Mapped[int] = mapped_column(primary_key=True)
    next: Mapped[int] = mapped_column(BigInteger)


class SerialBlock(Base):
    """A run of them that a station was given. request: the station's own name for its asking, so
    that asking again gives the same run."""

    __tablename__ = "serial_block"

    firm_id: Mapped[int] = mapped_column(ForeignKey("firm.id"), primary_key=True)
    request: Mapped[str] = mapped_column(String(32), primary_key=True)
    first: Mapped[str] = mapped_column(String(64))
    count: Mapped[int]
    station: Mapped[str] = mapped_column(String(24))
    reserved_at: Mapped[int] = mapped_column(BigInteger)


class AuditEntry(Base):
    """One sensitive act. Append-only (triggers refuse change, and to delete what is after a
    checkpoint), linked by `mac` to the one before it in the same chain. detail: JSON, with the
    address and the browser of whoever did it (`from`, `browser`)."""

    __tablename__ = "audit"

    chain: Mapped[str] = mapped_column(String(40), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at_ms: Mapped[int] = mapped_column(BigInteger)
    firm_id: Mapped[int | None] = mapped_column(BigInteger)
    actor: Mapped[str] = mapped_column(String(255))
    action: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(255))
    detail: Mapped[str] = mapped_column(String(1000))
    mac: Mapped[bytes] = mapped_column(LargeBinary(32))


# Whatever is looked for in the log is looked up, and comes in the order of time. `number` is in
# each, for a whole import has one time. Checks, of which there are most by far, pay for what they
# are sought by, and not for an index of acts: that would find every second entry.
NO_VERIFICATION = text("action <> 'verified'")
_BY_TIME = (AuditEntry.at_ms, AuditEntry.number)
Index("ix_audit_time", AuditEntry.firm_id, *_BY_TIME)
Index("ix_audit_subject", AuditEntry.firm_id, AuditEntry.subject, *_BY_TIME)
Index("ix_audit_actor", AuditEntry.firm_id, AuditEntry.actor, *_BY_TIME)
Index(
    "ix_audit_action", AuditEntry.firm_id, AuditEntry.action, *_BY_TIME,
    sqlite_where=NO_VERIFICATION, postgresql_where=NO_VERIFICATION,
)  # fmt: skip
for _said in (said.SaidUser, said.SaidTo, said.SaidOf, said.SaidFrom):
    _some = _said(AuditEntry.detail).is_not(None)
    Index(
        f"ix_audit_{_said.key_of}", AuditEntry.firm_id, _said(AuditEntry.detail), *_BY_TIME,
        sqlite_where=_some, postgresql_where=_some,
    )  # fmt: skip
# In the orders that lists of people have.
Index("ix_person_name", PersonRow.firm_id, func.lower(PersonRow.full_name), PersonRow.id)
Index(
    "ix_person_email", PersonRow.firm_id, func.lower(func.coalesce(PersonRow.email, "")),
    PersonRow.id,
)  # fmt: skip
Index("ix_person_role", PersonRow.firm_id, PersonRow.role, PersonRow.id)
Index("ix_person_made", PersonRow.firm_id, PersonRow.created_at, PersonRow.id)


class AuditHead(Base):
    """The end of each audit chain."""

    __tablename__ = "audit_head"

    chain: Mapped[str] = mapped_column(String(40), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger)
    mac: Mapped[bytes] = mapped_column(LargeBinary(32))


class AuditCheckpoint(Base):
    """Up to which entry a chain was pruned: `mac` is that entry's, and the next one goes on from
    it. seal: only this server can make it."""

    __tablename__ = "audit_checkpoint"

    chain: Mapped[str] = mapped_column(String(40), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger)
    mac: Mapped[bytes] = mapped_column(LargeBinary(32))
    at: Mapped[int] = mapped_column(BigInteger)
    seal: Mapped[bytes] = mapped_column(LargeBinary(32))


class RestoreRow(Base):
    """A backup that was put in this database's place. report: JSON, what it brought back. Nothing
    is served before somebody has confirmed it."""

    __tablename__ = "restored"

    at: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    report: Mapped[str] = mapped_column(Text)
    confirmed_at: Mapped[int | None] = mapped_column(BigInteger)


class CheckAnswer(Base):
    """The answer to a check of a code whose asker may ask again, for having got none. id_hash: of
    the asker, the name that he gave the check, and the check. answer: JSON."""

    __tablename__ = "check_answer"

    id_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    firm_id: Mapped[int] = mapped_column(ForeignKey("firm.id"))
    answer: Mapped[str] = mapped_column(Text)
    expires_at: Mapped[int] = mapped_column(BigInteger, index=True)
