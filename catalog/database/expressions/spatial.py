"""Read the shapes of filters and items, and relate them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from catalog.database.documents import Document
from catalog.database.expressions.limits import shorten
from catalog.database.expressions.nodes import SpatialRelation
from catalog.database.footprints import (
    BoundsXyxy,
    make_footprint,
    read_bbox,
    read_geometry,
    search_shape,
    split_bounds,
)
from infra.errors import InputError

RELATIONS: Mapping[SpatialRelation, SpatialRelation] = {
    "intersects": "intersects",
    "equals": "equals",
    "touches": "touches",
    "overlaps": "overlaps",
    "crosses": "crosses",
    "within": "contains",
    "contains": "within",
}
"""Each relation of A to B with its name as a relation of B to A."""

_MAX_BOXES = 8


def read_shape(literal: object, *, of: str) -> BaseGeometry:
    """Read a shape written in a filter: GeoJSON, or ``{"bbox": [...]}``, whose west may be above its east.

    Raises:
        InputError: malformed, or not topologically valid.
    """
    if isinstance(literal, dict) and isinstance(literal.get("bbox"), list | tuple) and "type" not in literal:
        bounds, _ = read_bbox(literal["bbox"], where=f"filter: {of}: bbox")
        return search_shape(split_bounds(bounds))
    if not isinstance(literal, dict) or "type" not in literal:
        raise InputError(
            f"filter: {of} relates geometry to a GeoJSON geometry or a bbox: {shorten(literal)} is neither"
        )
    shape = read_geometry(literal, where=f"filter: {of}: geometry")
    if not shape.is_valid:
        raise InputError(f"filter: {of}: geometry is not valid: {shapely.is_valid_reason(shape)}")
    return shape


def item_shape(document: Document) -> BaseGeometry | None:
    """Build an item's shape as the catalogue stores it, cut at the antimeridian; None without geometry."""
    geometry = document.get("geometry")
    if geometry is None:
        return None
    where = f"item '{document.get('id')}'"
    bbox = document.get("bbox")
    if not isinstance(bbox, list | tuple):
        bbox = read_geometry(geometry, where=f"{where}: geometry").bounds
    footprint = make_footprint(geometry, bbox, where=where, mend=True)
    return shapely.box(*footprint.bounds) if footprint.wkb is None else shapely.from_wkb(footprint.wkb)


def compile_relation(relation: SpatialRelation, shape: BaseGeometry) -> Callable[[BaseGeometry], bool]:
    """Make a test of an item's shape against a filter's shape, which is prepared once."""
    relate = getattr(shapely, RELATIONS[relation])
    shapely.prepare(shape)  # speeds up the first argument only, hence the turned relation
    return lambda item: bool(relate(shape, item))


def boxes_of(shape: BaseGeometry) -> list[BoundsXyxy]:
    """Give boxes that hold the shape: one for each part where these are few, else one in all."""
    parts = list(getattr(shape, "geoms", [shape]))
    return [part.bounds for part in parts] if len(parts) <= _MAX_BOXES else [shape.bounds]


def to_geojson(shape: BaseGeometry) -> dict[str, Any]:
    """Spell a shape as GeoJSON, to the last digit."""
    geojson: dict[str, Any] = shapely.geometry.mapping(shape)
    return geojson
