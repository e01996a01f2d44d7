"""Lend out SQLite connections, and say in our own errors what SQLite says in codes."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from catalog.database.schema import migrate
from infra.errors import AppError, ConfigError, DataError, InputError, InternalError, TransientError

_CACHE_KIB = 16_384
_PAGE_BYTES = 8_192
"""Items are 2 to 10 kB of JSON: pages of 4 kB would be half empty, or spill over."""
_CHECKPOINT_PAGES = 4_000
_STEPS_BETWEEN_LOOKS = 20_000  # of SQLite's machine, about a millisecond


class Connections:
    """Keep a small stack of open connections to one catalogue file; safe under threads and forks.

    Each connection serves one borrower at a time. Within the process one writer runs at a time, in turn;
    between processes SQLite's own lock decides, with a wait of ``wait_s``.

    Args:
        path: The catalogue file; it and its folder are made when absent.
        wait_s: How long to wait for another process's write before giving up.
    """

    def __init__(self, path: Path, *, wait_s: float = 30.0) -> None:
        self.path = path
        self._wait_s = wait_s
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._inherited: list[sqlite3.Connection] = []
        self._pid = os.getpid()
        with self._translated():
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = self._open()
            try:
                migrate(connection, path)
                self._set_wal(connection)
            except BaseException:
                connection.close()
                raise
            self._idle.append(connection)

    @contextlib.contextmanager
    def read(self, *, limit_s: float | None = None) -> Iterator[sqlite3.Connection]:
        """Lend a connection inside a read transaction: everything read is of one moment.

        Args:
            limit_s: How long its statements may take in all; None for as long as they need.

        Raises:
            InputError: they took longer.
        """
        with self._borrowed("BEGIN") as connection:
            if limit_s is None:
                yield connection
                return
            deadline = time.monotonic() + limit_s
            connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
            try:
                yield connection
            finally:
                connection.set_progress_handler(None, 0)

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection inside a write transaction; an exception undoes all of it."""
        with self._writing, self._borrowed("BEGIN IMMEDIATE") as connection:
            yield connection

    def close(self) -> None:
        """Close the idle connections; a later use opens new ones."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @contextlib.contextmanager
    def _borrowed(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._translated():
            connection = self._take()
            try:
                connection.execute(begin)
                yield connection
                connection.execute("COMMIT")
            except sqlite3.Error:
                connection.close()  # which rolls back; a connection that failed is not lent again
                raise
            except BaseException:
                connection.execute("ROLLBACK")
                self._give_back(connection)
                raise
            self._give_back(connection)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            self._idle.append(connection)

    def _take(self) -> sqlite3.Connection:
        with self._lock:
            if self._pid != os.getpid():  # a connection must be neither used nor closed across a fork
                self._inherited, self._idle, self._pid = self._idle, [], os.getpid()
            if self._idle:
                return self._idle.pop()
        return self._open()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=self._wait_s, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # of a new file only
            connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_wal(self, connection: sqlite3.Connection) -> None:
        """Let readers go on while one process writes; the mode stays set in the file."""
        deadline = time.monotonic() + self._wait_s
        while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as exc:
                # this one pragma does not wait for the lock by itself
                if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            raise translate_error(exc, self.path) from exc
        except OSError as exc:
            raise ConfigError(f"catalogue {self.path} cannot be opened: {exc}", path=str(self.path)) from exc


def translate_error(exc: sqlite3.Error, path: Path) -> AppError:
    """Say what an error of SQLite means to the caller."""
    code = (getattr(exc, "sqlite_errorcode", None) or 0) & 0xFF
    where = {"path": str(path)}
    if code == sqlite3.SQLITE_INTERRUPT:
        return InputError("the search takes too long: narrow it by collection, box or time")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return TransientError(f"catalogue {path} is busy with another writer: try again", **where)
    if code == sqlite3.SQLITE_FULL:
        return ConfigError(f"the disk of catalogue {path} is full: free space, then run again", **where)
    if code == sqlite3.SQLITE_NOTADB:
        return ConfigError(f"{path} is not a catalogue (no SQLite file): choose another path", **where)
    if code == sqlite3.SQLITE_CORRUPT:
        return DataError(f"catalogue {path} is damaged ({exc}): restore it from a backup", **where)
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR):
        return ConfigError(f"catalogue {path} cannot be opened or written ({exc}): check the disk", **where)
    return InternalError(f"catalogue {path}: unexpected SQLite error: {exc}", **where)
