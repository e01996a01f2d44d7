"""Write checked items and collections inside an open transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from catalog.server.documents import Document, ItemRow, spell, stamp
from catalog.server.extents import widen
from catalog.server.footprints import BoundsXyxy, Footprint
from catalog.server.times import to_days
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

    def __add__(self, other: UpsertResult) -> UpsertResult:
        """Sum the counts of two batches."""
        return UpsertResult(
            created=self.created + other.created,
            updated=self.updated + other.updated,
            unchanged=self.unchanged + other.unchanged,
        )


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
    counts = {"created": 0, "updated": 0, "unchanged": 0}
    written = []
    for row in rows:
        outcome = _write_item(connection, row, mode=mode, now_us=now_us)
        counts[outcome] += 1
        if outcome != "unchanged":
            written.append(row)
    _widen_extents(connection, written)
    return UpsertResult(**counts)


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
    rows = connection.execute(
        "SELECT DISTINCT west, south, east, north FROM items WHERE collection = ? AND west IS NOT NULL",
        (collection["id"],),
    ).fetchall()
    first_us, last_us = connection.execute(
        "SELECT min(start_us), max(end_us) FROM items WHERE collection = ?", (collection["id"],)
    ).fetchone()
    widened = widen(collection, rows, [] if first_us is None else [(first_us, last_us)])
    connection.execute(
        "INSERT INTO collections (id, declared, json) VALUES (:id, :declared, :json)"
        " ON CONFLICT (id) DO UPDATE SET declared = :declared, json = :json",
        {"id": collection["id"], "declared": declared, "json": spell(widened, where="collection")},
    )
    return True


def _write_item(connection: sqlite3.Connection, row: ItemRow, *, mode: WriteMode, now_us: int) -> str:
    stored = connection.execute(
        "SELECT rowid, digest FROM items WHERE id = ? AND collection = ?", (row.id, row.collection)
    ).fetchone()
    if stored is None:
        if mode == "replace":
            raise NotFoundError(
                f"item {row.id!r} does not exist in collection {row.collection!r}: POST creates it", id=row.id
            )
        _insert_row(connection, row, stamp(row.document, created=None, now_us=now_us))
        return "created"
    rowid, digest = stored
    if mode == "insert":
        raise ConflictError(
            f"item {row.id!r} exists already in collection {row.collection!r}: PUT or upsert changes it",
            id=row.id,
        )
    if digest == row.digest:
        return "unchanged"
    (old,) = connection.execute(
        "SELECT json_extract(json, '$.properties.created') FROM documents WHERE rowid = ?", (rowid,)
    ).fetchone()
    _update_row(connection, rowid, row, stamp(row.document, created=old, now_us=now_us))
    return "updated"


def _insert_row(connection: sqlite3.Connection, row: ItemRow, document: Document) -> None:
    cursor = connection.execute(
        "INSERT INTO items (collection, id, digest, start_us, end_us, west, south, east, north,"
        " low, high, footprint) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (row.collection, row.id, *_decisive(row)),
    )
    assert cursor.lastrowid is not None
    connection.execute(
        "INSERT INTO documents (rowid, json) VALUES (?, ?)", (cursor.lastrowid, spell(document, where=row.id))
    )
    _enter_rtree(connection, cursor.lastrowid, row)


def _update_row(connection: sqlite3.Connection, rowid: int, row: ItemRow, document: Document) -> None:
    connection.execute(
        "UPDATE items SET digest = ?, start_us = ?, end_us = ?, west = ?, south = ?, east = ?, north = ?,"
        " low = ?, high = ?, footprint = ? WHERE rowid = ?",
        (*_decisive(row), rowid),
    )
    connection.execute(
        "UPDATE documents SET json = ? WHERE rowid = ?", (spell(document, where=row.id), rowid)
    )
    connection.execute("DELETE FROM items_rtree WHERE key = ?", (2 * rowid,))
    connection.execute("DELETE FROM items_rtree WHERE key = ?", (2 * rowid + 1,))
    _enter_rtree(connection, rowid, row)


def _decisive(row: ItemRow) -> tuple[str | int | float | bytes | None, ...]:
    place = row.footprint
    if place is None:
        return (row.digest, row.start_us, row.end_us, *[None] * 7)
    return (row.digest, row.start_us, row.end_us, *place.bounds, place.low, place.high, place.wkb)


def _enter_rtree(connection: sqlite3.Connection, rowid: int, row: ItemRow) -> None:
    if row.footprint is None:
        return
    days = to_days(row.start_us), to_days(row.end_us)
    for side, (west, south, east, north) in enumerate(row.footprint.boxes()):
        connection.execute(
            "INSERT INTO items_rtree VALUES (?, ?, ?, ?, ?, ?, ?)",
            (2 * rowid + side, west, east, south, north, *days),
        )


def _widen_extents(connection: sqlite3.Connection, rows: Iterable[ItemRow]) -> None:
    by_collection: dict[str, list[ItemRow]] = {}
    for row in rows:
        by_collection.setdefault(row.collection, []).append(row)
    for name, members in by_collection.items():
        collection = read_collection(connection, name)
        widened = widen(collection, _bounds_of(members), [(row.start_us, row.end_us) for row in members])
        if widened != collection:
            text = spell(widened, where=f"collection '{name}'")
            connection.execute("UPDATE collections SET json = ? WHERE id = ?", (text, name))


def _bounds_of(rows: Iterable[ItemRow]) -> list[BoundsXyxy]:
    places: list[Footprint] = [row.footprint for row in rows if row.footprint is not None]
    return [place.bounds for place in places]
