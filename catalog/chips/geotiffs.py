"""Read windows of GeoTIFF files that anyone may have made, and the grid that they lie on."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from infra.errors import DataError

_NEAR_PX = 0.01  # what writers of headers round off


@dataclass(frozen=True)
class RasterGrid:
    """Where the pixels of a file lie.

    Attributes:
        crs: rasterio's; None for a picture that lies nowhere.
        transform: world from pixel corner, six numbers.
        shape_yx: pixels.
        bands: how many.
    """

    crs: Any
    transform: tuple[float, ...]
    shape_yx: tuple[int, int]
    bands: int

    def __str__(self) -> str:
        """Spell it for a complaint."""
        return f"{self.shape_yx[0]} × {self.shape_yx[1]} px, {self.crs}, transform {self.transform}"


def read_grid(path: Path) -> RasterGrid:
    """Read where the pixels of a file lie; none of them is read.

    Raises:
        DataError: it is no GeoTIFF, or cut short.
    """
    with _opened(path) as file:
        return RasterGrid(file.crs, tuple(file.transform)[:6], (file.height, file.width), file.count)


def is_same_grid(first: RasterGrid, second: RasterGrid) -> bool:
    """Say whether pixels of two files lie on one another, to a hundredth of a pixel everywhere."""
    if first.shape_yx != second.shape_yx or first.crs != second.crs:
        return False
    one, other = Affine(*first.transform), Affine(*second.transform)
    if one.is_degenerate or other.is_degenerate:
        return False
    moved = ~one @ other
    height, width = first.shape_yx
    apart = (
        abs(moved.c) + abs(moved.a - 1) * width + abs(moved.b) * height,
        abs(moved.f) + abs(moved.e - 1) * height + abs(moved.d) * width,
    )
    return bool(max(apart) <= _NEAR_PX)


def read_band(path: Path, index: int, slices: tuple[slice, slice]) -> NDArray[np.float32]:
    """Read a window of one band.

    Args:
        path: Of the file.
        index: Of the band, from 1.
        slices: Rows and columns, within the file.

    Returns:
        float32 (rows, columns), numbers as stored; NaN where the file says there is no data.

    Raises:
        DataError: the file is cut short, has no such band, or was made smaller.
    """
    with _opened(path) as file:
        rows, columns = slices
        if not 1 <= index <= file.count or rows.stop > file.height or columns.stop > file.width:
            raise DataError(
                f"{path} holds {file.count} bands of {file.height} × {file.width} px; band {index} up to row "
                f"{rows.stop} and column {columns.stop} is wanted."
            )
        window = Window.from_slices(rows, columns)
        band = file.read(index, window=window).astype(np.float32)
        valid = file.dataset_mask(window=window) > 0
    return band if valid.all() else np.where(valid, band, np.float32(np.nan))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    # Only GeoTIFF, and nothing that lies beside it (.msk, .ovr, .aux.xml): a file of another format under
    # such a name could point GDAL at other files.
    alone = rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GDAL_PAM_ENABLED="NO")
    try:
        with warnings.catch_warnings(), alone:
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, driver="GTiff") as file:
                yield file
    except (RasterioError, OSError) as exc:
        raise DataError(f"{path} cannot be read as a GeoTIFF: {exc}.") from exc
