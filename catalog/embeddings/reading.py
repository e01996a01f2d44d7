"""Read what a model sees of a scene, row after row or window by window, in physical numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from catalog.embeddings.inputs import SAR
from catalog.embeddings.plan import EmbeddingPlan
from catalog.readers.protocol import Pixels
from catalog.records import Band
from catalog.registrations.reading import open_pixels, read_stored, to_physical
from infra.storage import Storage

Planes = dict[str, NDArray[np.float32]]
"""Modality → float32 (bands, rows, columns), NaN where there is no data."""
_BLOCK_PX = 256  # rows that are read at a time
_PIECE_PX = 64  # and handed on
_READERS = 4


class SceneReader:
    """Reads the inputs of a plan.

    Args:
        storage: The store that holds the scenes.
        plan: What is read.

    Raises:
        DataError: a scene is damaged.
    """

    def __init__(self, storage: Storage, plan: EmbeddingPlan) -> None:
        self._plan = plan
        self._groups = {each.modality: open_pixels(storage, each.scene) for each in plan.inputs}
        self._variables = [
            (each.modality, name, _find_band(each.scene.bands, name))
            for each in plan.inputs
            for name in each.names
        ]

    def read_window(self, top: int, left: int, edge: int) -> Planes:
        """Read a square, cut where the scene ends; radar as it is stored.

        Raises:
            DataError: pixels are damaged.
        """
        height, width = self._plan.scene.grid.shape_yx
        window = slice(top, min(top + edge, height)), slice(left, min(left + edge, width))
        return self._to_planes({key: self._read(key, window) for key in self._keys()})

    def read_rows(self, first: int, last: int, *, decibel: bool | None) -> Iterator[tuple[int, Planes]]:
        """Read rows of the scene, whole width, in pieces: the first row of each, and its pixels.

        Variables are read in parallel. A chunk higher than a block is decoded once for each: decoding takes
        a hundredth of the time that encoding does, and rows of whole chunks would take much memory.

        Args:
            first: First row, pixels.
            last: Row after the last, pixels.
            decibel: Whether radar is stored in decibels; that which is not, is turned into them.

        Raises:
            DataError: pixels are damaged.
        """
        step = _BLOCK_PX
        with ThreadPoolExecutor(_READERS) as pool:
            for top in range(first - first % step, last, step):
                rows = slice(max(top, first), min(top + step, last))
                window = rows, slice(0, self._plan.scene.grid.shape_yx[1])
                keys = list(self._keys())
                found = dict(zip(keys, pool.map(lambda key: self._read(key, window), keys), strict=True))  # noqa: B023
                for start in range(rows.start, rows.stop, _PIECE_PX):
                    piece = slice(start - rows.start, min(start + _PIECE_PX, rows.stop) - rows.start)
                    planes = self._to_planes({key: stored[piece] for key, stored in found.items()})
                    yield start, to_decibels(planes, decibel=decibel)

    def _keys(self) -> Iterator[tuple[str, str]]:
        return ((modality, name) for modality, name, _ in self._variables)

    def _read(self, key: tuple[str, str], window: tuple[slice, slice]) -> Pixels:
        modality, name = key
        return read_stored(self._groups[modality], name, window)

    def _to_planes(self, stored: Mapping[tuple[str, str], Pixels]) -> Planes:
        planes: dict[str, list[NDArray[np.float32]]] = {}
        for modality, name, band in self._variables:
            planes.setdefault(modality, []).append(to_physical(stored[modality, name], band))
        return {modality: np.stack(values) for modality, values in planes.items()}


def to_decibels(planes: Planes, *, decibel: bool | None) -> Planes:
    """Return the same with radar in decibels; no data where its power is not above zero."""
    if decibel is not False or SAR not in planes:
        return planes
    power = planes[SAR]
    logarithm = 10 * np.log10(np.where(power > 0, power, np.float32(np.nan)))
    return planes | {SAR: logarithm.astype(np.float32)}


def _find_band(bands: tuple[Band, ...], name: str) -> Band:
    return next(band for band in bands if band.name == name)
