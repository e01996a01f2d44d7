"""Hold connections to a pgSTAC database: many readers, one writer at a time across all server processes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import psycopg
import psycopg_pool
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from infra.errors import AppError, ConfigError, DataError, InputError, TransientError

Row = tuple[Any, ...]
Connection = psycopg.Connection[Row]

WRITER_LOCK = 0x7E44A100
"""Key of the advisory lock that writers hold until their transaction ends; the same in every process."""
MIGRATION_LOCK = 0x7E44A101

_CONNECT_S = 10
_POOL_SIZE = 8
_SCHEMES = ("postgresql://", "postgres://")


def name_database(database: SecretStr) -> str:
    """Say where a database is, as people name it: ``host:port/name``, without user and password.

    Raises:
        ConfigError: not a ``postgresql://`` address.
    """
    address = database.get_secret_value()
    if not address.startswith(_SCHEMES):
        raise ConfigError("the database address is no PostgreSQL URL: expected postgresql://user@host/name")
    try:
        parts = conninfo_to_dict(address)
    except psycopg.ProgrammingError:
        # the driver quotes what it could not read, which may be the password
        raise ConfigError(
            "the database address cannot be read: expected postgresql://user:password@host:port/name,"
            " with %-escapes for special characters in the password"
        ) from None
    return f"{parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"


def connect(database: SecretStr) -> Connection:
    """Open one connection outside the pool; statements commit at once.

    Raises:
        ConfigError: the address cannot be read, nobody answers there, or the account is refused.
    """
    place = name_database(database)
    try:
        return psycopg.connect(
            database.get_secret_value(), autocommit=True, connect_timeout=_CONNECT_S, options=_options()
        )
    except psycopg.OperationalError as exc:
        raise ConfigError(f"the database {place} cannot be opened: {first_line(exc)}") from exc


class Connections:
    """Lend connections to one database.

    Args:
        database: ``postgresql://`` address.
        wait_s: How long a write waits for another one, of any process.
    """

    def __init__(self, database: SecretStr, *, wait_s: float) -> None:
        self.place = name_database(database)
        self._wait_ms = round(wait_s * 1000)
        self._pool: psycopg_pool.ConnectionPool[Connection] = psycopg_pool.ConnectionPool(
            database.get_secret_value(),
            kwargs={"connect_timeout": _CONNECT_S, "options": _options()},
            min_size=0,
            max_size=_POOL_SIZE,
            timeout=_CONNECT_S,
            # a connection that the database has dropped since (a restart, a proxy) is replaced unseen
            check=psycopg_pool.ConnectionPool.check_connection,
            open=False,
        )

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Lend a connection for reading, all of one moment."""
        with self._lend() as connection:
            # not read-only: pgSTAC notes down the searches it is asked
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """Lend the connection of the one writer; commits at the end of the block, or takes all back.

        Raises:
            TransientError: others wrote for longer than the wait, or the database went away.
        """
        with self._lend() as connection:
            connection.execute("SELECT set_config('lock_timeout', %s, TRUE)", (f"{self._wait_ms}ms",))
            # pgSTAC makes partitions while it loads: two loads at once can deadlock
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (WRITER_LOCK,))
            yield connection

    def close(self) -> None:
        """Close all connections for good."""
        self._pool.close()

    @contextlib.contextmanager
    def _lend(self) -> Iterator[Connection]:
        with translating(self.place):
            self._pool.open()
            with self._pool.connection() as connection:
                yield connection


@contextlib.contextmanager
def translating(place: str) -> Iterator[None]:
    """Sort the driver's errors into ours.

    Args:
        place: The database, as people name it.
    """
    try:
        yield
    except (psycopg.Error, psycopg_pool.PoolTimeout) as exc:
        raise _translate(exc, place) from exc


def first_line(exc: BaseException) -> str:
    """Return the first line of a driver's message; further lines are hints and places inside functions."""
    lines = str(exc).strip().splitlines()
    return lines[0][:300] if lines else type(exc).__name__


def _translate(exc: Exception, place: str) -> AppError:
    told = f"the database {place} refused: {first_line(exc)}"
    if isinstance(exc, psycopg.DataError | psycopg.errors.NotNullViolation):
        return InputError(f"the document cannot be stored: {first_line(exc)}")
    if isinstance(exc, psycopg.OperationalError | psycopg_pool.PoolTimeout):
        return TransientError(told)
    if isinstance(exc, psycopg.errors.InsufficientPrivilege):
        return ConfigError(f"{told}: the account may not do this; grant it the role pgstac_ingest")
    return DataError(told)


def _options() -> str:
    return "-c search_path=pgstac,public -c timezone=UTC -c application_name=terraloom"
