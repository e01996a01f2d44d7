"""Write rasters as cloud-optimised GeoTIFFs and pictures as PNG, the same bytes every time."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning

from infra.digests import sha256_of_file, to_multihash

TILE_PX = 512


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Place a raster."""

    epsg: int
    transform: Affine
    """From pixel (column, row) to projected (x, y), metres."""


def write_cog(
    path: Path, image: npt.NDArray[Any], grid: Grid, *, nodata: float | None, classes: bool = False
) -> None:
    """Write ``(y, x)`` or ``(band, y, x)`` as a COG with overviews.

    Args:
        path: File to write.
        image: The raster.
        grid: Where it lies.
        nodata: Stored number for "no data".
        classes: True for class codes: overviews pick a neighbour instead of averaging.
    """
    bands = image if image.ndim == 3 else image[None]
    count, height, width = bands.shape
    floating = np.issubdtype(bands.dtype, np.floating)
    options = {
        "driver": "COG",
        "blocksize": TILE_PX,
        "compress": "DEFLATE",
        "level": 6,
        "num_threads": 1,
        "predictor": "FLOATING_POINT" if floating else "STANDARD",
        "overview_resampling": "NEAREST" if classes else "AVERAGE",
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path,
            "w",
            width=width,
            height=height,
            count=count,
            dtype=bands.dtype,
            nodata=nodata,
            crs=f"EPSG:{grid.epsg}",
            transform=grid.transform,
            **options,
        ) as target:
            target.write(bands)


def write_picture(path: Path, image: npt.NDArray[np.uint8]) -> None:
    """Write ``(y, x)`` grey or ``(y, x, 3)`` RGB as PNG, at most 512 pixels wide."""
    factor = max(1, -(-max(image.shape[:2]) // 512))
    size = (image.shape[1] // factor, image.shape[0] // factor)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".png", small[..., ::-1] if small.ndim == 3 else small)
    if not done:
        raise OSError(f"OpenCV could not encode the preview {path}.")
    path.write_bytes(data.tobytes())


def describe_file(path: Path) -> dict[str, Any]:
    """Return ``file:size`` and ``file:checksum`` of a file."""
    return {"file:size": path.stat().st_size, "file:checksum": to_multihash(sha256_of_file(path))}
