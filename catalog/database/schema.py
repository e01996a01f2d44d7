"""Lay out the catalogue's SQLite file, and bring older files up to the newest layout.

Narrow and wide are kept apart: ``items`` holds what searches decide on (about 150 bytes a row), ``documents``
the JSON that only a found page needs. ``items_rtree`` finds candidates in longitude, latitude and days; its
numbers are float32 rounded outwards, so every hit is checked again against the exact columns of ``items``.

An item whose footprint crosses the antimeridian has ``west > east`` and **two** R*Tree entries, one on either
side; entry keys are ``2 × rowid`` and ``2 × rowid + 1``. Items without geometry have none.

``item_values`` holds the items' properties, one column ``p<slot>`` for each name (``registry`` adds them as
names turn up), in the spelling of ``values``; ``item_texts`` is the full-text index. Both are made from
``documents`` alone, and can be made again from them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from catalog.database.derived import derive_all
from catalog.database.registry import ITEM_VALUES
from catalog.database.writing import fit_extents
from infra.errors import ConfigError

APPLICATION_ID = 0x54455252  # "TERR"; ``file`` and other programs tell our files by it
_FIRST = """
CREATE TABLE collections (
    id TEXT PRIMARY KEY,
    declared TEXT NOT NULL,        -- canonical JSON as it came, before its extent was widened
    json TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE items (
    rowid INTEGER PRIMARY KEY,
    collection TEXT NOT NULL REFERENCES collections (id),
    id TEXT NOT NULL,
    digest TEXT NOT NULL,          -- of the document without created, updated and the server's own links
    start_us INTEGER NOT NULL,     -- microseconds since 1970, both ends inclusive
    end_us INTEGER NOT NULL,
    west REAL, south REAL, east REAL, north REAL,   -- exact bounds of the geometry, degrees; NULL without one
    low REAL, high REAL,           -- elevation from a 3-D bbox, metres
    footprint BLOB                 -- WKB, cut at the antimeridian; NULL where the bounds say it all
);
CREATE UNIQUE INDEX items_by_id ON items (id, collection);
CREATE INDEX items_by_time ON items (start_us, collection, id, end_us);
CREATE INDEX items_by_collection ON items (collection, start_us, id, end_us);
CREATE INDEX items_by_span ON items (collection, end_us - start_us);

CREATE TABLE documents (
    rowid INTEGER PRIMARY KEY REFERENCES items (rowid) ON DELETE CASCADE,
    json TEXT NOT NULL
);

CREATE VIRTUAL TABLE items_rtree USING rtree (key, west, east, south, north, first_day, last_day);
CREATE TRIGGER items_leave_rtree AFTER DELETE ON items BEGIN
    DELETE FROM items_rtree WHERE key = 2 * old.rowid;
    DELETE FROM items_rtree WHERE key = 2 * old.rowid + 1;
END;
"""
_SECOND = """
CREATE TABLE properties (
    name TEXT PRIMARY KEY,         -- as in the items' properties
    slot INTEGER UNIQUE            -- its values stand in item_values.p<slot>; NULL: in the documents only
) WITHOUT ROWID;
CREATE TABLE property_kinds (
    collection TEXT NOT NULL REFERENCES collections (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    kinds INTEGER NOT NULL,        -- values.Kind: all that its values ever were
    PRIMARY KEY (collection, name)
) WITHOUT ROWID;
CREATE TABLE item_sources (
    item INTEGER NOT NULL REFERENCES items (rowid) ON DELETE CASCADE,
    source TEXT NOT NULL,          -- collection/id of an item of this catalogue that it is derived from
    PRIMARY KEY (item, source)
) WITHOUT ROWID;
CREATE INDEX item_sources_by_source ON item_sources (source);
CREATE TABLE item_counts (
    collection TEXT PRIMARY KEY REFERENCES collections (id) ON DELETE CASCADE,
    items INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO item_counts
    SELECT id, (SELECT count(*) FROM items WHERE collection = collections.id) FROM collections;

CREATE VIRTUAL TABLE item_texts USING fts5 (text, tokenize = 'porter unicode61 remove_diacritics 2');
CREATE VIRTUAL TABLE collection_texts USING fts5 (
    id UNINDEXED, text, tokenize = 'porter unicode61 remove_diacritics 2'
);
CREATE TRIGGER items_leave_texts AFTER DELETE ON items BEGIN
    DELETE FROM item_texts WHERE rowid = old.rowid;
END;
"""


@dataclass(frozen=True, kw_only=True)
class Migration:
    """Take a file from one layout to the next."""

    script: str
    fill: Callable[[sqlite3.Connection], None] | None = None
    """Makes the new tables' content from the old ones'."""


def _fill_second(connection: sqlite3.Connection) -> None:
    derive_all(connection)
    fit_extents(connection)  # layout 1 let "the whole world, at any time" stand


MIGRATIONS: tuple[Migration, ...] = (
    Migration(script=_FIRST),
    Migration(script=_SECOND + ITEM_VALUES, fill=_fill_second),
)
"""Entry *n* takes a file from layout number *n* to *n* + 1; ``PRAGMA user_version`` holds the number."""


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Create the layout in an empty file, or bring an older one up to date, in one transaction.

    Raises:
        ConfigError: another program's file, or one written by a newer Terraloom.
        sqlite3.Error: the file cannot be read or written.
    """
    if _version(connection, path) == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # read again under the lock: two processes may open a new file at once
        for migration in MIGRATIONS[_version(connection, path) :]:
            for statement in _statements(migration.script):
                connection.execute(statement)
            if migration.fill is not None:
                migration.fill(connection)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection, path: Path) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    owner: int = connection.execute("PRAGMA application_id").fetchone()[0]
    tables: int = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and owner != APPLICATION_ID:
        raise ConfigError(
            f"{path} is a SQLite file of another program, not a Terraloom catalogue: choose another path",
            path=str(path),
        )
    if version > len(MIGRATIONS):
        raise ConfigError(
            f"catalogue {path} has layout {version}, newer than {len(MIGRATIONS)}: update Terraloom",
            path=str(path),
        )
    return version


def _statements(script: str) -> list[str]:
    """Cut a script into statements; ``executescript`` would commit the open transaction."""
    statements: list[str] = []
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements
