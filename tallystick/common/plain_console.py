"""The console that people read. In a module of its own: rich takes 3 MB and more, and a server that
runs for months prints two lines."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from tallystick.common.visible import visible


class PlainConsole(Console):
    """What is printed may come from a card, a file or a server. Characters that would move the
    terminal's cursor, or turn the text round, are shown as what they are."""

    def render_str(self, text: str, **how: Any) -> Text:
        return super().render_str(visible(text), **how)
