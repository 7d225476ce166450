"""What can happen to a flash operation, each with a short name, and what it leaves.

    b       cut before                      a       cut after
    e       cut when the scenario (or the recovery) is over, and nothing is being written
    p<n>    program: n bytes done, in order
    s<d>.<r>   some of the bits done, d eighths of them, chosen with seed r
    n<o>    all bits that were to change are weak (of an erase: some are, no bit is done)
    w<o>    erase: some bits are weak, all others are done
    x<o>.<r>   some bytes done, some bits done, the rest weak
    t<r>    erase: all done but for a few bits
    v<n>    cut before, and bit n of the record written last before it has flipped
    r<n>.<r>   the same with n bits, chosen with seed r
    f       the sector is worn out from now on: half of the bits are done, no more ever will be

<o> is how weak bits read at the next power-up: `o` as ones, `z` as zeros, `m` mixed, by the seed.
Sources: docs/findings/powercuts.md.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from tallystick.faults.operation import Operation

END = "e"
CLEAN = ("b", "a", END)
_SHAPE = re.compile(r"(?P<kind>[bapsnwxtvfer])(?P<reading>[ozm]?)(?P<a>\d*)(?:\.(?P<b>\d+))?")
_RECORD = 220  # bytes of a record that are used
_BITS = [tuple(bit for bit in range(8) if byte >> bit & 1) for byte in range(256)]
_WEAK_ERASED = 256  # at most so many weak bits after an erase


class NoFaultError(ValueError):
    """A name that names no fault."""


@dataclass(frozen=True)
class Left:
    """What a fault leaves. `content`: as it reads at the next power-up. `weak`: bits numbered from
    the operation's address."""

    content: bytes
    weak: frozenset[int] = frozenset()


def phase(variant: str) -> str:
    """`before`, `during` or `after`."""
    return {"b": "before", "a": "after", "v": "before", "r": "before", END: "after"}.get(
        variant[0], "during"
    )


def flipped_bits(variant: str) -> tuple[int, ...]:
    """The bits of the record before that a `v` or an `r` flips; of other faults none."""
    if variant[0] == "v":
        return (int(variant[1:]),)
    if variant[0] == "r":
        return tuple(
            random.Random(variant).sample(
                range(_RECORD * 8), int(variant[1:].split(".", maxsplit=1)[0])
            )
        )
    return ()


def clean(variant: str) -> bool:
    return variant in CLEAN


def check(variant: str) -> None:
    """Raises NoFaultError for a variant that does not exist."""
    if _SHAPE.fullmatch(variant) is None:
        raise NoFaultError(f"{variant!r} is no fault.")


def apply(variant: str, operation: Operation) -> Left:
    """What a fault leaves of an operation. Raises NoFaultError for a name that names none."""
    match = _SHAPE.fullmatch(variant)
    if match is None:
        raise NoFaultError(f"{variant!r} is no fault.")
    kind, number = match["kind"], int(match["a"] or 0)
    old, new = operation.old, operation.new
    if kind in "bvrae":
        return Left(new if kind in "ae" else old)
    rng = random.Random(f"{variant} {operation.kind} {len(old)}")
    changing = _changing(old, new)
    if kind in _SOLID:
        return Left(_SOLID[kind](old, new, changing, number, rng))
    done: list[int] = []
    weak = changing
    if kind == "x":
        ordered = rng.randrange(len(old) * 8 + 1)
        done = [bit for bit in changing if bit < ordered or rng.random() < 0.3]
        weak = sorted(set(changing).difference(done))
    if operation.kind == "erase":
        weak = sorted(rng.sample(weak, min(_WEAK_ERASED, len(weak))))
        if kind == "w":
            done = sorted(set(changing).difference(weak))
    reading = random.Random(f"{match['b']} {variant}")
    return _read(_with(old, done), weak, match["reading"], reading)


def _some(old: bytes, changing: Sequence[int], part: float, rng: random.Random) -> bytes:
    return _with(old, [bit for bit in changing if rng.random() < part])


def _all_but_few(old: bytes, changing: Sequence[int], rng: random.Random) -> bytes:
    late = set(rng.sample(changing, min(3, len(changing))))
    return _with(old, [bit for bit in changing if bit not in late])


