"""The tables. The migrations in `migrations/versions` make them; a test holds the two together.

Times are whole seconds since 1970 unless the column says milliseconds.
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
    func,
    text,
)

from tallystick.server.store import said
from tallystick.server.store.declared import Base, column


class Firm(Base):
    """A tenant. Everything else belongs to exactly one."""

    __tablename__ = "firm"

    id: ColumnClause[int] = column(primary_key=True)
    name: ColumnClause[str] = column(String(64), unique=True)
    policy: ColumnClause[str] = column(Text)


class FirmLogo(Base):
    """A firm's logo as PNG. tag: of its content. width, height: in pixels."""

    __tablename__ = "firm_logo"

    firm_id: ColumnClause[int] = column(
        ForeignKey("firm.id"), primary_key=True, autoincrement=False
    )
    png: ColumnClause[bytes] = column(LargeBinary)
    tag: ColumnClause[str] = column(String(16))
    width: ColumnClause[int] = column()
    height: ColumnClause[int] = column()
    changed_at: ColumnClause[int] = column(BigInteger)


class CredentialRow(Base):
    """A bearer token of a station, service or administrator. Only its hash is kept."""

    __tablename__ = "credential"

    id: ColumnClause[str] = column(String(24), primary_key=True)
    firm_id: ColumnClause[int] = column(ForeignKey("firm.id"))
    role: ColumnClause[str] = column(String(16))
    name: ColumnClause[str] = column(String(64))
    token_hash: ColumnClause[bytes] = column(LargeBinary(32), unique=True)
    psk_key_id: ColumnClause[str | None] = column(String(16))
    psk_box: ColumnClause[bytes | None] = column(LargeBinary)
    created_at: ColumnClause[int] = column(BigInteger)
    revoked_at: ColumnClause[int | None] = column(BigInteger)

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

    id: ColumnClause[int] = column(primary_key=True)
    firm_id: ColumnClause[int] = column(ForeignKey("firm.id"))
    login: ColumnClause[str] = column(String(255))
    login_key: ColumnClause[str] = column(String(255), server_default="")
    role: ColumnClause[str] = column(String(16))
    email: ColumnClause[str | None] = column(String(255))
    disabled_at: ColumnClause[int | None] = column(BigInteger)
    password_hash: ColumnClause[str | None] = column(String(255))
    enrolled_at: ColumnClause[int | None] = column(BigInteger)
    created_at: ColumnClause[int] = column(BigInteger)
    recovered_by: ColumnClause[str | None] = column(String(16))
    password_at: ColumnClause[int | None] = column(BigInteger)
    email_verified: ColumnClause[int] = column(server_default="0")
    full_name: ColumnClause[str] = column(String(255), server_default="")
    groups: ColumnClause[str] = column(Text, server_default="")
    handle: ColumnClause[str | None] = column(String(32))
    source: ColumnClause[str] = column(String(16), server_default="")
    external_id: ColumnClause[str] = column(String(255), server_default="")
    language: ColumnClause[str] = column(String(8), server_default="")
    colleague_from: ColumnClause[int | None] = column(BigInteger)
    left_at: ColumnClause[int | None] = column(BigInteger)

    __table_args__ = (
        UniqueConstraint("firm_id", "login"),
        Index("uq_person_login_key", "firm_id", "login_key", unique=True),
        Index("uq_person_handle", "handle", unique=True),
    )


class Departed(Base):
    """What stays of a person that was deleted: a number that nobody else gets. Entries of the audit
    log call people by it."""

    __tablename__ = "departed"

    person_id: ColumnClause[int] = column(primary_key=True, autoincrement=False)
    firm_id: ColumnClause[int] = column(ForeignKey("firm.id"))
    at: ColumnClause[int] = column(BigInteger)


