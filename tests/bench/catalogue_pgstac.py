"""Measure pgSTAC by the searches of ``tests.bench.catalogue``, on a throw-away cluster without fsync."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import psycopg

from catalog.database.filters import SearchQuery
from tests.bench.catalogue import measure, print_table
from tests.support.many_items import COLLECTIONS, collection_of, many_items
from tests.support.postgres import load_items, missing_postgres, running_cluster


def spell_search(query: SearchQuery) -> str:
    """Spell a search as ``pgstac.search`` reads it; it takes free text only where the words are one term."""
    body = query.to_json()
    if "q" in body:
        body["q"] = " OR ".join(body["q"])
    return json.dumps({**body, "limit": query.limit, "conf": {"context": "off", "nohydrate": False}})


def measure_pgstac(options: argparse.Namespace) -> None:
    missing = missing_postgres()
    if missing:
        print(f"pgSTAC not measured: {missing}")
        return
    with running_cluster() as cluster:
        dsn = cluster.make_database("bench")
        started = time.perf_counter()
        drawing = 0.0
        for name in COLLECTIONS:
            drawn_at = time.perf_counter()
            items = [item for item in many_items(options.items) if item["collection"] == name]
            drawing += time.perf_counter() - drawn_at
            for first in range(0, len(items), options.batch):
                load_items(dsn, collection_of(name), items[first : first + options.batch])
        rate = options.items / (time.perf_counter() - started - drawing)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("SET search_path TO pgstac, public")
            connection.execute("ANALYZE")

            def search(query: SearchQuery) -> int:
                row: Any = connection.execute("SELECT search(%s::jsonb)", (spell_search(query),)).fetchone()
                return len(row[0]["features"])

            table = measure(search, repeats=options.pgstac_repeats, seed=options.seed)
        print_table("pgSTAC (PostgreSQL)", rate, table)
