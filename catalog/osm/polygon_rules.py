"""Decide which closed ways are areas: OSM leaves that to the tags."""

from __future__ import annotations

from catalog.osm.records import Tags

AREA_KEYS = frozenset(
    (
        *("building", "building:part", "area", "area:highway", "landuse", "leisure", "place", "boundary"),
        *("amenity", "craft", "golf", "indoor", "office", "public_transport", "shop", "tourism"),
        *("historic", "military", "ruins"),
    )
)
"""Keys that make a closed way an area, whatever their value."""

AREA_VALUES = {
    "barrier": frozenset({"city_wall", "ditch", "hedge", "retaining_wall", "spikes"}),
    "highway": frozenset({"elevator", "escape", "rest_area", "services"}),
    "power": frozenset({"generator", "plant", "substation", "transformer"}),
    "railway": frozenset({"platform", "roundhouse", "station", "turntable"}),
    "waterway": frozenset({"boatyard", "dam", "dock", "riverbank"}),
}
"""Keys that make a closed way an area with these values only."""

LINE_VALUES = {
    "aeroway": frozenset({"taxiway"}),
    "man_made": frozenset({"cutline", "embankment", "pipeline"}),
    "natural": frozenset({"arete", "cliff", "coastline", "ridge", "tree_row"}),
}
"""Keys that make a closed way an area with any value but these.

Source: https://wiki.openstreetmap.org/wiki/Overpass_turbo/Polygon_Features, as osmnx 2.1 applies it.
"""


def is_area(tags: Tags) -> bool:
    """Say whether a closed way with these tags is an area and not a ring of line.

    ``area=no`` overrules every other tag; otherwise one tag that asks for an area is enough.
    """
    if tags.get("area") == "no":
        return False
    return any(_asks_for_area(key, value) for key, value in tags.items())


def _asks_for_area(key: str, value: str) -> bool:
    if key in AREA_KEYS:
        return True
    if key in AREA_VALUES:
        return value in AREA_VALUES[key]
    return key in LINE_VALUES and value not in LINE_VALUES[key]
