"""How much heap each command of the reader needs: the smallest with which it works.

`python -m tallystick.tools.heap.reader_commands` prints a table. Measured on a 64-bit MicroPython,
where most objects are twice as large as on the board.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from fido2.ctap import CtapError
from fido2.ctap2.bio import FPBioEnrollment
from fido2.ctap2.credman import CredentialManagement
from fido2.ctap2.pin import ClientPin

from tallystick.common.console import out
from tallystick.common.errors import TallyError
from tallystick.emulator import boards
from tallystick.emulator.devices.image import Image
from tallystick.tools.campaign.engine.flash_state import FlashState
from tallystick.tools.campaign.engine.subject import PowerGoneError, ViolationError
from tallystick.tools.campaign.reader.oracle import KnownReader
from tallystick.tools.campaign.reader.rig import PIN, ReaderRig
from tallystick.tools.campaign.reader.scenarios import (
    HASH,
    PARTY,
    PERMISSION,
    REGISTRY,
    blobs,
    enrol,
    log_in,
    make,
    reset,
)
from tallystick.tools.campaign.reader.workshop import ReaderWorkshop
from tallystick.tools.heap.measure import smallest
from tallystick.tools.image.heap import KIB

CREDENTIALS, FINGERS = 128, 20  # as many as fit
_SEED = 1
_EXCLUDED = 14  # identifiers of 100 bytes that fit into a message


@dataclass(frozen=True)
class Full:
    """A reader in which nothing more fits: content of its whole flash, and what its sensor has."""

    flash: bytes
    known: KnownReader


def fill(image: Image) -> Full:
    """All of one relying party, which is the worst case: they are looked for in all of them."""
    rig = ReaderRig(image)
    try:
        rig.restore(FlashState(), KnownReader(), b"full")
        rig.start()
        ClientPin(rig.ctap()).set_pin(PIN)
        for number in range(FINGERS):
            enrol(rig, "thumb" if not number else f"finger-{number}")()
        for number in range(CREDENTIALS):
            make(rig, b"user-%03d" % number)()
        blobs(rig, b"first")()
        rig.reader.power_off()
        return Full(bytes(rig.reader.flash.memory), rig.known)
    finally:
        rig.close()


def _all_of_it(rig: ReaderRig) -> None:
    """Start, log-in, all credentials and fingers listed, a registration with a long list of those
    that must not be there, reset."""
    rig.start()
    log_in(rig)()
    channel = rig.pin_token(PERMISSION.CREDENTIAL_MGMT | PERMISSION.BIO_ENROLL)
    management = CredentialManagement(*channel)
    for party in management.enumerate_rps():
        if len(management.enumerate_creds(party[4])) != CREDENTIALS:
            raise ViolationError("lost", "not all credentials are there")
    if len(FPBioEnrollment(*channel).enumerate_enrollments()) != FINGERS:
        raise ViolationError("lost", "not all fingers are there")
    excluded: list[Any] = [{"type": "public-key", "id": bytes(100)} for _ in range(_EXCLUDED)]
    rig.ctap().make_credential(
        HASH, {"id": PARTY, "name": "Example"}, {"id": b"u", "name": "n", "displayName": "N"},
        [{"type": "public-key", "alg": -7}], exclude_list=excluded, options={"uv": True},
        on_keepalive=rig.pressing(),
    )  # fmt: skip
    rig.reader.power_off()
    reset(rig)()


class Heaps:
    """`need` of each path; the readers that they start from are made with the board's heap."""

    def __init__(self, board: str = boards.DEFAULT_READER) -> None:
        self.limit = boards.find(board).heap // KIB
        self._workshop = ReaderWorkshop.of(board)
        self._full: Full | None = None

    def paths(self) -> dict[str, Callable[[int], bool]]:
        """Name → whether it works with so many bytes."""

        def of(name: str) -> Callable[[int], bool]:
            return lambda heap: self._works(heap, lambda rig: self._scenario(rig, name))

        found = {name: of(name) for name in REGISTRY}
        found["reader-full"] = lambda heap: self._works(heap, self._on_full)
        return found

    def _works(self, heap: int, run: Callable[[ReaderRig], None]) -> bool:
        image = self._workshop.image
        rig = ReaderRig(replace(image, board=replace(image.board, heap=heap)), quick=False)
        try:
            run(rig)
        except (ViolationError, PowerGoneError, CtapError, TallyError):
            return False
        finally:
            rig.close()
        return True

    def _scenario(self, rig: ReaderRig, name: str) -> None:
        scenario = REGISTRY[name]
        base = self._workshop.base(scenario.start)
        rig.use_base(base.content)
        rig.credential = base.credential
        self._workshop.begin(rig, scenario, _SEED)
        scenario.run(rig)

    def _on_full(self, rig: ReaderRig) -> None:
        if self._full is None:
            self._full = fill(self._workshop.image)
        rig.restore(FlashState(), self._full.known, b"full")
        rig.reader.flash.load(0, self._full.flash)
        _all_of_it(rig)

    def needs(self) -> Iterator[tuple[str, int]]:
        """(path, KiB)."""
        for name, works in self.paths().items():
            yield name, smallest(works, self.limit)


if __name__ == "__main__":
    heaps = Heaps()
    for path, need in heaps.needs():
        out().print(f"{path:>28}  {need:4} KiB of {heaps.limit}")
