"""Hooks of `make docs`: the site asks nothing of another host, also not when it is read, and marks
of claims (docs/claims.md) are set small."""

from __future__ import annotations

import re
from typing import Any

_FOREIGN = "https://"
_MARK = re.compile(
    r"(?<![`\[])\[((?:tested|measured|source|reasoned|not shown)(?:: [^\]`]+)?)\](?![`(])"
)
_WORKER = "site/worker.js"  # in place of the one that the offline plugin would have fetched


def on_config(config: Any) -> Any:
    """Called by MkDocs, after the plugins."""
    scripts = [one for one in config.extra["polyfills"] if not str(one).startswith(_FOREIGN)]
    config.extra["polyfills"] = [*scripts, _WORKER]
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs for each page."""
    return _MARK.sub(lambda mark: f'<small class="claim">{mark[1]}</small>', markdown)
