"""Whose request it is: addresses, the networks that limits count by, what proxies say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network

# What one subscriber has of IPv6 (RFC 6177): whoever has one address of it has all 2^64.
SUBSCRIBER_BITS = 64
MAX_HOPS = 32
_FOR = re.compile(r'(?:^|[;,\s])for\s*=\s*("[^"]*"|[^;,\s]*)', re.IGNORECASE)


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Raises ValueError for what is neither an address nor a network."""
    return tuple(ip_network(text.strip()) for text in texts if text.strip())


@lru_cache(maxsize=4096)
def counted_by(source: str) -> str:
    """What limits count an address by: itself, or for IPv6 its /64. An IPv4 address in IPv6's
    clothes is what it is; what is no address (a telephone number, say) stays."""
    try:
        address = ip_address(source.partition("%")[0])
    except ValueError:
        return source[:64]
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ip_network((address, SUBSCRIBER_BITS), strict=False))
    return str(address)


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
    if not _trusted(peer, trusted):
        return peer
    heard = [
        _rightmost(peer, hops, trusted)
        for hops in (_plain_hops(forwarded_for), _forwarded_hops(forwarded))
        if hops
    ]
    return heard[0] if len(set(heard)) == 1 else peer


def _trusted(text: str, trusted: Sequence[Network]) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in trusted)


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
    elements = [element for line in lines for element in line.split(",") if element.strip()]
    found = [_FOR.search(element) for element in elements]
    return [match.group(1).strip('"') if match else "unknown" for match in found]


def _address(hop: str) -> str | None:
    """Without its port. None: it is no address."""
    text = hop.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return None
