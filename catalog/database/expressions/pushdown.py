"""Narrow a filter to SQL: a condition that every matching item meets, and whether it says it all.

"Not" is moved down to the leaves first (De Morgan's laws hold in three values, too): what is asked of each
node is then the rows on which it is *known* to be true, or *known* to be false. Unknown and the other answer
count the same, as they do in a WHERE clause.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from shapely.geometry.base import BaseGeometry

from catalog.database.expressions.columns import (
    ALWAYS,
    NEVER,
    UNDECIDED,
    Column,
    Part,
    among_column,
    close_ranges,
    compare_column,
    match_column,
    require_null,
)
from catalog.database.expressions.evaluate import TURNED, compare, compile_test, compile_value, names_plain
from catalog.database.expressions.nodes import (
    PLAIN_NAMES,
    Among,
    And,
    ArrayComparison,
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
)
from catalog.database.expressions.spatial import boxes_of, to_geojson
from catalog.database.registry import Property
from catalog.database.values import NESTED, Kind

_NEGATED: Mapping[Order, Order] = {"=": "<>", "<>": "=", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_WIDTH, _MAX_DEPTH = 8, 12
"""Members joined at one level, and levels of parentheses: SQLite's parser takes some 16, and its expressions
may be 1,000 deep, where a long AND is as deep as it is long. What nests deeper is left to the documents."""


@dataclass(frozen=True, kw_only=True)
class Pushdown:
    """Hold what SQL can say of a filter."""

    sql: str
    """Necessary condition over ``items`` and ``item_values AS v``, joined by rowid; ``TRUE`` when none is."""
    parameters: dict[str, Any]
    """Values of the named parameters of ``sql`` and ``probes``; all names start with ``f``."""
    uses_values: bool
    """True when ``sql`` mentions ``v``."""
    exact: bool
    """True when ``sql`` and ``region`` together are the whole filter: no document needs to be read."""
    probes: tuple[str, ...]
    """Statements selecting the row ids that meet one part of the condition, each answered by one index."""
    region: dict[str, Any] | None
    """GeoJSON that the item's geometry must intersect, on top of ``sql``; None when there is no such part."""


@dataclass(frozen=True)
class _Scope:
    """Know the columns, and collect parameters."""

    properties: Mapping[str, Property]
    parameters: dict[str, Any] = field(default_factory=dict)

    def bind(self, value: object) -> str:
        name = f"f{len(self.parameters)}"
        self.parameters[name] = value
        return f":{name}"

    def column_of(self, operand: Operand) -> Column | None:
        name = operand.name if isinstance(operand, Instant) else operand
        if not isinstance(name, Name):
            return None
        if name.name in PLAIN_NAMES:
            return Column(f"items.{name.name}", Kind.TEXT, is_plain=True)
        known = self.properties.get(name.name)
        return None if known is None or known.slot is None else Column(f"v.p{known.slot}", known.kinds)


def push_down(expression: Expression, properties: Mapping[str, Property]) -> Pushdown:
    """Turn a filter into SQL as far as that goes.

    Args:
        expression: The parsed filter.
        properties: What the database knows, by property name; those missing are decided on documents.
    """
    scope = _Scope(properties)
    parts: list[Part] = []
    region: dict[str, Any] | None = None
    for node, wanted in _conjuncts(expression.root, wanted=True):
        if region is None and wanted and isinstance(node, Spatial) and node.relation == "intersects":
            region = to_geojson(node.shape)
        else:
            parts.append(_push(node, wanted, scope))
    parts = close_ranges(parts)
    whole, probes = _join_all(parts), _make_probes(parts, properties)
    used = set(re.findall(r":(f\d+)", " ".join([whole.sql, *probes])))
    return Pushdown(
        sql=whole.sql,
        parameters={name: value for name, value in scope.parameters.items() if name in used},
        uses_values="v.p" in whole.sql,
        exact=whole.exact,
        probes=probes,
        region=region,
    )


def _conjuncts(node: Predicate, *, wanted: bool) -> Iterator[tuple[Predicate, bool]]:
    """Give the conditions that must all have the answer beside them."""
    if isinstance(node, Not):
        yield from _conjuncts(node.member, wanted=not wanted)
    elif isinstance(node, And if wanted else Or):
        for member in node.members:
            yield from _conjuncts(member, wanted=wanted)
    elif isinstance(node, Between) and wanted:
        yield Comparison(">=", node.operand, node.low), True
        yield Comparison("<=", node.operand, node.high), True
    else:
        yield node, wanted


def _make_probes(parts: Sequence[Part], properties: Mapping[str, Property]) -> tuple[str, ...]:
    indexes = {
        f"v.p{known.slot}": f"item_values_by_p{known.slot}" for known in properties.values() if known.indexed
    }
    clauses: dict[str, list[str]] = {}
    for part in parts:
        if part.column is not None:
            clauses.setdefault(part.column, []).append(part.sql)  # both ends of a range make one probe
    probes = []
    for column, found in clauses.items():
        if column == "items.id":
            probes.append(f"SELECT rowid FROM items INDEXED BY items_by_id WHERE {' AND '.join(found)}")  # noqa: S608
        elif column in indexes:
            source = f"item_values AS v INDEXED BY {indexes[column]}"
            probes.append(f"SELECT rowid FROM {source} WHERE {' AND '.join(found)}")  # noqa: S608
    return tuple(probes)


