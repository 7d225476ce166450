"""`tally station job`: tickets that two people sign, certificates of cards, a job's account."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from tallystick.common import job_papers, moments
from tallystick.common.console import err, json_option, out, print_json
from tallystick.common.errors import BadInputError
from tallystick.common.groups import Group
from tallystick.common.job_papers import SIGNATURES
from tallystick.common.moments import in_words
from tallystick.common.passphrase import read_passphrase
from tallystick.common.signed import from_jwk
from tallystick.provisioning.commands.options import (
    FILE,
    BenchOptions,
    bench_options,
    firm_zone,
    journal_option,
)
from tallystick.provisioning.durable import write_durably
from tallystick.provisioning.jobs import certificate, signer
from tallystick.provisioning.jobs import ticket as tickets
from tallystick.provisioning.jobs.ticket import Ticket
from tallystick.provisioning.journal import FINISHED, CardState, StationJournal
from tallystick.provisioning.ready import ReadyStation
from tallystick.provisioning.registry import TallyServer

_VARIABLE = "TALLY_SIGNER_PASSPHRASE"
_DAY_S = 86_400

key_option = click.option("--key", "key_file", type=FILE, required=True, help="The signer's key.")
phrase_option = click.option(
    "--signer-passphrase-file",
    "passphrase_file",
    type=FILE,
    help=f"File with the key's passphrase (else ${_VARIABLE}, else asked).",
)


@click.group(cls=Group)
def job() -> None:
    """How many cards a station may make: signed by two people, counted by the server."""


@job.command("key")
@click.argument("output", type=FILE)
@click.option("--name", required=True, help="Whose key it is.")
@phrase_option
def key(output: Path, name: str, passphrase_file: Path | None) -> None:
    """Make the key of somebody who signs tickets, and beside it its public half for the server."""
    secret = _phrase(passphrase_file, new=True)
    public = signer.create(output, name, secret)
    out().print(f"{output} is {name}'s key: keep it. {public} is for the server.", markup=False)
    err().print(f"[dim]`tally server signer add '{name}' --key {public}` lets it sign tickets.[/]")


@job.command("ticket")
@click.argument("output", type=FILE)
@click.option(
    "--cards", type=click.IntRange(1, tickets.MOST_CARDS), required=True, help="How many."
)
@click.option(
    "--digits", type=click.IntRange(6, 8), default=6, show_default=True, help="Of a code."
)
@click.option(
    "--days", type=click.IntRange(1, 365), default=7, show_default=True, help="How long it is good."
)
@click.option("--station", metavar="ID", help="For the station with this credential alone.")
@click.option(
    "--server-key",
    "server_file",
    type=FILE,
    help="For the server alone that `job server-key` wrote this of.",
)
@key_option
@phrase_option
@journal_option
def ticket(
    *, output: Path, cards: int, digits: int, days: int, station: str | None,
    server_file: Path | None, key_file: Path, passphrase_file: Path | None, journal: Path,
) -> None:  # fmt: skip
    """Write a ticket for so many cards, with the first of its two signatures."""
    if output.exists():
        raise BadInputError(f"{output} exists already.", kept="It was not touched.")
    server = next(iter(certificate.read_key(server_file))) if server_file else None
    begun = tickets.make(cards, digits, int(moments.now()) + days * _DAY_S, station, server)
    made = _signed(begun, key_file, passphrase_file)
    tickets.write(output, made)
    out().print(f"{output}: {_words(made, journal)}", markup=False)
    err().print("[dim]A second person signs it with `tally station job sign`.[/]")


@job.command("sign")
@click.argument("ticket_file", metavar="TICKET", type=FILE)
@click.option("--yes", is_flag=True, help="Sign without asking.")
@key_option
@phrase_option
@journal_option
def sign(
    *, ticket_file: Path, yes: bool, key_file: Path, passphrase_file: Path | None, journal: Path
) -> None:
    """Add a signature to TICKET, after showing what it says."""
    found = tickets.read(ticket_file)
    err().print(_words(found, journal), markup=False)
    if not yes:
        click.confirm("Sign it?", abort=True, err=True)
    done = _signed(found, key_file, passphrase_file)
    tickets.write(ticket_file, done)
    out().print(f"{ticket_file} has {done.signatures} of {SIGNATURES} signatures", markup=False)


@job.command("certificates")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write each into SERIAL.jws of this folder.",
)
@bench_options
@json_option
def certificates(*, output: Path | None, station: BenchOptions, as_json: bool) -> None:
    """The certificates of the job's cards; asks the server for those that are missing."""
    with station.open() as ready:
        server = _server(ready)
        found = _fetched(server, ready.journal)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        for serial, text in found.items():
            (output / f"{serial}.jws").write_text(text + "\n", encoding="utf-8")
    if as_json:
        print_json(found)
        return
    for serial, text in found.items():
        out().print(f"{serial}  {text}", markup=False, soft_wrap=True)


