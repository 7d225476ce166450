"""`tally selftest`: is this board built right?"""

from __future__ import annotations

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
from tallystick.provisioning.commands.options import passphrase_option
from tallystick.provisioning.custody.store import key_store
from tallystick.provisioning.settings import read_passphrase
from tallystick.tools.selftest import checks, report

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
@click.option("--port", metavar="DEV", required=True, help="Serial port of the card's dock.")
@click.option(
    "--keys",
    metavar="FILE|URI",
    help="The firm's keys, for a card in service: a station's key file, or pkcs11:….",
)
@passphrase_option
@click.option("--unattended", is_flag=True, help="Skip what a person must look at or press.")
@click.option("--junit", type=OUTPUT_FILE, help="Write JUnit XML.")
@click.option("--page", type=OUTPUT_FILE, help="Write a page to print, HTML.")
@console.json_option
def selftest(
    port: str,
    keys: str | None,
    passphrase_file: Path | None,
    unattended: bool,
    junit: Path | None,
    page: Path | None,
    as_json: bool,
) -> None:
    """Have a card test its display, button, cell, flash, randomness and heap."""
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
    if as_json:
        console.print_json(
            {
                "serial": board.serial,
                "board": board.version.board,
                "firmware": str(board.version),
                "image_sha256": board.image.digest.hex() if board.image else None,
                "good": board.good,
                "checks": [asdict(check) for check in board.checks],
            }
        )
    else:
        console.out().print(f"{board.serial} on {board.version.board}: {board.summary}")
    if not board.good:
        raise SystemExit(ExitCode.FAILED)
