"""`python -m tallystick.cli.policy_page`: docs/reference/policy.md, made from the policy and the
words of its form. What a firm decides, its default and its bounds are promised there."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from datetime import time
from enum import StrEnum
from pathlib import Path
from typing import Any

from tallystick.server.accounts.policy import FirmPolicy
from tallystick.server.portal.policy_form import GROUPS, bounds_of

PAGE = Path("docs/reference/policy.md")
_HEAD = """\
# A firm's policy

Made from the server by `make docs`; do not edit. [tested: tests/server/test_policy_page.py]

What each firm decides for itself. Administrators change it in the portal (*Policy*).
`tally server firm policy` shows it and takes it as JSON, by these names. What is not given has its
default. A policy with a value out of its bounds, with a name that is not here, or that does not
fit together is refused whole, and the one before stays.
"""


def page() -> str:
    """The text of docs/reference/policy.md."""
    parts = [_HEAD]
    for group, fields in GROUPS.items():
        rows = [_row(name, *words) for name, words in fields.items()]
        head = "| name | what | default | bounds |\n|---|---|---|---|\n"
        parts.append(f"## {group}\n\n{head}" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _row(name: str, label: str, hint: str) -> str:
    default = _value(FirmPolicy.model_fields[name].default)
    what = f"{label}. {hint}".strip()
    return f"| `{name}` | {what} | {default} | {', '.join(_bounds(name))} |"


def _value(value: Any) -> str:
    if value is None or value == "" or (isinstance(value, Collection) and not value):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, frozenset):
        return _value(tuple(sorted(value)))
    if isinstance(value, tuple):
        return ", ".join(map(_value, value))
    if isinstance(value, StrEnum):
        return value.value
    return f"{value:%H:%M}" if isinstance(value, time) else str(value)


def _bounds(name: str) -> Iterator[str]:
    found = bounds_of(name)
    if "le" in found:
        yield f"{found['ge']} to {found['le']}"
    elif "ge" in found:
        yield f"{found['ge']} at least"
    if "min_length" in found:
        yield f"{found['min_length']} at least"
    if "max_length" in found:
        yield f"{found['max_length']} characters"


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")


if __name__ == "__main__":
    main()
