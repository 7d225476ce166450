"""A line of eight programmers: 100 boards (500 in a whole run), cables that are pulled, processes
that are killed. In the end every board has a number of its own, and all are accounted for."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from tallystick.common.identity import Identity
from tallystick.emulator.boards import find
from tallystick.provisioning import audit
from tallystick.server.accounts.credentials import Role
from tallystick.server.serving.running import add_credential, running_in_thread
from tallystick.server.settings import settings_from
from tallystick.tools.image.build import build, write
from tallystick.tools.image.keys import SigningKey
from tallystick.tools.line import cli_tray, jobfile
from tallystick.tools.line.book import BoardState
from tests.tools.lock import fakes
from tests.whole import WHOLE

FIRM = SigningKey.of(bytes(range(32)))
MASTER = bytes(range(16))
ROOT = Path(__file__).parents[3]
# Way → (board, boards of each of its two programmers)
LINE = {
    "openocd": ("nucleo_l476rg", 6),
    "dfu-util": ("nucleo_l476rg", 6),
    "prompt": ("pico", 4),
    "drive": ("pico", 234 if WHOLE else 34),
}
BOARDS = 2 * sum(count for _, count in LINE.values())
DONE, LOST = BoardState.DONE, BoardState.LOST


@dataclass
class Place:
    """One programmer. boards: their numbers, and the files of their flash."""

    name: str
    folder: Path
    job: Path
    seed: int
    boards: list[dict[str, object]]

    def start(self) -> subprocess.Popen[bytes]:
        plan = {
            "job": str(self.job), "folder": str(self.folder), "place": self.name,
            "operator": f"ann-{self.name}", "seed": self.seed,
        }  # fmt: skip
        self.seed += 1
        with (self.folder / "output").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.tools.line.worker", json.dumps(plan)],
                cwd=ROOT, stdout=output, stderr=output,
            )  # fmt: skip

    def log(self) -> list[list[str]]:
        path = self.folder / "log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> dict[str, Path]:
    made = {}
    for board in ("nucleo_l476rg", "pico"):
        made[board] = tmp_path_factory.mktemp("image")
        write(build("card", board, "1.0.0", key=FIRM), made[board])
    return made


def job_file(folder: Path, way: str, board: str, image: Path, count: int, **more: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "master.hex").write_text(MASTER.hex())
    server = f'server = "{more.pop("server")}"\nat_once = 7\n' if "server" in more else ""
    path = folder / "job.toml"
    path.write_text(
        f'name = "batch {way}"\nboard = "{board}"\ndevice = "card"\nimage = "{image}"\n'
        f'public_key = "{FIRM.public.hex()}"\nway = "{way}"\ncount = {count}\n'
        + more.pop("top", "")
        + f'[serials]\nfirst = "{more.pop("first", "TS00000001")}"\n{server}'
        + '[segments]\nmaster_file = "master.hex"\ndate = 20261201\n'
        + more.pop("end", "")
    )
    return path


def places(tmp_path: Path, images: dict[str, Path], credentials: dict[str, Path]) -> list[Place]:
    made, number = [], 1
    for way, (board, count) in LINE.items():
        folder = tmp_path / way
        # Numbers may be lost with a cable, so the job has room for more than its boards.
        job = job_file(folder, way, board, images[board], 4 * count, server=str(credentials[way]))
        for half in range(2):
            bench = folder / f"place{half}"
            bench.mkdir()
            if way in ("openocd", "dfu-util"):
                body = fakes.OPENOCD if way == "openocd" else fakes.DFU
                fakes.write(bench, way, body)
            boards = []
            for _ in range(count):
                flash = bench / f"board{number}.bin"
                with flash.open("wb") as file:
                    file.write(b"\xff" * find(board).flash_size)
                boards.append({"number": number, "flash": str(flash)})
                number += 1
            (bench / "left").write_text(json.dumps(boards))
            made.append(Place(f"{way}-{half}", bench, job, 100 * number, boards))
    return made


def segment(place: Place, entry: dict[str, object]) -> bytes:
    board = find(jobfile.read(place.job).image.board)
    with Path(str(entry["flash"])).open("rb") as file:
        file.seek(board.identity.address)
        return file.read(134)


@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_a_line_of_boards_with_cables_pulled_and_processes_killed(tmp_path, images):
    settings = settings_from(f"sqlite:///{tmp_path / 's.db'}", tmp_path / "s.keys")
    with running_in_thread(settings) as url:
        credentials = {}
        for way in LINE:
            made = add_credential(settings, Role.STATION, way)
            told = {"url": url, "id": made.id, "token": made.token.reveal().decode()}
            credentials[way] = tmp_path / f"{way}.json"
            credentials[way].write_text(json.dumps(told))
            credentials[way].chmod(0o600)
        line = places(tmp_path, images, credentials)
        running = {place.name: place.start() for place in line}
        for place in line[::3]:  # three of them are killed in the middle
            while len(place.log()) < 3 and running[place.name].poll() is None:
                pass
            running[place.name].send_signal(signal.SIGKILL)
            running[place.name].wait()
            running[place.name] = place.start()
        for place in line:
            assert running[place.name].wait() == 0, (place.folder / "output").read_text()[-2000:]
    check_every_board(line)


def check_every_board(line: list[Place]) -> None:
    serials: Counter[str] = Counter()
    for place in line:
        for entry in place.boards:
            found = segment(place, entry)
            serial = found[5:15].decode()
            assert found == Identity.derive(serial, 20261201, MASTER).encode(), (place.name, entry)
            serials[serial] += 1
    assert len(serials) == BOARDS and max(serials.values()) == 1
    given: Counter[str] = Counter()
    done = set()
    pulled = 0
    for path in sorted({place.job for place in line}):
        job = jobfile.read(path)
        book = cli_tray.open_book(job, "auditor", "office")
        account, boards = book.account(), book.boards()
        # Each board is done; what is not is a number that went with a cable, and nobody's.
        assert account["done"] + account["lost"] == len(boards)
        pulled += account["lost"] + sum(board.tries > 1 for board in boards)
        for board in boards:
            given[board.serial] += 1
            if board.state is DONE:
                done.add(board.serial)
            else:
                assert board.state is LOST and board.serial not in serials, board
        people = {json.loads(act)["who"] for act in book.acts()}
        assert {
            f"ann-{place.name} at {place.name}" for place in line if place.job == path
        } <= people
        assert not audit.verify(book.acts()).problems
        book.close()
    assert done == set(serials)
    assert max(given.values()) == 1  # over all stations
    assert pulled > BOARDS // 10
