"""Text from a card, a file or a server, as a terminal may have it."""

from __future__ import annotations

_SHOWN = {
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    for code in (
        *range(0x20), *range(0x7F, 0xA0), 0x200E, 0x200F, *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
    )
    if chr(code) not in "\n\t"
}  # fmt: skip


def visible(text: str) -> str:
    """The text, with characters that would move a terminal's cursor shown as what they are."""
    return text.translate(_SHOWN)
