"""Time, randomness, threads and pauses reach station and server through one place each: whatever
else would give them is refused by `make lint`, under whatever name."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PLACES = ("server/accounts/planted.py", "provisioning/planted.py", "tallystick/common/planted.py")
# What is imported, and what is asked of it.
REFUSED = (
    ("import time", "time.time()"),
    ("import time as clock", "clock.time()"),
    ("from time import time as t", "t()"),
    ("from time import time_ns", "time_ns()"),
    ("import time", "time.clock_gettime(0)"),
    ("import time", "time.gmtime()"),
    ("from time import localtime as here", "here()"),
    ("import time", "time.strftime('%Y')"),
    ("import time", "time.ctime()"),
    ("import datetime as dt", "dt.datetime.now(dt.UTC)"),
    ("from datetime import UTC, datetime as moment", "moment.now(UTC)"),
    ("from datetime import datetime", "datetime.utcnow()"),
    ("from datetime import datetime", "datetime.today()"),
    ("from datetime import date as day", "day.today()"),
    ("from email.utils import make_msgid", "make_msgid()"),
    ("import secrets", "secrets.token_bytes(1)"),
    ("from secrets import token_hex as drawn", "drawn()"),
    ("from os import urandom as u", "u(1)"),
    ("import os", "os.urandom(1)"),
    ("import os", "os.getrandom(1)"),
    ("import ssl", "ssl.RAND_bytes(1)"),
    ("import random as r", "r.random()"),
    ("from random import SystemRandom", "SystemRandom()"),
    ("import uuid", "uuid.uuid4()"),
    ("from uuid import uuid4 as fresh", "fresh()"),
    ("from uuid import uuid1", "uuid1()"),
    ("import threading", "threading.Thread()"),
    ("from threading import Timer as Late", "Late(1, print)"),
    ("import threading as t", "t.Timer(1, print)"),
    ("from concurrent.futures import ThreadPoolExecutor", "ThreadPoolExecutor()"),
    ("import asyncio", "asyncio.sleep(1)"),
    ("from asyncio import sleep as nap", "nap(1)"),
    ("from asyncio import to_thread", "to_thread(print)"),
    ("from time import sleep", "sleep(1)"),
    ("import time", "time.monotonic()"),
    ("from time import monotonic as now", "now()"),
    ("import time", "time.perf_counter()"),
)
ALLOWED = (
    ("from tallystick.common import moments", "moments.now()"),
    ("from tallystick.common import chance", "chance.token_bytes(1)"),
    ("from tallystick.common import beside", "beside.Thread()"),
    ("from tallystick.common import moments", "moments.steady()"),
    ("from datetime import UTC, datetime", "datetime.fromtimestamp(0, UTC)"),
)


def _refused(place: str, lines: tuple[tuple[str, str], ...]) -> set[int]:
    """Numbers of the planted pairs of which ruff refuses a line."""
    source = "".join(f"{said}\nprint({asked})\n" for said, asked in lines)
    told = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "concise",
         "--select", "TID251,DTZ", "--stdin-filename", place, "-"],
        input=source, capture_output=True, text=True, encoding="utf-8", cwd=ROOT, check=False,
    )  # fmt: skip
    assert told.returncode in (0, 1), told.stderr
    return {(int(line) - 1) // 2 for line in re.findall(r"\.py:(\d+):", told.stdout)}


@pytest.mark.parametrize("place", PLACES)
def test_whatever_passes_a_seam_by_is_refused(place: str) -> None:
    passed = set(range(len(REFUSED))) - _refused(place, REFUSED)
    assert [REFUSED[number] for number in sorted(passed)] == []


@pytest.mark.parametrize("place", PLACES)
def test_the_seams_themselves_are_not(place: str) -> None:
    assert _refused(place, ALLOWED) == set()
