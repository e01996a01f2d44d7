"""Look for what a sound catalogue file does not have; every check tells its faults in one line each."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from catalog.database.documents import ItemRow, check_items
from catalog.database.registry import Registry, read_registry
from catalog.database.values import Kind, StoredValue, encode_value
from infra.errors import InputError

Check = Callable[[sqlite3.Connection], Iterator[str]]
_BATCH_ROWS = 500
_SHOWN = 20
"""Lines that SQLite's own checks give at most."""

ENTRIES = """
SELECT 2 * rowid AS key, id, west, CASE WHEN west <= east THEN east ELSE 180.0 END AS east, south, north,
    start_us / 86400000000.0 AS first_day, end_us / 86400000000.0 AS last_day
FROM items WHERE west IS NOT NULL
UNION ALL
SELECT 2 * rowid + 1, id, -180.0, east, south, north, start_us / 86400000000.0, end_us / 86400000000.0
FROM items WHERE west > east
"""
"""What ``items_rtree`` must hold; it rounds outwards, so its own numbers may be a little wider."""

_COUNTED = (
    (
        "{n} items have no document, {id!r} among them",
        "SELECT items.id FROM items LEFT JOIN documents USING (rowid) WHERE documents.rowid IS NULL",
    ),
    (
        "{n} documents belong to no item, row {id!r} among them",
        "SELECT documents.rowid FROM documents LEFT JOIN items USING (rowid) WHERE items.rowid IS NULL",
    ),
    (
        "{n} items are not where the spatial index looks for them, {id!r} among them",
        f"SELECT e.id FROM ({ENTRIES}) AS e LEFT JOIN items_rtree AS r ON r.key = e.key"  # noqa: S608
        " WHERE r.key IS NULL OR NOT (r.west <= e.west AND r.east >= e.east AND r.south <= e.south"
        " AND r.north >= e.north AND r.first_day <= e.first_day AND r.last_day >= e.last_day)",
    ),
    (
        "{n} entries of the spatial index belong to no item, entry {id!r} among them",
        "SELECT r.key FROM items_rtree AS r LEFT JOIN items ON items.rowid = r.key >> 1"
        " WHERE items.west IS NULL OR (r.key & 1 AND items.west <= items.east)",
    ),
    (
        "{n} items have no row of values, {id!r} among them",
        "SELECT items.id FROM items LEFT JOIN item_values AS v USING (rowid) WHERE v.rowid IS NULL",
    ),
    (
        "{n} rows of values belong to no item, row {id!r} among them",
        "SELECT v.rowid FROM item_values AS v LEFT JOIN items USING (rowid) WHERE items.rowid IS NULL",
    ),
    (
        "{n} items have no text, {id!r} among them",
        "SELECT id FROM items WHERE rowid NOT IN (SELECT rowid FROM item_texts)",
    ),
    (
        "{n} texts belong to no item, row {id!r} among them",
        "SELECT rowid FROM item_texts WHERE rowid NOT IN (SELECT rowid FROM items)",
    ),
    (
        "{n} collections have no text, {id!r} among them",
        "SELECT id FROM collections WHERE id NOT IN (SELECT id FROM collection_texts)",
    ),
    (
        "{n} collections count their items wrongly, {id!r} among them",
        "SELECT id FROM collections LEFT JOIN item_counts ON collection = id WHERE coalesce(items, -1)"
        " <> (SELECT count(*) FROM items WHERE collection = collections.id)",
    ),
)
"""Line to tell, and the select of one name for each fault."""


def check_pages(connection: sqlite3.Connection) -> Iterator[str]:
    """Let SQLite look through its pages, its indexes and its spatial index."""
    for (line,) in connection.execute(f"PRAGMA integrity_check({_SHOWN})").fetchall():
        if line != "ok":
            yield f"SQLite: {line}"
    (line,) = connection.execute("SELECT rtreecheck('items_rtree')").fetchone()
    if line != "ok":
        yield f"spatial index: {line.splitlines()[0]}"


def check_references(connection: sqlite3.Connection) -> Iterator[str]:
    """Look for rows that name what does not exist."""
    for table, rowid, parent, _ in connection.execute("PRAGMA foreign_key_check").fetchmany(_SHOWN):
        yield f"row {rowid} of {table} names a row of {parent} that does not exist"


def check_tables(connection: sqlite3.Connection) -> Iterator[str]:
    """Compare the tables that belong together row by row."""
    for line, select in _COUNTED:
        faults = f"WITH faults (id) AS ({select}) SELECT count(DISTINCT id), min(id) FROM faults"  # noqa: S608
        count, example = connection.execute(faults).fetchone()
        if count:
            yield line.format(n=count, id=example)


def check_documents(connection: sqlite3.Connection) -> Iterator[str]:
    """Make each item's row and values again from its document, and compare; the slowest of the checks."""
    registry = read_registry(connection)
    slots = [slot for slot in registry.slots.values() if slot is not None]
    names = {slot: name for name, slot in registry.slots.items()}
    columns = "".join(f", v.p{slot}" for slot in slots)
    cursor = connection.execute(
        "SELECT json, collection, id, digest, start_us, end_us, west, south, east, north, low, high,"  # noqa: S608
        f" footprint{columns} FROM items JOIN documents USING (rowid) JOIN item_values AS v USING (rowid)"
    )
    while rows := cursor.fetchmany(_BATCH_ROWS):
        remade = _remake([text for text, *_ in rows])
        for made, (_, *stored) in zip(remade, rows, strict=True):
            values = {names[slot]: value for slot, value in zip(slots, stored[12:], strict=True)}
            fault = made if isinstance(made, str) else _compare(made, stored[:12], values, registry)
            if fault is not None:
                yield f"item {stored[1]!r} of {stored[0]!r}: {fault}"


def _remake(texts: Sequence[str]) -> list[ItemRow | str]:
    """Make rows from documents, all at once while that succeeds; say of each bad one what is wrong."""
    try:
        return [*check_items([json.loads(text) for text in texts], mend=True)]
    except (ValueError, InputError, RecursionError) as exc:
        if len(texts) == 1:
            return [f"its document is malformed: {exc}"]
    return [made for text in texts for made in _remake([text])]


def _compare(
    row: ItemRow, stored: Sequence[Any], values: dict[str, StoredValue], registry: Registry
) -> str | None:
    if _decisive(row) != tuple(stored):
        return "its row is not what its document says"
    for name, value in row.document["properties"].items():
        spelt, kind = encode_value(value)
        if registry.slots.get(name) is not None and values.pop(name) != spelt:
            return f"its value of {name!r} is not what its document says"
        if kind & ~int(registry.kinds.get((row.collection, name), 0)):
            return f"nobody noted that its {name!r} is of kind {Kind(kind).name}"
    if any(value is not None for value in values.values()):
        return "it has values that its document has not"
    return None


def _decisive(row: ItemRow) -> tuple[str | int | float | bytes | None, ...]:
    place = row.footprint
    where = [None] * 7 if place is None else [*place.bounds, place.low, place.high, place.wkb]
    return (row.collection, row.id, row.digest, row.start_us, row.end_us, *where)


CHECKS: dict[str, Check] = {
    "pages": check_pages,
    "references": check_references,
    "tables": check_tables,
    "documents": check_documents,
}
"""Name → check, quick ones first. Where ``pages`` finds a fault, the others cannot be believed."""
