"""Render optical scenes of the town: surface reflectance in five bands and a scene classification."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import shapely
from rasterio import features as rio_features

from catalog.sample.clouds import Sky, Weather, draw_weather
from catalog.sample.cover import WATER, Cover
from catalog.sample.frame import FINE, ByteArray, FloatArray
from catalog.sample.noise import blur
from catalog.sample.ships import Ship
from catalog.sample.spectra import BANDS, Palette, mix_palette
from catalog.sample.sun import cast_shadows, find_sun, light_slopes
from catalog.sample.surface import Surface, crop_pad, shrink

OFFSET_DN = 1000
SCALE_DN = 10000
"""stored number = reflectance × SCALE_DN + OFFSET_DN; 0 is nodata."""

_DIFFUSE = (0.30, 0.22, 0.17, 0.10, 0.06)
_SHADE = (0.52, 0.60, 0.66, 0.78, 0.84)
_HAZE = (1.00, 0.66, 0.44, 0.17, 0.04)
_CIRRUS = (1.00, 0.98, 0.96, 0.92, 0.45)
_CLOUD = (1.02, 1.00, 0.99, 1.02, 0.66)
_DEEP = (0.036, 0.028, 0.013, 0.005, 0.002)
_TURBID = (0.060, 0.084, 0.064, 0.020, 0.004)
_RIVER = (0.046, 0.064, 0.050, 0.030, 0.012)
_LAKE = (0.030, 0.040, 0.021, 0.009, 0.003)


@dataclass(frozen=True, kw_only=True)
class OpticalScene:
    """Hold one rendered scene."""

    bands: dict[str, npt.NDArray[np.uint16]]
    """Band name → ``(y, x)`` stored numbers; ``swir16`` has half the rows and columns."""
    classes: ByteArray
    """``(y, x)`` scene classification 0..11 at half the rows and columns, as Sentinel-2 numbers it."""
    weather: Weather
    """The sky, cropped to the scene; truth for tests."""
    sun_deg: tuple[float, float]
    """Elevation and azimuth of the sun."""


def render_optical(
    surface: Surface, moment: dt.datetime, sky: Sky, ships: tuple[Ship, ...], *, key: int
) -> OpticalScene:
    """Render the town as an optical scene.

    Args:
        surface: The town on its canvas.
        moment: When; sets season and sun.
        sky: Weather.
        ships: Ships at that moment.
        key: Number that makes this scene's randomness its own.
    """
    frame = surface.town.frame
    rng = np.random.default_rng([surface.town.seed, 40, key])
    corner = frame.to_lonlat(np.array([[frame.extent_m / 2, frame.extent_m / 2]]))[0]
    sun = find_sun(moment, float(corner[0]), float(corner[1]))
    palette = mix_palette(surface.town, moment.timetuple().tm_yday)
    weather = draw_weather(rng, _scene_shape(surface), sky, sun_deg=sun, gsd_m=frame.gsd_m)
    ground = _light_ground(surface, palette, sun)
    hulls = _mask_ships(surface, ships)
    water = _stir_water(surface)
    stack = []
    for number, _ in enumerate(BANDS):
        band = _colour_band(surface, palette, ground, number)
        _pour_water(band, water, number)
        band += hulls * (np.float32(0.28) - band) if number < 4 else hulls * np.float32(0.1)
        seen = _see_through(shrink(blur(band, 0.85)), weather, number)
        seen += rng.standard_normal(seen.shape, dtype=np.float32) * (0.0011 + 0.006 * seen)
        stack.append(np.maximum(crop_pad(seen), np.float32(2e-4)))
    cropped = Weather(**{name: crop_pad(value) for name, value in vars(weather).items()})
    bands = {name: to_stored(band) for name, band in zip(BANDS[:4], stack, strict=False)}
    bands["swir16"] = to_stored(shrink(stack[4], 2))
    classes = _classify(surface, stack, cropped)
    return OpticalScene(bands=bands, classes=classes, weather=cropped, sun_deg=sun)


def to_stored(reflectance: FloatArray) -> npt.NDArray[np.uint16]:
    """Convert reflectance to stored numbers."""
    return np.asarray(np.clip(np.rint(reflectance * SCALE_DN) + OFFSET_DN, 1, 13000), np.uint16)


def _scene_shape(surface: Surface) -> tuple[int, int]:
    rows, columns = surface.cover.shape
    return rows // FINE, columns // FINE


@dataclass(frozen=True, kw_only=True)
class _Ground:
    green: FloatArray
    bright: FloatArray
    light: FloatArray
    shadow: FloatArray


def _light_ground(surface: Surface, palette: Palette, sun_deg: tuple[float, float]) -> _Ground:
    """Work out what all bands share: canopy share, brightness, light and shadow."""
    frame, owner = surface.town.frame, surface.owner
    elevation, azimuth = sun_deg
    uneven = palette.uneven[owner]
    green = palette.green[owner] + uneven * (0.75 * surface.fine + 0.65 * surface.patch)
    field = surface.is_cover(Cover.FIELD, Cover.MEADOW)
    # growth follows the soil; headlands are trampled, margins are grassy
    green += field * (
        0.07 * surface.broad * palette.green[owner] - 0.16 * (surface.border_px < 3) * (green > 0.3)
    )
    green += field * np.float32(0.14) * (surface.border_px < 1.5)
    np.clip(green, 0, 1, out=green)
    bright = (
        1 + palette.rough[owner] * (surface.fine + 0.35 * surface.patch) + palette.rows[owner] * surface.rows
    )
    bright *= 1 + np.where(
        field, (1 - green) * 0.10 * surface.broad + 0.035 * surface.patch, 0.04 * surface.patch
    )
    shadow = cast_shadows(surface.height_m, cell_m=frame.fine_m, elevation_deg=elevation, azimuth_deg=azimuth)
    # the relief is smooth: lighting it on whole pixels is enough
    smooth = shrink(blur(surface.ground_m, 3.0))
    light = light_slopes(smooth, cell_m=frame.gsd_m, elevation_deg=elevation, azimuth_deg=azimuth)
    light = np.asarray(cv2.resize(light, owner.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
    return _Ground(
        green=green.astype(np.float32),
        bright=np.clip(bright, 0.35, 2.2).astype(np.float32),
        light=light,
        shadow=shadow,
    )


def _colour_band(surface: Surface, palette: Palette, ground: _Ground, number: int) -> FloatArray:
    owner = surface.owner
    below = palette.ground[:, number][owner]
    band = below + (palette.canopy[:, number][owner] - below) * ground.green
    diffuse = np.float32(_DIFFUSE[number])
    band *= ground.bright * (diffuse + (1 - diffuse) * ground.light * (1 - ground.shadow))
    return np.asarray(band, np.float32)


@dataclass(frozen=True, kw_only=True)
class _Water:
    """Hold what all bands share of the water; the arrays run over the wet sub-pixels only."""

    where: npt.NDArray[np.intp]
    """Flat index of each wet sub-pixel."""
    kind: npt.NDArray[np.intp]
    """0 sea, 1 river, 2 lake."""
    turbid: FloatArray
    """Share of turbid water in the sea, in [0, 1]."""
    wave: FloatArray
    """Relative brightness, about 1."""
    foam: FloatArray
    """Share of surf, in [0, 1]."""


def _stir_water(surface: Surface) -> _Water:
    """Mix the water: clear far out, turbid by the shore and off the river's mouth, surf on beaches."""
    fine_m = np.float32(surface.town.frame.fine_m)
    where = np.flatnonzero(surface.is_cover(*WATER))
    dry_river = (~surface.is_cover(Cover.RIVER)).astype(np.uint8)
    dry_beach = (~surface.is_cover(Cover.BEACH)).astype(np.uint8)
    river_m, beach_m = (
        (cv2.distanceTransform(mask, cv2.DIST_L2, 5) * fine_m).ravel()[where]
        for mask in (dry_river, dry_beach)
    )
    shore, broad, patch, fine = (
        array.ravel()[where] for array in (surface.shore_m, surface.broad, surface.patch, surface.fine)
    )
    swirl = np.exp(0.3 * broad + 0.12 * patch)
    turbid = 0.75 * np.exp(-shore / (190 * swirl)) + 0.8 * np.exp(-river_m / (650 * swirl)) + 0.05 * broad
    surf = (beach_m < 26) & (beach_m > 5) & (patch + 0.5 * fine > 0.1)
    kind = np.select([surface.cover.ravel()[where] == c for c in WATER], range(len(WATER)))
    return _Water(
        where=where,
        kind=kind,
        turbid=np.where(kind == 0, np.clip(turbid, 0, 1), 0).astype(np.float32),
        wave=(1 + 0.035 * fine + 0.02 * patch + 0.03 * broad).astype(np.float32),
        foam=(surf & (kind == 0)).astype(np.float32),
    )


