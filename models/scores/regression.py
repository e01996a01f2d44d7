"""Heights and other quantities against the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.errors import InputError

_RATIO = 1.25


@dataclass(frozen=True)
class RegressionScores:
    """How far off the answers are, in the quantity's own unit.

    Attributes:
        rmse: root of the mean squared error.
        mae: mean absolute error.
        deltas: share, of 1, of the values above the floor whose answer lies within a factor of 1.25, 1.25²
            and 1.25³; NaN where no value is above it.
        count: values compared.
    """

    rmse: float
    mae: float
    deltas: tuple[float, float, float]
    count: int


def score_regression(
    truth: NDArray[Any],
    answer: NDArray[Any],
    *,
    valid: NDArray[np.bool_] | None = None,
    floor: float = 1.0,
) -> RegressionScores:
    """Compare numbers.

    Args:
        truth: numbers of any shape; where it is not finite, nothing is compared.
        answer: likewise, of the same shape.
        valid: bool, where to compare; None for everywhere.
        floor: least true value that a factor is asked of: flat ground has none.

    Raises:
        InputError: the shapes differ, an answer is not finite, the floor is not positive, or nothing is
            left to compare.
    """
    if truth.shape != answer.shape or (valid is not None and valid.shape != truth.shape):
        raise InputError(f"Answers of shape {answer.shape} stand against a truth of {truth.shape}.")
    if not floor > 0:
        raise InputError(f"Factors are asked of values from {floor}; expected more than 0.")
    compared = np.isfinite(truth) if valid is None else np.isfinite(truth) & valid
    true, said = truth[compared].astype(np.float64), answer[compared].astype(np.float64)
    if not true.size or not np.isfinite(said).all():
        raise InputError(
            f"{true.size} values are compared, {int((~np.isfinite(said)).sum())} answers are not finite; "
            "expected at least one value and finite answers."
        )
    error = said - true
    return RegressionScores(
        float(np.sqrt(np.mean(error**2))), float(np.abs(error).mean()), _deltas(true, said, floor), true.size
    )


def _deltas(true: NDArray[np.float64], said: NDArray[np.float64], floor: float) -> tuple[float, float, float]:
    high = true >= floor
    if not high.any():
        return (float("nan"),) * 3
    true, said = true[high], said[high]
    with np.errstate(divide="ignore"):
        # What is said to be flat or below ground is off by no factor, so it is never within one.
        factor = np.where(said > 0, np.maximum(said / true, true / np.where(said > 0, said, 1)), np.inf)
    first, second, third = (float((factor < _RATIO**power).mean()) for power in (1, 2, 3))
    return first, second, third
