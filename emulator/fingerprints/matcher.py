"""Minutiae and their comparison: what the sensor knows of a finger.

A template is an ISO/IEC 19794-2:2005 record, at most 512 bytes. The scores are bozorth3's: 0 means
nothing in common, and by NIST's rule of thumb two good prints of one finger score over 40.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any, Protocol

import nbis

from tallystick.emulator.fingerprints.impression import Pixels

TEMPLATE_LIMIT = 512  # bytes
MAX_MINUTIAE = 30  # the most reliable ones are kept, as a small module does

_HEADER = 26  # of the ISO record: up to and with the number of minutiae
_MINUTIA = 6
_RELIABILITY = 5  # offset within a minutia


class Matcher(Protocol):
    """Turns images into templates and compares templates."""

    def extract(self, pixels: Pixels) -> bytes:
        """The template of an image; with few or no minutiae when there is little to see."""

    def score(self, probe: bytes, reference: bytes) -> int:
        """Similarity, from 0 upwards. Symmetric but for ties inside the matcher."""


def minutiae_count(template: bytes) -> int:
    return template[_HEADER - 1]


class NbisMatcher:
    """NIST's mindtct and bozorth3 (nbis-py). Extractions and loaded templates are cached."""

    def __init__(self, max_minutiae: int = MAX_MINUTIAE) -> None:
        self._max = max_minutiae
        settings = nbis.NbisExtractorSettings(
            min_quality=0.0,
            get_center=False,
            check_fingerprint=False,
            compute_nfiq2=False,
            ppi=None,
        )
        self._nbis = nbis.new_nbis_extractor(settings)
        self._extracted: dict[bytes, bytes] = {}
        self._load = lru_cache(maxsize=8192)(self._nbis.load_iso_19794_2_2005)

    def extract(self, pixels: Pixels) -> bytes:
        key = hashlib.sha256(pixels.tobytes()).digest()
        if key not in self._extracted:
            if len(self._extracted) >= 4096:
                self._extracted.pop(next(iter(self._extracted)))
            self._extracted[key] = self._extract(pixels)
        return self._extracted[key]

    def _extract(self, pixels: Pixels) -> bytes:
        height, width = pixels.shape
        graymap = f"P5 {width} {height} 255\n".encode() + pixels.tobytes()
        found: Any = self._nbis.extract_minutiae(graymap)
        record: bytes = found.to_iso_19794_2_2005()
        return _most_reliable(record, self._max)

    def score(self, probe: bytes, reference: bytes) -> int:
        if not minutiae_count(probe) or not minutiae_count(reference):
            return 0
        return int(self._load(probe).compare(self._load(reference)))


@lru_cache(maxsize=1)
def shared_matcher() -> NbisMatcher:
    """One matcher for the process: making one takes half a second."""
    return NbisMatcher()


def _most_reliable(record: bytes, limit: int) -> bytes:
    """The record with its `limit` most reliable minutiae."""
    minutiae = [
        record[at : at + _MINUTIA] for at in range(_HEADER, len(record) - _MINUTIA + 1, _MINUTIA)
    ]
    kept = sorted(minutiae, key=lambda m: m[_RELIABILITY], reverse=True)[:limit]
    body = record[: _HEADER - 1] + bytes([len(kept)]) + b"".join(kept)
    return body[:8] + len(body).to_bytes(4, "big") + body[12:]
