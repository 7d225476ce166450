"""Labels, read back from the finished document as a scanner would."""

from __future__ import annotations

import io
import re

import pypdfium2
import pytest
import resvg_py
import zxingcpp
from click.testing import CliRunner
from PIL import Image

from tallystick.common.errors import BadInputError
from tallystick.provisioning.cli import station
from tallystick.provisioning.journal import CardState, StationJournal
from tallystick.provisioning.labels import pdf, svg, zpl
from tallystick.provisioning.labels.layout import STOCKS, Stock, blanks, by_serial, draw

SERIALS = ["TS00000001", "ZZZZZZZZZZ", "0123456789", "A1B2C3D4E5"]


def read(image: Image.Image) -> dict[str, set[str]]:
    """Kind of symbol → what was read."""
    found: dict[str, set[str]] = {}
    for symbol in zxingcpp.read_barcodes(image):
        found.setdefault(str(symbol.format).replace(" ", ""), set()).add(symbol.text)
    return found


def both(serials):
    return {"Code128": set(serials), "QRCode": set(serials)}


def raster_svg(document: str) -> Image.Image:
    data = resvg_py.svg_to_bytes(svg_string=document, dpi=300, zoom=1)
    return Image.open(io.BytesIO(bytes(data))).convert("L")


def raster_pdf(document: bytes) -> list[Image.Image]:
    pages = pypdfium2.PdfDocument(document)
    try:
        return [page.render(scale=300 / 72).to_pil().convert("L") for page in pages]
    finally:
        pages.close()


