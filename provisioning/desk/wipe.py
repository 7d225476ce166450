"""Retire the card in the dock: the server first, so that no code of it is accepted any more, then
the card wipes its keys and its seed for good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tallystick.common.errors import NoDeviceError, RefusedError, TallyError
from tallystick.provisioning.card.connection import CardConnection, CardRefusedError, StatusWord
from tallystick.provisioning.card.issuer import (
    TRANSPORT_KEYS,
    IssuerSession,
    LifeCycle,
    parse_serial,
)
from tallystick.provisioning.card.oath import OathSession, select_oath
from tallystick.provisioning.card.scp03 import SecureChannel
from tallystick.provisioning.card.t1 import Waiting
from tallystick.provisioning.custody.interface import Custody
from tallystick.provisioning.desk.client import DeskCard, Where
from tallystick.provisioning.recovery import look_at
from tallystick.provisioning.server_link import RegistryRefusedError

WIPED_BEFORE = "wiped before; it has no seed"


class Retirer(Protocol):
    """What this needs of the server's desk."""

    def card(self, serial: str) -> DeskCard | None: ...

    def retire(
        self,
        serial: str,
        codes: Sequence[str] | None,
        *,
        reason: str = "",
        wiped: bool = False,
    ) -> DeskCard: ...


@dataclass(frozen=True)
class Wiped:
    """already: the card had been wiped before. known: the server knew it, and has retired it."""

    serial: str
    already: bool
    known: bool


def retire_and_wipe(
    connection: CardConnection,
    custody: Custody,
    desk: Retirer,
    *,
    prove: bool = True,
    reason: str = "",
    waiting: Waiting | None = None,
) -> Wiped:
    """Can be repeated after any interruption: whatever is done already is not done again.

    prove: have the card give a code after a press on its button (which a card with a broken button
    cannot; the server then takes a stated reason, or an administrator's word). Raises
    RefusedError, NoDeviceError, UnreachableError; each says what was done.
    """
    seen = look_at(connection)
    known = desk.card(seen.serial)
    if seen.life_cycle is LifeCycle.TERMINATED:
        if known is not None and known.where is not Where.RETIRED:
            desk.retire(seen.serial, None, reason=reason or WIPED_BEFORE, wiped=True)
        return Wiped(seen.serial, already=True, known=known is not None)
    select_oath(connection)
    channel = SecureChannel.open(connection, custody.channel_keys)
    try:
        serial = _in_service(channel)
        if known is None or known.serial != serial or known.where is not Where.RETIRED:
            # A press is asked for also where the server does not know the card: it is the consent.
            codes = [_code(channel, serial, waiting)] if prove else None
            if known is not None:
                _retire(channel, serial, desk, codes, reason, waiting)
        else:
            desk.retire(serial, None, wiped=True)  # from now on, nobody undoes it
        _wipe(channel, serial, waiting)
    finally:
        channel.close()
    _check(connection, serial)
    return Wiped(serial, already=False, known=known is not None)


def _in_service(channel: SecureChannel) -> str:
    """The serial number that the secure channel vouches for."""
    serial = parse_serial(channel.update.diversification_data)
    if channel.update.key_version == TRANSPORT_KEYS:
        raise RefusedError(
            f"Card {serial} still has its factory keys: it was never in service.",
            kept="Nothing was changed.",
            todo="Provision it, or put it aside.",
        )
    return serial


def _retire(
    channel: SecureChannel,
    serial: str,
    desk: Retirer,
    codes: list[str] | None,
    reason: str,
    waiting: Waiting | None,
) -> None:
    try:
        desk.retire(serial, codes, reason=reason, wiped=True)
    except RegistryRefusedError as error:
        if error.reason != "card-drifted" or codes is None:
            raise
        desk.retire(serial, [*codes, _code(channel, serial, waiting)], wiped=True)


def _code(channel: SecureChannel, serial: str, waiting: Waiting | None) -> str:
    try:
        return OathSession(channel).calculate(serial, waiting)
    except CardRefusedError as error:
        error.kept = "Nothing was changed."
        if error.sw == StatusWord.CONDITIONS_NOT_SATISFIED:
            error.todo = "Repeat it, and press the card's button when it is asked for."
        if error.sw == StatusWord.NO_SUCH_CREDENTIAL:
            error.todo = "A card without a seed gives no code: an administrator adds --no-code."
        raise


def _wipe(channel: SecureChannel, serial: str, waiting: Waiting | None) -> None:
    """With a press of its own: nothing that the card did before was a consent to this."""
    try:
        IssuerSession(channel).set_status(LifeCycle.TERMINATED, waiting)
    except CardRefusedError as error:
        if error.sw != StatusWord.CONDITIONS_NOT_SATISFIED:
            raise _not_wiped(serial, error.what) from None
        raise RefusedError(
            f"Card {serial} was not wiped: nobody pressed its button when it asked.",
            kept="The server has retired it: no code of it is accepted any more.",
            todo="Repeat the command and press. With a broken button, cut the card's chip in two.",
        ) from None
    except TallyError as error:
        raise _not_wiped(serial, error.what) from None


def _check(connection: CardConnection, serial: str) -> None:
    """Look at the card from outside once more: nothing of it may be left."""
    try:
        seen = look_at(connection)
    except TallyError as error:
        raise _not_wiped(serial, error.what) from None
    if seen.life_cycle is not LifeCycle.TERMINATED or seen.credentials:
        raise _not_wiped(serial, "It says that it still has a seed.")


def _not_wiped(serial: str, why: str) -> NoDeviceError:
    return NoDeviceError(
        f"Card {serial} may not be wiped: {why}",
        kept="The server has retired it: no code of it is accepted any more.",
        todo="Put it back in the dock and repeat the command.",
    )
