"""Settle what the numbers of a band mean: the item's word, the file's, then what is known of the sensor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from catalog.records import Band
from catalog.sources.asset_bands import AssetBand
from catalog.sources.band_choice import Probe
from catalog.sources.probe import BandHeader
from catalog.sources.profiles import BandProfile, Profile
from infra.errors import DataError, NotFoundError

T = TypeVar("T")
_OFFSET_BASELINE = 4.0
_OFFSET_DN = -1000.0
_BASELINE_IN_NAME = re.compile(r"_N(\d{2})(\d{2})_")


def settle_band(
    variable: str,
    band: AssetBand,
    href: str,
    *,
    profile: Profile | None,
    probe: Probe,
    properties: Mapping[str, Any],
) -> Band:
    """Make the record of one band.

    The header is read when the item does not say what numbers the file holds, unless the file is remote and
    the profile knows. Local headers cost nothing, so there the file's word comes before the profile's.

    Args:
        variable: Its name in the cube.
        band: What the item says.
        href: Absolute, checked, unsigned address.
        profile: What is known of the product.
        probe: Reads the header.
        properties: The item's properties, for the Sentinel-2 offset.

    Raises:
        NotFoundError, DataError, TransientError: the header has to be read and cannot.
    """
    known = _known_band(variable, band, profile)
    header = _header(band, href, known, probe)
    dtype = band.dtype or (header.dtype if header else None) or (known.dtype if known else None)
    if dtype is None or dtype.startswith("complex"):
        raise DataError(f"{href}: band {band.index} holds {dtype or 'unknown'} numbers, which are not read")
    if known is not None and known.dtype not in (None, dtype):
        # Other numbers than the product's own (say float reflectance): its scale does not hold for them.
        known = replace(known, dtype=dtype, nodata=None, scale=1.0, offset=0.0, unit=None, reflectance=False)
    quality = band.quality or (known is not None and known.quality)
    scale, offset = (1.0, 0.0) if quality else _scale_offset(band, header, known, properties)
    nodata = band.nodata
    if nodata is None and header is not None:
        nodata = header.nodata
    if nodata is None and known is not None:
        nodata = known.nodata
    return Band(
        name=variable,
        asset=band.asset,
        href=href,
        index=band.index,
        dtype=dtype,
        nodata=nodata,
        scale=scale,
        offset=offset,
        unit=None
        if quality
        else _first(band.unit, header.unit if header else None, known.unit if known else None),
        common_name=band.common_name or (known.common_name if known else None),
        center_wavelength_um=_first(band.center_wavelength_um, known.center_wavelength_um if known else None),
        gsd_m=_first(band.gsd_m, known.gsd_m if known else None),
        checksum=band.checksum,
        quality=quality,
    )


def sentinel2_offset(
    stated: float | None, scale: float, properties: Mapping[str, Any], *, is_original: bool = False
) -> float:
    """Settle the offset of a Sentinel-2 reflectance band.

    ESA adds 1000 to the stored numbers from processing baseline 04.00 on (BOA_ADD_OFFSET, RADIO_ADD_OFFSET
    = −1000). Earth Search has taken it off again in most COGs of its ``sentinel-2-l2a`` and then states
    ``earthsearch:boa_offset_applied: true`` while ``raster:bands`` may still say −0.1. Its maintainers call
    the flag the truth (Element84/earth-search#9). Some items with ``false`` are wrong in their pixels too
    (#66, #71); nothing in their metadata tells them apart, so the stated −0.1 stands for those.

    Args:
        stated: What the item's band says; None when nothing.
        scale: Reflectance for one stored unit.
        properties: The item's.
        is_original: True for ESA's own JPEG 2000 files, from which nobody has taken the offset.
    """
    applied = properties.get("earthsearch:boa_offset_applied", properties.get("sentinel:boa_offset_applied"))
    if applied is True and not is_original:
        return 0.0
    if stated is not None:
        return stated
    baseline = _baseline(properties)
    # −1000 × 1e-4 is not −0.1 in binary; digests should not depend on that.
    return round(_OFFSET_DN * scale, 12) if baseline is not None and baseline >= _OFFSET_BASELINE else 0.0


def _baseline(properties: Mapping[str, Any]) -> float | None:
    for key in ("s2:processing_baseline", "sentinel:processing_baseline", "processing:version"):
        text = str(properties.get(key) or "").lstrip("Nn")
        if re.fullmatch(r"\d{1,2}\.\d{1,2}", text):
            return float(text)
    for key in ("s2:product_uri", "sentinel:product_id"):
        found = _BASELINE_IN_NAME.search(str(properties.get(key) or ""))
        if found:
            return float(f"{found.group(1)}.{found.group(2)}")
    return None


def _known_band(variable: str, band: AssetBand, profile: Profile | None) -> BandProfile | None:
    if profile is None:
        return None
    names = (band.asset, *band.names, band.common_name or variable, variable)
    return next((known for name in names if (known := profile.find(name))), None)


def _header(band: AssetBand, href: str, known: BandProfile | None, probe: Probe) -> BandHeader | None:
    if band.dtype is not None and band.nodata is not None:
        return None
    is_local = "://" not in href
    if not is_local and known is not None and known.dtype is not None and band.dtype in (None, known.dtype):
        return None
    try:
        headers = probe(band)
    except (NotFoundError, DataError):
        if band.dtype is None and (known is None or known.dtype is None):
            raise
        return None  # the read will fail on it and say so; planning knows enough
    if not 1 <= band.index <= len(headers):
        raise DataError(f"{href} has {len(headers)} bands, and band {band.index} is asked for")
    return headers[band.index - 1]


def _scale_offset(
    band: AssetBand, header: BandHeader | None, known: BandProfile | None, properties: Mapping[str, Any]
) -> tuple[float, float]:
    scale, offset = band.scale, band.offset
    if scale is None and offset is None and header and (header.scale, header.offset) != (1.0, 0.0):
        scale, offset = header.scale, header.offset
    if known is None:
        return 1.0 if scale is None else scale, 0.0 if offset is None else offset
    if scale is None:
        scale = known.scale
    if known.reflectance:
        is_original = band.href.lower().partition("?")[0].endswith(".jp2")
        return scale, sentinel2_offset(offset, scale, properties, is_original=is_original)
    if offset is None:
        offset = known.offset if scale == known.scale else 0.0
    return scale, offset


def _first(*values: T | None) -> T | None:
    return next((value for value in values if value is not None), None)
