"""`tally station security-keys`: other makers' FIDO2 keys, one or a batch."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import click

from tallystick.common.console import err, json_option, out, print_json
from tallystick.common.errors import BadInputError
from tallystick.provisioning import foreign_batch
from tallystick.provisioning.commands.listed import listed_logins
from tallystick.provisioning.commands.options import (
    FILE,
    BenchOptions,
    bench_options,
    user_option,
    users_option,
)
from tallystick.provisioning.commands.others import DevicesTold, need_consent, need_whole
from tallystick.provisioning.labels.scanned import read_scan
from tallystick.provisioning.people import CardsForPeople, check_people
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
    need_consent(
        "What is not protected as a card of ours is:", UNPROTECTED,
        accepted=accept_unprotected, ask=not as_json,
        what="There was no consent to enrol them so.", kept="Nothing was written to any key.",
    )  # fmt: skip
    people = listed_logins(users_file) if users_file else [str(user)]
    told = DevicesTold[EnrolledKey](
        lambda _place, _serial, key: f"{key.serial} is enrolled for {key.user}: unplug it"
    )
    with station.open() as ready:
        if not isinstance(ready.registry, TallyServer):
            raise BadInputError(
                "Security keys are enrolled with the project's own server alone.",
                todo="Leave --registry out.",
            )
        ready.registry.check()
        check_people(people, ready.registry.check_user)
        before = 0 if user is not None else len(ready.journal.finished(batch_name))
        work = KeyWork(
            ready.registry, ready.journal, FirstPins(pins), _ask_serial, _touch, user,
            CardsForPeople(people) if users_file else None, batch_name,
        )  # fmt: skip
        with suppress(KeyboardInterrupt):  # a key under way is finished by the same command
            if before < len(people):
                foreign_batch.run(HidPlaces(), work, told, len(people) - before)
    missing = max(0, len(people) - before - len(told.done))
    if as_json:
        failures = told.failures_json()
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
    need_whole(
        batch_name,
        missing,
        "keys",
        kept="The keys that are enrolled, and their first PINs.",
    )


def _ask_serial(place: str) -> str:
    question = f"The key {place} tells no number. Scan or type the one on it"
    answer = read_scan(click.prompt(question, err=True))
    if not 1 <= len(answer) <= 64 or not all(c.isalnum() or c in "._-" for c in answer):
        raise BadInputError(f"{answer!r} is no number of a key.", todo="Plug it in again.")
    return answer


def _touch(serial: str) -> None:
    err().print(f"touch {serial} now", markup=False, highlight=False)
