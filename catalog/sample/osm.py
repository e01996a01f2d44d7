"""Write the town as an OpenStreetMap extract: nodes, ways and multipolygon relations in ``.osm`` XML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
import shapely
from shapely.geometry import LineString, Polygon
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

from catalog.sample.cover import Cover, Feature
from catalog.sample.frame import Frame
from catalog.sample.landscape import Points
from catalog.sample.network import WIDTH_M
from catalog.sample.parcels import iterate_lines, iterate_polygons
from catalog.sample.town import Town

_STAMP = (
    'version="1" timestamp="2025-01-01T00:00:00Z" changeset="1" '
    'uid="1" user="terraloom-sample" visible="true"'
)
_SNAP_M = 0.05

Tags = Mapping[str, str]


class OsmDraft:
    """Collect elements; a position is one node however many ways share it."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._points: dict[tuple[int, int], int] = {}
        self._node_tags: dict[int, Tags] = {}
        self._ways: list[tuple[list[int], Tags]] = []
        self._relations: list[tuple[list[tuple[int, str]], Tags]] = []

    def add(self, geometry: BaseGeometry, tags: Tags) -> None:
        """Add a point, line, polygon or multipolygon with its tags."""
        if geometry.geom_type == "Point":
            self._node_tags[self._to_nodes(shapely.get_coordinates(geometry))[0]] = tags
            return
        if geometry.geom_type == "LineString":
            self._add_way(shapely.get_coordinates(geometry), tags)
            return
        if isinstance(geometry, Polygon) and not geometry.interiors:
            self._add_way(shapely.get_coordinates(geometry.exterior), tags)
            return
        polygons = list(iterate_polygons(geometry, min_m2=1.0))
        for line in iterate_lines(geometry, min_m=0.5):
            self._add_way(shapely.get_coordinates(line), tags)
        if len(polygons) == 1 and not polygons[0].interiors:
            self._add_way(shapely.get_coordinates(polygons[0].exterior), tags)
        elif polygons:
            self._add_relation(polygons, tags)

    def write(self, path: Path) -> None:
        """Write the extract; the same elements give the same bytes."""
        west_east = self._bounds()
        parts = [
            '<?xml version="1.0" encoding="UTF-8"?>',
            '<osm version="0.6" generator="terraloom-sample" timestamp="2025-01-01T00:00:00Z">',
            west_east,
        ]
        lonlat = self._frame.to_lonlat(np.array(list(self._points), np.float64) * _SNAP_M)
        for number, (lon, lat) in zip(self._points.values(), lonlat, strict=True):
            head = f'<node id="{number}" {_STAMP} lat="{lat:.7f}" lon="{lon:.7f}"'
            tags = self._node_tags.get(number)
            parts.append(f"{head}>{_spell_tags(tags)}</node>" if tags else f"{head}/>")
        for number, (nodes, tags) in enumerate(self._ways, 1):
            refs = "".join(f'<nd ref="{node}"/>' for node in nodes)
            parts.append(f'<way id="{number}" {_STAMP}>{refs}{_spell_tags(tags)}</way>')
        for number, (members, tags) in enumerate(self._relations, 1):
            body = "".join(f'<member type="way" ref="{way}" role="{role}"/>' for way, role in members)
            parts.append(f'<relation id="{number}" {_STAMP}>{body}{_spell_tags(tags)}</relation>')
        path.write_text("\n".join([*parts, "</osm>", ""]), encoding="utf-8")

    def _bounds(self) -> str:
        side = self._frame.extent_m
        corners = self._frame.to_lonlat(np.array([[0, 0], [side, 0], [0, side], [side, side]], np.float64))
        (west, south), (east, north) = corners.min(axis=0), corners.max(axis=0)
        return f'<bounds minlat="{south:.7f}" minlon="{west:.7f}" maxlat="{north:.7f}" maxlon="{east:.7f}"/>'

    def _to_nodes(self, points: Points) -> list[int]:
        keys = map(tuple, np.rint(points / _SNAP_M).astype(np.int64).tolist())
        return [self._points.setdefault(key, len(self._points) + 1) for key in keys]

    def _add_way(self, points: Points, tags: Tags) -> int | None:
        nodes = self._to_nodes(points)
        kept = [nodes[0], *(b for a, b in pairwise(nodes) if a != b)]
        if len(kept) < 2:
            return None
        self._ways.append((kept, tags))
        return len(self._ways)

    def _add_relation(self, polygons: list[Polygon], tags: Tags) -> None:
        members: list[tuple[int, str]] = []
        for polygon in polygons:
            for ring, role in [(polygon.exterior, "outer"), *((hole, "inner") for hole in polygon.interiors)]:
                way = self._add_way(shapely.get_coordinates(ring), {})
                if way is not None:
                    members.append((way, role))
        self._relations.append((members, {"type": "multipolygon", **tags}))


def write_osm(town: Town, path: Path) -> None:
    """Write every tagged feature of a town to ``path``."""
    draft = OsmDraft(town.frame)
    roads = [feature for feature in town.features if "highway" in feature.tags]
    for line, tags in _join_roads(roads):
        draft.add(line, tags)
    for feature in town.features:
        if not feature.tags or "highway" in feature.tags:
            continue
        draft.add(feature.geometry, feature.tags)
        if feature.cover is Cover.SEA:
            for coast in _trace_coast(feature.geometry, town):
                draft.add(coast, {"natural": "coastline"})
    draft.write(path)


def _join_roads(roads: list[Feature]) -> Iterable[tuple[LineString, Tags]]:
    """Cut roads where they meet, so that ways share nodes at junctions and graphs connect."""
    lines = np.array([feature.geometry for feature in roads], dtype=object)
    if not len(lines):
        return
    pieces = np.array(
        list(iterate_lines(shapely.union_all(lines, grid_size=_SNAP_M), min_m=1.0)), dtype=object
    )
    tree = shapely.STRtree(lines)
    middles = shapely.line_interpolate_point(pieces, 0.5, normalized=True)
    piece_index, line_index = tree.query(middles, predicate="dwithin", distance=0.5)
    best: dict[int, int] = {}
    for piece, line in zip(piece_index.tolist(), line_index.tolist(), strict=True):
        rank = WIDTH_M[roads[line].tags["highway"]]
        if piece not in best or rank > WIDTH_M[roads[best[piece]].tags["highway"]]:
            best[piece] = line
    for piece in sorted(best):
        yield pieces[piece], roads[best[piece]].tags


def _trace_coast(sea: BaseGeometry, town: Town) -> Iterable[LineString]:
    """Yield the shore with the water on the right-hand side, without the world's own border."""
    world = town.features[0].geometry.boundary.buffer(1.0)
    for polygon in iterate_polygons(sea):
        turned = orient(polygon, sign=-1.0)
        for ring in (turned.exterior, *turned.interiors):
            yield from iterate_lines(LineString(ring.coords).difference(world), min_m=5.0)


def _spell_tags(tags: Tags | None) -> str:
    pairs = sorted((tags or {}).items())
    return "".join(f"<tag k={quoteattr(key)} v={quoteattr(value)}/>" for key, value in pairs)
