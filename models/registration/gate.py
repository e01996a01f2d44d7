"""Judge a registration: accept it only where neither chance nor one part of the scene explains it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.registration.choice import Choice, find_mode
from models.registration.fits import Fit
from models.registration.reasons import Reason
from models.registration.tie_points import TiePoints

_CELLS = 4  # along each axis, for the spread
_SHIFT_NODES = 17  # along each axis, for the largest shift


@dataclass(frozen=True)
class GateLimits:
    """What a registration must reach; the same for every pair of scenes.

    Attributes:
        inlier_px: how far from the transform a tie point may be to agree with it.
        min_points: tie points found, right or wrong.
        min_inliers: tie points that agree.
        min_ratio: share of the tie points that agree, 0 to 1.
        max_log10_chance: decimal logarithm of the probability that so many agree by chance at one place. The
            transform is the best of the places within reach: some 90 that share nothing, (2 · 12 + 1)² px²
            over a disc of 1.5 px. At 10⁻⁴ each, fewer than one of a hundred unrelated pairs pass by this
            bound; in trials it is never nearly reached, as Chernoff's inequality overstates.
        min_spread: share of the scene's 4 × 4 cells that hold a tie point that agrees, 0 to 1.
        max_rmse_px: root mean square residual of those that agree.
        max_halves_px: distance between the displacements that the halves ask for.
        max_shift_px: largest correction anywhere in the scene.
    """

    inlier_px: float = 1.5
    min_points: int = 12
    min_inliers: int = 9
    min_ratio: float = 0.2
    max_log10_chance: float = -4.0
    min_spread: float = 0.25
    max_rmse_px: float = 1.2
    max_halves_px: float = 1.5
    max_shift_px: float = 100.0


@dataclass(frozen=True)
class Figures:
    """What a verdict rests on; pixels of the fixed scene.

    Attributes:
        points: tie points found, right or wrong.
        inliers: those that agree with the transform.
        log10_chance: decimal logarithm of the probability that so many agree by chance, at most 0.
        spread: share of the scene's cells that hold an inlier, 0 to 1.
        rmse_px: root mean square residual of the inliers; NaN without any.
        left_out_px: residual at tie points left out of the fit, large ones cut; NaN where not known.
        halves_px: distance between the displacements that the scene's halves ask for; NaN where not known.
        shift_px: largest correction on an even grid over the scene, its corners among it; NaN without a
            transform.
    """

    points: int = 0
    inliers: int = 0
    log10_chance: float = 0.0
    spread: float = 0.0
    rmse_px: float = math.nan
    left_out_px: float = math.nan
    halves_px: float = math.nan
    shift_px: float = math.nan

    @property
    def ratio(self) -> float:
        """Share of the tie points that agree, 0 to 1."""
        return self.inliers / self.points if self.points else 0.0


@dataclass(frozen=True)
class Verdict:
    """Whether two scenes are registered.

    Attributes:
        reason: why not, a key of ``REASONS``; None where they are.
        figures: what was measured.
    """

    reason: Reason | None
    figures: Figures

    @property
    def registered(self) -> bool:
        """Whether the transform may be used."""
        return self.reason is None


@dataclass(frozen=True)
class Search:
    """How tie points were searched for: what chance can do.

    Attributes:
        shape: height and width of the fixed scene, pixels.
        reach_px: how far from the expected place each was searched for, along each axis.
        overlap: how many tie points count as one, at least 1: neighbouring windows share their pixels.
        freedom: by how much what agrees may lie farther off than ``inlier_px`` alone lets it, as a ratio of
            areas: 1, or more where displacements to one side were taken out.
    """

    shape: tuple[int, int]
    reach_px: float
    overlap: float
    freedom: float = 1.0


def find_inliers(points: TiePoints, fit: Fit, limits: GateLimits) -> NDArray[np.bool_]:
    """Say which tie points agree with a transform."""
    inliers: NDArray[np.bool_] = residuals_px(points, fit) <= limits.inlier_px
    return inliers


def residuals_px(points: TiePoints, fit: Fit) -> NDArray[np.float64]:
    """Return how far from its place in the fixed scene the transform puts each tie point."""
    residual: NDArray[np.float64] = np.hypot(*(fit.apply(points.moving_xy) - points.fixed_xy).T)
    return residual


def judge(points: TiePoints, choice: Choice, search: Search, limits: GateLimits) -> Verdict:
    """Measure a registration and decide on it.

    Args:
        points: all tie points found, right or wrong.
        choice: the transform chosen.
        search: how they were searched for.
        limits: what must be reached.
    """
    inliers = find_inliers(points, choice.fit, limits)
    figures = _measure(points, inliers, choice, search, limits)
    return Verdict(_find_fault(figures, limits), figures)


def _find_fault(figures: Figures, limits: GateLimits) -> Reason | None:
    """Return the first thing that is wrong; a figure that is not known is wrong."""
    checks: tuple[tuple[Reason, bool], ...] = (
        ("too-few-points", figures.points >= limits.min_points),
        (
            "no-agreement",
            figures.inliers >= limits.min_inliers
            and figures.ratio >= limits.min_ratio
            and figures.log10_chance <= limits.max_log10_chance,
        ),
        ("poor-spread", figures.spread >= limits.min_spread),
        ("large-residual", figures.rmse_px <= limits.max_rmse_px),
        ("halves-differ", figures.halves_px <= limits.max_halves_px),
        ("too-far", figures.shift_px <= limits.max_shift_px),
    )
    return next((reason for reason, fine in checks if not fine), None)


def _measure(
    points: TiePoints, inliers: NDArray[np.bool_], choice: Choice, search: Search, limits: GateLimits
) -> Figures:
    residual = residuals_px(points, choice.fit)[inliers]
    return Figures(
        points=len(points),
        inliers=int(inliers.sum()),
        log10_chance=chance_log10(points, inliers, search, limits),
        spread=_spread(points.fixed_xy[inliers], search.shape),
        rmse_px=float(np.sqrt(np.mean(residual**2))) if len(residual) else math.nan,
        left_out_px=choice.residual_px[choice.fit.kind],
        halves_px=_compare_halves(points, choice.fit, limits),
        shift_px=_find_largest_shift(choice.fit, search.shape),
    )


def _find_largest_shift(fit: Fit, shape: tuple[int, int]) -> float:
    """Return how far a transform moves the scene where it moves it most: what bends may do so inside it."""
    across, down = np.meshgrid(*(np.linspace(0, length - 1, _SHIFT_NODES) for length in shape[::-1]))
    spots = np.column_stack([across.ravel(), down.ravel()])
    return float(np.hypot(*(fit.apply(spots) - spots).T).max())


def chance_log10(points: TiePoints, inliers: NDArray[np.bool_], search: Search, limits: GateLimits) -> float:
    """Bound the probability that so many tie points agree by chance, by Chernoff's inequality.

    A window without its like in the other scene is found anywhere in its search area alike: within reach of
    the transform with the probability of the two areas' ratio. Windows that share pixels count as one.
    """
    count = len(points) / search.overlap
    if not count:
        return 0.0
    chance = min(1.0, search.freedom * math.pi * limits.inlier_px**2 / (2 * search.reach_px + 1) ** 2)
    share = float(inliers.mean())
    if share <= chance:
        return 0.0
    wrong = 0.0 if share == 1 else (1 - share) * math.log((1 - share) / (1 - chance))
    return -count * (share * math.log(share / chance) + wrong) / math.log(10)


def _spread(xy: NDArray[np.float64], shape: tuple[int, int]) -> float:
    cells = np.clip(xy / np.array([shape[1], shape[0]]) * _CELLS, 0, _CELLS - 1).astype(np.intp)
    return len(np.unique(cells[:, 1] * _CELLS + cells[:, 0])) / _CELLS**2


def _compare_halves(points: TiePoints, fit: Fit, limits: GateLimits) -> float:
    """Let each half of the scene say anew, of all its tie points, by how much the transform is off.

    The two halves of what agrees must agree with each other; and a half of the scene in which many tie
    points ask for the same displacement must not ask for another one.
    """
    off, near = fit.apply(points.moving_xy) - points.fixed_xy, limits.inlier_px
    agrees = np.hypot(*off.T) <= near
    if np.count_nonzero(agrees) < 2:
        return math.nan
    axis = int(np.ptp(points.fixed_xy[agrees], axis=0).argmax())
    first = points.fixed_xy[:, axis] <= np.median(points.fixed_xy[agrees, axis])
    if first.all() or not first.any():
        return math.nan
    apart = [find_mode(off[first], within_px=near) - find_mode(off[~first], within_px=near)]
    for along in points.fixed_xy.T:
        lower = along <= np.median(along)
        apart += [_find_firm_mode(off[half], limits) for half in (lower, ~lower) if half.any()]
    return float(np.hypot(*np.array(apart).T).max())


def _find_firm_mode(off: NDArray[np.float64], limits: GateLimits) -> NDArray[np.float64]:
    """Return where displacements lie densest, where that is many of them; else 0: they say nothing."""
    mode = find_mode(off, within_px=limits.inlier_px)
    support = np.count_nonzero(np.hypot(*(off - mode).T) <= limits.inlier_px)
    firm = support >= limits.min_inliers / 2 and support >= limits.min_ratio * len(off)
    return mode if firm else np.zeros(2)
