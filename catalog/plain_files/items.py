"""Make a STAC 1.1 item of the image files of one scene, from their headers and names; no pixel is read."""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rasterio
import rio_stac.stac
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError

from catalog.plain_files.names import (
    TimeInName,
    band_in_name,
    band_names_in_name,
    platform_in_name,
    split_band,
    time_in_name,
)
from catalog.sources.asset_bands import to_nodata, to_variable
from catalog.sources.band_facts import sentinel2_offset
from catalog.sources.masks import rule_for_band
from catalog.sources.profiles import BandProfile

IMAGE_SUFFIXES = (".tif", ".tiff", ".jp2")
_EXTENSIONS = "https://stac-extensions.github.io"
_MEDIA = {".jp2": "image/jp2"}
_GEOTIFF = "image/tiff; application=geotiff"
_EDGE_POINTS = 21  # as GDAL densifies an edge before it bends it onto another projection
_DECIMALS = 7  # of a degree: about 1 cm
_MEANINGLESS = frozenset({"band", "bands", "gray", "undefined"})


@dataclass(frozen=True, kw_only=True)
class SkippedFile:
    """Name an image that is left out."""

    path: Path
    reason: str


@dataclass(frozen=True, kw_only=True)
class Image:
    """Hold what one image file's header and name say."""

    path: Path
    scene: str
    """Its file name but for the band; its folder's name when there is nothing else."""
    band: str | None
    """Band in the file name."""
    time: TimeInName
    time_source: str
    projection: Mapping[str, Any]
    """``proj:`` fields."""
    geometry: Mapping[str, Any]
    bbox: tuple[float, float, float, float]
    """West > east when it crosses the antimeridian."""
    bands: tuple[Mapping[str, Any], ...]
    """STAC 1.1 band objects."""
    gsd_m: float | None
    modified: dt.datetime


