"""What a method is: enrol, challenge, verify. Renaming, removing and listing are the same for all.

A verdict is returned, never raised: the caller commits it, so that a wrong guess counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from sqlalchemy import Connection

from tallystick.server.accounts.factors import Enrolled
from tallystick.server.accounts.key_metadata import KeyMetadata
from tallystick.server.accounts.policy import FirmPolicy, MethodKind
from tallystick.server.rules.judge import Verdict
from tallystick.server.store.keys import ServerKeyRing

Form = Mapping[str, str]


class Thing(StrEnum):
    """What a thief takes as a whole: with a telephone, an app's codes and text messages. Two
    methods that are one thing are not two factors."""

    CARD = "card"
    TELEPHONE = "telephone"
    MAILBOX = "mailbox"
    KEY = "key"
    PAPER = "paper"


@dataclass(frozen=True)
class Context:
    """What a method works with: one transaction, of one firm, for one browser.

    attempt: hash of the log-in attempt (or session) that codes are bound to. source: the network
    address that asks. public_url: where browsers find this server. challenge: WebAuthn's, for this
    attempt. any_of: kinds of token whose codes are as good as those of the one asked for (None:
    only its own kind). metadata: what the FIDO Alliance says of keys. recovering: nothing is right
    that may not recover a password. known: the name of a browser that its owner has signed in with
    before, or ''. channels: by which messages can be sent (None: not asked). handed: somebody else
    than its owner enrols.
    """

    connection: Connection
    ring: ServerKeyRing
    policy: FirmPolicy
    firm_id: int
    firm: str
    now: float
    attempt: bytes
    source: str
    public_url: str
    challenge: bytes = b""
    any_of: frozenset[MethodKind] | None = None
    metadata: KeyMetadata | None = None
    recovering: bool = False
    known: str = ""
    channels: frozenset[str] | None = None
    handed: bool = False


@dataclass(frozen=True)
class Owner:
    """Whose factor it is. language: that the person has chosen, or ""."""

    id: int
    login: str
    email: str | None
    language: str = ""


@dataclass(frozen=True)
class Held:
    """A factor as a person sees it. key: names it in URLs and forms. confirmed: its owner has shown
    it together with another factor; nothing else recovers a password, or opens anything alone.
    Times since 1970."""

    key: str
    kind: MethodKind
    label: str
    created_at: int
    last_used_at: int | None
    expires_at: int | None = None
    confirmed: bool = True


@dataclass(frozen=True)
class Started:
    """An enrolment under way. key: of the factor to be confirmed. show: what the page shows."""

    key: str
    show: Mapping[str, Any] = field(default_factory=dict)


class Method(Protocol):
    """One kind of second factor. Raises ApiError for input that cannot be used at all."""

    @property
    def kind(self) -> MethodKind: ...

    @property
    def title(self) -> str:
        """What people call it."""

    @property
    def hint(self) -> str:
        """How one proves it, in a sentence."""

    @property
    def typed(self) -> bool:
        """The proof is a code that can be typed anywhere, also where there is no browser."""

    @property
    def sends(self) -> bool:
        """A challenge sends a message, which stays good when an answer to it was wrong."""

    @property
    def handed_out(self) -> bool:
        """The firm lends it and takes it back; its user cannot make a new one."""

    @property
    def thing(self) -> Thing:
        """What whoever uses it has to have."""

    @property
    def amr(self) -> tuple[str, ...]:
        """Authentication method references (RFC 8176)."""

    def held(
        self, context: Context, person: Owner, stored: Sequence[Enrolled] | None = None
    ) -> list[Held]:
        """The person's confirmed factors of this kind. stored: all that `factors.of_person` has of
        him; None: it is looked up."""

    def start(self, context: Context, person: Owner, form: Form) -> Started:
        """Begin to enrol."""

    def finish(self, context: Context, person: Owner, key: str, form: Form) -> Verdict:
        """Confirm that the new factor works."""

    def show_again(self, context: Context, person: Owner, key: str) -> Started | None:
        """What the page shows when the confirmation was refused; None: a new start is needed."""

    def challenge(self, context: Context, person: Owner, key: str) -> Mapping[str, Any]:
        """Ask for proof: send a code, make WebAuthn options. → what the page shows"""

    def verify(self, context: Context, person: Owner, key: str, form: Form) -> Verdict:
        """Judge the proof."""

    def rename(self, context: Context, person: Owner, key: str, label: str) -> None: ...

    def remove(self, context: Context, person: Owner, key: str) -> None: ...
