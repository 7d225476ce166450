"""Jobs at the station: tickets that two people sign, certificates, accounts; on a real server."""

from __future__ import annotations

import hashlib
import io
import json
import time
from pathlib import Path
from zoneinfo import ZoneInfo

import pypdfium2
import pytest
import zxingcpp
from click.testing import CliRunner

from tallystick.common import job_papers, signed
from tallystick.common.errors import BadInputError
from tallystick.common.moments import in_words
from tallystick.emulator import boards
from tallystick.provisioning.card.connection import Response, StatusWord
from tallystick.provisioning.card.issuer import FirmwareVersion
from tallystick.provisioning.cli import station
from tallystick.provisioning.jobs import certificate, signer
from tallystick.provisioning.jobs import ticket as tickets
from tallystick.provisioning.journal import StationJournal
from tallystick.provisioning.labels.layout import STOCKS, draw
from tallystick.provisioning.registry import TallyServer
from tallystick.provisioning.server_link import OutcomeUnknownError, RegistryRefusedError
from tallystick.server.stock import tickets as counted
from tallystick.server.store.opened import opened
from tallystick.tools.image.build import build
from tests.provisioning.memory_card import MemoryCard
from tests.provisioning.pty_card import PtyCard

PHRASE = "four words that differ"


@pytest.fixture
def job(own_station):
    """A station whose server knows two signers, and their keys."""
    for name in ("ann", "bob"):
        made = own_station.run(
            "job", "key", str(own_station.folder / f"{name}.key"), "--name", name,
            env={"TALLY_SIGNER_PASSPHRASE": PHRASE},
        )  # fmt: skip
        assert made.exit_code == 0, made.output
        jwk = json.loads((own_station.folder / f"{name}.pub.json").read_text())
        with opened(own_station.settings) as parts, parts.database.write() as connection:
            counted.add_signer(
                connection, parts.ring, 1, name, signed.from_jwk(jwk), now=time.time(), actor="test"
            )
    return own_station


def with_phrase(job, *arguments):
    return job.run(*arguments, env={"TALLY_SIGNER_PASSPHRASE": PHRASE})


def ticket(job, cards=2, digits=6, second=True):
    path = job.folder / "job.ticket"
    path.unlink(missing_ok=True)
    made = with_phrase(
        job, "job", "ticket", str(path), "--cards", str(cards), "--digits", str(digits),
        "--key", str(job.folder / "ann.key"),
    )  # fmt: skip
    assert made.exit_code == 0 and "1 of 2 signatures" in made.stdout.replace("\n", " ")
    if second:
        key = str(job.folder / "bob.key")
        done = with_phrase(job, "job", "sign", str(path), "--yes", "--key", key)
        assert done.exit_code == 0 and "2 of 2" in done.output
    return str(path)


def provisioned(job, card, path):
    with PtyCard(card) as line:
        return job.ok("provision", "--port", line.port, "--ticket", path)


def refused(job, card, path):
    with PtyCard(card) as line:
        return job.fails(RegistryRefusedError, "provision", "--port", line.port, "--ticket", path)


def key_file(job, path):
    file = job.folder / "server.pub.json"
    done = job.run("job", "server-key", str(file), "--ticket", path)
    assert done.exit_code == 0, done.output
    return str(file)


def test_a_job_from_its_ticket_to_its_account(job):
    path = ticket(job)
    made = [provisioned(job, MemoryCard(serial=f"TS0000000{n}"), path) for n in (1, 2)]
    third = MemoryCard(serial="TS00000003")
    error = refused(job, third, path)
    assert "is for 2 cards" in error.what and not third.seed
    key = key_file(job, path)
    said = job.ok("job", "verify", made[0]["certificate"], "--key", key)
    assert said[0]["sn"] == "TS00000001" and said[0]["kv"] == 1 and said[0]["st"] == "2 codes"
    account = job.ok("job", "end", "--output", str(job.folder / "account.jws"), "--ticket", path)
    assert account["made"] == ["TS00000001", "TS00000002"] and account["certified"] == 2
    assert account["station_says"] == {
        "failed": ["TS00000003"], "wiped": ["TS00000003"], "unfinished": []
    }  # fmt: skip
    again = job.ok("job", "verify", str(job.folder / "account.jws"), "--key", key)
    assert again[0]["kind"] == "tally-account"
    words = job.run("job", "verify", str(job.folder / "account.jws"), "--key", key).stdout
    for part in ("2 of 2 cards made", "failed: TS00000003", "wiped: TS00000003"):
        assert part in " ".join(words.split())
    assert "ended" in refused(job, MemoryCard(serial="TS00000004"), path).what


