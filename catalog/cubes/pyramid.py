"""Halve pixels into overviews, and summarise them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from catalog.readers.protocol import Pixels, valid_mask
from catalog.records import Grid

_SMALLEST_LEVEL_PX = 512
_SMALLEST_SHARD_PX = 64
_AREA_DTYPES = frozenset({"uint8", "uint16", "int16", "float32", "float64"})


def count_levels(grid: Grid) -> int:
    """Return how many resolution levels a cube has: halved until the longer side is ≤ 512 px."""
    levels = 1
    longest = max(grid.shape_yx)
    while longest > _SMALLEST_LEVEL_PX and (grid.shard_px >> levels) >= _SMALLEST_SHARD_PX:
        longest = -(-longest // 2)
        levels += 1
    return levels


def halve(pixels: Pixels, fill: float, *, nearest: bool, whole: bool = False) -> Pixels:
    """Halve an array; the last row or column of an odd size stands alone.

    Args:
        pixels: ``(y, x)``.
        fill: Stored number that means "no data".
        nearest: Take one pixel of four (class and bit-field bands) instead of the mean of the valid ones.
        whole: The caller knows that every pixel is valid, so none is looked at for that.

    Returns:
        ``(⌈y/2⌉, ⌈x/2⌉)``, same dtype; ``fill`` where none of the four pixels is valid.
    """
    if nearest or pixels.dtype.name not in _AREA_DTYPES:
        return np.ascontiguousarray(pixels[::2, ::2])
    even = _pad_to_even(pixels)
    target = (even.shape[1] // 2, even.shape[0] // 2)
    valid = None if whole else valid_mask(even, fill)
    if valid is None or valid.all():
        return np.asarray(cv2.resize(even, target, interpolation=cv2.INTER_AREA))
    # Mean over the valid pixels only: mean(value × valid) ÷ mean(valid).
    weight = cv2.resize(valid.astype(np.float32), target, interpolation=cv2.INTER_AREA)
    known = np.where(valid, even, 0).astype(np.float64)
    total = cv2.resize(known, target, interpolation=cv2.INTER_AREA)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / weight
    if pixels.dtype.kind != "f":
        mean = np.floor(mean + 0.5)  # halves go up, as OpenCV's integer means do: tiles must agree
    return np.where(weight > 0, mean, fill).astype(pixels.dtype)


def _pad_to_even(pixels: Pixels) -> Pixels:
    rows, cols = pixels.shape
    if rows % 2 == 0 and cols % 2 == 0:
        return np.ascontiguousarray(pixels)
    return np.pad(pixels, ((0, rows % 2), (0, cols % 2)), mode="edge")


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Hold what is needed to merge the statistics of parts: count, mean, squared deviations, extremes."""

    count: int
    mean: float
    m2: float
    """Sum of squared deviations from the mean."""
    minimum: float
    maximum: float

    @property
    def stddev(self) -> float:
        """Population standard deviation."""
        return math.sqrt(self.m2 / self.count) if self.count else 0.0


def summarise(pixels: Pixels, valid: NDArray[np.bool_]) -> Moments | None:
    """Summarise the valid pixels of an array; None when there are none."""
    count = int(np.count_nonzero(valid))
    if not count:
        return None
    # OpenCV's one-pass loops know few dtypes; anything else is copied to float64.
    simple = pixels if pixels.dtype.name in _AREA_DTYPES else pixels.astype(np.float64)
    mask = None if count == valid.size else valid.astype(np.uint8)
    mean, stddev = cv2.meanStdDev(simple, mask=mask)
    low, high, _, _ = cv2.minMaxLoc(simple, mask=mask)
    return Moments(
        count=count, mean=float(mean[0, 0]), m2=float(stddev[0, 0] ** 2 * count), minimum=low, maximum=high
    )


def merge_moments(parts: Iterable[Moments | None]) -> Moments | None:
    """Merge the statistics of disjoint parts, in the order given (Chan et al. 1979)."""
    merged: Moments | None = None
    for part in parts:
        if part is None or merged is None:
            merged = merged or part
            continue
        count = merged.count + part.count
        delta = part.mean - merged.mean
        merged = Moments(
            count=count,
            mean=merged.mean + delta * part.count / count,
            m2=merged.m2 + part.m2 + delta * delta * merged.count * part.count / count,
            minimum=min(merged.minimum, part.minimum),
            maximum=max(merged.maximum, part.maximum),
        )
    return merged
