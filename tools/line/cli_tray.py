"""`tally flash --tray JOBFILE`: one programmer of a production line."""

from __future__ import annotations

import getpass
import json
import socket
from collections import Counter
from collections.abc import Callable, Container
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import click

from tallystick.common import console
from tallystick.common.errors import BadInputError, ExitCode, RefusedError
from tallystick.common.identity import kdf3
from tallystick.common.private_files import others_may_read
from tallystick.common.secret import Secret
from tallystick.common.server_url import checked_url
from tallystick.provisioning.custody.interface import ServerCredential
from tallystick.provisioning.custody.store import key_store
from tallystick.provisioning.settings import read_passphrase
from tallystick.tools.flash.job import Job, Target
from tallystick.tools.image.cards import read_master
from tallystick.tools.image.readers import read_batch
from tallystick.tools.line import jobfile
from tallystick.tools.line.acceptance import over_a_line
from tallystick.tools.line.book import BoardState, LineBook, numbers_in
from tallystick.tools.line.locking import Locker, planned, refuse_development, serial_of
from tallystick.tools.line.named import NamedSerials
from tallystick.tools.line.working import (
    Keys,
    LineTools,
    Programmer,
    Segments,
    SharedNumbers,
    of_cards,
    of_readers,
)

Opener = Callable[[Job], Callable[[], Target]]
"""How the board is reached, by the job's way."""


