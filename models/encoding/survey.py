"""Look at some windows of a scene before it is encoded: how to draw its vectors, and how far they reach."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.encoding.encoder import DenseEncoder
from models.encoding.feeding import Batch
from models.encoding.stream import Computation, encode_windows
from models.encoding.strips import Strip

_COLOURS = 3
_LOW, _HIGH = 2.0, 98.0
_HEADROOM = 1.25  # windows that were not looked at may reach further


@dataclass(frozen=True)
class Survey:
    """What the vectors of a scene are like.

    Attributes:
        mean: (width,).
        axes: 3 × (width,), the directions in which vectors differ most, strongest first.
        low: 3 numbers, what is drawn black along each.
        high: 3 numbers, what is drawn white.
        reach: beyond which no component of a vector is expected, either way.
    """

    mean: tuple[float, ...]
    axes: tuple[tuple[float, ...], ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    reach: float


def survey_windows(
    encoder: DenseEncoder, windows: Iterable[Strip], computation: Computation
) -> Survey | None:
    """Encode single windows, and find principal axes and reach of their vectors.

    Args:
        encoder: Gives the vectors.
        windows: Windows, each a strip that is one window wide.
        computation: Where and how.

    Returns:
        None where no window has data.
    """
    found = [vectors for strip in windows if len(vectors := _encode_one(encoder, strip, computation))]
    return summarise_vectors(np.concatenate(found)) if found else None


def summarise_vectors(vectors: NDArray[np.float32]) -> Survey:
    """Find mean, principal axes and reach of vectors (n, width), n at least 1."""
    wide = vectors.astype(np.float64)
    mean = wide.mean(axis=0)
    axes = _find_axes(wide - mean)
    along = (wide - mean) @ axes.T
    low, high = np.percentile(along, (_LOW, _HIGH), axis=0)
    high = np.where(high > low, high, low + 1)
    reach = float(np.abs(wide).max()) * _HEADROOM or 1.0
    return Survey(_numbers(mean), tuple(map(_numbers, axes)), _numbers(low), _numbers(high), _digits(reach))


def _encode_one(encoder: DenseEncoder, strip: Strip, computation: Computation) -> NDArray[np.float32]:
    """Return the vectors of a window's cells that have data: (n, width)."""
    if not strip.valid.any():
        return np.zeros((0, encoder.width), np.float32)
    images = {
        name: torch.from_numpy(values)[None].to(computation.device) for name, values in strip.images.items()
    }
    with torch.inference_mode():
        found = encode_windows(encoder, Batch((0,), images), computation)[0].cpu().numpy()
    stride, cells = encoder.stride_px, found.shape[1]
    known = strip.valid.reshape(cells, stride, cells, stride).any(axis=(1, 3))
    vectors: NDArray[np.float32] = found[:, known].T
    return vectors


def _find_axes(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 3 principal axes (3, width); the largest number of each is positive, so they never flip."""
    width = centred.shape[1]
    _, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    axes = np.zeros((_COLOURS, width))
    axes[: min(_COLOURS, width)] = vectors.T[::-1][:_COLOURS]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    signed: NDArray[np.float64] = axes * np.where(largest < 0, -1.0, 1.0)
    return signed


def _numbers(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(_digits(float(value)) for value in values)


def _digits(value: float) -> float:
    return float(f"{value:.8g}")
