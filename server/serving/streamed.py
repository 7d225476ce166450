"""Calls that take a file of any size: read as it comes, with no bound for the whole of it."""

from __future__ import annotations

import re

STREAMED = re.compile(r"/v1/(cards|people)/imports|/p/[^/]+/people/import")


def is_streamed(path: str) -> bool:
    return STREAMED.fullmatch(path) is not None
