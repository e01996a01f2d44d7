"""Choose how flexible a transform tie points support: by what each kind says of points it has not seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.registration.fits import KINDS, MIN_POINTS, Fit, Kind, PlaneFit, fit_robustly, spans_plane
from models.registration.tie_points import TiePoints

_BLOCKS = 4  # along each axis
_FOLDS = 4
_LEAST_GAIN: dict[Kind, float] = {"translation": 0.0, "affine": 0.0, "homography": 0.05, "thin-plate": 0.15}
"""Share of the residual that a kind must save: what bends follows the errors that neighbours share."""
_ERRORS = 2.0  # standard errors that a gain must exceed
_NEIGHBOURS = 9
_VOTES = 3


@dataclass(frozen=True, eq=False)
class Choice:
    """The transform chosen, and what the other kinds came to.

    Attributes:
        fit: the chosen kind, fitted to all tie points.
        residual_px: kind → root mean square residual at tie points left out of its fit, pixels.
    """

    fit: Fit
    residual_px: dict[Kind, float]


def choose_fit(
    points: TiePoints, *, scale_px: float, overlap: float = 1.0, kinds: tuple[Kind, ...] = KINDS
) -> Choice:
    """Fit every kind of transform that there are enough points for, and choose one.

    The scene is cut into 4 × 4 blocks, which are left out a quarter at a time. A kind takes the place of a
    simpler one only where it lowers the residual of what was left out by more than two standard errors of
    the difference between blocks, and those that bend by a good share of it besides. Points along a line
    support the simplest kind only.

    Args:
        points: tie points that agree with their neighbours, two at least; see ``find_agreeing``.
        scale_px: residual from which on a tie point counts for nothing.
        overlap: how many tie points count as one, because their windows share pixels; 1 or more.
        kinds: what may be chosen, the simplest first.
    """
    start = shift_by_mode(points, scale_px)
    blocks = _cut_blocks(points.fixed_xy)
    losses: dict[Kind, NDArray[np.float64]] = {}
    chosen: Kind = kinds[0]
    count = len(points) / overlap if spans_plane(points.moving_xy, scale_px) else 0
    for kind in (kind for kind in kinds if kind == kinds[0] or count >= MIN_POINTS[kind]):
        losses[kind] = _leave_out(points, kind, blocks, scale_px, start)
        if kind != chosen and _is_better(losses[kind], losses[chosen], blocks, _LEAST_GAIN[kind]):
            chosen = kind
    fit = fit_robustly(chosen, points.moving_xy, points.fixed_xy, scale_px=scale_px, start=start)
    return Choice(fit, {kind: float(np.sqrt(loss.mean())) for kind, loss in losses.items()})


def find_agreeing(points: TiePoints, *, tolerance_px: float) -> NDArray[np.bool_]:
    """Say which tie points are displaced as at least three of the nine nearest ones are.

    This asks for agreement close by only, so it takes no side between a rigid and a bending transform.
    """
    if len(points) <= _NEIGHBOURS:
        return np.ones(len(points), np.bool_)
    moved = points.fixed_xy - points.moving_xy
    squared = ((points.moving_xy[:, None] - points.moving_xy[None]) ** 2).sum(axis=2)
    nearest = np.argpartition(squared, _NEIGHBOURS, axis=1)[:, : _NEIGHBOURS + 1]
    near = np.hypot(*np.moveaxis(moved[nearest] - moved[:, None], 2, 0)) <= tolerance_px
    agreeing: NDArray[np.bool_] = near.sum(axis=1) > _VOTES  # each agrees with itself
    return agreeing


def find_mode(moved: NDArray[np.float64], *, within_px: float) -> NDArray[np.float64]:
    """Return where displacements (n, 2) lie densest: the mean of those near the one with most neighbours."""
    near = np.hypot(*np.moveaxis(moved[:, None] - moved[None], 2, 0)) <= within_px
    mode: NDArray[np.float64] = moved[near[near.sum(axis=1).argmax()]].mean(axis=0)
    return mode


def shift_by_mode(points: TiePoints, scale_px: float) -> Fit:
    """Return the shift that most tie points, one at least, ask for: where robust fits start."""
    shift = find_mode(points.fixed_xy - points.moving_xy, within_px=scale_px)
    return PlaneFit("translation", np.array([[1.0, 0.0, shift[0]], [0.0, 1.0, shift[1]], [0.0, 0.0, 1.0]]))


def _cut_blocks(xy: NDArray[np.float64]) -> NDArray[np.intp]:
    low, extent = xy.min(axis=0), np.maximum(np.ptp(xy, axis=0), 1e-9)
    cells = np.minimum((xy - low) / extent * _BLOCKS, _BLOCKS - 1).astype(np.intp)
    blocks: NDArray[np.intp] = cells[:, 1] * _BLOCKS + cells[:, 0]
    return blocks


def _leave_out(
    points: TiePoints, kind: Kind, blocks: NDArray[np.intp], scale_px: float, start: Fit
) -> NDArray[np.float64]:
    """Return each tie point's squared residual, at most the scale's, when its block is left out."""
    # Blocks of one fold lie apart, as the knights of a chess board do: what is left surrounds them.
    fold = (blocks % _BLOCKS + 2 * (blocks // _BLOCKS)) % _FOLDS
    loss = np.full(len(points), scale_px**2)
    for out in (fold == number for number in range(_FOLDS)):
        if out.any() and np.count_nonzero(~out) >= MIN_POINTS[kind]:
            fit = fit_robustly(
                kind, points.moving_xy[~out], points.fixed_xy[~out], scale_px=scale_px, start=start
            )
            squared = ((fit.apply(points.moving_xy[out]) - points.fixed_xy[out]) ** 2).sum(axis=1)
            loss[out] = np.minimum(squared, scale_px**2)
    return loss


def _is_better(
    loss: NDArray[np.float64], simpler: NDArray[np.float64], blocks: NDArray[np.intp], least_gain: float
) -> bool:
    gains = np.array([(simpler - loss)[blocks == block].mean() for block in np.unique(blocks)])
    if len(gains) < 3:
        return False
    error = gains.std(ddof=1) / np.sqrt(len(gains))
    return bool(loss.mean() < simpler.mean() * (1 - least_gain) ** 2 and gains.mean() > _ERRORS * error)
