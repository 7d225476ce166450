"""The panel in real Chromium: by mouse, keyboard and touch, light and dark, on a phone."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files

import httpx
import pytest
from playwright.sync_api import sync_playwright

from tallystick.emulator.panel.panel import kept_token
from tests import needs

KEEP = os.environ.get("TALLY_SCREENSHOTS", "")  # a folder for pictures, to look at
pytestmark = needs.chromium.mark
TALLY = [sys.executable, "-c", "from tallystick.cli import main; main()"]


@pytest.fixture(scope="module")
def panel() -> Iterator[dict[str, str]]:
    process = subprocess.Popen(
        [*TALLY, "emulate", "card", "--panel", "--seeded", "--json"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    lines = [""]
    while lines[-1] != "}\n":
        lines.append(process.stdout.readline())
        assert lines[-1], "the panel did not start"
    yield json.loads("".join(lines))
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    process.stdout.close()


def test_the_token_is_the_same_after_a_restart(tmp_path, monkeypatch):
    """So that an open page, and a bookmark, are let in again; nobody else can read it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    token = kept_token()
    file = tmp_path / "tallystick" / "panel-token"
    assert len(token) >= 20 and file.stat().st_mode & 0o077 == 0
    assert kept_token() == token
    file.chmod(0o644)  # others may have read it
    fresh = kept_token()
    assert fresh != token and kept_token() == fresh
    for damaged in (b"", b"\xff\xfe", b"short"):
        file.write_bytes(damaged)
        assert len(kept_token()) >= 20


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with sync_playwright() as driver:
        browser = needs.launch(driver)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, panel):
    contexts, complaints = [], []

    def open_it(**options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(panel["panel"])
        page.get_by_role("button", name="Card button").wait_for()
        page.wait_for_function("window.did_handshake")  # a key before that would be lost
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert complaints == []


def status_says(page, words: str) -> None:
    page.get_by_role("status").filter(has_text=words).wait_for(state="attached", timeout=60_000)


def set_speed(page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def test_without_the_token_there_is_no_entry(panel):
    assert httpx.get(f"{panel['control']}/panel").status_code == 403
    answer = httpx.get(panel["panel"][:-4] + "AAAA")
    assert answer.status_code == 403
    assert "printed" in answer.text


def test_mouse_and_keyboard_give_codes_and_the_display_goes_dark(open_page):
    page = open_page()
    button = page.get_by_role("button", name="Card button")
    button.hover()
    page.mouse.down()
    page.wait_for_timeout(300)
    page.mouse.up()
    status_says(page, "code 7 5 5 2 2 4")  # RFC 4226, appendix D
    assert page.get_by_alt_text("The display shows code 7 5 5 2 2 4.").count() == 1
    set_speed(page, "× 1000")
    status_says(page, "dark")
    set_speed(page, "× 1")
    button.focus()
    page.keyboard.down("Space")
    page.wait_for_timeout(100)
    page.keyboard.up("Space")
    status_says(page, "code 2 8 7 0 8 2")
    set_speed(page, "× 1000")
    status_says(page, "dark")
    set_speed(page, "× 1")


def test_time_goes_on_at_one_speed_however_many_look(open_page):
    """Else a press in one of several windows would last longer than the finger was there."""
    pages = [open_page() for _ in range(4)]
    for page in pages:
        page.get_by_role("button", name="× 1", exact=True, pressed=True).wait_for()
    read = """() => [
        parseFloat(document.querySelector(".sheet .value").innerText.replace(",", "")),
        performance.now() / 1000,
    ]"""
    virtual, real = pages[0].evaluate(read)
    pages[0].wait_for_timeout(1000)
    later, then = pages[0].evaluate(read)
    assert 0 < later - virtual < 1.5 * (then - real)
    set_speed(pages[0], "pause")
    pages[1].get_by_role("button", name="pause", exact=True, pressed=True).wait_for()
    set_speed(pages[1], "× 1")
    pages[0].get_by_role("button", name="× 1", exact=True, pressed=True).wait_for()


def _words(problem) -> str:
    return "\n".join(
        f"{problem['id']}: {node['html'][:150]} {node['failureSummary']}"
        for node in problem["nodes"]
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_axe_finds_nothing(open_page, scheme, width, height):
    """With a code up, the drawer open, and every kind of event on the list."""
    page = open_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    button = page.get_by_role("button", name="Card button")
    button.focus()
    page.keyboard.down("Space")
    page.wait_for_timeout(100)
    page.keyboard.up("Space")
    status_says(page, "code")
    page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text())
    # The bar is Quasar's own, and shows only while a page is being loaded.
    found = page.evaluate("axe.run({exclude: ['#q-loading-bar']})")["violations"]
    assert "\n".join(_words(problem) for problem in found) == ""
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if KEEP:
        page.screenshot(path=f"{KEEP}/panel-{scheme}-{width}.png", full_page=True)
    set_speed(page, "× 1000")
    status_says(page, "dark")
    set_speed(page, "× 1")


def test_forced_colours_hide_nothing(open_page):
    """Windows' contrast themes take away backgrounds and shadows."""
    page = open_page(forced_colors="active")
    style = """([selector, property, pseudo]) =>
        getComputedStyle(document.querySelector(selector), pseudo)[property]"""

    def look(selector: str, named: str = "backgroundColor", pseudo: str | None = None) -> str:
        return page.evaluate(style, [selector, named, pseudo])

    page.locator(".map i").first.wait_for()
    ground = look("body")
    for frame in (".card", ".glass", ".press"):
        assert look(frame, "borderTopWidth") == "2px"
    assert look("[aria-pressed=true]") not in (ground, look("[aria-pressed=false]"))
    for told_by_colour in (".map i", ".legend i"):
        assert look(told_by_colour, "forcedColorAdjust") == "none"
    for track in (".q-slider__track", ".q-toggle__track"):
        assert look(track) not in (ground, "rgba(0, 0, 0, 0)")
    colours = page.locator(".legend i").evaluate_all(
        "every => every.map(one => getComputedStyle(one).backgroundColor)"
    )
    assert len(colours) == len(set(colours))  # else the legend says nothing


def test_a_keyboard_sees_where_it_is(open_page):
    """Quasar takes the outlines of buttons away, as important."""
    page = open_page()
    seen = set()
    for _ in range(17):
        page.keyboard.press("Tab")
        name, width = page.evaluate("""() => {
            const one = document.activeElement;
            return [one.innerText || one.ariaLabel || one.role, getComputedStyle(one).outlineWidth];
        }""")
        assert width == "3px", name
        seen.add(name)
    assert {"press", "× 1000", "back 1 s", "Pull the cell", "cut after it"} <= seen


def test_the_card_stays_in_sight_beside_a_long_drawer(open_page):
    page = open_page(viewport={"width": 1280, "height": 700})
    page.get_by_role("log", name="Events").scroll_into_view_if_needed()
    assert page.evaluate("scrollY") > 100
    button = page.get_by_role("button", name="Card button")
    assert 0 < button.bounding_box()["y"] < 600


def test_the_time_line_is_dragged_back_and_gone_on_from(open_page):
    """By mouse and by keyboard; what a screen reader is told, and what the card shows."""
    page = open_page()
    words = page.get_by_role("status").filter(has_text="goes on from here")
    button = page.get_by_role("button", name="Card button")
    set_speed(page, "× 1000")
    status_says(page, "dark")
    set_speed(page, "pause")
    button.focus()
    page.keyboard.down("Space")
    page.get_by_role("button", name="step 1 s").click()
    button.focus()
    page.keyboard.up("Space")
    page.get_by_role("button", name="step 1 s").click()
    status_says(page, "code")
    code = page.get_by_alt_text("The display shows code").get_attribute("alt")
    line = page.get_by_role("slider", name="Instant of the card's life")
    shown = float(line.get_attribute("aria-valuemax"))
    # Dark again, later.
    set_speed(page, "× 1000")
    status_says(page, "dark")
    set_speed(page, "pause")
    # By mouse, to the left end: the card as it was before its first press.
    box = line.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] - 2, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, y, steps=4)
    page.mouse.move(box["x"], y, steps=4)
    page.mouse.up()
    words.filter(has_text=re.compile(r"It stands at 0\.\d s")).wait_for()  # as it was started
    page.get_by_role("button", name="to the end").click()
    page.get_by_text("Drag it back").wait_for()
    end = float(line.get_attribute("aria-valuemax"))
    assert end > shown
    assert float(line.get_attribute("aria-valuenow")) == pytest.approx(end, abs=0.2)
    # To where the code was up; a pixel is some seconds. Then by keyboard.
    first = float(line.get_attribute("aria-valuemin"))
    part = (shown + 10 - first) / (end - first)
    page.mouse.click(box["x"] + box["width"] * part, y)
    page.get_by_alt_text(code, exact=True).wait_for()
    earlier = """before => document.querySelector('[role=slider][aria-label^=Instant]')
        .ariaValueNow < before - 0.05"""
    now = float(line.get_attribute("aria-valuenow"))
    page.get_by_role("button", name="back 1 s").press("Enter")
    page.wait_for_function(earlier, arg=now)
    now = float(line.get_attribute("aria-valuenow"))
    line.locator("[tabindex='0']").focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(earlier, arg=now)
    words.wait_for()
    if KEEP:
        page.screenshot(path=f"{KEEP}/panel-past.png", full_page=True)
    # What is done here goes on from here: there is no later any more.
    page.get_by_role("button", name="step 1 s").click()
    page.get_by_text("Drag it back").wait_for()
    assert float(line.get_attribute("aria-valuemax")) < end - 1
    set_speed(page, "× 1000")
    status_says(page, "dark")
    set_speed(page, "× 1")


