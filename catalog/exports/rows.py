"""Spell STAC items as rows of Arrow columns and read them back, member for member.

A row is read back as it is written. What comes out otherwise than it went in is noted in the column ``EXACT``
as a JSON list of ``[path, value]``, or ``[path]`` for a member that must go; a path is a list of names. So
nothing is lost that a column cannot hold: explicit nulls, whole numbers among fractions, a date-time's own
spelling, one item's text among others' numbers.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import shapely

from catalog.database.times import format_moment
from catalog.exports.columns import EXACT, ITEM_COLUMNS, Sort, sort_of, to_moment
from infra.digests import canonical_json
from infra.errors import DataError

Document = dict[str, Any]
Path = tuple[str, ...]
_Spell = Callable[[Any], Any]


def write_rows(items: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    """Spell items as a batch of the schema's columns, ``EXACT`` among them.

    Args:
        items: What ``Survey`` has looked through to make the schema.
        schema: Columns.
    """
    batch = pa.record_batch(
        [_column(items, each) for each in schema if each.name != EXACT], names=schema.names[:-1]
    )
    notes = [_note(item, read) for item, read in zip(items, _read_plain(batch), strict=True)]
    return pa.record_batch([*batch.columns, pa.array(notes, pa.string())], schema=schema)


def read_rows(batch: pa.RecordBatch) -> Iterator[Document]:
    """Read items from a batch of stac-geoparquet, ours or another program's.

    Raises:
        DataError: a row's ``EXACT`` is malformed.
    """
    notes = batch.column(EXACT).to_pylist() if EXACT in batch.schema.names else [None] * batch.num_rows
    plain = batch.drop_columns([EXACT]) if EXACT in batch.schema.names else batch
    for item, note in zip(_read_plain(plain), notes, strict=True):
        if note is not None:
            _apply(item, note)
        yield item


def _column(items: Sequence[Mapping[str, Any]], each: pa.Field) -> pa.Array:
    name = each.name
    if name == "geometry":
        return _to_wkb([item.get("geometry") for item in items])
    if name == "bbox":
        return pa.array([_spell_bbox(item.get("bbox"), each.type) for item in items], each.type)
    if name in ITEM_COLUMNS:
        values = [item.get(name) for item in items]
        return pa.array(list(map(_speller(each.type, name, 0), values)), each.type)
    rows = [properties if isinstance(properties := item.get("properties"), dict) else {} for item in items]
    spell = _speller(each.type, name, 1)
    return pa.array([spell(row.get(name)) for row in rows], each.type)


def _speller(kind: pa.DataType, name: str, depth: int) -> _Spell:
    """Make the function that spells a JSON value for a column of this type; null where it does not fit."""
    if pa.types.is_struct(kind):
        inner = [(each.name, _speller(each.type, each.name, depth + 1)) for each in kind]
        return lambda value: _spell_struct(value, inner) if isinstance(value, dict) else None
    if pa.types.is_list(kind):
        member = _speller(kind.value_type, "", depth + 1)
        return lambda value: [member(each) for each in value] if isinstance(value, list | tuple) else None
    if pa.types.is_float64(kind):
        return _spell_float
    if pa.types.is_binary(kind):
        return lambda value: _to_wkb([value])[0].as_py() if isinstance(value, dict) else None
    if pa.types.is_timestamp(kind):
        return to_moment
    wanted = (
        Sort.NUMBER if pa.types.is_int64(kind) else Sort.BOOLEAN if pa.types.is_boolean(kind) else Sort.TEXT
    )
    if wanted is Sort.TEXT:
        return lambda value: value if isinstance(value, str) else None
    return lambda value: value if value is not None and sort_of(value, name, depth) is wanted else None


def _spell_struct(value: Mapping[str, Any], inner: Sequence[tuple[str, _Spell]]) -> dict[str, Any]:
    return {name: spell(value[name]) for name, spell in inner if value.get(name) is not None}


def _spell_float(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _spell_bbox(bbox: object, kind: pa.DataType) -> dict[str, float | None] | None:
    if not isinstance(bbox, list | tuple) or len(bbox) not in (4, 6):
        return None
    names = (
        ("xmin", "ymin", "xmax", "ymax")
        if len(bbox) == 4
        else ("xmin", "ymin", "zmin", "xmax", "ymax", "zmax")
    )
    numbers = [_spell_float(value) for value in bbox]
    return None if None in numbers else dict(zip(names, numbers, strict=True))


def _to_wkb(geometries: Sequence[object]) -> pa.Array:
    """Spell GeoJSON as ISO WKB; null where a geometry is not one."""
    texts = [None if each is None else json.dumps(each) for each in geometries]
    with np.errstate(all="ignore"):  # numbers beyond doubles make no geometry either
        shapes = shapely.from_geojson(texts, on_invalid="ignore")
    return pa.array(shapely.to_wkb(shapes, flavor="iso", byte_order=1), pa.binary())


def _note(item: Mapping[str, Any], read: Document) -> str | None:
    """Spell what was read otherwise than it is; None when nothing was."""
    differences = list(_differences(item, read, ()))
    return canonical_json(differences).decode() if differences else None


def _differences(wanted: Mapping[str, Any], read: Mapping[str, Any], path: Path) -> Iterator[list[object]]:
    for name, value in wanted.items():
        if name not in read:
            yield [[*path, name], value]
        elif isinstance(value, dict) and isinstance(read[name], dict):
            yield from _differences(value, read[name], (*path, name))
        elif not _is_same(value, read[name]):
            yield [[*path, name], value]
    for name in read:
        if name not in wanted:
            yield [[*path, name]]


def _is_same(wanted: object, read: object) -> bool:
    """Compare as JSON text would be compared: 1 is not 1.0, and 0.0 is not -0.0."""
    if isinstance(wanted, list | tuple):
        return (
            isinstance(read, list)
            and len(wanted) == len(read)
            and all(_is_same(one, other) for one, other in zip(wanted, read, strict=True))
        )
    if type(wanted) is not type(read):
        return False
    if isinstance(wanted, dict):
        assert isinstance(read, dict)
        return wanted.keys() == read.keys() and all(
            _is_same(value, read[name]) for name, value in wanted.items()
        )
    return wanted == read and (wanted != 0 or str(wanted) == str(read))


def _apply(item: Document, note: str) -> None:
    try:
        for path, *value in json.loads(note):
            *above, name = path
            place: Any = item
            for step in above:
                place = place.setdefault(step, {})
            if value:
                (place[name],) = value
            else:
                place.pop(name, None)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as exc:
        raise DataError(
            f"item {item.get('id')!r}: column {EXACT} is malformed ({note[:80]!r}): export the items again"
        ) from exc


def _read_plain(batch: pa.RecordBatch) -> Iterator[Document]:
    """Read items by their columns alone."""
    columns = {each.name: _read_column(batch.column(each.name), each.name) for each in batch.schema}
    properties = [name for name in columns if name not in ITEM_COLUMNS]
    missing = [None] * batch.num_rows
    for row in range(batch.num_rows):
        item = {name: columns.get(name, missing)[row] for name in ITEM_COLUMNS}
        held = {name: columns[name][row] for name in properties}
        yield {
            **{name: value for name, value in item.items() if value is not None},
            "type": item["type"] or "Feature",
            "stac_version": item["stac_version"] or "1.0.0",
            "geometry": item["geometry"],
            "links": item["links"] or [],
            "assets": item["assets"] or {},
            "properties": {
                "datetime": None,
                **{name: value for name, value in held.items() if value is not None},
            },
        }


def _read_column(column: pa.Array, name: str) -> list[Any]:
    if pa.types.is_struct(column.type) and name == "bbox":
        return [_read_bbox(box) for box in column.to_pylist()]
    read = _reader(column.type)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", tz="UTC"), safe=False).cast(pa.int64())
    values = column.to_pylist()
    return values if read is None else [None if value is None else read(value) for value in values]


def _read_bbox(box: Mapping[str, float | None] | None) -> list[float] | None:
    if box is None:
        return None
    values = [box.get(name) for name in ("xmin", "ymin", "zmin", "xmax", "ymax", "zmax")]
    return [value for value in values if value is not None]


def _reader(kind: pa.DataType) -> _Spell | None:
    """Make the function that turns an Arrow value of this type into JSON; None when it is JSON already."""
    if pa.types.is_struct(kind):
        inner = {each.name: _reader(each.type) for each in kind}
        return lambda value: _read_struct(value, inner)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        member = _reader(kind.value_type)
        if member is None:
            return None
        return lambda value: [None if each is None else member(each) for each in value]
    if pa.types.is_timestamp(kind):
        return _read_moment
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return _read_wkb
    return None


def _read_struct(value: Mapping[str, Any], inner: Mapping[str, _Spell | None]) -> Document:
    """Leave out the members that are null: they belong to other rows."""
    return {
        name: member if (read := inner[name]) is None else read(member)
        for name, member in value.items()
        if member is not None
    }


def _read_moment(value: int | dt.datetime) -> str:
    """Spell a moment: microseconds at the top, a datetime inside lists and structs."""
    return format_moment(value) if isinstance(value, int) else value.isoformat().replace("+00:00", "Z")


def _read_wkb(value: bytes) -> Document:
    try:
        geometry: Document = json.loads(shapely.to_geojson(shapely.from_wkb(value)))
    except (shapely.errors.ShapelyError, ValueError) as exc:
        raise DataError(f"a geometry is not WKB ({exc}): is this stac-geoparquet?") from exc
    return geometry
