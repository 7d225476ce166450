"""A hook of `make docs`: the site asks nothing of another host, also not when it is read."""

from __future__ import annotations

from typing import Any

_FOREIGN = "https://"
_WORKER = "site/worker.js"  # in place of the one that the offline plugin would have fetched


def on_config(config: Any) -> Any:
    """Called by MkDocs, after the plugins."""
    scripts = [one for one in config.extra["polyfills"] if not str(one).startswith(_FOREIGN)]
    config.extra["polyfills"] = [*scripts, _WORKER]
    return config
