"""Write rendered pictures and class rasters as cloud-optimised GeoTIFFs that browsers draw as they are."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.io import MemoryFile

from catalog.records import BandStatistics, Grid
from infra.errors import InputError

PREVIEW_CHANNELS = ("preview/red", "preview/green", "preview/blue")
"""Keys of the preview's channels in :func:`write_preview_cog`'s statistics."""
Rgba = NDArray[np.uint8]

_GDAL_SETTINGS = {"GDAL_PAM_ENABLED": "NO", "GDAL_NUM_THREADS": "1", "GDAL_TIFF_INTERNAL_MASK": "YES"}
# rasterio closes a file with the interpreter's lock held. A thread that writes another's blocks out of GDAL's
# common cache meanwhile, and has an error to log, waits for that lock while the closing one waits for it.
_ONE_PICTURE_AT_A_TIME = threading.Lock()
_TILE_PX = 256
_COG_OPTIONS = {
    "driver": "COG",
    "blocksize": str(_TILE_PX),
    "statistics": "auto",  # keeps ours, which leave masked pixels out
}
_SMOOTH_OPTIONS = {
    "compress": "jpeg",
    "quality": "90",
    "overview_resampling": "average",
}  # a tenth of deflate
_CLASS_OPTIONS = {"compress": "deflate", "overview_resampling": "nearest"}
CLASS_COG_OPTIONS = _COG_OPTIONS | _CLASS_OPTIONS
"""How GDAL's COG driver writes class rasters: lossless, overviews by nearest neighbour."""


def write_preview_cog(
    rgba: Rgba, grid: Grid, path: Path, *, smooth: bool = True
) -> dict[str, BandStatistics]:
    """Write a rendered picture as a cloud-optimised GeoTIFF that GIS and browsers draw as it is.

    Red, green, blue with a lossless mask; tiles of 256 pixels, overviews that fill a tile at least;
    statistics of the unmasked pixels in the file's metadata. The file stands whole under its name or not.

    Args:
        rgba: ``(4, y, x)`` uint8 from :func:`render_rgba`.
        grid: The grid of the level the picture was made from; its CRS and transform go into the file.
        path: Where to write, local; the folder must exist.
        smooth: True for pictures (JPEG); False for classes (lossless, overviews by nearest neighbour).

    Returns:
        Statistics under the keys of :data:`PREVIEW_CHANNELS`: 8-bit values as rendered, before compression.

    Raises:
        InputError: picture and grid differ in shape.
    """
    rows, cols = grid.shape_yx
    if rgba.shape != (4, rows, cols) or rgba.dtype != np.uint8:
        raise InputError(
            f"The picture is {rgba.dtype} {rgba.shape}; its grid wants uint8 (4, {rows}, {cols})."
        )
    statistics = _measure(rgba)
    place = {"crs": grid.crs, "transform": Affine(*grid.transform)}
    with _ONE_PICTURE_AT_A_TIME, rasterio.Env(**_GDAL_SETTINGS), MemoryFile() as memory:
        with memory.open(driver="GTiff", width=cols, height=rows, count=3, dtype="uint8", **place) as dataset:
            dataset.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
            dataset.write(rgba[:3])
            dataset.write_mask(rgba[3])
            for index, key in enumerate(PREVIEW_CHANNELS, start=1):
                dataset.update_tags(index, **_to_gdal_tags(statistics[key]))
        style = _SMOOTH_OPTIONS if smooth else _CLASS_OPTIONS
        copy_as_cog(memory, path, _COG_OPTIONS | overview_options(rows, cols) | style)
    return statistics


def overview_options(rows: int, cols: int) -> dict[str, str]:
    """Ask for overviews that fill a tile at least: OpenLayers, so STAC Browser, misreads smaller ones."""
    count = max(0, int(math.log2(min(rows, cols) / _TILE_PX)))
    return {"overviews": "ignore_existing", "overview_count": str(count)} if count else {"overviews": "none"}


def copy_as_cog(memory: MemoryFile, path: Path, options: dict[str, str]) -> None:
    """Rearrange a plain GeoTIFF as COG beside the target, then move it into place."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with memory.open() as dataset:
            rasterio.shutil.copy(dataset, partial, **options)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _measure(rgba: Rgba) -> dict[str, BandStatistics]:
    """Summarise each colour over the opaque pixels; NaN where there is none."""
    opaque = rgba[3] > 0
    valid_percent = float(100.0 * np.count_nonzero(opaque) / opaque.size)
    return {
        key: _summarise(channel[opaque], valid_percent)
        for key, channel in zip(PREVIEW_CHANNELS, rgba, strict=False)
    }


def _summarise(values: NDArray[np.uint8], valid_percent: float) -> BandStatistics:
    facts = dict.fromkeys(("minimum", "maximum", "mean", "stddev", "percentile_2", "percentile_98"), math.nan)
    if values.size:
        low, p2, p98, high = (float(value) for value in np.percentile(values, [0, 2, 98, 100]))
        facts = {"minimum": low, "maximum": high, "percentile_2": p2, "percentile_98": p98}
        facts |= {"mean": float(values.mean()), "stddev": float(values.std())}
    return BandStatistics(valid_percent=valid_percent, **facts)


def _to_gdal_tags(statistics: BandStatistics) -> dict[str, str]:
    """Spell statistics as GDAL does; nothing where there is no valid pixel."""
    if not np.isfinite(statistics.mean):
        return {}
    return {
        "STATISTICS_MINIMUM": f"{statistics.minimum:g}",
        "STATISTICS_MAXIMUM": f"{statistics.maximum:g}",
        "STATISTICS_MEAN": f"{statistics.mean:.6f}",
        "STATISTICS_STDDEV": f"{statistics.stddev:.6f}",
        "STATISTICS_VALID_PERCENT": f"{statistics.valid_percent:.4g}",
    }
