"""Find the one transform that most tie points of a matcher agree on, among many that are wrong."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.registration.fits import Fit, PlaneFit, fit_robustly
from models.registration.tie_points import TiePoints

_TRIALS = 1500
_BATCH = 250
_MIN_SUPPORT = 6
_LEAST_SPAN = 0.1  # of the scene's extent: two points closer than that say little of turn and scale
_MAX_STRETCH = 1.35  # either way; georeferenced scenes are nearly upright and of one scale
_MAX_TURN_DEG = 20.0


def find_consensus(points: TiePoints, *, tolerance_px: float, seed: int) -> Fit | None:
    """Find a transform by trying the similarities of pairs of tie points, then an affine fit of those near.

    Args:
        points: tie points, some of which may be right.
        tolerance_px: how far from a transform a tie point may be to speak for it.
        seed: of the random pairs.

    Returns:
        The transform that most tie points are near; None where fewer than six are.
    """
    if len(points) < _MIN_SUPPORT:
        return None
    fixed, moving = _to_complex(points.fixed_xy), _to_complex(points.moving_xy)
    turns, shifts = _draw_similarities(fixed, moving, np.random.default_rng(seed))
    if not len(turns):
        return None
    support = np.concatenate(
        [
            _count_support(fixed, moving, turns[at : at + _BATCH], shifts[at : at + _BATCH], tolerance_px)
            for at in range(0, len(turns), _BATCH)
        ]
    )
    best = int(support.argmax())
    if support[best] < _MIN_SUPPORT:
        return None
    start = _to_fit(complex(turns[best]), complex(shifts[best]))
    return fit_robustly("affine", points.moving_xy, points.fixed_xy, scale_px=tolerance_px, start=start)


def _to_complex(xy: NDArray[np.float64]) -> NDArray[np.complex128]:
    result: NDArray[np.complex128] = xy[:, 0] + 1j * xy[:, 1]
    return result


def _draw_similarities(
    fixed: NDArray[np.complex128], moving: NDArray[np.complex128], rng: np.random.Generator
) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Return turn-and-scale and shift of random pairs of tie points, as far as they are believable.

    Plain shifts, one for each of the best tie points, come first.
    """
    first, second = rng.integers(0, len(fixed), (2, _TRIALS))
    apart = moving[first] - moving[second]
    extent = max(float(np.ptp(moving.real)), float(np.ptp(moving.imag)))
    far = np.abs(apart) > max(_LEAST_SPAN * extent, 1.0)
    first, apart, second = first[far], apart[far], second[far]
    turns = (fixed[first] - fixed[second]) / apart
    believable = (np.abs(np.log(np.abs(turns) + 1e-12)) < np.log(_MAX_STRETCH)) & (
        np.abs(np.angle(turns)) < np.radians(_MAX_TURN_DEG)
    )
    first, turns = first[believable], turns[believable]
    alone = np.arange(min(len(fixed), _TRIALS // 3))
    return (
        np.concatenate([np.ones(len(alone), np.complex128), turns]),
        np.concatenate([fixed[alone] - moving[alone], fixed[first] - turns * moving[first]]),
    )


def _count_support(
    fixed: NDArray[np.complex128],
    moving: NDArray[np.complex128],
    turns: NDArray[np.complex128],
    shifts: NDArray[np.complex128],
    tolerance_px: float,
) -> NDArray[np.float64]:
    """Say how many tie points are near each transform; nearer ones count for more."""
    residual = np.abs(turns[:, None] * moving[None] + shifts[:, None] - fixed[None])
    support: NDArray[np.float64] = np.clip(1.2 - residual / tolerance_px, 0, 1).sum(axis=1)
    return support


def _to_fit(turn: complex, shift: complex) -> PlaneFit:
    matrix = np.array(
        [[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag], [0.0, 0.0, 1.0]]
    )
    return PlaneFit("affine", matrix)
