"""Ask a Tallystick server whether a code is right: the verify API's client.

    from tallystick.client import VerifyClient

    with VerifyClient("https://id.example", token) as client:
        if client.verify("123456", user="ann").accepted:
            ...

`AsyncVerifyClient` is the same with `async with` and `await`. Both try again when no answer comes,
within the time that they are given, and a code is used once however often they have to ask
(`calls.Patience`). Needs `pip install 'tallystick[client]'`.
"""

from __future__ import annotations

from tallystick.client.calls import (
    CheckedCode,
    CheckRefusedError,
    NoAnswerError,
    Patience,
)
from tallystick.client.clients import AsyncVerifyClient, VerifyClient

__all__ = [
    "AsyncVerifyClient",
    "CheckRefusedError",
    "CheckedCode",
    "NoAnswerError",
    "Patience",
    "VerifyClient",
]
