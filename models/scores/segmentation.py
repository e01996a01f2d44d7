"""Class maps against the truth: everything is told from one table of counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.errors import InputError


@dataclass(frozen=True)
class SegmentationScores:
    """What a table of counts says; parts of 1.

    Attributes:
        iou: float64 (classes,), pixels in both over pixels in either; NaN for a class that neither has.
        f1: likewise, the harmonic mean of precision and recall.
        mean_iou: over the classes that truth or answer have; NaN where there are none.
        mean_f1: likewise.
        accuracy: share of pixels that are right; NaN where there are none.
    """

    iou: NDArray[np.float64]
    f1: NDArray[np.float64]
    mean_iou: float
    mean_f1: float
    accuracy: float


def count_confusion(
    truth: NDArray[Any], answer: NDArray[Any], classes: int, *, ignored: int | None = None
) -> NDArray[np.int64]:
    """Count which class was answered for which.

    Args:
        truth: whole numbers of any shape, 0 to ``classes`` − 1.
        answer: likewise, of the same shape.
        classes: how many there are, at least 1.
        ignored: value of the truth that says nothing; such pixels are not counted, whatever the answer.

    Returns:
        int64 (classes, classes), rows by truth; tables of several images may be added.

    Raises:
        InputError: the shapes differ, or a class is out of range.
    """
    if truth.shape != answer.shape or truth.dtype.kind not in "biu" or answer.dtype.kind not in "biu":
        raise InputError(
            f"Classes of shape {answer.shape} and type {answer.dtype} stand against a truth of {truth.shape} "
            f"and {truth.dtype}; expected whole numbers of one shape."
        )
    counted = np.ones(truth.shape, np.bool_) if ignored is None else truth != ignored
    rows, columns = truth[counted].astype(np.int64), answer[counted].astype(np.int64)
    for name, values in (("truth", rows), ("answer", columns)):
        if values.size and not 0 <= values.min() <= values.max() < classes:
            raise InputError(
                f"The {name} holds the classes {values.min()} to {values.max()}; expected 0 to {classes - 1}."
            )
    return np.bincount(rows * classes + columns, minlength=classes * classes).reshape(classes, classes)


def score_confusion(confusion: NDArray[np.int64]) -> SegmentationScores:
    """Return what a table of counts says.

    Raises:
        InputError: the table is not square.
    """
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1]:
        raise InputError(f"A table of counts has the shape {confusion.shape}; expected a square one.")
    hits = np.diag(confusion).astype(np.float64)
    both = (confusion.sum(axis=0) + confusion.sum(axis=1)).astype(np.float64)
    iou, f1 = _divide(hits, both - hits), _divide(2 * hits, both)
    total = confusion.sum()
    return SegmentationScores(
        iou, f1, _mean(iou), _mean(f1), float(hits.sum() / total) if total else float("nan")
    )


def _divide(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
