"""Read an image file that anyone may have made: PNG, JPEG or GeoTIFF, of a size that memory holds."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalog.pairs.records import Picture
from infra.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
MAX_VALUES = 200_000_000
"""Most numbers (pixels × bands) of an image; a small file can hold a picture of any size."""


def read_picture(path: Path) -> Picture:
    """Read an image. Transparent pixels, masks and nodata values become the mask.

    Raises:
        DataError: it is no image of a known format, cut short, or too large.
    """
    if path.suffix.lower() in {".tif", ".tiff"}:
        return _read_raster(path)
    return _read_photo(path)


def _check_size(path: Path, width: int, height: int, bands: int) -> None:
    if width * height * bands > MAX_VALUES:
        raise DataError(
            f"{path} holds {width}×{height} pixels of {bands} bands, more than {MAX_VALUES:,} numbers; "
            "cut it into pieces."
        )


def _read_photo(path: Path) -> Picture:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            # Its warning about large pictures is the check below, which refuses them.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            file = Image.open(path, formats=("PNG", "JPEG"))
        with file:
            _check_size(path, *file.size, len(file.getbands()))
            return _split_alpha(np.asarray(file.convert(_plain_mode(file))))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as exc:
        raise DataError(f"{path} cannot be read as a PNG or JPEG image: {exc}.") from exc


def _plain_mode(file: object) -> str:
    """Say which of Pillow's modes holds all of an image in plain numbers."""
    from PIL import Image

    assert isinstance(file, Image.Image)
    if file.mode in {"L", "RGB", "LA", "RGBA", "I", "F"}:
        return "RGBA" if file.mode == "RGB" and "transparency" in file.info else file.mode
    if file.mode.startswith("I;16"):
        return "I"
    if file.mode == "1":
        return "L"
    return "RGBA" if file.mode in {"PA", "RGBa"} or "transparency" in file.info else "RGB"


def _split_alpha(pixels: NDArray[Any]) -> Picture:
    bands = 1 if pixels.ndim == 2 else pixels.shape[2]
    if bands not in {2, 4}:
        return Picture(pixels)
    valid = pixels[..., -1] > 0
    colours = pixels[..., 0] if bands == 2 else pixels[..., :3]
    return Picture(colours, None if valid.all() else valid)


def _read_raster(path: Path) -> Picture:
    import rasterio
    from rasterio.enums import ColorInterp
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    # Only GeoTIFF, and nothing that lies beside it (.msk, .ovr, .aux.xml): a file of another format under
    # such a name could point GDAL at other files.
    alone = rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GDAL_PAM_ENABLED="NO")
    try:
        with warnings.catch_warnings(), alone:
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, driver="GTiff") as file:
                _check_size(path, file.width, file.height, file.count)
                valid = file.dataset_mask() > 0
                colours = [band for band in file.indexes if file.colorinterp[band - 1] != ColorInterp.alpha]
                pixels = np.moveaxis(file.read(colours or None), 0, 2)
    except (RasterioError, OSError, ValueError) as exc:
        raise DataError(f"{path} cannot be read as a GeoTIFF: {exc}.") from exc
    return Picture(pixels[..., 0] if pixels.shape[2] == 1 else pixels, None if valid.all() else valid)
