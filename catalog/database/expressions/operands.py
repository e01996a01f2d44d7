"""Read the values of a filter: literals, names, calculations, arrays, moments and intervals."""

from __future__ import annotations

import re
from typing import Any, cast

from catalog.database.expressions.limits import shorten, strip_prefix
from catalog.database.expressions.nodes import (
    ITEM_NAMES,
    Array,
    Calculation,
    Fold,
    Folded,
    Instant,
    Literal,
    Moment,
    Name,
    Operand,
    Sum,
)
from catalog.database.expressions.operators import CALCULATIONS, FOLDS, name_operator
from catalog.database.times import parse_moment
from catalog.database.values import read_moment, read_number
from infra.errors import InputError

OPEN_START, OPEN_END = Moment(-(2**63)), Moment(2**63 - 1)
"""Ends of an interval that is open (``..``): before and after every moment that text can spell."""

_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_OPEN = ".."


def read_arguments(node: dict[str, Any], *, least: int, most: int | None) -> list[Any]:
    """Give the arguments of an operator.

    Raises:
        InputError: no list, or not as many as the operator takes.
    """
    op, args = node["op"], node.get("args")
    if not isinstance(args, list | tuple):
        raise InputError(f"filter: {shorten(op)} has no list of arguments ('args')")
    if len(args) < least or (most is not None and len(args) > most):
        expected = (
            f"{least}" if least == most else f"{least} or more" if most is None else f"{least} to {most}"
        )
        raise InputError(f"filter: {shorten(op)} has {len(args)} arguments: expected {expected}")
    return list(args)


def read_operand(node: object, *, of: str) -> Operand:
    """Read a single value: number, text, boolean, moment, property, calculation or folded text.

    Args:
        node: CQL2 JSON.
        of: Operator whose argument it is, for the message.

    Raises:
        InputError: anything else; null, too.
    """
    if node is None:
        raise InputError(f"filter: {of} cannot take null, which equals nothing: use IS NULL")
    if isinstance(node, bool | str):
        return Literal(node)
    if isinstance(node, int | float):
        return Literal(_read_number(node, of))
    if isinstance(node, dict):
        if "property" in node:
            return read_name(node, of=of)
        if "timestamp" in node or "date" in node:
            return _read_moment(node)
        op = name_operator(node) if "op" in node else None
        if op in CALCULATIONS:
            return _read_calculation({**node, "op": op})
        if op in FOLDS:
            return _read_folded({**node, "op": op})
    raise InputError(f"filter: {of} takes single values: {shorten(node)} is {_describe(node)}")


def read_name(node: dict[str, Any], *, of: str) -> Name:
    """Read a reference to a property, to ``id`` or to ``collection``.

    Raises:
        InputError: no text, empty, or ``geometry``, which has no value to compare.
    """
    name = node["property"]
    if not isinstance(name, str) or not strip_prefix(name):
        raise InputError(f"filter: {of}: property name {shorten(name)} is not text, or empty")
    name = strip_prefix(name)
    if name == "geometry":
        raise InputError(f"filter: {of} cannot take geometry: use s_intersects and its kin, or IS NULL")
    return Name(name)


def read_array(node: object, *, of: str) -> Name | Array:
    """Read an array: written out, or a property.

    Raises:
        InputError: neither, or a member that is null or no value.
    """
    if isinstance(node, list | tuple):
        return Array(
            tuple(
                cast("Array", read_array(member, of=of))
                if isinstance(member, list | tuple)
                else read_operand(member, of=of)
                for member in node
            )
        )
    if isinstance(node, dict) and "property" in node:
        name = read_name(node, of=of)
        if name.name not in ITEM_NAMES:
            return name
    elif isinstance(node, dict) and ("timestamp" in node or "date" in node):
        return Array((_read_moment(node),))  # cql2 reads "(DATE('2024-05-01'))" as a date in parentheses
    raise InputError(f"filter: {of} takes arrays: {shorten(node)} is neither a list nor a property")