def inspect_image(path: Path) -> Image | SkippedFile:
    """Read an image's header; tell why when it is of no use."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as file:
                reason = _unusable(file)
                return SkippedFile(path=path, reason=reason) if reason else _describe(path, file)
    except (RasterioError, CRSError) as exc:
        return SkippedFile(path=path, reason=f"cannot be read: {str(exc).splitlines()[0]}")


def item_from_images(
    images: Sequence[Image], *, identifier: str, collection: str, hrefs: Mapping[Path, str]
) -> dict[str, Any]:
    """Make the item of one scene.

    Args:
        images: The scene's files, one asset each.
        identifier: Id of the item.
        collection: Id of its collection.
        hrefs: How the item names each file.

    Returns:
        STAC 1.1 item as JSON; it holds no clock but the files' own times.
    """
    largest = max(images, key=lambda image: _extent(image.bbox))
    timed = min(images, key=lambda image: _TIME_SOURCES.index(image.time_source))
    properties: dict[str, Any] = {
        **platform_in_name(images[0].scene),
        **_time_properties(timed),
        "title": identifier,
        "updated": _stamp(max(image.modified for image in images)),
    }
    if sizes := [image.gsd_m for image in images if image.gsd_m]:
        properties["gsd"] = min(sizes)
    assets = {key: _asset(image, hrefs[image.path]) for key, image in _asset_keys(images).items()}
    stated = {key.partition(":")[0] for image in images for band in image.bands for key in band if ":" in key}
    extensions = ["projection/v2.0.0", "file/v2.1.0", *(f"{prefix}/v2.0.0" for prefix in sorted(stated))]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": sorted(f"{_EXTENSIONS}/{name}/schema.json" for name in extensions),
        "id": identifier,
        "collection": collection,
        "geometry": dict(largest.geometry),
        "bbox": list(largest.bbox),
        "properties": properties,
        "assets": assets,
        "links": [
            {"rel": "root", "href": "../../catalog.json", "type": "application/json"},
            {"rel": "parent", "href": "../collection.json", "type": "application/json"},
            {"rel": "collection", "href": "../collection.json", "type": "application/json"},
        ],
    }


_TIME_SOURCES = ("image tag", "file name", "folder name", "TIFF tag", "file modification time")


def _unusable(file: rasterio.DatasetReader) -> str | None:
    if file.crs is None:
        if file.gcps[0]:
            return "only ground control points place it; rectify it first (gdalwarp)"
        return "it has no georeference (no CRS)"
    if file.transform.is_identity:
        return "it has no georeference (no transform)"
    if file.dtypes[0].startswith("complex"):
        return "it holds complex numbers; give its intensity"
    return None


def _describe(path: Path, file: rasterio.DatasetReader) -> Image:
    scene, band = split_band(path.stem)
    scene = scene or path.parent.name
    place = rio_stac.stac.get_dataset_geom(file, densify_pts=_EDGE_POINTS, precision=_DECIMALS)
    modified = dt.datetime.fromtimestamp(path.stat().st_mtime, tz=dt.UTC)
    time, source = _find_time(path, file, modified)
    a = file.transform.a
    return Image(
        path=path,
        scene=scene,
        band=band,
        time=time,
        time_source=source,
        projection=_projection(file),
        geometry=place["footprint"],
        bbox=_bbox(place["footprint"], place["bbox"]),
        bands=tuple(_band(file, index, scene, band, time) for index in file.indexes),
        gsd_m=round(abs(a) * file.crs.linear_units_factor[1], 6) if file.crs.is_projected else None,
        modified=modified,
    )


def _find_time(path: Path, file: rasterio.DatasetReader, modified: dt.datetime) -> tuple[TimeInName, str]:
    tags = (
        ("image tag", file.tags(ns="IMAGERY").get("ACQUISITIONDATETIME")),
        ("file name", path.stem),
        ("folder name", path.parent.name),
        # TIFF's own tag often tells when the file was made, not the image: it comes last.
        ("TIFF tag", file.tags().get("TIFFTAG_DATETIME")),
    )
    for source, text in tags:
        if text:
            plain = str(text).strip()
            if source in ("image tag", "TIFF tag"):
                plain = plain[:10].replace(":", "-") + "T" + plain[11:19]
            if found := time_in_name(plain):
                return found, source
    return TimeInName(instant=modified.replace(microsecond=0), whole_day=False), "file modification time"


def _time_properties(image: Image) -> dict[str, Any]:
    instant = image.time.instant
    properties: dict[str, Any] = {
        "datetime": _stamp(instant),
        "terraloom:datetime_source": image.time_source,
    }
    if image.time.whole_day:
        day = instant.replace(hour=0)
        properties["start_datetime"] = _stamp(day)
        properties["end_datetime"] = _stamp(day + dt.timedelta(hours=23, minutes=59, seconds=59))
    return properties


def _projection(file: rasterio.DatasetReader) -> dict[str, Any]:
    info = rio_stac.stac.get_projection_info(file)
    projection: dict[str, Any] = {
        "proj:code": f"EPSG:{info['epsg']}" if info["epsg"] else None,
        "proj:shape": info["shape"],
        "proj:transform": info["transform"][:6],
        "proj:bbox": info["bbox"],
    }
    if info["epsg"] is None:
        projection["proj:wkt2"] = file.crs.to_wkt(version="WKT2_2019")
    return projection


def _bbox(geometry: Mapping[str, Any], plain: Sequence[float]) -> tuple[float, float, float, float]:
    # GDAL cuts a footprint at the antimeridian into polygons on either side; RFC 7946 then asks for W > E.
    if geometry["type"] != "MultiPolygon":
        west, south, east, north = plain
        return west, south, east, north
    parts = [[x for x, _ in ring] for polygon in geometry["coordinates"] for ring in polygon]
    western = [x for xs in parts if max(xs) <= 0 for x in xs]
    eastern = [x for xs in parts if min(xs) >= 0 for x in xs]
    if not western or not eastern:
        return plain[0], plain[1], plain[2], plain[3]
    return min(eastern), plain[1], max(western), plain[3]


def _band(
    file: rasterio.DatasetReader, index: int, scene: str, band: str | None, time: TimeInName
) -> dict[str, Any]:
    at = index - 1
    known = band_in_name(scene, band, time) if band else None
    name, dtype = _band_name(file, index, scene, band), file.dtypes[at]
    if known is not None and known.dtype not in (None, dtype):
        known = BandProfile(names=known.names, common_name=known.common_name)
    nodata = to_nodata(file.nodatavals[at])
    common_name = name if name in _COMMON_NAMES else None
    entry = {"name": name, "data_type": dtype, "nodata": nodata, "unit": file.units[at] or None}
    if known is not None:
        entry["nodata"] = known.nodata if nodata is None else nodata
        entry["unit"] = entry["unit"] or known.unit
        entry["eo:center_wavelength"] = known.center_wavelength_um
        common_name = known.common_name or common_name
    entry["eo:common_name"] = common_name
    scale, offset = _scale_offset(file, at, known, scene)
    if (scale, offset) != (1.0, 0.0):
        entry["raster:scale"], entry["raster:offset"] = scale, offset
    return {key: value for key, value in entry.items() if value is not None}


def _scale_offset(
    file: rasterio.DatasetReader, at: int, known: BandProfile | None, scene: str
) -> tuple[float, float]:
    scale, offset = float(file.scales[at]), float(file.offsets[at])
    if (scale, offset) != (1.0, 0.0) or known is None:
        return scale, offset
    if known.reflectance:
        return known.scale, sentinel2_offset(None, known.scale, platform_in_name(scene))
    return known.scale, known.offset


_COMMON_NAMES = frozenset(
    {"coastal", "blue", "green", "red", "nir", "nir08", "nir09", "cirrus", "swir16", "swir22", "pan"}
)


def _band_name(file: rasterio.DatasetReader, index: int, scene: str, band: str | None) -> str:
    if file.count == 1:
        described = file.descriptions[0]
        return band or (described if described and described not in _MEANINGLESS else "data")
    fixed = band_names_in_name(scene, file.count)
    if fixed:
        return fixed[index - 1]
    for spoken in (list(file.descriptions), [colour.name for colour in file.colorinterp]):
        useful = [name for name in spoken if name and name not in _MEANINGLESS]
        if len(useful) == file.count and len(set(useful)) == file.count:
            return to_variable(str(spoken[index - 1]))
    return f"b{index}"


def _asset_keys(images: Sequence[Image]) -> dict[str, Image]:
    keys: dict[str, Image] = {}
    for image in sorted(images, key=lambda image: image.path.name):
        key = image.band or ("image" if len(image.bands) > 1 else to_variable(image.bands[0]["name"]))
        # B02_10m, B02_20m: the finest keeps the plain name; then the file's own name tells them apart.
        keys[key if key not in keys else image.path.stem] = image
    return keys


def _asset(image: Image, href: str) -> dict[str, Any]:
    quality = any(rule_for_band(name) for name in (image.band or "", *(b["name"] for b in image.bands)))
    quality = quality or (image.band or "").upper().startswith(("QA_", "SR_QA", "SR_CLOUD_QA"))
    return {
        "href": href,
        "type": _MEDIA.get(image.path.suffix.lower(), _GEOTIFF),
        "title": image.band or image.path.stem,
        "roles": ["data-mask"] if quality else ["data"],
        "bands": [dict(band) for band in image.bands],
        "file:size": image.path.stat().st_size,
        **image.projection,
    }


def _extent(bbox: Sequence[float]) -> float:
    return ((bbox[2] - bbox[0]) % 360.0) * (bbox[3] - bbox[1])


def _stamp(instant: dt.datetime) -> str:
    return instant.astimezone(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
