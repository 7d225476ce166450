"""Readers on a production line: each gets a number and the batch's attestation, and starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from fido2.ctap2.base import Ctap2
from fido2.hid import CtapHidDevice

from tallystick.common.errors import RefusedError
from tallystick.common.reader_identity import AAGUID, ReaderIdentity, issue
from tallystick.emulator.boards import DEFAULT_READER, find
from tallystick.emulator.devices.image import Image
from tallystick.emulator.devices.reader import Reader
from tallystick.tools.campaign.reader.host import DESCRIPTOR, Connection
from tallystick.tools.campaign.reader.sensor import ScriptedSensor
from tallystick.tools.image.build import build, write
from tallystick.tools.line import cli_tray, jobfile
from tallystick.tools.line.cli import flash
from tests.tools.flash.fake_prompt import Flash, Prompt
from tests.tools.line.test_line import FIRM

FIRST, SECOND = "TR00000001", "TR00000002"
BOARD = find(DEFAULT_READER)


class ReaderLine:
    """A job, and readers at MicroPython's prompt, one after another."""

    def __init__(self, folder: Path, image: Path) -> None:
        self.folder, self.image = folder, image
        root, self.key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        self.certificate = issue(root, "A firm's root", self.key, AAGUID, "A firm")
        self.pem(self.key, self.certificate)
        self.job = folder / "job.toml"
        self.write()

    def pem(self, key, certificate) -> None:
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self.folder / "batch.key").write_bytes(secret)
        (self.folder / "batch.pem").write_bytes(certificate.public_bytes(Encoding.PEM))

    def write(self, segments: str = "", end: str = "") -> None:
        segments = segments or (
            'attestation_key = "batch.key"\nattestation_certificate = "batch.pem"\n'
        )
        self.job.write_text(
            f'name = "readers"\nboard = "{BOARD.name}"\ndevice = "reader"\n'
            f'image = "{self.image}"\npublic_key = "{FIRM.public.hex()}"\nway = "prompt"\n'
            f'count = 2\n[serials]\nfirst = "{FIRST}"\n[segments]\n{segments}{end}'
        )

    def run(self, chip: int, storage: Flash, *more: str) -> Result:
        prompt = Prompt("Raspberry Pi Pico2 with RP2350", storage)
        prompt.chip = chip.to_bytes(8, "big")
        try:
            words = ["--tray", str(self.job), "--boards", "1", "--port", prompt.port]
            return CliRunner().invoke(flash, [*words, "--operator", "ann", "--place", "one", *more])
        finally:
            prompt.close()

    def states(self) -> dict[str, str]:
        book = cli_tray.open_book(jobfile.read(self.job), "auditor", "office")
        found = {board.serial: str(board.state) for board in book.boards()}
        book.close()
        return found


def blank() -> Flash:
    return Flash(BOARD.storage.size, BOARD.storage_block)


def segment(storage: Flash) -> bytes:
    at = BOARD.identity.address - BOARD.storage.address
    size = int.from_bytes(storage.data[at + 63 : at + 65], "little")
    return bytes(storage.data[at : at + 69 + size])


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("image")
    write(build("reader", BOARD.name, "1.0.0", key=FIRM), folder)
    return folder


@pytest.fixture
def line(tmp_path, image) -> ReaderLine:
    return ReaderLine(tmp_path, image)


def said(result: Result) -> str:
    return result.output + str(result.exception)


def test_each_reader_gets_a_number_and_the_batchs_attestation_and_starts(line):
    boards = [blank(), blank()]
    for chip, storage in enumerate(boards, 1):
        result = line.run(chip, storage)
        assert result.exit_code == 0, said(result)
    assert line.states() == {FIRST: "done", SECOND: "done"}
    for serial, storage in zip((FIRST, SECOND), boards, strict=True):
        found = ReaderIdentity.decode(segment(storage))
        number = line.key.private_numbers().private_value
        assert found.serial == serial and found.key.reveal() == number.to_bytes(32, "big")
        assert found.certificate == line.certificate.public_bytes(Encoding.DER)
    made = Image(BOARD, ((BOARD.storage.address, bytes(boards[0].data)),))
    with Reader(made, identity=b"", sensor_for=ScriptedSensor, seed=1) as reader:
        reader.power_on()
        info = Ctap2(CtapHidDevice(DESCRIPTOR, Connection(reader))).info
        assert str(info.aaguid) == str(AAGUID) and info.firmware_version == 0x010000


