"""Keep OpenStreetMap features as GeoParquet, so that a box is read without reading the rest.

Source: the GeoParquet specification, version 1.1.0 (bounding-box column as covering).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from catalog.grid import BoundsLonLat, check_bounds
from catalog.osm.labels import make_label
from catalog.osm.plan import ColumnFacts
from catalog.osm.records import ELEMENTS, OsmFeatures
from catalog.osm.tables.parquet_files import (
    ELEMENT,
    TAGS,
    Source,
    TableLayout,
    decode_tags,
    encode_elements,
    encode_tags,
    open_parquet,
    read_groups,
    write_parquet,
)
from catalog.osm.terms import ATTRIBUTION, COPYRIGHT_URL, LICENSE, LICENSE_URL
from infra.errors import DataError, InputError

if TYPE_CHECKING:
    import geopandas

GEOMETRY = "geometry"
ROWS_PER_GROUP = 1024
"""Least that a box query reads. With 4,096 a kilometre of Liechtenstein reads twice the rows; 2 % smaller."""

_EDGES = ("xmin", "ymin", "xmax", "ymax")
_CRS = "EPSG:4326"  # what others write; GeoParquet puts longitude first, whatever a CRS says
_WIDE = 1 / 16  # of the extent; measured: boxes of a kilometre read the fewest rows at 1/16 to 1/32
_EARTH = np.array([180.0, 90.0, 180.0, 90.0]) + 1e-6  # degrees; a rounding's room
_TIMESTAMP = pa.timestamp("ms", tz="UTC")  # Parquet knows no whole seconds

COLUMNS = (
    ColumnFacts(name="element", type="string", description="OpenStreetMap element: node, way or relation."),
    ColumnFacts(name="id", type="int64", description="OpenStreetMap id, unique within its element type."),
    ColumnFacts(
        name="label", type="string", description="Tags that describe the feature, as key:value;key:value…"
    ),
    ColumnFacts(name="tags", type="map<string, string>", description="All tags, sorted by key."),
    ColumnFacts(
        name="timestamp", type="timestamp[ms, tz=UTC]", description="Last edit; empty where unknown."
    ),
    ColumnFacts(name=GEOMETRY, type="binary", description="WKB, longitude and latitude in degrees (WGS 84)."),
    ColumnFacts(
        name="bbox",
        type="struct<xmin: double, ymin: double, xmax: double, ymax: double>",
        description="Box of the geometry in degrees, by which readers skip rows.",
    ),
)
"""The columns of a features table, in order."""

_BBOX = pa.struct([pa.field(edge, pa.float64(), nullable=False) for edge in _EDGES])
_READ = pa.schema(
    [
        pa.field("element", pa.string(), nullable=False),
        pa.field("id", pa.int64(), nullable=False),
        pa.field("tags", TAGS),
        pa.field("timestamp", _TIMESTAMP),
        pa.field(GEOMETRY, pa.binary(), nullable=False),
        pa.field("bbox", _BBOX, nullable=False),
    ]
)
_TYPES = {field.name: field for field in _READ} | {
    "element": pa.field("element", ELEMENT, nullable=False),
    "label": pa.field("label", pa.string(), nullable=False),
}
_SCHEMA = pa.schema(
    [_TYPES[each.name].with_metadata({"description": each.description}) for each in COLUMNS],
)


@dataclass(frozen=True, kw_only=True)
class TableFacts:
    """Tell what was written, for STAC's table extension."""

    columns: tuple[ColumnFacts, ...]
    row_count: int
    row_groups: int


def write_features(
    features: OsmFeatures, target: Path | BinaryIO, *, rows_per_group: int = ROWS_PER_GROUP
) -> TableFacts:
    """Write features as GeoParquet 1.1.0; the same features give the same bytes.

    Rows follow a Hilbert curve through the middles of their boxes. The few that are wide or high for the
    extent come first, in row groups of their own: a country's border among a village's houses would make
    every query of that country read the village's group.

    Args:
        features: What to write.
        target: File to write, whole or not at all, an older one is replaced; or an open file.
        rows_per_group: Most rows of a row group.

    Raises:
        InputError: less than one row per group.
        DataError: a tag's text is not Unicode.
        ConfigError: the folder cannot be written, or the disk is full.
    """
    if rows_per_group < 1:
        raise InputError(f"rows_per_group is {rows_per_group}: a row group holds at least one row")
    bounds = shapely.bounds(features.geometries).reshape(-1, 4)
    wide = _find_wide(bounds)
    order = np.lexsort((features.ids, features.elements, _curve_places(bounds), ~wide))
    n_wide = int(wide.sum())
    starts = [*range(0, n_wide, rows_per_group), *range(n_wide, len(features), rows_per_group)]
    schema = _SCHEMA.with_metadata(_metadata(features.geometries, bounds))
    table = _to_table(features.take(order), bounds[order], schema)
    leaves = [f"bbox.{edge}" for edge in _EDGES]
    repeated = ("element", "label", "tags.key_value.key", "tags.key_value.value")
    layout = TableLayout(
        schema=schema, dictionaries=repeated, statistics=("element", "id", "timestamp", *leaves)
    )
    write_parquet(table, layout, target, group_starts=starts)
    return TableFacts(columns=COLUMNS, row_count=len(features), row_groups=len(starts))