def test_touch_on_a_phone_needs_no_sideways_scrolling(open_page):
    page = open_page(viewport={"width": 390, "height": 844}, has_touch=True, color_scheme="dark")
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390
    assert page.evaluate("document.body.classList.contains('body--dark')")
    page.get_by_role("button", name="Card button").tap()
    page.wait_for_timeout(500)
    box = page.get_by_role("button", name="Card button").bounding_box()
    assert box["width"] >= 44  # WCAG 2.2, 2.5.5: a target for a finger


def test_the_drawer_pulls_cuts_and_drains(open_page):
    page = open_page()
    page.get_by_role("button", name="Pull the cell").click()
    page.get_by_text("cell out").wait_for()
    page.get_by_role("button", name="Insert a cell").click()
    page.get_by_text("cell 3.", exact=False).first.wait_for()
    page.get_by_role("button", name="cut before it").click()
    button = page.get_by_role("button", name="Card button")
    button.hover()
    page.mouse.down()
    page.wait_for_timeout(300)
    page.mouse.up()
    page.get_by_text("no cell").wait_for()  # the power went as the press was to be committed
    page.get_by_role("button", name="Insert a cell").click()
    page.get_by_text("cell 3.", exact=False).first.wait_for()
    events = page.get_by_role("log", name="Events")
    assert "cut" in events.inner_text()
    assert page.get_by_role("img", name="Flash map").count() == 1
    cell = page.get_by_role("slider", name="Part of the cell")
    cell.locator("[tabindex='0']").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.get_by_text("2% used").wait_for()
    page.get_by_role("button", name="Engineer's drawer", expanded=True).click()
    page.get_by_role("log", name="Events").wait_for(state="hidden")
    page.get_by_role("button", name="Engineer's drawer", expanded=False).wait_for()
