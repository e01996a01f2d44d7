"""Draw two scenes as a checkerboard, before and after: where the fields meet, lines run through or break."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from catalog.pictures.previews import Rgba

_FIELDS = 8  # along the longer side of a panel
_CROP_PX = 160
_PANEL_PX = 512
_THUMBNAIL_PX = 254
_GAP_PX = 4
_BAR_PX = 28
_PAPER = (246, 246, 243, 255)
_INK = (40, 40, 40, 255)


def draw_checkerboard(fixed: Rgba, before: Rgba, after: Rgba | None, middle_xy: tuple[float, float]) -> bytes:
    """Draw the part of the scenes around a place, twice: as they came, and as they were registered.

    Args:
        fixed: uint8 (4, height, width), the scene that stays.
        before: the moving scene as it came, same size.
        after: as the transform puts it; None where the scenes are not registered.
        middle_xy: what to draw the surroundings of, pixels.

    Returns:
        A PNG.
    """
    panels = _make_panels(fixed, before, after, middle_xy)
    titles = ("as they came", "registered" if after is not None else "not registered")
    width = len(panels) * _PANEL_PX + (len(panels) - 1) * _GAP_PX
    sheet = Image.new("RGBA", (width, _PANEL_PX + _BAR_PX), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for index, panel in enumerate(panels):
        left = index * (_PANEL_PX + _GAP_PX)
        title = titles[index] if len(panels) > 1 else f"{titles[0]}, {titles[1]}"
        pen.text((left + 8, 5), title, fill=_INK, font=font)
        sheet.paste(_fit(panel, _PANEL_PX), (left, _BAR_PX))
    return _encode(sheet)


def draw_thumbnail(fixed: Rgba, before: Rgba, after: Rgba | None, middle_xy: tuple[float, float]) -> bytes:
    """Draw the same, small and without words."""
    panels = _make_panels(fixed, before, after, middle_xy)
    width = len(panels) * _THUMBNAIL_PX + (len(panels) - 1) * _GAP_PX
    sheet = Image.new("RGBA", (width, _THUMBNAIL_PX), _PAPER)
    for index, panel in enumerate(panels):
        sheet.paste(_fit(panel, _THUMBNAIL_PX), (index * (_THUMBNAIL_PX + _GAP_PX), 0))
    return _encode(sheet)


def find_middle(xy: NDArray[np.float64], shape: tuple[int, int]) -> tuple[float, float]:
    """Return the place with most tie points (n, 2) around it; the scene's middle without any."""
    if not len(xy):
        return shape[1] / 2, shape[0] / 2
    near = (np.abs(xy[:, None] - xy[None]) <= _CROP_PX / 2).all(axis=2).sum(axis=1)
    x, y = xy[near.argmax()].tolist()
    return float(x), float(y)


def _make_panels(fixed: Rgba, before: Rgba, after: Rgba | None, middle_xy: tuple[float, float]) -> list[Rgba]:
    window = _choose_window(fixed.shape[1:], middle_xy)
    moving = [before] if after is None else [before, after]
    return [_mix(fixed[(slice(None), *window)], each[(slice(None), *window)]) for each in moving]


def _choose_window(shape: tuple[int, ...], middle_xy: tuple[float, float]) -> tuple[slice, slice]:
    edges = []
    for length, middle in zip(shape, reversed(middle_xy), strict=True):
        size = min(_CROP_PX, length)
        start = int(np.clip(round(middle - size / 2), 0, length - size))
        edges.append(slice(start, start + size))
    return edges[0], edges[1]


def _mix(first: Rgba, second: Rgba) -> Rgba:
    height, width = first.shape[1:]
    edge = max(1, max(height, width) // _FIELDS)
    down, across = np.mgrid[:height, :width] // edge
    return np.where((down + across) % 2 == 0, first, second)


def _fit(panel: Rgba, edge_px: int) -> Image.Image:
    """Enlarge or shrink a panel to fit a square, on paper."""
    image = Image.fromarray(np.ascontiguousarray(np.moveaxis(panel, 0, -1)), "RGBA")
    factor = edge_px / max(image.size)
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    square = Image.new("RGBA", (edge_px, edge_px), _PAPER)
    resized = image.resize(size, Image.Resampling.BICUBIC if factor > 1 else Image.Resampling.LANCZOS)
    square.alpha_composite(resized, ((edge_px - size[0]) // 2, (edge_px - size[1]) // 2))
    return square


def _encode(sheet: Image.Image) -> bytes:
    buffer = io.BytesIO()
    sheet.convert("RGB").save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()