def read_span(node: object, *, of: str) -> tuple[Moment | Instant, Moment | Instant]:
    """Read a moment or an interval as its two ends, which are the same for a moment.

    Raises:
        InputError: neither; or a literal interval that ends before it starts.
    """
    if not (isinstance(node, dict) and "interval" in node):
        instant = _read_instant(node, of)
        return instant, instant
    ends = node["interval"]
    if not isinstance(ends, list | tuple) or len(ends) != 2:
        raise InputError(f"filter: {of}: interval {shorten(ends)} needs two ends: expected [start, end]")
    start = OPEN_START if ends[0] == _OPEN else _read_instant(ends[0], of)
    end = OPEN_END if ends[1] == _OPEN else _read_instant(ends[1], of)
    if isinstance(start, Moment) and isinstance(end, Moment) and start.moment_us > end.moment_us:
        raise InputError(f"filter: {of}: interval {shorten(ends)} ends before it starts: swap the two")
    return start, end


def _read_number(value: float, of: str) -> float:
    number = read_number(value)
    if number is None:
        raise InputError(f"filter: {of}: number {shorten(value)} is out of range: expected a finite double")
    return number


def _read_moment(node: dict[str, Any]) -> Moment:
    if "timestamp" in node:
        return Moment(parse_moment(node["timestamp"], where="filter: timestamp"))
    text = node["date"]
    moment_us = read_moment(text) if isinstance(text, str) and _DATE.fullmatch(text) else None
    if moment_us is None:
        raise InputError(f"filter: date {shorten(text)} is not a date: expected e.g. '2024-05-01'")
    return Moment(moment_us)


def _read_instant(node: object, of: str) -> Moment | Instant:
    if isinstance(node, dict) and "property" in node:
        name = read_name(node, of=of)
        if name.name in ITEM_NAMES:
            raise InputError(f"filter: {of} takes moments: {name.name!r} is text")
        return Instant(name)
    if isinstance(node, dict) and ("timestamp" in node or "date" in node):
        return _read_moment(node)
    moment_us = read_moment(node) if isinstance(node, str) else None
    if moment_us is None:
        raise InputError(
            f"filter: {of} takes moments and intervals: {shorten(node)} is neither; expected e.g."
            " '2024-05-01T10:00:00Z', '2024-05-01', or '..' for an open end"
        )
    return Moment(moment_us)


def _read_calculation(node: dict[str, Any]) -> Calculation:
    op: Sum = node["op"]
    left, right = (_read_term(arg, of=op) for arg in read_arguments(node, least=2, most=2))
    return Calculation(op, left, right)


def _read_term(node: object, *, of: str) -> Operand:
    operand = read_operand(node, of=f"'{of}'")
    is_number = isinstance(operand, Calculation | Name) or (
        isinstance(operand, Literal) and type(operand.value) is float
    )
    if not is_number or (isinstance(operand, Name) and operand.name in ITEM_NAMES):
        raise InputError(f"filter: '{of}' calculates with numbers: {shorten(node)} is not one")
    return operand


def _read_folded(node: dict[str, Any]) -> Folded:
    op: Fold = node["op"]
    (arg,) = read_arguments(node, least=1, most=1)
    operand = read_operand(arg, of=op)
    if not isinstance(operand, Name | Folded) and not (
        isinstance(operand, Literal) and isinstance(operand.value, str)
    ):
        raise InputError(f"filter: {op} takes text: {shorten(arg)} is not text")
    return Folded(op, operand)


def _describe(node: object) -> str:
    """Say what a value is that is out of place, and what would be in place."""
    if isinstance(node, list | tuple):
        return "an array: arrays are compared by a_equals and its kin"
    if not isinstance(node, dict):
        return "not a value of CQL2"
    if "interval" in node:
        return "an interval: intervals are compared by t_intersects and its kin"
    if "bbox" in node or "type" in node:
        return "a shape: shapes are compared by s_intersects and its kin"
    return "a condition" if "op" in node else "not a value of CQL2"
