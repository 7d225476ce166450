"""Mutated token files: each is taken or refused with an ApiError, soon and in little memory.

`python -m tests.server.fuzz_token_files 200000` (about two minutes), or `make fuzz-tokens`.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tallystick.common.secret import Secret
from tallystick.server.errors import ApiError
from tallystick.server.stock.containers import Opening
from tallystick.server.stock.gathering import IntakeWish
from tallystick.server.stock.refusing import Weakness
from tallystick.server.stock.seed_files import read_tokens

FIELD = Path(__file__).parent / "field"
NOW = 1_800_000_000
KEY = bytes.fromhex("12345678901234567890123456789012")
PIECES = [
    *(b"<", b">", b"&", b'"', b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"<!--", b"-->", b"", b"-1"),
    *(b"<![CDATA[", b"]]>", b"9" * 24, b"nan", b"1e9", b"=", b",", b";", b"\n", b"\r", b"\t"),
    *(b'<!DOCTYPE a [<!ENTITY b "c">]>', b"&b;", b"&#x0;", b"&#xD800;", b'<?xml version="1.0"?>'),
    *(b'xmlns="', b'encoding="utf-16"', b'encoding="rot13"', b"\xed\xa0\x80", b"\xd9\xa0", b"p:"),
]
MUTATIONS = (1, 1, 1, 2, 3, 8)


@dataclass
class Report:
    """slowest: seconds. memory: MiB, the most that the process had."""

    taken: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    memory: int = 0


def fuzz(count: int, seed: int = 1) -> Report:
    """Raises what the reader raises, but ApiError."""
    chance = random.Random(seed)
    originals = [path.read_bytes() for path in sorted(FIELD.iterdir())]
    report = Report()
    for _ in range(count):
        content = _mutated(chance, originals)
        wanted = IntakeWish(*(bool(chance.getrandbits(1)) for _ in range(2)))
        opening = Opening(psk=Secret(KEY), passphrase=Secret(b"words"), takes=frozenset(Weakness))
        began = time.perf_counter()
        try:
            read_tokens(content, opening, NOW, wanted)
            report.taken += 1
        except ApiError as error:
            json.dumps(error.body())
            report.refused[error.code] += 1
        except BaseException:
            Path("token-file-that-fails").write_bytes(content)
            raise
        report.slowest = max(report.slowest, time.perf_counter() - began)
    report.memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return report


def _mutated(chance: random.Random, originals: list[bytes]) -> bytes:
    data = bytearray(chance.choice(originals))
    for _ in range(chance.choice(MUTATIONS)):
        at, way = chance.randrange(len(data) or 1), chance.randrange(6)
        if way == 0:
            data[at : at + 1] = bytes([chance.randrange(256)])
        elif way == 1:
            del data[at : at + chance.randrange(1, 60)]
        elif way == 2:
            data[at:at] = chance.choice(PIECES)
        elif way == 3:
            piece = chance.choice(PIECES)
            data[at : at + len(piece)] = piece
        else:
            other = bytes(data) if way == 4 else chance.choice(originals)
            start = chance.randrange(len(other) or 1)
            data[at:at] = other[start : start + chance.randrange(1, 400)]
    return bytes(data)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    done = fuzz(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    sys.stdout.write(
        f"{done.taken} taken, {done.refused.total()} refused {dict(done.refused)}; "
        f"slowest {done.slowest * 1000:.0f} ms; {done.memory} MiB\n"
    )
