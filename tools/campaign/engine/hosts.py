"""What a campaign needs beside the devices."""

from __future__ import annotations

from importlib.util import find_spec


def of_readers() -> bool:
    """Whether python-fido2 is there, of an optional extra: the host on a reader's bus."""
    try:
        return find_spec("fido2") is not None
    except ModuleNotFoundError:  # so says an importer that was told to hide it
        return False
