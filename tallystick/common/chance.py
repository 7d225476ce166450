"""Where station and server draw what nobody may guess: from the operating system, by `secrets`. One
place, so that a simulation can give them its own source, and a check of the sources (ruff) sees to
it that nothing draws elsewhere."""

from __future__ import annotations

from secrets import choice, randbelow, token_bytes, token_hex, token_urlsafe

__all__ = ["choice", "randbelow", "token_bytes", "token_hex", "token_urlsafe"]
