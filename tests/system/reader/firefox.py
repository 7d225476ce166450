"""A real Firefox, driven by its own remote protocol, Marionette: `LENGTH:JSON` over TCP."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.system.reader.emulated import TIMEOUT_S

_PREFERENCES = {
    "marionette.port": 0,  # any; it is told in a file
    "datareporting.policy.dataSubmissionEnabled": False,
    "app.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
}
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # WebDriver, 12.1
ENTER = "\ue007"  # 17.4.2


class Firefox:
    """One page. Selectors are XPath."""

    def __init__(self, port: int, base: str) -> None:
        self._base = base
        self._socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self._input = self._socket.makefile("rb")
        self._number = 0
        self._receive()  # the greeting
        self._do("WebDriver:NewSession", {"capabilities": {"alwaysMatch": {}}})
        self._do("WebDriver:SetTimeouts", {"implicit": 20_000})

    def _receive(self) -> Any:
        size = b""
        while not size.endswith(b":"):
            got = self._input.read(1)
            assert got, "Firefox has ended"
            size += got
        return json.loads(self._input.read(int(size[:-1])))

    def _do(self, command: str, parameters: dict[str, Any]) -> Any:
        self._number += 1
        message = json.dumps([0, self._number, command, parameters]).encode()
        self._socket.sendall(b"%d:%s" % (len(message), message))
        _, number, error, result = self._receive()
        assert number == self._number and error is None, error
        return result

    def go(self, path: str) -> None:
        self._do("WebDriver:Navigate", {"url": self._base + path})

    def _find(self, selector: str) -> str:
        found = self._do("WebDriver:FindElement", {"using": "xpath", "value": selector})
        element: str = found["value"][_ELEMENT]
        return element

    def wait_for(self, text: str) -> None:
        self._find(f"//*[contains(text(), '{text}')]")

    def fill(self, label: str, text: str) -> None:
        element = self._find(f"//input[@id=//label[contains(., '{label}')]/@for]")
        self._do("WebDriver:ElementSendKeys", {"id": element, "text": text})

    def press(self, name: str) -> None:
        """A link or a button."""
        self._click(f"//a[contains(., '{name}')] | //button[contains(., '{name}')]")

    def answer(self, question: str, *, allow: bool) -> None:
        """Firefox' own question, `webauthn-prompt-QUESTION`."""
        asked = f"@id='webauthn-prompt-{question}-notification'"
        button = f"popup-notification-{'primary' if allow else 'secondary'}-button"
        self._do("Marionette:SetContext", {"value": "chrome"})
        self._click(f"//*[{asked}]//*[contains(@class, '{button}')]")
        self._do("Marionette:SetContext", {"value": "content"})

    def _click(self, selector: str) -> None:
        """By a script: a headless Firefox draws no panels, and drops what is pressed on a page that
        is not drawn yet."""
        found = {_ELEMENT: self._find(selector)}
        self._do("WebDriver:ExecuteScript", {"script": "arguments[0].click()", "args": [found]})

    def has(self, text: str) -> bool:
        """Now."""
        source: str = self._do("WebDriver:GetPageSource", {})["value"]
        return text in source

    def close(self) -> None:
        self._input.close()
        self._socket.close()


@contextmanager
def firefox(folder: Path, base: str, environment: dict[str, str]) -> Iterator[Firefox]:
    """folder: an empty one, for its profile. base: address of what it visits."""
    profile = folder / "profile"
    profile.mkdir()
    lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});\n" for k, v in _PREFERENCES.items()]
    (profile / "user.js").write_text("".join(lines))
    process = subprocess.Popen(
        [
            "firefox-esr", "--headless", "--no-remote", "--profile", str(profile),
            "--marionette", "--remote-allow-system-access",  # and its own window
        ],
        env={**environment, "HOME": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        with closing(Firefox(_port(profile, process), base)) as page:
            yield page
    finally:
        process.terminate()
        process.wait(TIMEOUT_S)


def _port(profile: Path, process: subprocess.Popen[bytes]) -> int:
    told, deadline = profile / "MarionetteActivePort", time.monotonic() + TIMEOUT_S
    while not (told.is_file() and told.read_text().strip()):
        assert process.poll() is None and time.monotonic() < deadline, "Firefox did not start"
        time.sleep(0.1)
    return int(told.read_text())
