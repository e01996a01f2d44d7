"""Write checked items and collections inside an open transaction."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from catalog.database.derived import derive_collection, derive_items
from catalog.database.documents import Document, ItemRow, spell, stamp
from catalog.database.extents import widen
from catalog.database.footprints import BoundsXyxy, Footprint
from catalog.database.registry import read_registry
from catalog.database.times import to_days
from infra.digests import canonical_json
from infra.errors import InputError, NotFoundError

WriteMode = Literal["upsert", "insert", "replace"]
"""``insert`` refuses ids that exist, ``replace`` ids that do not."""


class ConflictError(InputError):
    """The id exists already, and the caller asked for a new one."""


@dataclass(frozen=True, kw_only=True)
class UpsertResult:
    """Count what an upsert did; an id that came twice in one batch counts once."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    """Equal to what is stored but for ``created`` and ``updated``: nothing was written."""
    outcomes: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    """Per item its id and ``created``, ``updated`` or ``unchanged``; empty where a server does not tell."""

    def __add__(self, other: UpsertResult) -> UpsertResult:
        """Sum the counts of two batches."""
        return UpsertResult(
            created=self.created + other.created,
            updated=self.updated + other.updated,
            unchanged=self.unchanged + other.unchanged,
            outcomes=self.outcomes + other.outcomes,
        )


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """Pair an item with the row it stands in, or will stand in."""

    rowid: int
    row: ItemRow
    document: Document
    """As it is stored: stamped."""


def write_items(
    connection: sqlite3.Connection, rows: Sequence[ItemRow], *, mode: WriteMode, now_us: int
) -> UpsertResult:
    """Write rows whose ids differ from one another, and widen the extents of their collections.

    Raises:
        NotFoundError: a row's collection does not exist, or its item does not (``replace``).
        ConflictError: a row's item exists (``insert``).
    """
    for collection in {row.collection for row in rows}:
        read_collection(connection, collection)
    outcomes: list[tuple[str, str]] = []
    new: list[_Stored] = []
    changed: list[_Stored] = []
    (last,) = connection.execute("SELECT coalesce(max(rowid), 0) FROM items").fetchone()
    for row in rows:
        stored = _find_stored(connection, row, mode)
        if stored is None:
            document = stamp(row.document, created=None, now_us=now_us)
            new.append(_Stored(rowid=last + len(new) + 1, row=row, document=document))
            outcomes.append((row.id, "created"))
        elif stored[1] == row.digest:
            outcomes.append((row.id, "unchanged"))
        else:
            document = stamp(row.document, created=_read_created(connection, stored[0]), now_us=now_us)
            changed.append(_Stored(rowid=stored[0], row=row, document=document))
            outcomes.append((row.id, "updated"))
    _write_rows(connection, new, changed)
    return UpsertResult(
        created=len(new),
        updated=len(changed),
        unchanged=len(rows) - len(new) - len(changed),
        outcomes=tuple(outcomes),
    )


def delete_items(connection: sqlite3.Connection, collection: str, item_id: str | None = None) -> int:
    """Delete one item of a collection, or all of them; returns how many there were."""
    where, parameters = "collection = ?", [collection]
    if item_id is not None:
        where, parameters = "collection = ? AND id = ?", [collection, item_id]
    gone = connection.execute(f"DELETE FROM items WHERE {where}", parameters).rowcount  # noqa: S608
    connection.execute("UPDATE item_counts SET items = items - ? WHERE collection = ?", (gone, collection))
    return gone


def read_collection(connection: sqlite3.Connection, collection: str) -> Document:
    """Read one collection.

    Raises:
        NotFoundError: there is none of this id.
    """
    found = connection.execute("SELECT json FROM collections WHERE id = ?", (collection,)).fetchone()
    if found is None:
        raise NotFoundError(
            f"collection {collection!r} does not exist in this catalogue", collection=collection
        )
    document: Document = json.loads(found[0])
    return document


def write_collection(connection: sqlite3.Connection, collection: Document) -> bool:
    """Write a collection with its extent widened to the items it holds; True when anything changed."""
    declared = canonical_json(collection).decode()
    found = connection.execute(
        "SELECT declared FROM collections WHERE id = ?", (collection["id"],)
    ).fetchone()
    if found is not None and found[0] == declared:
        return False
    text = spell(_fit_extent(connection, collection), where="collection")
    connection.execute(
        "INSERT INTO collections (id, declared, json) VALUES (:id, :declared, :json)"
        " ON CONFLICT (id) DO UPDATE SET declared = :declared, json = :json",
        {"id": collection["id"], "declared": declared, "json": text},
    )
    connection.execute("INSERT OR IGNORE INTO item_counts VALUES (?, 0)", (collection["id"],))
    derive_collection(connection, collection)
    return True


def fit_extents(connection: sqlite3.Connection) -> None:
    """Make the extents of all collections anew from what was declared and the items they hold."""
    for name, declared in connection.execute("SELECT id, declared FROM collections").fetchall():
        fitted = spell(_fit_extent(connection, json.loads(declared)), where=f"collection '{name}'")
        connection.execute("UPDATE collections SET json = ? WHERE id = ?", (fitted, name))


def _fit_extent(connection: sqlite3.Connection, collection: Document) -> Document:
    rows = connection.execute(
        "SELECT DISTINCT west, south, east, north FROM items WHERE collection = ? AND west IS NOT NULL",
        (collection["id"],),
    ).fetchall()
    first_us, last_us = connection.execute(
        "SELECT min(start_us), max(end_us) FROM items WHERE collection = ?", (collection["id"],)
    ).fetchone()
    moments = [] if first_us is None else [(first_us, last_us)]
    return widen(collection, rows, moments, all_items=True)


def _find_stored(connection: sqlite3.Connection, row: ItemRow, mode: WriteMode) -> tuple[int, str] | None:
    """Give row id and digest of what is stored under a row's id."""
    stored: tuple[int, str] | None = connection.execute(
        "SELECT rowid, digest FROM items WHERE id = ? AND collection = ?", (row.id, row.collection)
    ).fetchone()
    if stored is None and mode == "replace":
        raise NotFoundError(
            f"item {row.id!r} does not exist in collection {row.collection!r}: POST creates it", id=row.id
        )
    if stored is not None and mode == "insert":
        raise ConflictError(
            f"item {row.id!r} exists already in collection {row.collection!r}: PUT or upsert changes it",
            id=row.id,
        )
    return stored


