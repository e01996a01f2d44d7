"""Keep a STAC catalogue in one SQLite file: upsert, read, delete, search; knows no web framework."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from catalog.server.connections import Connections
from catalog.server.documents import Document, check_collection, check_item, merge_patch
from catalog.server.filters import (
    MAX_LIMIT,
    Conditions,
    Drive,
    Key,
    Region,
    SearchQuery,
    Sql,
    check_query,
    longest_span,
    probe_region,
    select_candidates,
)
from catalog.server.paging import read_token, write_token
from catalog.server.times import parse_moment
from catalog.server.writing import (
    ConflictError,
    UpsertResult,
    WriteMode,
    read_collection,
    write_collection,
    write_items,
)
from infra.errors import InputError, NotFoundError

__all__ = ["ConflictError", "SearchPage", "SearchQuery", "SqliteCatalogue", "UpsertResult"]

_REGION_CAP = (
    2_000  # candidates beyond which walking by time finds a page sooner than sorting the region's hits
)
_FETCH_ROWS = 256
_Row = tuple[int, int, str, str, float, float, float, float, bytes | None]
"""rowid, start_us, collection, id, west, south, east, north, footprint."""


def utc_now() -> dt.datetime:
    """Tell the time; the clock of a catalogue unless another is given."""
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True, kw_only=True)
class SearchPage:
    """Hold one page of a search."""

    items: list[Document]
    next_token: str | None
    """Where the next page starts; None on the last page."""


class SqliteCatalogue:
    """Read and write one catalogue file; safe under threads, and beside other processes on the same machine.

    Args:
        path: The file; made when absent. Not on a network file system: SQLite's locks do not hold there.
        now: Clock of ``properties.created`` and ``properties.updated``.
        wait_s: How long a write waits for another process's write.

    Raises:
        ConfigError: not a catalogue, of a newer Terraloom, or not to be opened.
        TransientError: another process holds the file for longer than ``wait_s``.
        DataError: the file is damaged.
    """

    def __init__(
        self, path: Path | str, *, now: Callable[[], dt.datetime] = utc_now, wait_s: float = 30.0
    ) -> None:
        self.path = Path(path)
        self._now = now
        self._connections = Connections(self.path, wait_s=wait_s)

    def __repr__(self) -> str:
        """Show the path."""
        return f"SqliteCatalogue({str(self.path)!r})"

    def close(self) -> None:
        """Close idle connections; the catalogue opens new ones when it is used again."""
        self._connections.close()

    def upsert_collection(self, collection: Mapping[str, Any]) -> bool:
        """Create or replace a collection; its extent is widened to the items it holds.

        Returns:
            True when anything was written; False when the same document was declared before.

        Raises:
            InputError: a required field is absent or malformed.
        """
        document = check_collection(collection)
        with self._connections.write() as connection:
            return write_collection(connection, document)

    def write_collection(self, collection: Mapping[str, Any], *, exists: bool) -> None:
        """Create a new collection, or replace one that exists.

        Raises:
            ConflictError: it exists and should not.
            NotFoundError: it does not exist and should.
            InputError: malformed.
        """
        document = check_collection(collection)
        with self._connections.write() as connection:
            if exists:
                read_collection(connection, document["id"])
            elif connection.execute("SELECT 1 FROM collections WHERE id = ?", (document["id"],)).fetchone():
                raise ConflictError(f"collection {document['id']!r} exists already: PUT changes it")
            write_collection(connection, document)

    def patch_collection(self, collection: str, patch: Mapping[str, Any]) -> None:
        """Change fields of a collection by a JSON merge patch.

        Raises:
            NotFoundError: no such collection.
            InputError: the outcome is malformed or has another id.
        """
        with self._connections.write() as connection:
            document = check_collection(merge_patch(read_collection(connection, collection), dict(patch)))
            _require_same_id(collection, document["id"])
            write_collection(connection, document)

    def get_collection(self, collection: str) -> Document:
        """Read one collection.

        Raises:
            NotFoundError: no such collection.
        """
        with self._connections.read() as connection:
            return read_collection(connection, collection)

    def get_collections(self) -> list[Document]:
        """Read all collections, by id."""
        with self._connections.read() as connection:
            rows = connection.execute("SELECT json FROM collections ORDER BY id").fetchall()
        return [json.loads(text) for (text,) in rows]

    def delete_collection(self, collection: str) -> int:
        """Delete a collection and all its items; returns how many items went.

        Raises:
            NotFoundError: no such collection.
        """
        with self._connections.write() as connection:
            read_collection(connection, collection)
            items = connection.execute("DELETE FROM items WHERE collection = ?", (collection,)).rowcount
            connection.execute("DELETE FROM collections WHERE id = ?", (collection,))
        return items

    def upsert_items(self, items: Iterable[Mapping[str, Any]], *, mode: WriteMode = "upsert") -> UpsertResult:
        """Write items in one transaction: all of them or none.

        A stored item keeps its ``created`` and gets a new ``updated``; one that differs in nothing else is
        not written at all. Of an id that comes twice, the last counts.

        Args:
            items: STAC items; each names its ``collection``, which must exist.
            mode: ``insert`` refuses ids that exist, ``replace`` ids that do not.

        Raises:
            InputError: an item is malformed; the message names it.
            NotFoundError: a collection, or with ``replace`` an item, does not exist.
            ConflictError: an item exists (``insert``).
        """
        rows = {(row.collection, row.id): row for row in map(check_item, items)}
        if not rows:
            return UpsertResult()
        with self._connections.write() as connection:
            return write_items(connection, list(rows.values()), mode=mode, now_us=self._now_us())

    def patch_item(self, collection: str, item_id: str, patch: Mapping[str, Any]) -> None:
        """Change fields of an item by a JSON merge patch.

        Raises:
            NotFoundError: no such item.
            InputError: the outcome is malformed or has another id.
        """
        with self._connections.write() as connection:
            row = check_item(merge_patch(_read_item(connection, collection, item_id), dict(patch)))
            _require_same_id((collection, item_id), (row.collection, row.id))
            write_items(connection, [row], mode="replace", now_us=self._now_us())

    def get_item(self, collection: str, item_id: str) -> Document:
        """Read one item.

        Raises:
            NotFoundError: no such item or collection.
        """
        with self._connections.read() as connection:
            return _read_item(connection, collection, item_id)

    def delete_item(self, collection: str, item_id: str) -> None:
        """Delete one item; the extent of its collection stays as wide as it is.

        Raises:
            NotFoundError: no such item or collection.
        """
        with self._connections.write() as connection:
            gone = connection.execute(
                "DELETE FROM items WHERE id = ? AND collection = ?", (item_id, collection)
            )
            if not gone.rowcount:
                raise _no_item(connection, collection, item_id)

    def search(self, query: SearchQuery) -> SearchPage:
        """Find one page of items, newest first; exact, and all of one moment.

        Raises:
            InputError: malformed query or token.
        """
        conditions = check_query(query)
        digest = query.digest()
        after = None if query.token is None else read_token(query.token, search_digest=digest)
        limit = min(query.limit, MAX_LIMIT)
        with self._connections.read() as connection:
            rows: list[_Row] = []
            for row in _matches(connection, conditions, after):
                rows.append(row)
                if len(rows) > limit:
                    break
            more, rows = len(rows) > limit, rows[:limit]
            items = _read_documents(connection, [row[0] for row in rows])
        last: Key | None = rows[-1][1:4] if more else None
        return SearchPage(
            items=items, next_token=None if last is None else write_token(last, search_digest=digest)
        )

    def count(self, query: SearchQuery | None = None) -> int:
        """Count the items that a query finds on all its pages, or all items there are.

        Raises:
            InputError: malformed query.
        """
        with self._connections.read() as connection:
            if query is None:
                total: int = connection.execute("SELECT count(*) FROM items").fetchone()[0]
                return total
            conditions = check_query(replace(query, token=None))
            return sum(1 for _ in _matches(connection, conditions, None))

    def _now_us(self) -> int:
        return parse_moment(self._now().astimezone(dt.UTC).isoformat(), where="the catalogue's clock")


def _matches(connection: sqlite3.Connection, conditions: Conditions, after: Key | None) -> Iterator[_Row]:
    """Walk the best index in order, and let through the rows whose shape truly meets the region."""
    drive = _choose_drive(connection, conditions)
    span_us = 0
    if conditions.start_us is not None:
        span_us = _execute(connection, longest_span(conditions)).fetchone()[0] or 0
    cursor = _execute(connection, select_candidates(conditions, drive=drive, after=after, span_us=span_us))
    try:
        while rows := cursor.fetchmany(_FETCH_ROWS):
            yield from rows if conditions.region is None else _within(rows, conditions.region)
    finally:
        cursor.close()


def _choose_drive(connection: sqlite3.Connection, conditions: Conditions) -> Drive:
    if conditions.ids is not None:
        return Drive.IDS
    if conditions.region is not None:
        hits: int = _execute(connection, probe_region(conditions, cap=_REGION_CAP)).fetchone()[0]
        if hits < _REGION_CAP:
            return Drive.REGION
    if conditions.collections is not None and len(conditions.collections) == 1:
        return Drive.COLLECTION
    return Drive.TIME


def _within(rows: Sequence[_Row], region: Region) -> list[_Row]:
    bounds = np.array([row[4:8] for row in rows], dtype=float)
    sure = np.zeros(len(rows), dtype=bool)
    if region.is_box:  # the bounds met the box in SQL: done where they are the shape, or lie inside the box
        sure |= np.array([row[8] is None for row in rows])
        for west, south, east, north in region.boxes:
            inside = (bounds[:, 0] <= bounds[:, 2]) & (bounds[:, 0] >= west) & (bounds[:, 2] <= east)
            sure |= inside & (bounds[:, 1] >= south) & (bounds[:, 3] <= north)
    unsure = np.flatnonzero(~sure)
    if unsure.size:
        shapely.prepare(region.shape)
        shapes = shapely.from_wkb([row[8] for row, done in zip(rows, sure, strict=True) if not done])
        plain = np.array([shape is None for shape in shapes])
        shapes[plain] = shapely.box(*bounds[unsure[plain]].T)
        sure[unsure] = shapely.intersects(region.shape, shapes)
    return [row for row, found in zip(rows, sure, strict=True) if found]


def _execute(connection: sqlite3.Connection, sql: Sql) -> sqlite3.Cursor:
    return connection.execute(sql.text, sql.parameters)


def _read_documents(connection: sqlite3.Connection, rowids: Sequence[int]) -> list[Document]:
    texts = dict(
        connection.execute(
            "SELECT rowid, json FROM documents WHERE rowid IN (SELECT value FROM json_each(?))",
            (json.dumps(rowids),),
        ).fetchall()
    )
    return [json.loads(texts[rowid]) for rowid in rowids]


def _read_item(connection: sqlite3.Connection, collection: str, item_id: str) -> Document:
    found = connection.execute(
        "SELECT json FROM documents JOIN items USING (rowid) WHERE id = ? AND collection = ?",
        (item_id, collection),
    ).fetchone()
    if found is None:
        raise _no_item(connection, collection, item_id)
    document: Document = json.loads(found[0])
    return document


def _no_item(connection: sqlite3.Connection, collection: str, item_id: str) -> NotFoundError:
    read_collection(connection, collection)
    return NotFoundError(
        f"item {item_id!r} does not exist in collection {collection!r}", collection=collection, id=item_id
    )


def _require_same_id(expected: object, found: object) -> None:
    if expected != found:
        raise InputError(
            f"a patch cannot change the id from {expected!r} to {found!r}: delete and create instead"
        )
