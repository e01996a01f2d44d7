"""Keep a STAC catalogue in one SQLite file: upsert, read, delete, search; knows no web framework."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from catalog.database.collections_search import select_collections
from catalog.database.connections import Connections
from catalog.database.documents import Document, check_collection, check_item, check_items, merge_patch
from catalog.database.filters import MAX_LIMIT, Conditions, SearchQuery, SortKey, check_query
from catalog.database.paging import read_token, write_token
from catalog.database.registry import ALWAYS_KNOWN, read_registry
from catalog.database.searching import find_rows, plan_search, read_documents
from catalog.database.times import format_moment, parse_moment
from catalog.database.values import Kind
from catalog.database.writing import (
    ConflictError,
    UpsertResult,
    WriteMode,
    delete_items,
    read_collection,
    write_collection,
    write_items,
)
from infra.errors import InputError, NotFoundError

__all__ = [
    "ConflictError",
    "Derivative",
    "Queryable",
    "SearchPage",
    "SearchQuery",
    "SortKey",
    "SqliteCatalogue",
    "UpsertResult",
]

SEARCH_LIMIT_S = 10.0
_MAX_DERIVATIVES = 100
Group = Literal["collection", "year", "month", "day"]
_GROUP_CHARS = {"year": 4, "month": 7, "day": 10}


def utc_now() -> dt.datetime:
    """Tell the time; the clock of a catalogue unless another is given."""
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True, kw_only=True)
class SearchPage:
    """Hold one page of a search."""

    items: list[Document]
    next_token: str | None
    """Where the next page starts; None on the last page."""
    total: int | None = None
    """How many items the search finds on all its pages, where that was cheap to know."""


@dataclass(frozen=True, kw_only=True)
class Queryable:
    """Name a property that filters may use."""

    name: str
    kinds: Kind
    """Every kind its values ever had; none for a property that was always null."""


@dataclass(frozen=True, kw_only=True)
class Derivative:
    """Name an item that was made from another."""

    collection: str
    id: str
    title: str | None


class SqliteCatalogue:
    """Read and write one catalogue file; safe under threads, and beside other processes on the same machine.

    Args:
        path: The file; made when absent. Not on a network file system: SQLite's locks do not hold there.
        now: Clock of ``properties.created`` and ``properties.updated``.
        wait_s: How long a write waits for another process's write.
        search_limit_s: How long one search may take.

    Raises:
        ConfigError: not a catalogue, of a newer Terraloom, or not to be opened.
        TransientError: another process holds the file for longer than ``wait_s``.
        DataError: the file is damaged.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        now: Callable[[], dt.datetime] = utc_now,
        wait_s: float = 30.0,
        search_limit_s: float = SEARCH_LIMIT_S,
    ) -> None:
        self.path = Path(path)
        self._now = now
        self._search_limit_s = search_limit_s
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
            items = delete_items(connection, collection)
            connection.execute("DELETE FROM collection_texts WHERE id = ?", (collection,))
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
        rows = {(row.collection, row.id): row for row in check_items(list(items))}
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
            merged = merge_patch(_read_item(connection, collection, item_id), dict(patch))
            row = check_item(merged, mend="geometry" not in patch)
            _require_same_id((collection, item_id), (row.collection, row.id))
            write_items(connection, [row], mode="replace", now_us=self._now_us())

    def get_item(self, collection: str, item_id: str) -> Document:
        """Read one item.

        Raises:
            NotFoundError: no such item or collection.
        """
        with self._connections.read() as connection:
            return _read_item(connection, collection, item_id)

    def derivatives(self, collection: str, item_id: str) -> list[Derivative]:
        """List the items of this catalogue that say they are derived from one item; the first hundred."""
        with self._connections.read() as connection:
            rows = connection.execute(
                "SELECT collection, id, json_extract(json, '$.properties.title')"
                " FROM item_sources JOIN items ON items.rowid = item JOIN documents USING (rowid)"
                " WHERE source = ? ORDER BY collection, id LIMIT ?",
                (f"{collection}/{item_id}", _MAX_DERIVATIVES),
            ).fetchall()
        return [Derivative(collection=holder, id=name, title=title) for holder, name, title in rows]

    def delete_item(self, collection: str, item_id: str) -> None:
        """Delete one item; the extent of its collection stays as wide as it is.

        Raises:
            NotFoundError: no such item or collection.
        """
        with self._connections.write() as connection:
            if not delete_items(connection, collection, item_id):
                raise _no_item(connection, collection, item_id)

    def search(self, query: SearchQuery) -> SearchPage:
        """Find one page of items, newest first unless ``sortby`` is given; exact, and all of one moment.

        Raises:
            InputError: malformed query or token, a property that no item has, or a search that takes longer
                than the catalogue allows.
        """
        conditions = check_query(query)
        digest = query.digest()
        after = None if query.token is None else read_token(query.token, search_digest=digest)
        limit = min(query.limit, MAX_LIMIT)
        with self._connections.read(limit_s=self._search_limit_s) as connection:
            plan = plan_search(connection, conditions)
            if after is not None and len(after) != len(plan.terms):
                raise InputError("token does not belong to this search: start again from its first page")
            with closing(find_rows(connection, plan, after)) as found:
                rows = list(itertools.islice(found, limit + 1))
                more, rows = len(rows) > limit, rows[:limit]
                total = None
                if after is None:
                    total = len(rows) if not more else _count_all(connection, conditions)
                    if total is None and plan.countable:
                        total = len(rows) + 1 + sum(1 for _ in found)
            items = read_documents(connection, [row.rowid for row in rows])
        token = write_token(rows[-1].key, search_digest=digest) if more else None
        return SearchPage(items=items, next_token=token, total=total)

    def count(self, query: SearchQuery | None = None) -> int:
        """Count the items that a query finds on all its pages, or all items there are.

        Raises:
            InputError: malformed query, or one that takes longer than the catalogue allows.
        """
        conditions = check_query(SearchQuery() if query is None else replace(query, token=None))
        with self._connections.read(limit_s=self._search_limit_s) as connection:
            known = _count_all(connection, conditions)
            if known is not None:
                return known
            return sum(1 for _ in find_rows(connection, plan_search(connection, conditions), None))

    def count_by(self, query: SearchQuery, group: Group) -> list[tuple[str, int]]:
        """Count what a query finds by collection, or by the year, month or day (UTC) that items start in.

        Returns:
            Names, such as ``2024-05`` for a month, and counts; in the order of the names, none with 0.

        Raises:
            InputError: malformed query, or one that takes longer than the catalogue allows.
        """
        conditions = check_query(replace(query, token=None, sortby=None))
        with self._connections.read(limit_s=self._search_limit_s) as connection:
            rows = find_rows(connection, plan_search(connection, conditions), None)
            if group == "collection":
                return sorted(Counter(row.collection for row in rows).items())
            chars = _GROUP_CHARS[group]
            return sorted(Counter(format_moment(row.start_us)[:chars] for row in rows).items())

    def queryables(self, collection: str | None = None) -> list[Queryable]:
        """List the properties that filters may use: those that items of a collection, or any items, have.

        Raises:
            NotFoundError: no such collection.
        """
        with self._connections.read() as connection:
            if collection is not None:
                read_collection(connection, collection)
            kinds: dict[str, Kind] = dict.fromkeys(ALWAYS_KNOWN, Kind.MOMENT)
            for (holder, name), seen in read_registry(connection).kinds.items():
                if collection in (None, holder):
                    kinds[name] = kinds.get(name, Kind(0)) | seen
        return [Queryable(name=name, kinds=kinds[name]) for name in sorted(kinds)]

    def search_collections(
        self,
        *,
        q: Sequence[str] | None = None,
        bbox: Sequence[float] | None = None,
        datetime: str | None = None,
    ) -> list[Document]:
        """Find the collections, by id, whose words, extent and interval meet these conditions.

        Raises:
            InputError: malformed condition.
        """
        conditions = check_query(SearchQuery(q=q, bbox=bbox, datetime=datetime))
        with self._connections.read(limit_s=self._search_limit_s) as connection:
            return select_collections(connection, conditions)

    def _now_us(self) -> int:
        return parse_moment(self._now().astimezone(dt.UTC).isoformat(), where="the catalogue's clock")


def _count_all(connection: sqlite3.Connection, conditions: Conditions) -> int | None:
    """Count from the kept counts, when a search has no condition but its collections."""
    if conditions.is_narrow:
        return None
    counts = dict(connection.execute("SELECT collection, items FROM item_counts").fetchall())
    wanted = counts if conditions.collections is None else conditions.collections
    return sum(int(counts.get(name, 0)) for name in wanted)


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
