"""Say what a reader is: scenes and a GeoBox in, one mosaicked array for each band out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from catalog.records import Band, Scene

Pixels = NDArray[Any]
"""``(y, x)`` array in the band's stored dtype."""


@dataclass(frozen=True, kw_only=True)
class ReadRequest:
    """Name the pixels wanted: some bands of some scenes of one solar day, on one GeoBox."""

    scenes: Sequence[Scene]
    """In mosaicking order: the first valid pixel wins."""
    bands: Sequence[str]
    geobox: GeoBox
    resampling: str
    """GDAL resampling of data bands; quality bands are always read by nearest neighbour."""


class Reader(Protocol):
    """Read a request, band by band.

    The whole request is handed over at once and bands come back as an iterator, in any order: a reader
    that fetches all byte ranges concurrently fits as well as one that reads file by file.
    """

    def read(self, request: ReadRequest) -> Iterator[tuple[str, Pixels]]:
        """Yield ``(band name, pixels)`` once for each band asked for.

        Pixels keep the stored dtype; where no scene has data they hold ``fill_value(band)``.

        Raises:
            DataError: a file is there but cannot be read.
            NotFoundError: a file is absent.
            TransientError: the network failed.
            InputError: this reader cannot read such a file at all.
        """
        ...


def fill_value(band: Band) -> float | int:
    """Return the stored number that stands for "no data" in our cubes.

    It is the source's nodata where it states one; else NaN for floats, the smallest number for signed
    integers (0 may be a height or a temperature) and 0 for unsigned ones.
    """
    kind = np.dtype(band.dtype)
    if band.nodata is None:
        return float("nan") if kind.kind in "fc" else int(np.iinfo(kind).min)
    value = float(band.nodata)
    return value if kind.kind == "f" else int(value)


def settle_fill(pixels: Pixels, fill: float) -> Pixels:
    """Give every pixel without data the one fill value, in place where needed.

    Float files may hold NaN or infinities beside their stated nodata; loaders treat those differently.
    """
    if pixels.dtype.kind == "f":
        invalid = ~np.isfinite(pixels)
        if invalid.any():
            pixels = np.where(invalid, pixels.dtype.type(fill), pixels)
    return pixels


def valid_mask(pixels: Pixels, fill: float) -> NDArray[np.bool_]:
    """Return ``(y, x)`` bool: True where a pixel holds data. Infinities of float bands count as no data."""
    if pixels.dtype.kind == "f":
        finite: NDArray[np.bool_] = np.isfinite(pixels)
        return finite if np.isnan(fill) else finite & (pixels != fill)
    return np.asarray(pixels != fill)
