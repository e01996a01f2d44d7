"""Place the sample world on Earth: its pixel grid, its local metric frame and its UTM zone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from affine import Affine
from pyproj import Transformer

FINE = 2
"""Sub-pixels per pixel and axis on which everything is drawn before it is averaged."""
PAD_PX = 16
"""Pixels drawn beyond each edge, so that shadows and displaced pixels come from somewhere."""

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]
ByteArray = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Hold the grid of the world; local x runs east and y north, metres, from the lower left corner."""

    size_px: int
    """Width and height, pixels."""
    gsd_m: float
    epsg: int
    """EPSG code of the UTM zone."""
    west_m: float
    north_m: float
    """Upper left corner in that zone, metres."""

    @property
    def extent_m(self) -> float:
        """Return the side of the square world, metres."""
        return self.size_px * self.gsd_m

    @property
    def fine_m(self) -> float:
        """Return the side of one sub-pixel, metres."""
        return self.gsd_m / FINE

    @property
    def canvas_px(self) -> int:
        """Return the side of the drawing canvas with its padding, sub-pixels."""
        return (self.size_px + 2 * PAD_PX) * FINE

    @property
    def pad_m(self) -> float:
        """Return the width of the padding, metres."""
        return PAD_PX * self.gsd_m

    @property
    def canvas_transform(self) -> Affine:
        """Return the affine from canvas (column, row) to local (x, y)."""
        step = self.fine_m
        return Affine(step, 0, -self.pad_m, 0, -step, self.extent_m + self.pad_m)

    @property
    def transform(self) -> Affine:
        """Return the affine from pixel (column, row) to UTM (x, y)."""
        return Affine(self.gsd_m, 0, self.west_m, 0, -self.gsd_m, self.north_m)

    @cached_property
    def _lonlat_from_utm(self) -> Transformer:
        return Transformer.from_crs(self.epsg, 4326, always_xy=True)

    def to_lonlat(self, points_xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Convert local metres to degrees.

        Args:
            points_xy: ``(point, 2)`` local x and y, metres.

        Returns:
            ``(point, 2)`` longitude and latitude, degrees.
        """
        south_m = self.north_m - self.extent_m
        lon, lat = self._lonlat_from_utm.transform(self.west_m + points_xy[:, 0], south_m + points_xy[:, 1])
        return np.column_stack([lon, lat])


def place_frame(origin_lonlat: tuple[float, float], *, size_px: int, gsd_m: float) -> Frame:
    """Snap the upper left corner to the whole grid of the UTM zone it lies in.

    Args:
        origin_lonlat: Upper left corner, degrees.
        size_px: Side of the world, pixels.
        gsd_m: Pixel size, metres.
    """
    lon, lat = origin_lonlat
    epsg = (32600 if lat >= 0 else 32700) + int((lon + 180) // 6) + 1
    x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(lon, lat)
    step = 10 * gsd_m
    return Frame(
        size_px=size_px, gsd_m=gsd_m, epsg=epsg, west_m=round(x / step) * step, north_m=round(y / step) * step
    )