def work(
    path: Path,
    opener: Callable[[jobfile.LineJob], Callable[[], Target]],
    *,
    place: str | None,
    operator: str | None,
    boards: int | None,
    confirmed: str | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Boards, one after another, until the job is full or its operator stops. boards: at most so
    many, without asking. Raises TallyError before the first board."""
    job = jobfile.read(path)
    locked = _named_for_ever(job, confirmed)
    who, where = operator or getpass.getuser(), place or socket.gethostname()
    with ExitStack() as stack:
        segments = _segments(job, passphrase_file, stack)
        if job.lock is not None:
            serial_of(job.flash.board, segments(job.first))  # refuses the published keys
        _refuse_overlap(job)
        book = open_book(job, who, where)
        stack.callback(book.close)
        selftest = over_a_line(job.selftest_port, job.limits, _beside(job, ".jsonl"))
        tools = LineTools(opener(job), segments, _locker(job), locked, selftest)
        numbers = None
        if job.server is not None:
            numbers = SharedNumbers(station_credential(job.server))
            stack.callback(numbers.close)
        line = Programmer(job, book, tools, numbers)
        for serial in line.resume():
            console.err().print(
                f"[yellow]{serial} was cut, and nothing tells it again: lay it aside"
            )
        bad = _boards(line, boards, as_json)
        tell_account(book, job, as_json)
    if bad:
        raise SystemExit(ExitCode.FAILED)


def _boards(line: Programmer, boards: int | None, as_json: bool) -> int:
    """How many were bad."""
    show, made, bad = console.err(), 0, 0
    while not line.full and (boards is None or made < boards):
        board = line.make()
        made += 1
        bad += not board.good
        if not as_json:
            colour = "green" if board.good else "bold red"
            what = board.error or f"{board.seconds} s"
            show.print(f"[{colour}]{board.result}[/] {board.serial or 'a board'}: {what}")
        if boards is None and not click.confirm("Next board connected?", default=True, err=True):
            break
    return bad


def open_book(job: jobfile.LineJob, who: str, place: str) -> LineBook:
    """The book beside the job's file. Raises BadInputError, RefusedError."""
    return LineBook(_beside(job, ".book"), job.name, job.fingerprint, who=who, place=place)


def _beside(job: jobfile.LineJob, end: str) -> Path:
    """A file of the job, named as it is."""
    return job.path.with_name(job.path.name + end)


def _refuse_overlap(job: jobfile.LineJob) -> None:
    """No number may be of two jobs of one folder; those of other stations a server keeps apart.
    Raises RefusedError."""
    own = _beside(job, ".book")
    wanted = set() if job.server is not None else set(job.numbers())
    for other in sorted(own.parent.glob("*.book")):
        taken = sorted(wanted & numbers_in(other)) if other != own else []
        if taken:
            raise RefusedError(
                f"{taken[0]} to {taken[-1]} of the job {job.name!r} are of another job: "
                f"{other.name} has {len(taken)} of its numbers.",
                kept="Nothing was written to a board.",
                todo="Give this job a first number behind those.",
            )


def tell_account(book: LineBook, job: jobfile.LineJob, as_json: bool) -> None:
    """Every board, and what each operator did."""
    account, acts = book.account(), [json.loads(line) for line in book.acts()]
    people = Counter((str(act["who"]), str(act["act"])) for act in acts)
    if as_json:
        console.print_json(
            {
                "job": job.name,
                "account": account,
                "boards": [asdict(board) for board in book.boards()],
                "acts": [
                    {"who": who, "act": act, "times": times}
                    for (who, act), times in sorted(people.items())
                ],
            }
        )
        return
    out = console.out()
    known = ", ".join(f"{count} {state}" for state, count in account.items() if count)
    out.print(f"{job.name}: {known}")
    for (who, act), times in sorted(people.items()):
        out.print(f"  {who}: {act}, {times} ×")
    for board in book.boards():
        if board.state in (BoardState.FAILED, BoardState.LOST, BoardState.LOCKING):
            out.print(f"  {board.serial} {board.state}: {board.error}")


def station_credential(path: Path) -> ServerCredential:
    """A file with `url` and what `tally server credential add --role station NAME --json` printed.
    Raises BadInputError."""
    try:
        if others_may_read(path):
            raise BadInputError(f"Others may read {path}.", todo=f"chmod 600 {path}")
        value = json.loads(path.read_text(encoding="utf-8"))
        token = Secret(str(value["token"]).encode())
        return ServerCredential(checked_url(str(value["url"])), str(value["id"]), token)
    except (OSError, ValueError, KeyError, TypeError):
        raise BadInputError(
            f"{path} is no credential of a station.",
            kept="Nothing was begun.",
            todo="Put url, id and token of a station's credential into it, as JSON.",
        ) from None


def _segments(job: jobfile.LineJob, passphrase_file: Path | None, stack: ExitStack) -> Segments:
    if job.attestation is None:
        return of_cards(_keys(job, passphrase_file, stack), job.date)
    batch = read_batch(*job.attestation)
    stack.callback(batch[0].wipe)
    return of_readers(batch)


def _keys(job: jobfile.LineJob, passphrase_file: Path | None, stack: ExitStack) -> Keys:
    if job.keys is not None:
        custody = key_store(job.keys).open(read_passphrase(passphrase_file))
        stack.callback(custody.close)
        return custody.transport_keys
    assert job.master_file is not None  # jobfile.read saw to it
    master = read_master(job.master_file)
    stack.callback(master.wipe)
    return keys_of_master(master)


def keys_of_master(master: Secret) -> Keys:
    """Of a factory master that lies in a file."""
    return lambda serial: Secret(b"".join(kdf3(master.view(), serial.encode())))


def _named_for_ever(job: jobfile.LineJob, confirmed: str | None) -> Container[str]:
    """The boards that may be locked; each was named. Raises RefusedError, BadInputError."""
    if job.lock is None:
        if confirmed is not None:
            raise RefusedError(
                f"The job {job.name!r} locks nothing, and --yes-for-ever was said.",
                kept="Nothing was written to a board, and nothing burnt.",
                todo="Put [lock] into the job, or leave --yes-for-ever out.",
            )
        return ()
    shared = job.server is not None
    numbers = [] if shared else job.numbers()
    span = "FIRST-LAST" if shared else f"{numbers[0]}-{numbers[-1]}"
    if confirmed is None:
        raise _not_named(f"The job {job.name!r} locks its boards for ever.", span)
    named = NamedSerials.parse(confirmed)
    if missing := named.missing(numbers):
        raise _not_named(
            f"The job {job.name!r} locks its boards for ever, and --yes-for-ever does not name "
            f"{missing[0]}{f' and {len(missing) - 1} more' if missing[1:] else ''}.",
            span,
        )
    if not shared and len(named.serials) > len(numbers):
        raise _not_named(
            f"The job {job.name!r} locks its boards for ever, and --yes-for-ever names numbers of "
            "another job, too.",
            span,
        )
    refuse_development(job.image)
    return named


def _not_named(what: str, span: str) -> RefusedError:
    return RefusedError(
        what,
        kept="Nothing was written to a board, and nothing burnt.",
        todo=f"Say --yes-for-ever {span} if you mean it, or take [lock] out of the job.",
    )


def _locker(job: jobfile.LineJob) -> Callable[[Job], Locker] | None:
    """Raises TallyError now for what could not be burnt later."""
    if job.lock is None:
        return None
    plan = planned(job.flash.board, job.lock)
    return lambda flash: plan.open()
