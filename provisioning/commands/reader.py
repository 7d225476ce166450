"""`tally station reader`: our own readers, made ready for people before they are sent out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import click

from tallystick.common import moments
from tallystick.common.console import err, json_option, out, print_json
from tallystick.common.errors import BadInputError
from tallystick.common.moments import day_in_words
from tallystick.provisioning import foreign_batch
from tallystick.provisioning.commands.labels import names_of
from tallystick.provisioning.commands.listed import listed_logins
from tallystick.provisioning.commands.options import (
    FILE,
    BenchOptions,
    bench_options,
    language_option,
    together,
    user_option,
    users_option,
)
from tallystick.provisioning.commands.others import DevicesTold, need_whole
from tallystick.provisioning.durable import write_durably
from tallystick.provisioning.journal import CardRecord, CardState, HeardFirm, StationJournal
from tallystick.provisioning.labels import pdf
from tallystick.provisioning.labels.fonts import font_for
from tallystick.provisioning.labels.layout import STOCKS, by_serial, draw
from tallystick.provisioning.labels.leaflet import Leaflet
from tallystick.provisioning.labels.leaflet import write as write_leaflets
from tallystick.provisioning.labels.pin_letter import PinLetter
from tallystick.provisioning.labels.pin_letter import write as write_pin_letters
from tallystick.provisioning.labels.reader_leaflet import READER
from tallystick.provisioning.labels.scanned import read_serial
from tallystick.provisioning.people import CardsForPeople, ListedPerson, check_people
from tallystick.provisioning.reader import LONGEST, READERS, SHORTEST, ReaderWork
from tallystick.provisioning.registry import TallyServer
from tallystick.provisioning.security_key import PIN_DIGITS, EnrolledKey, FirstPins, HidPlaces


@dataclass(frozen=True)
class PaperOptions:
    """What goes out with the readers."""

    papers: Path | None
    languages: tuple[str, ...]
    firm_name: str
    contact: str


paper_options = together(
    PaperOptions,
    "wanted",
    click.option(
        "--papers",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="FOLDER",
        help="Write labels, leaflets, and the letters with first PINs into it.",
    ),
    language_option,
    click.option(
        "--firm", "firm_name", default="", help="The firm's name, if not as the server says."
    ),
    click.option("--contact", default="", help="Where readers are handed out, if not as it says."),
)


@click.command()
@user_option
@users_option
@click.option(
    "--batch", "batch_name", default=READERS, show_default=True, metavar="NAME",
    help="Name of the batch.",
)  # fmt: skip
@click.option(
    "--pins", type=FILE, required=True, help="File that first PINs are kept in, for your eyes only."
)
@click.option(
    "--min-pin", type=click.IntRange(SHORTEST, LONGEST), default=PIN_DIGITS, show_default=True,
    help="Characters that a PIN must have.",
)  # fmt: skip
@click.option("--another", is_flag=True, help="One more for --user, who has one of this batch.")
@click.option("--reused", is_flag=True, help="Take readers that came back, and were reset.")
@paper_options
@bench_options
@json_option
def reader(
    *,
    user: str | None,
    users_file: Path | None,
    batch_name: str,
    pins: Path,
    min_pin: int,
    another: bool,
    reused: bool,
    wanted: PaperOptions,
    station: BenchOptions,
    as_json: bool,
) -> None:
    """Make readers of ours ready for people before they are sent out: one for --user, or one for
    each of --users.

    Plug in one after another, scan its label, and touch it once. It is enrolled with the server,
    gets a PIN policy, and a first PIN (in the file --pins) that opens nothing until its holder has
    changed it. The same command goes on where it stopped, and writes the papers again.
    """
    if (user is None) == (users_file is None):
        raise click.UsageError("Give either --user, or --users.")
    if another and user is None:
        raise click.UsageError("--another needs --user.")
    logins = listed_logins(users_file) if users_file else [str(user)]
    told = DevicesTold[EnrolledKey](
        lambda _place, serial, one: f"{one.serial} is ready for {one.user}: unplug it, label it"
    )
    with station.open() as ready:
        if not isinstance(ready.registry, TallyServer):
            raise BadInputError(
                "Readers are enrolled with the project's own server alone.",
                todo="Leave --registry out.",
            )
        first_pins = FirstPins(pins)
        ready.registry.check()
        check_people(logins, ready.registry.check_user)
        people = _people(logins, users_file)
        papers = _papers_for(wanted, ready.journal.firm(), people.values())
        before = [] if another else _of(ready.journal, batch_name, logins)
        whose = None if another else CardsForPeople(logins, ReaderWork.device_kind)
        work = ReaderWork(
            ready.registry, ready.journal, first_pins, _ask_serial, _touch, user, whose,
            batch_name, min_pin, reused,
        )  # fmt: skip
        count = len(logins) - len(before)
        with suppress(
            KeyboardInterrupt, click.Abort
        ):  # a reader under way is finished by the same command
            if count > 0:
                foreign_batch.run(HidPlaces(), work, told, count)
        missing = max(0, count - len(told.done))
        runs = _of(ready.journal, batch_name, logins)
        written = papers.write(ready.journal, batch_name, runs, people, first_pins, min_pin)
    if as_json:
        print_json(
            {
                "batch": batch_name, "done": [asdict(one) for one in told.done],
                "missing": missing, "failures": told.failures_json(), "min_pin": min_pin,
                "papers": [str(path) for path in written],
            }
        )  # fmt: skip
    else:
        had = f" ({', '.join(f'{one.serial}: {one.user}' for one in before)})" if before else ""
        out().print(
            f"{len(told.done)} readers ready now, {len(before)} before{had}, {missing} missing; "
            f"first PINs are in {pins}",
            markup=False, highlight=False,
        )  # fmt: skip
        for path in written:
            out().print(f"written: {path}", markup=False, highlight=False)
    need_whole(
        batch_name, missing, "readers", kept="The readers that are ready, and their first PINs."
    )


def _of(journal: StationJournal, batch: str, logins: Sequence[str]) -> list[CardRecord]:
    """The readers of a batch that these people have; the last run of each."""
    known = {login.lower() for login in logins}
    runs = {
        run.serial: run
        for run in journal.finished(batch)
        if run.device == ReaderWork.device_kind
        and (run.user or "").lower() in known
        and journal.latest(run.serial) == run
    }
    return [runs[serial] for serial in by_serial(runs)]


def _people(logins: Sequence[str], users_file: Path | None) -> dict[str, ListedPerson]:
    known = names_of(users_file)
    return {one.lower(): known.get(one.lower()) or ListedPerson(one, one) for one in logins}


@dataclass(frozen=True)
class ReaderPapers:
    """folder: None: none are wanted. day: of today, in the firm's zone."""

    folder: Path | None
    languages: tuple[str, ...]
    firm: str
    contact: str
    day: date

    def write(
        self,
        journal: StationJournal,
        batch: str,
        runs: Sequence[CardRecord],
        people: Mapping[str, ListedPerson],
        pins: FirstPins,
        min_pin: int,
    ) -> list[Path]:
        """Of all readers of the batch that these people have, so that they can be written again.
        Raises BadInputError where the disk does not take them."""
        if self.folder is None or not runs:
            return []
        labels, leaflets, letters = [], [], []
        for run in runs:
            person, pin = people[str(run.user).lower()], pins.of(run.serial)
            labels.append(draw(run.serial, STOCKS["50x25"], person.name))
            for one in self.languages:
                leaflets.append(Leaflet(one, self.firm, self.contact, False, run.serial))
                if pin is not None:
                    letters.append(
                        PinLetter(
                            one, self.firm, self.contact, person.name, run.serial,
                            pins.shortest(run.serial) or min_pin, pin,
                            person.address, day_in_words(self.day, one),
                        )
                    )  # fmt: skip
        made = {
            "labels.pdf": pdf.write(labels, STOCKS["50x25"]),
            "leaflets.pdf": write_leaflets(leaflets, "a6", READER),
        }
        if letters:
            made["first-pins.pdf"] = write_pin_letters(letters)
            journal.note("first PINs printed", batch, " ".join(run.serial for run in runs))
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name, content in made.items():
                write_durably(self.folder / name, content)  # for its owner alone
        except OSError as error:
            raise BadInputError(
                f"The papers cannot be written to {self.folder}: {error}.",
                kept="The readers are ready; their first PINs are in the file.",
                todo="Run the same command again with another --papers.",
            ) from None
        for run in runs:
            if run.state is CardState.LOCKED:
                journal.finish(run, CardState.LABELLED)
        return [self.folder / name for name in made]