def raster_zpl(document: str) -> list[Image.Image]:
    """The graphic fields of each label, as the printer's dots."""
    images = []
    field = re.compile(r"\^GFA,(\d+),(\d+),(\d+),([0-9A-F]+)\^FS")
    for total, _, row, data in field.findall(document):
        size = (int(row) * 8, int(total) // int(row))
        image = Image.frombytes("1", size, bytes(255 - byte for byte in bytes.fromhex(data)))
        canvas = Image.new("L", (size[0] + 40, size[1] + 40), 255)
        canvas.paste(image.convert("L"), (20, 20))
        images.append(canvas)
    return images


@pytest.mark.parametrize("serial", SERIALS)
@pytest.mark.parametrize("name", ["50x25", "57x32"])
class TestSingle:
    def test_svg(self, serial, name):
        document = svg.write([draw(serial, STOCKS[name], "Example & Söhne")], STOCKS[name])
        assert read(raster_svg(document)) == both([serial])
        assert f">{serial}<" in document and "Example &amp; Söhne" in document

    def test_pdf(self, serial, name):
        (page,) = raster_pdf(pdf.write([draw(serial, STOCKS[name], "Example")], STOCKS[name]))
        assert read(page) == both([serial])

    @pytest.mark.parametrize("dpi", [203, 300])
    def test_zpl(self, serial, name, dpi):
        drawing = draw(serial, STOCKS[name], "^XA~", dot=zpl.dot_mm(dpi))
        document = zpl.write([drawing], dpi)
        (image,) = raster_zpl(document)
        assert read(image) == both([serial])
        assert f"^FD{serial}^FS" in document and "^FD_5EXA_7E^FS" in document


@pytest.mark.parametrize("name", ["a4-3x8", "a4-4x10"])
def test_sheets(name):
    stock = STOCKS[name]
    size = stock.columns * stock.rows
    serials = [f"TS{number:08d}" for number in range(size + 2)]
    drawings = [draw(serial, stock) for serial in serials]
    first, second = raster_pdf(pdf.write(drawings, stock))
    assert read(first) == both(serials[:size]) and read(second) == both(serials[size:])
    pages = svg.pages(drawings, stock)
    assert read(raster_svg(svg.write(pages[0], stock))) == both(serials[:size])


@pytest.mark.parametrize("stock", STOCKS.values(), ids=STOCKS)
def test_everything_is_on_the_label_and_the_labels_on_the_page(stock):
    drawing = draw("WWWWWWWWWW", stock, "a caption that is rather long for a label")
    for x, y, w, h in drawing.bars:
        assert x >= 0 and x + w <= stock.width and y >= 0 and y + h <= stock.height
    for text in drawing.texts:
        assert 0 < text.size <= text.y <= stock.height
    if stock.page:
        x, y = stock.position(stock.columns * stock.rows - 1)
        assert x + stock.width <= stock.page[0] and y + stock.height <= stock.page[1]


def test_same_labels_same_bytes():
    stock = STOCKS["50x25"]
    first, second = (pdf.write([draw("TS00000001", stock)], stock) for _ in range(2))
    assert first == second


def test_too_narrow():
    with pytest.raises(BadInputError, match="too narrow"):
        draw("TS00000001", Stock("tiny", 20, 10))


def test_only_a_serial_number_gets_on_a_label():
    with pytest.raises(BadInputError, match="not a serial number"):
        draw("3132333435363738", STOCKS["50x25"])


@pytest.mark.parametrize("kind", ["svg", "pdf", "zpl"])
def test_command_marks_the_batch_as_labelled(tmp_path, kind):
    path = tmp_path / "journal.db"
    journal = StationJournal(path)
    for serial in SERIALS[:2]:
        record = journal.begin(serial, "june", "http://localhost", None)
        journal.finish(record, CardState.LOCKED)
    journal.begin(SERIALS[2], "june", "http://localhost", None)
    output = tmp_path / f"labels.{kind}"
    arguments = ["labels", "--batch", "june", "--output", str(output), "--journal", str(path)]
    result = CliRunner().invoke(station, arguments)
    assert result.exit_code == 0, result.exception
    states = {record.serial: record.state for record in journal.batch("june")}
    assert states == {
        SERIALS[0]: CardState.LABELLED,
        SERIALS[1]: CardState.LABELLED,
        SERIALS[2]: CardState.AUTHENTIC,
    }
    journal.close()
    assert list(tmp_path.glob(f"labels*.{kind}"))


def batch_of(tmp_path, serials, user=None):
    path = tmp_path / "journal.db"
    journal = StationJournal(path)
    for serial in serials:
        journal.finish(journal.begin(serial, "june", "u", user), CardState.LOCKED)
    journal.close()
    return path


def run(tmp_path, *words):
    env = {"TALLY_STATION_JOURNAL": str(tmp_path / "journal.db")}
    return CliRunner().invoke(station, ["labels", *words], env=env)


def places(image: Image.Image, stock: Stock) -> list[str]:
    """What is read at each place of a page."""
    scale = image.width / stock.page[0]
    found = []
    for index in range(stock.per_page):
        x, y = stock.position(index)
        box = (x * scale, y * scale, (x + stock.width) * scale, (y + stock.height) * scale)
        codes = read(image.crop(tuple(map(round, box)))).get("Code128", {""})
        found.append("".join(codes))
    return found


def test_labels_come_by_serial_number_from_a_place_of_a_used_sheet(tmp_path):
    """Cards finish as they do: whoever sticks labels on counts."""
    batch_of(tmp_path, ["TS00000010", "TS00000002", "TS00000009"])
    output = tmp_path / "june.pdf"
    more = ("--batch", "june", "--stock", "a4-3x8", "--output", str(output))
    assert run(tmp_path, *more, "--start", "23").exit_code == 0
    first, second = (places(page, STOCKS["a4-3x8"]) for page in raster_pdf(output.read_bytes()))
    assert first == [""] * 22 + ["TS00000002", "TS00000009"]
    assert second == ["TS00000010"] + [""] * 23
    svgs = ("--batch", "june", "--stock", "a4-3x8", "--output", str(tmp_path / "june.svg"))
    assert run(tmp_path, *svgs, "--start", "5").exit_code == 0
    (page,) = [raster_svg((tmp_path / "june.svg").read_text())]
    assert places(page, STOCKS["a4-3x8"])[4:7] == ["TS00000002", "TS00000009", "TS00000010"]
    assert run(tmp_path, *more, "--order", "finished").exit_code == 0
    (page,) = raster_pdf(output.read_bytes())
    assert places(page, STOCKS["a4-3x8"])[:3] == ["TS00000010", "TS00000002", "TS00000009"]


@pytest.mark.parametrize(("stock", "start"), [("50x25", "2"), ("a4-3x8", "25")])
def test_a_place_that_there_is_not(tmp_path, stock, start):
    batch_of(tmp_path, ["TS00000001"])
    output = tmp_path / "x.pdf"
    result = run(
        tmp_path, "--batch", "june", "--stock", stock, "--start", start, "--output", str(output)
    )
    assert isinstance(result.exception, BadInputError) and not output.exists()
    assert f"no place {start}" in result.exception.what


def test_nothing_is_printed_before_the_first_place():
    assert all(not one.bars and not one.texts for one in blanks(STOCKS["a4-3x8"], 24))
    assert blanks(STOCKS["50x25"], 1) == []


def test_people_count_serial_numbers():
    mixed = ["B10", "B9", "A2", "10", "9", "B9A"]
    assert by_serial(mixed) == ["9", "10", "A2", "B9", "B9A", "B10"]


def test_the_users_name_is_on_the_label(tmp_path):
    batch_of(tmp_path, ["TS00000001"], user="ada.lovelace")
    output = tmp_path / "x.svg"
    assert run(tmp_path, "--batch", "june", "--names", "--output", str(output)).exit_code == 0
    assert "ada.lovelace" in output.read_text()
