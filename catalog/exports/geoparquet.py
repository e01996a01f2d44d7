"""Write the items of a catalogue as one stac-geoparquet file, and read such files.

Source: the stac-geoparquet specification, version 1.0.0, and GeoParquet 1.1.0.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from catalog.exports.columns import EXACT, Survey
from catalog.exports.rows import read_rows, write_rows
from catalog.exports.spool import BATCH_ITEMS, Document, Spool, place_error
from infra.errors import InputError

_GEO_VERSION = "1.1.0"
_STAC_VERSION = "1.0.0"
_READ_ROWS = 1_000
_COVERING = {name: ["bbox", name] for name in ("xmin", "ymin", "xmax", "ymax")}


@dataclass(frozen=True, kw_only=True)
class WrittenFile:
    """Tell what an export wrote."""

    path: Path
    items: int
    noted: int
    """Rows of which something stands in ``columns.EXACT`` only."""
    columns: int


@dataclass(frozen=True, kw_only=True)
class ItemsFile:
    """Offer what a stac-geoparquet file holds."""

    path: Path
    collections: dict[str, Document]
    """Collections that the file brings along, by id."""
    rows: int

    def items(self) -> Iterator[Document]:
        """Read the items one by one, in little memory.

        Raises:
            InputError: the file is damaged.
            DataError: a row cannot be read as an item.
        """
        (only,) = self.collections if len(self.collections) == 1 else (None,)
        with _reading(self.path) as file:
            for batch in _batches(file, self.path):
                for item in read_rows(batch):
                    yield item if only is None else {"collection": only, **item}


def write_geoparquet(
    items: Iterable[Document],
    target: Path,
    *,
    collections: Iterable[Mapping[str, Any]] = (),
    batch_items: int = BATCH_ITEMS,
) -> WrittenFile:
    """Write items as one file, whole or not at all; memory holds one batch of them.

    Items are gone through once, and kept meanwhile in a nameless file beside the target.

    Args:
        items: STAC items.
        target: File to write; an older one is replaced.
        collections: The items' collections, which the file brings along.
        batch_items: Items held in memory at a time, and rows of a row group.

    Raises:
        ConfigError: the folder cannot be written, or the disk is full.
        DataError: an item cannot be written as JSON.
    """
    target = target.expanduser().absolute()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with Spool(target.parent, batch_items=batch_items) as spool:
            survey = Survey()
            for batch in spool.fill(items):
                survey.add(batch)
            schema = survey.schema()
            schema = schema.with_metadata(_metadata(schema, survey.geometry_types(), collections))
            noted = _write(spool, schema, target)
    except OSError as exc:
        raise place_error(exc, target) from exc
    return WrittenFile(path=target, items=len(spool), noted=noted, columns=len(schema))


def open_geoparquet(path: Path) -> ItemsFile:
    """Look at a file's head.

    Raises:
        InputError: no such file, or not stac-geoparquet.
    """
    with _reading(path) as file:
        names = set(file.schema_arrow.names)
        metadata = file.schema_arrow.metadata or {}
        rows: int = file.metadata.num_rows
    if not {"id", "geometry"} <= names:
        raise InputError(f"{path} has no columns id and geometry: expected a stac-geoparquet file")
    return ItemsFile(path=path, collections=_collections_of(metadata), rows=rows)


def _write(spool: Spool, schema: pa.Schema, target: Path) -> int:
    """Write all rows, and put the file in its place when it is whole; return how many rows have notes."""
    part = target.with_name(f".{target.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part")
    noted = 0
    try:
        with pq.ParquetWriter(part, schema, compression="zstd") as writer:
            for items in spool.batches():
                batch = write_rows(items, schema)
                noted += batch.num_rows - batch.column(EXACT).null_count
                writer.write_batch(batch)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return noted


def _metadata(
    schema: pa.Schema, geometry_types: list[str], collections: Iterable[Mapping[str, Any]]
) -> dict[str, str]:
    columns: dict[str, Document] = {
        "geometry": {
            "encoding": "WKB",
            "geometry_types": geometry_types,
            "covering": {"bbox": _COVERING},
        }
    }
    if "proj:geometry" in schema.names and pa.types.is_binary(schema.field("proj:geometry").type):
        # each row has a CRS of its own, which null says; left out, it would be longitude and latitude
        columns["proj:geometry"] = {"encoding": "WKB", "geometry_types": [], "crs": None}
    geo = {"version": _GEO_VERSION, "primary_column": "geometry", "columns": columns}
    stac = {"version": _STAC_VERSION, "collections": {each["id"]: dict(each) for each in collections}}
    return {"geo": json.dumps(geo), "stac-geoparquet": json.dumps(stac)}


def _collections_of(metadata: Mapping[bytes, bytes]) -> dict[str, Document]:
    """Read the collections of a file's metadata, by the specification's member or by the one before it."""
    try:
        told = json.loads(metadata.get(b"stac-geoparquet", b"{}"))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(told, dict):
        return {}
    several, one = told.get("collections"), told.get("collection")
    found = [*several.values()] if isinstance(several, dict) else []
    found += [one] if isinstance(one, dict) else []
    return {str(each["id"]): each for each in found if isinstance(each, dict) and "id" in each}


def _reading(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError as exc:
        raise InputError(f"{path} does not exist: name a stac-geoparquet file") from exc
    except (pa.ArrowInvalid, OSError) as exc:
        raise InputError(f"{path} cannot be read as Parquet ({_first_line(exc)})") from exc


def _batches(file: pq.ParquetFile, path: Path) -> Iterator[pa.RecordBatch]:
    try:
        yield from file.iter_batches(batch_size=_READ_ROWS)
    except (pa.ArrowException, OSError) as exc:
        raise InputError(f"{path} is damaged ({_first_line(exc)}): copy or export it again") from exc


def _first_line(exc: Exception) -> str:
    return next(iter(str(exc).splitlines()), type(exc).__name__)[:160]
