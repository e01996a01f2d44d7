"""Rasterise the town: who owns each sub-pixel, how high it stands, how rough it looks."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import shapely
from rasterio import features as rio_features

from catalog.sample.cover import BUILT, TREES, WATER, Cover
from catalog.sample.frame import FINE, PAD_PX, BoolArray, ByteArray, FloatArray, IntArray
from catalog.sample.noise import draw_noise
from catalog.sample.town import Town


@dataclass(frozen=True, kw_only=True)
class Surface:
    """Hold the town on the padded fine canvas; every array is ``(y, x)``, north up."""

    town: Town
    owner: IntArray
    """Index of the topmost feature."""
    cover: ByteArray
    """``Cover`` of that feature."""
    ground_m: FloatArray
    """Height of the ground, metres."""
    height_m: FloatArray
    """Height of what stands on it, metres."""
    rows: FloatArray
    """Rows, tramlines and furrows along each field, mean about 0, in [-1, 1]."""
    border_px: FloatArray
    """Distance to the nearest other feature, sub-pixels, at most 255."""
    shore_m: FloatArray
    """In water the distance to land, metres; 0 on land."""
    fine: FloatArray
    """Noise of about one pixel, standard deviation 1."""
    patch: FloatArray
    """Noise of about 60 m."""
    broad: FloatArray
    """Noise of about 700 m: soils."""

    def is_cover(self, *covers: Cover) -> BoolArray:
        """Return a mask of the given classes."""
        table = np.zeros(256, bool)
        table[[int(cover) for cover in covers]] = True
        mask: BoolArray = table[self.cover]
        return mask


def draw_surface(town: Town) -> Surface:
    """Rasterise a town onto the padded fine canvas."""
    frame = town.frame
    side = frame.canvas_px
    canvas = shapely.box(*_bounds(town))
    areas = [feature.to_area() for feature in town.features]
    hits = shapely.intersects(np.array(areas, dtype=object), canvas)
    burnt = [
        (area, index)
        for index, (area, hit) in enumerate(zip(areas, hits, strict=True))
        if hit and not area.is_empty and area.area > 0
    ]
    owner = rio_features.rasterize(
        burnt, out_shape=(side, side), transform=frame.canvas_transform, dtype="int32"
    )
    rng = np.random.default_rng([town.seed, 20])
    cover = np.array([int(f.cover) for f in town.features], np.uint8)[owner]
    size = (side, side)
    relief = cv2.resize(town.relief_m, size, interpolation=cv2.INTER_CUBIC)
    fine, patch = draw_noise(rng, size, cell_px=1.6, octaves=1), draw_noise(rng, size, cell_px=14, octaves=3)
    broad = draw_noise(rng, size, cell_px=150, octaves=3)
    wet = np.isin(cover, [int(c) for c in WATER])
    shore = cv2.distanceTransform(wet.astype(np.uint8), cv2.DIST_L2, 5) * np.float32(frame.fine_m)
    border = _measure_border(owner)
    return Surface(
        town=town,
        owner=owner,
        cover=cover,
        ground_m=np.where(wet, 0, np.maximum(relief, 0.3)).astype(np.float32),
        height_m=_stand_up(town, owner, cover, border, fine),
        rows=_draw_rows(town, owner, patch),
        border_px=border,
        shore_m=shore,
        fine=fine,
        patch=patch,
        broad=broad,
    )


def _bounds(town: Town) -> tuple[float, float, float, float]:
    pad, side = town.frame.pad_m, town.frame.extent_m
    return -pad, -pad, side + pad, side + pad


def _measure_border(owner: IntArray) -> FloatArray:
    same = np.ones(owner.shape, np.uint8)
    for axis in (0, 1):
        differs = np.diff(owner, axis=axis) != 0
        edge = [slice(None), slice(None)]
        for cut in (slice(None, -1), slice(1, None)):
            edge[axis] = cut
            same[tuple(edge)] &= ~differs
    return np.minimum(cv2.distanceTransform(same, cv2.DIST_L2, 3), 255).astype(np.float32)


def _stand_up(
    town: Town, owner: IntArray, cover: ByteArray, border: FloatArray, fine: FloatArray
) -> FloatArray:
    """Give features their heights; trees get rounded edges and uneven crowns."""
    height = np.array([f.height_m for f in town.features], np.float32)[owner]
    trees = np.isin(cover, [int(c) for c in TREES])
    crowns = height * np.clip(0.78 + 0.22 * fine, 0.3, 1.3) * np.clip(0.55 + 0.25 * border, 0, 1)
    return np.where(trees, crowns, height).astype(np.float32)


def _draw_rows(town: Town, owner: IntArray, patch: FloatArray) -> FloatArray:
    """Draw tramlines along each field: two sines of different pitch, wavering a little."""
    rng = np.random.default_rng([town.seed, 21])
    count = len(town.features)
    angle = np.array([f.angle_rad for f in town.features], np.float32)
    pitch = rng.choice([24.0, 28.0, 36.0, 48.0], count).astype(np.float32)
    phase = rng.uniform(0, 2 * np.pi, count).astype(np.float32)
    fine_m = np.float32(town.frame.fine_m)
    y, x = (axis.astype(np.float32) * fine_m for axis in np.ogrid[: owner.shape[0], : owner.shape[1]])
    # across the rows: the normal of the row direction; image rows run south, so y changes sign
    across = (-np.sin(angle) / pitch)[owner] * x - (np.cos(angle) / pitch)[owner] * y
    turns = np.float32(2 * np.pi) * across + phase[owner]
    wide = np.sin(turns / np.float32(3.7) + np.float32(0.5) * patch)
    return np.asarray(0.6 * np.sin(turns) ** 3 + 0.4 * wide, np.float32)


def shrink(image: FloatArray, factor: int = FINE) -> FloatArray:
    """Average ``factor`` × ``factor`` cells into one."""
    height, width = image.shape
    return np.asarray(
        cv2.resize(image, (width // factor, height // factor), interpolation=cv2.INTER_AREA), np.float32
    )


def crop_pad(image: FloatArray, factor: int = 1) -> FloatArray:
    """Cut the padding off an image that has ``factor`` cells per pixel."""
    pad = PAD_PX * factor
    return np.ascontiguousarray(image[pad:-pad, pad:-pad])


def map_truth(surface: Surface) -> FloatArray:
    """Summarise the surface on the scenes' own grid.

    Returns:
        ``(4, y, x)`` float32: ``Cover`` (the class with most sub-pixels, buildings and tanks winning from
        half a pixel on), height above ground (mean, metres), ground height (metres), share of building
        in [0, 1].
    """
    built = shrink(surface.is_cover(*BUILT).astype(np.float32))
    cells = crop_pad(surface.cover, FINE)  # type: ignore[arg-type]
    rows, columns = cells.shape[0] // FINE, cells.shape[1] // FINE
    stack = cells.reshape(rows, FINE, columns, FINE).transpose(0, 2, 1, 3).reshape(rows, columns, -1)
    votes = (stack[..., :, None] == stack[..., None, :]).sum(axis=-1)
    # buildings first among equals, then the higher class number, so that ties do not depend on order
    votes = votes * 512 + stack + 256 * np.isin(stack, [int(c) for c in BUILT])
    winner = np.take_along_axis(stack, votes.argmax(axis=-1)[..., None], axis=-1)[..., 0]
    # steps of 1/32 m and 1/32 of a pixel keep the file small
    layers = [winner.astype(np.float32), *(crop_pad(shrink(a)) for a in (surface.height_m, surface.ground_m))]
    return np.asarray(np.rint(np.stack([*layers, crop_pad(built)]) * 32) / 32, np.float32)
