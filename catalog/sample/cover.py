"""Name what can lie on the ground, and the features that lie there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from shapely.geometry.base import BaseGeometry


class Cover(IntEnum):
    """Number the land cover classes of the truth raster."""

    SEA = 1
    RIVER = 2
    LAKE = 3
    BEACH = 4
    FIELD = 5
    MEADOW = 6
    ORCHARD = 7
    WOOD_BROAD = 8
    WOOD_NEEDLE = 9
    SCRUB = 10
    PARK = 11
    GARDEN = 12
    CENTRE = 13
    INDUSTRIAL = 14
    QUAY = 15
    BARE = 16
    TRACK = 17
    ROAD = 18
    RAIL = 19
    BUILDING = 20
    TANK = 21
    MOLE = 22
    SOLAR = 23


WATER = (Cover.SEA, Cover.RIVER, Cover.LAKE)
TREES = (Cover.ORCHARD, Cover.WOOD_BROAD, Cover.WOOD_NEEDLE)
BUILT = (Cover.BUILDING, Cover.TANK)

LAYER: dict[Cover, int] = {
    Cover.MEADOW: 0, Cover.FIELD: 1, Cover.ORCHARD: 1, Cover.BARE: 1, Cover.SOLAR: 1, Cover.SCRUB: 2,
    Cover.WOOD_BROAD: 3, Cover.WOOD_NEEDLE: 3, Cover.GARDEN: 4, Cover.CENTRE: 4, Cover.INDUSTRIAL: 4,
    Cover.PARK: 5, Cover.BEACH: 6, Cover.LAKE: 7, Cover.RIVER: 7, Cover.SEA: 8, Cover.QUAY: 9, Cover.MOLE: 10,
    Cover.TRACK: 11, Cover.RAIL: 12, Cover.ROAD: 13, Cover.BUILDING: 14, Cover.TANK: 14,
}  # fmt: skip
"""Painting order: a higher layer hides a lower one."""


@dataclass(frozen=True, kw_only=True)
class Feature:
    """Hold one thing of the town: where it is, what it is, what OpenStreetMap would say of it."""

    cover: Cover
    geometry: BaseGeometry
    """Local metres; a line is drawn ``width_m`` wide."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """OpenStreetMap tags; without any the feature is drawn but not mapped."""
    height_m: float = 0.0
    """Height above the ground, metres."""
    width_m: float = 0.0
    style: int = 0
    """Roof, crop or stand number, meaning depends on the cover."""
    angle_rad: float = 0.0
    """Direction of rows, walls or tramlines, counter-clockwise from east."""

    def to_area(self) -> BaseGeometry:
        """Return the ground it covers: lines become ribbons."""
        return self.geometry.buffer(self.width_m / 2, cap_style="flat") if self.width_m else self.geometry
