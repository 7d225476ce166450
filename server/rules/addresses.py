"""Whose request it is: addresses, the networks that limits count by, what proxies say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Network = IPv4Network | IPv6Network

# What one subscriber has of IPv6 (RFC 6177): whoever has one address of it has all 2^64.
SUBSCRIBER_BITS = 64
_TRANSLATED = IPv6Network("64:ff9b::/96")
MAX_HOPS = 32
# A pair of Forwarded (RFC 7239, 4), and what stands after it. Within quotes anything may stand: a
# proxy quotes there what its client calls the host.
_PAIR = re.compile(
    r"[ \t]*(?:(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*"
    r'(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<token>[^";, \t]+))[ \t]*)?'
    r"(?P<after>[;,]|$)"
)


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Raises ValueError for what is neither an address nor a network."""
    return tuple(ip_network(text.strip()) for text in texts if text.strip())


@lru_cache(maxsize=4096)
def counted_by(source: str) -> str:
    """What limits count an address by: itself, or for IPv6 its /64. An IPv4 address in IPv6's
    clothes is what it is, also behind a translator (RFC 6052): all of IPv4 would be one place else.
    What is no address (a telephone number, say) stays."""
    address = _read(source)
    if address is None:
        return source[:64]
    if not isinstance(address, IPv6Address):
        return str(address)
    if address in _TRANSLATED:
        return str(IPv4Address(int(address) & 0xFFFF_FFFF))
    return str(ip_network((address, SUBSCRIBER_BITS), strict=False))


@lru_cache(maxsize=4096)
def plainly(source: str) -> str:
    """An address as firewalls know it: IPv4 as what it is, without the interface that it came by.
    What is none stays."""
    address = _read(source)
    return source if address is None else str(address)


def _read(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def client_of(
    peer: str,
    trusted: Sequence[Network],
    *,
    forwarded_for: Sequence[str] = (),
    forwarded: Sequence[str] = (),
) -> str:
    """The address of whoever asks. forwarded_for, forwarded: the lines of these headers
    (X-Forwarded-For; Forwarded, RFC 7239), which only a trusted peer is believed.

    Each proxy appends whom it heard: the rightmost hop that is not trusted itself is the client;
    what stands to its left, the client may have written. A proxy writes one of the headers, and
    may pass the other one on as it came: where they disagree, neither is believed.
    """
    peer = plainly(peer)
    if not _trusted(peer, trusted):
        return peer
    heard = [
        _rightmost(peer, hops, trusted)
        for hops in (_plain_hops(forwarded_for), _forwarded_hops(forwarded))
        if hops
    ]
    return heard[0] if len(set(heard)) == 1 else peer


def _trusted(text: str, trusted: Sequence[Network]) -> bool:
    address = _read(text)
    return address is not None and any(address in network for network in trusted)


def _rightmost(peer: str, hops: Sequence[str], trusted: Sequence[Network]) -> str:
    client = peer
    for hop in hops[::-1][:MAX_HOPS]:
        address = _address(hop)
        if address is None:  # `unknown`, a name: the last one that was an address said so
            return client
        client = address
        if not _trusted(client, trusted):
            return client
    return client


def _plain_hops(lines: Sequence[str]) -> list[str]:
    return [hop.strip() for line in lines for hop in line.split(",") if hop.strip()]


def _forwarded_hops(lines: Sequence[str]) -> list[str]:
    return [hop for line in lines for hop in _elements(line)]


def _elements(line: str) -> list[str]:
    """For whom each element of the line is. `unknown` where it does not say, or twice; and of the
    whole line where it is not as RFC 7239 has it: then nobody knows where an element ends."""
    found: list[str] = []
    told: list[str] = []
    named = False
    at = 0
    while True:
        pair = _PAIR.match(line, at)
        if pair is None:
            return ["unknown"]
        if name := pair["name"]:
            named = True
            value = pair["token"] if pair["quoted"] is None else pair["quoted"]
            told += [value] if name.lower() == "for" else []
        at = pair.end()
        if pair["after"] != ";":
            if named:
                found.append(told[0] if len(told) == 1 else "unknown")
            told, named = [], False
        if not pair["after"]:
            return found


def _address(hop: str) -> str | None:
    """Without its port. None: it is no address."""
    text = hop.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    address = _read(text)
    return None if address is None else str(address)