def test_a_ticket_for_one_server(job, memory_card):
    own, other = Path(key_file(job, ticket(job))), job.folder / "other.json"
    other.write_text(json.dumps(signed.to_jwk(signed.public_of(bytes(32)))))
    path = job.folder / "bound.ticket"
    for server in (other, own):
        path.unlink(missing_ok=True)
        made = with_phrase(
            job, "job", "ticket", str(path), "--cards", "1", "--server-key", str(server),
            "--key", str(job.folder / "ann.key"),
        )  # fmt: skip
        kid = next(iter(certificate.read_key(server)))
        assert f"at the server with the key {kid} alone" in " ".join(made.output.split())
        key = str(job.folder / "bob.key")
        assert kid in with_phrase(job, "job", "sign", str(path), "--yes", "--key", key).output
        if server is other:
            assert "another server" in refused(job, memory_card, str(path)).what
            assert not memory_card.seed
    provisioned(job, memory_card, str(path))


def test_a_copied_station_makes_none_more(job):
    """Its folder, its journal before the job and its ticket: the server counts on."""
    path = ticket(job, cards=1)
    journal = job.folder / "journal.db"
    before = journal.read_bytes()
    provisioned(job, MemoryCard(serial="TS00000001"), path)
    for other in job.folder.glob("journal.db*"):
        other.unlink()
    journal.write_bytes(before)
    assert "is for 1 cards" in refused(job, MemoryCard(serial="TS00000002"), path).what


def test_without_a_ticket_and_with_half_of_one(job, memory_card):
    with PtyCard(memory_card) as line:
        error = job.fails(RegistryRefusedError, "provision", "--port", line.port)
    assert "on a job ticket only" in error.what and not memory_card.seed
    error = refused(job, memory_card, ticket(job, second=False))
    assert "1 of 2 signatures" in error.what and memory_card.kvn == 1
    assert not memory_card.seed


def test_what_the_station_sees_itself_is_told_before_a_card_is_touched(job, memory_card):
    path = ticket(job, digits=8)
    with PtyCard(memory_card) as line:
        job.fails(BadInputError, "provision", "--port", line.port, "--ticket", path)
    path = ticket(job)
    many = ("--ports", "/dev/null", "--batch", "b", "--count", "3")
    assert "not 3" in job.fails(BadInputError, "provision", *many, "--ticket", path).what
    pskc = ("--registry", f"pskc:{job.folder}", "--ticket", path)
    job.fails(BadInputError, "provision", "--port", "/dev/null", *pskc)
    assert memory_card.commands == []


def test_a_certificate_that_the_server_could_not_sign_comes_later(job, memory_card, monkeypatch):
    path = ticket(job)
    genuine = TallyServer.certify

    def away(self, serial, facts):
        raise OutcomeUnknownError("The server did not answer.")

    monkeypatch.setattr(TallyServer, "certify", away)
    assert provisioned(job, memory_card, path)["certificate"] is None
    no_label = job.run("labels", memory_card.serial, "--certificates", "--output", "x.pdf")
    assert isinstance(no_label.exception, BadInputError)
    monkeypatch.setattr(TallyServer, "certify", genuine)
    folder = job.folder / "certificates"
    found = job.ok("job", "certificates", "--output", str(folder), "--ticket", path)
    assert (folder / f"{memory_card.serial}.jws").read_text().strip() == found[memory_card.serial]
    kind, said = certificate.verify(found[memory_card.serial], certificate.read_key(
        job.folder / key_file(job, path)
    ))  # fmt: skip
    assert kind == job_papers.CERTIFICATE and said["sn"] == memory_card.serial


