"""URLs that somebody typed into settings. They may have passwords in them: none is ever shown."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

from tallystick.common.errors import BadInputError


def parsed(url: str, what: str, *, hosts_for: Collection[str] = ()) -> SplitResult:
    """Its parts, with a port that is one. what: as a message calls it. hosts_for: schemes that need
    a host. Raises BadInputError."""
    try:
        parts = urlsplit(url)
        whole = parts.port != 0 and (bool(parts.hostname) or parts.scheme not in hosts_for)
    except ValueError:
        whole = False
    if not whole:
        raise BadInputError(
            f"{what} is not understood as a URL: its host or its port is none.",
            todo="Write scheme://host:port, an IPv6 address in brackets, and : / ? # [ ] @ % in a "
            "name or a password as %3A, %2F and so on.",
        )
    return parts
