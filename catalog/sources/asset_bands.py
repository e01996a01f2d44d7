"""List the readable bands of a STAC item, whichever way it spells them.

STAC 1.1 ``bands`` (inherited band ← asset ← item), STAC 1.0 ``eo:bands`` + ``raster:bands``, the beta's
indices into the item's bands, and a collection's ``item_assets`` all end as one ``AssetBand`` each. Pure:
nothing is opened here.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from catalog.sources.masks import rule_for_band

_RASTER_TYPES = (
    "image/tiff",
    "image/vnd.stac.geotiff",
    "image/jp2",
    "image/x.geotiff",
    "application/x-geotiff",
)
_RASTER_SUFFIXES = (".tif", ".tiff", ".jp2")
_PICTURES = frozenset({"thumbnail", "overview", "metadata", "visual", "graphic", "preview", "quicklook"})
_PICTURE_KEYS = _PICTURES | {"rendered_preview", "tilejson", "tci", "visual_10m", "visual-jp2", "browse"}
_QUALITY_ROLES = frozenset(
    {"cloud", "cloud-shadow", "snow-ice", "water-mask", "saturation", "data-mask", "quality", "mask"}
)
_QUALITY_NAME = re.compile(
    r"^(scl|bqa|qa60|fmask|.*_fmask|qa_.*|.*_qa|.*qa_aerosol|.*pixel_qa|.*_bqa)(\.tif)?$"
)
_METRES_AT_LEAST = 0.05  # a smaller pixel is in degrees, not metres
_COMPLEX = {"cfloat32": "complex64", "cfloat64": "complex128"}


@dataclass(frozen=True, kw_only=True)
class AssetBand:
    """Hold what an item says of one band of one file; None is "not said"."""

    variable: str
    """Name the band gets when the user names none."""
    asset: str
    href: str
    """As the item spells it."""
    index: int
    """1-based band inside the file."""
    names: tuple[str, ...]
    """Band name and common name, as stated."""
    count: int | None
    """Bands of the file as stated; None when the item lists none."""
    is_picture: bool
    """True for thumbnails, overviews and rendered images: reached by their asset key only."""
    quality: bool
    dtype: str | None = None
    nodata: float | str | None = None
    scale: float | None = None
    offset: float | None = None
    unit: str | None = None
    common_name: str | None = None
    center_wavelength_um: float | None = None
    gsd_m: float | None = None
    checksum: str | None = None


def list_bands(item: Mapping[str, Any], item_assets: Mapping[str, Any] | None = None) -> list[AssetBand]:
    """List the bands of every raster asset, in the item's order.

    Args:
        item: STAC item, version 1.0 (betas included) or 1.1.
        item_assets: The collection's ``item_assets``, which fill what the item's assets leave out.
    """
    found: list[AssetBand] = []
    for key, own in item.get("assets", {}).items():
        asset = {**(item_assets or {}).get(key, {}), **own}
        if _is_raster(asset):
            found.extend(_bands_of_asset(key, asset, item.get("properties", {})))
    return _make_unique(found)


def to_variable(name: str) -> str:
    """Spell a name so that it is fit for an array's name and a folder's."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("._-") or "band"


def to_nodata(value: object) -> float | str | None:
    """Read a nodata value as JSON or GDAL spell it: a number, or ``"nan"``, ``"inf"``, ``"-inf"``."""
    if value is None or isinstance(value, bool):
        return None
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else str(number)


def to_dtype(name: object) -> str | None:
    """Read a STAC ``data_type`` as a NumPy dtype; None when it is unknown or has no NumPy counterpart."""
    if not isinstance(name, str):
        return None
    try:
        return str(np.dtype(_COMPLEX.get(name, name)))
    except TypeError:
        return None


def _bands_of_asset(key: str, asset: Mapping[str, Any], properties: Mapping[str, Any]) -> list[AssetBand]:
    stated = _merge_band_lists(key, asset, properties)
    roles = set(asset.get("roles") or ())
    quality = bool(roles & _QUALITY_ROLES) or _is_quality_name(key)
    bands = []
    for index, facts in enumerate(stated or [{}], start=1):
        common_name = _text(_first(facts, "eo:common_name", "common_name"))
        name = _text(facts.get("name"))
        numbers = _numbers(facts, asset, properties)
        is_quality = quality or _is_classified(facts) or _is_classified(asset) or _is_quality_name(name or "")
        bands.append(
            AssetBand(
                variable=key if len(stated) <= 1 else common_name or name or f"{key}_{index}",
                asset=key,
                href=str(asset.get("href", "")),
                index=index,
                names=tuple(dict.fromkeys(text for text in (name, common_name) if text)),
                # An asset that states its numbers but no list of bands has one band (STAC 1.1).
                count=len(stated) or (1 if numbers["dtype"] else None),
                is_picture=_is_picture(key, roles),
                quality=is_quality,
                common_name=common_name,
                checksum=_text(asset.get("file:checksum")),
                **numbers,
            )
        )
    return bands


