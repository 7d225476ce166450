"""`tally station security-keys`: other makers' FIDO2 keys, one or a batch."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import click

from tallystick.common.console import err, json_option, out, print_json
from tallystick.common.errors import BadInputError, RefusedError, TallyError
from tallystick.provisioning import foreign_batch
from tallystick.provisioning.commands.batch import failure
from tallystick.provisioning.commands.options import (
    FILE,
    BenchOptions,
    bench_options,
    user_option,
    users_option,
)
from tallystick.provisioning.journal import CardState
from tallystick.provisioning.labels.scanned import read_scan
from tallystick.provisioning.people import CardsForPeople, check_people, read_people
from tallystick.provisioning.registry import TallyServer
from tallystick.provisioning.security_key import (
    BATCH,
    UNPROTECTED,
    EnrolledKey,
    FirstPins,
    HidPlaces,
    KeyWork,
)


@click.command("security-keys")
@user_option
@users_option
@click.option(
    "--batch",
    "batch_name",
    default=BATCH,
    show_default=True,
    metavar="NAME",
    help="Name of the batch.",
)
@click.option(
    "--pins", type=FILE, required=True, help="File that first PINs are kept in, for your eyes only."
)
@click.option("--accept-unprotected", is_flag=True, help="Consent beforehand to what is told.")
@bench_options
@json_option
def security_keys(
    *,
    user: str | None,
    users_file: Path | None,
    batch_name: str,
    pins: Path,
    accept_unprotected: bool,
    station: BenchOptions,
    as_json: bool,
) -> None:
    """Enrol other makers' FIDO2 keys for people: one for --user, or one for each of --users.

    Plug in one key after another, or several at once; each is touched once. It goes by the number
    that it tells, else by the one on it, which is asked for. It gets a first PIN (in the file
    --pins), which its holder changes.
    """
    if (user is None) == (users_file is None):
        raise click.UsageError("Give either --user, or --users.")
    console = err()
    console.print("[bold yellow]What is not protected as a card of ours is:[/]")
    for sentence in UNPROTECTED:
        console.print(f"  – {sentence}", markup=False)
    if not accept_unprotected and (as_json or not click.confirm("Go on?", err=True)):
        raise RefusedError(
            "There was no consent to enrol them so.",
            kept="Nothing was written to any key.",
            todo="Add --accept-unprotected.",
        )
    people = [one.login for one in read_people(users_file)] if users_file else [str(user)]
    told = _KeysTold()
    with station.open() as ready:
        if not isinstance(ready.registry, TallyServer):
            raise BadInputError(
                "Security keys are enrolled with the project's own server alone.",
                todo="Leave --registry out.",
            )
        ready.registry.check()
        check_people(people, ready.registry.check_user)
        finished = (CardState.LOCKED, CardState.LABELLED)
        before = sum(one.state in finished for one in ready.journal.batch(batch_name))
        if user is not None:
            before = 0
        work = KeyWork(
            ready.registry, ready.journal, FirstPins(pins), _ask_serial, _touch, user,
            CardsForPeople(people) if users_file else None, batch_name,
        )  # fmt: skip
        with suppress(KeyboardInterrupt):  # a key under way is finished by the same command
            if before < len(people):
                foreign_batch.run(HidPlaces(), work, told, len(people) - before)
    missing = max(0, len(people) - before - len(told.done))
    if as_json:
        failures = [{"serial": serial, **error.as_dict()} for serial, error in told.failures]
        done = [asdict(one) for one in told.done]
        print_json({"batch": batch_name, "done": done, "missing": missing, "failures": failures})
    else:
        out().print(
            f"{len(told.done)} keys enrolled now, {before} before, {missing} missing; first PINs "
            f"are in {pins}",
            markup=False,
        )
        if any(not one.changes for one in told.done):
            err().print("Tell their holders to change the PIN: not every key asks for that itself.")
    if missing:
        raise TallyError(
            f"Batch {batch_name} is not complete: {missing} keys are missing.",
            kept="The keys that are enrolled, and their first PINs.",
            todo="Run the same command again; it goes on where it stopped.",
        )


def _ask_serial(place: str) -> str:
    question = f"The key {place} tells no number. Scan or type the one on it"
    answer = read_scan(click.prompt(question, err=True))
    if not 1 <= len(answer) <= 64 or not all(c.isalnum() or c in "._-" for c in answer):
        raise BadInputError(f"{answer!r} is no number of a key.", todo="Plug it in again.")
    return answer


def _touch(serial: str) -> None:
    err().print(f"touch {serial} now", markup=False, highlight=False)


class _KeysTold:
    """A line a key on standard error. Implements foreign_batch.Told."""

    def __init__(self) -> None:
        self.done: list[EnrolledKey] = []
        self.failures: list[tuple[str, TallyError]] = []

    def begun(self, place: str, serial: str) -> None:
        err().print(f"{place}: {serial}", style="dim", markup=False, highlight=False)

    def finished(self, place: str, serial: str, result: EnrolledKey) -> None:
        self.done.append(result)
        said = f"{result.serial} is enrolled for {result.user}: unplug it"
        err().print(said, markup=False, highlight=False)

    def failed(self, place: str, serial: str, error: TallyError) -> None:
        self.failures.append((serial, error))
        err().print(failure(place, serial, error))
