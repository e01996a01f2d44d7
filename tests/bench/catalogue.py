"""Measure the embedded catalogue at a stated number of items, and pgSTAC beside it.

    python -m tests.bench.catalogue [--items 100000] [--pgstac] [--repeats 200] [--folder DIR]

Every figure is the median of seeded random searches, timed around the catalogue's own search: no HTTP. For
pgSTAC it is the time of ``SELECT search(…)`` over a connection to a server on this machine. Loads are whole
batches of 500 (embedded) and pypgstac's own loader (pgSTAC, as much at a time as ``--batch``).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from catalog.database.backend import SearchQuery, SortKey, SqliteCatalogue
from tests.support.many_items import COLLECTIONS, PLACES, RARE, collection_of, many_items

BATCH_ITEMS = 500
Search = Callable[[SearchQuery], int]
"""Answer one page; returns how many items are on it."""


def queries(rng: np.random.Generator) -> dict[str, Callable[[], SearchQuery]]:
    """Name the kinds of search, each a way to draw one."""

    def box(size: float = 2.0) -> list[float]:
        west, south = rng.uniform(-10, 30 - size), rng.uniform(36, 66 - size)
        return [west, south, west + size, south + size]

    def quarter() -> str:
        year, month = rng.integers(2022, 2025), 3 * rng.integers(0, 4) + 1
        return f"{year}-{month:02}-01T00:00:00Z/{year}-{month + 2:02}-28T00:00:00Z"

    def clear(platform: str) -> dict[str, Any]:
        cover = {"op": "<", "args": [{"property": "eo:cloud_cover"}, float(rng.uniform(5, 30))]}
        return {"op": "and", "args": [cover, {"op": "=", "args": [{"property": "platform"}, platform]}]}

    def meets(bounds: list[float]) -> dict[str, Any]:
        west, south, east, north = bounds
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        shape = {"type": "Polygon", "coordinates": [ring]}
        return {"op": "s_intersects", "args": [{"property": "geometry"}, shape]}

    return {
        "newest first, no condition": lambda: SearchQuery(),
        "bbox + datetime": lambda: SearchQuery(bbox=box(), datetime=quarter()),
        "CQL2 + bbox": lambda: SearchQuery(bbox=box(), filter=clear("sentinel-2a")),
        "CQL2 with s_intersects": lambda: SearchQuery(
            filter={"op": "and", "args": [meets(box()), clear("landsat-8")]}
        ),
        "CQL2 alone": lambda: SearchQuery(filter=clear("landsat-9")),
        "free text, common word": lambda: SearchQuery(q=[str(rng.choice(PLACES))]),
        "free text, rare word": lambda: SearchQuery(q=[str(rng.choice(RARE))]),
        "sort by number": lambda: SearchQuery(
            sortby=[SortKey(field="eo:cloud_cover", descending=bool(rng.integers(2)))]
        ),
        "sort by text": lambda: SearchQuery(sortby=[SortKey(field="title")]),
        "sort by two": lambda: SearchQuery(
            sortby=[SortKey(field="platform"), SortKey(field="datetime", descending=True)]
        ),
    }


def measure(search: Search, *, repeats: int, seed: int) -> dict[str, tuple[float, float, float]]:
    """Time each kind of search; median and 95th percentile in milliseconds, and items on a page."""
    table = {}
    for name, draw in queries(np.random.default_rng(seed)).items():
        search(draw())
        spent, found = [], 0
        for _ in range(repeats):
            query = draw()
            started = time.perf_counter()
            found += search(query)
            spent.append((time.perf_counter() - started) * 1e3)
        table[name] = (statistics.median(spent), sorted(spent)[int(0.95 * repeats)], found / repeats)
        print(f"    {name}: {table[name][0]:.2f} ms", flush=True)
    return table


def load_embedded(catalogue: SqliteCatalogue, count: int) -> float:
    """Upsert the items batch by batch; returns items a second, the drawing of items not counted."""
    for name in COLLECTIONS:
        catalogue.upsert_collection(collection_of(name))
    spent = 0.0
    for batch in batches(many_items(count), BATCH_ITEMS):
        started = time.perf_counter()
        catalogue.upsert_items(batch)
        spent += time.perf_counter() - started
    return count / spent


def batches(items: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    """Cut into lists of at most ``size``."""
    batch: list[dict[str, Any]] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def print_table(name: str, rate: float, table: dict[str, tuple[float, float, float]]) -> None:
    print(f"{name}: {rate:,.0f} items/s loaded")
    for kind, (median, p95, found) in table.items():
        print(f"  {kind:28} median {median:8.2f} ms   p95 {p95:8.2f} ms   {found:5.1f} items a page")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pgstac", action="store_true")
    parser.add_argument("--pgstac-repeats", type=int, default=20)
    parser.add_argument("--batch", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        print(f"{options.items:,} items, medians of {options.repeats} searches, seed {options.seed}")
        # no limit that a slow kind of search would run into: it is to be measured
        catalogue = SqliteCatalogue(Path(folder) / "catalogue.sqlite", search_limit_s=600)
        rate = load_embedded(catalogue, options.items)
        table = measure(
            lambda query: len(catalogue.search(query).items), repeats=options.repeats, seed=options.seed
        )
        catalogue.close()  # which brings the log into the file
        size = (Path(folder) / "catalogue.sqlite").stat().st_size / 1e6
        print_table(f"embedded (SQLite, {size:,.0f} MB)", rate, table)
        if options.pgstac:
            from tests.bench.catalogue_pgstac import measure_pgstac

            measure_pgstac(Path(folder), options)


if __name__ == "__main__":
    main()
