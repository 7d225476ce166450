"""A production job, board by board: what a board becomes, what is refused, what a kill leaves."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from tallystick.common import sealed
from tallystick.common.errors import BadInputError, RefusedError
from tallystick.common.identity import DEVELOPMENT_MASTER, Identity
from tallystick.common.secret import Secret
from tallystick.emulator.boards import find
from tallystick.provisioning import audit
from tallystick.provisioning.custody import keyfile
from tallystick.provisioning.custody.keyfile import KeyRing
from tallystick.provisioning.custody.software import SoftwareCustody
from tallystick.provisioning.custody.store import FileStore
from tallystick.tools.flash.programs import OpenOcdTarget
from tallystick.tools.image.build import build, write
from tallystick.tools.image.keys import DEVELOPMENT_PUBLIC, SigningKey
from tallystick.tools.image.outputs import intel_hex
from tallystick.tools.line import cli_tray, jobfile
from tallystick.tools.line.book import FORMAT, BoardState, LineBook, NoNumberError
from tallystick.tools.line.cli import flash
from tallystick.tools.line.working import LineTools, Programmer, SharedNumbers, of_cards
from tests.tools.line.test_line import FIRM, MASTER, images, job_file  # noqa: F401
from tests.tools.lock import fakes

BOARD = "nucleo_l476rg"
FIRST, SECOND, LAST = "TS00000001", "TS00000002", "TS00000003"
ALL_OF_THEM = f"{FIRST}-{LAST}"
PHRASE = "correct horse"


class Station:
    """One programmer with OpenOCD, and boards that are laid down one after another."""

    def __init__(self, folder: Path, job: Path) -> None:
        self.folder, self.job = folder, job
        self.board = find(BOARD)

    def lay(self, chip: int, content: bytes | None = None, **state: object) -> None:
        if content is None:
            content = b"\xff" * self.board.flash_size
        (self.folder / "flash.bin").write_bytes(content)
        path = self.folder / "state"
        fresh = {"registers": {"0x40022020": 0xFFEFF8AA}, "rows": {}}
        path.write_text(json.dumps(fresh | {"chip": [f"{chip:08x}"] * 3} | state))

    def content(self) -> bytes:
        return (self.folder / "flash.bin").read_bytes()

    def run(self, *more: str, operator: str = "ann") -> Result:
        words = ["--tray", str(self.job), "--boards", "1", "--operator", operator]
        return CliRunner().invoke(flash, [*words, "--place", "one", *more])

    def serial(self) -> str:
        at = self.board.identity.address
        return self.content()[at + 5 : at + 15].decode("ascii", "replace")

    def book(self) -> LineBook:
        return cli_tray.open_book(jobfile.read(self.job), "auditor", "office")

    def states(self) -> dict[str, str]:
        book = self.book()
        found = {board.serial: str(board.state) for board in book.boards()}
        book.close()
        return found

    def states_of_old(self) -> dict[str, str]:
        """As `states`, of a job whose files are others now."""
        with closing(sqlite3.connect(self.job.with_name("job.toml.book"))) as database:
            return dict(database.execute("SELECT serial, state FROM board"))

    def wrote(self) -> bool:
        return any("write_image" in word for call in fakes.calls(self.folder) for word in call)


@pytest.fixture
def station(tmp_path, monkeypatch, images) -> Station:  # noqa: F811
    folder = fakes.install(tmp_path / "bin", monkeypatch, "openocd", fakes.OPENOCD)
    end = '[label]\nfolder = "labels"\n'
    made = Station(folder, job_file(tmp_path / "job", "openocd", BOARD, images[BOARD], 3, end=end))
    made.lay(1)
    return made


def said(result: Result) -> str:
    error = result.exception
    return result.output + str(error) + str(getattr(error, "kept", ""))


def test_a_board_gets_everything_that_the_job_says(station):
    result = station.run()
    assert result.exit_code == 0, said(result)
    board, content = station.board, station.content()
    segment = Identity.derive(FIRST, 20261201, MASTER).encode()
    assert content[board.identity.address :].startswith(segment)
    image = (jobfile.read(station.job).image.path / "card.bin").read_bytes()
    assert content[board.storage.address :].startswith(image)
    label = (station.job.parent / "labels" / f"{FIRST}.zpl").read_text()
    assert label.startswith("^XA") and FIRST in label
    assert station.states() == {FIRST: "done"}
    assert "1 done, 2 free" in result.output and "ann at one: gave a number" in result.output


def test_the_base_goes_with_it(station, tmp_path, images):  # noqa: F811
    base = tmp_path / "job" / "micropython.hex"
    base.write_bytes(intel_hex([(0x08000000, b"MicroPython" * 100)]))
    station.job = job_file(
        tmp_path / "job", "openocd", BOARD, images[BOARD], 3, top='base = "micropython.hex"\n'
    )
    assert station.run().exit_code == 0
    assert station.content().startswith(b"MicroPython" * 100)


def test_each_board_has_its_own_number_and_a_board_that_comes_again_keeps_it(station):
    station.run()
    first = station.content()
    station.lay(2)
    station.run(operator="bob")
    assert station.serial() == SECOND
    station.lay(1, first)
    result = station.run()
    assert "done before" in result.output
    assert station.content() == first
    assert station.states() == {FIRST: "done", SECOND: "done"}


def test_a_pulled_cable_costs_no_number(station):
    station.lay(1, pull=0)
    result = station.run()
    assert result.exit_code != 0 and "the cable was pulled" in result.output
    assert station.states() == {FIRST: "failed"}
    station.lay(2)
    station.run()
    assert station.serial() == SECOND
    station.lay(1)
    assert station.run().exit_code == 0
    assert station.serial() == FIRST


def test_the_last_board_is_gone_on_with_when_no_number_is_left(station):
    for chip in (1, 2):
        station.lay(chip)
        station.run()
    station.lay(3, pull=1)
    assert station.run().exit_code != 0
    assert station.states()[LAST] == "failed"
    assert station.run().exit_code == 0
    assert station.serial() == LAST and set(station.states().values()) == {"done"}


def test_the_job_ends_with_its_last_number(station):
    for chip in (1, 2, 3):
        station.lay(chip)
        assert station.run().exit_code == 0
    station.lay(4)
    result = station.run()
    assert result.exit_code == 0 and "3 done" in result.output
    assert not station.content().strip(b"\xff")


def test_what_each_operator_did_is_chained(station):
    station.run()
    station.lay(2)
    station.run(operator="bob")
    book = station.book()
    acts = book.acts()
    book.close()
    assert not audit.verify(acts).problems
    assert {json.loads(act)["who"] for act in acts} == {"ann at one", "bob at one"}
    told = json.loads(station.run("--json").stdout)
    assert {act["who"] for act in told["acts"]} >= {"ann at one", "bob at one"}


# -- refused: nothing written, nothing lost ------------------------------------------------------


def refused(station: Station, result: Result, what: str) -> None:
    assert result.exit_code != 0
    assert what in said(result).replace("\n", " "), said(result)
    assert not station.wrote()


def test_a_wrong_board(station, monkeypatch):
    path = station.folder / "openocd"
    path.write_text(path.read_text().replace("0x10076415", "0x20036411"))
    refused(station, station.run(), "says it is device id 0x411")
    assert station.states() == {}


def test_a_board_of_another_job(station):
    content = bytearray(station.content())
    at = station.board.identity.address
    content[at : at + 134] = Identity.derive("TX00000009", 20260101, MASTER).encode()
    station.lay(1, bytes(content))
    refused(station, station.run(), "TX00000009, which this job gave to no board")


def test_a_serial_number_twice(station):
    station.run()
    station.lay(7, station.content())
    result = station.run()
    assert "which another chip has: a copy of its flash" in said(result).replace("\n", " ")
    assert station.states() == {FIRST: "done"}


@pytest.mark.parametrize(("first", "taken"), [(FIRST, True), (LAST, True), ("TS00000004", False)])
def test_a_range_that_overlaps_with_another_job(station, first, taken):
    """Beside it, under another name: its book knows nothing of the numbers of the first."""
    station.run()
    (station.folder / "calls").unlink()
    station.lay(2)
    text = station.job.read_text().replace(f'"{FIRST}"', f'"{first}"')
    station.job = station.job.with_name("other.toml")
    station.job.write_text(text.replace("batch openocd", "other"))
    result = station.run()
    if taken:
        refused(station, result, "are of another job: job.toml.book")
        assert not station.job.with_name("other.toml.book").exists()
    else:
        assert result.exit_code == 0 and station.serial() == first


def test_a_file_beside_the_job_that_is_no_book(station):
    station.job.with_name("novel.book").write_text("It was a dark and stormy night. " * 40)
    refused(station, station.run(), "novel.book is not the book of a job")


def test_a_board_with_the_number_of_another(station):
    station.run()
    first = station.content()
    station.lay(2)
    station.run()
    station.lay(2, first)
    assert station.run().exit_code != 0
    assert station.states() == {FIRST: "done", SECOND: "done"}


def test_a_job_that_was_changed_since_it_was_begun(station):
    station.run()
    (station.folder / "calls").unlink()
    station.lay(2)
    text = station.job.read_text()
    station.job.write_text(text.replace("count = 3", "count = 4"))
    result = station.run()
    assert result.exit_code != 0 and "changed since it was begun" in said(result)
    assert not station.wrote()
    station.job.write_text(text)
    assert station.run().exit_code == 0


def test_a_factory_master_that_was_changed_since(station):
    """Its cards would have keys of two masters."""
    station.run()
    (station.folder / "calls").unlink()
    station.lay(2)
    (station.job.parent / "master.hex").write_text("a5" * 16)
    refused(station, station.run(), "changed since it was begun")


def of_a_ring(station: Station, master: bytes, path: Path) -> None:
    """The job's keys come from a station's key file from here on: another one by the same name."""
    path.unlink(missing_ok=True)
    keyfile.save(path, KeyRing.create(master), PHRASE, replace=False)
    (path.parent / "phrase").write_text(PHRASE)
    text = station.job.read_text().replace('master_file = "master.hex"', 'keys = "ring.json"')
    station.job.write_text(text)


def test_another_key_ring_by_the_same_name(station, monkeypatch):
    """The file's bytes tell nothing: it is sealed anew with each of a station's own changes."""
    monkeypatch.setitem(sealed.COST, "memory_kib", 64)
    ring = station.job.parent / "ring.json"
    phrase = ("--passphrase-file", str(ring.parent / "phrase"))
    of_a_ring(station, MASTER, ring)
    assert station.run(*phrase).exit_code == 0
    at = station.board.identity.address
    of_the_master = Identity.derive(FIRST, 20261201, MASTER).encode()
    assert station.content()[at:].startswith(of_the_master)
    (station.folder / "calls").unlink()
    station.lay(2)
    of_a_ring(station, b"\xa5" * 16, ring)
    result = station.run(*phrase)
    refused(station, result, "The keys of this job are not those that it was begun with")
    assert "Put those back" in str(result.exception) and station.states() == {FIRST: "done"}
    of_a_ring(station, MASTER, ring)  # its firm's keys are others, which no board gets here
    FileStore(ring).rotate(PHRASE)
    assert station.run(*phrase).exit_code == 0
    assert station.states() == {FIRST: "done", SECOND: "done"}


def test_every_file_of_a_job_seen_from_its_folder(station, tmp_path, monkeypatch):
    """Wherever the command is given."""
    (station.job.parent / "firm.key").write_text(FIRM.public.hex())
    text = station.job.read_text().replace(FIRM.public.hex(), "firm.key")
    station.job.write_text(text)
    monkeypatch.chdir(tmp_path)
    assert station.run().exit_code == 0
    (station.job.parent / "firm.key").write_text("00" * 32)
    station.lay(2)
    (station.folder / "calls").unlink()
    refused(station, station.run(), "signed with another key")


def test_a_job_that_is_changed_between_two_boards_of_one_run(station):
    job = jobfile.read(station.job)
    book = LineBook(station.job.with_name("b"), job.name, job.fingerprint, who="ann", place="a")
    master = cli_tray.keys_of_master(Secret(MASTER))
    tools = LineTools(lambda: OpenOcdTarget(station.board), of_cards(master, job.date))
    line = Programmer(job, book, tools)
    assert line.make().good
    (station.folder / "calls").unlink()
    station.lay(2)
    station.job.write_text(station.job.read_text() + "\n# another word\n")
    made = line.make()
    assert (made.serial, made.result) == ("", "failed")
    assert "was changed while it ran" in made.error and not fakes.calls(station.folder)
    assert [board.serial for board in book.boards()] == [FIRST]
    book.close()


@pytest.mark.parametrize("what", ["limits", "base", "manifest"])
def test_a_file_that_a_job_names_was_exchanged(station, tmp_path, images, what):  # noqa: F811
    folder = station.job.parent
    (folder / "limits.toml").write_text("[cell_mv]\nlow = 2900\n")
    (folder / "base.hex").write_bytes(intel_hex([(0x08000000, b"MicroPython" * 100)]))
    shutil.copytree(images[BOARD], folder / "image")
    job_file(
        folder, "openocd", BOARD, folder / "image", 3, top='base = "base.hex"\n',
        end='[selftest]\nlimits = "limits.toml"\n',
    )  # fmt: skip
    assert station.run().exit_code == 0
    (station.folder / "calls").unlink()
    station.lay(2)
    if what == "limits":
        (folder / "limits.toml").write_text("[cell_mv]\nlow = 1\n")
    elif what == "base":
        (folder / "base.hex").write_bytes(intel_hex([(0x08000000, b"MicroPythos" * 100)]))
    else:
        shutil.rmtree(folder / "image")
        write(build("card", BOARD, "1.0.1", key=FIRM), folder / "image")
    refused(station, station.run(), "changed since it was begun")
    assert station.states_of_old() == {FIRST: "done"}


class SharedRange:
    """A server in the place of the network, and a station's credential beside the job. asked: names
    of the requests; deaf: it gives numbers, and its answer is lost."""

    def __init__(self, station: Station, monkeypatch: pytest.MonkeyPatch, at_once: int = 1) -> None:
        self.asked: list[str] = []
        self.deaf = False
        self._given: dict[str, int] = {}
        self._file = station.job.parent / "station.json"
        text = station.job.read_text()
        more = f'[serials]\nserver = "station.json"\nat_once = {at_once}\n'
        station.job.write_text(text.replace("[serials]\n", more))
        transport, genuine = httpx.MockTransport(self._answer), SharedNumbers
        monkeypatch.setattr(
            cli_tray, "SharedNumbers", lambda credential: genuine(credential, transport=transport)
        )
        self.belongs_to("https://a.example", "Mills")

    def belongs_to(self, url: str, firm: str, name: str = "st-1") -> None:
        self._firm = firm
        self._file.write_text(json.dumps({"url": url, "id": name, "token": "secret"}))
        self._file.chmod(0o600)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/whoami":
            return httpx.Response(200, json={"firm": self._firm, "role": "station"})
        asked = json.loads(request.content)
        self.asked.append(asked["request"])
        number = self._given.setdefault(asked["request"], 101 + 100 * len(self._given))
        if self.deaf:
            raise httpx.ReadTimeout("lost", request=request)
        return httpx.Response(200, json={"first": f"TS{number:08}", "count": asked["count"]})


def test_numbers_that_were_given_and_not_used_yet_are_used(station, monkeypatch):
    """It asks for no more than its share, and is not full while one of them is free."""
    server = SharedRange(station, monkeypatch, at_once=20)
    for chip in (1, 2, 3):
        station.lay(chip)
        assert station.run().exit_code == 0
    made = ["TS00000101", "TS00000102", "TS00000103"]
    assert list(station.states()) == made and len(server.asked) == 1
    assert set(station.states().values()) == {"done"}


@pytest.mark.parametrize(
    ("url", "firm"), [("https://b.example", "Mills"), ("https://a.example", "Baker")]
)
def test_a_credential_of_another_firm_or_server(station, monkeypatch, url, firm):
    """It may be renewed; one that is exchanged gives numbers that another station may have."""
    server = SharedRange(station, monkeypatch)
    assert station.run().exit_code == 0
    (station.folder / "calls").unlink()
    station.lay(2)
    server.belongs_to(url, firm, "st-2")
    refused(station, station.run(), "The server and firm of this job are not those")
    assert station.states() == {"TS00000101": "done"}
    server.belongs_to("https://a.example", "Mills", "st-2")
    assert station.run().exit_code == 0
    assert station.states() == {"TS00000101": "done", "TS00000201": "done"}


def test_an_answer_that_was_lost_loses_no_number(station, monkeypatch):
    """The next start asks by the same name, and is given the same."""
    server = SharedRange(station, monkeypatch, at_once=2)
    server.deaf = True
    refused(station, station.run(), "did not answer the request to give serial numbers")
    server.deaf = False
    assert station.run().exit_code == 0
    assert len(server.asked) == 2 and len(set(server.asked)) == 1
    station.lay(2)
    assert station.run().exit_code == 0
    assert station.states() == {"TS00000101": "done", "TS00000102": "done"}
    station.lay(3)
    assert station.run().exit_code == 0
    assert len(set(server.asked)) == 2 and "TS00000201" in station.states()
    station.lay(4)
    assert "3 done" in station.run().output  # its share is three
    assert len(server.asked) == 3


def test_the_book_of_the_version_before_is_gone_on_with(station):
    station.run()
    path = station.job.with_name("job.toml.book")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DROP TABLE origin")
        database.execute("PRAGMA user_version = 1")
    station.lay(2)
    assert station.run().exit_code == 0
    assert station.states() == {FIRST: "done", SECOND: "done"}


def test_a_job_that_is_changed_while_it_runs(station, tmp_path):
    job = jobfile.read(station.job)
    job.refuse_change()
    station.job.write_text(station.job.read_text() + "\n# another word\n")
    with pytest.raises(RefusedError, match="was changed while it ran") as error:
        job.refuse_change()
    assert "stay done" in error.value.kept


def test_an_image_of_another_firm(station, tmp_path, images):  # noqa: F811
    other = tmp_path / "other"
    write(build("card", BOARD, "1.0.0", key=SigningKey.of(bytes(32))), other)
    station.job = job_file(tmp_path / "job", "openocd", BOARD, other, 3)
    refused(station, station.run(), "signed with another key")


def test_a_lock_without_its_confirmation(station, tmp_path, images):  # noqa: F811
    station.job = job_file(
        tmp_path / "job", "openocd", BOARD, images[BOARD], 3, end="[lock]\nread_out = 2\n"
    )
    refused(station, station.run(), "locks its boards for ever")
    for some, missing in (
        (SECOND, f"does not name {FIRST} and 1 more"),
        (FIRST, f"does not name {SECOND} and 1 more"),
        (f"{FIRST}-{SECOND}", f"does not name {LAST}"),
        (f"{FIRST}-TS00000004", "names numbers of another job"),
        (f"{ALL_OF_THEM},TX00000001", "names numbers of another job"),
        (f"{LAST}-{FIRST}", "is no range"),
        ("TS00000001-TX00000003", "is no range"),
        ("", "names 0 serial numbers"),
        ("@nowhere", "cannot be read"),
        ("everything", "is not a serial number"),
    ):
        refused(station, station.run("--yes-for-ever", some), missing)
    assert station.states() == {}
    result = station.run("--yes-for-ever", ALL_OF_THEM)
    assert result.exit_code == 0, said(result)
    assert fakes.state(station.folder)["registers"]["0x40022020"] & 0xFF == 0xCC
    assert station.states() == {FIRST: "done"}


def test_the_published_factory_master_is_never_locked(station, tmp_path, images):  # noqa: F811
    station.job = job_file(
        tmp_path / "job", "openocd", BOARD, images[BOARD], 3, end="[lock]\nread_out = 2\n"
    )
    (station.job.parent / "master.hex").write_text(DEVELOPMENT_MASTER.hex())
    result = station.run("--yes-for-ever", ALL_OF_THEM)
    refused(station, result, "has the published development keys")
    assert not (station.job.parent / "job.toml.book").exists()


def test_an_image_that_anybody_signs_is_never_locked(station, tmp_path):
    """Not even in a job that names the published key as its own."""
    image = tmp_path / "development"
    write(build("card", BOARD, "1.0.0"), image)
    station.job = job_file(
        tmp_path / "job", "openocd", BOARD, image, 3, end="[lock]\nread_out = 2\n"
    )
    text = station.job.read_text()
    station.job.write_text(text.replace(FIRM.public.hex(), DEVELOPMENT_PUBLIC.hex()))
    result = station.run("--yes-for-ever", ALL_OF_THEM)
    refused(station, result, "signed with the published development key")
    assert not (station.job.parent / "job.toml.book").exists()


def test_a_word_of_another_boards_lock(station, tmp_path, images):  # noqa: F811
    (tmp_path / "job" / "boot.pem").write_text("a key")
    station.job = job_file(
        tmp_path / "job", "openocd", BOARD, images[BOARD], 3, end='[lock]\nboot_key = "boot.pem"\n'
    )
    refused(station, station.run("--yes-for-ever", ALL_OF_THEM), "is not locked with a boot key")
    assert fakes.state(station.folder)["registers"]["0x40022020"] & 0xFF == 0xAA


@pytest.mark.parametrize(
    "more", [["--lock"], ["--board", BOARD], ["--read-out", "1"], ["--allow-downgrade"]]
)
def test_what_a_job_says_itself_is_not_said_beside_it(station, more):
    refused(station, station.run(*more), "A job says itself")
    assert station.states() == {}


def test_a_confirmation_of_a_lock_that_the_job_has_not(station):
    refused(station, station.run("--yes-for-ever", ALL_OF_THEM), "locks nothing")


def test_a_lock_that_is_cut_is_gone_on_with_and_nothing_else_is_written(station, tmp_path, images):  # noqa: F811
    station.job = job_file(
        tmp_path / "job", "openocd", BOARD, images[BOARD], 3, end="[lock]\nread_out = 2\n"
    )
    station.lay(1, stuck=[0x4C])
    assert station.run("--yes-for-ever", ALL_OF_THEM).exit_code != 0
    assert station.states() == {FIRST: "locking"}
    station.lay(1, station.content())
    (station.folder / "calls").unlink()
    assert station.run("--yes-for-ever", ALL_OF_THEM).exit_code == 0
    assert not station.wrote() and station.states() == {FIRST: "done"}


def locks(station: Station, tmp_path: Path, image: Path) -> None:
    station.job = job_file(
        tmp_path / "job", "openocd", BOARD, image, 3, end="[lock]\nread_out = 2\n"
    )


def test_a_board_that_is_locked_already_is_not_locked_anew(station, tmp_path, images):  # noqa: F811
    """Somebody else did, and with what?"""
    locks(station, tmp_path, images[BOARD])
    station.lay(1, registers={"0x40022020": 0xFFEFF8BB})
    result = station.run("--yes-for-ever", ALL_OF_THEM)
    assert result.exit_code != 0 and "is locked already" in said(result)
    assert fakes.state(station.folder)["registers"] == {"0x40022020": 0xFFEFF8BB}
    assert station.states() == {FIRST: "failed"}


def test_a_lock_that_is_gone_on_with_is_of_the_board_as_it_was_written(station, tmp_path, images):  # noqa: F811
    locks(station, tmp_path, images[BOARD])
    station.lay(1, stuck=[0x4C])
    assert station.run("--yes-for-ever", ALL_OF_THEM).exit_code != 0
    content = bytearray(station.content())
    content[station.board.slots[0].address + 100] ^= 1
    station.lay(1, bytes(content))
    result = station.run("--yes-for-ever", ALL_OF_THEM)
    assert result.exit_code != 0 and "checksum mismatch" in said(result)
    assert fakes.state(station.folder)["registers"] == {"0x40022020": 0xFFEFF8AA}
    assert station.states() == {FIRST: "locking"}


def test_a_board_outside_of_its_limits_is_not_locked(station, tmp_path, images, monkeypatch):  # noqa: F811
    end = '[selftest]\nport = "/dev/ttyTEST"\n[lock]\nread_out = 2\n[label]\nfolder = "labels"\n'
    station.job = job_file(tmp_path / "job", "openocd", BOARD, images[BOARD], 3, end=end)
    verdicts = [RefusedError("cell_mv: 2700 is below 2900"), None]
    asked = []

    def over_a_line(port, limits, results):
        asked.append((port, limits, results))

        def test(serial: str) -> None:
            asked.append(serial)
            if verdict := verdicts.pop(0):
                raise verdict

        return test

    monkeypatch.setattr(cli_tray, "over_a_line", over_a_line)
    result = station.run("--yes-for-ever", ALL_OF_THEM)
    assert result.exit_code != 0 and "2700 is below 2900" in result.output
    assert station.states() == {FIRST: "failed"}
    assert fakes.state(station.folder)["registers"] == {"0x40022020": 0xFFEFF8AA}
    label = station.job.parent / "labels" / f"{FIRST}.zpl"
    assert not label.exists()
    assert station.run("--yes-for-ever", ALL_OF_THEM).exit_code == 0
    assert station.states() == {FIRST: "done"} and label.exists()
    job = ("/dev/ttyTEST", None, station.job.with_name("job.toml.jsonl"))
    assert asked == [job, FIRST, job, FIRST]


def test_a_board_that_was_locked_before_a_kill_gets_its_label(station, tmp_path, images):  # noqa: F811
    """Nothing can be asked of it any more, and nothing has to be."""
    end = '[lock]\nread_out = 2\n[label]\nfolder = "labels"\n'
    station.job = job_file(tmp_path / "job", "openocd", BOARD, images[BOARD], 3, end=end)
    assert station.run("--yes-for-ever", ALL_OF_THEM).exit_code == 0
    label = station.job.parent / "labels" / f"{FIRST}.zpl"
    printed = label.read_text()
    label.unlink()
    book = station.book()
    book.mark(FIRST, BoardState.LOCKED)
    book.close()
    station.lay(2)
    assert station.run("--yes-for-ever", ALL_OF_THEM).exit_code == 0
    assert label.read_text() == printed
    assert station.states() == {FIRST: "done", SECOND: "done"}


@pytest.mark.parametrize("lock", [False, True])
def test_a_board_that_did_not_take_what_was_written(station, tmp_path, images, lock):  # noqa: F811
    """It said so to nobody: what it holds is read back, before it is done and before its lock."""
    if lock:
        locks(station, tmp_path, images[BOARD])
    station.lay(1, deaf=True)
    result = station.run(*(["--yes-for-ever", ALL_OF_THEM] if lock else []))
    assert result.exit_code != 0 and "checksum mismatch" in said(result)
    assert fakes.state(station.folder)["registers"] == {"0x40022020": 0xFFEFF8AA}
    assert station.states() == {FIRST: "failed"}


def test_the_numbers_may_be_in_a_file(station, tmp_path, images):  # noqa: F811
    station.job = job_file(
        tmp_path / "job", "openocd", BOARD, images[BOARD], 3, end="[lock]\nread_out = 2\n"
    )
    named = tmp_path / "for-ever"
    named.write_text(f"{FIRST}\n{SECOND}-{LAST}\n")
    result = station.run("--yes-for-ever", f"@{named}")
    assert result.exit_code == 0, said(result)


def test_a_board_that_gets_a_number_which_was_not_named_is_not_written(station, monkeypatch):
    """As when a server gives the numbers: nobody knows them before."""
    tools = cli_tray.LineTools

    def some(*given: object) -> object:
        return tools(given[0], given[1], lambda job: pytest.fail("burnt"), {SECOND})

    monkeypatch.setattr(cli_tray, "LineTools", some)
    refused(station, station.run(), f"{FIRST} would be locked for ever")
    assert station.states() == {FIRST: "failed"}


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("count = 3", "count = 0", "count is a number"),
        ("count = 3", "count = true", "count is a number"),
        ("count = 3", "count = 3\nlok = 1", "nobody knows lok"),
        ("[label]", "[lable]", "nobody knows"),
        ('way = "openocd"', 'way = "telnet"', "way is one of"),
        ('device = "card"', 'device = "reader"', "its image is for a card"),
        ('board = "nucleo_l476rg"', 'board = "pico"', "its image is for a card on nucleo_l476rg"),
        ('master_file = "master.hex"', "", "one of master_file and keys"),
        ("date = 20261201", "date = 1", "date is a number"),
        ('first = "TS00000001"', 'first = "x"', "is not a serial number"),
        ("name =", "name ==", "is not TOML"),
    ],
)
def test_a_job_that_is_none(station, old, new, what):
    text = station.job.read_text()
    assert old in text
    station.job.write_text(text.replace(old, new, 1))
    refused(station, station.run(), what)
    assert not station.job.with_name("job.toml.book").exists()


def test_the_book_of_another_job_and_of_a_later_program(tmp_path):
    path = tmp_path / "book"
    LineBook(path, "one", "f", who="ann", place="a").close()
    with pytest.raises(RefusedError, match="that of 'one'"):
        LineBook(path, "two", "f", who="ann", place="a")
    with sqlite3.connect(path) as database:
        database.execute(f"PRAGMA user_version = {FORMAT + 1}")
    with pytest.raises(RefusedError, match="newer Tallystick"):
        LineBook(path, "one", "f", who="ann", place="a")
    for left in tmp_path.iterdir():
        left.unlink()
    path.write_bytes(b"not a book at all" * 100)
    with pytest.raises(BadInputError, match="is not the book of a job"):
        LineBook(path, "one", "f", who="ann", place="a")


def test_what_nothing_tells_again_is_lost_with_its_number(tmp_path):
    book = LineBook(tmp_path / "book", "one", "f", who="ann", place="a")
    book.add_numbers([FIRST, SECOND])
    assert book.begin("", "").serial == FIRST
    book.close()  # as after a kill -9
    book = LineBook(tmp_path / "book", "one", "f", who="ann", place="a")
    assert book.give_up_unknown() == [FIRST]
    assert book.begin("", "").serial == SECOND
    with pytest.raises(NoNumberError):
        book.begin("", "")
    book.fail(SECOND, "cut")
    assert [board.state for board in book.boards()] == [BoardState.LOST, BoardState.LOST]


def test_a_place_gives_up_no_board_of_another(tmp_path):
    """Which is being written while this one is started again."""
    path = tmp_path / "book"
    left = LineBook(path, "one", "f", who="ann", place="left")
    right = LineBook(path, "one", "f", who="bob", place="right")
    left.add_numbers([FIRST, SECOND])
    assert (left.begin("", "").serial, right.begin("", "").serial) == (FIRST, SECOND)
    assert right.give_up_unknown() == [SECOND]
    left.mark(FIRST, BoardState.DONE)
    assert [board.state for board in right.boards()] == [BoardState.DONE, BoardState.LOST]


def test_transport_keys_come_of_the_same_master(tmp_path):
    custody = SoftwareCustody(KeyRing.create(MASTER))
    keys = custody.transport_keys(FIRST)
    assert keys.reveal() == Identity.derive(FIRST, 1, MASTER).transport.reveal()
    assert keys.reveal().hex() not in repr(keys)


def test_no_key_is_in_the_book(station):
    station.run()
    keys = Identity.derive(FIRST, 20261201, MASTER).transport.reveal()
    data = b"".join(path.read_bytes() for path in station.job.parent.glob("*.book*"))
    assert keys[:16] not in data and keys[:16].hex().encode() not in data
    assert MASTER not in data and MASTER.hex().encode() not in data
