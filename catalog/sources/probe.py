"""Read the header of an image file: what it says of its bands where the catalogue says nothing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

import rasterio

from catalog.gdal import cog_environment
from catalog.sources.asset_bands import to_nodata
from catalog.sources.signing import sign, unsigned
from infra.errors import AppError, DataError

_JPEG_2000 = (".jp2", ".j2k", ".jpx")


@dataclass(frozen=True, kw_only=True)
class BandHeader:
    """Hold what a file says of one of its bands."""

    dtype: str
    nodata: float | str | None
    scale: float
    offset: float
    unit: str | None
    description: str | None
    colour: str
    """GDAL's colour interpretation, e.g. ``red``, ``gray``, ``undefined``."""


def probe_file(href: str, signer: str | None = None) -> tuple[BandHeader, ...]:
    """Read a file's header; kept for as long as the process lives and the file is not rewritten.

    Args:
        href: Unsigned, checked address.
        signer: Applied here, since this is a read.

    Raises:
        NotFoundError: there is no such file.
        TransientError: it cannot be fetched now.
        DataError: it is no GeoTIFF or JPEG 2000, or holds complex numbers.
    """
    path = Path(href)
    return _read_header(href, signer, path.stat().st_mtime_ns if path.is_file() else 0)


@lru_cache(maxsize=4096)
def _read_header(href: str, signer: str | None, stamp: int) -> tuple[BandHeader, ...]:
    signed = sign(href, signer)
    try:
        with cog_environment(), rasterio.open(signed, driver=_driver_of(href)) as file:
            return tuple(_band_header(file, index) for index in file.indexes)
    except AppError as exc:
        message = exc.message.replace(signed, unsigned(href))
        raise type(exc)(message if unsigned(href) in message else f"{unsigned(href)}: {message}") from exc


def _driver_of(href: str) -> str:
    # GDAL goes by content: without a driver's name, a ".tif" that holds a VRT opens the files it names.
    return "JP2OpenJPEG" if urlsplit(href).path.lower().endswith(_JPEG_2000) else "GTiff"


def _band_header(file: rasterio.DatasetReader, index: int) -> BandHeader:
    at = index - 1
    dtype = file.dtypes[at]
    if dtype.startswith("complex"):
        raise DataError(f"file holds complex numbers ({dtype}), which are not read; give its intensity")
    return BandHeader(
        dtype=dtype,
        nodata=to_nodata(file.nodatavals[at]),
        scale=float(file.scales[at]),
        offset=float(file.offsets[at]),
        unit=file.units[at] or None,
        description=file.descriptions[at] or None,
        colour=file.colorinterp[at].name,
    )


def probe_band(href: str, index: int = 1, signer: str | None = None) -> BandHeader:
    """Read what a file says of one band.

    Raises:
        DataError: the file has fewer bands; otherwise as ``probe_file``.
    """
    headers = probe_file(href, signer)
    if not 1 <= index <= len(headers):
        raise DataError(f"{unsigned(href)} has {len(headers)} bands, and band {index} is asked for")
    return headers[index - 1]
