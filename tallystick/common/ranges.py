"""Numbers on the command line."""

from __future__ import annotations

import math
from typing import Any

import click


class RealRange(click.FloatRange):
    """As `click.FloatRange`, which takes `nan`: that is in no range, and compares with nothing."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is no number.", param, ctx)
        return number
