"""Turn rows of pixels, as they are read, into the rows of windows that an encoder sees."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.errors import InputError, InternalError
from models.encoding.encoder import MODALITIES
from models.encoding.windows import WindowLayout

Planes = Mapping[str, NDArray[np.float32]]
"""Modality → float32 (bands, rows, columns), NaN where there is no data."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of a scene, as they were read.

    Attributes:
        top: the first one, pixels.
        planes: their pixels, of one size for all modalities.
    """

    top: int
    planes: Planes


@dataclass(frozen=True, eq=False)
class Strip:
    """One row of windows.

    Attributes:
        start: its first row, cells.
        images: modality → float32 (bands, window_px, columns), standardised, 0 where there is no data.
        valid: bool (window_px, columns): where any modality has data.
    """

    start: int
    images: Planes
    valid: NDArray[np.bool_]


@dataclass(frozen=True)
class Standard:
    """Says how one modality is standardised: ``(value - mean) / stddev``, band by band."""

    mean: tuple[float, ...]
    stddev: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse what would divide by nothing."""
        numbers = np.array([*self.mean, *self.stddev])
        if len(self.mean) != len(self.stddev) or not np.isfinite(numbers).all() or min(self.stddev) <= 0:
            raise InputError(f"bands of mean {self.mean} and deviation {self.stddev} cannot be standardised")


def measure_standard(samples: Iterable[NDArray[np.float32]]) -> Standard | None:
    """Measure mean and deviation of each band over the pixels that have data in all of them.

    Args:
        samples: float32 (bands, rows, columns) each, NaN where there is no data.

    Returns:
        None where no pixel has data; a band of one value gets a deviation of 1.
    """
    known = [each.reshape(len(each), -1)[:, np.isfinite(each).all(axis=0).ravel()] for each in samples]
    values = np.concatenate(known, axis=1).astype(np.float64) if known else np.zeros((0, 0))
    if not values.size:
        return None
    spread = values.std(axis=1)
    return Standard(
        tuple(float(f"{value:.7g}") for value in values.mean(axis=1)),
        tuple(float(f"{value:.7g}") if value > 0 else 1.0 for value in spread),
    )


def standardise(planes: Planes, standards: Mapping[str, Standard]) -> tuple[Planes, NDArray[np.bool_]]:
    """Standardise pixels and fill what has no data with 0, the mean.

    Returns:
        The pixels, and bool (rows, columns): where any modality has data.

    Raises:
        InputError: a modality is unknown, or of another number of bands.
    """
    done: dict[str, NDArray[np.float32]] = {}
    anywhere: NDArray[np.bool_] | None = None
    for name, values in planes.items():
        _check_bands(name, len(values))
        standard = standards[name]
        valid = np.asarray(np.isfinite(values).all(axis=0))
        mean = np.asarray(standard.mean, np.float32)[:, None, None]
        factor = (1 / np.asarray(standard.stddev)).astype(np.float32)[:, None, None]
        scaled = values - mean
        scaled *= factor
        np.copyto(scaled, 0, where=~valid)
        done[name] = scaled
        anywhere = valid if anywhere is None else np.logical_or(anywhere, valid)
    if anywhere is None:
        raise InputError(f"nothing is given to encode; give {' or '.join(MODALITIES)}")
    return done, anywhere


def cut_strips(
    rows: Iterable[Rows], layout: WindowLayout, starts: Sequence[int], standards: Mapping[str, Standard]
) -> Iterator[Strip]:
    """Cut the rows of windows that start at given cells out of rows that come one after the other.

    Holds no more than one row of windows and what was read last.

    Args:
        rows: Rows of the scene from the first window's on, without gaps.
        layout: The windows.
        starts: First rows, cells, rising.
        standards: How each modality is standardised.

    Raises:
        InternalError: the rows end too early, or leave a gap.
    """
    coming = iter(rows)
    held: list[tuple[int, Planes, NDArray[np.bool_]]] = []
    for start in starts:
        top = start * layout.stride_px
        bottom = min(top + layout.window_px, layout.shape_yx[0])
        held = [each for each in held if each[0] + len(each[2]) > top]
        while not held or held[-1][0] + len(held[-1][2]) < bottom:
            piece = next(coming, None)
            if piece is None:
                raise InternalError(f"rows end before {bottom}, the end of a window")
            held.append((piece.top, *standardise(piece.planes, standards)))
        yield _assemble(held, layout, start)


def _assemble(
    held: Sequence[tuple[int, Planes, NDArray[np.bool_]]], layout: WindowLayout, start: int
) -> Strip:
    width = layout.padded_yx[1] * layout.stride_px
    shape = (layout.window_px, width)
    images = {name: np.zeros((len(values), *shape), np.float32) for name, values in held[0][1].items()}
    valid, top = np.zeros(shape, np.bool_), start * layout.stride_px
    if held[0][0] > top:
        raise InternalError(f"rows begin at {held[0][0]}, after a window's first row {top}")
    for first, planes, known in held:
        low, high = max(first, top), min(first + len(known), top + layout.window_px)
        target, source = slice(low - top, high - top), slice(low - first, high - first)
        cols = known.shape[1]
        valid[target, :cols] = known[source]
        for name, values in planes.items():
            images[name][:, target, :cols] = values[:, source]
    return Strip(start, images, valid)


def _check_bands(name: str, bands: int) -> None:
    if MODALITIES.get(name) != bands:
        expected = ", ".join(f"{kind} of {count}" for kind, count in MODALITIES.items())
        raise InputError(f"{name!r} of {bands} bands cannot be encoded; expected {expected}")
