"""`python -m tests.system.pictures [NAME …]`: the pictures of the first pages, made anew.

What is on a display comes from the emulator, what is in a browser from a real Chromium. Look at
every picture before it is committed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyotp

from tallystick.emulator.devices.card import Card
from tallystick.tools import fresh
from tallystick.tools.personalise import personalise
from tests import service_pages
from tests.service_pages import chromium
from tests.system.guide import Block, Reader

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
PASSWORD = "correct horse battery"
SERVICES = (
    "tests/server/test_oidc_profile.py::test_who_is_asked_and_says_so_is_signed_out",
    "tests/server/test_services.py",
    "tests/server/test_nginx.py::test_nginx_with_auth_request_and_authlib",
    "tests/server/test_radius.py::test_password_then_challenge",
    "tests/server/test_vpns.py",
    "tests/server/test_strongswan.py",
    "tests/client/test_command.py::test_pam_exec_lets_nobody_in_without_a_right_code",
    "tests/client/test_command.py::test_a_code_is_accepted_once",
    "tests/provisioning/test_registries.py::test_a_pam_stack_with_pam_oath_takes_a_cards_codes",
    "tests/system/test_service_pages.py::test_a_service_is_registered_as_the_page_says",
)
_SCALE = 2  # pixels of a picture for one of the display


def screens() -> dict[str, bytes]:
    """Displays as PNG, by file name."""
    made = {}
    with fresh.card("nucleo_l476rg") as card:
        card.power_on()
        card.run_for(31_000)
        card.press()
        made["screen-no-seed.png"] = _glass(card)
        card.run_for(31_000)
        personalise(card)
        card.press()
        made["screen-code.png"] = _glass(card)
        card.run_for(31_000)
        card.set_cell_mv(2550)
        card.press()
        made["screen-low.png"] = _glass(card)
    return made


def _glass(card: Card) -> bytes:
    return card.frame().png(scale=_SCALE, palette=card.palette)


def panel(reader: Reader) -> None:
    said = reader.run(
        Block("tally emulate card --panel --seeded --control 8081\n", "until", "stop with")
    )
    address = next(line.split()[1] for line in said.splitlines() if line.startswith("panel:"))
    with chromium(900, 640) as page:
        page.goto(address)
        page.get_by_role("button", name="Card button").wait_for()
        page.wait_for_function("window.did_handshake")
        page.get_by_role("button", name="Card button").click()
        page.wait_for_timeout(1500)
        page.screenshot(path=IMAGES / "panel.png")


def portal(reader: Reader) -> None:
    reader.run(Block("tally server run --port 8080\n", "until", "http"))
    said = reader.run(Block("tally server person add boss --role administrator\n", "", ""))
    code = next(line.split()[-1] for line in said.splitlines() if line.startswith("code"))
    root = f"http://127.0.0.1:{reader.server}/p/default"
    with chromium(760, 520) as page:
        _first_password(page, root, "boss", code)
        page.goto(f"{root}/sign-in")
        page.screenshot(path=IMAGES / "portal-sign-in.png")
        _sign_in(page, root, "boss")
        page.screenshot(path=IMAGES / "portal-home.png")
        _enrol_app(page, root)
        page.get_by_role("button", name="Sign out").click()
        _sign_in(page, root, "boss")
        page.screenshot(path=IMAGES / "portal-code.png")


def _enrol_app(page: Any, root: str) -> None:
    page.goto(f"{root}/enrol/totp")
    page.get_by_role("button", name="Go on").click()
    page.get_by_text("I cannot scan it").click()
    totp = pyotp.TOTP(page.locator(".secret").inner_text())
    page.get_by_label("Code").fill(totp.now())
    page.get_by_role("button", name="Enrol it").click()
    page.goto(f"{root}/")


def _first_password(page: Any, root: str, login: str, code: str) -> None:
    page.goto(f"{root}/recover/help")
    page.get_by_label("Login name").fill(login)
    page.get_by_label("Code").fill(code)
    page.keyboard.press("Enter")
    for label in ("New password", "The same again"):
        page.get_by_label(label).fill(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_text("new password is set").wait_for()


def _sign_in(page: Any, root: str, login: str) -> None:
    page.goto(f"{root}/sign-in")
    page.get_by_label("Login name").fill(login)
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_load_state("networkidle")


def report(reader: Reader) -> None:
    for line in (
        "tally image build --board pico",
        "tally image inspect build/card-pico/card.uf2 --board pico --picture map.png",
    ):
        reader.run(Block(f"{line}\n", "", ""))
    shutil.copy(reader.folder / "map.png", IMAGES / "map-pico.png")
    reader.run(
        Block("tally emulate card --board pico --pty --control 8081\n", "until", "stop with")
    )
    reader.run(Block("tally selftest --port /dev/pts/3 --unattended --page r.html\n", "", ""))
    with chromium(800, 700) as page:
        page.goto(f"file://{reader.folder / 'r.html'}")
        page.screenshot(path=IMAGES / "selftest-report.png")


def services() -> None:
    """Of the tests' own runs of the programs that log people in here."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", *SERVICES]
    subprocess.run(command, check=True, env=os.environ | {service_pages.ASKED: "yes"})


def main(names: list[str]) -> None:
    if not names or "services" in names:
        services()
    if not names or "screens" in names:
        for name, png in screens().items():
            (IMAGES / name).write_bytes(png)
    making: dict[str, Callable[[Reader], None]] = {
        "panel": panel, "portal": portal, "report": report,
    }  # fmt: skip
    for name, make in making.items():
        if not names or name in names:
            with tempfile.TemporaryDirectory() as folder, Reader(Path(folder)) as reader:
                make(reader)


if __name__ == "__main__":
    main(sys.argv[1:])
