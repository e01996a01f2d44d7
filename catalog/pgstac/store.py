"""Write a pgSTAC database by the rules of the embedded catalogue: stamps, untouched repeats, exact counts."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import SecretStr

from catalog.database.backend import SearchPage
from catalog.database.documents import (
    Document,
    ItemRow,
    check_collection,
    check_items,
    merge_patch,
    spell,
    stamp,
)
from catalog.database.extents import widen
from catalog.database.filters import SearchQuery
from catalog.database.times import parse_moment
from catalog.database.writing import ConflictError, UpsertResult, WriteMode
from catalog.pgstac.connections import Connection, Connections
from catalog.pgstac.sameness import is_same
from infra.digests import sha256_of_json
from infra.errors import InputError, InternalError, NotFoundError

_Key = tuple[str, str]
"""Collection and id of an item."""


def _utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class PgstacCatalogue:
    """Write one pgSTAC database, one transaction at a time over all processes; safe under threads.

    It answers as the embedded catalogue does, so both are served by the same routes. Searching is left to
    pgSTAC's own API.

    Args:
        database: ``postgresql://`` address of a migrated database.
        now: Clock of ``properties.created`` and ``properties.updated``.
        wait_s: How long a write waits for another one.

    Raises:
        ConfigError: the address cannot be read.
    """

    def __init__(
        self, database: SecretStr, *, now: Callable[[], dt.datetime] = _utc_now, wait_s: float = 30.0
    ) -> None:
        self._now = now
        self._connections = Connections(database, wait_s=wait_s)

    def __repr__(self) -> str:
        """Show where the database is, never who asks."""
        return f"PgstacCatalogue({self._connections.place!r})"

    def close(self) -> None:
        """Close all connections for good."""
        self._connections.close()

    def write_collection(self, collection: Mapping[str, Any], *, exists: bool) -> None:
        """Create a new collection, or replace one that exists; its extent is widened to its items.

        Raises:
            ConflictError: it exists and should not.
            NotFoundError: it does not exist and should.
            InputError: malformed.
        """
        document = check_collection(collection)
        with self._connections.write() as connection:
            if exists:
                _read_collection(connection, document["id"])
            elif _holds_collection(connection, document["id"]):
                raise ConflictError(f"collection {document['id']!r} exists already: PUT changes it")
            _write_collection(connection, document)

    def patch_collection(self, collection: str, patch: Mapping[str, Any]) -> None:
        """Change fields of a collection by a JSON merge patch.

        Raises:
            NotFoundError: no such collection.
            InputError: the outcome is malformed or has another id.
        """
        with self._connections.write() as connection:
            document = check_collection(merge_patch(_read_collection(connection, collection), dict(patch)))
            _require_same_id(collection, document["id"])
            _write_collection(connection, document)

    def get_collection(self, collection: str) -> Document:
        """Read one collection.

        Raises:
            NotFoundError: no such collection.
        """
        with self._connections.read() as connection:
            return _read_collection(connection, collection)

    def delete_collection(self, collection: str) -> int:
        """Delete a collection and all its items; returns how many items went.

        Raises:
            NotFoundError: no such collection.
        """
        with self._connections.write() as connection:
            _read_collection(connection, collection)
            found = connection.execute(
                "SELECT count(*) FROM items WHERE collection = %s", (collection,)
            ).fetchone()
            connection.execute("SELECT delete_collection(%s)", (collection,))
        return 0 if found is None else int(found[0])

    def upsert_items(self, items: Iterable[Mapping[str, Any]], *, mode: WriteMode = "upsert") -> UpsertResult:
        """Write items in one transaction: all of them or none, and counted before it ends.

        A stored item keeps its ``created`` and gets a new ``updated``; one that differs in nothing else is
        not written at all. Of an id that comes twice, the last counts.

        Args:
            items: STAC items; each names its ``collection``, which must exist.
            mode: ``insert`` refuses ids that exist, ``replace`` ids that do not.

        Raises:
            InputError: an item is malformed or has no geometry, which pgSTAC needs.
            NotFoundError: a collection, or with ``replace`` an item, does not exist.
            ConflictError: an item exists (``insert``).
            InternalError: the database took the items and does not hold them.
        """
        rows = {(row.collection, row.id): row for row in _check_items(list(items))}
        if not rows:
            return UpsertResult()
        with self._connections.write() as connection:
            return self._write(connection, list(rows.values()), mode)

    def patch_item(self, collection: str, item_id: str, patch: Mapping[str, Any]) -> None:
        """Change fields of an item by a JSON merge patch.

        Raises:
            NotFoundError: no such item.
            InputError: the outcome is malformed or has another id.
        """
        with self._connections.write() as connection:
            merged = merge_patch(_read_item(connection, collection, item_id), dict(patch))
            (row,) = _check_items([merged], mend="geometry" not in patch)
            _require_same_id((collection, item_id), (row.collection, row.id))
            self._write(connection, [row], "replace")

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
            _read_item(connection, collection, item_id)
            connection.execute("SELECT delete_item(%s, %s)", (item_id, collection))

    def search(self, query: SearchQuery) -> SearchPage:
        """Find the first page of items, as pgSTAC does.

        Raises:
            InputError: malformed query.
        """
        with self._connections.read() as connection:
            found = connection.execute(
                "SELECT search(%s::jsonb)::text",
                (json.dumps({**query.to_json(), "conf": {"nohydrate": False}}),),
            ).fetchone()
        return SearchPage(items=[] if found is None else json.loads(found[0])["features"], next_token=None)

    def _write(self, connection: Connection, rows: Sequence[ItemRow], mode: WriteMode) -> UpsertResult:
        by_collection: dict[str, list[ItemRow]] = {}
        for row in rows:
            by_collection.setdefault(row.collection, []).append(row)
        held: dict[_Key, Document] = {}
        for collection, members in by_collection.items():
            _read_collection(connection, collection)
            found = _read_items(connection, collection, [row.id for row in members])
            held |= {(collection, item_id): item for item_id, item in found.items()}
        outcomes = [_compare(row, held.get((row.collection, row.id)), mode) for row in rows]
        changed = [row for row, outcome in zip(rows, outcomes, strict=True) if outcome != "unchanged"]
        _load(connection, [self._stamp(row, held.get((row.collection, row.id))) for row in changed])
        _widen_extents(connection, changed)
        _check_held(connection, by_collection)
        told = tuple((row.id, outcome) for row, outcome in zip(rows, outcomes, strict=True))
        return UpsertResult(**Counter(outcomes), outcomes=told)

    def _stamp(self, row: ItemRow, held: Document | None) -> Document:
        now_us = parse_moment(self._now().astimezone(dt.UTC).isoformat(), where="the catalogue's clock")
        created = None if held is None else held["properties"].get("created")
        return stamp(row.document, created=created, now_us=now_us)


def _check_items(items: Sequence[object], *, mend: bool = False) -> list[ItemRow]:
    rows = check_items(items, mend=mend)
    for row in rows:
        if row.footprint is None:
            raise InputError(f"item '{row.id}' has no geometry: a catalogue in pgSTAC needs one", id=row.id)
    return rows


def _compare(row: ItemRow, held: Document | None, mode: WriteMode) -> str:
    if held is None and mode == "replace":
        raise NotFoundError(
            f"item {row.id!r} does not exist in collection {row.collection!r}: POST creates it", id=row.id
        )
    if held is not None and mode == "insert":
        raise ConflictError(
            f"item {row.id!r} exists already in collection {row.collection!r}: PUT or upsert changes it",
            id=row.id,
        )
    if held is None:
        return "created"
    return "unchanged" if is_same(row.document, held) else "updated"


def _load(connection: Connection, documents: Sequence[Document]) -> None:
    if documents:
        texts = ",".join(spell(document, where=f"item '{document['id']}'") for document in documents)
        connection.execute("SELECT upsert_items(%s::jsonb)", (f"[{texts}]",))


def _check_held(connection: Connection, by_collection: Mapping[str, Sequence[ItemRow]]) -> None:
    """Count what stands: pgSTAC's loader passes over rows that meet a conflict without a word."""
    for collection, rows in by_collection.items():
        ids = [row.id for row in rows]
        found = connection.execute(
            "SELECT id FROM items WHERE collection = %s AND id = ANY(%s)", (collection, ids)
        ).fetchall()
        standing = [item_id for (item_id,) in found]
        if sorted(standing) != sorted(ids):
            example = min(set(ids) - set(standing), default=ids[0])
            raise InternalError(
                f"the database holds {len(standing)} of {len(ids)} items just written to {collection!r},"
                f" e.g. not {example!r}: nothing was kept"
            )


