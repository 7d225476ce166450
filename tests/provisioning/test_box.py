"""A box of cards: its labels are scanned, only its cards are taken, each comes with a letter."""

from __future__ import annotations

import json
from contextlib import ExitStack, closing, suppress

import pypdfium2
import pytest
import zxingcpp
from hypothesis import given
from hypothesis import strategies as st

from tallystick.common.errors import BadInputError, RefusedError, TallyError
from tallystick.provisioning.journal import CardState, StationJournal
from tallystick.provisioning.labels.fonts import font_for
from tallystick.provisioning.labels.letter import WORDS, CardLetter, write
from tallystick.provisioning.labels.scanned import read_box, read_scan, read_serial
from tallystick.provisioning.people import ListedPerson, read_people
from tallystick.server.serving.running import make_known
from tests.provisioning.memory_card import MemoryCard
from tests.provisioning.pty_card import PtyCard
from tests.provisioning.test_leaflet import text_of

A, B, C = "TS00000001", "TS00000002", "TS00000003"


@pytest.mark.parametrize(
    "typed",
    [A, f" {A}\r", f"]C1{A}", f"]Q3{A}\t", A.lower(), f"\x02{A}\x03", f"]C1{A.lower()}\r\n"],
)
def test_what_scanners_type(typed):
    assert read_serial(typed) == A


@given(st.text(max_size=40))
def test_anything_else_is_refused_or_a_serial_number(typed):
    with suppress(BadInputError):
        assert len(read_serial(typed)) == 10
    assert read_scan(read_scan(typed)) is not None


def test_a_box_as_it_is_scanned():
    made = read_box([f"{A}\n", "\n", f"{B};{C}\n", f"{A.lower()}\n", "4006381333931\n"])
    assert (made.serials, made.twice, made.problems) == ([A, B, C], [A], ["4006381333931"])