def _push(node: Predicate, wanted: bool, scope: _Scope) -> Part:
    """Give a condition on the rows on which the node is known to be ``wanted``."""
    match node:
        case Not(member):
            return _push(member, not wanted, scope)
        case And(members) | Or(members):
            parts = [_push(member, wanted, scope) for member in members]
            return _join_all(parts) if isinstance(node, And) is wanted else _join_any(parts)
        case Between(operand, low, high):
            pair = And((Comparison(">=", operand, low), Comparison("<=", operand, high)))
            return _push(pair, wanted, scope)
        case Comparison(op, left, right):
            return _push_comparison(left, op if wanted else _NEGATED[op], right, scope)
        case Constant(value):
            return ALWAYS if value is wanted else NEVER
        case Spatial(_, shape):
            return _push_spatial(shape, wanted, scope)
        case _:
            return _push_leaf(node, wanted, scope)


def _push_leaf(node: Flag | Among | Like | IsNull | ArrayComparison, wanted: bool, scope: _Scope) -> Part:
    match node:
        case Flag(name):
            column = scope.column_of(name)
            return UNDECIDED if column is None else compare_column(column, "=", wanted, scope.bind)
        case ArrayComparison(_, left, right):
            return _push_arrays([left, right], scope)
        case IsNull(Name("geometry")):
            return Part(f"items.west IS {'' if wanted else 'NOT '}NULL", exact=True)
    if _is_constant(node.operand) and not isinstance(node, Among):
        return ALWAYS if compile_test(node)({}) is wanted else NEVER
    column = scope.column_of(node.operand)
    if column is None:
        return UNDECIDED
    match node:
        case IsNull():
            return require_null(column, wanted=wanted)
        case Like(_, pattern):
            return match_column(column, pattern, wanted=wanted, bind=scope.bind)
        case Among(_, members):
            return _push_among(column, members, wanted, scope)


def _push_comparison(left: Operand, op: Order, right: Operand, scope: _Scope) -> Part:
    is_plain = names_plain(left, right)
    if _is_constant(left):
        left, op, right = right, TURNED[op], left
    if not _is_constant(right):
        return UNDECIDED
    value = compile_value(right, is_plain=is_plain)({})
    if _is_constant(left):
        return ALWAYS if compare(op, compile_value(left, is_plain=is_plain)({}), value) else NEVER
    if value is None:
        return NEVER
    column = scope.column_of(left)
    return UNDECIDED if column is None else compare_column(column, op, value, scope.bind)


def _push_among(column: Column, members: Sequence[Operand], wanted: bool, scope: _Scope) -> Part:
    if not all(map(_is_constant, members)):
        return UNDECIDED
    values = [compile_value(member, is_plain=column.is_plain)({}) for member in members]
    if None in values:
        if not wanted:
            return NEVER  # equal to none of them can only be known when all of them are
        values = [value for value in values if value is not None]
    return among_column(column, values, wanted=wanted, bind=scope.bind) if values else NEVER


def _push_arrays(sides: Sequence[object], scope: _Scope) -> Part:
    columns = [scope.column_of(side) for side in sides if isinstance(side, Name)]
    return _join_all(
        [
            UNDECIDED,
            *(Part(f"{column.sql} = {scope.bind(NESTED)}", exact=False) for column in columns if column),
        ]
    )


def _push_spatial(shape: BaseGeometry, wanted: bool, scope: _Scope) -> Part:
    """Every relation kept here implies that the two meet, and so that their bounds do."""
    if not wanted:
        return Part("items.west IS NOT NULL", exact=False)
    meets = []
    for bounds in boxes_of(shape):
        west, south, east, north = map(scope.bind, bounds)
        meets.append(
            f"(items.south <= {north} AND items.north >= {south} AND CASE WHEN items.west <= items.east"
            f" THEN items.west <= {east} AND items.east >= {west}"
            f" ELSE items.west <= {east} OR items.east >= {west} END)"
        )
    return Part(f"({' OR '.join(meets)})", exact=False, depth=2)


def _is_constant(operand: Operand) -> bool:
    match operand:
        case Calculation(_, left, right):
            return _is_constant(left) and _is_constant(right)
        case Folded(_, inner):
            return _is_constant(inner)
    return isinstance(operand, Literal | Moment)


def _join_all(parts: Sequence[Part]) -> Part:
    kept = [part for part in close_ranges(parts) if part.sql != "TRUE"]
    if any(part.sql == "FALSE" for part in kept):
        return NEVER
    return _join(kept, " AND ", exact=all(part.exact for part in parts)) if kept else _all_true(parts)


def _all_true(parts: Sequence[Part]) -> Part:
    return ALWAYS if all(part.exact for part in parts) else UNDECIDED


def _join_any(parts: Sequence[Part]) -> Part:
    if ALWAYS in parts:
        return ALWAYS
    kept = [part for part in parts if part.sql != "FALSE"]
    if any(part.sql == "TRUE" for part in kept):
        return UNDECIDED
    if len(kept) < 2:
        return kept[0] if kept else NEVER
    joined = _join(kept, " OR ", exact=all(part.exact for part in kept))
    if joined.depth >= _MAX_DEPTH:
        return UNDECIDED
    return replace(joined, sql=f"({joined.sql})", depth=joined.depth + 1)


def _join(parts: Sequence[Part], word: str, *, exact: bool) -> Part:
    clauses, depth = [part.sql for part in parts], max(part.depth for part in parts)
    while len(clauses) > _WIDTH:
        clauses = [f"({word.join(clauses[at : at + _WIDTH])})" for at in range(0, len(clauses), _WIDTH)]
        depth += 1
    return Part(word.join(clauses), exact=exact, depth=depth)
