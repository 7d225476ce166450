from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.system.reader.emulated import EmulatedReader, emulated_reader

NEEDED = ("umockdev-run", "fido2-token")


@pytest.fixture
def reader() -> Iterator[EmulatedReader]:
    """As from the factory, with a hand at it that presses the right thumb when asked."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} (apt-get install umockdev fido2-tools)")
    with emulated_reader() as made:
        yield made


@pytest.fixture
def reader_in_service(reader: EmulatedReader) -> EmulatedReader:
    """With a PIN and a thumb."""
    reader.set_pin_and_enrol()
    return reader
