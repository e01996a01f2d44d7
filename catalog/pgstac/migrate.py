"""Bring a database to the pgSTAC schema that this release reads and writes, or say what it lacks."""

from __future__ import annotations

import json

import psycopg
import psycopg_pool
from pydantic import SecretStr

from catalog.pgstac.connections import MIGRATION_LOCK, Connection, connect, first_line, name_database
from infra.errors import ConfigError

_NUMBERS = (
    *("gsd", "eo:cloud_cover", "eo:snow_cover", "sar:center_frequency", "sar:looks_equivalent_number"),
    *("sat:absolute_orbit", "sat:relative_orbit", "proj:epsg", "view:azimuth", "view:incidence_angle"),
    *("view:off_nadir", "view:sun_azimuth", "view:sun_elevation"),
)
_MOMENTS = ("created", "updated", "start_datetime", "end_datetime")
"""Properties whose kind STAC fixes. pgSTAC sorts and compares all it is not told of as text: 10 before 9."""


def migrate(database: SecretStr) -> str:
    """Make the schema, or bring an older one up to date; does nothing where it is current.

    Two servers that start at once migrate one after the other.

    Args:
        database: ``postgresql://`` address; its account must be allowed to make schemas and roles, and, where
            they are not there yet, the extensions postgis, btree_gist and unaccent.

    Returns:
        Version of the schema.

    Raises:
        ConfigError: the database cannot be opened, has no PostGIS, or the account may not change it.
    """
    # imported here: it reads the environment at its import, and only migrating needs it
    from pypgstac.db import PgstacDB
    from pypgstac.migrate import Migrate

    place = name_database(database)
    with connect(database) as guard:
        guard.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
        try:
            with (
                psycopg_pool.ConnectionPool(database.get_secret_value(), min_size=0, max_size=1) as pool,
                PgstacDB(pool=pool) as worker,
            ):
                version: str = Migrate(worker).run_migration()
        except psycopg.Error as exc:
            raise ConfigError(f"the database {place} could not be migrated: {first_line(exc)}") from exc
        _register_kinds(guard)
    return version


def check_database(database: SecretStr) -> str:
    """Make sure that the database is there and has the schema this release needs.

    Returns:
        Version of the schema.

    Raises:
        ConfigError: it is not there, holds no pgSTAC, or another release of it.
    """
    from pypgstac.version import __version__ as expected

    place = name_database(database)
    with connect(database) as connection:
        found = _read_version(connection)
    if found is None:
        raise ConfigError(f"the database {place} holds no pgSTAC: start once with --migrate to set it up")
    if _release(found) < _release(expected):
        raise ConfigError(
            f"the database {place} holds pgSTAC {found}, this release needs {expected}: start with --migrate"
        )
    if _release(found) > _release(expected):
        raise ConfigError(
            f"the database {place} holds pgSTAC {found}, newer than {expected}: update Terraloom"
        )
    return found


def _register_kinds(connection: Connection) -> None:
    """Tell pgSTAC the kinds of properties; what an operator registered stays as it is."""
    known = {name for (name,) in connection.execute("SELECT name FROM queryables").fetchall()}
    kinds = {name: {"type": "number"} for name in _NUMBERS}
    kinds |= {name: {"type": "string", "format": "date-time"} for name in _MOMENTS}
    missing = {name: kind for name, kind in kinds.items() if name not in known}
    if missing:
        document = json.dumps({"properties": missing})
        connection.execute("SELECT upsert_queryables(%s::jsonb)", (document,))


def _read_version(connection: Connection) -> str | None:
    try:
        found = connection.execute("SELECT pgstac.get_version()").fetchone()
    except (psycopg.errors.InvalidSchemaName, psycopg.errors.UndefinedFunction):
        return None
    except psycopg.errors.InsufficientPrivilege as exc:
        raise ConfigError(f"the account may not use the schema pgstac: {first_line(exc)}") from exc
    return None if found is None else found[0]


def _release(version: str) -> tuple[int, int]:
    """Patch releases of one minor release read and write alike."""
    major, minor = version.split(".")[:2]
    return int(major), int(minor)
