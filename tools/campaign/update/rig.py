"""A device in service whose power goes during an update in the field, and what is asked of it then.

The update is run once, and its flash operations are kept. A cut at one of them is a state of the
flash: what was done before it, and what the fault leaves of it. That state is put into a device,
which is started three times, looked at, asked, and updated again. `cards.py` and `readers.py` know
how each is asked.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from tallystick import faults
from tallystick.common.errors import TallyError
from tallystick.emulator.devices.device import Device
from tallystick.emulator.devices.image import Image
from tallystick.emulator.parts.nor_flash import Cut, FlashOperation, Phase
from tallystick.tools.flash.field import Running, SlotState, Update
from tallystick.tools.image.build import build, write

OLDER, OLD, NEW = "0.0.9", "0.1.0", "0.2.0"  # in the other slot, running, to be installed
_STARTS = 3  # after a cut: weak bits may read differently each time

D = TypeVar("D", bound=Device)


@dataclass
class FoundDevice:
    """recovery: flash operations of the starts after the cut."""

    problems: list[str] = field(default_factory=list)
    recovery: int = 0
    new_image: bool = False
    updated_again: bool = False


class UpdateRig(ABC, Generic[D]):
    """`operations`: the flash operations of the update, in order."""

    def __init__(self, device: str, board: str, folder: Path) -> None:
        older = write(build(device, board, OLDER), folder / "older")
        old = write(build(device, board, OLD), folder / "old")
        new = write(build(device, board, NEW, security=1), folder / "new")
        self.board = board
        self.image = Image.load(old["bin"])
        self.update = Update.parse(new["update"].read_bytes())
        self.operations: list[FlashOperation] = []
        with self.make() as made:
            self.put_into_service(made)
            self._fill_slot(made, Update.parse(older["update"].read_bytes()))
            self._begin = bytes(made.flash.memory)
            self._done, self._flash = 0, bytearray(self._begin)  # flash after so many operations
            before = made.flash.operations
            made.flash.fault_plan = self.operations.append
            self.start(made)
            self._confirmed_at = self.install(made) - before

    # -- what each device does in a way of its own -----------------------------------------------

    @abstractmethod
    def make(self) -> D:
        """One from the factory, without power."""

    @abstractmethod
    def put_into_service(self, device: D) -> None:
        """It is without power again afterwards."""

    @abstractmethod
    def start(self, device: D) -> None:
        """Raises TallyError."""

    @abstractmethod
    def stop(self, device: D) -> None: ...

    @abstractmethod
    def install(self, device: D) -> int:
        """The whole update, with the person that it asks for. Returns how many flash operations
        the device had done when the last command that writes was sent: the confirmation. Raises
        TallyError."""

    @abstractmethod
    def running(self, device: D) -> tuple[Running, str]:
        """What it says of its image, and the version that it gives elsewhere."""

    @abstractmethod
    def look(self, device: D) -> Iterator[str]:
        """What it should remember, and does not. Called twice of a device, with an update between,
        if any."""

    # -- a cut -----------------------------------------------------------------------------------

    def is_content(self, number: int) -> bool:
        """Whether an operation writes the file system of the slot that does not run."""
        slot = self.image.board.slots[1]
        first = slot.address + self.image.board.flash_timing.sector
        return first <= self.operations[number].address < slot.end

    def _fill_slot(self, device: D, image: Update) -> None:
        """The slot that does not run has an image, as after an earlier update."""
        address, sector = device.board.slots[1].address, device.board.flash_timing.sector
        device.flash.load(address, image.signed.ljust(sector, b"\xff") + image.file_system)

    def explore(
        self, operation: int, fault: str, rng: random.Random, *, second: int = -1, whole: bool
    ) -> FoundDevice:
        """What does not hold after a cut at `operation`. second: another cut, at that operation of
        the starts that follow. whole: the update is sent again, to its end."""
        found = FoundDevice()
        with self.make() as device:
            self._load(device, operation, fault)
            device.mcu.reseed(random.Random(rng.randbytes(8)))
            before = device.flash.operations
            device.flash.fault_plan = None if second < 0 else _SecondCut(before + second, rng)
            for _ in range(_STARTS):
                self.stop(device)
                try:
                    self.start(device)
                except TallyError as error:
                    found.problems.append(f"does not start: {error.what[-200:]}")
                    return found
            found.recovery = device.flash.operations - before
            device.flash.fault_plan = None
            if not device.powered:
                self.start(device)
            try:
                found.problems += self._problems(device, operation, whole, found)
            except TallyError as error:
                found.problems.append(f"fails: {error.what[-300:]}")
        return found

    def _load(self, device: D, operation: int, fault: str) -> None:
        """The flash as a cut at `operation` leaves it."""
        if operation < self._done:
            self._done, self._flash = 0, bytearray(self._begin)
        for done in self.operations[self._done : operation]:
            self._flash[done.address : done.address + len(done.new)] = done.new
        self._done = operation
        device.flash.load(0, bytes(self._flash))
        cut = self.operations[operation]
        left = faults.apply(fault, cut)
        device.flash.load(cut.address, left.content)
        device.flash.weak = {cut.address * 8 + bit for bit in left.weak}

    def _problems(
        self, device: D, operation: int, whole: bool, found: FoundDevice
    ) -> Iterator[str]:
        yield from self.look(device)
        now, version = self.running(device)
        found.new_image = version == NEW
        if now.header is None or now.header.version != version:
            yield f"runs {version} and reports another image"
        if version == NEW and operation < self._confirmed_at:
            yield "runs the new image, which nobody confirmed"
        if now.state is not SlotState.CONFIRMED:
            yield f"is still on trial after {_STARTS} starts"
        if now.floor != int(version == NEW):
            yield f"has floor {now.floor} under {version}"
        if whole:
            yield from self._update_again(device)
            found.updated_again = True
        yield from self.look(device)

    def _update_again(self, device: D) -> Iterator[str]:
        self.install(device)
        again, _ = self.running(device)
        if again.header != self.update.header or again.state is not SlotState.CONFIRMED:
            yield "did not take the update again"


class _SecondCut:
    """Cuts at one operation, in a way that the seed chooses."""

    def __init__(self, at: int, rng: random.Random) -> None:
        self._at = at
        self._rng = rng

    def __call__(self, operation: FlashOperation) -> Cut | None:
        if operation.index != self._at:
            return None
        kinds = [kind for kind in faults.variants(operation, self._rng) if kind[0] not in "vf"]
        fault = self._rng.choice(kinds)
        if faults.phase(fault) != "during":
            return Cut(Phase(faults.phase(fault)))
        left = faults.apply(fault, operation)
        return Cut(Phase.DURING, left.content, left.weak)
