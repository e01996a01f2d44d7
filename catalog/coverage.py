"""Tell how much of a grid a scene's footprint should fill."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import shapely
import shapely.geometry
from odc.geo.geobox import GeoBox
from pyproj import Transformer

_SEGMENT_DEG = 0.25  # straight lon/lat edges bend on the map: cut them before projecting


def covered_fraction(geometries: Iterable[Mapping[str, Any]], geobox: GeoBox) -> float:
    """Return the share of a grid's area that footprints cover together, 0 to 1.

    Args:
        geometries: GeoJSON polygons, lon/lat degrees WGS 84.
        geobox: The grid.
    """
    outline = shapely.Polygon(geobox.extent.exterior.coords[:])
    to_map = Transformer.from_crs("EPSG:4326", geobox.crs, always_xy=True)
    parts = [_project(geometry, to_map) for geometry in geometries]
    if not parts:
        return 0.0
    covered = shapely.intersection(outline, shapely.union_all(parts))
    return float(min(1.0, covered.area / outline.area))


def _project(geometry: Mapping[str, Any], to_map: Transformer) -> shapely.Geometry:
    shape = shapely.segmentize(shapely.geometry.shape(dict(geometry)), _SEGMENT_DEG)

    def onto_map(points: np.ndarray) -> np.ndarray:
        x, y = to_map.transform(points[:, 0], points[:, 1])
        return np.column_stack([x, y])

    projected = shapely.transform(shape, onto_map)
    finite = bool(np.isfinite(shapely.get_coordinates(projected)).all())
    # A footprint that reaches beyond what the map CRS can hold says nothing about this grid.
    return shapely.make_valid(projected) if finite else shapely.Polygon()
