"""EAP-GTC within RADIUS (RFC 3579; RFC 3748 5.6): what a VPN server for IKEv2, such as strongSwan,
passes on. The typed text stands in clear in its packet, where a User-Password would be hidden."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

REQUEST, RESPONSE, SUCCESS, FAILURE = 1, 2, 3, 4
IDENTITY, NAK, GTC = 1, 3, 6
MOST_IN_ATTRIBUTE = 253
MAX_PROMPT = 1000
_HEADER = struct.Struct("!BBH")


@dataclass(frozen=True)
class EapAnswer:
    """A response of the peer's. identifier: of the request that it answers. An empty one asks that
    we begin (RFC 3579 2.1)."""

    identifier: int
    kind: int
    data: bytes


def heard(attributes: Iterable[bytes]) -> EapAnswer:
    """What EAP-Message attributes hold, in their order. Raises ValueError."""
    packet = b"".join(attributes)
    if not packet:
        return EapAnswer(0, IDENTITY, b"")
    code, identifier, length = _HEADER.unpack(packet[: _HEADER.size].ljust(_HEADER.size, b"\0"))
    if code != RESPONSE or not _HEADER.size < length <= len(packet):
        raise ValueError("no EAP response")
    body = packet[_HEADER.size : length]
    return EapAnswer(identifier, body[0], body[1:])


def question(answer: EapAnswer, prompt: str) -> bytes:
    """The next request: a prompt, for something that is typed."""
    data = bytes([GTC]) + prompt.encode()[:MAX_PROMPT]
    identifier = (answer.identifier + 1) % 256
    return _HEADER.pack(REQUEST, identifier, _HEADER.size + len(data)) + data


def verdict(answer: EapAnswer, *, accepted: bool) -> bytes:
    return _HEADER.pack(SUCCESS if accepted else FAILURE, answer.identifier, _HEADER.size)


def attributes(packet: bytes) -> Iterator[bytes]:
    """As EAP-Message attributes."""
    for at in range(0, len(packet), MOST_IN_ATTRIBUTE):
        yield packet[at : at + MOST_IN_ATTRIBUTE]