def test_the_image_that_is_certified_is_the_one_that_runs():
    image = build("card", boards.DEFAULT, "0.1.0")

    class Card:
        answer = Response(bytes(6) + image.header, StatusWord.OK)

        def transmit(self, command):
            assert (command.p1, command.p2) == (0xDF, 0x25)
            return self.answer

    card = Card()
    digest = hashlib.sha256(image.file_system).hexdigest()
    assert certificate.image_digest(card) == digest
    version = FirmwareVersion(1, 2, 3, "pico")
    assert certificate.facts(card, version, 2, 3, confirmed=True) == {
        "img": digest, "fw": "1.2.3 pico", "kv": 2, "st": "3 codes, display"
    }  # fmt: skip
    card.answer = Response(bytes(6) + b"\xff" * len(image.header), StatusWord.OK)
    assert certificate.image_digest(card) == ""
    card.answer = Response(b"", 0x6581)
    assert certificate.image_digest(card) == ""


def test_a_certificate_in_words(job, memory_card):
    path = ticket(job)
    text = provisioned(job, memory_card, path)["certificate"]
    with opened(job.settings) as parts:
        private = counted.certificate_key(parts.ring, 1)
    said = signed.read_compact(
        job_papers.CERTIFICATE, text, certificate.read_key(job.folder / key_file(job, path))
    )
    text = signed.compact(job_papers.CERTIFICATE, said | {"img": "ab" * 32}, private)
    words = job.run("job", "verify", text, "--key", key_file(job, path)).stdout
    for part in (
        memory_card.serial,
        f"image {'ab' * 32}",
        "key version 01",
        "2 codes",
        said["sta"],
    ):
        assert part in " ".join(words.split()), part


def test_an_account_in_words(job):
    path = ticket(job)
    provisioned(job, MemoryCard(serial="TS00000001"), path)
    with opened(job.settings) as parts:
        private = counted.certificate_key(parts.ring, 1)
    account = job.ok("job", "end", "--output", str(job.folder / "a.jws"), "--ticket", path)
    assert account["withdrawn"] == []
    key = key_file(job, path)
    for gone, told in ((["TS00000001"], True), ([], False), (None, False)):
        said = {name: value for name, value in account.items() if name != "withdrawn"}
        said |= {} if gone is None else {"withdrawn": gone}
        text = signed.compact(job_papers.ACCOUNT, said, private)
        words = " ".join(job.run("job", "verify", text, "--key", key).stdout.split())
        assert "1 of 2 cards made: TS00000001" in words
        assert ("of which the server has no more: TS00000001" in words) is told


@pytest.mark.parametrize("stock", ["57x32", "a4-3x8"])
def test_a_certificate_is_read_off_a_label(job, memory_card, stock):
    path = ticket(job)
    text = provisioned(job, memory_card, path)["certificate"]
    output = job.folder / "label.pdf"
    done = job.run(
        "labels", memory_card.serial, "--certificates", "--stock", stock, "--output", str(output)
    )
    assert done.exit_code == 0, done.output
    page = pypdfium2.PdfDocument(io.BytesIO(output.read_bytes()))[0]
    codes = zxingcpp.read_barcodes(page.render(scale=8).to_pil())
    assert text in [code.text for code in codes]


def test_labels_that_are_too_small():
    with pytest.raises(BadInputError, match="too small for a certificate"):
        draw("TS00000001", STOCKS["50x25"], dot=25.4 / 203, certificate="x" * 700)


def test_keys_of_signers(tmp_path, cheap_passphrases):
    path = tmp_path / "ann.key"
    public = signer.create(path, "ann", PHRASE)
    private = signer.load(path, PHRASE)
    assert signed.from_jwk(json.loads(public.read_text())) == signed.public_of(private.reveal())
    assert private.reveal().hex() not in path.read_text() + public.read_text()
    with pytest.raises(BadInputError, match="exists already"):
        signer.create(path, "ann", PHRASE)
    with pytest.raises(BadInputError, match="does not open"):
        signer.load(path, "another one altogether")


def test_a_guessable_passphrase_of_a_signer(own_station):
    short = own_station.run(
        "job", "key", str(own_station.folder / "x.key"), "--name", "x",
        env={"TALLY_SIGNER_PASSPHRASE": "x"},
    )  # fmt: skip
    assert isinstance(short.exception, BadInputError)
    assert not (own_station.folder / "x.key").exists()