def test_labels_of_a_box_and_a_batch_of_it(own_station):
    result = own_station.run("box", "scan", "B17", input=f"]C1{A}\r\n{B.lower()}\n{A}\n\nignored")
    assert "box B17: 2 cards noted" in result.stdout and f"scanned twice: {A}" in result.stderr
    other = own_station.ok("box", "scan", "B18", input=f"{B}\n{C}\n")
    assert other["new"] == 1 and [one["serial"] for one in other["known"]] == [B]
    error = own_station.fails(BadInputError, "box", "scan", "B19", "/dev/null")
    assert "Nothing was scanned" in error.what
    with ExitStack() as stack:
        cards = [MemoryCard(serial=serial) for serial in (A, C)]
        lines = [stack.enter_context(PtyCard(card)) for card in cards]
        result = own_station.run(
            "provision", "--batch", "june", "--box", "B17", "--ports",
            ",".join(line.port for line in lines), "--count", "1",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        error = own_station.fails(
            RefusedError, "provision", "--box", "B17", "--port", lines[1].port
        )
    assert f"Card {C} is not one of the box" in error.what and not cards[1].seed
    assert f"of the box, still blank: {B}" in result.stderr
    boxed = {one["serial"]: one["blank"] for one in own_station.ok("box", "show", "B17")}
    assert boxed == {A: False, B: True}


def test_a_scan_that_is_none_notes_nothing(own_station):
    result = own_station.run("box", "scan", "B17", input=f"{A}\nhttps://example.org\n\n")
    assert isinstance(result.exception, BadInputError)
    assert "Nothing of the box was noted" in result.exception.kept
    assert own_station.ok("box", "show") == []


def test_a_box_that_nobody_scanned(own_station, memory_card):
    with PtyCard(memory_card) as line:
        error = own_station.fails(BadInputError, "provision", "--box", "B99", "--port", line.port)
    assert "tally station box scan B99" in error.todo and not memory_card.seed


def test_stock_below_its_threshold_is_told(own_station):
    own_station.ok("box", "scan", "B17", input=f"{A}\n{B}\n")
    assert own_station.ok("stock", "--minimum", "2")["blank"] == 2
    result = own_station.run("stock", "--minimum", "3")
    assert isinstance(result.exception, RefusedError)
    assert "2 blank cards are left, of 3" in result.exception.what
    again = own_station.run("stock")  # it is kept
    assert "2 blank cards are left, of 3" in again.exception.what
    assert own_station.ok("stock", "--minimum", "0")["blank"] == 2
    assert own_station.ok("stock")["minimum"] == 0


def people_file(folder):
    path = folder / "people.csv"
    path.write_text(
        "Login;Name;Department;Room\nada;Ada Łącka;Maschinen | Haus 4;Raum 12\n"
        "grace;Γκρέις Χόπερ;;\n",
        encoding="utf-8-sig",
    )
    return path


def test_names_and_addresses_of_a_list(tmp_path):
    assert read_people(people_file(tmp_path)) == [
        ListedPerson("ada", "Ada Łącka", ("Maschinen", "Haus 4", "Raum 12")),
        ListedPerson("grace", "Γκρέις Χόπερ"),
    ]


def test_letters_and_labels_with_names_again_from_any_card(own_station, tmp_path):
    make_known(own_station.settings, "grace")
    people = people_file(tmp_path)
    with ExitStack() as stack:
        lines = [stack.enter_context(PtyCard(MemoryCard(serial=one))) for one in (A, B)]
        own_station.ok(
            "provision", "--batch", "june", "--users", str(people), "--ports",
            ",".join(line.port for line in lines),
        )  # fmt: skip
    out = tmp_path / "letters.pdf"
    run = ("letters", "--batch", "june", "--users", str(people), "--output", str(out))
    error = own_station.fails(BadInputError, *run)
    assert "desk_contact" in error.todo and not out.exists()
    result = own_station.run(*run, "--contact", "Room 12")
    assert "2 letters" in result.stderr, result.exception
    with closing(StationJournal(tmp_path / "journal.db")) as book:
        users = {record.user: record.serial for record in book.batch("june")}
    both = text_of(out.read_bytes())
    for login, words in (("ada", ("Ada Łącka", "Haus 4", "Raum 12")), ("grace", ("Γκρέις",))):
        (page,) = [text for text in both if users[login] in text]
        assert all(word in page for word in (*words, "Room 12", "default"))
    again = (*run, "--contact", "Room 12", "--from", B.lower(), "--language", "de")
    assert "1 letters" in own_station.run(*again).stderr
    (only,) = text_of(out.read_bytes())
    assert B in only and A not in only and "Guten Tag" in only
    labels = tmp_path / "labels.pdf"
    own_station.run(
        "labels", "--batch", "june", "--users", str(people), "--stock", "a4-3x8", "--from", B,
        "--start", "24", "--output", str(labels),
    )  # fmt: skip
    (sheet,) = text_of(labels.read_bytes())
    assert B in sheet and A not in sheet
    with closing(StationJournal(tmp_path / "journal.db")) as book:
        states = {record.serial: record.state for record in book.batch("june")}
    assert states == {A: CardState.LOCKED, B: CardState.LABELLED}
    error = own_station.fails(
        BadInputError, "labels", "--batch", "june", "--from", C, "--output", str(labels)
    )
    assert C in error.what


@pytest.mark.parametrize("language", WORDS)
def test_a_letter_is_one_page_and_its_label_is_read_back(language):
    letter = CardLetter(
        language, "Firm & Søn", "Help desk of the northern works, house 12, telephone 22 33 44 55",
        "Maximiliane-Theodora <b>Ősz</b> von Hohenzollern-Sigmaringen", A,
        ("Building 4", "Floor 3", "Room 12", "Street 5", "12345 Town"),
        until="Sun 25 Oct 2026 17:30 CET", day="1 Oct 2026",
    )  # fmt: skip
    document = pypdfium2.PdfDocument(write([letter]))
    assert len(document) == 1
    picture = document[0].render(scale=3).to_pil()
    assert {code.text for code in zxingcpp.read_barcodes(picture)} == {A}
    text = " ".join(document[0].get_textpage().get_text_range().split())
    assert "<b>Ősz</b>" in text and "Firm & Søn" in text and "12345 Town" in text
    boxes = [one.get_bounds() for one in document[0].get_objects()]
    assert min(box[1] for box in boxes) > 0 and min(box[0] for box in boxes) > 0


def test_letters_that_no_font_has_are_refused_by_name():
    assert font_for("Zoë") == "Helvetica" and font_for("Łącka") == "NotoSans"
    with pytest.raises(BadInputError, match="漢"):
        font_for("漢字")


def test_statistics_of_a_station(own_station, memory_card):
    with PtyCard(memory_card) as line:
        own_station.ok("provision", "--port", line.port)
        own_station.fails(TallyError, "provision", "--port", line.port)
    made = own_station.ok("statistics", "--days", "2")
    assert sum(day["finished"] for day in made["days"]) == 1
    assert json.dumps(made).count("day") >= 2
