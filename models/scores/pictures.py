"""Pictures against the true ones: signal to noise, and structural similarity."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.errors import InputError

_SIGMA = 1.5
_RADIUS = 5
_SHARES = (0.01, 0.03)


def measure_psnr(truth: NDArray[Any], answer: NDArray[Any], *, span: float = 1.0) -> float:
    """Return the peak signal-to-noise ratio, decibels; infinite for the same picture.

    Args:
        truth: numbers of any shape.
        answer: likewise, of the same shape.
        span: from the lowest value possible to the highest.

    Raises:
        InputError: the shapes differ, there are no numbers, one is not finite, or the span is not positive.
    """
    _check(truth, answer, span)
    error = float(np.mean((truth.astype(np.float64) - answer.astype(np.float64)) ** 2))
    return float(10 * np.log10(span**2 / error)) if error else float("inf")


def measure_ssim(truth: NDArray[Any], answer: NDArray[Any], *, span: float = 1.0) -> float:
    """Return the structural similarity, −1 to 1, averaged over pixels and bands.

    Means and deviations are weighted by a Gaussian of 1.5 pixels within 11 × 11; the rim of 5 pixels, whose
    windows would reach beyond the picture, is left out.

    Args:
        truth: (bands, height, width), at least 11 × 11.
        answer: likewise, of the same shape.
        span: from the lowest value possible to the highest.

    Raises:
        InputError: shapes that differ or are too small, a number that is not finite, or a span that is not
            positive.

    Source: Wang et al., Image quality assessment, IEEE TIP 13 (2004), doi:10.1109/TIP.2003.819861.
    """
    _check(truth, answer, span)
    if truth.ndim != 3 or min(truth.shape[1:]) < 2 * _RADIUS + 1:
        raise InputError(
            f"Structure is compared of a picture of shape {truth.shape}; expected (bands, height, width) of "
            f"at least {2 * _RADIUS + 1} pixels."
        )
    x, y = truth.astype(np.float64), answer.astype(np.float64)
    mean_x, mean_y = _weigh(x), _weigh(y)
    spread_x, spread_y = _weigh(x * x) - mean_x**2, _weigh(y * y) - mean_y**2
    together = _weigh(x * y) - mean_x * mean_y
    light, contrast = ((share * span) ** 2 for share in _SHARES)
    alike = (2 * mean_x * mean_y + light) * (2 * together + contrast)
    most = (mean_x**2 + mean_y**2 + light) * (spread_x + spread_y + contrast)
    return float((alike / most).mean())


def _weigh(bands: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return weighted means around every pixel off the rim."""
    from scipy.ndimage import correlate1d

    offsets = np.arange(-_RADIUS, _RADIUS + 1)
    weights = np.exp(-0.5 * (offsets / _SIGMA) ** 2)
    weights /= weights.sum()
    both = correlate1d(correlate1d(bands, weights, axis=1), weights, axis=2)
    inner: NDArray[np.float64] = both[:, _RADIUS:-_RADIUS, _RADIUS:-_RADIUS]
    return inner


def _check(truth: NDArray[Any], answer: NDArray[Any], span: float) -> None:
    if truth.shape != answer.shape or not truth.size:
        raise InputError(
            f"A picture of shape {answer.shape} stands against a truth of {truth.shape}; expected one shape "
            "and a pixel at least."
        )
    if not (np.isfinite(truth).all() and np.isfinite(answer).all()) or not span > 0:
        raise InputError(
            f"Pictures are compared over a span of {span}; expected finite numbers and span > 0."
        )
