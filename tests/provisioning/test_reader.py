"""Readers of ours that are made ready for people: the firmware in the emulator, through the HID
framing of python-fido2, and a real server."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pypdfium2
import pytest
from fido2.ctap import CtapError
from fido2.ctap2.base import Ctap2
from fido2.ctap2.pin import ClientPin

from tallystick.common.errors import BadInputError, RefusedError, TallyError, UnreachableError
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.commands import reader as reader_command
from tallystick.provisioning.custody.software import SoftwareCustody
from tallystick.provisioning.journal import CardState, StationJournal
from tallystick.provisioning.labels import pin_letter
from tallystick.provisioning.labels.leaflet import HEIGHT, PAPERS, WIDTH, Leaflet, write
from tallystick.provisioning.labels.pin_letter import PinLetter
from tallystick.provisioning.labels.reader_leaflet import LANGUAGES, READER
from tallystick.provisioning.reader import READERS, ReaderWork
from tallystick.provisioning.registry import TallyServer
from tallystick.provisioning.security_key import FirstPins
from tallystick.provisioning.server_link import OutcomeUnknownError
from tallystick.provisioning.steps import Plan, Provisioner
from tallystick.server.serving.running import make_known
from tallystick.server.store.opened import opened
from tests.provisioning.conftest import URL, make_ring
from tests.provisioning.memory_card import MemoryLink
from tests.provisioning.memory_registry import MemoryRegistry
from tests.provisioning.test_desk_week import policy
from tests.provisioning.test_leaflet import LONG, text_of
from tests.provisioning.test_security_key import Wire, enrolled, image, keys

__all__ = ["image", "keys"]
PERMISSION = ClientPin.PERMISSION.GET_ASSERTION


@pytest.fixture
def readers(keys, monkeypatch):
    """Makes readers that are plugged in; they tell no number."""
    from tallystick.provisioning.commands import security_keys

    monkeypatch.setattr(reader_command, "HidPlaces", security_keys.HidPlaces)
    return lambda: keys(None)


@pytest.fixture
def bench(own_station, tmp_path):
    """Runs the command for ada unless told otherwise."""

    def run(*more: str, scan: str = "TR00000001\n", user: str = "ada"):
        words = () if "--users" in more else ("--user", user)
        return own_station.run(
            "reader", *words, "--pins", str(tmp_path / "private" / "pins.json"), *more, input=scan
        )

    return run


def pins(tmp_path) -> FirstPins:
    return FirstPins(tmp_path / "private" / "pins.json")


def states(station) -> list[tuple[str, str | None, str]]:
    journal = StationJournal(station.folder / "journal.db")
    found = [(run.serial, run.user, run.state.value) for run in journal.runs()]
    journal.close()
    return found


def gives_up_after(monkeypatch, looks: int) -> None:
    """A person who presses Ctrl-C."""
    usb, left = reader_command.HidPlaces, iter(range(looks))

    def names(self):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return usb_names(self)

    usb_names = usb.names
    monkeypatch.setattr(usb, "names", names)


def test_one_for_ada_and_what_she_can_do_with_it(own_station, bench, readers, tmp_path):
    policy(own_station, desk_contact="Help desk, room 12")
    one, papers = readers(), tmp_path / "out"
    done = bench("--min-pin", "8", "--papers", str(papers))
    assert done.exit_code == 0, (done.exception, done.output)
    assert "TR00000001 is ready for ada" in done.stderr and one.touches == 1
    assert enrolled(own_station, "ada") == ["Key TR00000001"]
    first = pins(tmp_path).of("TR00000001")
    assert first is not None and len(first) == 8 and first not in done.output
    assert first not in own_station.run("audit", "export").stdout

    ctap = Ctap2(one.open())
    assert ctap.info.force_pin_change and ctap.info.min_pin_length == 8
    with pytest.raises(CtapError):  # the first PIN opens nothing
        ClientPin(ctap).get_pin_token(first, PERMISSION, "localhost")
    for bad in ("short", first):
        with pytest.raises(CtapError) as refused:
            ClientPin(ctap).change_pin(first, bad)
        assert refused.value.code == CtapError.ERR.PIN_POLICY_VIOLATION
    ClientPin(ctap).change_pin(first, "only-hers")
    assert ClientPin(ctap).get_pin_token("only-hers", PERMISSION, "localhost")

    (letter,) = text_of((papers / "first-pins.pdf").read_bytes())
    assert first in letter and "TR00000001" in letter and "at least 8 characters" in letter
    for other in ("labels.pdf", "leaflets.pdf"):
        (text,) = text_of((papers / other).read_bytes())
        assert "TR00000001" in text and first not in text
    for path in papers.iterdir():
        assert path.stat().st_mode & 0o077 == 0
    acts = [
        json.loads(line)["act"] for line in own_station.run("audit", "export").stdout.splitlines()
    ]
    assert "first PINs printed" in acts

    (papers / "labels.pdf").unlink()
    again = own_station.ok(
        "reader", "--user", "ADA", "--pins", str(tmp_path / "private" / "pins.json"),
        "--papers", str(papers),
    )  # fmt: skip
    assert again["done"] == [] and again["missing"] == 0 and (papers / "labels.pdf").exists()
    (letter,) = text_of((papers / "first-pins.pdf").read_bytes())
    assert "at least 8 characters" in letter  # as the reader has it, whatever is asked now
    assert states(own_station) == [("TR00000001", "ada", "labelled")]


def test_a_reader_that_does_not_take_the_policy_is_not_ready(tmp_path):
    """It asks for another PIN, and would take a shorter one than the firm wants."""
    work = ReaderWork.__new__(ReaderWork)
    work.min_pin, work.pins = 8, pins(tmp_path)
    work.pins.keep("TS00000001", "ada", "12345678")
    info = SimpleNamespace(force_pin_change=True, min_pin_length=4)
    record = SimpleNamespace(serial="TS00000001", user="ada")
    with pytest.raises(RefusedError, match="asks for a PIN of 4 characters, and not of 8"):
        work.demand(SimpleNamespace(get_info=lambda: info), record, "12345678")
    assert work.pins.shortest("TS00000001") is None
    info.min_pin_length = 10
    assert work.demand(SimpleNamespace(get_info=lambda: info), record, "12345678")
    assert pins(tmp_path).shortest("TS00000001") == 10
    assert pins(tmp_path).of("TS00000001") == "12345678"


def test_a_batch_and_a_label_that_is_mistyped(own_station, bench, readers, tmp_path):
    make_known(own_station.settings, "grace")
    one = readers()
    readers()
    listed = tmp_path / "people.csv"
    listed.write_text("login;name\nada;Ada L.\ngrace;Grace H.\n")
    words = ("--users", str(listed), "--papers", str(tmp_path / "out"))
    scans = "TR00000001\nnonsense\n]C1TR00000002\n"
    bad = bench(*words, scan=scans)
    assert isinstance(bad.exception, BadInputError)
    assert "who sends the readers" in bad.exception.what and one.writes == 0
    words += ("--firm", "Firm", "--contact", "Room 3", "--language", "de", "--language", "fr")
    done = bench(*words, scan=scans)
    assert done.exit_code == 0 and "2 readers ready now" in done.stdout, done.output
    assert "Error" in done.stderr  # asked once more for the label
    assert enrolled(own_station, "grace") == ["Key TR00000002"]
    letters = text_of((tmp_path / "out" / "first-pins.pdf").read_bytes())
    for at, name in enumerate(("Ada", "Ada", "Grace", "Grace")):
        assert name in letters[at]
    assert "2 before" in bench(*words).stdout


@pytest.mark.parametrize("spoiled", ["name", "folder"])
def test_papers_that_cannot_be(own_station, bench, readers, tmp_path, spoiled, monkeypatch):
    one, listed = readers(), tmp_path / "people.csv"
    listed.write_text(f"login;name\nada;{'阿达' if spoiled == 'name' else 'Ada'}\n")
    words = ("--users", str(listed), "--firm", "Firm", "--contact", "Room 3")
    if spoiled == "name":
        bad = bench(*words, "--papers", str(tmp_path / "out"))
        assert "no font" in bad.exception.what and one.writes == 0
        return

    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reader_command, "write_durably", full)
    bad = bench(*words, "--papers", str(tmp_path / "out"))
    assert isinstance(bad.exception, BadInputError) and "are ready" in bad.exception.kept
    assert enrolled(own_station, "ada") == ["Key TR00000001"]


@pytest.mark.parametrize("state", ["open", "finished"])
def test_the_label_of_a_card_ends_nothing_of_that_card(
    own_station, bench, readers, state, monkeypatch
):
    """Half-way for the same person in the same batch: its container must stay."""
    one = readers()
    journal = StationJournal(own_station.folder / "journal.db")
    record = journal.begin("TS00000007", "readers", own_station.url, "ada")
    record = journal.keep_seed(record, b"container", b"seed", 6)
    if state == "finished":
        journal.finish(record, CardState.LOCKED)
    gives_up_after(monkeypatch, 2)
    result = bench("--reused", scan="TS00000007\n")
    assert "TS00000007 is the number of a card" in result.stderr and result.exit_code
    kept = journal.latest("TS00000007")
    assert kept is not None and kept.container == (b"container" if state == "open" else None)
    assert not Ctap2(one.open()).info.options["clientPin"]
    journal.close()


def test_nor_is_a_card_taken_for_a_reader_that_is_half_way(journal, memory_card):
    record = journal.begin(memory_card.serial, READERS, URL, "ada", device="reader")
    provisioner = Provisioner(SoftwareCustody(make_ring()), MemoryRegistry(), journal, Plan(), URL)
    with pytest.raises(RefusedError, match="was given to a reader"):
        provisioner.provision(CardConnection(MemoryLink(memory_card)), lambda s, n: None)
    assert journal.latest(memory_card.serial) == record and memory_card.kvn == 0xFF


def test_a_label_of_another_reader_overwrites_nothing(
    own_station, bench, readers, tmp_path, monkeypatch
):
    readers()
    assert bench().exit_code == 0
    first = pins(tmp_path).of("TR00000001")
    make_known(own_station.settings, "grace")
    second = readers()
    gives_up_after(monkeypatch, 2)
    mixed = bench(user="grace", scan="TR00000001\nTR00000001\n")
    assert "made ready for ada before" in mixed.stderr and "is blank" in mixed.stderr
    assert pins(tmp_path).of("TR00000001") == first and enrolled(own_station, "grace") == []
    assert not Ctap2(second.open()).info.options["clientPin"]


def test_one_that_came_back_gets_another_pin(own_station, bench, readers, tmp_path):
    one = readers()
    assert bench().exit_code == 0
    first = pins(tmp_path).of("TR00000001")
    make_known(own_station.settings, "grace")
    one.reader.power_off()
    one.reader.power_on(400)
    wire = one.open()
    one.sensor.press("thumb")
    Ctap2(wire).reset()
    done = bench("--reused", user="grace")
    assert done.exit_code == 0, (done.exception, done.output)
    assert enrolled(own_station, "grace") == ["Key TR00000001"]
    assert pins(tmp_path).of("TR00000001") != first
    kept = json.loads((tmp_path / "private" / "pins.json").read_text())["keys"]["TR00000001"]
    assert kept["earlier"] == [first] and kept["user"] == "grace"


def test_one_with_a_pin_is_left_alone(own_station, bench, readers, monkeypatch):
    used = readers()
    ClientPin(Ctap2(used.open())).set_pin("hers-alone")
    gives_up_after(monkeypatch, 2)
    result = bench()
    assert "has a PIN already" in result.stderr and "Nothing was written to it" in result.stderr
    assert result.exit_code and enrolled(own_station, "ada") == []
    assert ClientPin(Ctap2(used.open())).get_pin_token("hers-alone", PERMISSION, "localhost")


def test_a_misspelt_user_and_a_server_that_is_down(own_station, bench, readers, monkeypatch):
    one = readers()
    result = bench(user="adda")
    assert (
        isinstance(result.exception, RefusedError) and "Did you mean ada?" in result.exception.what
    )
    monkeypatch.setattr(TallyServer, "_call", down)
    result = bench()
    assert isinstance(result.exception, UnreachableError)
    assert one.writes == 0 and states(own_station) == []


def down(self, *words, **more):
    raise OutcomeUnknownError("No answer came.")


@pytest.mark.parametrize("arrived", [False, True])
def test_an_answer_of_the_server_that_is_lost(
    own_station, bench, readers, tmp_path, monkeypatch, arrived
):
    """Whether the server had enrolled it or not: the same command finishes it, for ada alone."""
    one, asked = readers(), TallyServer.register_key

    def lost(self, *words):
        if arrived:
            asked(self, *words)
        raise OutcomeUnknownError("No answer came.")

    make_known(own_station.settings, "grace")
    with monkeypatch.context() as patched:
        patched.setattr(TallyServer, "register_key", lost)
        gives_up_after(patched, 2)
        result = bench()
        assert "No answer came" in result.stderr and result.exit_code
    assert states(own_station) == [("TR00000001", "ada", "authentic")]
    with monkeypatch.context() as patched:
        gives_up_after(patched, 2)
        result = bench(user="grace")
        assert "half-way for ada already" in result.stderr and result.exit_code
    result = bench()
    assert result.exit_code == 0, (result.exception, result.output)
    assert (
        enrolled(own_station, "ada") == ["Key TR00000001"] and enrolled(own_station, "grace") == []
    )
    assert Ctap2(one.open()).info.force_pin_change


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    ("place", "after"),
    [
        (StationJournal, "begin"), (FirstPins, "keep"), (ClientPin, "set_pin"),
        (TallyServer, "key_options"), (Ctap2, "make_credential"), (TallyServer, "register_key"),
        (StationJournal, "advance"), (ReaderWork, "demand"), (StationJournal, "finish"),
    ],
)  # fmt: skip
def test_killed_after_each_step(own_station, bench, readers, tmp_path, monkeypatch, place, after):
    one, step = readers(), getattr(place, after)

    def killed(*words, **more):
        step(*words, **more)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(place, after, killed)
        assert isinstance(bench().exception, Killed)
    result = bench()
    assert result.exit_code == 0, (result.exception, result.output)
    assert enrolled(own_station, "ada") == ["Key TR00000001"]
    ((serial, user, state),) = states(own_station)
    assert (serial, user) == ("TR00000001", "ada") and state == CardState.LOCKED
    first = pins(tmp_path).of("TR00000001")
    ctap = Ctap2(one.open())
    assert ctap.info.force_pin_change
    ClientPin(ctap).change_pin(first, "only-hers")


@pytest.mark.parametrize("at", range(2, 24, 3))
def test_pulled_out_in_the_middle(own_station, bench, readers, tmp_path, at):
    one = readers()
    one.pulled_at = at
    result = bench(scan="TR00000001\n" * 2)
    assert result.exit_code == 0, (result.exception, result.output)
    assert one.writes > at, "it was not pulled out"
    assert enrolled(own_station, "ada") == ["Key TR00000001"]
    ClientPin(Ctap2(one.open())).change_pin(pins(tmp_path).of("TR00000001"), "only-hers")


def test_another_makers_key_is_none_of_these(own_station, bench, readers, monkeypatch):
    one = readers()
    monkeypatch.setattr("tallystick.provisioning.reader.AAGUID", "other")
    gives_up_after(monkeypatch, 2)
    result = bench()
    assert "is no reader of this make" in result.stderr and states(own_station) == []
    assert not Ctap2(one.open()).info.options["clientPin"]


def disable(station) -> None:
    with opened(station.settings) as parts, parts.database.write() as connection:
        connection.exec_driver_sql("UPDATE person SET disabled_at = 1 WHERE login = 'ada'")


def test_somebody_who_is_disabled_gets_none(own_station, bench, readers):
    one = readers()
    disable(own_station)
    result = bench()
    assert isinstance(result.exception, RefusedError)
    assert "account is disabled" in result.exception.what
    assert one.writes == 0 and states(own_station) == []


def test_nor_somebody_who_is_disabled_meanwhile(own_station, bench, readers, monkeypatch):
    readers()
    monkeypatch.setattr(reader_command, "_touch", lambda serial: disable(own_station))
    gives_up_after(monkeypatch, 2)
    result = bench()
    assert result.exit_code and enrolled(own_station, "ada") == []
    assert "is disabled" in result.stderr
    assert states(own_station) == [("TR00000001", "ada", "failed")]


def test_two_stations_with_one_file_of_pins(tmp_path):
    path = tmp_path / "pins.json"

    def fill(name: str) -> None:
        mine = FirstPins(path)
        for number in range(40):
            mine.keep(f"{name}{number}", "ada", str(number))

    with ThreadPoolExecutor() as pool:
        list(pool.map(fill, ("a", "b", "c")))
    assert len(json.loads(path.read_text())["keys"]) == 120


@pytest.mark.parametrize("paper", PAPERS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_leaflet_holds_its_page(language, paper):
    words = LANGUAGES[language]
    made = write([Leaflet(language, "Firm & Søn", LONG, False, "TR00000001")], paper, READER)
    (text,) = text_of(made)
    for line in (words.title, *words.steps, *words.rules, words.lost, LONG, "TR00000001"):
        assert " ".join(line.split()) in text, line
    document = pypdfium2.PdfDocument(made)
    scale = PAPERS[paper] * 72 / 25.4
    boxes = [one.get_bounds() for one in document[0].get_objects()]
    assert min(box[0] for box in boxes) >= 0 and min(box[1] for box in boxes) >= 3 * scale
    assert (
        max(box[2] for box in boxes) <= WIDTH * scale and max(b[3] for b in boxes) <= HEIGHT * scale
    )
    document.close()


@pytest.mark.parametrize("language", pin_letter.WORDS)
def test_the_letter_with_the_pin(language):
    letter = PinLetter(language, "Firm", LONG, "Ada", "TR00000001", 8, "48291357", ("Room 1",))
    made = pin_letter.write([letter])
    (text,) = text_of(made)
    for part in ("48291357", "Ada", "Room 1", "TR00000001", " 8 "):
        assert part in text, part
    assert "48291357" not in repr(letter) and made == pin_letter.write([letter])


@pytest.mark.parametrize("at", range(2, 12))  # the first is the channel's, and opens none
@pytest.mark.parametrize("said", ["ff" * 64, "00" * 64, "900041ff" * 16], ids=("ff", "00", "cbor"))
def test_a_device_that_says_nonsense_stops_no_batch(
    own_station, bench, readers, monkeypatch, at, said
):
    """One answer of it is nonsense: told as such, and the next one is still looked at."""
    readers()
    read, count = Wire.read_packet, iter(range(1, 1 << 20))

    def lie(self):
        report = bytes(read(self))
        return report[:7] + bytes.fromhex(said)[: 64 - 7] if next(count) == at else report

    monkeypatch.setattr(Wire, "read_packet", lie)
    gives_up_after(monkeypatch, 3)
    result = bench(scan="TR00000001\n" * 4)
    assert result.exception is None or isinstance(result.exception, SystemExit | TallyError), (
        result.exception
    )
    assert len(enrolled(own_station, "ada")) <= 1
