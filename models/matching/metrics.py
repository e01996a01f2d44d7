"""How far off a match is: corner and landmark errors, area under the error curve, precision.

A pair without an estimate has an infinite error, so that it counts in every mean as what it is: a failure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from infra.errors import InputError
from models.matching.matches import Matches
from models.matching.transforms import Transform, apply_transform, image_corners


def measure_corner_error(
    estimated: Transform | None, truth: Transform, moving_shape: tuple[int, int]
) -> float:
    """Return the mean distance, pixels of the fixed image, between where two transforms put the corners.

    Args:
        estimated: ``fixed_from_moving``; None for a failure.
        truth: likewise, as it is.
        moving_shape: height and width of the moving image, whose corner pixels' centres are taken.

    Returns:
        Infinite for a failure, or where a corner goes to infinity.
    """
    corners = image_corners(moving_shape)
    return measure_landmark_error(estimated, apply_transform(truth, corners), corners)


def measure_landmark_error(
    estimated: Transform | None, fixed_xy: NDArray[np.floating], moving_xy: NDArray[np.floating]
) -> float:
    """Return the mean distance, pixels of the fixed image, of mapped landmarks from their true places.

    Args:
        estimated: ``fixed_from_moving``; None for a failure.
        fixed_xy: (n, 2) places in the fixed image.
        moving_xy: (n, 2) the same places in the moving image.

    Returns:
        Infinite for a failure, or where a place is at infinity.

    Raises:
        InputError: no landmarks, or not as many in one image as in the other.
    """
    if len(fixed_xy) != len(moving_xy) or not len(fixed_xy):
        raise InputError(
            f"{len(fixed_xy)} landmarks of the fixed image stand against {len(moving_xy)} of the moving one; "
            "expected as many, and one at least."
        )
    if estimated is None:
        return math.inf
    mapped = apply_transform(estimated, moving_xy)
    if not (np.isfinite(mapped).all() and np.isfinite(fixed_xy).all()):
        return math.inf  # two infinite places are no distance apart that could be told
    return float(np.linalg.norm(mapped - fixed_xy, axis=1).mean())


def area_under_curve(errors: Sequence[float], limit: float) -> float:
    """Return the area under the curve "share of pairs within an error" from 0 to a limit, over the limit.

    The curve is the step function that the errors draw, so the area is the mean of ``1 - error / limit``
    with 0 beyond the limit: 1 when all errors are 0, 0 when all are beyond. (Straight lines between the
    steps, as some papers draw, give a little more when the pairs are few.)

    Raises:
        InputError: no errors, a negative or NaN one, or a limit that is not positive.
    """
    array = np.asarray(errors, np.float64)
    if not array.size or not (array >= 0).all() or not limit > 0:
        raise InputError(
            f"No curve can be drawn of {array.size} errors up to {limit}; "
            "expected one at least, none negative or NaN, and a positive limit."
        )
    return float(np.clip(1 - array / limit, 0, 1).mean())


def count_within(errors: Sequence[float], tolerance: float) -> int:
    """Return how many errors are no larger than a tolerance."""
    return sum(error <= tolerance for error in errors)


def measure_precision(matches: Matches, truth: Transform, tolerance_px: float = 3.0) -> float:
    """Return the share of tie points that lie within a tolerance of where the true transform puts them.

    Args:
        matches: tie points; 0 of them have a precision of 0.
        truth: ``fixed_from_moving``.
        tolerance_px: pixels of the fixed image.
    """
    if not len(matches):
        return 0.0
    off = np.linalg.norm(apply_transform(truth, matches.moving_xy) - matches.fixed_xy, axis=1)
    return float((off <= tolerance_px).mean())