def _read_created(connection: sqlite3.Connection, rowid: int) -> str | None:
    created: str | None
    (created,) = connection.execute(
        "SELECT json_extract(json, '$.properties.created') FROM documents WHERE rowid = ?", (rowid,)
    ).fetchone()
    return created


def _write_rows(connection: sqlite3.Connection, new: Sequence[_Stored], changed: Sequence[_Stored]) -> None:
    """Write a batch table by table: one statement for many rows is several times quicker."""
    written = [*new, *changed]
    if not written:
        return
    connection.executemany(
        "INSERT INTO items (rowid, collection, id, digest, start_us, end_us, west, south, east, north,"
        " low, high, footprint) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(each.rowid, each.row.collection, each.row.id, *_decisive(each.row)) for each in new],
    )
    connection.executemany(
        "UPDATE items SET digest = ?, start_us = ?, end_us = ?, west = ?, south = ?, east = ?, north = ?,"
        " low = ?, high = ?, footprint = ? WHERE rowid = ?",
        [(*_decisive(each.row), each.rowid) for each in changed],
    )
    connection.executemany(
        "INSERT OR REPLACE INTO documents (rowid, json) VALUES (?, ?)",
        [(each.rowid, spell(each.document, where=each.row.id)) for each in written],
    )
    keys = [(2 * each.rowid + side,) for each in changed for side in (0, 1)]
    connection.executemany("DELETE FROM items_rtree WHERE key = ?", keys)
    connection.executemany(
        "INSERT INTO items_rtree VALUES (?, ?, ?, ?, ?, ?, ?)",
        [entry for each in written for entry in _rtree_entries(each)],
    )
    registry = read_registry(connection)
    for batch, are_new in ((new, True), (changed, False)):
        derive_items(connection, registry, [(each.rowid, each.document) for each in batch], new=are_new)
    _widen_extents(connection, [each.row for each in written])
    for collection, count in Counter(each.row.collection for each in new).items():
        connection.execute(
            "UPDATE item_counts SET items = items + ? WHERE collection = ?", (count, collection)
        )


def _decisive(row: ItemRow) -> tuple[str | int | float | bytes | None, ...]:
    place = row.footprint
    if place is None:
        return (row.digest, row.start_us, row.end_us, *[None] * 7)
    return (row.digest, row.start_us, row.end_us, *place.bounds, place.low, place.high, place.wkb)


def _rtree_entries(stored: _Stored) -> list[tuple[float, ...]]:
    place = stored.row.footprint
    if place is None:
        return []
    days = to_days(stored.row.start_us), to_days(stored.row.end_us)
    return [
        (2 * stored.rowid + side, west, east, south, north, *days)
        for side, (west, south, east, north) in enumerate(place.boxes())
    ]


def _widen_extents(connection: sqlite3.Connection, rows: Iterable[ItemRow]) -> None:
    by_collection: dict[str, list[ItemRow]] = {}
    for row in rows:
        by_collection.setdefault(row.collection, []).append(row)
    for name, members in by_collection.items():
        collection = read_collection(connection, name)
        (before,) = connection.execute(
            "SELECT items FROM item_counts WHERE collection = ?", (name,)
        ).fetchone()
        moments = [(row.start_us, row.end_us) for row in members]
        widened = widen(collection, _bounds_of(members), moments, all_items=before == 0)
        if widened != collection:
            text = spell(widened, where=f"collection '{name}'")
            connection.execute("UPDATE collections SET json = ? WHERE id = ?", (text, name))


def _bounds_of(rows: Iterable[ItemRow]) -> list[BoundsXyxy]:
    places: list[Footprint] = [row.footprint for row in rows if row.footprint is not None]
    return [place.bounds for place in places]
