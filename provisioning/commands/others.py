"""What the commands for other makers' devices share: consent, what a batch tells, and its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import click

from tallystick.common.console import err
from tallystick.common.errors import RefusedError, TallyError
from tallystick.provisioning.commands.batch import failure

Result = TypeVar("Result")


def need_consent(
    heading: str, sentences: Sequence[str], *, accepted: bool, ask: bool, what: str, kept: str
) -> None:
    """Tell what is not protected. accepted: beforehand; ask: a person is there to. Raises
    RefusedError (what, kept) without consent."""
    console = err()
    console.print(f"[bold yellow]{heading}[/]")
    for sentence in sentences:
        console.print(f"  – {sentence}", markup=False)
    if not accepted and not (ask and click.confirm("Go on?", err=True)):
        raise RefusedError(what, kept=kept, todo="Add --accept-unprotected.")


class DevicesTold(Generic[Result]):
    """A line a device on standard error. Implements foreign_batch.Told."""

    def __init__(self, line: Callable[[str, str, Result], str]) -> None:
        """line: of place, serial number and result: that it is done."""
        self._line = line
        self.done: list[Result] = []
        self.failures: list[tuple[str, TallyError]] = []

    def begun(self, place: str, serial: str) -> None:
        err().print(f"{place}: {serial}", style="dim", markup=False, highlight=False)

    def finished(self, place: str, serial: str, result: Result) -> None:
        self.done.append(result)
        err().print(self._line(place, serial, result), markup=False, highlight=False)

    def failed(self, place: str, serial: str, error: TallyError) -> None:
        self.failures.append((serial, error))
        err().print(failure(place, serial, error))

    def failures_json(self) -> list[dict[str, object]]:
        return [{"serial": serial, **error.as_dict()} for serial, error in self.failures]


def need_whole(batch: str, missing: int, devices: str, *, kept: str) -> None:
    """Raises TallyError while some are missing."""
    if missing:
        raise TallyError(
            f"Batch {batch} is not complete: {missing} {devices} are missing.",
            kept=kept,
            todo="Run the same command again; it goes on where it stopped.",
        )
