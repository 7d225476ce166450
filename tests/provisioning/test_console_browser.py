"""The console in real Chromium: emulated cards behind ptys, a server process, keyboard, scanner."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import sync_playwright

from tallystick.common.secret import Secret
from tallystick.provisioning.custody.interface import ServerCredential
from tallystick.provisioning.desk import operator
from tests import needs
from tests.provisioning.console_rig import Rig, station_in_a_firm

pytestmark = [
    pytest.mark.slow,
    needs.chromium.mark,
]
SHOTS = os.environ.get("TALLY_SCREENSHOTS")
AXE = (files("axe_playwright_python") / "axe.min.js").read_text()
# The library's loading bar is seen for moments only.
AXE_RUN = "axe.run({exclude: ['#q-loading-bar']})"
SETTLED = """() => document.getAnimations().every((one) => one.playState === "finished"
  || one.effect.getComputedTiming().iterations === Infinity)"""
AXE_IN_DIALOG = "axe.run({include: ['[role=dialog]']})"  # what is behind it is dimmed on purpose


@pytest.fixture(scope="module")
def rig(tmp_path_factory) -> Iterator[Rig]:
    with station_in_a_firm(tmp_path_factory.mktemp("station")) as rig:
        yield rig


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with sync_playwright() as driver:
        browser = needs.launch(driver)
        yield browser
        browser.close()


def signed_in(rig, browser):
    context = browser.new_context(viewport={"width": 1280, "height": 860}, reduced_motion="reduce")
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto(rig.url)
    page.get_by_label("Pass").wait_for()
    page.keyboard.type(rig.console.value()["pass"].lower())  # the field has the focus
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Batch", exact=True).wait_for()
    page.close()
    return context


@pytest.fixture(scope="module")
def context(rig, browser):
    context = signed_in(rig, browser)
    yield context
    context.close()


@pytest.fixture
def page(context):
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda m: complaints.append(m.text) if "Content Security Policy" in m.text else None,
    )
    yield page
    page.close()
    assert complaints == []


@pytest.fixture
def desk(rig, page):
    """The page of somebody who is signed in at the desk."""
    go(page, f"{rig.url}/desk")
    page.get_by_text("t the desk").first.wait_for()
    if page.get_by_text("Who is at the desk?").count():
        come_to_work(page, rig.desk_token, ANNS_PIN)
        says(page, "At the desk: Ann")
    return page


ANNS_PIN, BOBS_PIN = "2580", "8024"


def come_to_work(page, token: str, pin: str) -> None:
    """With a credential, and a PIN for it, by keyboard."""
    page.get_by_label("Credential").fill(token)
    page.get_by_label("Credential").press("Enter")  # to the next field
    page.keyboard.type(pin)
    page.keyboard.press("Enter")


def go(page, url: str) -> None:
    """Open a page; a test is quicker than any person, and its first key would come too early."""
    page.goto(url)
    page.wait_for_function("window.did_handshake")


def check(page, picture: str = "") -> None:
    """Nothing for axe to complain of, in light and dark; no scrolling sideways on a phone.
    picture: the name of pictures for people to look at, in the folder TALLY_SCREENSHOTS."""
    found: dict[str, list[str]] = {}
    run = AXE_IN_DIALOG if page.get_by_role("dialog").count() else AXE_RUN
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(SETTLED)
        page.evaluate(AXE)
        result = page.evaluate(run)["violations"]
        _keep(page, picture, scheme)
        if result:
            found[scheme] = [_words(problem["nodes"][0]) for problem in result]
    page.set_viewport_size({"width": 390, "height": 844})
    wide = page.evaluate("document.documentElement.scrollWidth")
    _keep(page, picture, "phone")
    page.set_viewport_size({"width": 1280, "height": 860})
    page.emulate_media(color_scheme="light")
    assert found == {} and wide <= 390


def _words(node) -> str:
    return f"{node['html']} {node['failureSummary']}"


def _keep(page, picture: str, how: str) -> None:
    if SHOTS and picture:
        page.screenshot(path=Path(SHOTS) / f"console-{picture}.{how}.png", full_page=True)


def scan(page, serial: str) -> None:
    """A scanner types where the focus is, which is nowhere in particular, and ends with Enter."""
    page.evaluate("document.activeElement.blur()")
    page.keyboard.type(serial)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/desk?card={serial}")
    page.wait_for_function("window.did_handshake")


def says(page, text: str) -> None:
    page.get_by_text(text).first.wait_for()


def test_nobody_comes_in_without_the_pass(rig, browser):
    with browser.new_context(reduced_motion="reduce") as stranger:
        page = stranger.new_page()
        page.goto(f"{rig.url}/desk?card=x")
        assert page.url.endswith("/sign-in")
        page.get_by_label("Pass").fill("AAAA-AAAA")
        page.keyboard.press("Enter")
        page.get_by_role("alert").wait_for()
        check(page)
    for path in ("/", "/desk", "/history", "/audit", "/audit.jsonl", "/labels/june.pdf"):
        assert httpx.get(rig.url + path).status_code == 401
    token = "socket.io/?EIO=4&transport=polling"
    assert httpx.get(f"{rig.url}/_nicegui_ws/{token}").status_code == 401


@needs.root.mark
@pytest.mark.parametrize(("user", "status"), [(0, "200"), (65534, "403")])
def test_another_user_of_this_computer_gets_not_even_the_sign_in_page(rig, user, status):
    port = rig.url.rsplit(":", 1)[1]
    asks = f"GET /sign-in HTTP/1.1\\r\\nHost: 127.0.0.1:{port}\\r\\n\\r\\n"
    script = f"exec 3<>/dev/tcp/127.0.0.1/{port}; printf '{asks}' >&3; head -1 <&3"
    done = subprocess.run(
        ["bash", "-c", script], user=user, cwd="/", capture_output=True, text=True, timeout=20,
        check=True,
    )  # fmt: skip
    assert done.stdout.split()[1] == status


def test_a_batch_by_keyboard(rig, page):
    first, second = rig.new_card(), rig.new_card()
    rig.clear()
    rig.insert(first, 0)
    go(page, rig.url)
    page.get_by_role("heading", name="Start a batch").wait_for()
    check(page)
    page.get_by_label("Name", exact=True).focus()
    page.keyboard.type("june")
    page.keyboard.press("Tab")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("2")
    page.keyboard.press("Enter")
    page.get_by_role("status").filter(has_text="Take the finished card out of dock0").wait_for()
    assert page.get_by_role("group", name="dock0: done").count() == 1
    meter = page.get_by_role("progressbar", name="Cards in service")
    assert meter.get_attribute("aria-valuenow") == "1"
    check(page)
    rig.insert(second, 1)
    page.get_by_role("status").filter(has_text="The batch is complete").wait_for()
    check(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Labels (PDF)").click()
    assert Path(download.value.path()).read_bytes().startswith(b"%PDF")
    go(page, f"{rig.url}/history")
    page.get_by_label("Serial number, batch, user or state").fill("june")
    page.get_by_role("cell", name=second).wait_for()
    assert page.get_by_role("cell", name="june").count() == 2
    check(page)
    page.get_by_label("Serial number, batch, user or state").fill("nothing")
    says(page, "No card matches.")


def begin(page, name: str, choice: str) -> None:
    """Name a batch of one card, make a choice by keyboard, and start."""
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Cards", exact=True).fill("1")
    box = page.get_by_role("checkbox", name=choice, exact=True)
    assert box.get_attribute("aria-checked") == "false"
    described = page.locator(f"#{box.get_attribute('aria-describedby')}")
    assert len(described.inner_text()) > 60
    box.focus()
    page.keyboard.press("Space")
    page.get_by_role("checkbox", name=choice, exact=True, checked=True).wait_for()
    check(page, name)
    page.get_by_label("Name", exact=True).focus()
    page.keyboard.press("Enter")


def test_button_and_display_are_checked_by_keyboard(rig, page):
    card = rig.new_card()
    rig.clear()
    rig.insert(card, 0)
    go(page, rig.url)
    begin(page, "checked", "Have button and display of each card checked")
    status = page.get_by_role("status").filter(has_text="type the code on its display")
    status.wait_for()
    field = page.get_by_label(f"Code of {card} in dock0")
    page.locator(".codes input:focus").wait_for()
    page.keyboard.type(card)  # its label was scanned
    page.keyboard.press("Enter")
    says(page, "No try was counted.")
    httpx.post(f"{rig.controls[card]}/button", json={"action": "press"}).raise_for_status()
    code = httpx.get(f"{rig.controls[card]}/display?format=json").json()["code"]
    page.keyboard.type(f"{(int(code) + 1) % 10**6:06}")
    page.keyboard.press("Enter")
    page.get_by_role("alert").filter(has_text="two tries are left").wait_for()
    check(page, "typing")
    page.locator(".codes input:focus").wait_for()
    page.keyboard.type(f"{code[:3]} {code[3:]}")
    page.keyboard.press("Enter")
    page.get_by_role("status").filter(has_text="The batch is complete").wait_for()
    assert field.count() == 0
    log = httpx.get(f"{rig.url}/audit.jsonl", cookies=cookies(page)).text
    assert "button and display are checked" in log and code not in log


def test_a_new_seed_for_a_card_in_service_needs_consent_and_a_press(rig, page):
    card = rig.new_card(in_service=True)
    know(rig, card, "ada", keeps_it=True)
    rig.clear()
    rig.insert(card, 0)
    go(page, rig.url)
    begin(page, "anew", "Give cards in service a new seed")
    dialog = page.get_by_role("dialog", name="New seeds for cards in service?")
    cancel = page.get_by_role("button", name="Cancel").and_(page.locator(":focus"))
    cancel.wait_for()
    check(page, "consent")
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert page.get_by_role("heading", name="anew").count() == 0  # nothing was begun
    page.get_by_label("Name", exact=True).focus()
    page.keyboard.press("Enter")
    cancel.wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    asks = page.get_by_role("status").filter(has_text="Press the button of the card in dock0")
    asks.wait_for()
    says(page, "new seeds for cards in service")
    check(page, "press")
    url = f"{rig.server.url}/v1/cards/{card}"
    headers = {"authorization": f"Bearer {rig.admin_token}"}
    complete = page.get_by_role("status").filter(has_text="The batch is complete")
    presses = 0
    while not complete.count():
        assert presses < 20, page.locator("#main").inner_text()
        httpx.post(f"{rig.controls[card]}/button", json={"action": "press"}).raise_for_status()
        presses += 1
        page.wait_for_timeout(500)
    known = httpx.get(url, headers=headers).json()
    assert presses >= 3  # for the seed, and for each of the two codes that are compared
    assert (known["user"], known["moving_factor"]) == (None, 2)
    log = httpx.get(f"{rig.url}/audit.jsonl", cookies=cookies(page)).text
    assert "new seeds for cards in service" in log and "also in place of an older seed" in log
    go(page, rig.url)
    assert not page.get_by_role("checkbox", checked=True).count()


def cookies(page) -> dict[str, str]:
    return {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}


def test_a_card_that_is_not_wanted_is_told_once(rig, page):
    card = rig.new_card(in_service=True)
    rig.clear()
    rig.insert(card, 0)
    go(page, rig.url)
    page.get_by_label("Name", exact=True).fill("july")
    page.get_by_label("Cards", exact=True).fill("3")
    page.get_by_role("button", name="Start").click()
    says(page, f"Card {card} is already in service")
    page.get_by_role("status").filter(has_text="failed, the reason is below").wait_for()
    page.wait_for_timeout(300)  # long enough for ten more tries
    assert page.get_by_text(f"Card {card} is already in service").count() == 1
    check(page)
    page.get_by_role("button", name="Stop after these cards").click()
    says(page, "Stopped: 3 cards are missing.")


def test_a_day_at_the_desk(rig, desk):
    spare, other = rig.new_card(in_service=True), rig.new_card(in_service=True)
    know(rig, other, "ada")
    check(desk)
    scan(desk, spare)
    says(desk, "Nobody has it: it can be lent.")
    desk.get_by_label("User").wait_for()
    check(desk)
    desk.keyboard.type("ada")  # the field has the focus
    desk.get_by_role("status").filter(has_text="UTC, in").wait_for()  # the end, before it holds
    for _ in range(2):
        desk.keyboard.press("Enter")
    desk.keyboard.type(rig.press(other))
    desk.keyboard.press("Enter")
    desk.get_by_role("alert").filter(has_text=f"not one of card {spare}").wait_for()
    check(desk)
    desk.keyboard.type(rig.press(spare))  # the field is empty again, and has the focus
    desk.keyboard.press("Enter")
    says(desk, "ada has it until")
    desk.get_by_label("Code").first.fill(rig.press(spare))
    desk.keyboard.press("Enter")
    says(desk, "Nobody has it: it can be lent.")
    audit(rig, desk, spare)


def audit(rig, page, spare) -> None:
    page.get_by_role("link", name="Audit").click()
    page.wait_for_url("**/audit")
    page.wait_for_function("window.did_handshake")
    says(page, "and the chain is whole.")
    page.get_by_label("Who, act, card or detail").fill(spare)
    page.get_by_role("cell", name="keys created").first.wait_for(state="detached")
    for act in ("card lent", "card returned"):
        assert page.get_by_role("row", name=spare).filter(has_text=act).count() == 1
    check(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Export (JSON lines)").click()
    lines = Path(download.value.path()).read_text()
    assert "card returned" in lines and rig.desk_token not in lines
    page.emulate_media(media="print")
    assert not page.get_by_role("link", name="Desk").is_visible()
    assert page.get_by_role("table").is_visible()


def test_a_drifted_card_is_asked_for_a_second_code(rig, desk):
    card = rig.new_card(in_service=True)
    know(rig, card, "ada")
    go(desk, f"{rig.url}/desk?card={card}")
    desk.get_by_label("User").fill("ada")
    for _ in range(11):
        code = rig.press(card)
    desk.get_by_label("Code", exact=True).first.fill(code)
    desk.keyboard.press("Enter")
    desk.get_by_role("alert").filter(has_text="pressed about 10 times").wait_for()
    desk.keyboard.type(rig.press(card))
    desk.keyboard.press("Enter")
    says(desk, "10 presses had not come to the server")
    says(desk, "ada has it until")


def test_a_lost_card_is_replaced_found_and_wiped(rig, desk):
    lost, new = rig.new_card(in_service=True), rig.new_card(in_service=True)
    know(rig, lost, "grace", keeps_it=True)
    scan(desk, lost)
    says(desk, "It is grace's own card.")
    desk.get_by_text("More", exact=True).click()
    check(desk)
    desk.get_by_label("New card").fill(new)
    desk.keyboard.press("Enter")
    desk.keyboard.type(rig.press(new))
    desk.keyboard.press("Enter")
    says(desk, "It was reported lost")
    desk.get_by_role("button", name="It is here again").click()
    says(desk, "Nobody has it: it can be lent.")
    desk.get_by_text("More", exact=True).click()
    desk.get_by_label("Port of the dock").fill(rig.ports[new])
    desk.get_by_role("button", name="Retire and wipe").click()
    desk.get_by_role("alert").filter(has_text=f"The card in the dock is {new}").wait_for()
    desk.get_by_label("Port of the dock").fill(rig.ports[lost])
    desk.get_by_role("button", name="Retire and wipe").click()
    says(desk, "Press the card's button now.")
    httpx.post(f"{rig.controls[lost]}/button", json={"action": "press"}).raise_for_status()
    says(desk, "It was retired")
    httpx.post(f"{rig.controls[lost]}/button", json={"action": "press"})
    assert httpx.get(f"{rig.controls[lost]}/display?format=json").json()["code"] is None


def test_who_is_at_the_desk_and_signing_out_forgets_it(rig, browser):
    context = signed_in(rig, browser)
    page = context.new_page()
    go(page, f"{rig.url}/desk")
    says(page, "Who is at the desk?")
    check(page)
    come_to_work(page, "tally_not-a-credential", ANNS_PIN)
    page.get_by_role("alert").wait_for()
    come_to_work(page, rig.desk_token, "1234")
    page.get_by_role("alert").filter(has_text="none like 1111").wait_for()
    come_to_work(page, rig.desk_token, ANNS_PIN)
    says(page, "At the desk: Ann")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Pass").fill(rig.console.value()["pass"])
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Batch", exact=True).wait_for()
    go(page, f"{rig.url}/desk")
    says(page, "Who is at the desk?")
    context.close()


def test_a_shift_change_at_the_page_is_two_keys_and_a_pin(rig, browser):
    bob = rig.server.add_credential("desk", "Bob").token.reveal().decode()
    card = rig.new_card(in_service=True)
    know(rig, card, "ada")
    context = signed_in(rig, browser)
    page = context.new_page()
    go(page, f"{rig.url}/desk?card={card}")
    come_to_work(page, rig.desk_token, ANNS_PIN)
    says(page, "At the desk: Ann")
    page.keyboard.press("F2")
    says(page, "Who is at the desk?")
    page.get_by_text("Somebody else").click()
    come_to_work(page, bob, BOBS_PIN)
    says(page, "At the desk: Bob")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("F2")
    page.get_by_role("button", name="1 Ann").wait_for()
    check(page, "door")
    page.keyboard.press("1")
    page.get_by_label("PIN of Ann").and_(page.locator(":focus")).wait_for()
    page.keyboard.type(BOBS_PIN)
    page.keyboard.press("Enter")
    page.get_by_role("alert").filter(has_text="4 tries are left").wait_for()
    page.keyboard.type(ANNS_PIN)
    page.keyboard.press("Enter")
    says(page, "At the desk: Ann")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("F2")
    page.get_by_role("button", name="2 Bob").wait_for()
    page.keyboard.press("2")
    page.get_by_label("PIN of Bob").and_(page.locator(":focus")).wait_for()
    page.keyboard.type(BOBS_PIN)
    page.keyboard.press("Enter")
    says(page, "At the desk: Bob")
    page.get_by_label("User").fill("ada")
    page.get_by_label("Code", exact=True).first.fill(rig.press(card))
    page.keyboard.press("Enter")
    says(page, "ada has it until")
    assert history(rig, card)[0]["actor"] == "Bob"
    # A second page of the same browser sees what was done at the first.
    other = context.new_page()
    go(other, f"{rig.url}/desk?card={card}")
    says(other, "ada has it until")
    page.get_by_label("Code", exact=True).first.fill(rig.press(card))
    page.keyboard.press("Enter")
    says(page, "Nobody has it: it can be lent.")
    says(other, "Nobody has it: it can be lent.")
    context.close()


def test_undo_at_the_page_and_what_it_cannot_undo(rig, desk):
    card = rig.new_card(in_service=True)
    know(rig, card, "ada")
    scan(desk, card)
    desk.get_by_label("User").fill("ada")
    desk.get_by_label("Code", exact=True).first.fill(rig.press(card))
    desk.keyboard.press("Enter")
    says(desk, "ada has it until")
    desk.get_by_role("button", name="Undo").wait_for()
    check(desk, "undo")
    desk.keyboard.press("Alt+z")
    says(desk, "as it was before")
    says(desk, "Nobody has it: it can be lent.")
    assert desk.get_by_role("button", name="Undo").count() == 0
    assert history(rig, card)[0]["act"] == "card-undone"
    desk.get_by_label("User").fill("ada")
    desk.get_by_label("Code", exact=True).first.fill(rig.press(card))
    desk.keyboard.press("Enter")
    says(desk, "ada has it until")
    headers = {"authorization": f"Bearer {rig.admin_token}"}
    path = f"{rig.server.url}/v1/cards/{card}"
    httpx.put(f"{path}/status", json={"status": "lost"}, headers=headers).raise_for_status()
    desk.get_by_role("button", name="Undo").click()
    desk.get_by_role("alert").filter(has_text="nothing to undo").wait_for()
    httpx.put(f"{path}/status", json={"status": "registered"}, headers=headers).raise_for_status()


def test_a_box_is_scanned_as_fast_as_a_scanner_types(rig, page):
    go(page, f"{rig.url}/")
    page.get_by_text("Only the cards of a box").click()
    page.get_by_label("Box", exact=True).fill("B17")
    page.get_by_label("Label", exact=True).focus()
    for serial in ("TS77000001", "]C1TS77000002", "ts77000003", "TS77000001", "4006381333931"):
        page.keyboard.type(serial)
        page.keyboard.press("Enter")
    says(page, "4006381333931 is no serial number")
    says(page, "Box B17: 3 cards, 3 of them blank.")
    page.wait_for_function("document.querySelector('.box-scan input').value === ''")
    check(page, "box")
    card = rig.new_card()
    page.get_by_label("Name", exact=True).fill("of a box")
    page.get_by_role("textbox", name="Ports").fill(rig.ports[card])
    page.get_by_role("button", name="Start").click()
    says(page, f"Card {card} is not one of the box")
    page.get_by_role("button", name="Stop after these cards").click()
    page.get_by_text("Stopped: 3 cards are missing.").first.wait_for()


def test_statistics_and_a_label_again(rig, desk):
    know(rig, rig.new_card(in_service=True), "ada")
    go(desk, f"{rig.url}/statistics")
    says(desk, "cards in service")
    says(desk, "came back late")
    check(desk, "statistics")
    go(desk, f"{rig.url}/history")
    with desk.expect_response("**/label/*.pdf") as answer:
        desk.evaluate("fetch(document.querySelector('a[href^=\"/label/\"]').href)")
    assert answer.value.status == 200


def history(rig, card):
    headers = {"authorization": f"Bearer {rig.admin_token}"}
    answer = httpx.get(f"{rig.server.url}/v1/cards/{card}/history", headers=headers)
    return answer.raise_for_status().json()["entries"]


@pytest.fixture
def terminal(rig):
    """The terminal of the same computer: who signs in there is kept."""
    path = rig.folder / "operator.json"

    def sign_in(token: str, name: str, url: str = "") -> None:
        where = url or rig.server.url
        operator.save(path, ServerCredential(where, name, Secret(token.encode())))

    yield sign_in
    operator.remove(path)


def test_a_shift_change_in_the_terminal_is_one_at_the_page(rig, browser, terminal):
    made = rig.server.add_credential("desk", "Cleo")
    card = rig.new_card(in_service=True)
    know(rig, card, "ada")
    terminal(rig.desk_token, "ann")
    context = signed_in(rig, browser)
    page = context.new_page()
    go(page, f"{rig.url}/desk?card={card}")
    says(page, "At the desk: Ann")
    terminal(made.token.reveal().decode(), "cleo")
    says(page, "At the desk: Cleo")
    page.get_by_label("User").fill("ada")
    page.get_by_label("Code", exact=True).first.fill(rig.press(card))
    page.keyboard.press("Enter")
    says(page, "ada has it until")
    assert history(rig, card)[0]["actor"] == "Cleo"
    # Revoked: it is said what to do, and whoever signs in next is it.
    headers = {"authorization": f"Bearer {rig.admin_token}"}
    revoked = httpx.delete(f"{rig.server.url}/v1/credentials/{made.id}", headers=headers)
    assert revoked.is_success
    page.reload()
    page.get_by_role("alert").filter(has_text="was revoked").wait_for()
    says(page, "tally station desk sign-in")
    says(page, "Who is at the desk?")
    terminal(rig.desk_token, "ann")
    says(page, "At the desk: Ann")
    context.close()


def test_a_desk_that_opens_while_the_server_is_away(rig, browser, terminal):
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    terminal(rig.desk_token, "ann", f"http://127.0.0.1:{port}")
    context = signed_in(rig, browser)
    page = context.new_page()
    go(page, f"{rig.url}/desk")
    page.get_by_role("heading", name="The server does not answer").wait_for()
    check(page, "away")
    with forwarding(port, rig.server.url):
        says(page, "At the desk: Ann")
        page.get_by_role("alert").wait_for(state="detached")
    context.close()


@contextmanager
def forwarding(port: int, url: str):
    """The server is there now, at a port where nothing was."""
    target = ("127.0.0.1", int(url.rsplit(":", 1)[1]))

    def carry(source, sink):
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def accept():
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(target)
                held.extend((client, server))
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=carry, args=ends, daemon=True).start()

    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", port)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)
    for one in held:
        one.close()


def test_a_flat_card_and_a_person(rig, desk):
    card = rig.new_card(in_service=True)
    know(rig, card, "henry")
    scan(desk, card)
    desk.get_by_label("User").first.fill("hery")
    desk.get_by_label("Code", exact=True).first.fill(rig.press(card))
    desk.keyboard.press("Enter")
    desk.get_by_role("alert").filter(has_text="Did you mean henry?").wait_for()
    desk.get_by_label("User").first.fill("henry")
    desk.get_by_role("button", name="Tomorrow").click()
    desk.get_by_label("Code", exact=True).first.fill(rig.press(card))
    desk.keyboard.press("Enter")
    says(desk, "has it until")
    check(desk, "lent")
    desk.get_by_text("It gives no code: flat or broken").click()
    desk.get_by_label("Why it gives no code").last.fill("flat")
    desk.get_by_role("button", name="Take it back without a code").click()
    says(desk, "Nobody has it: it can be lent.")
    desk.get_by_text("More", exact=True).click()
    desk.get_by_label("Why it gives no code").last.fill("flat")
    retire = desk.get_by_role("button", name="Retire it for good")
    retire.click()
    desk.get_by_role("alert").filter(has_text="was not confirmed").wait_for()
    check(desk, "retire")
    desk.get_by_role("checkbox", name=f"Card {card} can never be used again").click()
    retire.click()
    says(desk, "It was retired")
    desk.get_by_label("Find", exact=True).fill("enr")
    desk.get_by_role("link", name="henry").first.click()
    desk.wait_for_url("**/desk?person=henry")
    says(desk, "All cards so far")
    says(desk, "without a code: flat")
    check(desk, "person")


def know(rig: Rig, serial: str, login: str, *, keeps_it: bool = False) -> None:
    """Have the server know a person: who is assigned a card is."""
    token = rig.admin_token
    headers = {"authorization": f"Bearer {token}"}
    url = f"{rig.server.url}/v1/cards/{serial}/assignment"
    httpx.put(url, json={"user": login, "new_user": True}, headers=headers).raise_for_status()
    if not keeps_it:
        httpx.delete(url, headers=headers).raise_for_status()
