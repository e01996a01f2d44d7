"""Measure pgSTAC by the searches of ``tests.bench.catalogue``, on a throw-away cluster without fsync."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import psycopg

from catalog.database.filters import SearchQuery
from tests.bench.catalogue import batches, measure, print_table
from tests.support.many_items import COLLECTIONS, collection_of, many_items
from tests.support.postgres import load_items, missing_postgres, running_cluster


def spell_search(query: SearchQuery) -> str:
    """Spell a search as ``pgstac.search`` reads it."""
    body = query.to_json()
    if "q" in body:
        body["q"] = " OR ".join(body["q"])
    return json.dumps({**body, "limit": query.limit, "conf": {"context": "off"}})


def measure_pgstac(folder: Path, options: argparse.Namespace) -> None:
    missing = missing_postgres()
    if missing:
        print(f"pgSTAC not measured: {missing}")
        return
    spool(folder, options.items)
    with running_cluster() as cluster:
        dsn = cluster.make_database("bench")
        started = time.perf_counter()
        for name in COLLECTIONS:
            for batch in batches(read_spool(folder, name), options.batch):
                load_items(dsn, collection_of(name), batch)
        rate = options.items / (time.perf_counter() - started)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("SET search_path TO pgstac, public")
            connection.execute("ANALYZE")

            def search(query: SearchQuery) -> int:
                row: Any = connection.execute("SELECT search(%s::jsonb)", (spell_search(query),)).fetchone()
                return len(row[0]["features"])

            table = measure(search, repeats=options.pgstac_repeats, seed=options.seed)
        print_table("pgSTAC (PostgreSQL)", rate, table)


def spool(folder: Path, count: int) -> None:
    """Draw the items once, into one file for each collection: pgSTAC's loader wants them apart."""
    files = {name: (folder / f"{name}.ndjson").open("wb") for name in COLLECTIONS}
    for item in many_items(count):
        files[item["collection"]].write(orjson.dumps(item) + b"\n")
    for file in files.values():
        file.close()


def read_spool(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    """Read one collection's items back."""
    with (folder / f"{name}.ndjson").open("rb") as file:
        for line in file:
            yield orjson.loads(line)
