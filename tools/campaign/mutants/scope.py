"""What is mutated, and where tests of the firmware are."""

from __future__ import annotations

from pathlib import Path

from tallystick.common.errors import BadInputError

ROOT = Path(__file__).resolve().parents[3]
KEPT = Path("build/mutants")
MAP = KEPT / "map"

FIRMWARE = (
    "firmware/card",
    "firmware/lib/journal.py",
    "firmware/lib/records.py",
    "firmware/reader/store.py",
    "firmware/boards",
)
# Who is let in, what is trusted, and what is kept.
GUARDS = (
    "server/rules",
    "server/signing_in",
    "server/accounts",
    "server/services",
    "server/loans",
    "server/stock",
    "provisioning/card/scp03.py",
    "provisioning/card/t1.py",
    "provisioning/custody/derivation.py",
    "provisioning/steps.py",
    "provisioning/journal.py",
    "provisioning/recovery.py",
    "tools/image/verify.py",
    "tools/flash/field.py",
    "tools/flash/job.py",
    "emulator/parts/nor_flash.py",
    "emulator/parts/supply.py",
)
_NO_MODULES = ("__init__.py", "manifest.py", "_boot.py")  # nothing in it; of a build of MicroPython

# The tests of a firmware module, those of one line at a time; the first entry that fits counts.
# First what runs in this Python and takes a second, last what starts a device.
FIRMWARE_TESTS: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = (
    (
        "firmware/lib/journal.py",
        (
            ("tests/firmware/journal/test_pieces.py", "tests/firmware/store/test_pieces.py"),
            ("tests/firmware/journal", "tests/firmware/store"),
        ),
    ),
    (
        "firmware/card/store.py",
        (
            ("tests/firmware/store/test_pieces.py",),
            ("tests/firmware/store", "tests/firmware/wire/test_oath.py"),
        ),
    ),
    (
        "firmware/lib/records.py",
        (
            ("tests/firmware/reader/test_records_pieces.py",),
            ("tests/tools/campaign/test_proof_records.py",),
            ("tests/firmware/reader/test_records.py", "tests/firmware/reader/test_store.py"),
        ),
    ),
    (
        "firmware/reader",
        (("tests/firmware/reader/test_store.py",), ("tests/firmware/reader",)),
    ),
    ("firmware/boards", (("tests/firmware/boards/test_flash.py",), ("tests/firmware/boards",))),
    (
        "firmware/card",
        (
            ("tests/firmware/card",),
            ("tests/firmware/ui",),
            ("tests/firmware/wire",),
            ("tests/tools/selftest",),
        ),
    ),
)

# Folders whose tests a map is made of when there is none that knows a module.
HOST_TESTS = (
    ("server", "tests/server"),
    ("provisioning", "tests/provisioning"),
    ("tools/image", "tests/tools/image"),
    ("tools/flash", "tests/tools/flash"),
    ("emulator", "tests/emulator"),
)


def files(only: str | None = None, root: Path = ROOT) -> list[str]:
    """The modules to mutate, from the root of the tree. only: of these, one file or one folder.

    Raises BadInputError when there is none.
    """
    found = [
        str(path.relative_to(root))
        for one in (*GUARDS, *FIRMWARE)
        for path in (sorted((root / one).rglob("*.py")) if (root / one).is_dir() else [root / one])
        if path.name not in _NO_MODULES
    ]
    if only is not None:
        wanted = only.rstrip("/")
        found = [file for file in found if file == wanted or file.startswith(f"{wanted}/")]
    if not found:
        raise BadInputError(
            f"Nothing in {only} is mutated.",
            todo=f"Name a file or a folder in one of {', '.join((*GUARDS, *FIRMWARE))}.",
        )
    return found


def tests_of(file: str) -> tuple[tuple[str, ...], ...]:
    """Tests of a firmware module."""
    return next((tests for start, tests in FIRMWARE_TESTS if file.startswith(start)), ())


def mapped_by(file: str) -> str | None:
    """The folder of tests of a module of the host."""
    return next((tests for start, tests in HOST_TESTS if file.startswith(start)), None)
