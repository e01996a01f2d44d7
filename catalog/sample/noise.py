"""Make smooth and rough random fields: relief, texture, clouds."""

from __future__ import annotations

import cv2
import numpy as np

from catalog.sample.frame import FloatArray


def draw_noise(
    rng: np.random.Generator,
    shape_yx: tuple[int, int],
    *,
    cell_px: float,
    octaves: int = 4,
    persistence: float = 0.5,
) -> FloatArray:
    """Sum octaves of smooth value noise, each half as coarse as the one before.

    Args:
        rng: Source of randomness.
        shape_yx: Rows and columns wanted.
        cell_px: Size of the coarsest blobs, pixels.
        octaves: Number of scales; scales under one pixel are left out.
        persistence: Amplitude of an octave relative to the one before.

    Returns:
        ``(y, x)`` float32 with mean 0 and standard deviation 1.
    """
    total = np.zeros(shape_yx, np.float32)
    amplitude = 1.0
    for octave in range(octaves):
        cell = cell_px / 2**octave
        if cell < 1 and octave:
            break
        total += np.float32(amplitude) * _one_octave(rng, shape_yx, cell)
        amplitude *= persistence
    total -= total.mean(dtype=np.float64)
    total /= total.std(dtype=np.float64) + 1e-9
    return total


def _one_octave(rng: np.random.Generator, shape_yx: tuple[int, int], cell: float) -> FloatArray:
    if cell <= 1:
        return rng.standard_normal(shape_yx, dtype=np.float32)
    rows, columns = (int(np.ceil(side / cell)) + 4 for side in shape_yx)
    grid = rng.standard_normal((rows, columns), dtype=np.float32)
    # a random sub-cell origin keeps the lattices of different octaves from lining up
    y, x = (1.0 + rng.random(2)).tolist()
    matrix = np.array([[1 / cell, 0, x], [0, 1 / cell, y]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(grid, matrix, shape_yx[::-1], flags=flags), np.float32)


def smooth_step(values: FloatArray, low: float, high: float) -> FloatArray:
    """Rise from 0 at ``low`` to 1 at ``high`` along a cubic."""
    t = np.clip((values - low) / (high - low), 0, 1).astype(np.float32)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def blur(image: FloatArray, sigma_px: float) -> FloatArray:
    """Blur with a Gaussian of ``sigma_px``, edges mirrored."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT), np.float32)


def shift(image: FloatArray, dx_px: float, dy_px: float) -> FloatArray:
    """Move the content by ``(dx_px, dy_px)`` (right and down), bilinear, edges repeated."""
    matrix = np.array([[1, 0, dx_px], [0, 1, dy_px]], np.float64)
    size = (image.shape[1], image.shape[0])
    moved = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)