@job.command("end")
@click.option("--output", type=FILE, required=True, help="Where the signed account goes.")
@bench_options
@json_option
def end(*, output: Path, station: BenchOptions, as_json: bool) -> None:
    """End the job: nothing is made on its ticket any more, and its account is signed."""
    if output.exists():
        raise BadInputError(f"{output} exists already.", kept="The job goes on.")
    with station.open() as ready:
        server = _server(ready)
        _fetched(server, ready.journal)
        assert server.ticket is not None
        text = server.end_job(_said(ready.journal, server.ticket.id))
        write_durably(output, text.encode() + b"\n")
        ready.journal.note("job ended", server.ticket.id, str(output))
        jwk = server.certificate_key()
    publics = {str(jwk["kid"]): from_jwk(jwk)}
    _, account = certificate.verify(text, publics)
    if as_json:
        print_json(account)
        return
    out().print(
        f"{len(account['made'])} of {account['cards']} cards were made, {account['certified']} "
        f"have a certificate; the account is {output}",
        markup=False,
    )


@job.command("server-key")
@click.argument("output", type=FILE)
@bench_options
def server_key(*, output: Path, station: BenchOptions) -> None:
    """Write the public key that certificates and accounts are checked with."""
    with station.open() as ready:
        if not isinstance(ready.registry, TallyServer):
            raise BadInputError("Only the server certifies cards.")
        jwk = ready.registry.certificate_key()
    output.write_text(json.dumps(jwk, indent=2) + "\n", encoding="utf-8")
    out().print(f"{output}: key {jwk['kid']}", markup=False)


@job.command("verify")
@click.argument("texts", nargs=-1, metavar="FILE|TEXT…", required=True)
@click.option("--key", "key_file", type=FILE, required=True, help="What `job server-key` wrote.")
@journal_option
@json_option
def verify(*, texts: tuple[str, ...], key_file: Path, journal: Path, as_json: bool) -> None:
    """Check certificates and accounts, without asking anybody: files, or what a QR code says."""
    publics = certificate.read_key(key_file)
    rows = [certificate.verify(_text(text), publics) for text in texts]
    if as_json:
        print_json([{"kind": kind, **said} for kind, said in rows])
        return
    zone = firm_zone(journal)
    for kind, said in rows:
        when = in_words(said["iat"], zone)
        line = _of_card(said, when) if kind == job_papers.CERTIFICATE else _of_job(said, when)
        out().print(f"[green]✓[/] {escape(line)}")


def _of_card(said: dict[str, Any], when: str) -> str:
    """A certificate in words."""
    image = f" (image {said['img']})" if said["img"] else ""
    return (
        f"card {said['sn']}: made {when} by {said['sta']} on ticket {said['tkt'][:8]}; "
        f"firmware {said['fw']}{image}, key version {said['kv']:02X}, tested: {said['st']}"
    )


def _of_job(said: dict[str, Any], when: str) -> str:
    """An account in words."""
    rest = [
        f"the station says {what}: {', '.join(serials)}"
        for what, serials in said["station_says"].items()
        if serials
    ]
    made = f"{len(said['made'])} of {said['cards']} cards made: {', '.join(said['made'])}"
    if gone := said.get("withdrawn"):  # a server of before did not say
        made += f", of which the server has no more: {', '.join(gone)}"
    return "; ".join([f"job {said['tkt'][:8]}: ended {when} by {said['sta']}", made, *rest])


def _text(text: str) -> str:
    if text.count(".") == 2 and text.startswith("ey"):
        return text
    try:
        return Path(text).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"The certificate {text} cannot be read: {error}.") from None


def _phrase(path: Path | None, *, new: bool = False) -> str:
    return read_passphrase(path, _VARIABLE, "the signer's key", new=new)


def _signed(ticket: Ticket, key_file: Path, passphrase_file: Path | None) -> Ticket:
    private = signer.load(key_file, _phrase(passphrase_file))
    try:
        return tickets.sign(ticket, private.reveal())
    finally:
        private.wipe()


def _words(ticket: Ticket, journal: Path) -> str:
    zone = firm_zone(journal)
    until = in_words(ticket.expires, zone)
    where = f"by the station {ticket.station}" if ticket.station else "by any station of the firm"
    if ticket.server:
        where += f" at the server with the key {ticket.server} alone"
    return (
        f"ticket {ticket.id[:8]} for {ticket.cards} cards of {ticket.digits} digits, made {where} "
        f"until {until}; {ticket.signatures} of {SIGNATURES} signatures"
    )


def _server(ready: ReadyStation) -> TallyServer:
    if not isinstance(ready.registry, TallyServer) or ready.registry.ticket is None:
        raise BadInputError("That needs the job's ticket.", todo="Give it with --ticket.")
    return ready.registry


def _fetched(server: TallyServer, journal: StationJournal) -> dict[str, str]:
    """By serial number; those that the server had not signed yet are asked for."""
    assert server.ticket is not None
    found = {}
    for noted in journal.certificates(server.ticket.id):
        text = noted.jws
        if noted.facts is None:
            continue  # it did not come so far
        if text is None:
            text = server.certify(noted.serial, json.loads(noted.facts))
            journal.keep_certificate(noted.serial, text)
        found[noted.serial] = text
    return found


def _said(journal: StationJournal, ticket_id: str) -> dict[str, list[str]]:
    """What became of the job's cards as the journal has it: the station's word. wiped: cards from
    which a seed was taken back."""
    said: dict[str, list[str]] = {"failed": [], "unfinished": [], "wiped": []}
    for noted in journal.certificates(ticket_id):
        runs = [record.state for record in journal.runs_of(noted.serial)]
        if runs and runs[-1] is CardState.FAILED:
            said["failed"].append(noted.serial)
        elif runs and runs[-1] not in FINISHED:
            said["unfinished"].append(noted.serial)
        if CardState.FAILED in runs:
            said["wiped"].append(noted.serial)
    return said
