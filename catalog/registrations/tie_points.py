"""Keep the tie points of a registration as GeoParquet: one row each, those that disagree as well."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from catalog.osm.plan import ColumnFacts
from catalog.osm.tables.parquet_files import TableLayout, write_parquet
from catalog.records import Grid

GEOMETRY = "geometry"
_CRS = "EPSG:4326"
_DECIMALS_PX = 4
COLUMNS = (
    ColumnFacts(
        name="fixed_x", type="double", description="Column in the working grid, centre of the first 0."
    ),
    ColumnFacts(name="fixed_y", type="double", description="Row in the working grid, centre of the first 0."),
    ColumnFacts(name="moving_x", type="double", description="Column where the moving scene shows the place."),
    ColumnFacts(name="moving_y", type="double", description="Row where the moving scene shows the place."),
    ColumnFacts(name="score", type="double", description="How alike the surroundings are, 0 to 1."),
    ColumnFacts(
        name="residual_px",
        type="double",
        description="Distance from where the transform puts it, pixels; empty without a transform.",
    ),
    ColumnFacts(name="agrees", type="boolean", description="Whether it agrees with the transform."),
    ColumnFacts(name=GEOMETRY, type="binary", description="WKB point in the fixed scene, degrees (WGS 84)."),
)
"""The columns of a table of tie points, in order."""
_TYPES = {"double": pa.float64(), "boolean": pa.bool_(), "binary": pa.binary()}
_SCHEMA = pa.schema(
    [pa.field(each.name, _TYPES[each.type], metadata={"description": each.description}) for each in COLUMNS]
)


@dataclass(frozen=True, eq=False)
class FoundPoints:
    """Tie points as they are kept.

    Attributes:
        fixed_xy: float64 (n, 2), pixels of the working grid; (0, 0) is the centre of the first.
        moving_xy: float64 (n, 2), where the moving scene shows the same places.
        scores: float64 (n,), 0 to 1.
        residual_px: float64 (n,); NaN without a transform.
        agrees: bool (n,).
    """

    fixed_xy: NDArray[np.float64]
    moving_xy: NDArray[np.float64]
    scores: NDArray[np.float64]
    residual_px: NDArray[np.float64]
    agrees: NDArray[np.bool_]


def encode_tie_points(points: FoundPoints, grid: Grid) -> bytes:
    """Write tie points as GeoParquet 1.1.0, row by row from the upper left; same points, same bytes."""
    order = np.lexsort((points.fixed_xy[:, 0], points.fixed_xy[:, 1]))
    places = _to_lonlat(points.fixed_xy[order], grid)
    numbers = np.column_stack([points.fixed_xy, points.moving_xy, points.scores, points.residual_px])[order]
    columns = [_numbers(column) for column in np.round(numbers, _DECIMALS_PX).T]
    columns.append(pa.array(points.agrees[order]))
    columns.append(pa.array(shapely.to_wkb(shapely.points(places), byte_order=1), pa.binary()))
    schema = _SCHEMA.with_metadata({"geo": json.dumps(_describe_geometry(places))})
    buffer = io.BytesIO()
    table = pa.Table.from_arrays(columns, schema=schema)
    write_parquet(table, TableLayout(schema=schema), buffer, group_starts=[0] if len(order) else [])
    return buffer.getvalue()


def _numbers(column: NDArray[np.float64]) -> pa.Array:
    return pa.array(column, pa.float64(), mask=~np.isfinite(column))


def _to_lonlat(xy: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    a, b, c, d, e, f = Affine(*grid.transform)[:6]
    corner = xy + 0.5
    x, y = a * corner[:, 0] + b * corner[:, 1] + c, d * corner[:, 0] + e * corner[:, 1] + f
    lon, lat = Transformer.from_crs(grid.crs, _CRS, always_xy=True).transform(x, y)
    return np.round(np.column_stack([lon, lat]), 8)


def _describe_geometry(places: NDArray[np.float64]) -> dict[str, Any]:
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": ["Point"] if len(places) else [],
        "crs": CRS.from_user_input(_CRS).to_json_dict(),
    }
    if len(places):
        column["bbox"] = [*places.min(axis=0).tolist(), *places.max(axis=0).tolist()]
    return {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}
