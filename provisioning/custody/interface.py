"""What the station asks of key custody. Every item is an operation on keys that are named, never a
key, so that a hardware security module can keep all of them inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tallystick.common.errors import BadInputError, RefusedError
from tallystick.common.secret import Secret
from tallystick.provisioning.card.issuer import WrappedKey
from tallystick.provisioning.card.keys import ChannelKeys, Sealed
from tallystick.provisioning.card.scp03 import InitializeUpdate
from tallystick.provisioning.credential import CodeKind

KEY_NAMES = ("enc", "mac", "dek")


class UnknownKeyError(RefusedError):
    """The card's key set is not one that this station's masters give."""

    def __init__(self, version: int) -> None:
        super().__init__(
            f"The card has key version {version:02X}, of which this station has no master.",
            kept="Nothing was written to it.",
            todo="It may be another firm's card, or need older keys of yours.",
        )


def journal_was_changed() -> BadInputError:
    """The error for a sealed seed that does not open."""
    return BadInputError(
        "A card's entry in the journal was changed, or made by a station with other keys.",
        todo="Restore the journal from its backup, or take the keys with which it was begun.",
    )


@dataclass(frozen=True)
class KeyDescription:
    """A master key as it may be shown: its use, version and check value (3 bytes, hex). tried:
    a restore of it was, or it is from before that was noted. any_mechanism: it is in a module that
    does not hold it to the one mechanism that derivation needs."""

    name: str
    version: int
    check_value: str
    current: bool
    tried: bool = True
    any_mechanism: bool = False


@dataclass(frozen=True)
class ServerCredential:
    """What lets the station speak to its server. The pre-shared key stays in custody."""

    url: str
    id: str
    token: Secret


class Seed(Sealed, Protocol):
    """The secret of one card."""

    def codes(self, first: int, count: int, kind: CodeKind) -> list[str]:
        """`count` successive HOTP codes from moving factor `first` on."""

    def for_server(self) -> bytes:
        """IV ‖ AES-128-CBC with PKCS #7 padding, under the pre-shared key of the server."""

    def for_journal(self, context: bytes) -> bytes:
        """Sealed for the station's own journal, bound to `context`; empty where the custody
        reopens none."""

    def wipe(self) -> None: ...


class Custody(Protocol):
    """Keys of one station.

    Raises UnknownKeyError where a key version is not held, BadInputError where no server is
    enrolled.
    """

    @property
    def firm_version(self) -> int:
        """Version (01 to 7F) of the firm's current key set."""

    @property
    def exports_seeds(self) -> bool:
        """Whether `open_for_export` works at all."""

    @property
    def reopens_seeds(self) -> bool:
        """Whether `reopen_seed` works at all. Where it does not, a card that stopped before its
        registration is given another seed."""

    def describe(self) -> list[KeyDescription]: ...

    def channel_keys(self, update: InitializeUpdate, context: bytes) -> ChannelKeys:
        """Session keys for the card that gave `update`, from the master that its key version
        names and its diversification data."""

    def firm_keys(
        self, card_version: int, diversification_data: bytes
    ) -> tuple[WrappedKey, WrappedKey, WrappedKey]:
        """The card's firm keys (ENC, MAC, DEK), encrypted under the DEK of the set it has now."""

    def transport_keys(self, serial: str) -> Secret:
        """ENC, MAC, DEK (48 bytes) of a card that is yet to be made, for its factory segment: the
        one place where a card's keys are told, as they are written into its flash."""

    def new_seed(self, serial: str, card_entropy: bytes) -> Seed:
        """A seed of the station's randomness and the card's, bound to the serial number."""

    def reopen_seed(self, sealed: bytes, context: bytes) -> Seed:
        """The seed that `Seed.for_journal` sealed. Raises BadInputError when it was changed, moved
        to another context, or sealed by another station; RefusedError where none is reopened."""

    def server(self) -> ServerCredential: ...

    def rest(self) -> None:
        """No card and no desk needs keys for a while. A module is logged out of; whatever needs
        them next logs in again."""

    def encrypt_for_server(self, plaintext: bytes) -> bytes:
        """As `Seed.for_server`, for other values of a container (its MAC key)."""

    def open_for_export(self, sealed: bytes) -> Secret:
        """The seed that `Seed.for_server` closed, in the clear, for products that take it no
        other way. Raises RefusedError where keys never leave."""

    def close(self) -> None:
        """Forget everything."""
