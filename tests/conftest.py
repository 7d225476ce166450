"""What holds for every test.

A skip that tests/needs.py does not permit is a failure, of a test or of a whole file. Temporary
files are in memory where there is room: most of what a server and a station do is to wait for a
disk, and nothing here depends on one. No example of a property has a deadline: how long one takes
is a matter of what else the machine does.
"""

from __future__ import annotations

import functools
import os
import resource
import shutil
import signal
import ssl
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import certifi
import pytest
from hypothesis import settings

from tests import needs

settings.register_profile("tests", deadline=None)
settings.load_profile("tests")

MEMORY = Path("/dev/shm")
ROOM = 4 << 30  # bytes; a container often has 64 MiB there


def pytest_configure() -> None:
    _let_ctrl_c_reach_who_is_started()
    _keep_the_hard_limit()
    _read_the_worlds_certificates_once()
    if "PYTEST_DEBUG_TEMPROOT" in os.environ or "TMPDIR" in os.environ:
        return
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ROOM:
        os.environ["PYTEST_DEBUG_TEMPROOT"] = os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None  # to be looked up again


def _let_ctrl_c_reach_who_is_started() -> None:
    """A shell's background job has it ignored, and so has what it starts: then no test of it can
    pass.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _keep_the_hard_limit() -> None:
    """Programs that run in a test's own process shut it in as they do for themselves. Whether a
    dump is possible is another test's question, and a limit that is down stays down."""
    genuine = resource.setrlimit

    def lower(which: int, limits: tuple[int, int]) -> None:
        hard = resource.getrlimit(which)[1] if which == resource.RLIMIT_CORE else limits[1]
        genuine(which, (limits[0], hard))

    resource.setrlimit = lower


def _read_the_worlds_certificates_once() -> None:
    """Each of httpx's clients reads them anew (35 ms), and a test makes several. Nothing is changed
    in the context that they share: whoever needs another names his own file."""
    genuine = ssl.create_default_context
    worlds = {certifi.where(), os.environ.get("SSL_CERT_FILE", certifi.where())}
    once = functools.cache(lambda cafile: genuine(cafile=cafile))

    def shared(
        purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH,
        *,
        cafile: str | None = None,
        capath: str | None = None,
        cadata: str | bytes | None = None,
    ) -> ssl.SSLContext:
        if cafile in worlds and purpose is ssl.Purpose.SERVER_AUTH and not capath and not cadata:
            return once(cafile)
        return genuine(purpose, cafile=cafile, capath=capath, cadata=cadata)

    ssl.create_default_context = shared


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    return _judged((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    return _judged((yield))


def _judged(report: Any) -> Any:
    if report.skipped and not hasattr(report, "wasxfail"):
        _, _, words = report.longrepr
        refusal = needs.refusal(words.removeprefix("Skipped: "))
        if refusal:
            report.outcome = "failed"
            report.longrepr = refusal
    return report
