"""Giving cards the firm's current keys after a rotation. Their seeds stay as they are."""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.common.errors import RefusedError
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.card.issuer import TRANSPORT_KEYS, IssuerSession, parse_serial
from tallystick.provisioning.card.oath import select_oath
from tallystick.provisioning.card.scp03 import SecureChannel
from tallystick.provisioning.card.t1 import Waiting
from tallystick.provisioning.custody.interface import Custody


@dataclass(frozen=True)
class Rekeyed:
    """before equals after when the card had the current keys already."""

    serial: str
    before: int
    after: int


def rekey(connection: CardConnection, custody: Custody, waiting: Waiting | None = None) -> Rekeyed:
    """Replace an older set of the firm's keys; a card in service asks for a press.

    Can be repeated after any interruption: the card tells which keys it has. Raises RefusedError
    for a card that was never provisioned.
    """
    select_oath(connection)
    channel = SecureChannel.open(connection, custody.channel_keys)
    try:
        serial = parse_serial(channel.update.diversification_data)
        before, after = channel.update.key_version, custody.firm_version
        if before == TRANSPORT_KEYS:
            raise RefusedError(
                f"Card {serial} still has its transport keys.",
                kept="Nothing was written to it.",
                todo="Run `tally station provision`.",
            )
        if before == after:
            return Rekeyed(serial, before, after)
        keys = custody.firm_keys(before, channel.update.diversification_data)
        IssuerSession(channel).put_key(after, keys, waiting)
    finally:
        channel.close()
    SecureChannel.open(connection, custody.channel_keys, key_version=after).close()
    return Rekeyed(serial, before, after)
