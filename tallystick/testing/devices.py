"""Makes what the fixtures give, and keeps what is left of a failure."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tallystick.common.identity import Identity
from tallystick.emulator import boards
from tallystick.emulator.boards.board import card_board
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.image import Image
from tallystick.emulator.devices.project import Project
from tallystick.emulator.instruments.apdu_log import ApduLog
from tallystick.emulator.instruments.current_csv import CurrentCsv
from tallystick.emulator.instruments.vcd import Vcd
from tallystick.emulator.parts.soldered.oled import Oled
from tallystick.provisioning.card.issuer import IssuerSession
from tallystick.testing.cards import CardOnChip, CardUnderTest, EmulatedCard, RealCard
from tallystick.testing.debugging import PLAIN, DebuggedTest, debugger_of
from tallystick.testing.golden import Golden, safe
from tallystick.testing.hands import hands_of, own_hands_of
from tallystick.testing.real_board import RealBoard
from tallystick.tools.fresh import image as build_image
from tallystick.tools.image.folder import of_project
from tallystick.tools.second_opinion.chips import make
from tallystick.tools.second_opinion.firmware import load_firmware
from tallystick.tools.second_opinion.scenario import entropy

_EMULATED = ("emulator", "resident")
_SERIAL = "serial:"
_CHIP = "chip:"
_PRINTED = 20  # lines of what firmware printed, in a report


def image_for(path: Path | None, firmware: Path | None, board: str | None) -> Image:
    """The image named, or one of the firmware in a folder, or the card's own for the board."""
    if path is not None:
        return Image.load(path, board)
    if firmware is not None:
        return of_project(Project.find(firmware, board))
    return build_image(board or boards.DEFAULT)


def check_board(name: str | None) -> None:
    """Raises pytest.UsageError for a board that no card is made of."""
    if name is not None and name not in boards.card_board_names():
        what = f"is a {boards.ALL[name].device}'s board" if name in boards.ALL else "is no board"
        raise pytest.UsageError(
            f"--tally-board={name} {what}: use one of {', '.join(boards.card_board_names())}."
        )


def display_errors(card: Card) -> list[str]:
    """Of every display that is on the board."""
    glasses = [part.glass for part in card.fittings.parts if isinstance(part, Oled)]
    return card.display.errors + [
        error for glass in glasses if glass is not card.display for error in glass.errors
    ]


