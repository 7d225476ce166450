"""Back to an instant of a firm: its story until then, every card as it was with what was last on
its glass, the server's pages by the clock of that instant, and its database to look at."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tallystick.common.errors import BadInputError
from tallystick.emulator.devices.image import Image
from tallystick.server.accounts import firms, passwords, people
from tallystick.server.accounts.policy import PersonRole
from tallystick.server.serving.running import listen, serve, url_of
from tallystick.server.store.opened import opened
from tallystick.tools.campaign.firm import zoo
from tallystick.tools.campaign.firm.ground import FirmChance, FirmClock, House, house_settings
from tallystick.tools.campaign.firm.portal import PASSWORD, PortalBrowser, Telephone
from tallystick.tools.campaign.firm.run import FirmResult, simulate
from tallystick.tools.campaign.firm.script import DAY_S
from tallystick.tools.campaign.firm.story import FirmLine
from tallystick.tools.campaign.firm.world import START, FirmWorld, moment

STORY, PEOPLE, README, PAGES = "story.txt", "people.json", "README.txt", "pages"
ONLOOKER = "onlooker"  # of the served copy: an administrator
_MOMENT = re.compile(r"(?:day )?(\d{1,4}),? (\d{1,2}):(\d\d)(?::(\d\d))?")
_STEP_S = 30


def seconds_of(text: str) -> int:
    """`day 3, 09:14` in seconds since the first midnight: the end of that minute, or of that second
    where there are some. Raises BadInputError."""
    found = _MOMENT.fullmatch(text.strip())
    day, hour, minute, second = found.groups() if found else ("0", "24", "0", None)
    if int(hour) > 23 or int(minute) > 59 or int(second or 0) > 59:
        raise BadInputError(
            f"{text!r} is no instant of a firm.",
            todo="Write it as a story does: 'day 3, 09:14', or 'day 3, 09:14:30'.",
        )
    at = int(day) * DAY_S + int(hour) * 3600 + int(minute) * 60
    return at + (59 if second is None else int(second))


@dataclass(frozen=True)
class FirmInstant:
    """Where a replay has stopped. at: seconds since 1970, by the server's clock. folder: of the
    files."""

    line: str
    at: float
    result: FirmResult
    folder: Path

    def as_dict(self) -> dict[str, Any]:
        """For a program."""
        return {
            "line": self.line,
            "at": self.at,
            "told": [str(one) for one in self.result.told],
            "found": self.result.violations,
            "counts": asdict(self.result.counts),
            "digest": self.result.digest,
            "folder": str(self.folder),
        }


def go(
    text: str, image: Image, folder: Path, *, until: str | None = None, planted: str | None = None
) -> FirmInstant:
    """Plays the line until that instant, or to its violation, or to its end, and leaves everything
    in the folder. planted: a bug of the zoo that is in it. Raises BadInputError."""
    line = FirmLine.parse(text)
    acts = line.script
    last = None if until is None else seconds_of(until)
    broken = _broken(planted, image)
    _make_room(folder)
    stopped: list[float] = []

    def look(world: FirmWorld) -> None:
        stopped.append(world.clock.server())
        _write(world, text, folder, _again(text, until, planted))

    with broken as tested:
        result = simulate(line.firm, acts, image=tested, keep=folder, until=last, look=look)
    return FirmInstant(text, stopped[0], result, folder)


def serve_pages(instant: FirmInstant, port: int, tell: Callable[[str], None]) -> None:
    """The portal and the API as they were, from a copy, by a clock that stands still, until
    interrupted. Mails are not sent and nothing is cleaned up meanwhile. tell: is given the words
    for whoever looks. Raises BadInputError."""
    folder = instant.folder / PAGES
    folder.mkdir(exist_ok=True)
    for name in ("server.db", "server.keys"):
        (folder / name).touch(mode=0o600)
        shutil.copyfile(instant.folder / name, folder / name)
    settings = house_settings(folder, lambda: instant.at)
    code = _let_look(folder, instant.at)
    sock = listen("127.0.0.1", port)
    url = url_of(sock)
    tell(f"{url}/p/default/  sign in as {ONLOOKER}, with '{PASSWORD}' and the code {code}")
    serve(replace(settings, public_url=url), sock)


def _let_look(folder: Path, at: float) -> str:
    """An administrator more, who enrols a telephone through the pages. → the code to sign in"""
    settings = house_settings(folder, lambda: at)
    with opened(settings) as parts, parts.database.write() as connection:
        firm_id = firms.by_name(connection, "default").id
        number = people.add(
            connection, firm_id=firm_id, login=ONLOOKER, role=PersonRole.ADMINISTRATOR, email=None,
            now=at,
        )  # fmt: skip
        passwords.store(connection, number, passwords.hash_new(PASSWORD), at)
    house = House(folder, FirmClock(at), FirmChance(0))
    with closing(house), closing(PortalBrowser(house, "127.0.0.1")) as browser:
        browser.log_in_alone(ONLOOKER, PASSWORD)
        phone = browser.enrol_telephone(at)
    if phone is None:
        raise BadInputError(
            "The pages of that instant let nobody in to look.",
            kept=f"The files are in {folder.parent}.",
            todo="Look at the database, or go to an instant at which its disk is well.",
        )
    return phone.code(at + _STEP_S)


def _broken(planted: str | None, image: Image) -> AbstractContextManager[Image]:
    if planted is None:
        return nullcontext(image)
    try:
        return zoo.planted(zoo.find(planted), image)
    except StopIteration:
        raise BadInputError(
            f"No bug called {planted!r} is planted in the firm's zoo.",
            todo=f"There are: {', '.join(one.name for one in zoo.ALL)}.",
        ) from None


def _make_room(folder: Path) -> None:
    """What an earlier replay left there goes. Raises BadInputError for a folder of others."""
    there = list(folder.iterdir()) if folder.is_dir() else []
    if there and folder / STORY not in there:
        raise BadInputError(
            f"{folder} holds files that are no replay's.",
            kept="None of them was touched.",
            todo="Name another folder with --keep.",
        )
    for one in there:
        if one.is_file():
            one.unlink()
    folder.mkdir(parents=True, exist_ok=True)


def _again(line: str, until: str | None, planted: str | None) -> str:
    """What brings one back here."""
    at = "" if until is None else f" --at '{until}'"
    bug = "" if planted is None else f" --zoo {planted}"
    return f"tally campaign replay '{line}'{at}{bug}"


def _write(world: FirmWorld, line: str, folder: Path, again: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    story = "".join(f"{one}\n" for one in world.told)
    (folder / STORY).write_text(story, encoding="utf-8")
    for pocket in world.pockets:
        if pocket.lit is not None:
            (folder / f"{pocket.serial}.png").write_bytes(pocket.lit.png())
    now = world.clock.server()
    people = [
        {
            "login": one.login,
            "card": one.pocket.serial if one.pocket is not None else None,
            "password": one.password,
            "code": _code(one.phone, now),
        }
        for one in (*world.staff, *(one for one in world.people if one.phone is not None))
    ]
    (folder / PEOPLE).write_text(json.dumps(people, indent=1), encoding="utf-8")
    (folder / README).write_text(_readme(world, line, folder, again), encoding="utf-8")


def _code(phone: Telephone | None, now: float) -> str | None:
    """Of the step after this one: that of now may have been used."""
    return None if phone is None else phone.code(now + _STEP_S)


def _readme(world: FirmWorld, line: str, folder: Path, again: str) -> str:
    return f"""{line}
{moment(world.at)} (by the server's clock {world.clock.server() - START - world.at:+.0f} s)

{STORY}
    what has happened until then
SERIAL.png
    what was last on a card's glass
tally emulate card --flash {folder}/SERIAL.flash --panel
    a card as it was, on a page: press it, dock it
{again} --keep {folder} --serve 0
    the server's pages as they were, by a clock that stands still: it tells how to sign in as an
    administrator of the copy that is served. {PEOPLE} has who else signs in with what
sqlite3 {folder}/server.db
    the server's database; station-0.journal and station-1.journal are the stations'
"""
