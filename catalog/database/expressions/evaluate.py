"""Decide a filter on one item, exactly, in three values: True, False, and None for unknown.

A filter is turned into nested functions once, so that deciding an item costs no look at the tree.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, cast

from catalog.database.documents import Document
from catalog.database.expressions.nodes import (
    ITEM_NAMES,
    PLAIN_NAMES,
    Among,
    And,
    Array,
    ArrayComparison,
    ArrayRelation,
    Between,
    Calculation,
    Comparison,
    Constant,
    Expression,
    Flag,
    Folded,
    Instant,
    IsNull,
    Like,
    Literal,
    Moment,
    Name,
    Not,
    Operand,
    Or,
    Order,
    Predicate,
    Spatial,
    Sum,
    Value,
)
from catalog.database.expressions.patterns import compile_pattern, fold_text
from catalog.database.expressions.spatial import compile_relation, item_shape
from catalog.database.values import read_moment, read_number

Test = Callable[[Document], bool | None]
"""Decides one condition on an item; None is unknown."""
Reader = Callable[[Document], Value]
_Text = Callable[[Document], str | None]
_Members = frozenset[tuple[object, ...]]

_ORDERS: Mapping[Order, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
TURNED: Mapping[Order, Order] = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
"""Each order with the one that says the same of the sides changed over."""
_SUMS: Mapping[Sum, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": math.fmod,
    "^": math.pow,
    "div": lambda left, right: float(math.trunc(left / right)),
}
_SETS: Mapping[ArrayRelation, Callable[[_Members, _Members], bool]] = {
    "a_equals": operator.eq,
    "a_contains": operator.ge,
    "a_containedBy": operator.le,
    "a_overlaps": lambda left, right: not left.isdisjoint(right),
}


def compile_filter(expression: Expression) -> Callable[[Document], bool]:
    """Make a function that tells whether an item matches; unknown does not match."""
    test = compile_test(expression.root)
    return lambda document: test(document) is True


def compile_test(node: Predicate) -> Test:
    """Make a function that decides one condition in three values."""
    compiler = cast("Callable[[Predicate], Test]", _COMPILERS[type(node)])
    return compiler(node)


def compile_value(operand: Operand, *, is_plain: bool) -> Reader:
    """Make a function that reads an operand's value.

    Args:
        operand: What to read.
        is_plain: True where text is never a moment: what ``id`` and ``collection`` are compared with.
    """
    if isinstance(operand, Literal):
        literal = to_value(operand.value, is_plain=is_plain)
        return lambda _: literal
    if isinstance(operand, Moment):
        moment_us = operand.moment_us
        return lambda _: moment_us
    if isinstance(operand, Calculation):
        return _compile_sum(operand)
    if isinstance(operand, Folded):
        text = _compile_text(operand)
        return lambda document: to_value(text(document), is_plain=is_plain)
    if isinstance(operand, Instant):
        text = _compile_text(operand.name)
        return lambda document: None if (found := text(document)) is None else read_moment(found)
    read = _compile_raw(operand)
    return lambda document: to_value(read(document), is_plain=is_plain)


def names_plain(*operands: Operand) -> bool:
    """Tell whether any operand reads ``id`` or ``collection``: then text is compared as text only."""
    return any(
        operand.name in PLAIN_NAMES
        if isinstance(operand, Name)
        else isinstance(operand, Folded) and names_plain(operand.operand)
        for operand in operands
    )


def to_value(raw: object, *, is_plain: bool) -> Value:
    """Read a JSON value as what it is compared as; None for null, arrays, objects and huge numbers."""
    if isinstance(raw, str):
        moment_us = None if is_plain else read_moment(raw)
        return raw if moment_us is None else moment_us
    if isinstance(raw, bool):
        return raw
    return read_number(raw) if isinstance(raw, int | float) else None


def compare(op: Order, left: Value, right: Value) -> bool | None:
    """Compare two values; None when one is unknown, or they are of different kinds."""
    if left is None or type(left) is not type(right):
        return None
    if type(left) is bool and op not in ("=", "<>"):
        return None
    return _ORDERS[op](left, right)


def _compile_raw(name: Name) -> Callable[[Document], object]:
    key = name.name
    if key in ITEM_NAMES:
        return lambda document: document.get(key)
    return lambda document: document["properties"].get(key)


def _compile_text(operand: Operand) -> _Text:
    """Read text as it was written, moments too; None for anything else."""
    if isinstance(operand, Folded):
        inner, fold = _compile_text(operand.operand), operand.fold
        return lambda document: None if (found := inner(document)) is None else fold_text(found, fold)
    if isinstance(operand, Name):
        read = _compile_raw(operand)
        return lambda document: found if isinstance(found := read(document), str) else None
    literal = operand.value if isinstance(operand, Literal) and isinstance(operand.value, str) else None
    return lambda _: literal


def _compile_sum(node: Calculation) -> Reader:
    calculate = _SUMS[node.op]
    left, right = (compile_value(side, is_plain=False) for side in (node.left, node.right))

    def read(document: Document) -> Value:
        term, other = left(document), right(document)
        if not isinstance(term, float) or not isinstance(other, float):
            return None
        try:
            return read_number(calculate(term, other))
        except (ArithmeticError, ValueError):  # division by zero, overflow, root of a negative
            return None

    return read


def _compile_constant(node: Constant) -> Test:
    value = node.value
    return lambda _: value


def _compile_flag(node: Flag) -> Test:
    read = _compile_raw(node.name)
    return lambda document: found if isinstance(found := read(document), bool) else None


def _compile_and(node: And) -> Test:
    return _compile_all([compile_test(member) for member in node.members], ends=False)


def _compile_or(node: Or) -> Test:
    return _compile_all([compile_test(member) for member in node.members], ends=True)


def _compile_all(tests: list[Test], *, ends: bool) -> Test:
    """Ask one after the other until one gives ``ends``; unknown when none does and one is unknown."""

    def test(document: Document) -> bool | None:
        result: bool | None = not ends
        for member in tests:
            found = member(document)
            if found is ends:
                return ends
            if found is None:
                result = None
        return result

    return test


def _compile_not(node: Not) -> Test:
    member = compile_test(node.member)
    return lambda document: None if (found := member(document)) is None else not found


def _compile_comparison(node: Comparison) -> Test:
    is_plain = names_plain(node.left, node.right)
    left, right = (compile_value(side, is_plain=is_plain) for side in (node.left, node.right))
    if isinstance(node.right, Literal | Moment):
        return _compare_with(left, node.op, right({}))
    if isinstance(node.left, Literal | Moment):
        return _compare_with(right, TURNED[node.op], left({}))
    op = node.op
    return lambda document: compare(op, left(document), right(document))


def _compare_with(read: Reader, op: Order, value: Value) -> Test:
    kind, order = type(value), _ORDERS[op]
    if kind is bool and op not in ("=", "<>"):
        return lambda _: None

    def test(document: Document) -> bool | None:
        found = read(document)
        return order(found, value) if type(found) is kind else None

    return test


def _compile_between(node: Between) -> Test:
    operands = node.operand, node.low, node.high
    if names_plain(*operands):  # each pair decides for itself whether moments are text in it
        low_side, high_side = (
            Comparison(">=", node.operand, node.low),
            Comparison("<=", node.operand, node.high),
        )
        return _compile_and(And((low_side, high_side)))
    read, low, high = (compile_value(operand, is_plain=False) for operand in operands)

    def test(document: Document) -> bool | None:
        value = read(document)
        above, below = compare(">=", value, low(document)), compare("<=", value, high(document))
        if above is False or below is False:
            return False
        return None if above is None or below is None else True

    return test


def _compile_among(node: Among) -> Test:
    if not all(isinstance(member, Literal | Moment) for member in node.members):
        return _compile_or(Or(tuple(Comparison("=", node.operand, member) for member in node.members)))
    is_plain = names_plain(node.operand)
    read = compile_value(node.operand, is_plain=is_plain)
    values = [compile_value(member, is_plain=is_plain)({}) for member in node.members]
    found_in = {(type(value), value) for value in values}  # 1.0 == True: only the type keeps them apart
    kinds = {kind for kind, _ in found_in}

    def test(document: Document) -> bool | None:
        value = read(document)
        if (type(value), value) in found_in:
            return True
        return False if kinds == {type(value)} else None

    return test


def _compile_like(node: Like) -> Test:
    text, matches = _compile_text(node.operand), compile_pattern(node.pattern)
    return lambda document: None if (found := text(document)) is None else matches(found)


def _compile_is_null(node: IsNull) -> Test:
    if isinstance(node.operand, Name):
        read = _compile_raw(node.operand)
        return lambda document: read(document) is None
    value = compile_value(node.operand, is_plain=False)
    return lambda document: value(document) is None


def _compile_spatial(node: Spatial) -> Test:
    relate = compile_relation(node.relation, node.shape)
    return lambda document: None if (shape := item_shape(document)) is None else relate(shape)


def _compile_array_comparison(node: ArrayComparison) -> Test:
    left, right, relate = _compile_members(node.left), _compile_members(node.right), _SETS[node.relation]

    def test(document: Document) -> bool | None:
        sides = left(document), right(document)
        return None if sides[0] is None or sides[1] is None else relate(sides[0], sides[1])

    return test


def _compile_members(node: Name | Array) -> Callable[[Document], _Members | None]:
    if isinstance(node, Name):
        read = _compile_raw(node)
        return lambda document: (
            frozenset(map(_to_member, found)) if isinstance(found := read(document), list | tuple) else None
        )
    readers = [
        _compile_members(member) if isinstance(member, Array) else compile_value(member, is_plain=False)
        for member in node.members
    ]
    return lambda document: frozenset(_tag(reader(document)) for reader in readers)


def _to_member(raw: object) -> tuple[object, ...]:
    if isinstance(raw, list | tuple):
        return _tag(frozenset(map(_to_member, raw)))
    return _tag(to_value(raw, is_plain=False))


def _tag(value: object) -> tuple[object, ...]:
    """Make a member of a set; what has no value (null, an object) is equal to nothing, itself included."""
    return (object(),) if value is None else (type(value), value)


_COMPILERS: Mapping[type, object] = {
    Constant: _compile_constant,
    Flag: _compile_flag,
    And: _compile_and,
    Or: _compile_or,
    Not: _compile_not,
    Comparison: _compile_comparison,
    Between: _compile_between,
    Among: _compile_among,
    Like: _compile_like,
    IsNull: _compile_is_null,
    Spatial: _compile_spatial,
    ArrayComparison: _compile_array_comparison,
}
