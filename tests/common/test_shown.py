"""What comes from elsewhere cannot take the terminal over."""

from __future__ import annotations

import pytest
from rich.table import Table

from tallystick.common.console import err, out, print_error
from tallystick.common.errors import TallyError

BAD = ["\x1b[2K", "\r", "\x08", "\x9b2J", "\u202e", "\x07", "\x1b]0;t\x07"]


@pytest.mark.parametrize("bad", BAD)
def test_no_control_character_reaches_the_terminal(capsys, bad):
    table = Table("a")
    table.add_row(f"cell {bad}")
    out().print(f"said {bad} by a card", markup=False)
    out().print(table)
    err().print(f"[bold]said[/] {bad}")
    print_error(TallyError(f"what {bad}", kept=bad, todo=bad))
    shown = "".join(capsys.readouterr())
    assert not any(sign in shown for sign in bad if not sign.isprintable())
    assert "said" in shown and ("\\x" in shown or "\\u" in shown)


def test_other_text_stays_as_it_is(capsys):
    out().print("Ærlig ✓ Größe\n\tπ [link]", markup=False)
    assert "Ærlig ✓ Größe\n" in capsys.readouterr().out
