"""Spell the order of answers in SQL, and where in it a page starts.

Newest first is the default: ``start_us``, collection, id, all descending. A search may name its own keys;
then the row id decides between equals. Both are total orders that writing another item does not touch, so a
page that starts after the last key seen (keyset paging) neither repeats nor skips an item while others are
written.

Items without a value come last, whatever the direction. SQLite cannot walk an index in that order, so a
search sorted by a property is two walks: first the items that have the first key, then those that have not.
Text of more than ``values.MAX_TEXT_CHARS`` characters sorts after all shorter text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from catalog.database.filters import SortKey
from catalog.database.registry import Property
from infra.errors import InputError

KeyValue = float | str | bytes | None
Key = tuple[KeyValue, ...]
"""Place in the order: the values of its terms."""


@dataclass(frozen=True, kw_only=True)
class Term:
    """Name one column of an order."""

    sql: str
    descending: bool
    index: str | None = None
    """Index whose walk is in this order; None where there is none."""
    nullable: bool = False

    @property
    def of_values(self) -> bool:
        """Whether the column belongs to ``item_values``."""
        return self.sql.startswith("v.")


@dataclass(frozen=True, kw_only=True)
class Walk:
    """Say how one walk through the order goes: all of it, or its items with or without the first key."""

    terms: tuple[Term, ...]
    clauses: tuple[str, ...] = ()
    parameters: Mapping[str, Any]

    def order_by(self) -> str:
        """Spell the ORDER BY list."""
        spelt = []
        for term in self.terms:
            if term.nullable:
                spelt.append(f"{term.sql} IS NULL")
            spelt.append(f"{term.sql} {'DESC' if term.descending else 'ASC'}")
        return ", ".join(spelt)


NEWEST_FIRST = (
    Term(sql="items.start_us", descending=True),
    Term(sql="items.collection", descending=True),
    Term(sql="items.id", descending=True),
)
_ITEM_COLUMNS = {"id": "items_by_id", "collection": "items_by_collection"}


def order_terms(keys: Sequence[SortKey], properties: Mapping[str, Property]) -> tuple[Term, ...]:
    """Turn sort keys into columns; the row id comes last.

    Raises:
        InputError: a field that no item has, or whose values are not kept in a column.
    """
    if not keys:
        return NEWEST_FIRST
    terms = [_term(key, properties) for key in keys]
    down = keys[0].descending
    if terms[0].sql == "items.collection" and len(terms) == 1:  # as its index goes on
        return (*terms, Term(sql="items.start_us", descending=down), Term(sql="items.id", descending=down))
    # of the table that is walked: SQLite does not see that both row ids are one
    last = "v.rowid" if terms[0].of_values else "items.rowid"
    return (*terms, Term(sql=last, descending=down))


def plan_walks(terms: Sequence[Term], after: Key | None) -> Iterator[Walk]:
    """Give the walks that answer a search, one after the other.

    Args:
        terms: The order.
        after: Values of the last item of the page before.
    """
    first = terms[0]
    if not first.nullable:
        yield _walk_from(terms, after)
        return
    if after is None or after[0] is not None:
        yield _walk_from((replace(first, nullable=False), *terms[1:]), after, f"{first.sql} IS NOT NULL")
        after = None
    # no index says which rows lack the first key in the order of the second
    rest = tuple(replace(term, index=None) for term in terms[1:])
    yield _walk_from(rest, None if after is None else after[1:], f"{first.sql} IS NULL")


def _term(key: SortKey, properties: Mapping[str, Property]) -> Term:
    if key.field in _ITEM_COLUMNS:
        return Term(sql=f"items.{key.field}", descending=key.descending, index=_ITEM_COLUMNS[key.field])
    known = properties.get(key.field)
    if known is None:
        raise InputError(
            f"sortby names {key.field!r}, which no item has: GET /queryables lists what they have"
        )
    if known.slot is None:
        raise InputError(f"sortby names {key.field!r}, which is not kept for sorting: filter by it instead")
    index = f"item_values_by_p{known.slot}" if known.indexed else None
    return Term(sql=f"v.p{known.slot}", descending=key.descending, index=index, nullable=True)


def _walk_from(terms: Sequence[Term], after: Key | None, *clauses: str) -> Walk:
    if after is None:
        return Walk(terms=tuple(terms), clauses=clauses, parameters={})
    named = {f"after{number}": value for number, value in enumerate(after)}
    beyond = (_beyond(terms),) if terms[0].nullable else (_bound(terms[0]), _beyond(terms))
    return Walk(terms=tuple(terms), clauses=(*clauses, *beyond), parameters=named)


def _bound(first: Term) -> str:
    """Spell where the walk along the first column's index starts."""
    return f"{first.sql} {'<=' if first.descending else '>='} :after0"


def _beyond(terms: Sequence[Term]) -> str:
    """Spell "comes after this place": the first column that differs is beyond."""
    if not any(term.nullable for term in terms) and len({term.descending for term in terms}) == 1:
        columns = ", ".join(term.sql for term in terms)
        marks = ", ".join(f":after{number}" for number in range(len(terms)))
        return f"({columns}) {'<' if terms[0].descending else '>'} ({marks})"
    alternatives: list[str] = []
    equal: list[str] = []
    for number, term in enumerate(terms):
        sign = "<" if term.descending else ">"
        case = f"{term.sql} {sign} :after{number}"
        if term.nullable:  # items without a value come after all that have one
            case = f"({case} OR ({term.sql} IS NULL AND :after{number} IS NOT NULL))"
        alternatives.append(" AND ".join([*equal, case]))
        equal.append(f"{term.sql} IS :after{number}")
    return "(" + " OR ".join(f"({alternative})" for alternative in alternatives) + ")"
