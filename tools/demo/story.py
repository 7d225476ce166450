"""The steps of the demo. Every part is the real one, started by the command that a user would
type.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from tallystick.common import console
from tallystick.common.closing import Closing
from tallystick.common.errors import TallyError
from tallystick.emulator.boards import find
from tallystick.emulator.boards.board import card_board
from tallystick.emulator.seeing.card_picture import draw
from tallystick.emulator.seeing.frames import MEMORY_LCD, OLED, Frame
from tallystick.emulator.seeing.reading import read_code

SERIAL = "TS00000001"


class DemoError(TallyError):
    """A step of the demo did not do what it should."""


class Story(Closing):
    """`facts` collects what demo.json holds. Everything is kept under `folder`."""

    def __init__(self, folder: Path, board: str, user: str, *, quiet: bool) -> None:
        self.facts: dict[str, Any] = {"board": board, "serial": SERIAL, "user": user}
        self._folder = folder
        self._board = card_board(find(board))
        self._user = user
        self._console = console.err()
        self._quiet = quiet
        self._children: list[subprocess.Popen[str]] = []
        # A passphrase for this run only: the key file protects nothing but an emulated card.
        self._environment = {
            **os.environ,
            "TALLY_STATION_KEYS": str(folder / "station.keys"),
            "TALLY_STATION_JOURNAL": str(folder / "station.journal"),
            "TALLY_SERVER_KEY_FILE": str(folder / "server.keys"),
            "TALLY_STATION_PASSPHRASE": secrets.token_hex(16),
        }
        self._database = f"sqlite:///{folder / 'server.db'}"
        self._server = self._control = self._port = self._token = ""

    def close(self) -> None:
        for child in reversed(self._children):
            child.terminate()
        for child in self._children:
            child.wait(10)

    # -- the steps -----------------------------------------------------------------------------

    def build_image(self) -> None:
        self._say("Build the card's firmware image")
        out = self._folder / "image"
        self._tally(
            "image",
            "build",
            "--device",
            "card",
            "--board",
            self._board.name,
            "--out",
            str(out),
            "--json",
        )
        image = out / "card.bin"
        self.facts["image_sha256"] = hashlib.sha256(image.read_bytes()).hexdigest()
        self._note(f"{image.stat().st_size:,} bytes, sha256 {self.facts['image_sha256'][:16]}…")

    def power_the_card(self) -> None:
        self._say("Power an emulated card that boots that image on MicroPython")
        image = self._folder / "image" / "card.bin"
        started = self._start(
            "emulate",
            "card",
            "--image",
            str(image),
            "--serial",
            SERIAL,
            "--pty",
            "--control",
            "0",
            "--json",
        )
        self._port, self._control = started["port"], started["control"]
        self.facts["port"] = self._port
        self._note(f"serial port {self._port}, control {self._control}")

    def start_the_server(self) -> None:
        """With its credentials and a person. Raises DemoError when it does not start."""
        self._say("Start the server")
        station = self._tally(
            "server",
            "credential",
            "add",
            "--role",
            "station",
            "demo-station",
            "--db",
            self._database,
            "--json",
        )
        service = self._tally(
            "server",
            "credential",
            "add",
            "--role",
            "service",
            "demo-portal",
            "--db",
            self._database,
            "--json",
        )
        (self._folder / "station.json").write_text(json.dumps(station), encoding="utf-8")
        self._token = service["token"]
        self._tally("server", "person", "add", self._user, "--db", self._database, "--json")
        child = self._spawn("server", "run", "--db", self._database, "--port", "0")
        assert child.stdout is not None
        self._server = child.stdout.readline().strip()
        if not self._server.startswith("http"):
            raise DemoError(f"The server did not start: {self._server}")
        self._note(self._server)

    def prepare_the_station(self) -> None:
        self._say("Give the station its keys and the server's credential")
        keys = self._tally("station", "keys", "create", "--development", "--json")
        self._tally(
            "station", "enroll", "--server", self._server,
            "--credential", str(self._folder / "station.json"), "--json",
        )  # fmt: skip
        (self._folder / "station.json").unlink()
        self._note(", ".join(f"{key['name']} set {key['version']}" for key in keys["keys"]))

    def provision(self) -> None:
        self._say("Provision the card: secure channel, keys, seed, two codes, registration, lock")
        result = self._tally(
            "station", "provision", "--port", self._port, "--user", self._user, "--json"
        )
        self.facts.update(
            key_version=result["key_version"],
            wire_bytes=result["wire_bytes"],
            apdus=result["apdus"],
            provision_ms=result["elapsed_ms"],
        )
        self._note(
            f"{result['apdus']} commands, {result['wire_bytes']} bytes, {result['elapsed_ms']} ms"
        )

    def press_and_log_in(self) -> None:
        """Once, and once more with the same code. Raises DemoError when no code can be read."""
        self._say("Press the button, read the code from the pixels, log in")
        self._post("/button", {"action": "press", "ms": 150})
        frame = self._frame()
        code = read_code(frame)
        self._picture(frame)
        if code is None:
            raise DemoError(
                "No code could be read from the display.", todo=f"See {self.facts['picture']}."
            )
        first, second = self._verify(code), self._verify(code)
        self.facts.update(code=code, accepted=first["accepted"], second_time=second["reason"])
        self._note(f"code {code}: {first['reason']}; the same code again: {second['reason']}")

    # -- how -----------------------------------------------------------------------------------

    def _verify(self, code: str) -> dict[str, Any]:
        answer = httpx.post(
            f"{self._server}/v1/verify",
            json={"user": self._user, "code": code},
            headers={"Authorization": f"Bearer {self._token}"},
        )
        result: dict[str, Any] = answer.raise_for_status().json()
        return result

    def _post(self, path: str, body: dict[str, Any]) -> None:
        httpx.post(self._control + path, json=body, timeout=30).raise_for_status()

    def _frame(self) -> Frame:
        shown = httpx.get(f"{self._control}/display", params={"format": "json"}).json()
        pixels = "".join(shown["rows"]).replace(".", "\0").replace("#", "\1")
        return Frame(shown["width"], shown["height"], pixels.encode())

    def _picture(self, frame: Frame) -> None:
        path = self._folder / "card.png"
        palette = MEMORY_LCD if self._board.display == "memory_lcd" else OLED
        path.write_bytes(draw(frame, palette, SERIAL))
        self.facts["picture"] = str(path)
        if not self._quiet and self._console.is_terminal:
            self._console.print(frame.ansi(), markup=False)

    def _command(self, *words: str) -> list[str]:
        if not self._quiet:
            shown = " ".join(word for word in words if word != "--json")
            self._console.print(f"  [dim]$ tally {shown}[/]")
        return [sys.executable, "-m", "tallystick.cli", *words]

    def _tally(self, *words: str) -> dict[str, Any]:
        done = subprocess.run(
            self._command(*words),
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            encoding="utf-8",
        )
        if done.returncode:
            raise DemoError(
                f"`tally {words[0]} {words[1]}` failed: {(done.stderr or done.stdout).strip()}",
                kept=f"Everything of this run is in {self._folder}.",
            )
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def _spawn(self, *words: str) -> subprocess.Popen[str]:
        log = (self._folder / f"{words[0]}.log").open("w", encoding="utf-8")
        with log:
            child = subprocess.Popen(
                self._command(*words),
                env=self._environment, stdout=subprocess.PIPE, stderr=log, encoding="utf-8",
            )  # fmt: skip
        self._children.append(child)
        return child

    def _start(self, *words: str) -> dict[str, Any]:
        """A command that prints one JSON object and goes on running."""
        child = self._spawn(*words)
        assert child.stdout is not None
        text = ""
        for line in child.stdout:
            text += line
            if line.startswith("}"):
                result: dict[str, Any] = json.loads(text)
                return result
        raise DemoError(f"`tally {words[0]}` ended before it was ready: {text.strip()}")

    def _say(self, text: str) -> None:
        if not self._quiet:
            self._console.print(f"[bold]{text}[/]")

    def _note(self, text: str) -> None:
        if not self._quiet:
            self._console.print(f"  [green]✓[/] {text}")