def _read_items(connection: Connection, collection: str, ids: Sequence[str]) -> dict[str, Document]:
    found = connection.execute(
        "SELECT id, content_hydrate(items)::text FROM items WHERE collection = %s AND id = ANY(%s)",
        (collection, list(ids)),
    ).fetchall()
    return {item_id: json.loads(text) for item_id, text in found}


def _read_item(connection: Connection, collection: str, item_id: str) -> Document:
    found = _read_items(connection, collection, [item_id])
    if not found:
        _read_collection(connection, collection)
        raise NotFoundError(
            f"item {item_id!r} does not exist in collection {collection!r}", collection=collection, id=item_id
        )
    return found[item_id]


def _holds_collection(connection: Connection, collection: str) -> bool:
    return bool(connection.execute("SELECT 1 FROM collections WHERE id = %s", (collection,)).fetchone())


def _read_collection(connection: Connection, collection: str) -> Document:
    found = connection.execute(
        "SELECT content::text FROM collections WHERE id = %s", (collection,)
    ).fetchone()
    if found is None:
        raise NotFoundError(
            f"collection {collection!r} does not exist in this catalogue", collection=collection
        )
    document: Document = json.loads(found[0])
    return document


def _write_collection(connection: Connection, collection: Document) -> None:
    """Write a collection unless it was declared alike before; then no item need be looked at."""
    name, declared = collection["id"], sha256_of_json(collection)
    found = connection.execute(
        "SELECT private ->> 'terraloom:declared' FROM collections WHERE id = %s", (name,)
    ).fetchone()
    if found is not None and found[0] == declared:
        return
    boxes, intervals = [], []
    extent = connection.execute(
        "SELECT ST_XMin(e), ST_YMin(e), ST_XMax(e), ST_YMax(e), first::text, last::text FROM (SELECT"
        " ST_Extent(geometry) AS e, min(datetime) AS first, max(end_datetime) AS last"
        " FROM items WHERE collection = %s) AS held",
        (name,),
    ).fetchone()
    if extent is not None and extent[4] is not None:
        boxes.append(extent[:4])
        first, last = (_read_moment(text) for text in extent[4:])
        intervals.append((first, last))
    widened = widen(collection, boxes, intervals, all_items=True)
    document = spell(widened, where=f"collection '{name}'")
    connection.execute("SELECT upsert_collection(%s::jsonb)", (document,))
    connection.execute(
        "UPDATE collections SET private = coalesce(private, '{}') || jsonb_build_object("
        "'terraloom:declared', %s::text) WHERE id = %s",
        (declared, name),
    )


