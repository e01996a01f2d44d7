"""Keep one pooled vector for each tile of a scene as GeoParquet, and read such tables of unknown origin."""

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

from catalog.embeddings.plan import EmbeddingPlan
from catalog.osm.plan import ColumnFacts
from catalog.osm.tables.parquet_files import TableLayout, open_parquet, read_groups, write_parquet
from infra.errors import DataError

GEOMETRY = "geometry"
_CRS = "EPSG:4326"
_DECIMALS_DEG = 8
_GROUP_ROWS = 65_536
_MAX_WIDTH = 65_536
COLUMNS = (
    ColumnFacts(name="tile_row", type="int32", description="Row of the tile in the scene, from above."),
    ColumnFacts(name="tile_col", type="int32", description="Column of the tile in the scene, from the left."),
    ColumnFacts(name="lon", type="double", description="Longitude of its middle, degrees (WGS 84)."),
    ColumnFacts(name="lat", type="double", description="Latitude of its middle, degrees (WGS 84)."),
    ColumnFacts(name="valid_share", type="float", description="Share of its cells with a vector, 0 to 1."),
    ColumnFacts(name="vector", type="fixed_size_list", description="Mean of its cells' vectors, float32."),
    ColumnFacts(name=GEOMETRY, type="binary", description="WKB outline of the tile, degrees (WGS 84)."),
)
"""The columns of a table of tile vectors, in order."""


@dataclass(frozen=True, eq=False)
class TileVectors:
    """The tiles of one scene that have a vector, row by row.

    Attributes:
        row_col: int32 (n, 2).
        lonlat: float64 (n, 2), their middles, degrees.
        corners: float64 (n, 4, 2), of their outlines in order, degrees; longitudes of one tile are
            continuous, so that they may lie beyond ±180.
        shares: float32 (n,), share of their cells with data.
        vectors: float32 (n, width).
    """

    row_col: NDArray[np.int32]
    lonlat: NDArray[np.float64]
    corners: NDArray[np.float64]
    shares: NDArray[np.float32]
    vectors: NDArray[np.float32]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.shares)


def encode_tile_vectors(
    plan: EmbeddingPlan, vectors: NDArray[np.float32], shares: NDArray[np.float32]
) -> tuple[bytes, int]:
    """Write the vectors of a scene's tiles as GeoParquet 1.1.0; the same vectors give the same bytes.

    Args:
        plan: What the product is.
        vectors: float32 (tile rows, tile columns, width).
        shares: float32 (tile rows, tile columns); tiles of share 0 are left out.

    Returns:
        The file, and its number of rows.
    """
    row_col = np.argwhere(shares > 0)
    places = row_col[:, 0], row_col[:, 1]
    outlines, middles = _outline_tiles(plan, row_col)
    schema = _schema(plan.settings.width).with_metadata({"geo": json.dumps(_describe_geometry(outlines))})
    flat = pa.array(np.ascontiguousarray(vectors[places]).ravel(), pa.float32())
    columns = [
        *(pa.array(row_col[:, axis].astype(np.int32)) for axis in (0, 1)),
        *(pa.array(middles[:, axis]) for axis in (0, 1)),
        pa.array(shares[places].astype(np.float32)),
        pa.FixedSizeListArray.from_arrays(flat, plan.settings.width),
        pa.array(shapely.to_wkb(outlines, byte_order=1), pa.binary()),
    ]
    buffer = io.BytesIO()
    table = pa.Table.from_arrays(columns, schema=schema)
    layout = TableLayout(schema=schema, statistics=("lon", "lat"))
    write_parquet(table, layout, buffer, group_starts=range(0, len(row_col), _GROUP_ROWS))
    return buffer.getvalue(), len(row_col)


