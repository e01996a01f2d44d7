"""Turn rendered scenes into files and items: tiles of optical dates, radar passes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine

from catalog.sample.files import Grid, describe_file, write_cog, write_picture
from catalog.sample.optical import OFFSET_DN, SCALE_DN, OpticalScene, render_optical
from catalog.sample.radar import RadarPass, render_radar
from catalog.sample.schedule import OpticalDate
from catalog.sample.ships import place_ships
from catalog.sample.stac import OPTICAL_BANDS, ItemDraft, Json, build_item, write_json
from catalog.sample.surface import Surface

SCL_NAMES = (
    "no data",
    "saturated or defective",
    "dark area",
    "cloud shadow",
    "vegetation",
    "not vegetated",
    "water",
    "unclassified",
    "cloud of medium probability",
    "cloud of high probability",
    "thin cirrus",
    "snow or ice",
)
"""Meaning of the stored numbers of ``scl``, 0 to 11."""
_COG = "image/tiff; application=geotiff; profile=cloud-optimized"
_SHIP_KEY_RADAR = 1000  # radar dates have ships of their own


def publish_optical(folder: Path, surface: Surface, date: OpticalDate, *, key: int) -> list[Json]:
    """Render one optical date and write its tiles under ``folder``; return their items."""
    scene = render_optical(surface, date.moment, date.sky, place_ships(surface.town, key), key=key)
    size = surface.town.frame.size_px
    items = []
    for number, (name, left, right) in enumerate(date.tiles):
        columns = (round(left * size / 16) * 16, round(right * size / 16) * 16)
        moment = date.moment + dt.timedelta(seconds=4 * number)
        items.append(_write_tile(folder, surface, scene, name, columns, moment))
    return items


def _write_tile(
    folder: Path,
    surface: Surface,
    scene: OpticalScene,
    name: str,
    columns: tuple[int, int],
    moment: dt.datetime,
) -> Json:
    """Write one tile of an optical date: the columns ``columns[0]`` to ``columns[1]``."""
    frame, (first, last) = surface.town.frame, columns
    item_id = f"sample-optical_{moment:%Y%m%d}_{name}"
    home = folder / item_id
    home.mkdir(parents=True, exist_ok=True)
    transform = Affine(frame.gsd_m, 0, frame.west_m + first * frame.gsd_m, 0, -frame.gsd_m, frame.north_m)
    grid = Grid(epsg=frame.epsg, transform=transform)
    whole: dict[str, npt.NDArray[Any]] = {**scene.bands, "scl": scene.classes}
    images: dict[str, npt.NDArray[Any]] = {}
    for band, image in whole.items():
        factor = frame.size_px // image.shape[1]
        images[band] = image[:, first // factor : last // factor]
    assets = {
        band: _describe_optical(band) | _write_band(home / f"{band}.tif", image, grid, frame.size_px)
        for band, image in images.items()
    }
    assets["thumbnail"] = _write_thumbnail(home, _paint_optical(images))
    cloudy = float(np.isin(images["scl"], (8, 9, 10)).mean())
    draft = ItemDraft(
        collection="sample-optical",
        id=item_id,
        moment=moment,
        grid=grid,
        shape_yx=(frame.size_px, last - first),
        bounds_xy=(first * frame.gsd_m, 0, last * frame.gsd_m, frame.extent_m),
        properties={
            "title": f"Optical sample scene of {moment:%d %B %Y}, tile {name}",
            "eo:cloud_cover": round(100 * cloudy, 2),
            **_describe_sun(scene),
            "terraloom:seed": surface.town.seed,
        },
        assets=assets,
    )
    return _write_item(home, surface, draft)


def publish_radar(folder: Path, surface: Surface, radar_pass: RadarPass, *, key: int) -> Json:
    """Render one radar pass and write it under ``folder``; return its item."""
    frame, moment = surface.town.frame, radar_pass.moment
    scene = render_radar(surface, radar_pass, place_ships(surface.town, _SHIP_KEY_RADAR + key), key=key)
    item_id = f"sample-radar_{moment:%Y%m%d}"
    home = folder / item_id
    home.mkdir(parents=True, exist_ok=True)
    grid = Grid(epsg=frame.epsg, transform=frame.transform)
    assets = {
        band: _describe_radar(band) | _write_band(home / f"{band}.tif", image, grid, frame.size_px)
        for band, image in scene.bands.items()
    }
    assets["thumbnail"] = _write_thumbnail(home, _paint_radar(scene.bands))
    draft = ItemDraft(
        collection="sample-radar",
        id=item_id,
        moment=moment,
        grid=grid,
        shape_yx=(frame.size_px, frame.size_px),
        bounds_xy=(0, 0, frame.extent_m, frame.extent_m),
        properties={
            "title": f"Radar sample scene of {moment:%d %B %Y}, {radar_pass.orbit_state}",
            **_describe_flight(radar_pass),
            "terraloom:true_shift_px": list(radar_pass.true_shift_px),
            "terraloom:true_affine_px": list(scene.true_affine_px),
            "terraloom:seed": surface.town.seed,
        },
        assets=assets,
    )
    return _write_item(home, surface, draft)


def _write_item(home: Path, surface: Surface, draft: ItemDraft) -> Json:
    item = build_item(surface.town.frame, draft)
    write_json(home / f"{draft.id}.json", item)
    return item


def _describe_sun(scene: OpticalScene) -> Json:
    elevation, azimuth = scene.sun_deg
    return {
        "view:sun_elevation": round(elevation, 3),
        "view:sun_azimuth": round(azimuth, 3),
        "view:off_nadir": 0,
    }


def _describe_flight(radar_pass: RadarPass) -> Json:
    return {
        "sar:instrument_mode": "IW",
        "sar:frequency_band": "C",
        "sar:center_frequency": 5.405,
        "sar:polarizations": ["VV", "VH"],
        "sar:product_type": "RTC",
        "sar:looks_equivalent_number": 4.4,
        "sar:observation_direction": "right",
        "sat:orbit_state": radar_pass.orbit_state,
        "view:incidence_angle": radar_pass.incidence_deg,
        "view:azimuth": radar_pass.look_azimuth_deg,
    }


def _write_band(path: Path, image: npt.NDArray[Any], grid: Grid, rows: int) -> Json:
    """Write one band, coarser than ``grid`` where it has fewer than ``rows`` rows; describe the file."""
    factor = rows // image.shape[0]
    placed = Grid(epsg=grid.epsg, transform=_coarsen(grid.transform, factor))
    nodata = float("nan") if image.dtype.kind == "f" else 0
    write_cog(path, image, placed, nodata=nodata, classes=path.stem == "scl")
    return {
        "href": f"./{path.name}",
        "type": _COG,
        "gsd": placed.transform.a,
        "proj:shape": list(image.shape),
        "proj:transform": list(placed.transform)[:6],
        **describe_file(path),
    }


def _coarsen(transform: Affine, factor: int) -> Affine:
    return Affine(transform.a * factor, 0, transform.c, 0, transform.e * factor, transform.f)


def _describe_optical(band: str) -> Json:
    if band == "scl":
        return {
            "title": "Scene classification, as Sentinel-2 numbers it",
            "roles": ["data", "quality"],
            "data_type": "uint8",
            "nodata": 0,
            "bands": [{"name": "scl"}],
            "classification:classes": [
                {"value": value, "name": name.replace(" ", "_"), "description": name.capitalize()}
                for value, name in enumerate(SCL_NAMES)
            ],
        }
    return {
        "title": f"Surface reflectance, {band}",
        "roles": ["data", "reflectance"],
        "data_type": "uint16",
        "nodata": 0,
        "raster:scale": 1 / SCALE_DN,
        "raster:offset": -OFFSET_DN / SCALE_DN,
        "unit": "1",
        "bands": [OPTICAL_BANDS[band]],
    }


def _describe_radar(band: str) -> Json:
    return {
        "title": f"Gamma nought {band.upper()}, dB",
        "roles": ["data"],
        "data_type": "float32",
        "nodata": "nan",
        "unit": "dB",
        "bands": [{"name": band}],
        "sar:polarizations": [band.upper()],
    }


def _write_thumbnail(home: Path, picture: npt.NDArray[np.uint8]) -> Json:
    path = home / "thumbnail.png"
    write_picture(path, picture)
    return {
        "href": "./thumbnail.png",
        "type": "image/png",
        "title": "Preview",
        "roles": ["thumbnail"],
        **describe_file(path),
    }


def _paint_optical(bands: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.uint8]:
    stack = np.dstack([bands[name] for name in ("red", "green", "blue")]).astype(np.float32)
    share = np.clip((stack - OFFSET_DN - 50) / 2300, 0, 1)
    return (255 * share**0.85).astype(np.uint8)


def _paint_radar(bands: Mapping[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.uint8]:
    vv, vh = np.clip((bands["vv"] + 22) / 22, 0, 1), np.clip((bands["vh"] + 28) / 22, 0, 1)
    ratio = np.clip((bands["vv"] - bands["vh"]) / 14, 0, 1)
    return (255 * np.dstack([vv, vh, ratio])).astype(np.uint8)
