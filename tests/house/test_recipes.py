"""The promises of CONTRIBUTING.md, carried out in a copy of the sources: a second-factor method
touches at most six files, a board two. The copy's own program then uses it."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.house import sources

COPIED = (*sources.ROOMS, "firmware", "tests")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "node_modules", "*.png", "golden")


@dataclass
class Copy:
    """Sources of one's own. touched: files that are new or changed."""

    folder: Path
    touched: set[str] = field(default_factory=set)

    def write(self, path: str, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        self.touched.add(path)

    def change(self, path: str, old: str, new: str) -> None:
        text = (self.folder / path).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{path} has {old!r} {text.count(old)} times"
        self.write(path, text.replace(old, new))

    def run(self, program: str) -> str:
        """→ what a Python program prints that imports these sources and no others"""
        path = {"PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=self.folder,
            env={**os.environ, **path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    for room in COPIED:
        shutil.copytree(sources.ROOT / room, tmp_path / room, symlinks=True, ignore=LEFT_OUT)
    return Copy(tmp_path)


PAGER = '''
"""A code to a pager."""

from tallystick.server.accounts.policy import MethodKind
from tallystick.server.messages import outbox
from tallystick.server.methods.base import Form, Owner, Thing
from tallystick.server.methods.sent import SentMethod


class PagerMethod(SentMethod):
    kind = MethodKind.PAGER
    thing = Thing.TELEPHONE
    amr = ("otp",)
    title = default_label = "Pager"
    hint = "Get a code on your pager."
    channel = outbox.SMS

    def address(self, person: Owner, form: Form) -> str:
        return form.get("address", "")
'''

SIGN_IN_BY_PAGER = """
import re, tempfile
from dataclasses import replace
from pathlib import Path

from tallystick.server.accounts.policy import FirmPolicy, MethodKind
from tallystick.server.portal.policy_form import METHOD_WORDS
from tallystick.server.serving.running import running_in_thread
from tallystick.server.settings import settings_from
from tests.server.portal_driver import Browser, Portal

folder = Path(tempfile.mkdtemp(dir="."))
sink = f"file://{folder.resolve() / 'sent.jsonl'}"
settings = settings_from(f"sqlite:///{folder / 'server.db'}", folder / "server.keys")
settings = replace(settings, sms=sink, smtp=sink)
with running_in_thread(settings) as url:
    portal = Portal(url, settings, settings.clock, folder.resolve())
    portal.person("ann")
    browser = Browser(url).sign_in("ann").get("/enrol/pager")
    browser.post("/enrol/pager", address="+4740000089")
    key = re.search(r"/enrol/pager/(\\d+)/confirm", browser.page.text).group(1)
    browser.post(f"/enrol/pager/{key}/confirm", code=portal.code(1))
    assert "is enrolled" in browser.page.text, browser.page.text
    browser.get("/").post("/sign-out")
    browser.sign_in("ann").post(f"/second/pager/{key}/ask")
    assert "is on its way" in browser.page.text, browser.page.text
    browser.post(f"/second/pager/{key}", code=portal.code(2))
    assert METHOD_WORDS[MethodKind.PAGER] == "Pager"
    print(browser.heading)
    Browser.close_all()
"""


def test_one_more_method_touches_at_most_six_files(copy: Copy) -> None:
    """Enrolled and used through the pages, by somebody whose firm has the policy as it is."""
    copy.change("server/accounts/policy.py", '    CODES = "codes"\n',
                '    CODES = "codes"\n    PAGER = "pager"\n')  # fmt: skip
    copy.write("server/methods/pager.py", PAGER)
    copy.change("server/methods/__init__.py", "        CodesMethod(),\n",
                "        CodesMethod(),\n        PagerMethod(),\n")  # fmt: skip
    copy.change("server/methods/__init__.py", "from tallystick.server.methods.sent import",
                "from tallystick.server.methods.pager import PagerMethod\n"
                "from tallystick.server.methods.sent import")  # fmt: skip
    start = (copy.folder / "server/portal/templates/methods/sms/start.html").read_text()
    copy.write("server/portal/templates/methods/pager/start.html", start)
    assert copy.run(SIGN_IN_BY_PAGER).strip() == "You are signed in"
    assert len(copy.touched) <= 6, copy.touched


PRESS = """
from tallystick.tools.fresh import card
from tallystick.tools.personalise import personalise

with card("pico_blue") as device:
    device.power_on()
    device.run_for(2000)
    personalise(device)
    device.press(150)
    device.run_for(1000)
    print(device.board.name, device.read_code())
"""


def test_one_more_board_is_two_files(copy: Copy) -> None:
    """Its image is built, and a card of it is provisioned and shows RFC 4226's first code."""
    for place in ("firmware/boards", "emulator/boards"):
        text = (copy.folder / place / "pico.py").read_text(encoding="utf-8")
        copy.write(f"{place}/pico_blue.py", text.replace('"pico"', '"pico_blue"'))
    assert copy.run(PRESS).split() == ["pico_blue", "755224"]
    assert len(copy.touched) == 2
