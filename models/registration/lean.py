"""Take out how far trees and houses lean towards the radar, so that the ground decides the transform.

In a radar picture what stands leans towards the sensor, by its height over the tangent of the incidence
angle; forests' edges and roofs are off by pixels, always to the same side, while fields and shores stay. A
window holds some of each. The displacement of a tie point along the look direction is thus noise plus a lean
of at least 0, taken to be exponentially distributed: an exponentially modified normal distribution. Its mean
lean and each point's own follow by expectation maximisation (Dempster, Laird & Rubin 1977); the noise is what
is seen across the look direction, where nothing leans.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.registration.fits import Fit, fit_robustly
from models.registration.tie_points import TiePoints

_ROUNDS = 60
_LEAST_NOISE_PX = 0.2
_LEAST_POINTS = 6
_START_PX = 1.0
_LEAN_PX = (0.02, 4.0)


@dataclass(frozen=True)
class Lean:
    """How tie points of a radar scene are off.

    Attributes:
        noise_px: standard deviation across the look direction.
        mean_px: mean lean towards the sensor.
    """

    noise_px: float
    mean_px: float


def take_out_lean(
    points: TiePoints, lean_xy: tuple[float, float], *, scale_px: float, start: Fit
) -> tuple[TiePoints, Lean]:
    """Move the tie points of a moving radar scene back to where they would be without their expected lean.

    Args:
        points: tie points that agree with their neighbours, six at least.
        lean_xy: direction towards the sensor, pixels of the scenes, length 1.
        scale_px: residual from which on a tie point has no say.
        start: a transform near the one looked for.

    Returns:
        The tie points, moved, and how they lean; unmoved where too few are near the transform.
    """
    direction = np.asarray(lean_xy, np.float64)
    lean, fit, moved = Lean(_START_PX / 2, _START_PX), start, points.moving_xy
    for _ in range(_ROUNDS):
        # Positive where a point lies nearer to the sensor than the transform puts it.
        off = fit.apply(points.moving_xy) - points.fixed_xy
        along, across = off @ direction, off @ np.array([-direction[1], direction[0]])
        near = (np.abs(across) < 2 * scale_px) & (np.abs(along) < 4 * scale_px)
        if np.count_nonzero(near) < _LEAST_POINTS:
            return points, lean
        noise = max(1.4826 * float(np.median(np.abs(across[near]))), _LEAST_NOISE_PX)
        expected = _expect(along, Lean(noise, lean.mean_px))
        lean = Lean(noise, float(np.clip(expected[near].mean(), *_LEAN_PX)))
        moved = points.moving_xy - expected[:, None] * direction
        fit = fit_robustly("translation", moved, points.fixed_xy, scale_px=2 * scale_px, start=fit)
    return TiePoints(points.fixed_xy, moved, points.scores), lean


def _expect(along: NDArray[np.float64], lean: Lean) -> NDArray[np.float64]:
    """Return each point's expected lean, pixels: the mean of a normal distribution cut off at 0."""
    middle = torch.from_numpy((along - lean.noise_px**2 / lean.mean_px) / lean.noise_px)
    log_density = -(middle**2) / 2 - math.log(math.sqrt(2 * math.pi))
    hazard = torch.exp(log_density - torch.special.log_ndtr(middle))
    expected: NDArray[np.float64] = (lean.noise_px * (middle + hazard)).clamp_min(0).numpy()
    return expected