_Solid = Callable[[bytes, bytes, Sequence[int], int, random.Random], bytes]
# (old, new, bits that change, number, rng) → what is left, with no bit weak
_SOLID: dict[str, _Solid] = {
    "p": lambda old, new, _changing, number, _rng: new[:number] + old[number:],
    "f": lambda old, _new, changing, _number, rng: _some(old, changing, 0.5, rng),
    "s": lambda old, _new, changing, number, rng: _some(old, changing, number / 8, rng),
    "t": lambda old, _new, changing, _number, rng: _all_but_few(old, changing, rng),
}


def _read(content: bytes, weak: Sequence[int], reading: str, rng: random.Random) -> Left:
    """Weak bits as they read at the next power-up."""
    data = bytearray(content)
    for bit in weak:
        one = reading == "o" or (reading != "z" and rng.random() < 0.5)
        mask = 1 << (bit & 7)
        data[bit >> 3] = data[bit >> 3] | mask if one else data[bit >> 3] & ~mask
    return Left(bytes(data), frozenset(weak))


@lru_cache(maxsize=16)  # most faults of an operation ask for it
def _changing(old: bytes, new: bytes) -> Sequence[int]:
    """Bits that the operation changes, in order."""
    return tuple(
        at * 8 + bit
        for at, (a, b) in enumerate(zip(old, new, strict=True))
        if a != b
        for bit in _BITS[a ^ b]
    )


def _with(old: bytes, bits: list[int]) -> bytes:
    """`old` with these bits turned over."""
    data = bytearray(old)
    for bit in bits:
        data[bit >> 3] ^= 1 << (bit & 7)
    return bytes(data)


def variants(operation: Operation, rng: random.Random, full: bool = True) -> Iterator[str]:
    """Faults of this operation: the clean ones, then torn ones. `full`: every shape of them;
    otherwise a few, by the seed."""
    yield "b"
    yield "a"
    if operation.old == operation.new:
        return
    torn = list(_torn(operation, rng))
    if not full:
        torn = rng.sample(torn, min(6, len(torn)))
    yield from torn


def rotten(operation: Operation, rng: random.Random) -> Iterator[str]:
    """Faults of this operation in which the record before it has lost several bits: what no store
    can mend. 8 at most are of one record by then."""
    if operation.address % 256 == 0:
        for bits in (2, 3, 5, 8):
            yield f"r{bits}.{rng.randrange(1000)}"


def _torn(operation: Operation, rng: random.Random) -> Iterator[str]:
    if operation.address % 256 == 0:
        yield "f"
        for _ in range(6):
            yield f"v{rng.randrange(_RECORD * 8)}"
    many = operation.kind == "erase" or len(operation.old) > 64
    if operation.kind == "program":
        yield from _in_order(len(operation.old), rng)
    else:
        for _ in range(3):
            yield f"t{rng.randrange(1000)}"
    for eighths in (1, 4, 7) if many else (4,):
        for _ in range(3 if many else 1):
            yield f"s{eighths}.{rng.randrange(1000)}"
    yield from _weak("n" if operation.kind == "program" else "nw", 2 if many else 1, rng)
    for reading in "ozm":
        for _ in range(3 if many else 1):
            yield f"x{reading}{rng.randrange(100)}.{rng.randrange(100)}"


def _in_order(size: int, rng: random.Random) -> Iterator[str]:
    """Bytes done in order: of a whole record, also up to the ends of its fields."""
    steps = {1, size // 2, size - 1, rng.randrange(1, size)}
    if size > 64:
        steps |= {4, 8, 12, 13, 28, 36, 84, 148, 212, 216, 220, *range(16, size, 32)}
    return (f"p{done}" for done in sorted(steps) if 0 < done < size)


def _weak(kinds: str, mixed: int, rng: random.Random) -> Iterator[str]:
    for kind in kinds:
        yield f"{kind}o"
        yield f"{kind}z"
        for _ in range(mixed):
            yield f"{kind}m{rng.randrange(100)}.{rng.randrange(100)}"
