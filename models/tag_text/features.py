"""Average the vectors of each feature's tags."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from infra.errors import InputError

_NODES_AT_ONCE = 4096  # 8 MiB of float32 at 512 numbers per vector


def tag_features(
    offsets: NDArray[np.integer],
    ids: NDArray[np.integer],
    vectors: NDArray[np.float32],
    weights: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Average the tag vectors of n nodes, weighted; a node's row does not depend on the other nodes.

    Args:
        offsets: ``(n + 1,)``; node i has the tags ``ids[offsets[i]:offsets[i + 1]]``.
        ids: Rows of ``vectors``.
        vectors: ``(k, width)`` float32, one per distinct tag.
        weights: ``(k,)`` 0 or more, one per distinct tag.

    Returns:
        ``(n, width)`` float32: zeros for a node without tags, the plain mean where all its tags weigh 0.

    Raises:
        InputError: the arrays do not fit together, or a weight is negative or not a number.
    """
    _check(offsets, ids, vectors, weights)
    out = np.zeros((offsets.size - 1, vectors.shape[1]), np.float32)
    shares = _shares_of_occurrences(offsets, ids, weights)
    for start in range(0, out.shape[0], _NODES_AT_ONCE):
        stop = min(start + _NODES_AT_ONCE, out.shape[0])
        _add_tags(out[start:stop], offsets[start : stop + 1], ids, vectors, shares)
    return out


def _shares_of_occurrences(
    offsets: NDArray[np.integer], ids: NDArray[np.integer], weights: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Scale the weights of each node's tags to a sum of 1; alike where they sum to 0."""
    counts = np.diff(offsets)
    node_of = np.repeat(np.arange(counts.size), counts)
    parts = weights[ids]
    sums = np.bincount(node_of, parts, minlength=counts.size)
    flat = sums[node_of] == 0
    parts = np.where(flat, 1.0, parts)
    return np.asarray(parts / np.where(flat, counts[node_of], sums[node_of]), np.float32)


def _add_tags(
    out: NDArray[np.float32],
    offsets: NDArray[np.integer],
    ids: NDArray[np.integer],
    vectors: NDArray[np.float32],
    shares: NDArray[np.float32],
) -> None:
    """Add every node's first tag, then every second one, and so on: as many steps as the longest has tags."""
    counts = np.diff(offsets)
    for place in range(int(counts.max(initial=0))):
        rows = np.flatnonzero(counts > place)
        at = offsets[rows] + place
        out[rows] += shares[at, None] * vectors[ids[at]]


def _check(
    offsets: NDArray[np.integer],
    ids: NDArray[np.integer],
    vectors: NDArray[np.float32],
    weights: NDArray[np.float64],
) -> None:
    if not offsets.size or offsets[0] != 0 or offsets[-1] != ids.size or np.any(np.diff(offsets) < 0):
        raise InputError(f"offsets of node tags must rise from 0 to the {ids.size} tag occurrences")
    if vectors.ndim != 2 or weights.shape != vectors.shape[:1]:
        raise InputError(
            f"weights of shape {weights.shape} for vectors of {vectors.shape}; expected one each"
        )
    if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < vectors.shape[0]:
        raise InputError(f"tag numbers reach {int(ids.max())}; there are {vectors.shape[0]} vectors")
    if not np.all(np.isfinite(weights)) or np.any(weights < 0):
        raise InputError("a tag weight is negative or not a number; expected 0 or more")
