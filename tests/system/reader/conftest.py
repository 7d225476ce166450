from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import needs
from tests.system.reader.emulated import EmulatedReader, emulated_reader


def need_host() -> None:
    """Skips where the host's programs are missing."""
    needs.umockdev.or_skip()
    needs.fido2_tools.or_skip()


@pytest.fixture
def reader() -> Iterator[EmulatedReader]:
    """As from the factory, with a hand at it that presses the right thumb when asked."""
    need_host()
    with emulated_reader() as made:
        yield made


@pytest.fixture
def reader_in_service(reader: EmulatedReader) -> EmulatedReader:
    """With a PIN and a thumb."""
    reader.set_pin_and_enrol()
    return reader
