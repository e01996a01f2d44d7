"""Turn vectors into the numbers they are stored as, and say what that costs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalog.embeddings.layout import INT8_FILL
from catalog.embeddings.plan import StorageError

_INT8_MAX = 127
_FLOAT16_MAX = 65504.0


@dataclass(frozen=True, kw_only=True)
class ErrorSums:
    """Hold what is needed to merge the storage errors of parts."""

    count: int
    maximum: float
    squares: float
    clipped: int


def choose_scale(dtype: str, reach: float) -> float:
    """Return by what stored numbers are multiplied to get vectors back.

    Args:
        dtype: Of the stored numbers.
        reach: Beyond which hardly any component is expected, either way.
    """
    return float(f"{reach / _INT8_MAX:.6g}") if dtype == "int8" else 1.0


def store_vectors(values: NDArray[np.float32], dtype: str, scale: float) -> tuple[NDArray[Any], ErrorSums]:
    """Return vectors as they are stored, and how far they are from what they were.

    Args:
        values: float32, any shape, NaN where there is no data.
        dtype: One of ``catalog.embeddings.plan.DTYPES``.
        scale: See ``choose_scale``.
    """
    known = np.isfinite(values)
    whole, count = bool(known.all()), int(np.count_nonzero(known))
    if dtype == "float32":
        return values, ErrorSums(count=count, maximum=0.0, squares=0.0, clipped=0)
    seen = values if whole else np.where(known, values, np.float32(0))
    limit = np.float32(_FLOAT16_MAX if dtype == "float16" else _INT8_MAX)
    steps = seen if dtype == "float16" else np.rint(seen / np.float32(scale))
    clipped = 0
    if max(float(steps.max(initial=0)), -float(steps.min(initial=0))) > limit:
        clipped = int(np.count_nonzero(np.abs(steps) > limit))
        steps = np.clip(steps, -limit, limit)
    stored: NDArray[Any] = steps.astype(dtype)
    error = stored.astype(np.float32) * np.float32(scale) - seen
    sums = ErrorSums(
        count=count,
        maximum=max(float(error.max(initial=0)), -float(error.min(initial=0))),
        squares=float(np.vdot(error, error)),
        clipped=clipped,
    )
    if not whole:
        stored[~known] = np.nan if dtype == "float16" else INT8_FILL
    return stored, sums


def merge_errors(parts: Iterable[ErrorSums]) -> StorageError:
    """Sum up the errors of all parts."""
    known = list(parts)
    count = sum(part.count for part in known)
    squares = math.fsum(part.squares for part in known)
    return StorageError(
        maximum=max((part.maximum for part in known), default=0.0),
        rms=math.sqrt(squares / count) if count else 0.0,
        clipped=sum(part.clipped for part in known),
    )
