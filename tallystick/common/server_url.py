"""The address of a server that is sent a credential."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from tallystick.common.errors import BadInputError


def checked_url(url: str) -> str:
    """The URL without a trailing slash. Raises BadInputError for plain HTTP beyond this computer:
    the credential would travel in the clear."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise BadInputError(f"{url!r} is no HTTP URL of a server.")
    if parts.scheme == "http" and not _is_loopback(host):
        raise BadInputError(
            f"{url} is not encrypted: the credential would be readable on the network.",
            todo="Use https://, or an SSH tunnel to http://127.0.0.1.",
        )
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