class DevicesUnderTest:
    """One for each test that asks for a card."""

    def __init__(self, request: pytest.FixtureRequest, folder: Path) -> None:
        config = request.config
        self._request = request
        self._traces = folder if config.getoption("--tally-trace") else None
        self._artefacts: Path = config.rootpath / config.getoption("--tally-artefacts")
        self._backend: str = config.getoption("--tally-backend")
        self._hands: str = config.getoption("--tally-hands")
        self._cards: list[EmulatedCard] = []
        self._numbers = itertools.count(1)
        self._closing: Callable[[], object] | None = None
        self._debugged: DebuggedTest | None = None
        node = request.node
        self._golden = Golden(
            node.nodeid.split("::", 1)[-1], Path(node.path).parent, self._artefacts,
            accept=config.getoption("--golden"),
            pictures=config.getoption("--golden-pictures"),
        )  # fmt: skip
        if self._backend not in _EMULATED and not self._backend.startswith((_SERIAL, _CHIP)):
            raise pytest.UsageError(
                f"--tally-backend={self._backend}: use emulator, resident or serial:DEV, or "
                "chip:MICROPYTHON."
            )

    def card(self) -> CardUnderTest:
        if self._backend.startswith(_SERIAL):
            return self._real_card()
        if self._backend.startswith(_CHIP):
            return self._card_on_chip()
        return self._emulated_card()

    def fleet(self, count: int) -> list[EmulatedCard]:
        if self._backend not in _EMULATED:
            pytest.skip("a fleet is emulated: --tally-backend=emulator")
        return [self._emulated_card() for _ in range(count)]

    def _emulated_card(self) -> EmulatedCard:
        image: Image = self._request.getfixturevalue("tally_image")
        if self._cards:  # one is debugged
            image = self._request.config.stash.get(PLAIN, image)
        serial = f"TS{next(self._numbers):08}"
        firmware: Path | None = self._request.config.getoption("--tally-firmware")
        if firmware is not None:
            device = Card(image, seed=1, fittings=self._project(firmware).fittings())
        else:
            who = Identity.derive(serial, 20260101).encode()
            device = Card(image, identity=who, seed=1)
        if self._traces is not None:
            device.attach(Vcd(self._traces / f"{serial}.vcd", device.board))
            device.attach(CurrentCsv(self._traces / f"{serial}-current.csv", device.board))
            device.attach(ApduLog(self._traces / f"{serial}-apdu.log"))
        card = EmulatedCard(device, serial, self._golden)
        self._cards.append(card)
        if len(self._cards) == 1:
            self._debugged = debugger_of(self._request.config, device, self._request.node)
        elif self._debugged is not None:
            self._debugged.also(device)
        device.power_on()
        return card

    def _project(self, firmware: Path) -> Project:
        return Project.find(firmware, self._request.config.getoption("--tally-board"))

    def _real_card(self) -> CardUnderTest:
        config = self._request.config
        if config.getoption("--tally-firmware") is not None:
            return self._real_board(config)
        hands = hands_of(self._hands, config)
        self._closing = getattr(hands, "close", None)
        card = RealCard(self._backend.removeprefix(_SERIAL), hands, self._golden)
        with card.docked() as connection:
            card.serial = IssuerSession(connection).serial()
        return card

    def _real_board(self, config: pytest.Config) -> RealBoard:
        hands = own_hands_of(self._hands, config)
        board = RealBoard(self._backend.removeprefix(_SERIAL), hands, self._golden)
        ends = [board.close, getattr(hands, "close", None)]
        self._closing = lambda: [end() for end in ends if end is not None]
        return board

    def _card_on_chip(self) -> CardOnChip:
        """The card's image on an emulated chip, under the MicroPython that was named."""
        firmware: Path | None = self._request.config.getoption("--tally-firmware")
        if firmware is not None and not self._project(firmware).fittings().kit:
            pytest.skip("parts of board.toml are nothing that an instruction-level chip can do: "
                        "--tally-backend=emulator")  # fmt: skip
        image: Image = self._request.getfixturevalue("tally_image")
        board = card_board(image.board)
        loaded = load_firmware(Path(self._backend.removeprefix(_CHIP)), board)
        serial = f"TS{next(self._numbers):08}"
        with Card(image, identity=Identity.derive(serial, 20260101).encode(), seed=1) as whole:
            palette = whole.palette
            first = max(address + len(data) for address, data in loaded.segments)
            held = bytes(whole.flash.memory[first : board.storage.end])
        chip = make(
            board, [*loaded.segments, (first, held)],
            entropy=entropy(serial), symbols=loaded.symbols,
        )  # fmt: skip
        card = CardOnChip(chip, palette, serial, self._golden)
        card.insert_cell()
        return card

    # -- the end -------------------------------------------------------------------------------

    def keep(self, test: str) -> str:
        """Moves what tells of a failure to the artefacts; returns words for the report."""
        folder = self._artefacts / safe(test.split("::", 1)[-1])
        lines = []
        for card in self._cards:
            folder.mkdir(parents=True, exist_ok=True)
            device = card.device
            (folder / f"{card.serial}.png").write_bytes(device.frame().png(palette=device.palette))
            lines.append(
                f"card {card.serial}: {device.mcu.state}, {device.clock.now / 1e6:.3f} s, "
                f"{device.mcu.boots} starts, {device.flash.operations} flash operations"
            )
            if device.console:
                lines += [f"it printed: {line}" for line in device.console.splitlines()[-_PRINTED:]]
            if self._traces is not None:
                (folder / f"{card.serial}-events.jsonl").write_text(
                    device.trace.json_lines(), encoding="utf-8"
                )
        if lines:
            lines.append(f"kept in {folder}" + ("" if self._traces else " (more: --tally-trace)"))
        self._close_cards()
        if self._traces is not None:
            for file in self._traces.glob("TS*"):
                shutil.copy(file, folder / file.name)
        return "\n".join(lines)

    def faults(self) -> list[str]:
        """What was done to a display that its data sheet does not allow, a sentence each."""
        return [
            f"card {card.serial}, display: {error}"
            for card in self._cards
            for error in dict.fromkeys(display_errors(card.device))
        ]

    def ended(self, why: str) -> None:
        """The test has. Does not return in a process that does it again, to debug it."""
        if self._debugged is not None:
            self._debugged.over(why)

    def offer(self, why: str) -> None:
        """To whoever debugs, what has failed."""
        if self._debugged is None:
            return
        config = self._request.config
        capture = config.pluginmanager.getplugin("capturemanager")
        reporter = config.pluginmanager.getplugin("terminalreporter")
        assert capture is not None and reporter is not None

        def say(words: str) -> None:
            reporter.write_line(words)
            reporter.flush()

        config.hook.pytest_enter_pdb(config=config, pdb=None)  # no time-out meanwhile
        with capture.global_and_fixture_disabled():
            say(f"\n{self._request.node.nodeid} failed. {why}")
            self._debugged.offer(why, config.getoption("--tally-debug"), say)

    def close(self) -> None:
        if self._debugged is not None:
            self._debugged.close()
        self._close_cards()
        if self._closing is not None:
            self._closing()

    def _close_cards(self) -> None:
        for card in self._cards:
            card.device.close()
        self._cards.clear()