def read_features_table(source: Source, bounds: BoundsLonLat | None = None) -> OsmFeatures:
    """Read a features table back, or only what intersects a box: of the rest no row group is touched.

    Args:
        source: Path, bytes or open file; need not be of this project's making.
        bounds: Box in degrees, edges included; west > east crosses the antimeridian. None reads all.

    Returns:
        The features, sorted by element and id; geometries whole, not cut at the box.

    Raises:
        InputError: the box is none on Earth.
        NotFoundError: there is no such file.
        DataError: columns are missing or of another kind, WKB is broken, a geometry is empty or invalid, or
            an element comes twice.
    """
    box = None if bounds is None else _to_shape(check_bounds(bounds))
    with open_parquet(source, _READ) as file:
        groups = range(file.num_row_groups) if box is None else _reached_groups(file, box)
        table = read_groups(file, _READ, list(groups))
        if box is not None:
            table = table.filter(pa.array(_reach(_read_bounds(table), box)))
        features = _to_features(table)
    if box is None:
        return features
    shapely.prepare(box)
    return features.take(shapely.intersects(box, features.geometries))


def find_row_groups(source: Source, bounds: BoundsLonLat) -> tuple[int, ...]:
    """List the row groups that a box query has to read, by the file's statistics.

    Raises:
        InputError: the box is none on Earth.
        NotFoundError: there is no such file.
        DataError: not a features table.
    """
    box = _to_shape(check_bounds(bounds))
    with open_parquet(source, _READ) as file:
        return tuple(_reached_groups(file, box))


def features_to_geodataframe(features: OsmFeatures) -> geopandas.GeoDataFrame:
    """Lay features out for geopandas: element, id, label, tags, timestamp, geometry in EPSG:4326."""
    import geopandas

    columns = {
        "element": np.asarray(ELEMENTS, dtype=object)[features.elements],
        "id": features.ids,
        "label": [make_label(tags) for tags in features.tags],
        "tags": [dict(tags) for tags in features.tags],
        "timestamp": features.timestamps,
    }
    frame = geopandas.GeoDataFrame(columns, geometry=features.geometries, crs=_CRS)
    frame["timestamp"] = frame["timestamp"].dt.tz_localize("UTC")
    return frame


