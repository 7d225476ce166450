"""Many devices of other makers, one after another in each reader: put in, touched, taken out. One
that fails holds up no other, and is told of once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from tallystick.common import beside
from tallystick.common.errors import NoDeviceError, TallyError

LOOK_S = 0.5
Device = TypeVar("Device")
Result = TypeVar("Result")
In_contra = TypeVar("In_contra", contravariant=True)
Out_co = TypeVar("Out_co", covariant=True)


class Places(Protocol[Out_co]):
    """Readers, or sockets. open: raises NoDeviceError where nothing is in it."""

    def names(self) -> Sequence[str]: ...

    def open(self, name: str) -> AbstractContextManager[Out_co]: ...


class Work(Protocol[In_contra, Out_co]):
    """What is done with one device of this serial number."""

    def serial(self, device: In_contra) -> str: ...

    def provision(self, device: In_contra, serial: str) -> Out_co: ...


class Told(Protocol[In_contra]):
    """What a batch tells while it runs."""

    def begun(self, place: str, serial: str) -> None: ...

    def finished(self, place: str, serial: str, result: In_contra) -> None: ...

    def failed(self, place: str, serial: str, error: TallyError) -> None: ...


@dataclass
class ForeignSummary(Generic[Result]):
    """What a batch did. failures: serial number (or place), and why."""

    done: list[Result] = field(default_factory=list)
    failures: list[tuple[str, TallyError]] = field(default_factory=list)


def run(
    places: Places[Device],
    work: Work[Device, Result],
    told: Told[Result],
    count: int,
    *,
    rest: Callable[[float], None] = beside.sleep,
) -> ForeignSummary[Result]:
    """Until so many are done. KeyboardInterrupt, which ends it between two devices, is the
    caller's to catch: what is done is in the summary that `told` was told of."""
    summary: ForeignSummary[Result] = ForeignSummary()
    in_place: dict[str, str] = {}
    while len(summary.done) < count:
        names = list(places.names())
        in_place = {name: serial for name, serial in in_place.items() if name in names}
        for name in names:
            if len(summary.done) < count:
                _look(name, places, work, told, summary, in_place)
        if len(summary.done) < count:
            rest(LOOK_S)
    return summary


def _look(
    name: str,
    places: Places[Device],
    work: Work[Device, Result],
    told: Told[Result],
    summary: ForeignSummary[Result],
    in_place: dict[str, str],
) -> None:
    """Provision what is in a place, unless that was done, or has failed, already."""
    try:
        with places.open(name) as device:
            serial = work.serial(device)
            if in_place.get(name) == serial:
                return
            in_place[name] = serial
            told.begun(name, serial)
            try:
                result = work.provision(device, serial)
            except TallyError as error:
                summary.failures.append((serial, error))
                told.failed(name, serial, error)
                if isinstance(error, NoDeviceError):
                    del in_place[name]  # put back, it is finished
                return
            summary.done.append(result)
            told.finished(name, serial, result)
    except NoDeviceError:
        in_place.pop(name, None)
    except TallyError as error:
        if name not in in_place:
            summary.failures.append((name, error))
            told.failed(name, "", error)
        in_place[name] = ""
