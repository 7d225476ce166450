"""The leaflet, read back from the finished page."""

from __future__ import annotations

import pypdfium2
import pytest

from tallystick.common.errors import BadInputError
from tallystick.provisioning.labels.leaflet import HEIGHT, LANGUAGES, PAPERS, WIDTH, Leaflet, write
from tests.provisioning.test_desk import desk, lend
from tests.provisioning.test_desk_week import policy

__all__ = ["desk"]
LONG = "Help desk of the northern works, house 12, ground floor, telephone 22 33 44 55, 8 to 16"


def text_of(document: bytes) -> list[str]:
    pages = pypdfium2.PdfDocument(document)
    try:
        return [" ".join(page.get_textpage().get_text_range().split()) for page in pages]
    finally:
        pages.close()


@pytest.mark.parametrize("paper", PAPERS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_everything_is_on_the_page(language, paper):
    words = LANGUAGES[language]
    leaflet = Leaflet(language, "Firm & Søn", LONG, until="Sun 25 Oct 2026 17:30 CET")
    made = write([leaflet], paper)
    (text,) = text_of(made)
    for line in (words.title, "Firm & Søn", *words.steps, *words.rules, words.lost, LONG, "CET"):
        assert " ".join(line.split()) in text, line
    document = pypdfium2.PdfDocument(made)
    page = document[0]
    scale = PAPERS[paper] * 72 / 25.4
    assert page.get_size() == pytest.approx((WIDTH * scale, HEIGHT * scale), abs=0.5)
    boxes = [one.get_bounds() for one in page.get_objects()]
    assert min(box[0] for box in boxes) >= 0 and min(box[1] for box in boxes) >= 4 * scale
    assert max(box[2] for box in boxes) <= WIDTH * scale
    document.close()
    assert made == write([leaflet], paper)


def test_by_the_command_with_the_firms_words(desk, tmp_path):
    output = tmp_path / "leaflet.pdf"
    error = desk.fails(BadInputError, "leaflet", "--output", str(output))
    assert "where cards come back" in error.what and not output.exists()
    policy(desk, desk_contact="Help desk, room 12")
    lend(desk, desk.spares[0])
    words = ("leaflet", desk.spares[0].serial, "--language", "de", "--output", str(output))
    result = desk.run(*words)
    assert result.exit_code == 0, result.exception
    (text,) = text_of(output.read_bytes())
    assert "Help desk, room 12" in text and desk.spares[0].serial in text and " CE" in text
