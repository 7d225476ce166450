"""Builds a firmware again when its sources change, and starts it with the flash as it was."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from tallystick.common.errors import BadInputError, TallyError
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.image import Image
from tallystick.emulator.devices.project import Project
from tallystick.tools.image.folder import of_project, with_files_of

_LOOK_S = 0.2
Stamps = dict[Path, tuple[int, int]]


def restart(card: Card, image: Image) -> None:
    """The card starts with this image. Files that its firmware wrote stay, as does the rest of its
    flash. Raises BadInputError, before anything was done, and FirmwareCrashError."""
    image = with_files_of(image, bytes(card.flash.memory), card.image)
    card.power_off()
    card.mcu.console.source_lines = image.lines
    for address, data in image.segments:
        card.flash.load(address, data)
    card.image = image
    card.power_on()


class Watcher:
    """Looks at the sources from a thread of its own, from `start` to `stop`. on_change: is given a
    new image, or what is wrong with the sources, which leaves the old one at work. seen: the
    `stamps` of before the first image was built, so that no change is missed since."""

    def __init__(
        self, project: Project, on_change: Callable[[Image | TallyError], None], seen: Stamps
    ) -> None:
        self._project = project
        self._on_change = on_change
        self._stop = threading.Event()
        self._seen = seen
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_S):
            self.look()

    def look(self) -> None:
        """Builds when something is not what it was at the last look."""
        now, before = stamps(self._project), self._seen
        if now == before:
            return
        self._seen = now
        wiring = set(self._project.wiring())
        if any(now.get(path) != before.get(path) for path in wiring):
            self._on_change(_other_parts(self._project))
        if {path: one for path, one in now.items() if path not in wiring} == {
            path: one for path, one in before.items() if path not in wiring
        }:
            return
        try:
            found: Image | TallyError = of_project(self._project)
        except TallyError as error:
            found = error
        self._on_change(found)


def _other_parts(project: Project) -> TallyError:
    """What is told when board.toml, or a part's file, is another."""
    return BadInputError(
        "What is soldered to the board has changed on paper only: "
        f"{', '.join(path.name for path in project.wiring())}.",
        kept="The firmware goes on, with the parts that it was started with.",
        todo="Start the emulator again; with --flash FILE it keeps its flash.",
    )


def stamps(project: Project) -> Stamps:
    """When each file was written, and how large it is. A file that goes meanwhile is gone."""
    found: Stamps = {}
    for path in project.files():
        try:
            stat = path.stat()
        except OSError:
            continue
        found[path] = (stat.st_mtime_ns, stat.st_size)
    return found
