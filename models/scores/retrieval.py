"""Whether the nearest of many is the right one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.errors import InputError

_BLOCK = 1024


def rank_partners(queries: NDArray[Any], gallery: NDArray[Any]) -> NDArray[np.int64]:
    """Return how many of the gallery are at least as alike to each query as its own partner is.

    Likeness is the cosine. Query i belongs to row i of the gallery; 0 says that no other is as near. Equals
    count against the answer, so that features which are all the same find nothing.

    Args:
        queries: (n, width), any real dtype.
        gallery: (m, width), m ≥ n; rows beyond n belong to no query.

    Raises:
        InputError: shapes that do not fit, or a number that is not finite.
    """
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise InputError(
            f"Features of shape {queries.shape} are sought in {gallery.shape}; widths must agree."
        )
    if not 0 < len(queries) <= len(gallery):
        raise InputError(
            f"{len(queries)} queries have partners among {len(gallery)}; expected as many or more."
        )
    left, right = _normalise(queries), _normalise(gallery)
    own = np.einsum("nd,nd->n", left, right[: len(left)])
    ranks = np.empty(len(left), np.int64)
    for start in range(0, len(left), _BLOCK):
        rows = slice(start, start + _BLOCK)
        alike = left[rows] @ right.T >= own[rows, None] - 1e-12
        alike[np.arange(len(alike)), np.arange(start, start + len(alike))] = False
        ranks[rows] = alike.sum(axis=1)
    return ranks


def recall_at(ranks: NDArray[np.int64], counts: Sequence[int] = (1, 5, 10)) -> dict[int, float]:
    """Return the share of queries whose partner is among the nearest 1, 5, 10.

    Raises:
        InputError: no ranks, or a count below 1.
    """
    if not len(ranks) or min(counts, default=0) < 1:
        raise InputError(
            f"Recall of {len(ranks)} queries at {tuple(counts)}; expected a query and counts ≥ 1."
        )
    return {count: float((ranks < count).mean()) for count in counts}


def _normalise(features: NDArray[Any]) -> NDArray[np.float64]:
    values = features.astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError("A feature is not finite; look at what was encoded.")
    unit: NDArray[np.float64] = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    return unit
