"""Keep account of the property names that items have: where their values stand, and of which kinds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from catalog.database.values import Kind

MAX_SLOTS = 200
"""Property names whose values stand in columns; SQLite allows 2,000 columns, but rows must stay small."""
MAX_INDEXED = 64
"""Of these, the first so many are indexed: SQLite's query planner looks at 64 tables and indexes well."""


ALWAYS_KNOWN = ("datetime", "start_datetime", "end_datetime", "created", "updated")
"""Names that a filter or an order may use whether or not any item has them; all are moments."""
ITEM_VALUES = (
    "CREATE TABLE item_values (rowid INTEGER PRIMARY KEY REFERENCES items (rowid) ON DELETE CASCADE);"
)
_PROSE = frozenset({"description", "processing:lineage"})
"""Names whose values are sentences: free text finds them, an index over them would only cost."""


@dataclass(frozen=True, kw_only=True)
class Property:
    """Say what the database knows of one property name, over all collections."""

    slot: int | None
    """Its values stand in column ``p<slot>`` of ``item_values``; None: only in the documents."""
    indexed: bool
    """True when there is an index ``item_values_by_p<slot>`` over the values that are not null."""
    kinds: Kind
    """Every kind its values ever had."""


@dataclass
class Registry:
    """Hold the names known to one connection's transaction."""

    slots: dict[str, int | None]
    kinds: dict[tuple[str, str], Kind]
    """(collection, name) → kinds."""

    def property_of(self, name: str) -> Property | None:
        """Describe one name; None when no item ever had it."""
        if name not in self.slots:
            return None
        slot = self.slots[name]
        kinds = Kind(0)
        for (_, known), seen in self.kinds.items():
            if known == name:
                kinds |= seen
        return Property(slot=slot, indexed=_is_indexed(name, slot), kinds=kinds)

    def properties(self, names: Iterable[str]) -> dict[str, Property]:
        """Describe those of the names that are known."""
        found = {name: self.property_of(name) for name in names}
        return {name: known for name, known in found.items() if known is not None}


def read_registry(connection: sqlite3.Connection) -> Registry:
    """Read the names and kinds that this transaction sees."""
    slots = dict(connection.execute("SELECT name, slot FROM properties").fetchall())
    kinds = connection.execute("SELECT collection, name, kinds FROM property_kinds").fetchall()
    return Registry(slots=slots, kinds={(collection, name): Kind(bits) for collection, name, bits in kinds})


def enter_always_known(connection: sqlite3.Connection, registry: Registry) -> None:
    """Give the names that every catalogue knows their columns."""
    for name in ALWAYS_KNOWN:
        if name not in registry.slots:
            registry.slots[name] = _add_column(connection, name, len(registry.slots))


def enter_kinds(
    connection: sqlite3.Connection, registry: Registry, seen: Mapping[tuple[str, str], int]
) -> None:
    """Note the kinds (their bits) that a batch of items has, and give new names their columns."""
    for key, bits in seen.items():
        kinds, known = Kind(bits), registry.kinds.get(key)
        if known is not None and kinds | known == known:
            continue
        collection, name = key
        if name not in registry.slots:
            registry.slots[name] = _add_column(connection, name, len(registry.slots))
        registry.kinds[key] = kinds if known is None else kinds | known
        connection.execute(
            "INSERT INTO property_kinds VALUES (?, ?, ?)"
            " ON CONFLICT (collection, name) DO UPDATE SET kinds = excluded.kinds",
            (collection, name, int(registry.kinds[key])),
        )


def _add_column(connection: sqlite3.Connection, name: str, number: int) -> int | None:
    slot = number if number < MAX_SLOTS else None
    connection.execute("INSERT INTO properties VALUES (?, ?)", (name, slot))
    if slot is not None:
        connection.execute(f"ALTER TABLE item_values ADD COLUMN p{slot}")
        if _is_indexed(name, slot):
            # most names belong to few collections: an index over nulls would be mostly nulls
            connection.execute(
                f"CREATE INDEX item_values_by_p{slot} ON item_values (p{slot}) WHERE p{slot} IS NOT NULL"
            )
    return slot


def _is_indexed(name: str, slot: int | None) -> bool:
    return slot is not None and slot < MAX_INDEXED and name not in _PROSE