def _find_wide(bounds: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Find the features that are longer than a sixteenth of where features lie."""
    if len(bounds) == 0:
        return np.zeros(0, np.bool_)
    west, south, east, north = _extent(bounds)
    sides = bounds[:, 2:] - bounds[:, :2]
    return np.asarray((sides > _WIDE * np.array([east - west, north - south])).any(axis=1))


def _curve_places(bounds: NDArray[np.float64]) -> NDArray[np.int64]:
    if len(bounds) == 0:
        return np.zeros(0, np.int64)
    from geopandas import GeoSeries  # takes most of a second; only writing needs it

    middles = GeoSeries(shapely.points(_middles(bounds)))
    return np.asarray(middles.hilbert_distance(total_bounds=_extent(bounds)).to_numpy(), np.int64)


def _extent(bounds: NDArray[np.float64]) -> BoundsLonLat:
    """Bound the features' middles, but for strays: a river's is far from the town that it flows through."""
    middles = _middles(bounds)
    low, high = np.percentile(middles, [1, 99], axis=0)
    margin = high - low
    west, south = np.maximum(middles.min(axis=0), low - margin).tolist()
    east, north = np.minimum(middles.max(axis=0), high + margin).tolist()
    return west, south, east, north


def _middles(bounds: NDArray[np.float64]) -> NDArray[np.float64]:
    return (bounds[:, :2] + bounds[:, 2:]) / 2


def _metadata(geometries: NDArray[np.object_], bounds: NDArray[np.float64]) -> dict[str, str]:
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": sorted({geometry.geom_type for geometry in geometries}),
        "crs": CRS.from_user_input(_CRS).to_json_dict(),
        "edges": "planar",
        "covering": {"bbox": {edge: ["bbox", edge] for edge in _EDGES}},
    }
    if len(bounds):
        column["bbox"] = [*bounds[:, :2].min(axis=0).tolist(), *bounds[:, 2:].max(axis=0).tolist()]
    geo = {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}
    terms = {"attribution": ATTRIBUTION, "license": LICENSE, "license_url": LICENSE_URL}
    return {"geo": json.dumps(geo), **terms, "copyright_url": COPYRIGHT_URL}


def _to_table(features: OsmFeatures, bounds: NDArray[np.float64], schema: pa.Schema) -> pa.Table:
    def name_row(row: int) -> str:
        return f"{ELEMENTS[features.elements[row]]}/{features.ids[row]}"

    edges = [pa.array(np.ascontiguousarray(bounds[:, index])) for index in range(4)]
    tags = encode_tags(features.tags, name_row)  # first: it can say which row's text is broken
    columns = {
        "element": encode_elements(features.elements),
        "id": pa.array(features.ids, pa.int64()),
        "label": pa.array([make_label(row) for row in features.tags], pa.string()),
        "tags": tags,
        "timestamp": pa.array(features.timestamps.astype("datetime64[ms]")).cast(_TIMESTAMP),
        GEOMETRY: pa.array(shapely.to_wkb(features.geometries, byte_order=1), pa.binary()),
        "bbox": pa.StructArray.from_arrays(edges, fields=list(_BBOX)),
    }
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


def _to_shape(bounds: BoundsLonLat) -> shapely.Geometry:
    """Make a box a shape; two where it crosses the antimeridian."""
    west, south, east, north = bounds
    if west <= east:
        return shapely.box(west, south, east, north)
    return shapely.MultiPolygon([shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)])


def _reached_groups(file: pq.ParquetFile, box: shapely.Geometry) -> Sequence[int]:
    """List the row groups that statistics do not rule out; those without statistics are among them."""
    metadata = file.metadata
    leaves = _find_box_leaves(metadata)
    outer = np.empty((metadata.num_row_groups, 4))
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for place, leaf in enumerate(leaves):
            outer[group, place] = _outermost(row_group.column(leaf).statistics, smallest=place < 2)
    reached: list[int] = np.flatnonzero(_reach(outer, box)).tolist()
    return reached


def _find_box_leaves(metadata: pq.FileMetaData) -> list[int]:
    columns = [metadata.schema.column(index) for index in range(metadata.num_columns)]
    places = {column.path: place for place, column in enumerate(columns)}
    leaves = [places.get(f"bbox.{edge}", -1) for edge in _EDGES]
    if any(leaf < 0 or columns[leaf].physical_type not in ("DOUBLE", "FLOAT") for leaf in leaves):
        raise DataError(f"column bbox is no box: expected the numbers {', '.join(_EDGES)}")
    return leaves


def _outermost(statistics: Any, *, smallest: bool) -> float:  # noqa: ANN401 (pyarrow has no types)
    if statistics is None or not statistics.has_min_max:
        return -np.inf if smallest else np.inf
    return float(statistics.min if smallest else statistics.max)


def _reach(bounds: NDArray[np.float64], box: shapely.Geometry) -> NDArray[np.bool_]:
    """Say which boxes ``(n, 4)`` meet any part of a shape's box; edges included."""
    reached = np.zeros(len(bounds), np.bool_)
    for west, south, east, north in shapely.bounds(shapely.get_parts(box)):
        across = (bounds[:, 0] <= east) & (bounds[:, 2] >= west)
        reached |= across & (bounds[:, 1] <= north) & (bounds[:, 3] >= south)
    return reached


def _read_bounds(table: pa.Table) -> NDArray[np.float64]:
    column = table.column("bbox").combine_chunks()
    edges = [pc.struct_field(column, edge).to_numpy(zero_copy_only=False) for edge in _EDGES]
    bounds = np.column_stack(edges).astype(np.float64)
    if not np.isfinite(bounds).all():
        raise DataError("column bbox has rows without a box: no query can find them; write the file again")
    return bounds


def _to_features(table: pa.Table) -> OsmFeatures:
    """Check and sort the rows of a table."""
    elements = pc.index_in(table.column("element"), value_set=pa.array(ELEMENTS))
    if elements.null_count:
        unknown = table.column("element").filter(pc.is_null(elements))[0]
        raise DataError(f"column element holds {str(unknown)[:40]!r}: expected {', '.join(ELEMENTS)}")
    ids = table.column("id").to_numpy()
    index = elements.to_numpy().astype(np.uint8)
    geometries = _to_geometries(table.column(GEOMETRY), index, ids)
    order = np.lexsort((ids, index))
    twice = (np.diff(ids[order]) == 0) & (np.diff(index[order].astype(np.int16)) == 0)
    if twice.any():
        row = order[np.flatnonzero(twice)[0]]
        raise DataError(f"{ELEMENTS[index[row]]}/{ids[row]} comes twice: each element has one row")
    times = table.column("timestamp").cast(pa.timestamp("ms")).to_numpy().astype("datetime64[s]")
    return OsmFeatures(
        elements=index,
        ids=ids,
        geometries=geometries,
        tags=decode_tags(table.column("tags")),
        timestamps=times,
    ).take(order)


def _to_geometries(
    column: pa.ChunkedArray, elements: NDArray[np.uint8], ids: NDArray[np.int64]
) -> NDArray[np.object_]:
    """Parse WKB; what others count on holds for foreign files as well: valid, not empty, on Earth."""
    geometries = shapely.from_wkb(column.to_numpy(), on_invalid="ignore")
    bounds = np.abs(shapely.bounds(geometries).reshape(-1, 4))  # not a number where there is no geometry
    unfit = ~(bounds <= _EARTH).all(axis=1) | ~shapely.is_valid(geometries)
    if unfit.any():
        row = int(np.flatnonzero(unfit)[0])
        raise DataError(
            f"{int(unfit.sum())} geometries are broken, empty, invalid or off the Earth, the first of "
            f"{ELEMENTS[elements[row]]}/{ids[row]}: expected valid WKB in degrees"
        )
    return np.asarray(geometries, dtype=object)
