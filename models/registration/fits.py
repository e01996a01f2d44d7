"""The transforms a scene can be registered by, from a shift to a thin plate, fitted robustly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from models.matching.transforms import Transform, apply_transform

Kind: TypeAlias = Literal["translation", "affine", "homography", "thin-plate"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""From the simplest to the most flexible."""
MIN_POINTS: dict[Kind, int] = {"translation": 2, "affine": 6, "homography": 12, "thin-plate": 40}
"""Tie points below which a kind is not tried: three and more for each free number it has."""
Points: TypeAlias = NDArray[np.float64]
_ROUNDS = 30
_PLATE_ROUNDS = 8  # each solves as many equations as there are points
_SETTLED = 3e-3
_INVERSE_PX = 1e-4
_STIFFNESS = 0.02
_LEAST_WIDTH = 5.0  # of points across their longest direction, in scales


class Fit(Protocol):
    """A transform from the moving to the fixed scene's pixels."""

    @property
    def kind(self) -> Kind:
        """What kind of transform it is."""

    def apply(self, moving_xy: Points) -> Points:
        """Return where positions (n, 2) of the moving scene lie in the fixed one."""


@dataclass(frozen=True, eq=False)
class PlaneFit:
    """A shift, an affine or a homography.

    Attributes:
        kind: which of them.
        fixed_from_moving: 3×3.
    """

    kind: Kind
    fixed_from_moving: Transform

    def apply(self, moving_xy: Points) -> Points:
        """Return where positions (n, 2) of the moving scene lie in the fixed one."""
        return apply_transform(self.fixed_from_moving, moving_xy)


@dataclass(frozen=True, eq=False)
class ThinPlateFit:
    """A smoothing thin-plate spline, after Duchon (1977) and Bookstein (1989).

    Attributes:
        control_xy: float64 (n, 2), pixels of the moving scene.
        bends: float64 (n, 2), how much each control point bends the plate.
        plane: float64 (3, 2): the plate without its bends, of ``[1, x, y]`` in units of ``scale_px``.
        origin_xy: float64 (2,), subtracted before dividing by the scale.
        scale_px: what the control points are divided by, so that the system is well conditioned.
    """

    control_xy: Points
    bends: Points
    plane: Points
    origin_xy: Points
    scale_px: float
    kind: Kind = "thin-plate"

    def apply(self, moving_xy: Points) -> Points:
        """Return where positions (n, 2) of the moving scene lie in the fixed one."""
        spots = (np.asarray(moving_xy, np.float64) - self.origin_xy) / self.scale_px
        pull = _plate(spots, (self.control_xy - self.origin_xy) / self.scale_px)
        result: Points = pull @ self.bends + np.column_stack([np.ones(len(spots)), spots]) @ self.plane
        return result


def fit_robustly(kind: Kind, moving_xy: Points, fixed_xy: Points, *, scale_px: float, start: Fit) -> Fit:
    """Fit a transform by reweighted least squares with Tukey's biweight.

    A tie point farther off than ``scale_px`` has no say. What leans in a radar picture is off to one side
    only; a plain mean would follow it, this stays with what most points say.

    Args:
        kind: what to fit.
        moving_xy: (n, 2), at least ``MIN_POINTS[kind]``.
        fixed_xy: (n, 2), the same places in the fixed scene.
        scale_px: residual from which on a point counts for nothing.
        start: a transform near the one looked for.

    Returns:
        The fit; ``start`` where too few points are near it, or where they lie along a line and do not say
        what happens beside it.
    """
    fit, weights = start, np.zeros(len(moving_xy))
    for turn in range(_PLATE_ROUNDS if kind == "thin-plate" else _ROUNDS):
        residual = np.hypot(*(fit.apply(moving_xy) - fixed_xy).T)
        # The first turns look farther: the start may be off by more than the points scatter.
        reach = scale_px * max(1.0, 3.0 - turn)
        updated = np.clip(1 - (residual / reach) ** 2, 0, None) ** 2
        if np.count_nonzero(updated) < MIN_POINTS[kind] or not np.isfinite(updated).all():
            return fit
        if turn > 3 and np.abs(updated - weights).max() < _SETTLED:
            return fit
        weights = updated
        near = weights > 0
        if kind != "translation" and not spans_plane(moving_xy[near], scale_px):
            return fit
        fit = fit_weighted(kind, moving_xy[near], fixed_xy[near], weights[near])
    return fit


