"""Puts a mutant into functions that are imported already, so that nothing has to be imported again.

Only what functions do can be changed like this. What a module does when it is imported (constants,
members of classes, defaults of arguments) is not: then `changed` says None.
"""

from __future__ import annotations

import gc
import os
from functools import cache
from types import CodeType, FunctionType

_Where = tuple[str, int]  # name in its module, and line


def changed(original: str, mutant: str, file: str) -> dict[_Where, CodeType] | None:
    """Function → its changed code, or None when something else differs."""
    before = compile(original, file, "exec", dont_inherit=True)
    after = compile(mutant, file, "exec", dont_inherit=True)
    found: dict[_Where, CodeType] = {}
    return found if _compare(before, after, found, function=False) else None


def _compare(
    before: CodeType, after: CodeType, found: dict[_Where, CodeType], *, function: bool
) -> bool:
    """Whether all that differs is inside of functions; those go to `found`."""
    pairs = list(zip(_inner(before), _inner(after), strict=False))
    same = (
        len(_inner(before)) == len(_inner(after))
        and _plain(before) == _plain(after)
        and all(_where(one) == _where(other) for one, other in pairs)
    )
    if not function:
        return same and all(
            _compare(one, other, found, function=bool(one.co_flags & _OPTIMIZED))
            for one, other in pairs
        )
    if before != after:
        if before.co_freevars != after.co_freevars:
            return False
        found[_where(before)] = after
        if same:  # those inside of it may be in use already
            return all(_compare(one, other, found, function=True) for one, other in pairs)
    return True


_OPTIMIZED = 1  # CO_OPTIMIZED: a function, no class


def _inner(code: CodeType) -> list[CodeType]:
    return [one for one in code.co_consts if isinstance(one, CodeType)]


def _where(code: CodeType) -> _Where:
    return code.co_qualname, code.co_firstlineno


def _plain(code: CodeType) -> tuple[object, ...]:
    consts = [one for one in code.co_consts if not isinstance(one, CodeType)]
    return code.co_code, code.co_names, code.co_varnames, repr(consts)


def functions() -> dict[str, list[FunctionType]]:
    """File, without links in its path → the functions of it that there are."""
    found: dict[str, list[FunctionType]] = {}
    genuine = cache(os.path.realpath)
    for one in gc.get_objects():
        if isinstance(one, FunctionType):
            found.setdefault(genuine(one.__code__.co_filename), []).append(one)
    return found


def put(there: list[FunctionType], codes: dict[_Where, CodeType]) -> int:
    """Gives the functions of a file their changed code. → how many there were."""
    changed = 0
    for one in there:
        code = codes.get(_where(one.__code__))
        if code is not None:
            one.__code__ = code
            changed += 1
    return changed
