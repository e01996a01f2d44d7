"""Write the sample world: scenes as COGs in a static STAC catalogue, the map, the truth."""

from __future__ import annotations

import fcntl
import json
import logging
import math
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from catalog.sample.files import Grid, write_cog
from catalog.sample.frame import Frame, place_frame
from catalog.sample.osm import write_osm
from catalog.sample.scenes import publish_optical, publish_radar
from catalog.sample.schedule import plan_optical, plan_radar
from catalog.sample.stac import Json, build_catalog, build_collection, outline, write_json
from catalog.sample.surface import draw_surface, map_truth
from catalog.sample.town import build_town
from infra.digests import sha256_of_json
from infra.errors import InputError

logger = logging.getLogger(__name__)

GENERATOR_VERSION = 2
"""Raised whenever the same configuration would give other bytes."""
COLLECTIONS = ("sample-optical", "sample-radar")
_STAMP = "sample-world.json"
_LOCK = ".sample-world.lock"
_DRAFT = ".sample-draft-"
_ENTRIES = (*COLLECTIONS, "town.osm", "truth.tif", "catalog.json", _STAMP)
"""All that is ever written or replaced, the stamp last."""


@dataclass(frozen=True, kw_only=True)
class SampleWorldConfig:
    """Say which world to draw."""

    seed: int = 7
    size_px: int = 1024
    """Width and height of the world, pixels; a multiple of 32, at least 128."""
    gsd_m: float = 10.0
    optical_dates: int = 4
    radar_dates: int = 2
    origin_lonlat: tuple[float, float] = (2.30, 54.75)
    """Upper left corner, degrees: on Dogger Bank, in open sea, so that it is taken for no real town."""


@dataclass(frozen=True)
class SampleWorld:
    """Say where a written world lies."""

    catalog: Path
    """Root of the static catalogue."""
    osm: Path
    """Map of the town, OpenStreetMap XML."""
    bbox: tuple[float, float, float, float]
    """West, south, east, north of an area that every date covers, degrees."""
    datetime: str
    """Interval that covers every scene."""
    collections: tuple[str, ...]
    truth: Path
    """GeoTIFF: class, height above ground (m), ground height (m), building share."""


def write_sample_world(folder: Path, config: SampleWorldConfig = SampleWorldConfig()) -> SampleWorld:
    """Draw and write the world, unless the folder already holds it.

    Args:
        folder: Where to put it; other files in it are left alone.
        config: Which world.

    Returns:
        Where everything lies.

    Raises:
        InputError: the configuration makes no sense.
    """
    _check(config)
    folder = Path(folder)
    digest = sha256_of_json({"config": asdict(config), "generator": GENERATOR_VERSION})
    frame = place_frame(config.origin_lonlat, size_px=config.size_px, gsd_m=config.gsd_m)
    if not _holds(folder, digest):
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # whoever held the lock before may have written this very world
            if not _holds(folder, digest):
                _rewrite(folder, frame, config, digest)
    return _describe(folder, frame, config)


def _rewrite(folder: Path, frame: Frame, config: SampleWorldConfig, digest: str) -> None:
    """Draw into a draft folder, then move everything in; drafts of killed runs are swept."""
    for stale in folder.glob(f"{_DRAFT}*"):
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_DRAFT, dir=folder) as name:
        draft = Path(name)
        _write_all(draft, frame, config)
        stamp = {"config": asdict(config), "generator": GENERATOR_VERSION, "digest": digest}
        write_json(draft / _STAMP, stamp)
        _move_in(draft, folder)
    logger.info("Wrote the sample world %s to %s.", digest[:12], folder)


def _check(config: SampleWorldConfig) -> None:
    if config.size_px < 128 or config.size_px % 32:
        raise InputError(f"size_px is {config.size_px}; expected a multiple of 32, at least 128.")
    if not 5 <= config.gsd_m <= 30:
        raise InputError(f"gsd_m is {config.gsd_m}; expected 5..30 metres, what the renderers are made for.")
    if config.optical_dates < 0 or config.radar_dates < 0 or config.optical_dates + config.radar_dates < 1:
        raise InputError(
            "optical_dates and radar_dates must not be negative, and at least one scene is needed."
        )
    if not (math.isfinite(config.origin_lonlat[0]) and abs(config.origin_lonlat[1]) < 80):
        raise InputError(
            f"origin_lonlat is {config.origin_lonlat}; expected degrees within 80° of the equator."
        )


def _holds(folder: Path, digest: str) -> bool:
    """Tell whether the folder holds this very world, complete."""
    stamp = folder / _STAMP
    try:
        return bool(json.loads(stamp.read_text(encoding="utf-8"))["digest"] == digest)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _write_all(folder: Path, frame: Frame, config: SampleWorldConfig) -> None:
    town = build_town(config.seed, frame)
    write_osm(town, folder / "town.osm")
    surface = draw_surface(town)
    grid = Grid(epsg=frame.epsg, transform=frame.transform)
    write_cog(folder / "truth.tif", map_truth(surface), grid, nodata=None, classes=True)
    made: dict[str, list[Json]] = {name: [] for name in COLLECTIONS}
    for key, date in enumerate(plan_optical(config.optical_dates)):
        made["sample-optical"] += publish_optical(folder / "sample-optical", surface, date, key=key)
    for key, radar_pass in enumerate(plan_radar(config.seed, config.radar_dates)):
        made["sample-radar"].append(publish_radar(folder / "sample-radar", surface, radar_pass, key=key))
    names = [name for name in COLLECTIONS if made[name]]
    for name in names:
        write_json(folder / name / "collection.json", build_collection(frame, name, made[name]))
    write_json(folder / "catalog.json", build_catalog(names))


def _move_in(draft: Path, folder: Path) -> None:
    """Replace the old world: its stamp goes first, the new stamp comes last."""
    (folder / _STAMP).unlink(missing_ok=True)
    for name in _ENTRIES:
        old, new = folder / name, draft / name
        if old.is_dir():
            shutil.rmtree(old)
        if new.exists():
            os.replace(new, old)  # noqa: PTH105  # Path.replace would do the same; this says that it is atomic


def _describe(folder: Path, frame: Frame, config: SampleWorldConfig) -> SampleWorld:
    inset, side = 0.02 * frame.extent_m, frame.extent_m
    ring, _ = outline(frame, (inset, inset, side - inset, side - inset))
    corners = np.array(ring[:4])
    lon, lat = np.sort(corners[:, 0]), np.sort(corners[:, 1])
    moments = [date.moment for date in plan_optical(config.optical_dates)]
    moments += [radar_pass.moment for radar_pass in plan_radar(config.seed, config.radar_dates)]
    first, last = min(moments).date(), max(moments).date()
    return SampleWorld(
        catalog=folder / "catalog.json",
        osm=folder / "town.osm",
        bbox=(float(lon[1]), float(lat[1]), float(lon[2]), float(lat[2])),
        datetime=f"{first.isoformat()}T00:00:00Z/{last.isoformat()}T23:59:59Z",
        collections=tuple(
            name
            for name, count in zip(COLLECTIONS, (config.optical_dates, config.radar_dates), strict=True)
            if count
        ),
        truth=folder / "truth.tif",
    )


__all__ = ["SampleWorld", "SampleWorldConfig", "write_sample_world"]
