"""Messages to people. They are stored (encrypted) in the transaction that causes them and sent by
threads afterwards, so that nobody can tell from an answer's time whether a message went out."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum

from sqlalchemy import Connection, delete, insert, select

from tallystick.common.errors import TallyError
from tallystick.server import metrics
from tallystick.server.accounts import faces, firms, policy
from tallystick.server.messages.gateways import Gateway, Letter
from tallystick.server.messages.mails import MailFace
from tallystick.server.messages.sending import CLAIM_S, SendingThread, claim
from tallystick.server.store import numbers
from tallystick.server.store.database import Database
from tallystick.server.store.keys import Box, ServerKeyRing
from tallystick.server.store.models_login import MessageRow

log = logging.getLogger(__name__)

SMS, EMAIL = "sms", "email"
NOTICE_LIFE_S = 3 * 86400
SENT_WITHIN_S = 12  # an answer of the gateway is not waited for longer (`gateways.TIMEOUT_S`)
_HELD = "messages held back"


def post(
    connection: Connection,
    ring: ServerKeyRing,
    *,
    firm_id: int,
    channel: str,
    letter: Letter,
    now: float,
    life_s: int = NOTICE_LIFE_S,
) -> int:
    """Store a message to be sent. After `life_s` it is no longer worth sending. → its id"""
    held = connection.info.get(_HELD)
    after_s = held.after_s if held is not None else 0
    firm = letter.firm or policy.of_firm(connection, firm_id).display_name
    text = json.dumps([letter.to, letter.subject, letter.text, firm]).encode()
    box = ring.encrypt(text, message_binding(firm_id, channel))
    made = connection.execute(
        insert(MessageRow).returning(MessageRow.id),
        {
            **numbers.unused(connection, MessageRow.id),
            "firm_id": firm_id,
            "channel": channel,
            "body_key_id": box.key_id,
            "body_box": box.blob,
            "tries": 0,
            "due_at": int(now) + after_s,
            "expires_at": int(now) + after_s + life_s,
        },
    )
    message = int(made.scalar_one())
    if held is not None:
        held.ids.append(message)
    return message


@dataclass
class _Held:
    after_s: int
    ids: list[int] = field(default_factory=list)


@contextmanager
def held_back(connection: Connection, after_s: int) -> Iterator[list[int]]:
    """What is posted meanwhile waits so long before it goes out. → its ids, as they come"""
    info = connection.info  # a connection that was lost meanwhile does not give it any more
    held = info[_HELD] = _Held(after_s)
    try:
        yield held.ids
    finally:
        info.pop(_HELD, None)


class Delivery(StrEnum):
    """What became of a message. refused: not taken at the first try; it is tried again."""

    TAKEN = "taken"
    WAITING = "waiting"
    REFUSED = "refused"


def delivery_of(connection: Connection, message: int, now: float) -> Delivery:
    """A message that is gone was taken: one that was given up is of no use any more either."""
    row = connection.execute(
        select(MessageRow.tries, MessageRow.due_at).where(MessageRow.id == message)
    ).one_or_none()
    if row is None:
        return Delivery.TAKEN
    return Delivery.REFUSED if _was_refused(row.tries, row.due_at, now) else Delivery.WAITING


def refused(connection: Connection, now: float) -> dict[str, int]:
    """Channel → how many messages its gateway did not take at the last try."""
    rows = connection.execute(
        select(MessageRow.channel, MessageRow.tries, MessageRow.due_at).where(MessageRow.tries > 0)
    )
    return dict(Counter(row.channel for row in rows if _was_refused(row.tries, row.due_at, now)))


def _was_refused(tries: int, due_at: int, now: float) -> bool:
    """Not one that is being sent at this moment."""
    return tries > 1 or (tries == 1 and now - (due_at - CLAIM_S) >= SENT_WITHIN_S)


def call_back(connection: Connection, messages: Sequence[int], *, due_at: int) -> bool:
    """Take back messages that wait until then. → False when one is gone, or on its way: then
    nothing was changed"""
    waiting = MessageRow.id.in_(messages) & (MessageRow.tries == 0) & (MessageRow.due_at == due_at)
    found = select(MessageRow.id).where(waiting).with_for_update()
    if len(list(connection.execute(found))) != len(messages):
        return False
    connection.execute(delete(MessageRow).where(waiting))
    return True


class Outbox:
    """Sends what is due, in a thread for each channel: a mail server that hangs holds up no
    SMS."""

    def __init__(
        self,
        database: Database,
        ring: ServerKeyRing,
        gateways: Mapping[str, Gateway],
        clock: Callable[[], float],
        *,
        background: bool = True,
    ) -> None:
        self.channels = frozenset(gateways)  # that lead somewhere
        self._channels = [
            _Channel(channel, database, ring, gateways.get(channel), clock, background=background)
            for channel in (SMS, EMAIL)
        ]

    def wake(self) -> None:
        """There may be something new."""
        for channel in self._channels:
            channel.wake()

    def send_due(self) -> None:
        """Send what is due now, in this thread."""
        for channel in self._channels:
            channel.send_due()

    def close(self) -> None:
        for channel in self._channels:
            channel.stop()
        for channel in self._channels:
            channel.join()


class _Channel(SendingThread):
    """One kind of message, and its thread. gateway: None where there is no such way out; then
    messages are given up."""

    def __init__(
        self,
        name: str,
        database: Database,
        ring: ServerKeyRing,
        gateway: Gateway | None,
        clock: Callable[[], float],
        *,
        background: bool,
    ) -> None:
        self._name = name
        self._database = database
        self._ring = ring
        self._gateway = gateway
        self._clock = clock
        super().__init__(f"outbox-{name}", background=background)

    def send_one(self) -> bool:
        """Send the next message that is due. → whether there was one"""
        now = int(self._clock())
        with self._database.read() as connection:
            row = connection.execute(
                select(MessageRow.id, MessageRow.firm_id, MessageRow.channel, MessageRow.tries)
                .add_columns(MessageRow.body_key_id, MessageRow.body_box, MessageRow.expires_at)
                .where(MessageRow.due_at <= now, MessageRow.channel == self._name)
                .order_by(MessageRow.due_at, MessageRow.id)
                .limit(1)
            ).one_or_none()
        if row is None:
            return False
        if not claim(self._database, MessageRow, row.id, row.tries, now):
            return True
        if self._gateway is not None and now <= row.expires_at:
            box = Box(row.body_key_id, row.body_box)
            letter = Letter(  # one that an older version stored has no firm
                *json.loads(self._ring.decrypt(box, message_binding(row.firm_id, row.channel)))
            )
            if row.channel == EMAIL:
                with self._database.read() as connection:
                    letter = replace(letter, face=face_of(connection, row.firm_id))
            try:
                self._gateway.send(letter)
            except Exception as error:  # an address that the library refuses must not stop the rest
                what = error.what if isinstance(error, TallyError) else type(error).__name__
                log.warning("a message by %s is tried again: %s", row.channel, what)
                metrics.MESSAGES.labels(row.channel, "failed").inc()
                return True
            metrics.MESSAGES.labels(row.channel, "sent").inc()
        else:
            log.warning("a message by %s was given up", row.channel)
            metrics.MESSAGES.labels(row.channel, "given-up").inc()
        with self._database.write() as connection:
            connection.execute(delete(MessageRow).where(MessageRow.id == row.id))
        return True


def face_of(connection: Connection, firm_id: int) -> MailFace:
    """What mails of this firm show of it now."""
    firm = firms.by_id(connection, firm_id)
    face, logo = faces.of(connection, firm), faces.logo_of(connection, firm_id)
    return MailFace(
        name=face.name,
        contact=face.contact,
        colour=face.accents.light if face.accents else "",
        logo=logo.png if logo else b"",
        size=(logo.width, logo.height) if logo else (0, 0),
    )


def message_binding(firm_id: int, channel: str) -> str:
    """What a stored message is bound to (AES-GCM associated data)."""
    return f"tallystick/message|{firm_id}|{channel}"
