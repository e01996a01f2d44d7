"""Spell conditions on one stored column as SQL that an index can answer.

A column of ``item_values`` holds every kind of value, each kind in a range of its own
(:mod:`catalog.database.values`), so a comparison says which range it means. No condition is ever negated in
SQL: "not" is spelt by its opposite here, so that a missing value, which SQL calls NULL, is never a match.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from catalog.database.expressions.nodes import Order, Value
from catalog.database.expressions.patterns import next_text, prefix_of, to_glob
from catalog.database.values import FALSE, LONG_TEXT, TRUE, Kind, StoredValue, encode_moment, encode_value

Bind = Callable[[object], str]
"""Keeps a value as a parameter and gives the parameter's name for the SQL."""
_FROM = {float: "", str: " AND {c} >= ''", int: " AND {c} > x'02'", bool: " AND {c} >= x'00'"}
_UPTO = {float: " AND {c} < ''", str: " AND {c} < x''", int: " AND {c} < x'03'", bool: " AND {c} <= x'01'"}
_IS_LONG = "{c} = x'fe'"
_IS_MOMENT = "{c} > x'02' AND {c} < x'03'"


@dataclass(frozen=True, slots=True)
class Column:
    """Name a column and what it may hold."""

    sql: str
    kinds: Kind
    is_plain: bool = False
    """True for ``id`` and ``collection``: text as it is, never absent."""


@dataclass(frozen=True, slots=True)
class Part:
    """Hold a condition that every matching row meets."""

    sql: str
    exact: bool
    """True when every row that meets it matches."""
    column: str | None = None
    """Set where one index on this column answers it by equality or by a range."""
    half: tuple[type, bool] | None = None
    """Of a range with one end: the kind of value, and whether the end is the lower one."""
    unguarded: str = ""
    """Of such a range: ``sql`` without what keeps it within its kind."""
    depth: int = 1
    """How deep its parentheses nest, at most."""


UNDECIDED, ALWAYS, NEVER = Part("TRUE", exact=False), Part("TRUE", exact=True), Part("FALSE", exact=True)


def compare_column(column: Column, op: Order, value: Value, bind: Bind) -> Part:
    """Spell a comparison with a constant; text with ``id`` and ``collection`` is not read as a moment."""
    c, kind = column.sql, type(value)
    if column.is_plain:
        answers = None if op == "<>" else c
        return Part(f"{c} {op} {bind(value)}", exact=True, column=answers) if kind is str else NEVER
    if kind is bool:
        if op not in ("=", "<>"):
            return NEVER
        return Part(f"{c} = {bind(TRUE if value is (op == '=') else FALSE)}", exact=True, column=c)
    if value is None:
        return NEVER
    stored = _store(value)
    if op == "=":
        return Part(f"{c} = {bind(stored)}", exact=stored != LONG_TEXT, column=c)
    guards = _FROM[kind] if op in ("<", "<=", "<>") else ""
    guards += _UPTO[kind] if op in (">", ">=", "<>") else ""
    unguarded = f"{c} {op} {bind(value if kind is str else stored)}"
    sql = unguarded + guards.format(c=c)
    if kind is str and Kind.LONG_TEXT in column.kinds:
        is_sure = op == "<>" and stored != LONG_TEXT  # long text differs from any short one
        return Part(f"({sql} OR {_IS_LONG.format(c=c)})", exact=is_sure)
    if op == "<>":
        return Part(sql, exact=True)
    return Part(sql, exact=True, column=c, half=(kind, op in (">", ">=")), unguarded=unguarded)


def close_ranges(parts: Sequence[Part]) -> list[Part]:
    """Drop the guards of half ranges that close each other: SQLite might walk on to the guard."""
    halves = {(part.column, part.half) for part in parts if part.half is not None}
    return [
        replace(part, sql=part.unguarded)
        if part.half is not None and (part.column, (part.half[0], not part.half[1])) in halves
        else part
        for part in parts
    ]


def among_column(column: Column, values: Sequence[Value], *, wanted: bool, bind: Bind) -> Part:
    """Spell ``in``, or with ``wanted`` False its opposite: known to equal none of the values."""
    c, kinds = column.sql, {type(value) for value in values}
    if column.is_plain:
        texts = [value for value in values if isinstance(value, str)]
        if not texts or (not wanted and len(kinds) > 1):
            return NEVER
        return Part(f"{c} {_spell_in(texts, wanted, bind)}", exact=True, column=c if wanted else None)
    stored = list(dict.fromkeys(map(_store, values)))
    has_long = LONG_TEXT in stored
    if wanted:
        return Part(f"{c} {_spell_in(stored, wanted, bind)}", exact=not has_long, column=c)
    if len(kinds) > 1:
        return NEVER  # a value differs from those of its own kind only; the others leave it unknown
    (kind,) = kinds
    short = [value for value in stored if value != LONG_TEXT]
    sql = (_FROM[kind] + _UPTO[kind]).format(c=c).removeprefix(" AND ")
    sql += f" AND {c} {_spell_in(short, wanted, bind)}" if short else ""
    if kind is str and Kind.LONG_TEXT in column.kinds:
        return Part(f"({sql} OR {_IS_LONG.format(c=c)})", exact=not has_long)
    return Part(sql, exact=True)


def match_column(column: Column, pattern: str, *, wanted: bool, bind: Bind) -> Part:
    """Spell ``like``, or with ``wanted`` False its opposite: text that does not match."""
    glob, prefix, c = to_glob(pattern), prefix_of(pattern), column.sql
    if glob is None:
        return UNDECIDED
    clauses = [f"{c} {'' if wanted else 'NOT '}GLOB {bind(glob)}"]
    above = next_text(prefix)
    if wanted and prefix:
        clauses.append(f"{c} >= {bind(prefix)}")
    elif not column.is_plain:
        clauses.append(f"{c} >= ''")
    if wanted and above:
        clauses.append(f"{c} < {bind(above)}")
    elif not column.is_plain:
        clauses.append(f"{c} < x''")
    sql = " AND ".join(clauses)
    # of moments the column keeps the time, not the text; but their text starts with a digit
    is_moment_sure = bool(prefix) and prefix[0] not in "0123456789"
    maybes = []
    if Kind.LONG_TEXT in column.kinds:
        maybes.append(_IS_LONG.format(c=c))
    if Kind.MOMENT in column.kinds and not (wanted and is_moment_sure):
        maybes.append(_IS_MOMENT.format(c=c))
    exact = Kind.LONG_TEXT not in column.kinds and (Kind.MOMENT not in column.kinds or is_moment_sure)
    if not maybes:
        return Part(sql, exact=exact, column=c if wanted and prefix else None)
    return Part(f"({' OR '.join([sql, *maybes])})", exact=exact)


def require_null(column: Column, *, wanted: bool) -> Part:
    """Spell ``isNull``, or its opposite."""
    if column.is_plain:
        return NEVER if wanted else ALWAYS
    return Part(f"{column.sql} IS {'' if wanted else 'NOT '}NULL", exact=True)


def _store(value: Value) -> StoredValue:
    # in a Value an int is a moment; in JSON it would be a number
    return encode_moment(value) if type(value) is int else encode_value(value)[0]


def _spell_in(values: Sequence[object], wanted: bool, bind: Bind) -> str:
    return f"{'' if wanted else 'NOT '}IN ({', '.join(map(bind, values))})"
