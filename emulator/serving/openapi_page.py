"""A plain page made from an OpenAPI description: no scripts, nothing fetched from elsewhere."""

from __future__ import annotations

import json
import re
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; }
section { border: 1px solid var(--line); border-radius: .6rem; margin: 1rem 0; padding: .8rem 1rem;
} h2 { font-size: 1.05rem; margin: 0 0 .3rem; display: flex; gap: .7rem; align-items: baseline; }
code, pre { font: .9em/1.45 ui-monospace, monospace; }
.method { font-weight: 700; border-radius: .3rem; padding: 0 .45rem; background: var(--soft); }
pre { background: var(--soft); border-radius: .4rem; padding: .6rem .8rem; overflow-x: auto; margin:
.5rem 0 0; } table { border-collapse: collapse; } td { padding: .1rem 1rem .1rem 0; vertical-align:
top; }
"""


def page(schema: dict[str, Any]) -> str:
    """The whole page as HTML."""
    info = schema["info"]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width,initial-scale=1">',
        '<link rel=icon href="data:,">',
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style>",
        f"<main><h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>",
        f"<p>{escape(info.get('description', ''))}</p>",
        '<p>Machine-readable: <a href="/openapi.json">openapi.json</a></p>',
    ]
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            parts.append(_operation(schema, path, method, operation))
    return "".join(parts) + "</main>"


def _operation(schema: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> str:
    """One call. What a model says is left out where the call's summary says the same."""
    rows = [
        (parameter["name"], _kind(schema, parameter["schema"]), "query")
        for parameter in operation.get("parameters", [])
    ]
    summary = f"{operation.get('summary', '')}."
    text = _prose(operation.get("description", ""))
    example = ""
    body = operation.get("requestBody")
    if body:
        model = _resolve(schema, body["content"]["application/json"]["schema"])
        said = model.get("description", "")
        text += "" if said == summary else _prose(said)
        rows += [(n, _kind(schema, p), "body") for n, p in model["properties"].items()]
        values = {n: _example(schema, p) for n, p in model["properties"].items()}
        example = f"<pre>{method.upper()} {escape(path)}\n{escape(json.dumps(values))}</pre>"
    table = "".join(
        f"<tr><td><code>{escape(name)}</code><td>{escape(kind)}<td>{where}"
        for name, kind, where in rows
    )
    return (
        f"<section><h2><span class=method>{method.upper()}</span><code>{escape(path)}</code></h2>"
        f"<div>{escape(summary)} {text}{example}</div>"
        f"{f'<table>{table}</table>' if table else ''}</section>"
    )


def _resolve(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    reference = node.get("$ref")
    if reference is None:
        return node
    found: dict[str, Any] = schema["components"]["schemas"][reference.rsplit("/", 1)[1]]
    return found


def _kind(schema: dict[str, Any], node: dict[str, Any]) -> str:
    node = _resolve(schema, node)
    if "default" in node:
        plain = {key: value for key, value in node.items() if key != "default"}
        return f"{_kind(schema, plain)}, default {json.dumps(node['default'])}"
    if "enum" in node:
        return " | ".join(str(value) for value in node["enum"])
    if "anyOf" in node:
        return " or ".join(_kind(schema, option) for option in node["anyOf"])
    kind = str(node.get("type", "any"))
    if "minimum" in node and "maximum" in node:
        kind += f" {node['minimum']:.0f} to {node['maximum']:.0f}"
    return kind


def _prose(text: str) -> str:
    """A docstring as HTML: one paragraph, words in backquotes as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(" ".join(text.split())))


def _example(schema: dict[str, Any], node: dict[str, Any]) -> Any:
    node = _resolve(schema, node)
    if "default" in node:
        return node["default"]
    if "anyOf" in node:
        return _example(schema, node["anyOf"][0])
    return {"boolean": True, "integer": 2900 if node.get("maximum") == 5000 else 1000}.get(
        str(node.get("type")), ""
    )
