"""Tell how much of a grid scenes' footprints should fill."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from catalog.footprints import unwrap_footprint

_SEGMENT_DEG = 0.25  # straight lon/lat edges bend on the map: cut them before projecting


def covered_fraction(geometries: Iterable[Mapping[str, Any]], geobox: GeoBox) -> float:
    """Return the share of a grid's area that footprints cover together, 0 to 1.

    Args:
        geometries: GeoJSON polygons, lon/lat degrees WGS 84; they may cross the antimeridian.
        geobox: The grid.
    """
    box = geobox.boundingbox
    outline = shapely.box(box.left, box.bottom, box.right, box.top)
    to_map = Transformer.from_crs("EPSG:4326", geobox.crs, always_xy=True)
    centre = to_map.transform((box.left + box.right) / 2, (box.bottom + box.top) / 2, direction="INVERSE")
    parts = [part for geometry in geometries for part in _project(geometry, to_map, float(centre[0]))]
    covered = shapely.intersection(outline, shapely.union_all(parts))
    return float(min(1.0, covered.area / outline.area))


def _project(geometry: Mapping[str, Any], to_map: Transformer, centre_lon: float) -> list[shapely.Geometry]:
    def onto_map(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(to_map.transform(points[:, 0], points[:, 1]))

    projected = [
        shapely.transform(shapely.segmentize(part, _SEGMENT_DEG), onto_map)
        for part in shapely.get_parts(unwrap_footprint(geometry, centre_lon))
    ]
    # A part that reaches beyond what the map CRS can hold says nothing about this grid.
    return [shapely.make_valid(p) for p in projected if np.isfinite(shapely.get_coordinates(p)).all()]
