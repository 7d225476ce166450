"""The pytest plugin. Loaded in every pytest run where tallystick is installed, so it imports what a
fixture needs only when the fixture is asked for."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tallystick.emulator.devices.image import Image
    from tallystick.server.serving.running import RunningServer
    from tallystick.testing.cards import CardUnderTest, EmulatedCard
    from tallystick.testing.devices import DevicesUnderTest
    from tallystick.testing.station import StationUnderTest

_DEVICES = pytest.StashKey["DevicesUnderTest"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tallystick")
    add = group.addoption
    add(
        "--tally-backend", default="emulator",
        metavar="emulator|resident|serial:DEV|chip:MICROPYTHON",
        help="What the fixtures `card` and `station` work with (default: emulator, a process for "
        "each card; resident: firmware inside pytest's process, for speed; chip: a chip emulated "
        "instruction by instruction, under the MicroPython in this file).",
    )  # fmt: skip
    add(
        "--tally-hands", default="ask", metavar="ask|URL|FILE:CLASS",
        help="Who presses and reads a real board: whoever is at the terminal, a control URL, or a "
        "class of your own (tallystick.testing.hands).",
    )  # fmt: skip
    add("--tally-board", default=None, help="Board to emulate (default: the reference board).")
    add("--tally-image", type=Path, default=None, help="Image to boot (default: build the card's).")
    add(
        "--tally-firmware", type=Path, default=None, metavar="DIR",
        help="Build the image from this folder's main.py and modules instead.",
    )  # fmt: skip
    add(
        "--tally-loop-limit", type=float, default=60.0, metavar="SECONDS",
        help="End a firmware that works for so long without touching hardware (default: 60).",
    )  # fmt: skip
    add(
        "--tally-debug", type=int, nargs="?", const=0, default=None, metavar="PORT",
        help="A test that fails with --tally-firmware stands still, and a debug adapter on "
        "127.0.0.1 shows the firmware there, and goes back (default: a free port).",
    )  # fmt: skip
    add("--golden", action="store_true", help="Accept the screens as they are now.")
    add(
        "--golden-pictures", action="store_true",
        help="Keep accepted screens also as pictures, in `golden/` beside golden.json, for git: a "
        "failure elsewhere then shows what was accepted.",
    )  # fmt: skip
    add("--tally-trace", action="store_true", help="Keep waveforms, current and logs of failures.")
    add(
        "--tally-artefacts", type=Path, default=Path(".tally"), metavar="DIR",
        help="Where pictures and traces of failures go (default: .tally).",
    )  # fmt: skip
    add("--tally-sarif", type=Path, default=None, metavar="FILE",
        help="Write failures of tests marked `campaign` as SARIF.")  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "campaign: one of very many cases; its failures go to SARIF")
    sarif: Path | None = config.getoption("--tally-sarif")
    limit: float = config.getoption("--tally-loop-limit")
    if config.getoption("--tally-board") is not None:
        from tallystick.testing.devices import check_board

        check_board(config.getoption("--tally-board"))
    if config.getoption("--tally-debug") is not None:
        from tallystick.testing.debugging import check

        check(config)
    if limit != 60.0:
        from tallystick.emulator.interpreter import link

        link.SILENCE_S = limit
    if sarif is not None and not hasattr(config, "workerinput"):
        from tallystick.testing.sarif import SarifReport

        config.pluginmanager.register(SarifReport(sarif))


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, Any, Any]:
    config = session.config
    debugs = config.getoption("--tally-debug") is not None
    if config.getoption("--tally-backend") != "resident" and not debugs:
        return (yield)
    from tallystick.emulator.interpreter import resident

    with resident.enabled():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """A test that passed has fed its displays nothing that they do not take."""
    result = yield
    devices = item.stash.get(_DEVICES, None)
    faults = devices.faults() if devices is not None else []
    if faults:
        pytest.fail("\n".join(faults), pytrace=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, Any, Any]:
    devices = item.stash.get(_DEVICES, None)
    if devices is not None and call.when != "teardown" and (call.excinfo or call.when == "call"):
        devices.ended(_why(call))  # a test that was only done again goes no further
    report = yield
    if devices is not None and call.when == "call" and report.failed:
        kept = devices.keep(item.nodeid)
        report.sections += [("tallystick", kept)] if kept else []
    if devices is not None and call.when != "teardown" and report.failed:
        devices.offer(_why(call))
    return report


def _why(call: pytest.CallInfo[Any]) -> str:
    """Where a test failed, and how."""
    if call.excinfo is None:
        return "The test passed this time."
    at = call.excinfo.traceback[-1]
    return f"{at.path}:{at.lineno + 1}: {call.excinfo.exconly()}"


@pytest.fixture(scope="session")
def tally_image(request: pytest.FixtureRequest) -> Image:
    """The image that emulated cards boot."""
    from tallystick.testing.devices import image_for

    config = request.config
    firmware: Path | None = config.getoption("--tally-firmware")
    if firmware is not None and config.getoption("--tally-debug") is not None:
        from tallystick.emulator.devices.project import Project
        from tallystick.testing.debugging import debugged_image

        return debugged_image(config, Project.find(firmware, config.getoption("--tally-board")))
    return image_for(config.getoption("--tally-image"), firmware, config.getoption("--tally-board"))


@pytest.fixture
def tally_devices(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DevicesUnderTest]:
    """Makes and closes what a test holds in its hands."""
    from tallystick.testing.devices import DevicesUnderTest

    devices = DevicesUnderTest(request, tmp_path)
    request.node.stash[_DEVICES] = devices
    yield devices
    devices.close()


@pytest.fixture
def blank_card(tally_devices: DevicesUnderTest) -> CardUnderTest:
    """A powered card fresh from the factory, with development keys."""
    return tally_devices.card()


@pytest.fixture
def board(tally_devices: DevicesUnderTest) -> CardUnderTest:
    """A powered board with your own firmware (`--tally-firmware`) and the parts of its
    board.toml."""
    return tally_devices.card()


@pytest.fixture
def card(blank_card: CardUnderTest) -> CardUnderTest:
    """A card with a seed that the test knows, asleep, its moving factor 0."""
    blank_card.personalise()
    return blank_card


@pytest.fixture
def fleet(tally_devices: DevicesUnderTest) -> Callable[[int], list[EmulatedCard]]:
    """`fleet(10)`: ten factory-fresh emulated cards, serial numbers in sequence."""
    return tally_devices.fleet


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A running verification server of the session's own."""
    from tallystick.server.serving.running import running

    with running(tmp_path_factory.mktemp("server")) as running_server:
        yield running_server


@pytest.fixture
def station(server: RunningServer, tmp_path: Path) -> Iterator[StationUnderTest]:
    """A station that registers with `server`: `station.provision(card, user="ada")`."""
    from tallystick.testing.station import station_at

    with station_at(server, tmp_path) as ready:
        yield ready
