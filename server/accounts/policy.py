"""A firm's policy: one validated value, stored as JSON with the firm."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, time
from enum import StrEnum
from functools import lru_cache
from typing import Annotated
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    field_serializer,
    field_validator,
    model_validator,
)
from sqlalchemy import Connection, select

from tallystick.server.rules.judge import CodePolicy
from tallystick.server.store.models import Firm
from tallystick.server.wording.languages import Language


class MethodKind(StrEnum):
    """The six second factors. Five are allowed unless a firm says otherwise."""

    CARD = "card"
    TOTP = "totp"
    SMS = "sms"
    EMAIL = "email"
    WEBAUTHN = "webauthn"
    CODES = "codes"


class PersonRole(StrEnum):
    """What a person may do in the portal. Each role's rights: `accounts.rights`."""

    USER = "user"
    SUPPORT = "support"
    ADMINISTRATOR = "administrator"
    AUDITOR = "auditor"


class KeyTrust(StrEnum):
    """Who has to vouch for a security key before it is enrolled."""

    ROOTS = "roots"
    METADATA = "metadata"


Count = Annotated[int, Field(ge=1)]


class FirmPolicy(BaseModel):
    """Everything that a firm decides for itself. Times in the unit that the name ends with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # the firm: what people call it (empty: its name on this server), its colour on pages and in
    # mails (empty: the software's), what its people speak
    display_name: Annotated[str, Field(max_length=80, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    colour: Annotated[str, Field(pattern=r"^(#[0-9a-f]{6})?$")] = ""
    languages: Annotated[tuple[Language, ...], Field(min_length=1)] = (Language.ENGLISH,)
    # a directory: which of its groups give which role (none named: roles are given here), and
    # whether it is asked for the passwords of the people that it keeps
    group_roles: dict[Annotated[str, Field(min_length=1, max_length=255)], PersonRole] = {}
    directory_passwords: bool = False
    # methods
    methods: frozenset[MethodKind] = frozenset(MethodKind) - {MethodKind.CODES}
    recovery_methods: frozenset[MethodKind] = frozenset(
        {MethodKind.CARD, MethodKind.TOTP, MethodKind.EMAIL}
    )
    method_order: tuple[MethodKind, ...] = (
        MethodKind.TOTP,
        MethodKind.CARD,
        MethodKind.WEBAUTHN,
        MethodKind.CODES,
        MethodKind.EMAIL,
        MethodKind.SMS,
    )
    minimum_methods: Annotated[int, Field(ge=0, le=len(MethodKind))] = 1
    second_factor_from: date | None = None
    reminder_days: Annotated[int, Field(ge=0, le=90)] = 0
    invitation_days: Annotated[int, Field(ge=1, le=90)] = 14
    recommended_methods: Annotated[int, Field(ge=1, le=len(MethodKind))] = 2
    # codes of cards and authenticator apps
    look_ahead: Annotated[int, Field(ge=1, le=50)] = 10
    look_back: Annotated[int, Field(ge=1, le=50)] = 10
    resync_window: Annotated[int, Field(ge=0, le=1000)] = 100
    totp_steps_around: Annotated[int, Field(ge=0, le=5)] = 1
    # guesses
    max_failures: Annotated[int, Field(ge=3, le=50)] = 10
    lockout_s: Annotated[int, Field(ge=1, le=86400)] = 60
    lockout_max_s: Annotated[int, Field(ge=60, le=7 * 86400)] = 4 * 3600
    lockout_lifted_by: frozenset[PersonRole] = frozenset(
        {PersonRole.SUPPORT, PersonRole.ADMINISTRATOR}
    )
    # codes that are sent
    sent_code_digits: Annotated[int, Field(ge=6, le=10)] = 6
    sent_code_life_s: Annotated[int, Field(ge=60, le=900)] = 300
    sent_code_tries: Annotated[int, Field(ge=1, le=10)] = 3
    sends_per_person_per_hour: Count = 6
    sends_per_address_per_hour: Count = 6
    sends_per_source_per_hour: Count = 60
    # passwords, sessions
    password_min_length: Annotated[int, Field(ge=8, le=128)] = 8
    password_min_length_alone: Annotated[int, Field(ge=8, le=128)] = 15
    password_max_failures: Annotated[int, Field(ge=3, le=100)] = 10
    sign_in_failures_per_source: Annotated[int, Field(ge=10, le=100_000)] = 100
    recoveries_per_source_per_hour: Annotated[int, Field(ge=5, le=100_000)] = 60
    first_enrolment_days: Annotated[int, Field(ge=0, le=365)] = 14
    remember_device_days: Annotated[int, Field(ge=0, le=90)] = 0
    session_hours: Annotated[int, Field(ge=1, le=720)] = 12
    session_idle_minutes: Annotated[int, Field(ge=1, le=1440)] = 60
    # security keys
    key_alone: bool = False
    key_trust: frozenset[KeyTrust] = frozenset()
    key_roots: Annotated[str, Field(max_length=32_768)] = ""
    key_models: tuple[str, ...] = ()
    # the working day
    time_zone: str = "UTC"
    day_ends: time = time(18, 0)
    loan_max_hours: Annotated[int, Field(ge=1, le=744)] = 168
    loan_reminder_minutes: Annotated[int, Field(ge=0, le=10080)] = 60
    # the desk
    desk_contact: Annotated[str, Field(max_length=120, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    desk_resync_window: Annotated[int, Field(ge=0, le=10_000)] = 1000
    desk_pool_minimum: Annotated[int, Field(ge=0, le=10_000)] = 0
    desk_pool_notice_to: Annotated[str, Field(max_length=255)] = ""
    desk_without_code_per_day: Annotated[int, Field(ge=0, le=1000)] = 20

    @field_serializer(
        "methods",
        "recovery_methods",
        "lockout_lifted_by",
        "key_trust",
        when_used="json",
        return_type=list[str],
    )
    def in_order(self, values: frozenset[StrEnum]) -> list[str]:
        return sorted(value.value for value in values)

    @field_validator("time_zone")
    @classmethod
    def known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{name!r} is not a time zone of the IANA database") from None
        return name

    @field_validator("languages", "method_order", mode="before")
    @classmethod
    def each_once(cls, value: object) -> object:
        """Also as a text: `de, en`. The first language is the one of what has room for one only."""
        if isinstance(value, str):
            value = re.split(r"[\s,;]+", value.strip().lower()) if value.strip() else []
        return tuple(dict.fromkeys(value)) if isinstance(value, (list, tuple)) else value

    @field_validator("colour", mode="before")
    @classmethod
    def as_hexadecimal(cls, value: object) -> object:
        """Also as `0B5CAD` and `#05a`."""
        if not isinstance(value, str) or not value.strip():
            return value.strip() if isinstance(value, str) else value
        digits = value.strip().removeprefix("#").lower()
        if re.fullmatch(r"[0-9a-f]{3}", digits):
            digits = "".join(2 * digit for digit in digits)
        if not re.fullmatch(r"[0-9a-f]{6}", digits):
            raise ValueError(f"{value!r} is no colour such as #0b5cad")
        return f"#{digits}"

    @field_validator("second_factor_from", mode="before")
    @classmethod
    def a_day_or_none(cls, value: object) -> object:
        return value or None

    @field_validator("group_roles", mode="before")
    @classmethod
    def a_line_each(cls, value: object) -> object:
        """Also as lines of text: `Help desk = support`."""
        if not isinstance(value, str):
            return value
        pairs = {}
        for line in filter(None, map(str.strip, value.splitlines())):
            group, mark, role = line.rpartition("=")
            if not mark:
                raise ValueError(f"{line!r} is not GROUP = ROLE")
            pairs[group.strip()] = role.strip().lower()
        return pairs

    @field_validator("desk_pool_notice_to")
    @classmethod
    def an_address(cls, text: str) -> str:
        if text and not re.fullmatch(r"[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+", text):
            raise ValueError(f"{text!r} is no e-mail address")
        return text

    @field_validator("key_roots")
    @classmethod
    def certificates(cls, text: str) -> str:
        """As PEM, without what stands between them."""
        if not text.strip():
            return ""
        from cryptography import x509  # noqa: PLC0415 - policies are read on the fast path
        from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

        try:
            found = x509.load_pem_x509_certificates(text.encode())
        except ValueError:
            raise ValueError("there is something that is no PEM certificate") from None
        return "".join(one.public_bytes(Encoding.PEM).decode() for one in found)

    @field_validator("key_models", mode="before")
    @classmethod
    def aaguids(cls, value: object) -> object:
        """Texts with spaces, commas or lines between them, in the form 8-4-4-4-12."""
        if isinstance(value, str):
            value = re.split(r"[\s,;]+", value.strip()) if value.strip() else []
        if not isinstance(value, (list, tuple)):
            return value
        models = []
        for one in value:
            try:
                models.append(str(UUID(one)))
            except (ValueError, AttributeError, TypeError):
                raise ValueError(f"{one!r} is no AAGUID") from None
        return tuple(sorted(set(models)))

    @model_validator(mode="after")
    def keys_are_vouched_for(self) -> FirmPolicy:
        if KeyTrust.ROOTS in self.key_trust and not self.key_roots:
            raise ValueError("key_roots names no certificate that could vouch for a key")
        if self.key_models and not self.key_trust:
            raise ValueError(
                "key_models needs somebody who vouches for keys: what model a key is, it can claim"
            )
        return self

    @model_validator(mode="after")
    def fits_together(self) -> FirmPolicy:
        if self.minimum_methods > len(self.methods):
            raise ValueError("minimum_methods is larger than the number of methods allowed")
        if MethodKind.WEBAUTHN in self.recovery_methods:
            # Asking for a key by name alone would tell which keys an account has.
            raise ValueError("a security key cannot recover a password; it serves for signing in")
        if self.lockout_max_s < self.lockout_s:
            raise ValueError("lockout_max_s is shorter than lockout_s")
        if PersonRole.USER in self.lockout_lifted_by:
            raise ValueError("users cannot lift their own lock-out")
        return self

    def asked_from_s(self) -> int:
        """From which second on (since 1970) a second factor is asked for; 0: ever since."""
        if self.second_factor_from is None:
            return 0
        midnight = datetime.combine(self.second_factor_from, time(), ZoneInfo(self.time_zone))
        return int(midnight.astimezone(UTC).timestamp())

    def methods_asked(self, now: float) -> int:
        """How many kinds of second factor everybody has to have now (seconds since 1970)."""
        return self.minimum_methods if now >= self.asked_from_s() else 0

    def password_length(self, now: float) -> int:
        """The shortest password, where it is one factor of two, or the only one (NIST SP 800-63B-4,
        3.1.1.2: 8 and 15). now: seconds since 1970."""
        return (
            self.password_min_length if self.methods_asked(now) else self.password_min_length_alone
        )

    def desk_codes(self) -> CodePolicy:
        """As `codes`, with the card in the hand of staff: it is searched for further. Two codes of
        it have to be right."""
        window = max(self.resync_window, self.desk_resync_window)
        return replace(self.codes(), resync_window=window)

    def codes(self) -> CodePolicy:
        """The part that judging a card's code needs."""
        return CodePolicy(
            look_ahead=self.look_ahead,
            look_back=self.look_back,
            resync_window=self.resync_window,
            steps_around=self.totp_steps_around,
            max_failures=self.max_failures,
            lockout_s=self.lockout_s,
            lockout_max_s=self.lockout_max_s,
        )


@lru_cache(maxsize=1024)
def parse(text: str) -> FirmPolicy:
    """A stored policy. Fields that it lacks have their defaults."""
    return FirmPolicy.model_validate_json(text or "{}")


@lru_cache(maxsize=1024)
def code_policy(text: str) -> CodePolicy:
    """The code policy of a stored policy (parsed once: it is on the fast path)."""
    return parse(text).codes()


def of_firm(connection: Connection, firm_id: int) -> FirmPolicy:
    return parse(connection.execute(select(Firm.policy).where(Firm.id == firm_id)).scalar_one())


FIRM_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