def test_a_reader_that_comes_again_keeps_its_number(line):
    storage = blank()
    line.run(1, storage)
    before = bytes(storage.data)
    result = line.run(1, storage)
    assert "done before" in result.output and bytes(storage.data) == before
    assert "which another chip has" in said(line.run(9, storage)).replace("\n", " ")
    assert line.states() == {FIRST: "done"}


def test_a_cut_costs_no_number(line):
    storage = blank()
    storage.spoiled = 25
    assert line.run(1, storage).exit_code != 0
    assert line.states() == {FIRST: "failed"}
    storage.spoiled = None
    assert line.run(1, storage).exit_code == 0
    assert ReaderIdentity.decode(segment(storage)).serial == FIRST


def test_what_a_reader_remembers_stays(line):
    storage = blank()
    at = BOARD.journal.address - BOARD.storage.address
    kept = bytes(range(256)) * 16
    storage.data[at : at + len(kept)] = kept
    assert line.run(1, storage).exit_code == 0
    assert storage.data[at : at + len(kept)] == kept


@pytest.mark.parametrize(
    ("segments", "end", "what"),
    [
        ('master_file = "m"\ndate = 20260101\n', "", "has attestation_key and"),
        ('attestation_key = "batch.key"\n', "", "has attestation_key and"),
        ("", '[selftest]\nport = "x"\n', "has no self-test"),
    ],
)
def test_a_job_of_readers_that_is_none(line, segments, end, what):
    line.write(segments, end)
    storage = blank()
    assert what in said(line.run(1, storage)).replace("\n", " ")
    assert not storage.writes


def test_a_certificate_of_another_key(line):
    line.pem(ec.generate_private_key(ec.SECP256R1()), line.certificate)
    storage = blank()
    assert "it is for another key" in said(line.run(1, storage)).replace("\n", " ")
    assert not storage.writes


def test_the_published_batch_is_never_locked(line):
    """Under a certificate of one's own, too."""
    number = int.from_bytes(ReaderIdentity.development(FIRST).key.reveal(), "big")
    key = ec.derive_private_key(number, ec.SECP256R1())
    root = ec.generate_private_key(ec.SECP256R1())
    line.pem(key, issue(root, "A firm's root", key, AAGUID, "A firm"))
    line.write(end='[lock]\nboot_key = "boot.pem"\nboot_image = "boot.uf2"\n')
    for name in ("boot.pem", "boot.uf2"):
        (line.folder / name).write_text("not looked at so far")
    storage = blank()
    told = said(line.run(1, storage, "--yes-for-ever", f"{FIRST}-{SECOND}"))
    assert "published development keys" in told.replace("\n", " ")
    assert not storage.writes and not (line.folder / "job.toml.book").exists()


@pytest.mark.parametrize("name", ["boot.pem", "boot.uf2", "batch.key"])
def test_a_job_whose_lock_or_key_was_exchanged_has_another_fingerprint(line, name):
    line.write(end='[lock]\nboot_key = "boot.pem"\nboot_image = "boot.uf2"\n')
    for each in ("boot.pem", "boot.uf2"):
        (line.folder / each).write_text("one")
    job = jobfile.read(line.job)
    job.refuse_change()
    file = line.folder / name
    file.write_bytes(file.read_bytes() + b"\n")
    with pytest.raises(RefusedError, match="was changed while it ran"):
        job.refuse_change()


def test_a_job_whose_certificate_was_changed(line):
    line.run(1, blank())
    line.certificate = issue(line.key, "Another root", line.key, AAGUID, "Another")
    line.pem(line.key, line.certificate)
    storage = blank()
    assert "changed since it was begun" in said(line.run(2, storage)).replace("\n", " ")
    assert not storage.writes


def test_the_batchs_key_is_not_in_the_book(line):
    line.run(1, blank())
    key = line.key.private_numbers().private_value.to_bytes(32, "big")
    data = b"".join(path.read_bytes() for path in line.folder.glob("*.book*"))
    assert key not in data and key.hex().encode() not in data
