"""AutoEnroll and AutoIdentify: the module does by itself what a host does step by step.

They yield µs, or an acknowledge as (confirmation code, further bytes).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

from tallystick.emulator.fingerprints.levels import THRESHOLDS
from tallystick.emulator.parts.r503_codes import Confirm
from tallystick.emulator.parts.r503_flash import CAPACITY
from tallystick.emulator.parts.r503_memory import WRITE_US, Memory
from tallystick.emulator.parts.r503_state import SensorState

SAMPLES = 6
FINGER_WAIT_US = 10_000_000
POLL_US = 20_000  # between two looks at a finger that should leave [our choice]

# Steps that an acknowledge names. Samples count on: image 1, features 2, image 3 … features 0C.
# The manual prints the last three as 10, 11, 12 between 09 and 0D; they are taken as decimal.
STEP_EXISTS, STEP_MERGE, STEP_STORE = 0x0D, 0x0E, 0x0F
STEP_IMAGE, STEP_FEATURES, STEP_SEARCH = 0x01, 0x02, 0x03

Step = int | tuple[int, tuple[int, ...]]


def enroll(state: SensorState, memory: Memory, arguments: bytes) -> Iterator[Step]:
    """Six samples, one template. Arguments: page, overwrite, allow duplicates, report steps,
    lift."""
    page, overwrite, duplicates, report, lift = arguments
    if page >= CAPACITY:
        yield Confirm.BAD_PAGE, (STEP_IMAGE, page)
        return
    if page in state.flash.templates and not overwrite:
        full = len(state.flash.templates) >= CAPACITY
        yield Confirm.FULL if full else Confirm.BAD_PAGE, (STEP_IMAGE, page)
        return
    memory.forget_samples()
    for sample in range(SAMPLES):
        if sample and lift and not (yield from _lifted(state)):
            yield Confirm.TIME_OUT, (2 * sample + 1, page)
            return
        step, confirm = yield from _sample(state, memory, sample, report, page)
        if confirm is not Confirm.OK:
            yield confirm, (step, page)
            return
    found = yield from memory.find(SAMPLES, 0, CAPACITY, THRESHOLDS[state.flash.level])
    if found is not None and found[0] != page and not duplicates:
        yield Confirm.EXISTS, (STEP_EXISTS, page)
        return
    if report:
        yield Confirm.OK, (STEP_EXISTS, page)
    confirm = yield from memory.merge()
    if confirm is not Confirm.OK:
        yield confirm, (STEP_MERGE, page)
        return
    if report:
        yield Confirm.OK, (STEP_MERGE, page)
    yield WRITE_US
    state.flash.templates[page] = memory.buffers[1]
    state.flash.on_write()
    yield Confirm.OK, (STEP_STORE, page)


def _sample(
    state: SensorState, memory: Memory, sample: int, report: int, page: int
) -> Generator[Step, None, tuple[int, Confirm]]:
    """One image and its features; a poor one is taken again. (step, confirmation code)."""
    image_step, features_step = 2 * sample + 1, 2 * sample + 2
    until = state.clock.now + FINGER_WAIT_US
    while True:
        confirm = yield from memory.capture()
        if confirm is Confirm.OK and not memory.is_poor():
            if report:
                yield Confirm.OK, (image_step, page)
            confirm = yield from memory.extract(sample + 1)
            if confirm is Confirm.OK:
                if report:
                    yield Confirm.OK, (features_step, page)
                return features_step, confirm
        if state.clock.now >= until:
            poor = confirm not in (Confirm.NO_FINGER, Confirm.CAPTURE)
            return (features_step, Confirm.FEW_FEATURES) if poor else (image_step, Confirm.TIME_OUT)


def _lifted(state: SensorState) -> Generator[int, None, bool]:
    until = state.clock.now + FINGER_WAIT_US
    while state.touch:
        if state.clock.now >= until:
            return False
        yield POLL_US
    return True


def identify(state: SensorState, memory: Memory, arguments: bytes) -> Iterator[Step]:
    """One finger, found or not. Arguments: level, start and count (one or two bytes each), report
    steps, number of wrong fingers before giving up."""
    wide = (len(arguments) - 3) // 2
    level = arguments[0] if arguments[0] in THRESHOLDS else state.flash.level
    start = int.from_bytes(arguments[1 : 1 + wide], "big")
    count = int.from_bytes(arguments[1 + wide : 1 + 2 * wide], "big")
    report, tries = arguments[-2], max(1, arguments[-1])
    nothing = (0, 0, 0, 0)
    if not state.flash.templates:
        yield Confirm.LIBRARY_EMPTY, (STEP_IMAGE, *nothing)
        return
    for left in reversed(range(tries)):
        confirm = yield from _look(state, memory)
        if confirm is not Confirm.OK:
            yield confirm, (STEP_IMAGE, *nothing)
            return
        if report:
            yield Confirm.OK, (STEP_IMAGE, *nothing)
        confirm = yield from memory.extract(1)
        if confirm is Confirm.OK:
            if report:
                yield Confirm.OK, (STEP_FEATURES, *nothing)
            found = yield from memory.find(1, start, count, THRESHOLDS[level])
            if found is not None:
                page, score = found
                yield Confirm.OK, (STEP_SEARCH, *page.to_bytes(2, "big"), *score.to_bytes(2, "big"))
                return
            confirm = Confirm.NOT_FOUND
        if left:
            yield from _lifted(state)
    step = STEP_SEARCH if confirm is Confirm.NOT_FOUND else STEP_FEATURES
    yield confirm, (step, *nothing)


def _look(state: SensorState, memory: Memory) -> Generator[int, None, Confirm]:
    until = state.clock.now + FINGER_WAIT_US
    while True:
        confirm = yield from memory.capture()
        if confirm is Confirm.OK:
            return confirm
        if state.clock.now >= until:
            return Confirm.TIME_OUT
