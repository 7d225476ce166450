"""`tally server backup`, `restore`, `confirm-restore`, `keys`, `audit` and `doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tallystick.common import moments
from tallystick.common.console import err, json_option, out, print_json
from tallystick.common.errors import BadInputError, ExitCode
from tallystick.common.groups import Group
from tallystick.server.operating.commands.options import (
    db_option,
    firm_option,
    key_option,
    table,
)
from tallystick.server.settings import settings_from

if TYPE_CHECKING:
    from tallystick.server.store.audit import Head

MARKS = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "bad": "[bold red]bad[/]"}


@click.command()
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--keep",
    type=click.IntRange(1, 3650),
    help="TARGET is a folder: the copy is named by its time, and so many copies stay there.",
)
@db_option
@key_option
def backup(target: Path, *, keep: int | None, db: str | None, key_file: Path | None) -> None:
    """Copy the database into a file while the server runs. Back the key file up elsewhere."""
    from tallystick.server.operating import operations
    from tallystick.server.store.opened import opened

    settings = settings_from(db, key_file)
    with opened(settings) as parts:
        if keep is None:
            operations.backup(parts.database, target)
        else:
            target = operations.backup_by_time(parts.database, target, keep, moments.now())
    out().print(f"{target} holds the database", markup=False)
    err().print(f"[dim]It is of no use without the key file {settings.key_file}.[/]")


@click.command()
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--advance",
    default=10,
    show_default=True,
    type=click.IntRange(0, 1000),
    help="Move every card's counter on by so many, because codes used since the backup must not "
    "work again.",
)
@click.option(
    "--counters-from",
    metavar="FILE|URL",
    help="A later copy of the database, an SQLite file or a PostgreSQL database: its counters are "
    "used instead, and what is otherwise in it is listed.",
)
@db_option
@key_option
@json_option
def restore(
    *,
    source: Path,
    advance: int,
    counters_from: str | None,
    db: str | None,
    key_file: Path | None,
    as_json: bool,
) -> None:
    """Put a backup into an empty database. The server is stopped meanwhile."""
    from tallystick.server.operating import operations
    from tallystick.server.store import keys as key_files
    from tallystick.server.store import restored
    from tallystick.server.store.database import Database

    settings = settings_from(db, key_file)
    ring = key_files.load(settings.key_file)
    database = Database(settings.db_url)
    try:
        done = operations.restore(
            database, source, ring=ring, advance=advance, newer=counters_from, now=moments.now()
        )
        with database.read() as connection:
            report = restored.unconfirmed(connection)
    finally:
        database.close()
    if as_json:
        print_json(report)
        return
    out().print(f"{done['cards']} cards are restored")
    err().print(
        f"[dim]Counters moved on by {advance}, or were taken from a later copy for "
        f"{done['counters_from_newer']} cards. A refused user presses again, a few times.[/]"
    )
    show_report(report or {})
    err().print("Nothing is served before 'tally server confirm-restore'.")


@click.command("confirm-restore")
@click.option("--yes", is_flag=True, help="Do not ask: the report was read already.")
@db_option
@key_option
@json_option
def confirm_restore(*, yes: bool, db: str | None, key_file: Path | None, as_json: bool) -> None:
    """Say that you have seen what a restore brought back: then the server starts again."""
    from tallystick.server.store import restored
    from tallystick.server.store.opened import opened

    with opened(settings_from(db, key_file)) as parts:
        with parts.database.read() as connection:
            report = restored.unconfirmed(connection)
        if report is None:
            raise BadInputError(
                "There is no restore that waits to be confirmed.", kept="Nothing was changed."
            )
        if not as_json:
            show_report(report)
        if not yes and not click.confirm("Is that what may get in again?", err=True):
            raise click.Abort
        with parts.database.write() as connection:
            restored.confirm(connection, parts.ring, moments.now(), "console")
    if as_json:
        print_json(report | {"confirmed": True})
    else:
        out().print("confirmed: the server may start")


def show_report(report: dict[str, Any]) -> None:
    """What came back, and what is otherwise in the later copy."""
    out().print(f"Backup {report['source']}", markup=False)
    gone = ", ".join(f"{count} {name}" for name, count in report["dropped"].items() if count)
    out().print(f"Ended: {gone or 'nothing was under way'}", markup=False)
    for name, names in report["brought_back"].items():
        more = report["counts"][name] - len(names)
        listed = ", ".join(names) + (f" and {more} more" if more else "")
        out().print(f"May get in again, {name}: {listed or 'none'}", markup=False)
    if report["differs"] is None:
        out().print("Nothing is known of what was revoked, barred or lost since the backup.")
        return
    out().print("Otherwise in the later copy:" if report["differs"] else "The later copy agrees.")
    if report["differs"]:
        table(
            ["what", "which", "now", "in the later copy"],
            [
                [one["kind"], one["name"], one["restored"], one["later"]]
                for one in report["differs"]
            ],
        )


@click.group(cls=Group)
def keys() -> None:
    """The keys that stored seeds and other secrets are encrypted under."""


@keys.command("list")
@db_option
@key_option
@json_option
def keys_list(db: str | None, key_file: Path | None, as_json: bool) -> None:
    """Each key and how many values are under it."""
    from tallystick.server.operating import operations
    from tallystick.server.store.opened import opened

    with opened(settings_from(db, key_file)) as parts, parts.database.read() as connection:
        used = operations.use_of_keys(connection)
        rows = [
            {"id": key_id, "active": key_id == parts.ring.active, "values": used.get(key_id, 0)}
            for key_id in parts.ring.key_ids
        ]
    if as_json:
        print_json(rows)
        return
    table(
        ["id", "active", "values"],
        [[str(row["id"]), "yes" if row["active"] else "", str(row["values"])] for row in rows],
    )


@keys.command("rotate")
@db_option
@key_option
@json_option
def keys_rotate(db: str | None, key_file: Path | None, as_json: bool) -> None:
    """Make a new key and move everything under it, while the server runs."""
    from tallystick.server.operating import operations
    from tallystick.server.store.opened import opened

    settings = settings_from(db, key_file)
    with opened(settings) as parts:
        key_id, moved = operations.rotate(parts.database, settings.key_file, now=moments.now())
    if as_json:
        print_json({"key": key_id, "moved": moved})
        return
    out().print(f"{moved} values are under {key_id} now")
    err().print("[dim]Back the key file up. Old backups need the old keys: retire them late.[/]")


@keys.command("retire")
@click.argument("key_id", metavar="ID")
@db_option
@key_option
def keys_retire(key_id: str, db: str | None, key_file: Path | None) -> None:
    """Forget an old key that nothing is under any more. Backups made under it become unreadable."""
    from tallystick.server.operating import operations
    from tallystick.server.store.opened import opened

    settings = settings_from(db, key_file)
    with opened(settings) as parts:
        operations.retire_key(parts.database, settings.key_file, key_id, now=moments.now())
    out().print(f"{key_id} is forgotten", markup=False)


@click.group(cls=Group)
def audit() -> None:
    """The append-only log of sensitive acts."""


@audit.command("check")
@db_option
@key_option
@click.option(
    "--noted",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="What this command printed before with --json: entries since taken away show, too.",
)
@json_option
def audit_check(db: str | None, key_file: Path | None, noted: Path | None, as_json: bool) -> None:
    """Recompute every chain. Fails when an entry was changed, inserted or taken out.

    Whoever writes the database can cut the end off a chain: keep what --json prints where he does
    not write, and compare with it.
    """
    from tallystick.server.store import audit as log
    from tallystick.server.store.opened import opened

    with opened(settings_from(db, key_file)) as parts, parts.database.snapshot() as connection:
        reports = log.check(connection, parts.ring, _noted(noted) if noted else None)
    broken = [report for report in reports if report.broken_at is not None]
    if as_json:
        print_json([asdict(report) for report in reports])
    else:
        entries = sum(report.entries for report in reports)
        out().print(f"{entries} entries in {len(reports)} chains")
        for report in broken:
            out().print(f"[bold red]broken[/] {report.chain} at entry {report.broken_at}")
    if broken:
        raise SystemExit(ExitCode.FAILED)


def _noted(path: Path) -> dict[str, Head]:
    """Heads of chains, as `audit check --json` printed them. Raises BadInputError."""
    from tallystick.server.store.audit import Head

    try:
        chains = [
            (one["chain"], Head(int(one["entries"]), bytes.fromhex(one["mac"])))
            for one in json.loads(path.read_text(encoding="utf-8"))
            if one["entries"]
        ]
        return dict(chains)
    except (OSError, ValueError, KeyError, TypeError):
        raise BadInputError(
            f"{path} is not what 'tally server audit check --json' prints.",
            kept="Nothing was checked.",
            todo="Name the file that its output was kept in.",
        ) from None


@audit.command("export")
@firm_option("The firm whose entries are wanted.")
@click.option(
    "--server",
    "whole",
    is_flag=True,
    help="Those of no firm instead: restores, prunings, keys of the server.",
)
@click.option(
    "--format", "form", type=click.Choice(["jsonl", "csv"]), default="jsonl", show_default=True,
    help="Lines of JSON, or a table.",
)  # fmt: skip
@db_option
@key_option
def audit_export(
    *, firm_name: str, whole: bool, form: str, db: str | None, key_file: Path | None
) -> None:
    """Print a firm's entries, the newest first, with names in words."""
    from tallystick.server.accounts import firms, trail
    from tallystick.server.store.opened import opened
    from tallystick.server.store.stream import Names

    with opened(settings_from(db, key_file)) as parts:
        with parts.database.read() as connection:
            firm_id = None if whole else firms.by_name(connection, firm_name).id
        names = Names(parts.database)
        for piece in trail.export(parts.database, names, firm_id, trail.Sought(), form):
            click.echo(piece, nl=False)


