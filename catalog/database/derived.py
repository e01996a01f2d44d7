"""Make the tables that follow from the documents alone: property values, full text and lineage."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from catalog.database.registry import Registry, enter_always_known, enter_kinds, read_registry
from catalog.database.texts import collection_text, item_text
from catalog.database.values import StoredValue, encode_value

SIBLING_HREF = re.compile(r"[.][.]/[.][.]/([^/?#]+)/items/([^/?#]+)")
"""Link from item to item of one catalogue, whatever its address: collection and id, both quoted."""
_BATCH_ROWS = 1_000
Entry = tuple[int, Mapping[str, Any]]
"""Row id, and the item as stored."""


def derive_items(
    connection: sqlite3.Connection, registry: Registry, entries: Sequence[Entry], *, new: bool
) -> None:
    """Write the values and texts of items whose rows stand in ``items``.

    Args:
        connection: Inside a write transaction.
        registry: Names known so far; new ones are entered.
        entries: The items.
        new: True when none of the rows has values or texts yet.
    """
    seen: dict[tuple[str, str], int] = {}
    encoded = [(rowid, _encode(item, seen)) for rowid, item in entries]
    enter_kinds(connection, registry, seen)
    by_names: dict[tuple[str, ...], list[tuple[StoredValue, ...]]] = {}
    for rowid, values in encoded:
        names = tuple(name for name in values if registry.slots[name] is not None)
        by_names.setdefault(names, []).append((rowid, *(values[name] for name in names)))
    verb = "INSERT" if new else "REPLACE"
    for names, rows in by_names.items():
        columns = "".join(f", p{registry.slots[name]}" for name in names)
        marks = ", ?" * len(names)
        connection.executemany(
            f"{verb} INTO item_values (rowid{columns}) VALUES (?{marks})",
            rows,
        )
    if not new:
        rowids = [(rowid,) for rowid, _ in entries]
        connection.executemany("DELETE FROM item_texts WHERE rowid = ?", rowids)
        connection.executemany("DELETE FROM item_sources WHERE item = ?", rowids)
    connection.executemany(
        "INSERT INTO item_sources (item, source) VALUES (?, ?)",
        [(rowid, source) for rowid, item in entries for source in _sources_of(item)],
    )
    connection.executemany(
        "INSERT INTO item_texts (rowid, text) VALUES (?, ?)",
        [(rowid, item_text(item)) for rowid, item in entries],
    )


def derive_collection(connection: sqlite3.Connection, collection: Mapping[str, Any]) -> None:
    """Write the text of a collection."""
    connection.execute("DELETE FROM collection_texts WHERE id = ?", (collection["id"],))
    connection.execute(
        "INSERT INTO collection_texts (id, text) VALUES (?, ?)",
        (collection["id"], collection_text(collection)),
    )


def derive_all(connection: sqlite3.Connection) -> None:
    """Make all values and texts anew from the documents, inside a write transaction."""
    for table in ("item_values", "item_texts", "item_sources", "collection_texts"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608
    registry = read_registry(connection)
    enter_always_known(connection, registry)
    for batch in _read_batches(connection):
        derive_items(connection, registry, batch, new=True)
    for (text,) in connection.execute("SELECT json FROM collections").fetchall():
        derive_collection(connection, json.loads(text))


def _read_batches(connection: sqlite3.Connection) -> Iterable[list[Entry]]:
    last = -1
    while True:
        rows = connection.execute(
            "SELECT rowid, json FROM documents WHERE rowid > ? ORDER BY rowid LIMIT ?", (last, _BATCH_ROWS)
        ).fetchall()
        if not rows:
            return
        last = rows[-1][0]
        yield [(rowid, json.loads(text)) for rowid, text in rows]


def _sources_of(item: Mapping[str, Any]) -> set[str]:
    """List the items of this catalogue, as collection/id, that an item says it is derived from."""
    found = (SIBLING_HREF.fullmatch(link["href"]) for link in item["links"] if link["rel"] == "derived_from")
    return {f"{unquote(match[1])}/{unquote(match[2])}" for match in found if match is not None}


def _encode(item: Mapping[str, Any], seen: dict[tuple[str, str], int]) -> dict[str, StoredValue]:
    """Spell the properties that are not null, and note the kinds of all."""
    collection = item["collection"]
    values: dict[str, StoredValue] = {}
    for name, value in item["properties"].items():
        stored, kind = encode_value(value)
        key = (collection, name)
        seen[key] = seen.get(key, 0) | kind
        if stored is not None:
            values[name] = stored
    return values
