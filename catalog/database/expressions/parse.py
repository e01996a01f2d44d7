"""Read CQL2, text or JSON, into a checked tree; whatever is wrong is answered in one line."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from typing import Any

import cql2

from catalog.database.expressions.limits import check_json, check_text, shorten
from catalog.database.expressions.nodes import (
    ITEM_NAMES,
    Among,
    And,
    ArrayComparison,
    ArrayRelation,
    Between,
    Comparison,
    Constant,
    Expression,
    Flag,
    Folded,
    IsNull,
    Like,
    Literal,
    Name,
    Not,
    Operand,
    Or,
    Order,
    Predicate,
    Spatial,
)
from catalog.database.expressions.operands import (
    read_arguments,
    read_array,
    read_name,
    read_operand,
    read_span,
)
from catalog.database.expressions.operators import (
    ARRAYS,
    CALCULATIONS,
    COMPARISONS,
    FOLDS,
    SPATIAL,
    TEMPORAL,
    name_operator,
)
from catalog.database.expressions.patterns import fold_pattern
from catalog.database.expressions.spatial import RELATIONS, read_shape
from catalog.database.expressions.temporal import relate_spans
from infra.errors import InputError

__all__ = ["Expression", "check_properties", "parse_filter", "read_filter_text"]
_Node = dict[str, Any]


def read_filter_text(text: str) -> dict[str, Any]:
    """Turn CQL2 text into CQL2 JSON; :func:`parse_filter` checks what it says.

    Raises:
        InputError: too long or too deep, not CQL2 text, or a bare value.
    """
    check_text(text)
    try:
        found: object = cql2.Expr(text).to_json()
    except Exception as exc:
        raise InputError(f"filter is not CQL2 text: {_locate(exc)}") from exc
    except BaseException as exc:  # a panic inside cql2 is no Exception
        if type(exc).__name__ != "PanicException":
            raise
        raise InputError("filter is not CQL2 text: the parser gave up on it") from exc
    if isinstance(found, bool):
        return {"op": "and", "args": [found, found]}
    if not isinstance(found, dict):
        raise InputError(f"filter {shorten(text)} is a value, not a condition")
    return found


def parse_filter(cql2_json: object) -> Expression:
    """Check CQL2 JSON and turn it into a tree.

    Raises:
        InputError: too large, an unknown operator, wrong arguments, or a malformed literal.
    """
    properties = check_json(cql2_json)
    return Expression(root=_read_predicate(cql2_json), properties=properties)


def check_properties(expression: Expression, known: Collection[str]) -> None:
    """Refuse a filter on a property that no item has, which is most often a slip of the pen.

    Args:
        expression: The parsed filter.
        known: Names of the properties that items have; ``id``, ``collection`` and ``geometry`` need not be.

    Raises:
        InputError: names the property, and the known one that is spelt most like it.
    """
    names = {*known, *ITEM_NAMES}
    for name in sorted(expression.properties - names):
        near = difflib.get_close_matches(name[:80], names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "the queryables list those there are"
        raise InputError(f"filter: no item has a property {shorten(name)}: {hint}")


def _read_predicate(node: object) -> Predicate:
    if isinstance(node, bool):
        return Constant(node)
    if isinstance(node, dict) and "property" in node:
        return _read_flag(node)
    if not isinstance(node, dict) or "op" not in node:
        raise InputError(f"filter: {shorten(node)} is a value, not a condition: compare it with something")
    op = name_operator(node)
    if op in (*CALCULATIONS, *FOLDS):
        raise InputError(f"filter: {shorten(op)} gives a value, not a condition: compare it with something")
    return _READERS[op]({**node, "op": op})


def _read_flag(node: _Node) -> Flag:
    name = read_name(node, of="a condition")
    if name.name in ITEM_NAMES:
        raise InputError(f"filter: {name.name!r} is text, not a condition: compare it with something")
    return Flag(name)


def _read_and(node: _Node) -> And:
    return And(tuple(map(_read_predicate, read_arguments(node, least=1, most=None))))


def _read_or(node: _Node) -> Or:
    return Or(tuple(map(_read_predicate, read_arguments(node, least=1, most=None))))


def _read_not(node: _Node) -> Not:
    (member,) = read_arguments(node, least=1, most=1)
    return Not(_read_predicate(member))


def _read_comparison(node: _Node) -> Comparison:
    op: Order = node["op"]
    left, right = (read_operand(arg, of=f"'{op}'") for arg in read_arguments(node, least=2, most=2))
    return Comparison(op, left, right)


def _read_between(node: _Node) -> Between:
    args = node.get("args")
    # drafts of CQL2, and clients to this day, put the two ends into a list
    if isinstance(args, list | tuple) and len(args) == 2 and isinstance(args[1], list | tuple):
        node = {**node, "args": [args[0], *args[1]]}
    args = read_arguments(node, least=3, most=3)
    operand, low, high = (read_operand(arg, of="between") for arg in args)
    return Between(operand, low, high)


def _read_among(node: _Node) -> Among:
    operand, members = read_arguments(node, least=2, most=2)
    if not isinstance(members, list | tuple) or not members:
        raise InputError(f"filter: in needs a list of one or more values: {shorten(members)} is not one")
    return Among(read_operand(operand, of="in"), tuple(read_operand(member, of="in") for member in members))


def _read_like(node: _Node) -> Like:
    operand, pattern = (read_operand(arg, of="like") for arg in read_arguments(node, least=2, most=2))
    if not isinstance(operand, Name | Folded) and not (
        isinstance(operand, Literal) and isinstance(operand.value, str)
    ):
        raise InputError(f"filter: like matches text: {shorten(node['args'][0])} is not text")
    return Like(operand, _read_pattern(pattern))


def _read_pattern(pattern: Operand) -> str:
    if isinstance(pattern, Literal) and isinstance(pattern.value, str):
        return pattern.value
    if isinstance(pattern, Folded):
        return fold_pattern(_read_pattern(pattern.operand), pattern.fold)
    raise InputError("filter: the pattern of like must be text, e.g. 'S2%'")


def _read_is_null(node: _Node) -> IsNull:
    (arg,) = read_arguments(node, least=1, most=1)
    if isinstance(arg, dict) and arg.get("property") in ("geometry", "properties.geometry"):
        return IsNull(Name("geometry"))
    return IsNull(read_operand(arg, of="isNull"))


def _read_spatial(node: _Node) -> Predicate:
    relation = node["op"].removeprefix("s_")
    left, right = read_arguments(node, least=2, most=2)
    sides = [_is_geometry(left), _is_geometry(right)]
    if sides.count(True) != 1:
        raise InputError(f"filter: {node['op']} relates the property geometry to one shape: state each once")
    if relation == "disjoint":
        return Not(Spatial("intersects", read_shape(left if sides[1] else right, of=node["op"])))
    shape = read_shape(left if sides[1] else right, of=node["op"])
    return Spatial(RELATIONS[relation] if sides[1] else relation, shape)


def _is_geometry(node: object) -> bool:
    return isinstance(node, dict) and node.get("property") in ("geometry", "properties.geometry")


def _read_temporal(node: _Node) -> Predicate:
    left, right = (read_span(arg, of=node["op"]) for arg in read_arguments(node, least=2, most=2))
    return relate_spans(node["op"], left, right)


def _read_array_comparison(node: _Node) -> ArrayComparison:
    relation: ArrayRelation = node["op"]
    left, right = (read_array(arg, of=relation) for arg in read_arguments(node, least=2, most=2))
    return ArrayComparison(relation, left, right)


def _locate(exc: Exception) -> str:
    """Reduce the parser's drawing of the place to one line."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    place = next((line.removeprefix("-->").strip() for line in lines if line.startswith("-->")), None)
    expected = next((line.removeprefix("=").strip() for line in lines if line.startswith("=")), None)
    if place is None or expected is None:
        return " ".join(lines)[:200] or type(exc).__name__
    line, column = place.split(":")[:2]
    return f"line {line}, column {column}: {expected[:200]}"


_READERS: Mapping[str, Callable[[_Node], Predicate]] = {
    "and": _read_and,
    "or": _read_or,
    "not": _read_not,
    "between": _read_between,
    "in": _read_among,
    "like": _read_like,
    "isNull": _read_is_null,
    **dict.fromkeys(COMPARISONS, _read_comparison),
    **dict.fromkeys(SPATIAL, _read_spatial),
    **dict.fromkeys(TEMPORAL, _read_temporal),
    **dict.fromkeys(ARRAYS, _read_array_comparison),
}