def _pour_water(band: FloatArray, water: _Water, number: int) -> None:
    """Paint the water of one band in place."""
    calm = np.array([_DEEP[number], _RIVER[number], _LAKE[number]], np.float32)[water.kind]
    wet = (calm + (np.float32(_TURBID[number]) - calm) * water.turbid) * water.wave
    wet += water.foam * np.float32(max(0.09 - 0.018 * number, 0))
    band.ravel()[water.where] = wet


def _mask_ships(surface: Surface, ships: tuple[Ship, ...]) -> FloatArray:
    """Rasterise hulls and wakes; hulls count 1, wakes less."""
    shapes = [(s.wake, 0.16) for s in ships if not s.wake.is_empty] + [(s.hull, s.bright) for s in ships]
    canvas = surface.town.frame.canvas_transform
    shapes = [(shape, value) for shape, value in shapes if not shapely.is_empty(shape)]
    if not shapes:
        return np.zeros(surface.cover.shape, np.float32)
    mask = rio_features.rasterize(shapes, out_shape=surface.cover.shape, transform=canvas, dtype="float32")
    return np.asarray(mask * surface.is_cover(*WATER), np.float32)


def _see_through(band: FloatArray, weather: Weather, number: int) -> FloatArray:
    """Look at a band through shadow of clouds, haze, cirrus and clouds."""
    dim = band * (1 - np.float32(_SHADE[number]) * weather.shade)
    haze = weather.haze * np.float32(_HAZE[number])
    dim = dim * (1 - 1.6 * haze) + haze + weather.cirrus * np.float32(_CIRRUS[number])
    top = weather.bright * np.float32(_CLOUD[number])
    return np.asarray(dim + (top - dim) * weather.opacity, np.float32)


def _classify(surface: Surface, stack: list[FloatArray], weather: Weather) -> ByteArray:
    """Classify as Sentinel-2's processor numbers its classes, on half the rows and columns."""
    red, nir = shrink(stack[2], 2), shrink(stack[3], 2)
    opacity, shade = shrink(weather.opacity, 2), shrink(weather.shade, 2)
    cirrus = shrink(weather.cirrus, 2)
    wet = shrink(crop_pad(shrink(surface.is_cover(*WATER).astype(np.float32))), 2) > 0.5
    index = (nir - red) / (nir + red + 1e-4)
    classes = np.where(index > 0.38, 4, 5)
    classes = np.where((nir < 0.075) & (index < 0.38), 2, classes)
    classes = np.where(wet, 6, classes)
    classes = np.where((shade > 0.42) & (opacity < 0.2), 3, classes)
    classes = np.where(cirrus > 0.018, 10, classes)
    classes = np.where(opacity > 0.16, 7, classes)
    classes = np.where(opacity > 0.34, 8, classes)
    classes = np.where(opacity > 0.72, 9, classes)
    return classes.astype(np.uint8)
