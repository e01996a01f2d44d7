"""Draw features as class indices for labels, and store them as a cloud-optimised GeoTIFF."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.io import MemoryFile

from catalog.osm.drawing.classes import CLASS_RULES, CLASSES, UNKNOWN, ClassRule
from catalog.osm.drawing.coverage import hold_centres, reach_lines
from catalog.osm.drawing.map_plan import measure_widths, parse_colour, trace_sea
from catalog.osm.drawing.paints import (
    Paint,
    Value,
    deal_paints,
    fill_areas,
    find_extent,
    pick_edges,
    stroke_lines,
)
from catalog.osm.drawing.placing import Edges, Ground, place_features, survey_grid
from catalog.osm.drawing.rules import match_rules
from catalog.osm.records import OsmFeatures, Tags
from catalog.pictures.cogs import CLASS_COG_OPTIONS, copy_as_cog, overview_options
from catalog.records import Grid
from infra.errors import InputError

_NUMBER = {one.name: one.index for one in CLASSES}


def draw_classes(
    features: OsmFeatures,
    grid: Grid,
    *,
    rules: Sequence[ClassRule] = CLASS_RULES,
    min_line_px: float = 1.0,
) -> NDArray[np.uint8]:
    """Draw features as class indices.

    A pixel belongs to an area when its centre lies in it, and to a line when its centre lies within half the
    line's width of it. The sea is found as for the map.

    Args:
        features: What to draw; lon/lat.
        grid: Where.
        rules: What makes which class, in order of precedence.
        min_line_px: Least width of lines, pixels: 1 keeps narrow ones connected; 0 gives true widths.

    Returns:
        ``(rows, cols)`` uint8 numbers of ``classes.CLASSES``; 0 where the map says nothing.

    Raises:
        InputError: the grid is nowhere on Earth, or a rule is spelt wrongly or names no class.
    """
    ground = survey_grid(grid)
    paints = _plan_classes(features, ground, rules, (grid.shape_yx, min_line_px))
    raster = np.full(grid.shape_yx, UNKNOWN, np.uint8)
    for window, near in deal_paints(paints, grid.shape_yx):
        for paint in near:
            _mark(raster[window], paint, ground.shape)
    return raster


def _plan_classes(
    features: OsmFeatures, ground: Ground, rules: Sequence[ClassRule], size: tuple[tuple[int, int], float]
) -> list[Paint]:
    shape_yx, min_px = size
    areas, lines = place_features(features, ground)
    sea = trace_sea(features.tags, lines, ground, shape_yx)
    one = np.zeros(sea.owner.max(initial=-1) + 1, np.int16)
    of_areas = [rule for rule in rules if rule.line_m is None]
    looks = [(rule.layer, _number(rule.name)) for rule in of_areas]
    paints = [
        *fill_areas([(-1, _number("water"))], sea, one),
        *fill_areas(looks, areas, match_rules(features.tags, of_areas)),
        *_plan_lines(features.tags, lines, rules, (ground.gsd_m, min_px)),
    ]
    return sorted((paint for paint in paints if len(paint.xy)), key=lambda paint: paint.order)


def _plan_lines(
    tags: tuple[Tags, ...], lines: Edges, rules: Sequence[ClassRule], size: tuple[float, float]
) -> Iterator[Paint]:
    gsd_m, min_px = size
    of_lines = [(rule, rule.line_m) for rule in rules if rule.line_m is not None]
    rule_of = match_rules(tags, [rule for rule, _ in of_lines])
    for index, (rule, width_m) in enumerate(of_lines):
        edges = pick_edges(lines, rule_of == index)
        width_px = np.maximum(measure_widths(tags, edges, width_m) / gsd_m, min_px)
        yield stroke_lines((rule.layer, 1, 0, index), _number(rule.name), edges.xy, width_px)


def _number(name: str) -> Value:
    if name not in _NUMBER:
        raise InputError(
            f"A rule makes the class {name!r}, which there is not; choose of {', '.join(_NUMBER)}"
        )
    return np.array([_NUMBER[name]], np.float32)


def _mark(raster: NDArray[np.uint8], paint: Paint, metric: NDArray[np.float64]) -> None:
    """Set the pixels of a window that one paint holds."""
    window, paint = find_extent(paint, raster.shape)
    target = raster[window]
    if not target.size:
        return
    shape_yx = (target.shape[0], target.shape[1])
    if paint.width_px is None:
        held = hold_centres(paint.xy, shape_yx)
    else:
        held = reach_lines(paint.xy, paint.width_px, shape_yx, metric)
    target[held] = np.uint8(paint.value[0])


def encode_class_cog(classes: NDArray[np.uint8], grid: Grid, path: Path) -> None:
    """Write a class raster as a cloud-optimised GeoTIFF with a colour table.

    One band of uint8; 0 is nodata; overviews pick a neighbour. The file stands whole under its name or not.

    Args:
        classes: ``(rows, cols)`` from :func:`draw_classes`.
        grid: Where it lies.
        path: File to write, local; the folder must exist.

    Raises:
        InputError: raster and grid differ in shape.
    """
    rows, cols = grid.shape_yx
    if classes.shape != (rows, cols) or classes.dtype != np.uint8:
        raise InputError(
            f"The class raster is {classes.dtype} {classes.shape}; its grid wants uint8 ({rows}, {cols})."
        )
    colours = {one.index: tuple(int(v) for v in (*parse_colour(one.colour), 255)) for one in CLASSES}
    colours[UNKNOWN] = (0, 0, 0, 0)
    place = {"crs": grid.crs, "transform": Affine(*grid.transform), "nodata": UNKNOWN}
    with rasterio.Env(GDAL_PAM_ENABLED="NO", GDAL_NUM_THREADS="1"), MemoryFile() as memory:
        with memory.open(driver="GTiff", width=cols, height=rows, count=1, dtype="uint8", **place) as dataset:
            dataset.colorinterp = (ColorInterp.palette,)
            dataset.write(classes, 1)
            dataset.write_colormap(1, colours)
            dataset.update_tags(1, **{f"CLASS_{one.index}": one.name for one in CLASSES})
        copy_as_cog(memory, path, CLASS_COG_OPTIONS | overview_options(rows, cols))
