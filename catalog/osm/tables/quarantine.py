"""Keep what could not become a feature, with the reason: nothing of an extract is dropped silently."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from catalog.osm.plan import ColumnFacts
from catalog.osm.records import ELEMENTS, QuarantinedFeature
from catalog.osm.tables.parquet_files import (
    TAGS,
    Source,
    TableLayout,
    decode_tags,
    encode_tags,
    open_parquet,
    read_groups,
    write_parquet,
)
from infra.errors import DataError

COLUMNS = (
    ColumnFacts(name="element", type="string", description="OpenStreetMap element: node, way or relation."),
    ColumnFacts(name="id", type="int64", description="OpenStreetMap id, unique within its element type."),
    ColumnFacts(name="reason", type="string", description="Short code of why it is no feature."),
    ColumnFacts(name="detail", type="string", description="The reason in a sentence, with ids."),
    ColumnFacts(name="tags", type="map<string, string>", description="All tags, sorted by key."),
)
"""The columns of a quarantine table, in order."""

_SCHEMA = pa.schema(
    [
        pa.field("element", pa.string(), nullable=False),
        pa.field("id", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("tags", TAGS),
    ]
)
_LAYOUT = TableLayout(
    schema=_SCHEMA,
    dictionaries=("element", "reason", "tags.key_value.key", "tags.key_value.value"),
    statistics=("element", "id", "reason"),
)


def write_quarantine(items: Sequence[QuarantinedFeature], target: Path | BinaryIO) -> None:
    """Write the quarantined elements as Parquet, one row each in the given order; none make an empty table.

    Args:
        items: Elements that ought to be features.
        target: File to write, whole or not at all, an older one is replaced; or an open file.

    Raises:
        DataError: a tag's text is not Unicode.
        ConfigError: the folder cannot be written, or the disk is full.
    """
    columns = [
        pa.array([item.element for item in items], pa.string()),
        pa.array([item.id for item in items], pa.int64()),
        pa.array([item.reason for item in items], pa.string()),
        pa.array([item.detail for item in items], pa.string()),
        encode_tags([item.tags for item in items], lambda row: f"{items[row].element}/{items[row].id}"),
    ]
    table = pa.Table.from_arrays(columns, schema=_SCHEMA)
    write_parquet(table, _LAYOUT, target, group_starts=[0] if items else [])


def read_quarantine(source: Source) -> tuple[QuarantinedFeature, ...]:
    """Read a quarantine table back, in the file's order.

    Raises:
        NotFoundError: there is no such file.
        DataError: columns are missing or of another kind, or the file is damaged.
    """
    with open_parquet(source, _SCHEMA) as file:
        table = read_groups(file, _SCHEMA, range(file.num_row_groups))
        tags = decode_tags(table.column("tags"))
        rows = table.drop_columns(["tags"]).to_pylist()
    unknown = next((row["element"] for row in rows if row["element"] not in ELEMENTS), None)
    if unknown is not None:
        raise DataError(f"column element holds {unknown[:40]!r}: expected {', '.join(ELEMENTS)}")
    return tuple(QuarantinedFeature(**row, tags=each) for row, each in zip(rows, tags, strict=True))
