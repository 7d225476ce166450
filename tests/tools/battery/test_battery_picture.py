"""The picture of a life, and the words beside it: nothing lies on anything, units are whole."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree as ET

from PIL import Image, ImageChops

from tallystick.emulator import boards
from tallystick.emulator.instruments.canvas import Png
from tallystick.emulator.parts.cells import CELLS
from tallystick.tools.battery import cli, plot
from tallystick.tools.battery.life import Life, Sample
from tallystick.tools.battery.report import SPREAD, Report


def report() -> Report:
    """All parts that there can be, in a run that ended with its time."""
    used = {part: 100.0 * (number + 1) for number, part in enumerate(SPREAD)}
    life = Life(
        simulated_years=0.1998, presses=730, codes=730, last_code=0.1997,
        used_uah=used, press_uah=dict.fromkeys(used, 1.0), capacity_uah=25_000.0,
        usable_uah=20_000.0, samples=[Sample(0.0, 3090, 0.0), Sample(0.1998, 2940, 1200.0)],
    )  # fmt: skip
    return Report(boards.BOARDS["nucleo_l476rg"], CELLS["CARD25"], 20.0, 10, life)


def test_no_words_lie_on_others(tmp_path):
    path = tmp_path / "life.svg"
    plot.draw(report(), path)
    rows: dict[str, list[tuple[float, str]]] = {}
    for text in ET.parse(path).iter("{http://www.w3.org/2000/svg}text"):
        rows.setdefault(text.get("x", ""), []).append((float(text.get("y", "")), text.text or ""))
    size = 13
    for column in rows.values():
        column.sort()
        for (above, first), (below, second) in pairwise(column):
            assert below - above >= size, f"{first!r} and {second!r}"
    labels = [words for column in rows.values() for _, words in column]
    assert "0.2" in labels  # the axis is labelled to its end
    assert sum(words.endswith("µAh") for words in labels) == len(SPREAD)


def test_the_micro_sign_is_drawn_although_the_font_has_none(tmp_path):
    pictures = []
    for words in ("1 µAh", "1 uAh"):
        canvas = Png(120, 30, "")
        canvas.text((10, 15), words, "#000000")
        canvas.save(tmp_path / "words.png")
        pictures.append(Image.open(tmp_path / "words.png").convert("L"))
    box = ImageChops.difference(*pictures).getbbox()
    assert box is not None and box[2] - box[0] <= 4 and box[3] - box[1] >= 6  # a stroke, downwards


def test_a_run_that_ends_with_its_time_has_no_last_code(capsys):
    cli._show(report(), None)
    assert re.search("last code: not within this run", capsys.readouterr().out)