def spans_plane(xy: Points, scale_px: float) -> bool:
    """Say whether points (n, 2), one at least, lie broadly enough for more than a shift.

    Of points along a line, an affine fit would put all that is beside the line onto it.
    """
    across = float(np.linalg.svd(xy - xy.mean(axis=0), compute_uv=False)[-1]) / math.sqrt(len(xy))
    return across >= _LEAST_WIDTH * scale_px


def invert_at(fit: Fit, fixed_xy: Points) -> Points:
    """Return where the moving scene shows positions (n, 2) of the fixed one.

    By steps of the remaining error: registrations are near the identity, so each step is far smaller than
    the one before; what bends has no inverse in closed form.
    """
    moving = np.asarray(fixed_xy, np.float64).copy()
    for _ in range(_ROUNDS):
        step = fixed_xy - fit.apply(moving)
        moving += step
        if not np.isfinite(step).all() or np.abs(step).max(initial=0) < _INVERSE_PX:
            break
    return moving


def fit_weighted(kind: Kind, moving_xy: Points, fixed_xy: Points, weights: NDArray[np.float64]) -> Fit:
    """Fit a transform by weighted least squares; weights above 0."""
    if kind == "translation":
        shift = np.average(fixed_xy - moving_xy, axis=0, weights=weights)
        return PlaneFit(kind, np.array([[1.0, 0.0, shift[0]], [0.0, 1.0, shift[1]], [0.0, 0.0, 1.0]]))
    if kind == "affine":
        return PlaneFit(kind, _fit_affine(moving_xy, fixed_xy, weights))
    if kind == "homography":
        return PlaneFit(kind, _fit_homography(moving_xy, fixed_xy, weights))
    return _fit_plate(moving_xy, fixed_xy, weights)


def _fit_affine(moving_xy: Points, fixed_xy: Points, weights: NDArray[np.float64]) -> Transform:
    to_unit, spots = _condition(moving_xy)
    root = np.sqrt(weights)[:, None]
    sides = np.column_stack([spots, np.ones(len(spots))]) * root
    rows, *_ = np.linalg.lstsq(sides, fixed_xy * root, rcond=None)
    return np.vstack([rows.T, [0.0, 0.0, 1.0]]) @ to_unit


def _fit_homography(moving_xy: Points, fixed_xy: Points, weights: NDArray[np.float64]) -> Transform:
    """Solve the direct linear transform on conditioned points (Hartley 1997)."""
    to_unit, a = _condition(moving_xy)
    from_unit, b = _condition(fixed_xy)
    root, one, zero = np.sqrt(weights)[:, None], np.ones((len(a), 1)), np.zeros((len(a), 3))
    spots = np.hstack([a, one])
    rows = np.vstack(
        [
            np.hstack([spots, zero, -spots * b[:, :1]]) * root,
            np.hstack([zero, spots, -spots * b[:, 1:]]) * root,
        ]
    )
    solution = np.linalg.svd(rows, full_matrices=False)[2][-1].reshape(3, 3)
    matrix = np.linalg.inv(from_unit) @ solution @ to_unit
    scaled: Transform = matrix / matrix[2, 2]
    return scaled


def _condition(xy: Points) -> tuple[Transform, Points]:
    """Move points to their middle and to a mean distance of about 1: the matrix that does so, the points."""
    middle = xy.mean(axis=0)
    size = max(float(np.abs(xy - middle).mean()), 1e-9)
    matrix = np.array([[1 / size, 0, -middle[0] / size], [0, 1 / size, -middle[1] / size], [0, 0, 1.0]])
    return matrix, (xy - middle) / size


def _fit_plate(moving_xy: Points, fixed_xy: Points, weights: NDArray[np.float64]) -> ThinPlateFit:
    origin = moving_xy.mean(axis=0)
    scale = max(float(np.ptp(moving_xy, axis=0).max()) / 2, 1e-9)
    spots = (moving_xy - origin) / scale
    count = len(spots)
    plane = np.column_stack([np.ones(count), spots])
    system = np.zeros((count + 3, count + 3))
    system[:count, :count] = _plate(spots, spots) + np.diag(_STIFFNESS / np.maximum(weights, 1e-3))
    system[:count, count:], system[count:, :count] = plane, plane.T
    wanted = np.vstack([fixed_xy, np.zeros((3, 2))])
    solved = np.asarray(np.linalg.solve(system, wanted), np.float64)
    return ThinPlateFit(moving_xy.copy(), solved[:count], solved[count:], origin, scale)


def _plate(spots: Points, control: Points) -> Points:
    """Return r² log r between positions, 0 where they coincide."""
    squared = ((spots[:, None] - control[None]) ** 2).sum(axis=2)
    result: Points = 0.5 * squared * np.log(np.maximum(squared, 1e-30))
    return result
