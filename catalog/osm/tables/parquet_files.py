"""Write small Parquet files whole or not at all, and read files of unknown origin without trusting them."""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from catalog.osm.records import ELEMENTS, Tags
from infra.errors import DataError, NotFoundError
from infra.storage import translate_os_error

Source: TypeAlias = Path | bytes | BinaryIO
"""A file's path, its bytes, or an open file that can seek."""

ELEMENT = pa.dictionary(pa.int8(), pa.string())
TAGS = pa.map_(pa.string(), pa.string())
_MAX_ROWS = 50_000_000  # of one reading: a few forged bytes can claim any number


@dataclass(frozen=True, kw_only=True)
class TableLayout:
    """Say how a table is written: its columns, and which of them are worth a dictionary or statistics."""

    schema: pa.Schema
    dictionaries: tuple[str, ...] = ()
    """Leaf columns whose values repeat."""
    statistics: tuple[str, ...] = ()
    """Leaf columns whose smallest and largest value each row group states."""


def write_parquet(
    table: pa.Table, layout: TableLayout, target: Path | BinaryIO, *, group_starts: Sequence[int]
) -> None:
    """Write a table; a path gets the whole file or nothing. The same rows give the same bytes.

    Args:
        table: The rows, of the layout's schema.
        layout: How to write them.
        target: File to write, an older one is replaced; or an open file.
        group_starts: Row that each row group starts with, rising from 0; empty writes no group.

    Raises:
        ConfigError: the folder cannot be written, or the disk is full.
    """
    if not isinstance(target, Path):
        _write_groups(table, layout, target, group_starts)
        return
    part = target.with_name(f".{target.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write_groups(table, layout, part, group_starts)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as exc:
        raise translate_os_error(exc, str(target)) from exc


def _write_groups(
    table: pa.Table, layout: TableLayout, target: Path | BinaryIO, group_starts: Sequence[int]
) -> None:
    ends = [*group_starts, table.num_rows][1:]
    with pq.ParquetWriter(
        target,
        layout.schema,
        compression="zstd",
        use_dictionary=list(layout.dictionaries),
        write_statistics=list(layout.statistics),
    ) as writer:
        for start, end in zip(group_starts, ends, strict=True):
            writer.write_table(table.slice(start, end - start), row_group_size=max(1, end - start))


@contextmanager
def open_parquet(source: Source, schema: pa.Schema) -> Iterator[pq.ParquetFile]:
    """Open a file and see that it has a table's columns; whatever fails inside is told as the file's fault.

    Raises:
        NotFoundError: there is no such file.
        DataError: it is not Parquet, lacks columns, or is damaged.
    """
    name = _name(source)
    try:
        with pq.ParquetFile(pa.BufferReader(source) if isinstance(source, bytes) else source) as file:
            missing = [column for column in schema.names if column not in file.schema_arrow.names]
            if missing:
                raise DataError(f"{name} lacks the columns {', '.join(missing)}: expected {schema.names}")
            yield file
    except FileNotFoundError as exc:
        raise NotFoundError(f"{name} does not exist: name a table of OpenStreetMap features") from exc
    except (pa.ArrowException, OSError, UnicodeDecodeError) as exc:
        raise DataError(f"{name} cannot be read as Parquet ({_first_line(exc)}); make it again") from exc


def read_groups(file: pq.ParquetFile, schema: pa.Schema, groups: Sequence[int]) -> pa.Table:
    """Read row groups as a table of exactly a schema, whichever kin of its types the file has.

    Raises:
        DataError: a column has another kind of values, or the groups claim more rows than anybody holds.
    """
    rows = sum(file.metadata.row_group(group).num_rows for group in groups)
    if rows > _MAX_ROWS:
        raise DataError(f"the file claims {rows:,} rows: at most {_MAX_ROWS:,} are read at once; give a box")
    table = file.read_row_groups(list(groups), columns=schema.names).select(schema.names)
    columns = [_cast(table.column(field.name), field) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _cast(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    try:
        cast = column.cast(field.type)
    except pa.ArrowException as exc:
        raise DataError(
            f"column {field.name} holds {column.type}, which is no {field.type} ({_first_line(exc)})"
        ) from exc
    if cast.null_count and not field.nullable:
        raise DataError(f"column {field.name} has {cast.null_count} empty rows: every feature needs a value")
    return cast


def encode_elements(indexes: np.ndarray[Any, Any]) -> pa.DictionaryArray:
    """Spell indexes into ``ELEMENTS`` as words."""
    return pa.DictionaryArray.from_arrays(pa.array(indexes.astype(np.int8)), pa.array(ELEMENTS))


def encode_tags(tags: Sequence[Tags], name_row: Callable[[int], str]) -> pa.MapArray:
    """Write tags as a column of maps, keys sorted.

    Args:
        tags: One mapping per row.
        name_row: Says what a row is, for the error message, e.g. ``way/17``.

    Raises:
        DataError: a tag's text is not Unicode: half of a surrogate pair.
    """
    pairs = [sorted(row.items()) for row in tags]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in pairs], dtype=np.int64)])
    try:
        keys = pa.array([key for row in pairs for key, _ in row], pa.string())
        values = pa.array([value for row in pairs for _, value in row], pa.string())
    except UnicodeEncodeError as exc:
        raise DataError(f"a tag of {name_row(_find_broken(tags))} holds text that is not Unicode") from exc
    return pa.MapArray.from_arrays(pa.array(offsets, pa.int32()), keys, values)


def _find_broken(tags: Sequence[Tags]) -> int:
    texts = ("".join([*row.keys(), *row.values()]) for row in tags)
    return next(row for row, text in enumerate(texts) if text.encode("utf-8", "replace").decode() != text)


def decode_tags(column: pa.ChunkedArray) -> tuple[Tags, ...]:
    """Read a column of maps back; a missing map is one without tags.

    Raises:
        DataError: a tag has no value.
    """
    rows: list[Mapping[str, str]] = []
    for chunk in column.chunks:
        if chunk.keys.null_count or chunk.items.null_count:
            raise DataError("column tags has a tag without value: every tag is a pair of texts")
        keys, values = chunk.keys.to_pylist(), chunk.items.to_pylist()
        ends = chunk.offsets.to_pylist()
        rows += [
            dict(zip(keys[start:end], values[start:end], strict=True))
            for start, end in itertools.pairwise(ends)
        ]
    return tuple(rows)


def _name(source: Source) -> str:
    return str(source) if isinstance(source, Path) else "the table"


def _first_line(exc: Exception) -> str:
    return next(iter(str(exc).splitlines()), type(exc).__name__)[:160]