def _papers_for(
    wanted: PaperOptions, heard: HeardFirm, people: Iterable[ListedPerson]
) -> ReaderPapers:
    """Raises BadInputError, before any reader is touched, where papers would not say whose the
    readers are, and for what no font has."""
    firm, contact = wanted.firm_name or heard.name, wanted.contact or heard.contact
    if wanted.papers is not None:
        if not (firm and contact):
            raise BadInputError(
                "The papers would not say who sends the readers, or where they come back.",
                kept="Nothing was written to any reader.",
                todo="Give --firm and --contact, or have the firm's policy say it (desk_contact).",
            )
        for line in (firm, contact, *(one for p in people for one in (p.name, *p.address))):
            font_for(line)
    today = datetime.fromtimestamp(moments.now(), UTC).astimezone(heard.zone).date()
    return ReaderPapers(
        wanted.papers, wanted.languages or heard.languages[:1], firm, contact, today
    )


def _ask_serial(place: str) -> str:
    answer: str = click.prompt(
        f"Scan or type the label of the reader {place}", err=True, value_proc=_serial
    )
    return answer


def _serial(text: str) -> str:
    try:
        return read_serial(text)
    except BadInputError as error:
        raise click.UsageError(error.what) from None  # asks again


def _touch(serial: str) -> None:
    err().print(f"lay a finger on {serial} now", markup=False, highlight=False)