class DirectoryRecord(Base):
    """A person as a directory told of it by SCIM: JSON, with what is of no use here, so that the
    directory reads back what it wrote."""

    __tablename__ = "directory_record"

    person_id: ColumnClause[int] = column(
        ForeignKey("person.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    document: ColumnClause[str] = column(Text)
    changed_at: ColumnClause[int] = column(BigInteger)


class DirectoryGroup(Base):
    """A group that a directory told of by SCIM. handle: its name towards that directory."""

    __tablename__ = "directory_group"

    id: ColumnClause[int] = column(primary_key=True)
    firm_id: ColumnClause[int] = column(ForeignKey("firm.id"), index=True)
    handle: ColumnClause[str] = column(String(32), unique=True)
    name: ColumnClause[str] = column(String(255))
    external_id: ColumnClause[str] = column(String(255), server_default="")
    created_at: ColumnClause[int] = column(BigInteger)
    changed_at: ColumnClause[int] = column(BigInteger)


class DirectoryMember(Base):
    """Somebody is in a directory's group. display: what the directory calls this entry."""

    __tablename__ = "directory_member"

    group_id: ColumnClause[int] = column(
        ForeignKey("directory_group.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    person_id: ColumnClause[int] = column(
        ForeignKey("person.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
        index=True,
    )
    display: ColumnClause[str] = column(String(255), server_default="")


class CardRow(Base):
    """A card that the server can verify: HOTP, or TOTP (step_s > 0).

    moving_factor: the next one expected (a time step for TOTP); it only grows. algorithm: sha1,
    sha256 or sha512. drift: time steps that its clock is ahead. valid_until: from this second on it
    verifies nothing (a key's expiry date, RFC 6030 section 5). failures, lockout_s, blocked_until:
    throttling (RFC 4226 7.3). seed_fingerprint is unique over all cards of all firms.
    """

    __tablename__ = "card"

    id: ColumnClause[int] = column(primary_key=True)
    firm_id: ColumnClause[int] = column(ForeignKey("firm.id"))
    serial: ColumnClause[str] = column(String(64))
    status: ColumnClause[str] = column(String(16))
    digits: ColumnClause[int]
    moving_factor: ColumnClause[int] = column(BigInteger)
    seed_key_id: ColumnClause[str] = column(String(16), index=True)
    seed_box: ColumnClause[bytes] = column(LargeBinary)
    seed_fingerprint: ColumnClause[bytes] = column(LargeBinary(32), unique=True)
    registered_by: ColumnClause[str] = column(ForeignKey("credential.id"))
    registered_at: ColumnClause[int] = column(BigInteger)
    last_used_at: ColumnClause[int | None] = column(BigInteger)
    failures: ColumnClause[int]
    lockout_s: ColumnClause[int]
    blocked_until: ColumnClause[int] = column(BigInteger)
    algorithm: ColumnClause[str] = column(String(8), server_default="sha1")
    step_s: ColumnClause[int] = column(server_default="0")
    drift: ColumnClause[int] = column(server_default="0")
    valid_until: ColumnClause[int | None] = column(BigInteger)

    __table_args__ = (UniqueConstraint("firm_id", "serial"),)


class Assignment(Base):
    """Who holds a card now. At most one row a card; all of a loan's data goes with its row.
    label: what its holder calls it. confirmed_at: when its holder first showed it together with
    another factor; before that it recovers nothing."""

    __tablename__ = "assignment"

    card_id: ColumnClause[int] = column(ForeignKey("card.id"), primary_key=True)
    person_id: ColumnClause[int] = column(ForeignKey("person.id"), index=True)
    assigned_at: ColumnClause[int] = column(BigInteger)
    assigned_by: ColumnClause[str] = column(String(255))
    expires_at: ColumnClause[int | None] = column(BigInteger)
    label: ColumnClause[str | None] = column(String(64))
    confirmed_at: ColumnClause[int | None] = column(BigInteger)


class DeskActRow(Base):
    """The last act at a desk on a card, while it can be undone. kept: JSON, how its cards were
    before and after, and which messages wait."""

    __tablename__ = "desk_act"

    card_id: ColumnClause[int] = column(
        ForeignKey("card.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    actor: ColumnClause[str] = column(String(255))
    act: ColumnClause[str] = column(String(40))
    until: ColumnClause[int] = column(BigInteger)
    kept: ColumnClause[str] = column(Text)


class Tombstone(Base):
    """What stays of a deleted card, so that its counter never goes back. as_given: of an older
    version, with a fingerprint of the key as it was given, zeros at its end and all."""

    __tablename__ = "tombstone"

    seed_fingerprint: ColumnClause[bytes] = column(LargeBinary(32), primary_key=True)
    firm_id: ColumnClause[int] = column(ForeignKey("firm.id"))
    serial: ColumnClause[str] = column(String(64))
    moving_factor: ColumnClause[int] = column(BigInteger)
    deleted_at: ColumnClause[int] = column(BigInteger)
    as_given: ColumnClause[int] = column(server_default="0")


class Signer(Base):
    """Somebody whose signature counts on job tickets. From the first one on, the firm's stations
    register cards on tickets only."""

    __tablename__ = "signer"

    id: ColumnClause[int] = column(primary_key=True)
    firm_id: ColumnClause[int] = column(ForeignKey("firm.id"))
    name: ColumnClause[str] = column(String(64))
    public_key: ColumnClause[bytes] = column(LargeBinary(32))
    created_at: ColumnClause[int] = column(BigInteger)
    revoked_at: ColumnClause[int | None] = column(BigInteger)

    __table_args__ = (
        UniqueConstraint("firm_id", "name"),
        UniqueConstraint("firm_id", "public_key"),
    )


class TicketRow(Base):
    """A job: so many cards may be registered on it. used: serial numbers that were; it only grows.
    account: the signed account of the job, once it has ended."""

    __tablename__ = "ticket"

    id: ColumnClause[str] = column(String(32), primary_key=True)
    firm_id: ColumnClause[int] = column(ForeignKey("firm.id"))
    cards: ColumnClause[int]
    used: ColumnClause[int]
    digits: ColumnClause[int]
    station: ColumnClause[str | None] = column(String(24))
    expires_at: ColumnClause[int] = column(BigInteger)
    presented_at: ColumnClause[int] = column(BigInteger)
    account: ColumnClause[str | None] = column(Text)


class TicketCard(Base):
    """A card that was registered on a ticket; it counts, whatever becomes of it. certificate: as
    it was signed."""

    __tablename__ = "ticket_card"

    ticket_id: ColumnClause[str] = column(ForeignKey("ticket.id"), primary_key=True)
    serial: ColumnClause[str] = column(String(64), primary_key=True)
    registered_at: ColumnClause[int] = column(BigInteger)
    certificate: ColumnClause[str | None] = column(Text)


class SerialRange(Base):
    """Serial numbers that a firm gives to new devices: their letters, and as many digits. next: the
    lowest that nobody has been given; it only grows."""

    __tablename__ = "serial_range"

    firm_id: ColumnClause[int] = column(ForeignKey("firm.id"), primary_key=True)
    letters: ColumnClause[str] = column(String(64), primary_key=True)
    digits: ColumnClause[int] = column(primary_key=True)
    next: ColumnClause[int] = column(BigInteger)


class SerialBlock(Base):
    """A run of them that a station was given. request: the station's own name for its asking, so
    that asking again gives the same run."""

    __tablename__ = "serial_block"

    firm_id: ColumnClause[int] = column(ForeignKey("firm.id"), primary_key=True)
    request: ColumnClause[str] = column(String(32), primary_key=True)
    first: ColumnClause[str] = column(String(64))
    count: ColumnClause[int]
    station: ColumnClause[str] = column(String(24))
    reserved_at: ColumnClause[int] = column(BigInteger)


class AuditEntry(Base):
    """One sensitive act. Append-only (triggers refuse change, and to delete what is after a
    checkpoint), linked by `mac` to the one before it in the same chain. detail: JSON, with the
    address and the browser of whoever did it (`from`, `browser`)."""

    __tablename__ = "audit"

    chain: ColumnClause[str] = column(String(40), primary_key=True)
    number: ColumnClause[int] = column(BigInteger, primary_key=True, autoincrement=False)
    at_ms: ColumnClause[int] = column(BigInteger)
    firm_id: ColumnClause[int | None] = column(BigInteger)
    actor: ColumnClause[str] = column(String(255))
    action: ColumnClause[str] = column(String(40))
    subject: ColumnClause[str] = column(String(255))
    detail: ColumnClause[str] = column(String(1000))
    mac: ColumnClause[bytes] = column(LargeBinary(32))


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

    chain: ColumnClause[str] = column(String(40), primary_key=True)
    number: ColumnClause[int] = column(BigInteger)
    mac: ColumnClause[bytes] = column(LargeBinary(32))


class AuditCheckpoint(Base):
    """Up to which entry a chain was pruned: `mac` is that entry's, and the next one goes on from
    it. seal: only this server can make it."""

    __tablename__ = "audit_checkpoint"

    chain: ColumnClause[str] = column(String(40), primary_key=True)
    number: ColumnClause[int] = column(BigInteger)
    mac: ColumnClause[bytes] = column(LargeBinary(32))
    at: ColumnClause[int] = column(BigInteger)
    seal: ColumnClause[bytes] = column(LargeBinary(32))


class RestoreRow(Base):
    """A backup that was put in this database's place. report: JSON, what it brought back. Nothing
    is served before somebody has confirmed it."""

    __tablename__ = "restored"

    at: ColumnClause[int] = column(BigInteger, primary_key=True, autoincrement=False)
    report: ColumnClause[str] = column(Text)
    confirmed_at: ColumnClause[int | None] = column(BigInteger)


class CheckAnswer(Base):
    """The answer to a check of a code whose asker may ask again, for having got none. id_hash: of
    the asker, the name that he gave the check, and the check. answer: JSON."""

    __tablename__ = "check_answer"

    id_hash: ColumnClause[bytes] = column(LargeBinary(32), primary_key=True)
    firm_id: ColumnClause[int] = column(ForeignKey("firm.id"))
    answer: ColumnClause[str] = column(Text)
    expires_at: ColumnClause[int] = column(BigInteger, index=True)
