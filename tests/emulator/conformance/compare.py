"""Two transcripts beside one another, and which differences between them are meant."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# What a firmware may look at are the words of these two: which kind of fault it was. The others are
# faults of the program, whose words depend on whether a function is written in C.
_WORDS_COUNT = ("ValueError", "OSError")


@dataclass(frozen=True)
class Meant:
    """A call whose outcome differs, on which boards, and why that is no fault."""

    call: str
    boards: tuple[str, ...]
    reason: str


_RP2 = ("pico", "pico2_card", "pico2")
_ALL = ("nucleo_l476rg", *_RP2)
MEANT = (
    Meant(
        "gc.collect()", _ALL,
        "MicroPython for a desktop says how many objects went; firmware does not look",
    ),
    Meant(
        "machine.SPI(1, baudrate=1000000, firstbit=machine.SPI.LSB)", ("nucleo_l476rg",),
        "no display of ours wants it: refused rather than emulated wrongly",
    ),
    Meant(
        'machine.Pin("GP15", machine.Pin.IN, machine.Pin.PULL_UP).value()', ("pico2",),
        "nothing is wired there on a reader: pulls of such pins are not modelled",
    ),
    Meant(
        'i2c.writeto(0x30, b"a")', ("pico",),
        "the other emulator's bus does not tell an address that nobody answers, and times out; "
        "the port raises EIO for PICO_ERROR_GENERIC",
    ),
    Meant(
        'i2c.writeto(0x3C, b"\\x00\\xe3")', ("pico",),
        "the other emulator's bus is still in the time-out before",
    ),
    Meant(
        "took(line.write, bytes(64)) // 1000", ("pico",),
        "the other emulator's serial line takes no time; on the RP2350, same port, it takes ours",
    ),
)  # fmt: skip


def differences(board: str, ours: str, theirs: str) -> list[str]:
    """What differs and is not meant, a line each."""
    mine, other = list(_outcomes(ours)), list(_outcomes(theirs))
    meant = {one.call.replace("\n", "\\n") for one in MEANT if board in one.boards}
    found = [
        f"{call}: ours {outcome or 'nothing'}, MicroPython {other_outcome or 'nothing'}"
        for (call, outcome), (other_call, other_outcome) in zip(mine, other, strict=False)
        if call == other_call and outcome != other_outcome and call not in meant
    ]
    if [call for call, _ in mine] != [call for call, _ in other]:
        found.append("the transcripts are not of the same calls: record them again")
    return found


def _outcomes(transcript: str) -> Iterator[tuple[str, str]]:
    """(Call, what came of it): a value, an exception with the words that count, or nothing."""
    call, outcome = "", ""
    for line in transcript.splitlines():
        if line.startswith("> "):
            if call:
                yield call, outcome
            call, outcome = line[2:], ""
        elif call:
            outcome = _outcome(line)
    if call:
        yield call, outcome


def _outcome(line: str) -> str:
    found = re.match(r"  ! (\w+): ", line)
    if found and found[1] not in _WORDS_COUNT:
        return f"! {found[1]}"
    return line.strip()
