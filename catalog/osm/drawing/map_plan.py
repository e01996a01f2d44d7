"""Turn features and a style into the strokes and fills of a map, in the order they are painted."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from catalog.osm.drawing.coast import find_sea
from catalog.osm.drawing.coverage import dash_edges
from catalog.osm.drawing.paints import Paint, Value, fill_areas, pick_edges, stroke_lines
from catalog.osm.drawing.placing import Edges, Ground, place_features, trace_rings
from catalog.osm.drawing.rules import match_rules
from catalog.osm.drawing.style import LineRule, MapStyle
from catalog.osm.drawing.widths import read_width
from catalog.osm.records import OsmFeatures, Tags

_OUTLINE_PX = 0.8
_CASING_SHARE = 0.22


def plan_map(
    features: OsmFeatures, ground: Ground, style: MapStyle, shape_yx: tuple[int, int]
) -> list[Paint]:
    """Plan a map.

    Args:
        features: What to draw.
        ground: The grid, surveyed.
        style: The look.
        shape_yx: Rows and columns of the picture.

    Returns:
        In the order of painting; the same features give the same list.

    Raises:
        InputError: a rule of the style is spelt wrongly.
    """
    areas, lines = place_features(features, ground)
    sea = trace_sea(features.tags, lines, ground, shape_yx)
    one = np.zeros(sea.owner.max(initial=-1) + 1, np.int16)
    paints = [
        *fill_areas([(style.sea.layer, parse_colour(style.sea.fill))], sea, one),
        *_plan_areas(features.tags, areas, style, ground.gsd_m),
        *_plan_lines(features.tags, lines, style, ground.gsd_m),
    ]
    return sorted((paint for paint in paints if len(paint.xy)), key=lambda paint: paint.order)


def trace_sea(tags: tuple[Tags, ...], lines: Edges, ground: Ground, shape_yx: tuple[int, int]) -> Edges:
    """Trace what the coastlines among the lines show to be sea; each polygon is an owner of its own."""
    is_coast = np.array([one.get("natural") == "coastline" for one in tags], bool)
    sea = find_sea(pick_edges(lines, is_coast), shape_yx, mirrored=bool(np.linalg.det(ground.metric) > 0))
    return trace_rings(sea, np.arange(len(sea)))


def _plan_areas(tags: tuple[Tags, ...], areas: Edges, style: MapStyle, gsd_m: float) -> Iterator[Paint]:
    rule_of = match_rules(tags, style.areas)
    hidden = [index for index, rule in enumerate(style.areas) if gsd_m > rule.max_gsd_m]
    rule_of[np.isin(rule_of, hidden)] = -1
    yield from fill_areas([(rule.layer, parse_colour(rule.fill)) for rule in style.areas], areas, rule_of)
    for index, rule in enumerate(style.areas):
        if rule.outline is not None and gsd_m <= rule.outline_max_gsd_m:
            xy = pick_edges(areas, rule_of == index).xy
            width_px = np.full(len(xy), _OUTLINE_PX)
            yield stroke_lines((rule.layer, 1, 0, index), parse_colour(rule.outline), xy, width_px)


def _plan_lines(tags: tuple[Tags, ...], lines: Edges, style: MapStyle, gsd_m: float) -> Iterator[Paint]:
    rule_of = match_rules(tags, style.lines)
    for index, rule in enumerate(style.lines):
        edges = pick_edges(lines, rule_of == index)
        if gsd_m <= rule.max_gsd_m and len(edges.owner):
            width_px = np.clip(measure_widths(tags, edges, rule.width_m) / gsd_m, rule.min_px, rule.max_px)
            yield from _stroke(rule, index, edges, width_px)


def measure_widths(tags: tuple[Tags, ...], edges: Edges, otherwise_m: float) -> NDArray[np.float64]:
    """Return the ``(m,)`` width of each edge's feature, metres."""
    owners, back = np.unique(edges.owner, return_inverse=True)
    width_m = np.array([read_width(tags[row], otherwise_m) for row in owners.tolist()], np.float64)
    return width_m[back]


def _stroke(rule: LineRule, index: int, edges: Edges, width_px: NDArray[np.float64]) -> Iterator[Paint]:
    """Paint the lines of one rule: the casing, whole, and the core, maybe in dashes."""
    if rule.casing is not None:
        wider = width_px + 2 * np.minimum(rule.casing_px, width_px * _CASING_SHARE)
        order = (rule.casing_layer, 0, rule.layer, index)
        yield stroke_lines(order, parse_colour(rule.casing), edges.xy, wider)
    xy = edges.xy
    if rule.dash_px is not None:
        owner, xy = dash_edges(edges.xy, edges.along_px, rule.dash_px)
        width_px = width_px[owner]
    yield stroke_lines((rule.layer, 0, 0, index), parse_colour(rule.colour), xy, width_px)


def parse_colour(text: str) -> Value:
    """Parse ``#rrggbb`` into ``(3,)`` red, green, blue in [0, 255]."""
    return np.array(list(bytes.fromhex(text.removeprefix("#"))), np.float32)