@audit.command("prune")
@click.option(
    "--days", required=True, type=click.IntRange(1, 36500), help="Keep the entries of so many days."
)
@db_option
@key_option
@json_option
def audit_prune(*, days: int, db: str | None, key_file: Path | None, as_json: bool) -> None:
    """Delete older entries. A sealed checkpoint stays, so that the rest can still be checked."""
    from tallystick.server.store import housekeeping
    from tallystick.server.store.opened import opened

    with opened(settings_from(db, key_file)) as parts:
        gone = housekeeping.prune_audit(
            parts.database, parts.ring, moments.now(), days, actor="console"
        )
    if as_json:
        print_json({"pruned": gone})
    else:
        out().print(f"{gone} entries are gone")


@audit.command("fail2ban")
def audit_fail2ban() -> None:
    """Print the filter that finds failed sign-ins in the server's log."""
    click.echo((Path(__file__).parents[1] / "fail2ban.conf").read_text(encoding="utf-8"), nl=False)


@click.command()
@db_option
@key_option
@json_option
def doctor(db: str | None, key_file: Path | None, as_json: bool) -> None:
    """Look at everything that the server needs. Fails when something is bad."""
    from tallystick.server.operating.doctor import examine

    findings = list(examine(settings_from(db, key_file)))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            mark = " " * (4 - len(finding.state)) + MARKS[finding.state]
            out().print(f"{mark}  {finding.name:{width}}  {finding.detail}")
    if any(finding.state == "bad" for finding in findings):
        raise SystemExit(ExitCode.FAILED)
