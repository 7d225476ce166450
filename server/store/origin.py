"""From where the request that is being answered came, and what was refused in it: for the entries
of the audit log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Incident:
    """Something that changed nothing, so that no transaction of its own tells of it. key: entries
    are counted by it. act, what: as the entry says."""

    key: str
    act: str
    what: str


@dataclass(frozen=True)
class Origin:
    """address: of the client, "" where there is none, as at the console. browser: what it calls
    itself. incidents: of this request, so far."""

    address: str = ""
    browser: str = ""
    incidents: list[Incident] = field(default_factory=list, compare=False)


NOWHERE = Origin()
_current: ContextVar[Origin] = ContextVar("origin", default=NOWHERE)


def current() -> Origin:
    return _current.get()


def note(incident: Incident) -> None:
    """To be written once the request is answered. At the console nobody answers: then it is not."""
    origin = _current.get()
    if origin is not NOWHERE:
        origin.incidents.append(incident)


@contextmanager
def came_from(address: str, browser: str = "") -> Iterator[Origin]:
    """Entries that are recorded within have this origin. Threads that answer a request inherit it
    from the event loop; others say it themselves."""
    origin = Origin(address[:64], browser[:255])
    token = _current.set(origin)
    try:
        yield origin
    finally:
        _current.reset(token)
