"""Draw features as a map picture that lies exactly on a pixel grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catalog.osm.drawing.coverage import cover_areas, cover_lines
from catalog.osm.drawing.map_plan import parse_colour, plan_map
from catalog.osm.drawing.paints import Paint, deal_paints, find_extent
from catalog.osm.drawing.placing import survey_grid
from catalog.osm.drawing.style import DEFAULT, MapStyle
from catalog.osm.records import OsmFeatures
from catalog.records import Grid

_LEAST_COVER = 1 / 1024  # less does not show in eight bits

Canvas = NDArray[np.float32]
"""``(4, y, x)``: red, green, blue times alpha in [0, 255], and alpha in [0, 1]."""


def draw_map(features: OsmFeatures, grid: Grid, *, style: MapStyle = DEFAULT) -> NDArray[np.uint8]:
    """Draw features as a map.

    Every edge lies where the grid's affine puts it, whatever its CRS and rotation, and a pixel that is
    partly covered is partly coloured. Widths are metres on the ground at the grid's centre. The sea is
    filled where a coastline parts the picture from edge to edge; otherwise only the coastline is drawn.
    Points and text are not drawn. The same input gives the same bytes.

    Args:
        features: What to draw; lon/lat. What lies beyond the grid is left out.
        grid: Where; its pixel size also decides which small things are shown.
        style: The look.

    Returns:
        ``(4, rows, cols)`` uint8 red, green, blue and alpha; alpha is 255 throughout.

    Raises:
        InputError: the grid is nowhere on Earth, or a rule of the style is spelt wrongly.
    """
    ground = survey_grid(grid)
    paints = plan_map(features, ground, style, grid.shape_yx)
    picture = np.empty((4, *grid.shape_yx), np.uint8)
    for window, near in deal_paints(paints, grid.shape_yx):
        target = picture[(slice(None), *window)]
        target[:] = _paint_tile(near, target.shape[1:], style, ground.shape)
    return picture


def _paint_tile(
    paints: list[Paint], shape_yx: tuple[int, ...], style: MapStyle, metric: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Paint one window: the ground, the land colour under it, then all that stands on it."""
    canvas = np.zeros((4, *shape_yx), np.float32)
    for paint in (paint for paint in paints if paint.order[0] < style.ground_layer):
        _apply(canvas, paint, metric)
    canvas[:3] += (1 - canvas[3]) * parse_colour(style.land)[:, None, None]
    canvas[3] = 1
    for paint in (paint for paint in paints if paint.order[0] >= style.ground_layer):
        _apply(canvas, paint, metric)
    canvas[3] *= 255
    return np.rint(np.clip(canvas, 0, 255)).astype(np.uint8)


def _apply(canvas: Canvas, paint: Paint, metric: NDArray[np.float64]) -> None:
    """Lay one paint over a canvas.

    Where a pixel is not full yet the paint takes the free part first (Porter and Duff's "over" for disjoint
    areas), because neighbours on the ground share edges, and nothing must shine through between them.
    """
    window, paint = find_extent(paint, canvas.shape[1:])
    target = canvas[(slice(None), *window)]
    if not target.size:
        return
    shape_yx = (target.shape[1], target.shape[2])
    if paint.width_px is None:
        cover = cover_areas(paint.xy, shape_yx).astype(np.float32)
    else:
        cover = cover_lines(paint.xy, paint.width_px, shape_yx, metric)
    seen = cover > _LEAST_COVER
    share, below = cover[seen], target[3][seen]
    kept = np.minimum(1, (1 - share) / np.maximum(below, np.float32(1e-6)))
    for channel, value in zip(target, (*paint.value, np.float32(1)), strict=True):
        channel[seen] = channel[seen] * kept + share * value
