"""The small mistakes that are made in an expression: what else could stand there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from copy import copy

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}
_FORMAT = re.compile(r"[<>!=@][0-9xcbBhHiIlLqQs]+")  # of struct
_NARROWER = {"Q": "I", "q": "i", "L": "H", "I": "H", "i": "h", "H": "B", "h": "b"}


def instead(node: ast.expr) -> Iterator[ast.expr]:
    """Expressions that a slip of the hand would put in the place of this one."""
    match node:
        case ast.Compare():
            for at, operator in enumerate(node.ops):
                for other in _COMPARISONS[type(operator)]:
                    changed = copy(node)
                    changed.ops = [*node.ops[:at], other(), *node.ops[at + 1 :]]
                    yield changed
        case ast.BoolOp():
            yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.BinOp() if type(node.op) in OPERATORS and not _is_text(node):
            yield ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
        case ast.Constant():
            yield from (ast.Constant(value) for value in _constants(node.value))
        case ast.Subscript(slice=ast.Slice() as there):
            yield from _other_slices(node, there)
        case ast.Call(func=ast.Name(id="range")) if not isinstance(node.args[-1], ast.Constant):
            one_less = ast.BinOp(node.args[-1], ast.Sub(), ast.Constant(1))
            if len(node.args) < 3:
                yield ast.Call(node.func, [*node.args[:-1], one_less], [])


def _is_text(node: ast.BinOp) -> bool:
    """Strings that are put together, types that are one of two."""
    return any(
        isinstance(side, ast.JoinedStr)
        or (isinstance(side, ast.Constant) and not isinstance(side.value, int | float))
        for side in (node.left, node.right)
    )


def _constants(value: object) -> Iterator[int | float | str]:
    match value:
        case bool():
            yield not value
        case int():
            yield value + 1
            if value > 0:
                yield value - 1
            bits = value.bit_length()
            if bits >= 16 and value == (1 << bits) - 1:
                yield (1 << bits // 2) - 1
        case float():
            yield value + 1
        case str() if _FORMAT.fullmatch(value):
            for at, letter in enumerate(value):
                if letter in _NARROWER:
                    yield value[:at] + _NARROWER[letter] + value[at + 1 :]


def _other_slices(node: ast.Subscript, there: ast.Slice) -> Iterator[ast.expr]:
    """One item less at either end; ends that are numbers are changed as constants are."""
    if there.upper is not None and not isinstance(there.upper, ast.Constant):
        upper = ast.BinOp(there.upper, ast.Sub(), ast.Constant(1))
        yield ast.Subscript(node.value, ast.Slice(there.lower, upper, there.step), node.ctx)
    if there.lower is not None and not isinstance(there.lower, ast.Constant):
        lower = ast.BinOp(there.lower, ast.Add(), ast.Constant(1))
        yield ast.Subscript(node.value, ast.Slice(lower, there.upper, there.step), node.ctx)
