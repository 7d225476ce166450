"""A card with a known seed, for measuring and for tests: the station's channel without its server.

Real provisioning makes seeds that nobody knows and registers them; this puts in one that the caller
chose, and leaves the card in the life cycle it had.
"""

from __future__ import annotations

from collections.abc import Callable

from tallystick.common.identity import DEVELOPMENT_MASTER
from tallystick.common.secret import Secret
from tallystick.emulator.devices.card import Card
from tallystick.provisioning.card import tlv
from tallystick.provisioning.card.connection import CardConnection, CommandApdu
from tallystick.provisioning.card.issuer import IssuerSession, LifeCycle
from tallystick.provisioning.card.oath import (
    HOTP_SHA1,
    INS_PUT,
    TAG_KEY,
    TAG_NAME,
    select_oath,
)
from tallystick.provisioning.card.scp03 import SecureChannel
from tallystick.provisioning.custody.keyfile import KeyRing
from tallystick.provisioning.custody.software import SoftwareCustody
from tallystick.tools.docked import DockedLink

RFC4226_SEED = Secret(b"12345678901234567890")  # of the published test vectors: a secret to nobody


def personalise(card: Card, seed: Secret = RFC4226_SEED, *, digits: int = 6) -> None:
    """Docks a powered card with development keys, puts `seed` in, and undocks it."""
    with CardConnection(DockedLink(card)) as connection:
        personalise_over(connection, seed, digits=digits)
    card.run_for(1000)  # undocked, it goes to sleep


def personalise_over(
    connection: CardConnection,
    seed: Secret = RFC4226_SEED,
    *,
    digits: int = 6,
    host_challenge: bytes | None = None,
) -> None:
    """Puts `seed` (16 to 64 bytes) into the card on `connection`; moving factor 0. A run that has
    to be the same again gives its own `host_challenge` (8 bytes)."""
    custody = SoftwareCustody(KeyRing.create(DEVELOPMENT_MASTER))
    select_oath(connection)
    serial = IssuerSession(connection).serial()
    channel = SecureChannel.open(connection, custody.channel_keys, host_challenge=host_challenge)
    data = tlv.encode(TAG_NAME, serial.encode())
    data += tlv.encode(TAG_KEY, bytes((HOTP_SHA1, digits)) + seed.reveal())
    channel.transmit(CommandApdu(0, INS_PUT, data=data)).require("take the seed")
    channel.close()
    custody.close()


def put_into_service(
    connection: CardConnection,
    custody: SoftwareCustody,
    *,
    host_challenge: Callable[[], bytes | None] = lambda: None,
) -> None:
    """Gives the card on `connection` the firm's keys in place of the factory's, and ends the life
    cycle in which it takes a seed without a press. host_challenge: asked for each of the two
    channels (8 bytes), by a run that has to be the same again."""

    def channel() -> SecureChannel:
        return SecureChannel.open(connection, custody.channel_keys, host_challenge=host_challenge())

    opened = channel()
    keys = custody.firm_keys(opened.update.key_version, opened.update.diversification_data)
    IssuerSession(opened).put_key(custody.firm_version, keys)
    IssuerSession(channel()).set_status(LifeCycle.SECURED)
