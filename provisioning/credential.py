"""How codes come of a seed. Whoever passes a credential on passes this on as one value, so that
another hash or another length is a matter of this module and of the two ends."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tallystick.common.errors import BadInputError


class HmacHash(StrEnum):
    """Of the HMAC. The values are the names of RFC 6030's algorithm suites."""

    SHA1 = "SHA1"
    SHA256 = "SHA256"
    SHA512 = "SHA512"

    @property
    def function(self) -> Callable[..., Any]:
        function: Callable[..., Any] = getattr(hashlib, self.value.lower())
        return function


@dataclass(frozen=True)
class CodeKind:
    """How a code comes of a seed and a moving factor (RFC 4226, 5.3). digits: 6 to 8.

    Raises BadInputError for other lengths.
    """

    digits: int = 6
    hash: HmacHash = HmacHash.SHA1

    def __post_init__(self) -> None:
        if not 6 <= self.digits <= 8:
            raise BadInputError(f"A code of {self.digits} digits cannot be had; 6 to 8 can.")


SIX_DIGITS = CodeKind()
