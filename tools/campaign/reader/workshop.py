"""Readers in the states that scenarios start from, made by running the firmware of an image."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from fido2.ctap2.pin import ClientPin

from tallystick import faults
from tallystick.emulator.devices.image import Image
from tallystick.emulator.parts.nor_flash import Cut, FlashOperation, Phase
from tallystick.tools.campaign.engine.flash_state import FlashState
from tallystick.tools.campaign.engine.subject import (
    Node,
    PowerGoneError,
    ViolationError,
    image_under_test,
)
from tallystick.tools.campaign.reader.judge import judge, observe
from tallystick.tools.campaign.reader.oracle import (
    FINGER_TRIES,
    PIN_TRIES,
    KnownReader,
    ReaderState,
    Tries,
)
from tallystick.tools.campaign.reader.rig import FINGER, PIN, WRONG_PIN, ReaderRig, refused
from tallystick.tools.campaign.reader.scenarios import (
    REGISTRY,
    Scenario,
    Start,
    blobs,
    enrol,
    make,
    make_elsewhere,
    reset,
    wrong_fingers,
)

_RESERVE = 8  # free sectors; with fewer the ring gives its oldest back
_BLANK_SECTORS: dict[Start, int] = {
    "before wrap": _RESERVE, "past wrap": _RESERVE - 1, "before lap": 0,
}  # fmt: skip
_ANY_PIN = Tries(tuple(range(PIN_TRIES + 1)), PIN_TRIES)
_ANY_FINGER = Tries(tuple(range(FINGER_TRIES + 1)), FINGER_TRIES)


@dataclass(frozen=True)
class ReaderStart:
    """Content of the records' sectors, what is known of the reader, and the identifier of a
    credential that it does not store. worn: sectors at their end, by address in the range. weak:
    bits that read differently after the next start. old: content before a reset that has begun."""

    content: bytes
    known: KnownReader
    credential: bytes = bytes(64)
    worn: frozenset[int] = frozenset()
    weak: frozenset[int] = frozenset()
    old: bytes = b""


class ReaderWorkshop:
    """`image`: of the firmware under test. Bases are made when first asked for."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self._bases: dict[str, ReaderStart] = {}
        self._after: dict[tuple[str, int], ReaderState] = {}

    @classmethod
    def of(cls, board: str, root: Path | None = None, *, readable: bool = False) -> ReaderWorkshop:
        """See `image_under_test`."""
        return cls(image_under_test("reader", board, root, readable=readable))

    # -- what a campaign asks for --------------------------------------------------------------

    def scenario(self, name: str) -> Scenario:
        return REGISTRY[name]

    def rig(self, start: Start) -> ReaderRig:
        """A rig whose states are told by what differs from this start."""
        base = self.base(start)
        rig = ReaderRig(self.image)
        rig.use_base(base.content)
        rig.credential = base.credential
        rig.old = base.old or base.content
        rig.prepare()
        return rig

    def begin(self, rig: ReaderRig, scenario: Scenario, seed: int) -> None:
        rig.after = self._seen_after(scenario, seed)
        self._restore(rig, scenario, seed)

    def resume(self, rig: ReaderRig, node: Node) -> None:
        assert isinstance(node.known, KnownReader)
        rig.restore(node.flash, node.known, node.digest, len(node.path))

    def judge(self, rig: ReaderRig, scenario: Scenario, node: Node) -> None:
        judge(rig, scenario, node)

    def cut_at_rest(self, node: Node) -> bool:
        return False  # the judge starts it again by itself

    def _restore(self, rig: ReaderRig, scenario: Scenario, seed: int) -> None:
        base = self.base(scenario.start)
        rig.restore(FlashState(weak=base.weak, worn=base.worn), base.known, f"{seed}".encode())

    def _seen_after(self, scenario: Scenario, seed: int) -> ReaderState | None:
        """What is seen after the scenario, when nothing is cut."""
        if not scenario.changes:
            return None
        key = scenario.name, seed
        if key not in self._after:
            rig = self.rig(scenario.start)
            try:
                self._restore(rig, scenario, seed)
                rig.after = None
                scenario.run(rig)
                self._after[key] = _learn(rig)
            finally:
                rig.close()
            if self._after[key] in self.base(scenario.start).known.states:
                raise ViolationError("nothing", "the command changed nothing that can be seen")
        return self._after[key]

    # -- bases ---------------------------------------------------------------------------------

    def base(self, start: Start) -> ReaderStart:
        if start not in self._bases:
            rig = ReaderRig(self.image)
            try:
                self._bases[start] = self._make(rig, start)
            finally:
                rig.close()
        return self._bases[start]

    def _make(self, rig: ReaderRig, start: Start) -> ReaderStart:
        if start in ("factory", "new", "late sensor"):
            return self._make_new(rig, start)
        if start == "in service":
            return self._put_into_service(rig)
        if start == "worn factory":
            return replace(self.base("factory"), worn=frozenset({0}))
        if start in ("damaged", "foreign"):
            return self._damage(rig, start)
        return self._go_on(rig, start)

    def _go_on(self, rig: ReaderRig, start: Start) -> ReaderStart:
        """With a reader in service."""
        before = self.base("in service")
        if start == "worn sector":
            return replace(before, worn=frozenset({_newest_sector(before.content, rig)}))
        rig.use_base(before.content)
        rig.credential = before.credential
        rig.restore(FlashState(), before.known, b"workshop")
        if start in _BLANK_SECTORS:
            return self._fill_ring(rig, _BLANK_SECTORS[start])
        if start == "finger wavers":
            return self._waver(rig)
        return self._cut_reset(rig)

    def _make_new(self, rig: ReaderRig, start: Start) -> ReaderStart:
        blank = b"\xff" * len(rig.range.base)
        rig.restore(FlashState(), KnownReader(), b"workshop")
        if start == "late sensor":
            rig.sensor.fault = lambda _command: True
        rig.start()
        if start == "late sensor":
            ClientPin(rig.ctap()).set_pin(PIN)
            content, known = _content(rig), rig.known
            return ReaderStart(content, replace(known, states=(_learn(rig),)))
        state = _learn(rig)
        if start == "factory":
            return ReaderStart(blank, KnownReader((state,)))
        return ReaderStart(_content(rig), replace(rig.known, states=(state,)))

    def _put_into_service(self, rig: ReaderRig) -> ReaderStart:
        """A PIN, a thumb, three credentials (one is not stored), large blobs, and tries used."""
        rig.restore(FlashState(), KnownReader(), b"workshop")
        rig.start()
        ClientPin(rig.ctap()).set_pin(PIN)
        enrol(rig, FINGER)()
        made = make_elsewhere(rig)()
        rig.credential = made.auth_data.credential_data.credential_id
        for user in (b"user-1", b"user-2"):
            make(rig, user)()
        blobs(rig, b"first")()
        state = _learn(rig)
        rig.restart()
        client = ClientPin(rig.ctap())
        wrong_fingers(rig, client, 3)
        for _ in range(2):
            refused(lambda: client.get_pin_token(WRONG_PIN))
        known = replace(
            rig.known, states=(state,), pin=Tries((PIN_TRIES - 2,), PIN_TRIES),
            finger=Tries((FINGER_TRIES - 3,), FINGER_TRIES),
        )  # fmt: skip
        return ReaderStart(_content(rig), known, rig.credential)

    def _fill_ring(self, rig: ReaderRig, blank_sectors: int) -> ReaderStart:
        """Until no more than so many sectors have never been used."""
        before = self.base("in service")
        sector = rig.range.flash.timing.sector
        blank = b"\xff" * sector
        rig.start()
        write = blobs(rig, b"first")
        while True:
            content = _content(rig, running=True)
            used = sum(content[at : at + sector] != blank for at in range(0, len(content), sector))
            if used >= len(content) // sector - blank_sectors:
                break
            write()
        state = before.known.states
        known = replace(rig.known, states=state)
        return ReaderStart(_content(rig), known, before.credential)

    def _damage(self, rig: ReaderRig, start: Start) -> ReaderStart:
        """The records of a reader in service, spoiled, or made under another chip's root."""
        before = self.base("in service")
        if start == "damaged":
            content = bytes(byte | 0x11 if byte != 0xFF else byte for byte in before.content)
        else:
            other = ReaderRig(self.image, seed=2)
            try:
                content = self._put_into_service(other).content
            finally:
                other.close()
        rig.use_base(content)
        rig.restore(FlashState(), before.known, b"workshop")
        return ReaderStart(content, replace(before.known, states=(_learn(rig),)), before.credential)

    def _waver(self, rig: ReaderRig) -> ReaderStart:
        """A finger's removal was cut, and its record reads as whole this time."""
        before = self.base("in service")
        rig.armed = False
        command = REGISTRY["reader-remove-finger"].prepare(rig)
        rig.armed = True
        whole = rig.oracle.known

        def plan(operation: FlashOperation) -> Cut:
            left = faults.apply("nz", operation)
            return Cut(Phase.DURING, left.content, left.weak)

        rig.on_operation = plan
        with suppress(PowerGoneError):
            command()
        rig.on_operation = None
        state = rig.range.capture()
        content = _content(rig)
        after = self._seen_after(REGISTRY["reader-remove-finger"], 1)
        assert after is not None
        known = replace(whole, states=(*before.known.states, after))
        return ReaderStart(content, rig.known_of(known), before.credential, weak=state.weak)

    def _cut_reset(self, rig: ReaderRig) -> ReaderStart:
        """Cut when the new state is whole and nothing has been erased."""
        before = self.base("in service")
        begun: list[int] = []
        rig.armed = False
        command = reset(rig)
        rig.armed = True

        def plan(operation: FlashOperation) -> Cut | None:
            if begun:
                return Cut(Phase.BEFORE)
            if operation.kind == "program":
                begun.append(operation.index)
            return None

        rig.on_operation = plan
        with suppress(PowerGoneError):
            command()
        rig.on_operation = None
        content = _content(rig)
        known = rig.known
        rig.restart()
        return ReaderStart(
            content,
            KnownReader((_learn(rig),), templates=known.templates, password=known.password),
            before.credential,
            old=before.content,
        )


def _content(rig: ReaderRig, *, running: bool = False) -> bytes:
    if not running:
        rig.reader.power_off()
    return bytes(rig.reader.flash.memory[rig.range.first : rig.range.end])


def _learn(rig: ReaderRig) -> ReaderState:
    """What is seen of this reader, as it is."""
    oracle = rig.oracle
    before = oracle.known
    oracle.known = replace(before, states=(), pin=_ANY_PIN, finger=_ANY_FINGER)
    rig.restart()
    state = observe(rig)
    oracle.known = replace(oracle.known, states=before.states)
    return state


def _newest_sector(content: bytes, rig: ReaderRig) -> int:
    """Of a ring that has not come round: the last that holds a record."""
    sector = rig.range.flash.timing.sector
    used = [
        at for at in range(0, len(content), sector) if content[at : at + sector].strip(b"\xff\0")
    ]
    return used[-1]
