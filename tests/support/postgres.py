"""Run a real PostgreSQL with PostGIS and pgSTAC: a cluster of its own, gone when the block ends."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from pydantic import SecretStr

from catalog.pgstac.migrate import migrate
from tests.support.processes import free_port

_START_WAIT_S = 60.0
_TEMPLATE = "migrated"
_SPEED = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
"""What makes a throw-away cluster quick and a lasting one unsafe."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Point at a running cluster whose template database holds pgSTAC's schema."""

    port: int
    password: str = field(repr=False)

    def dsn(self, database: str) -> str:
        """Return the address of one database."""
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/{database}"

    def make_database(self, name: str, *, migrated: bool = True) -> str:
        """Make a database, empty or with pgSTAC's schema; returns its address."""
        template = _TEMPLATE if migrated else "template0"
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            if (
                migrated
                and not connection.execute(
                    "SELECT 1 FROM pg_database WHERE datname = %s", (_TEMPLATE,)
                ).fetchone()
            ):
                connection.execute(f"CREATE DATABASE {_TEMPLATE}")
                migrate(SecretStr(self.dsn(_TEMPLATE)))
            made = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
            connection.execute(made.format(sql.Identifier(name), sql.Identifier(template)))
        return self.dsn(name)


def missing_postgres() -> str | None:
    """Say in one line what of PostgreSQL and PostGIS this machine lacks; None when nothing."""
    programs = _programs()
    if programs is None:
        return "PostgreSQL is not installed: neither initdb on PATH nor in /usr/lib/postgresql/*/bin"
    folders = [programs.parent / "share", Path("/usr/share/postgresql") / programs.parent.name]
    if (programs / "pg_config").is_file():
        told = subprocess.run(
            [programs / "pg_config", "--sharedir"], capture_output=True, text=True, check=True
        )
        folders.append(Path(told.stdout.strip()))
    if not any((folder / "extension" / "postgis.control").is_file() for folder in folders):
        return f"PostGIS is not installed for the PostgreSQL in {programs}"
    return None


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Make a cluster in a temporary folder and keep it running on a free port."""
    programs = _programs()
    assert programs is not None, missing_postgres()
    # not in pytest's own folders: PostgreSQL runs as another user when root tests, who may not look into them
    folder = Path(tempfile.mkdtemp(prefix="terraloom-pg-"))
    try:
        cluster = _make_cluster(programs, folder)
        with _serving(programs, folder, cluster):
            yield cluster
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def load_items(dsn: str, collection: Mapping[str, Any], items: Iterable[Mapping[str, Any]]) -> int:
    """Load a collection and its items by pypgstac's bulk loader, past our API; returns how many items stand.

    Args:
        dsn: Address of a migrated database.
        collection: The items' collection.
        items: Any number; they are streamed.
    """
    from pypgstac.db import PgstacDB
    from pypgstac.load import Loader, Methods

    with PgstacDB(dsn=dsn) as database:
        loader = Loader(db=database)
        loader.load_collections(iter([dict(collection)]), insert_mode=Methods.upsert)
        loader.load_items((dict(item) for item in items), insert_mode=Methods.upsert)
    with psycopg.connect(dsn) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pgstac.items WHERE collection = %s", (collection["id"],)
        ).fetchone()
    assert found is not None
    return int(found[0])


def _programs() -> Path | None:
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    versions = [file.parent for file in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(versions, key=lambda folder: int(folder.parent.name), default=None)


def _account() -> dict[str, Any]:
    """Say as whom to run: PostgreSQL refuses to work for root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise AssertionError("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")


def _make_cluster(programs: Path, folder: Path) -> Cluster:
    account = _account()
    password = secrets.token_urlsafe(12)
    (folder / "password").write_text(password)
    if account:
        for path in (folder, folder / "password"):
            os.chown(path, account["user"], account["group"])
    options = ["--username=postgres", f"--pwfile={folder / 'password'}", "--auth=scram-sha-256"]
    subprocess.run(
        [programs / "initdb", "-D", folder / "data", *options, "--encoding=UTF8", "--locale=C", "--no-sync"],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
        **account,
    )
    return Cluster(port=free_port(), password=password)


@contextmanager
def _serving(programs: Path, folder: Path, cluster: Cluster) -> Iterator[None]:
    settings = (f"port={cluster.port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", *_SPEED)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [programs / "postgres", "-D", folder / "data", *(f"--{each}" for each in settings)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            **_account(),
        )
    try:
        _wait_until_it_answers(process, cluster, folder / "log")
        yield
    finally:
        process.send_signal(signal.SIGINT)  # what PostgreSQL calls a fast shutdown
        process.wait(timeout=30)


def _wait_until_it_answers(process: subprocess.Popen[bytes], cluster: Cluster, log: Path) -> None:
    deadline = time.monotonic() + _START_WAIT_S
    while True:
        try:
            psycopg.connect(cluster.dsn("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        else:
            return
