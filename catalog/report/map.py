"""Draw where a run's cubes lie as one inline SVG: no tiles, no network, readable without colours."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as ET

import shapely
from shapely.geometry.base import BaseGeometry as Shape

from catalog.footprints import unwrap_footprint
from catalog.report.facts import MapFacts, State
from catalog.report.map_frame import (
    WIDTH,
    Frame,
    antimeridians,
    choose_scale_bar,
    fit_frame,
    graticule,
    label_lat,
    label_lon,
)

_TOLERANCE = 0.3  # map units: finer detail than a screen shows
_NAMED_IN_TITLE = 3
_PAD = 12.0


def draw_map(facts: MapFacts) -> str:
    """Draw the request, the grids and the footprints with graticule, scale bar and north arrow.

    Returns:
        An ``<svg>`` element; its colours come from the page's style sheet.
    """
    west, south, east, north = facts.request
    east = east + 360 if east < west else east
    centre = (west + east) / 2
    grids = [_lay_out(geometry, centre) for geometry in facts.grids]
    prints = [(name, state, _lay_out(geometry, centre)) for name, state, geometry in facts.footprints]
    request = shapely.box(west, south, east, north)
    shapes = [request, *grids, *(shape for _, _, shape in prints)]
    frame = fit_frame(*(float(edge) for edge in shapely.total_bounds(shapes)))
    svg = _open_svg(facts, frame)
    ground = ET.SubElement(svg, "g", {"clip-path": "url(#map-frame)"})
    _draw_picture(ground, frame, facts, centre)
    _draw_lines(ground, frame)
    _draw_footprints(ground, frame, prints)
    for grid in grids:
        _add_path(ground, "grid", _path(grid, frame))
    _add_path(ground, "request", _path(request, frame))
    _add(svg, "rect", {"class": "edge", **_whole(frame)})
    _draw_labels(svg, frame)
    _draw_scale_bar(svg, frame)
    _draw_north(svg)
    return ET.tostring(svg, encoding="unicode")


def _open_svg(facts: MapFacts, frame: Frame) -> ET.Element:
    svg = ET.Element(
        "svg",
        {
            # Many outlines filled one over another would tint the picture underneath.
            "class": "map pictured" if facts.picture else "map",
            "viewBox": f"0 0 {WIDTH:.0f} {frame.height:.0f}",
            "role": "img",
            "aria-labelledby": "map-title map-description",
        },
    )
    ET.SubElement(svg, "title", {"id": "map-title"}).text = "Map of the request and the cubes"
    ET.SubElement(svg, "desc", {"id": "map-description"}).text = (
        f"The requested box, {len(facts.grids)} pixel grid{'' if len(facts.grids) == 1 else 's'} and the "
        f"footprints of {len(facts.footprints)} cube{'' if len(facts.footprints) == 1 else 's'}, between "
        f"{label_lon(frame.west, 0.01)} and {label_lon(frame.east, 0.01)}, "
        f"{label_lat(frame.south, 0.01)} and {label_lat(frame.north, 0.01)}."
    )
    clip = ET.SubElement(ET.SubElement(svg, "defs"), "clipPath", {"id": "map-frame"})
    _add(clip, "rect", _whole(frame))
    _add(svg, "rect", {"class": "ground", **_whole(frame)})
    return svg


def _lay_out(geometry: Mapping[str, Any], centre_lon: float) -> Shape:
    """Bring a geometry beside a longitude, in one piece where it crosses the antimeridian."""
    world = shapely.box(centre_lon - 180, -90, centre_lon + 180, 90)
    return shapely.intersection(unwrap_footprint(geometry, centre_lon), world)


def _draw_picture(parent: ET.Element, frame: Frame, facts: MapFacts, centre_lon: float) -> None:
    if facts.picture is None:
        return
    turn = 360.0 * round((centre_lon - facts.picture_corners[0][0]) / 360.0)
    (x, y), (right_x, right_y), (low_x, low_y) = (
        frame.place(lon + turn, lat) for lon, lat in facts.picture_corners
    )
    # The unit square goes onto the parallelogram of the three corners.
    terms = (right_x - x, right_y - y, low_x - x, low_y - y, x, y)
    _add(
        parent,
        "image",
        {
            "href": facts.picture.data_uri,
            "width": "1",
            "height": "1",
            "preserveAspectRatio": "none",
            "transform": f"matrix({' '.join(f'{term:.3f}' for term in terms)})",
        },
    )


def _draw_lines(parent: ET.Element, frame: Frame) -> None:
    for lon in graticule(frame.west, frame.east)[1]:
        x, _ = frame.place(lon, frame.north)
        _add_path(parent, "graticule", f"M{x:.1f} 0V{frame.height:.1f}")
    for lat in graticule(frame.south, frame.north)[1]:
        _, y = frame.place(frame.west, lat)
        _add_path(parent, "graticule", f"M0 {y:.1f}H{WIDTH:.0f}")
    for lon in antimeridians(frame):
        x, _ = frame.place(lon, frame.north)
        _add_path(parent, "antimeridian", f"M{x:.1f} 0V{frame.height:.1f}")


def _draw_footprints(parent: ET.Element, frame: Frame, prints: Iterable[tuple[str, State, Shape]]) -> None:
    """Draw each distinct outline once: a time series lies on top of itself."""
    names: dict[tuple[str, State], list[str]] = defaultdict(list)
    for name, state, shape in prints:
        names[_path(shape, frame), state].append(name)
    for (path, state), members in sorted(names.items(), key=lambda entry: entry[0][1] == "quarantined"):
        element = _add_path(parent, f"footprint {state}", path)
        ET.SubElement(element, "title").text = f"{_list_names(members)}: {state}"


def _list_names(names: Sequence[str]) -> str:
    more = len(names) - _NAMED_IN_TITLE
    return ", ".join(names[:_NAMED_IN_TITLE]) + (f" and {more} more" if more > 0 else "")


def _draw_labels(parent: ET.Element, frame: Frame) -> None:
    """Write degrees along the lower and the left edge, never cut off and clear of the scale bar."""
    step, lons = graticule(frame.west, frame.east)
    xs = [(lon, frame.place(lon, frame.south)[0]) for lon in lons]
    below = [(x, frame.height - 8, label_lon(lon, step)) for lon, x in xs if 0.08 < x / WIDTH < 0.92]
    step, lats = graticule(frame.south, frame.north)
    ys = [(lat, frame.place(frame.west, lat)[1]) for lat in lats]
    beside = [(6.0, y - 5, label_lat(lat, step)) for lat, y in ys if 30 < y < frame.height - 40]
    for labels, anchor in ((below, "middle"), (beside, "start")):
        for number, (x, y, text) in enumerate(labels):
            # Every second one steps back where the page is narrow.
            kind = "second" if number % 2 else "first"
            _add_text(parent, (x, y), text, anchor=anchor).set("class", kind)


def _draw_scale_bar(parent: ET.Element, frame: Frame) -> None:
    bar = choose_scale_bar(frame)
    right, y = WIDTH - _PAD, frame.height - 44
    group = ET.SubElement(parent, "g", {"class": "scale"})
    _add_path(group, "", f"M{right - bar.length:.1f} {y - 6:.1f}v6H{right:.1f}v-6")
    _add_text(group, (right, y - 12), bar.label, anchor="end")


def _draw_north(parent: ET.Element) -> None:
    group = ET.SubElement(parent, "g", {"class": "north"})
    x = WIDTH - 24
    _add_path(group, "", f"M{x:.0f} 12l9 26l-9 -6l-9 6z")
    _add_text(group, (x, 58), "N", anchor="middle")


def _path(shape: Shape, frame: Frame) -> str:
    """Spell the polygons of a shape as path data in map units."""
    steps = []
    for part in shapely.get_parts(shape):
        if part.geom_type != "Polygon":
            continue
        for ring in (part.exterior, *part.interiors):
            placed = shapely.LinearRing([frame.place(lon, lat) for lon, lat in ring.coords])
            points = shapely.get_coordinates(shapely.simplify(placed, _TOLERANCE))[:-1]
            steps.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + "Z")
    return "".join(steps)


def _whole(frame: Frame) -> dict[str, str]:
    return {"width": f"{WIDTH:.0f}", "height": f"{frame.height:.0f}"}


def _add(parent: ET.Element, tag: str, attributes: dict[str, str]) -> ET.Element:
    return ET.SubElement(parent, tag, attributes)


def _add_path(parent: ET.Element, kind: str, data: str) -> ET.Element:
    return _add(parent, "path", {"d": data} | ({"class": kind} if kind else {}))


def _add_text(parent: ET.Element, place: tuple[float, float], text: str, *, anchor: str) -> ET.Element:
    x, y = place
    element = _add(parent, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor})
    element.text = text
    return element