def _merge_band_lists(
    key: str, asset: Mapping[str, Any], properties: Mapping[str, Any]
) -> list[dict[str, Any]]:
    merged = [dict(band) for band in asset.get("bands") or ()]
    known = list(properties.get("eo:bands") or ())
    # STAC 1.0.0-beta assets point into the item's list by index.
    optical = [
        known[band] if isinstance(band, int) and band < len(known) else band
        for band in asset.get("eo:bands") or ()
    ]
    for extra in (optical, asset.get("raster:bands") or ()):
        for position, band in enumerate(extra):
            if position == len(merged):
                merged.append({})
            if isinstance(band, Mapping):
                merged[position] = {**band, **merged[position]}
    if not merged:
        # STAC 1.1 lets assets inherit the item's list; an entry with the asset's own name is meant for it.
        merged = [dict(band) for band in properties.get("bands") or () if band.get("name") == key]
    return merged


def _numbers(
    facts: Mapping[str, Any], asset: Mapping[str, Any], properties: Mapping[str, Any]
) -> dict[str, Any]:
    def stated(*keys: str) -> object:
        # Unprefixed names of raster:bands (scale, offset) mean something else on assets and items.
        shared = [key for key in keys if ":" in key or key in ("data_type", "nodata", "unit", "gsd")]
        return next(
            (
                value
                for place, names in ((facts, keys), (asset, shared), (properties, shared))
                if (value := _first(place, *names)) is not None
            ),
            None,
        )

    return {
        "dtype": to_dtype(stated("data_type")),
        "nodata": to_nodata(stated("nodata")),
        "scale": _number(stated("raster:scale", "scale")),
        "offset": _number(stated("raster:offset", "offset")),
        "unit": _text(stated("unit")),
        "center_wavelength_um": _number(_first(facts, "eo:center_wavelength", "center_wavelength")),
        "gsd_m": _pixel_size(facts, asset, properties),
    }


def _pixel_size(
    facts: Mapping[str, Any], asset: Mapping[str, Any], properties: Mapping[str, Any]
) -> float | None:
    transform = asset.get("proj:transform")
    candidates = (
        _first(facts, "raster:spatial_resolution", "spatial_resolution", "gsd"),
        _first(asset, "raster:spatial_resolution", "gsd"),
        abs(transform[0]) if transform and abs(transform[0]) > _METRES_AT_LEAST else None,
        _first(properties, "gsd", "eo:gsd"),
    )
    return next((size for value in candidates if (size := _number(value)) is not None and size > 0), None)


def _make_unique(bands: Sequence[AssetBand]) -> list[AssetBand]:
    # Pictures repeat the names of what they were drawn from; they must not take them away.
    counts = Counter(to_variable(band.variable) for band in bands if not band.is_picture)
    named: dict[int, str] = {}
    taken: set[str] = set()
    for at, band in sorted(enumerate(bands), key=lambda entry: entry[1].is_picture):
        name = to_variable(band.variable)
        if (band.count or 1) > 1 and (counts[name] > 1 or band.is_picture):
            name = to_variable(f"{band.asset}_{band.variable}")
        while name in taken:
            name += f"_{band.index}"
        taken.add(name)
        named[at] = name
    return [replace(band, variable=named[at]) for at, band in enumerate(bands)]


def _is_raster(asset: Mapping[str, Any]) -> bool:
    media = str(asset.get("type") or "").lower()
    path = str(asset.get("href") or "").partition("?")[0].lower()
    return media.startswith(_RASTER_TYPES) or (not media and path.endswith(_RASTER_SUFFIXES))


def _is_picture(key: str, roles: set[str]) -> bool:
    # Planetary Computer gives its rendered true colour the role "data": the key is the better witness.
    return bool(roles & _PICTURES) or key.lower() in _PICTURE_KEYS


def _is_quality_name(name: str) -> bool:
    return rule_for_band(name) is not None or _QUALITY_NAME.match(name.lower()) is not None


def _is_classified(place: Mapping[str, Any]) -> bool:
    return bool(place.get("classification:classes") or place.get("classification:bitfields"))


def _first(place: Mapping[str, Any], *keys: str) -> object:
    return next((place[key] for key in keys if place.get(key) is not None), None)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
