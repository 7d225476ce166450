"""`tally selftest`: is this board built right?"""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from tallystick.common import console
from tallystick.common.errors import ExitCode
from tallystick.common.paths import OUTPUT_FILE
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.card.scp03 import SecureChannel
from tallystick.provisioning.commands.passphrase import passphrase_option
from tallystick.provisioning.custody.store import key_store
from tallystick.provisioning.settings import read_passphrase
from tallystick.tools.selftest import checks, drift_page, report
from tallystick.tools.selftest.batch import BatchBoard, append, read, series
from tallystick.tools.selftest.limits import MOST, NAME, Limits, measured, problems, read_limits

_file = click.Path(path_type=Path, dir_okay=False, exists=True)

_COLOURS = {
    checks.CheckVerdict.PASSED: "green",
    checks.CheckVerdict.FAILED: "bold red",
    checks.CheckVerdict.SKIPPED: "dim",
}


class AtTheTerminal:
    """Implements checks.Tester with whoever runs the command."""

    def __init__(self) -> None:
        self._asked = False

    def sees(self, what: str) -> bool:
        return click.confirm(f"Does the display show {what}?", err=True)

    def press(self) -> None:
        if not self._asked:
            self._asked = True
            console.err().print("press the card's button")


@click.command()
@click.option("--port", metavar="DEV", help="Serial port of the card's dock.")
@click.option(
    "--keys",
    metavar="FILE|URI",
    help="The firm's keys, for a card in service: a station's key file, or pkcs11:….",
)
@passphrase_option
@click.option("--unattended", is_flag=True, help="Skip what a person must look at or press.")
@click.option("--junit", type=OUTPUT_FILE, help="Write JUnit XML.")
@click.option("--page", type=OUTPUT_FILE, help="Write a page to print, HTML.")
@click.option("--limits", "limits_file", type=_file, help="What is allowed, TOML.")
@click.option("--also", multiple=True, metavar="NAME=NUMBER", help="What another probe measured.")
@click.option("--batch", type=OUTPUT_FILE, help="Add what was measured to this file.")
@click.option("--drift", type=OUTPUT_FILE, help="Write the page of the batch, HTML.")
@console.json_option
def selftest(
    port: str | None,
    keys: str | None,
    passphrase_file: Path | None,
    unattended: bool,
    junit: Path | None,
    page: Path | None,
    limits_file: Path | None,
    also: tuple[str, ...],
    batch: Path | None,
    drift: Path | None,
    as_json: bool,
) -> None:
    """Have a card test its display, button, cell, flash, randomness and heap.

    Without --port only the page of a batch is made. Exit code 0: within the limits, and no drift.
    """
    limits = read_limits(limits_file) if limits_file is not None else {}
    if port is None:
        if batch is None or drift is None:
            raise click.UsageError("Give --port, or --batch and --drift.")
        _finish(None, batch, drift, limits, as_json)
        return
    if drift is not None and batch is None:
        raise click.UsageError("--drift goes with --batch.")
    others = dict(map(_number, also))
    show = console.err()

    def tell(check: checks.Check) -> None:
        if not as_json:
            colour = _COLOURS[check.verdict]
            show.print(f"  {check.name:<12}[{colour}]{check.verdict:<8}[/] {check.detail}")

    person = None if unattended else AtTheTerminal()
    with ExitStack() as stack:
        custody = None if keys is None else key_store(keys).open(read_passphrase(passphrase_file))
        connection = stack.enter_context(CardConnection.open(port))
        channel = None
        if custody is not None:
            stack.callback(custody.close)
            channel = SecureChannel.open(connection, custody.channel_keys)
        board = checks.run(connection, person, transmitter=channel, on_check=tell)
    now = datetime.now(UTC)
    if junit is not None:
        junit.write_bytes(report.junit(board, time=now))
    if page is not None:
        page.write_text(report.page(board, port=port, time=now), encoding="utf-8")
    wrong = problems(board, limits, others)
    tested = BatchBoard(
        board.serial,
        now.isoformat(timespec="seconds"),
        not wrong,
        measured(board) | others,
        tuple(wrong),
    )
    if batch is not None:
        append(batch, tested)
    if as_json and drift is None:
        console.print_json(
            {
                "serial": board.serial,
                "board": board.version.board,
                "firmware": str(board.version),
                "image_sha256": board.image.digest.hex() if board.image else None,
                "good": tested.good,
                "problems": wrong,
                "values": tested.values,
                "checks": [asdict(check) for check in board.checks],
            }
        )
    elif not as_json:
        summary = board.summary if board.good and not wrong else f"failed: {'; '.join(wrong)}"
        console.out().print(f"{board.serial} on {board.version.board}: {summary}")
    if drift is not None and batch is not None:
        _finish(tested, batch, drift, limits, as_json)
    elif not tested.good:
        raise SystemExit(ExitCode.FAILED)


def _finish(
    tested: BatchBoard | None, batch: Path, drift: Path, limits: Limits, as_json: bool
) -> None:
    """The page of the batch, and what is to be said of it."""
    boards = read(batch)
    found = series(boards, limits)
    drift.write_text(drift_page.page(batch.stem, boards, found), encoding="utf-8")
    drifting = {one.name: list(one.drift) for one in found if one.drift}
    outside = {one.name: one.outside() for one in found if one.outside()}
    bad = sorted(serial for serial, good in {b.serial: b.good for b in boards}.items() if not good)
    if as_json:
        console.print_json(
            {
                "boards": len({board.serial for board in boards}),
                "bad": bad,
                "outside": outside,
                "drift": drifting,
                "last": asdict(tested) if tested else None,
            }
        )
    else:
        out = console.out()
        for one in found:
            state = "; ".join(one.drift) or "no drift"
            out.print(f"{one.name}: mean {one.mean:.4g}, deviation {one.deviation:.3g}, {state}")
        if bad:
            out.print(f"did not pass: {', '.join(bad)}")
    if drifting or outside or bad or (tested is not None and not tested.good):
        raise SystemExit(ExitCode.FAILED)


def _number(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not NAME.fullmatch(name) or not abs(number) <= MOST:
        raise click.UsageError(f"{text!r} is not NAME=NUMBER, for example current_ua=1.4.")
    return name, number