def test_whoever_signs_is_shut_in_and_the_text_is_zeroed(tmp_path, cheap_passphrases, monkeypatch):
    signer.create(tmp_path / "ann.key", "Ann", PHRASE)
    seen, opened_texts, genuine = [], [], signer.unseal
    monkeypatch.setattr(signer, "shut_in", lambda: seen.append("shut in"))
    monkeypatch.setattr(
        signer, "unseal", lambda *a, **n: opened_texts.append(genuine(*a, **n)) or opened_texts[-1]
    )
    key = signer.load(tmp_path / "ann.key", PHRASE)
    assert seen == ["shut in"] and len(key) == 32 and any(key.reveal())
    assert not any(opened_texts[0])


def test_whoever_makes_a_signers_key_is_shut_in_and_it_is_wiped_where_the_disk_is_full(
    tmp_path, cheap_passphrases, monkeypatch
):
    seen, made, genuine = [], [], signer.Secret
    monkeypatch.setattr(signer, "shut_in", lambda: seen.append("shut in"))
    monkeypatch.setattr(signer, "Secret", lambda value: made.append(genuine(value)) or made[-1])

    def full(*_):
        assert seen == ["shut in"] and any(made[0].reveal())
        raise OSError("no space left")

    monkeypatch.setattr(signer, "write_durably", full)
    with pytest.raises(OSError, match="no space"):
        signer.create(tmp_path / "ann.key", "Ann", PHRASE)
    assert not any(made[0].view()) and not list(tmp_path.iterdir())


def test_a_key_signs_once(tmp_path):
    made = tickets.sign(tickets.make(1, 6, 2_000_000_000), bytes(range(32)))
    with pytest.raises(BadInputError, match="has signed it already"):
        tickets.sign(made, bytes(range(32)))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"typ": "tally-ticket"}', '{"typ": 1}', "\xff"])
def test_what_is_no_ticket(tmp_path, text):
    path = tmp_path / "x.ticket"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(BadInputError):
        tickets.read(path)


@pytest.mark.parametrize(
    "change",
    [
        {"station": "x\x1b[2K\rticket for 1 card"}, {"id": "\x1b[2Kabcd"}, {"cards": "40"},
        {"cards": True}, {"cards": 4e1}, {"more": "for another firm too"}, {"station": ["x"]},
        {"server": "x"}, {"server": ["0" * 16]}, {"expires": 1 << 45}, {"digits": 9}, {"cards": 0},
    ],
)  # fmt: skip
def test_nobody_signs_what_is_not_shown(tmp_path, cheap_passphrases, change):
    path = tmp_path / "ticket"
    statement = {"id": "0" * 32, "cards": 40, "digits": 6, "expires": 2_000_000_000} | change
    document = {"typ": job_papers.TICKET, "statement": statement, "signatures": []}
    path.write_text(json.dumps(document))
    before = path.read_bytes()
    signer.create(tmp_path / "key", "Ann", PHRASE)
    result = CliRunner().invoke(
        station, ["job", "sign", str(path), "--key", str(tmp_path / "key"), "--yes"],
        env={"TALLY_SIGNER_PASSPHRASE": PHRASE, "TALLY_STATION_JOURNAL": str(tmp_path / "j")},
    )  # fmt: skip
    assert isinstance(result.exception, BadInputError), result.output
    assert path.read_bytes() == before and "\x1b" not in result.output


def test_times_are_told_in_the_firms_zone(tmp_path, cheap_passphrases):
    journal = StationJournal(tmp_path / "journal.db")
    journal.keep_firm("Firm", "Room 3", ["en"], "Pacific/Kiritimati")
    journal.close()
    signer.create(tmp_path / "key", "Ann", PHRASE)
    result = CliRunner().invoke(
        station,
        ["job", "ticket", str(tmp_path / "t"), "--cards", "4", "--key", str(tmp_path / "key")],
        env={
            "TALLY_SIGNER_PASSPHRASE": PHRASE,
            "TALLY_STATION_JOURNAL": str(tmp_path / "journal.db"),
        },
    )
    assert result.exit_code == 0, result.exception
    assert in_words(tickets.read(tmp_path / "t").expires, ZoneInfo("Pacific/Kiritimati")) in (
        result.output
    )
