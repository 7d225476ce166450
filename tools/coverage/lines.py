"""Lines of an instrumented module, so that its tracebacks name those of the source."""

from __future__ import annotations

import ast


def source_lines(tree: ast.Module, text: str) -> tuple[int, ...]:
    """For each line of `text`, which `tree` was written as: the line of the source that it comes
    from. Empty where that is not known."""
    before, after = (
        [node for node in ast.walk(one) if isinstance(node, ast.stmt)]
        for one in (tree, ast.parse(text))
    )
    if len(before) != len(after):
        return ()
    known = {new.lineno: old.lineno for old, new in zip(before, after, strict=True)}
    found = [1]
    for line in range(1, text.count("\n") + 2):
        found.append(known.get(line, found[-1]))
    return tuple(found[1:])