def decode_tile_vectors(data: bytes) -> TileVectors:
    """Read a table of tile vectors.

    Raises:
        DataError: it is none, is damaged, or holds numbers that are no places or no vectors.
    """
    with open_parquet(data, pa.schema([pa.field(each.name, pa.null()) for each in COLUMNS])) as file:
        kind = file.schema_arrow.field("vector").type
        if not pa.types.is_fixed_size_list(kind) or not 0 < kind.list_size <= _MAX_WIDTH:
            raise DataError(f"column vector holds {kind}, which is no vector of one length; make it again")
        table = read_groups(file, _schema(kind.list_size), range(file.num_row_groups))
    flat = table.column("vector").combine_chunks().flatten()
    found = TileVectors(
        row_col=np.column_stack([table.column(name).to_numpy() for name in ("tile_row", "tile_col")]),
        lonlat=np.column_stack([table.column(name).to_numpy() for name in ("lon", "lat")]),
        corners=_read_corners(table.column(GEOMETRY).to_numpy()),
        shares=table.column("valid_share").to_numpy(),
        vectors=flat.to_numpy(zero_copy_only=False).reshape(-1, kind.list_size),
    )
    _check(found)
    return found


def _read_corners(outlines: NDArray[Any]) -> NDArray[np.float64]:
    """Return the corners of outlines of unknown origin: float64 (n, 4, 2)."""
    shapes = shapely.from_wkb(outlines, on_invalid="ignore")
    kinds, places = shapely.get_type_id(shapes), shapely.get_coordinates(shapes)
    whole = (kinds == shapely.GeometryType.POLYGON) & (shapely.get_num_coordinates(shapes) == 5)
    if not (whole.all() and np.isfinite(places).all()):
        raise DataError("the table of vectors holds outlines that are no tiles; make it again")
    return np.ascontiguousarray(places.reshape(-1, 5, 2)[:, :4])


def _check(found: TileVectors) -> None:
    lon, lat = found.lonlat.T
    sound = len(found.vectors) == len(found) and np.isfinite(found.vectors).all()
    if not (sound and (np.abs(lat) <= 90).all() and (np.abs(lon) <= 540).all()):
        raise DataError("the table of vectors holds numbers that are no places or no vectors; make it again")


def _schema(width: int) -> pa.Schema:
    kinds = {
        "int32": pa.int32(),
        "double": pa.float64(),
        "float": pa.float32(),
        "binary": pa.binary(),
        "fixed_size_list": pa.list_(pa.field("element", pa.float32()), width),
    }
    return pa.schema(
        [
            pa.field(each.name, kinds[each.type], nullable=False, metadata={"description": each.description})
            for each in COLUMNS
        ]
    )


def _outline_tiles(plan: EmbeddingPlan, row_col: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return outlines (n,) and middles (n, 2) of tiles, degrees; longitudes of one tile are continuous."""
    rows, cols = plan.grid.shape_yx
    top, left = row_col[:, 0] * plan.tile_cells, row_col[:, 1] * plan.tile_cells
    bottom, right = np.minimum(top + plan.tile_cells, rows), np.minimum(left + plan.tile_cells, cols)
    ring = np.stack(
        [np.stack(each, axis=-1) for each in ((left, top), (left, bottom), (right, bottom), (right, top))],
        axis=1,
    )
    corners = _to_lonlat(plan, np.concatenate([ring, ring[:, :1]], axis=1).reshape(-1, 2)).reshape(-1, 5, 2)
    middles = _to_lonlat(plan, np.stack([(left + right) / 2, (top + bottom) / 2], axis=-1))
    corners[..., 0] += 360 * np.round((corners[:, :1, 0] - corners[..., 0]) / 360)
    return np.asarray(shapely.polygons(corners)) if len(corners) else np.array([], object), middles


def _to_lonlat(plan: EmbeddingPlan, xy: NDArray[Any]) -> NDArray[np.float64]:
    a, b, c, d, e, f = Affine(*plan.grid.transform)[:6]
    x, y = a * xy[:, 0] + b * xy[:, 1] + c, d * xy[:, 0] + e * xy[:, 1] + f
    lon, lat = Transformer.from_crs(plan.grid.crs, _CRS, always_xy=True).transform(x, y)
    return np.round(np.column_stack([lon, lat]), _DECIMALS_DEG)


def _describe_geometry(outlines: NDArray[Any]) -> dict[str, Any]:
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": ["Polygon"] if len(outlines) else [],
        "crs": CRS.from_user_input(_CRS).to_json_dict(),
    }
    if len(outlines):
        column["bbox"] = shapely.total_bounds(outlines).tolist()
    return {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}
