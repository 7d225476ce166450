"""Where the reader and a foreign suite differ, judged: what the test wants, what the standard says.

A test that fails and is not here fails ours; so does one that is here and passes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """section: of CTAP 2.1 unless it says otherwise."""

    wants: str
    standard: str
    section: str


_RETRIES = Difference(
    "getPINRetries is refused with PIN_NOT_SET (35) while no PIN is set.",
    "The authenticator answers with pinRetries; no step refuses it, and a reader without a PIN has "
    "all of its eight tries.",
    "6.5.5.2",
)

PYTHON_FIDO2 = {
    "test_clientpin.test_set_and_reset[PinProtocolV1]": _RETRIES,
    "test_clientpin.test_set_and_reset[PinProtocolV2]": _RETRIES,
}
