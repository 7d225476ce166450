"""When a loan ends, as a person says it."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from tallystick.common.errors import BadInputError


def parse_until(text: str, now: datetime) -> int | None:
    """`day` (the firm's working day: None), `17:30` (the next one), `3h`, `2d`, or an ISO date and
    time; → seconds since 1970. now: with the time zone that the person means.

    Raises BadInputError.
    """
    text = text.strip()
    if text in ("", "day"):
        return None
    if spell := re.fullmatch(r"(\d{1,3})([hd])", text):
        number = int(spell[1])
        length = timedelta(hours=number) if spell[2] == "h" else timedelta(days=number)
        return int((now + length).timestamp())
    try:
        if re.fullmatch(r"\d{1,2}:\d{2}", text):
            hour, minute = map(int, text.split(":"))
            end = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
            return int((end if end > now else end + timedelta(days=1)).timestamp())
        end = datetime.fromisoformat(text)
    except ValueError:
        raise BadInputError(
            f"{text!r} is no end of a loan.",
            kept="Nothing was changed.",
            todo="Give `day`, a time as 17:30, a span as 3h or 2d, or 2026-05-01T17:30.",
        ) from None
    return int((end if end.tzinfo else end.replace(tzinfo=now.tzinfo)).timestamp())


def in_words(seconds: int) -> str:
    """A moment in the station's own time zone."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%a %d %b %Y %H:%M")