def _read_moment(text: str) -> int:
    return parse_moment(dt.datetime.fromisoformat(text).isoformat(), where="the database")


def _widen_extents(connection: Connection, rows: Iterable[ItemRow]) -> None:
    by_collection: dict[str, list[ItemRow]] = {}
    for row in rows:
        by_collection.setdefault(row.collection, []).append(row)
    for name, members in by_collection.items():
        collection = _read_collection(connection, name)
        boxes = [row.footprint.bounds for row in members if row.footprint is not None]
        moments = [(row.start_us, row.end_us) for row in members]
        widened = widen(collection, boxes, moments, all_items=_holds_only(connection, name, len(members)))
        if widened != collection:
            text = spell(widened, where=f"collection '{name}'")
            connection.execute("SELECT update_collection(%s::jsonb)", (text,))


def _holds_only(connection: Connection, collection: str, written: int) -> bool:
    """Tell whether a collection has no items but those just written."""
    found = connection.execute(
        "SELECT count(*) FROM (SELECT 1 FROM items WHERE collection = %s LIMIT %s) AS held",
        (collection, written + 1),
    ).fetchone()
    return found is not None and found[0] <= written


def _require_same_id(expected: object, found: object) -> None:
    if expected != found:
        raise InputError(
            f"a patch cannot change the id from {expected!r} to {found!r}: delete and create instead"
        )
