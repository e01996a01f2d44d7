"""Plane transforms between two images' pixels, as 3×3 matrices named by both ends.

``fixed_from_moving`` takes column vectors: ``[x, y, 1]`` of the moving image becomes, after division by
the third component, a position in the fixed image. Pixel centres lie at whole numbers.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import grid_sample

from infra.errors import InputError

Transform: TypeAlias = NDArray[np.float64]
"""A 3×3 matrix, float64."""


def similarity(
    *,
    rotation_deg: float = 0.0,
    scale: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
    centre: tuple[float, float] = (0.0, 0.0),
) -> Transform:
    """Return a turn and scaling about a centre followed by a shift, pixels.

    A positive turn takes the x axis towards the y axis: clockwise as an image is shown.
    """
    angle = math.radians(rotation_deg)
    a, b = scale * math.cos(angle), scale * math.sin(angle)
    (cx, cy), (dx, dy) = centre, shift
    return np.array([[a, -b, cx - a * cx + b * cy + dx], [b, a, cy - b * cx - a * cy + dy], [0.0, 0.0, 1.0]])


def apply_transform(target_from_source: Transform, xy: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return where positions (n, 2) go, float64 (n, 2); infinite for those on the vanishing line."""
    linear, constant = target_from_source[:, :2], target_from_source[:, 2]
    mapped: NDArray[np.float64] = np.asarray(xy, np.float64) @ linear.T + constant
    with np.errstate(divide="ignore", invalid="ignore"):
        mapped[:, :2] /= mapped[:, 2:]
    mapped[np.isnan(mapped)] = np.inf
    return mapped[:, :2]


def invert(target_from_source: Transform) -> Transform:
    """Return the transform of the other direction.

    Raises:
        InputError: the matrix has no inverse.
    """
    try:
        inverse = np.linalg.inv(target_from_source).astype(np.float64)
    except np.linalg.LinAlgError:
        raise InputError(f"A transform cannot be turned round: {target_from_source.tolist()}.") from None
    if inverse[2, 2]:
        inverse /= inverse[2, 2]
    return inverse


def image_corners(shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return the centres of the four corner pixels, (4, 2): upper left, then clockwise."""
    right, bottom = shape[1] - 1.0, shape[0] - 1.0
    return np.array([[0.0, 0.0], [right, 0.0], [right, bottom], [0.0, bottom]])


def warp_image(
    image: NDArray[np.float32], target_from_source: Transform, shape: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Resample an image onto another pixel grid, bilinearly.

    Args:
        image: float32 (height, width) or (height, width, bands).
        target_from_source: from the image's pixels to the new ones.
        shape: height and width of the result.

    Returns:
        The image, 0 outside the source, and a mask of the pixels whose four neighbours were all in it.
    """
    height, width = image.shape[:2]
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    source = apply_transform(invert(target_from_source), np.stack([columns.ravel(), rows.ravel()], axis=1))
    inside: NDArray[np.bool_] = (
        ((source >= 0) & (source <= (width - 1, height - 1))).all(axis=1).reshape(shape)
    )
    grid = 2 * np.nan_to_num(source, posinf=-9.0, neginf=-9.0) / np.maximum([width - 1, height - 1], 1) - 1
    planes = torch.from_numpy(np.ascontiguousarray(np.moveaxis(np.atleast_3d(image), 2, 0))[None])
    sampled = grid_sample(
        planes, torch.from_numpy(grid.reshape(1, *shape, 2).astype(np.float32)), align_corners=True
    )[0]
    warped: NDArray[np.float32] = np.where(inside, sampled.numpy(), np.float32(0))
    return (warped[0] if image.ndim == 2 else np.moveaxis(warped, 0, 2)), inside
