"""What changed from what to what, for the audit log."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

ROOM = 600  # characters in one entry


def changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    """Field → “old → new”, of the fields that differ."""
    return {
        name: f"{_shown(old[name])} → {_shown(new[name])}" for name in new if old[name] != new[name]
    }


def in_entries(changes: Mapping[str, str]) -> Iterator[dict[str, str | int]]:
    """As many of them in an entry as there is room for; one entry, at least."""
    entry: dict[str, str | int] = {}
    length = 0
    for name, change in changes.items():
        if entry and length + len(name) + len(change) > ROOM:
            yield entry
            entry, length = {}, 0
        entry[name] = change[:ROOM]
        length += len(name) + len(change)
    yield entry


def masked(address: str | None) -> str:
    """An e-mail address that people recognise: entries of the log are read, and kept, by many."""
    if not address:
        return "none"
    name, _, domain = address.rpartition("@")
    return f"{name[:1]}…@{domain}"


def _shown(value: Any) -> str:
    if isinstance(value, Collection) and not isinstance(value, str):
        return ", ".join(sorted(str(one) for one in value)) or "none"
    if isinstance(value, bool):  # 1 and 0 are equal to these, and numbers
        return "yes" if value else "no"
    return "none" if value is None else str(value) or "none"
