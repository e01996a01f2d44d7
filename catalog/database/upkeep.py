"""Back a catalogue file up while it is in use, check it, and make its derived tables anew."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from catalog.database.connections import translate_error
from catalog.database.derived import derive_all
from catalog.database.registry import ITEM_VALUES
from catalog.database.schema import APPLICATION_ID, MIGRATIONS
from catalog.database.soundness import CHECKS, ENTRIES
from infra.errors import ConfigError, DataError, InputError

_WAIT_S = 30.0
_MOST_FAULTS = 20
"""Of one check; a file with more has something wrong in general."""


@dataclass(frozen=True, kw_only=True)
class Backup:
    """Tell what was saved."""

    path: Path
    size: int
    """Bytes."""
    collections: int
    items: int


@dataclass(frozen=True, kw_only=True)
class Soundness:
    """Tell what a check found."""

    path: Path
    collections: int
    items: int
    faults: tuple[str, ...]
    """One line each; empty when the file is sound."""


def back_up(catalogue: Path, target: Path) -> Backup:
    """Save a catalogue as one file that can take its place; readers and writers go on meanwhile.

    The copy is of one moment. It is checked before it gets its name.

    Args:
        catalogue: The catalogue file.
        target: New file.

    Raises:
        InputError: the target exists.
        ConfigError: not a catalogue, of a newer Terraloom, or the target cannot be written.
        DataError: the catalogue is damaged.
    """
    target = target.expanduser().absolute()
    if target.exists():
        raise InputError(f"{target} exists: name a new file, a backup replaces nothing", path=str(target))
    part = target.with_name(f".{target.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part")
    try:
        with _opened(catalogue, "ro") as source:
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy(source, part)
        with _opened(part, "ro") as copy:
            faults = list(islice(CHECKS["pages"](copy), 1))
            collections, items = _count(copy)
        if faults:
            raise DataError(
                f"the copy of {catalogue} is damaged ({faults[0]}): run 'terraloom catalogue check'"
            )
        size = part.stat().st_size
        part.replace(target)
    except OSError as exc:
        raise ConfigError(f"{target} cannot be written: {exc.strerror}; name another place") from exc
    finally:
        with contextlib.suppress(OSError):  # a folder that does not exist holds no leftovers
            part.unlink()
    return Backup(path=target, size=size, collections=collections, items=items)


def check(catalogue: Path) -> Soundness:
    """Look a catalogue through from its pages to its documents; others may work on it meanwhile.

    Raises:
        ConfigError: not a catalogue, or not of this Terraloom's layout.
        DataError: too damaged to be looked through.
    """
    with _opened(catalogue, "ro") as connection, _translated(catalogue):
        _require_layout(connection, catalogue)
        connection.execute("BEGIN")  # all checks are of one moment
        faults: list[str] = []
        for name, run in CHECKS.items():
            faults += islice(run(connection), _MOST_FAULTS)
            if faults and name == "pages":
                break
        collections, items = _count(connection)
    return Soundness(path=catalogue, collections=collections, items=items, faults=tuple(faults))


def repair(catalogue: Path) -> None:
    """Make anew all that follows from items and documents: spatial index, values, texts and counts.

    Raises:
        ConfigError: not a catalogue, or not of this Terraloom's layout.
        DataError: the file itself is damaged, which only a backup mends.
        TransientError: another process is writing.
    """
    with _opened(catalogue, "rw") as connection, _translated(catalogue):
        _require_layout(connection, catalogue)
        connection.execute("BEGIN IMMEDIATE")
        try:
            _rebuild(connection)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


def _rebuild(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM items_rtree")
    connection.execute(
        "INSERT INTO items_rtree SELECT key, west, east, south, north, first_day, last_day"  # noqa: S608
        f" FROM ({ENTRIES})"
    )
    connection.execute("DELETE FROM property_kinds")
    connection.execute("DELETE FROM properties")  # names that no item has any more give their columns back
    connection.execute("DROP TABLE item_values")
    connection.execute(ITEM_VALUES)
    derive_all(connection)
    connection.execute("DELETE FROM item_counts")
    connection.execute(
        "INSERT INTO item_counts"
        " SELECT id, (SELECT count(*) FROM items WHERE collection = collections.id) FROM collections"
    )


def _copy(source: sqlite3.Connection, part: Path) -> None:
    with closing(sqlite3.connect(part, isolation_level=None)) as copy, _translated(part):
        # in one step: it reads of one moment, where several would begin again with each write in between
        source.backup(copy)
        # one file, that needs no journal beside it to be whole
        copy.execute("PRAGMA journal_mode = DELETE")
    with part.open("rb") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def _opened(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    if not path.is_file():
        raise ConfigError(f"there is no catalogue {path}: name the file, or the store that holds it")
    address = f"{path.absolute().as_uri()}?mode={mode}"
    with (
        _translated(path),
        closing(sqlite3.connect(address, uri=True, timeout=_WAIT_S, isolation_level=None)) as connection,
    ):
        if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise ConfigError(f"{path} is a SQLite file of another program, not a Terraloom catalogue")
        connection.execute("PRAGMA foreign_keys = ON")
        yield connection


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as exc:
        raise translate_error(exc, path) from exc


def _require_layout(connection: sqlite3.Connection, path: Path) -> None:
    layout: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if layout > len(MIGRATIONS):
        raise ConfigError(
            f"catalogue {path} has layout {layout}, newer than {len(MIGRATIONS)}: update Terraloom"
        )
    if layout < len(MIGRATIONS):
        raise ConfigError(
            f"catalogue {path} has the old layout {layout}: 'terraloom serve' or 'items' brings it up to date"
        )


def _count(connection: sqlite3.Connection) -> tuple[int, int]:
    collections, items = connection.execute(
        "SELECT (SELECT count(*) FROM collections), (SELECT count(*) FROM items)"
    ).fetchone()
    return collections, items
