"""Render radar scenes of the town: gamma nought in VV and VH, speckled, and known to be off by a little."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from rasterio import features as rio_features

from catalog.sample.cover import BUILT, TREES, WATER, Cover
from catalog.sample.crops import grow_crops, open_leaves
from catalog.sample.frame import FINE, PAD_PX, FloatArray
from catalog.sample.noise import blur, draw_noise, shift
from catalog.sample.ships import Ship
from catalog.sample.sun import cast_shadows
from catalog.sample.surface import Surface, crop_pad, shrink

SixNumbers = tuple[float, float, float, float, float, float]

POLARISATIONS = ("vv", "vh")
_LOOK_WEIGHTS = np.array([0.29, 0.26, 0.21, 0.14, 0.10])  # 1 / sum of squares = 4.4 looks
_FLOOR = (10**-2.55, 10**-2.95)

_BACKSCATTER_DB = {
    Cover.SEA: (-19.0, -27.5),
    Cover.RIVER: (-21.0, -28.0),
    Cover.LAKE: (-21.5, -28.5),
    Cover.BEACH: (-16.5, -24.0),
    Cover.MEADOW: (-12.3, -19.0),
    Cover.ORCHARD: (-9.8, -15.8),
    Cover.WOOD_BROAD: (-8.4, -13.8),
    Cover.WOOD_NEEDLE: (-9.3, -14.8),
    Cover.SCRUB: (-10.8, -17.0),
    Cover.PARK: (-11.5, -17.8),
    Cover.GARDEN: (-8.6, -15.2),
    Cover.CENTRE: (-8.0, -15.5),
    Cover.INDUSTRIAL: (-10.5, -18.0),
    Cover.QUAY: (-12.5, -20.5),
    Cover.BARE: (-13.5, -21.5),
    Cover.TRACK: (-13.5, -20.5),
    Cover.ROAD: (-16.5, -23.0),
    Cover.RAIL: (-9.5, -17.5),
    Cover.BUILDING: (-7.0, -14.5),
    Cover.TANK: (-5.0, -13.5),
    Cover.MOLE: (-8.0, -16.0),
    Cover.SOLAR: (-8.5, -17.0),
}


@dataclass(frozen=True, kw_only=True)
class RadarPass:
    """Say how the radar flew by, and how far off its geolocation is."""

    moment: dt.datetime
    orbit_state: str
    """``ascending`` or ``descending``."""
    look_azimuth_deg: float
    """Direction in which the radar looks, clockwise from north."""
    incidence_deg: float
    true_shift_px: tuple[float, float]
    """How far right and down of its true place the content lies, at the centre, pixels."""
    turn_deg: float = 0.0
    """How far the content is turned about the centre, clockwise on the screen."""
    stretch: float = 1.0
    """How much the content is enlarged about the centre."""


@dataclass(frozen=True, kw_only=True)
class RadarScene:
    """Hold one rendered pass."""

    bands: dict[str, FloatArray]
    """``vv`` and ``vh``: ``(y, x)`` float32 gamma nought, dB."""
    true_affine_px: SixNumbers
    """``(a, b, c, d, e, f)``: what belongs at column x and row y is seen at column a·x + b·y + c, row
    d·x + e·y + f."""


def render_radar(
    surface: Surface, radar_pass: RadarPass, ships: tuple[Ship, ...], *, key: int, speckle: bool = True
) -> RadarScene:
    """Render the town as a radar scene.

    Args:
        surface: The town on its canvas.
        radar_pass: Flight and misregistration.
        ships: Ships at that moment.
        key: Number that makes this scene's randomness its own.
        speckle: False for the expectation without speckle.
    """
    rng = np.random.default_rng([surface.town.seed, 60, key])
    look = np.deg2rad(radar_pass.look_azimuth_deg)
    ahead = (float(np.sin(look)), float(-np.cos(look)))  # columns, rows: away from the radar
    size = surface.town.frame.size_px
    affine = place_off(radar_pass, size)
    tables = _mix_tables(surface, radar_pass)
    facades = _find_facades(surface, ahead, rng)
    metal = _mask_hulls(surface, ships)
    wind = draw_noise(rng, surface.cover.shape, cell_px=140, octaves=3)
    bands = {}
    for number, name in enumerate(POLARISATIONS):
        power = _scatter(surface, tables[number], wind)
        power = _lay_over(surface, power, radar_pass, ahead)
        power += facades * np.float32((1.0, 0.13)[number]) + metal * np.float32((9.0, 0.9)[number])
        power = crop_pad(shrink(_displace(blur(power, 1.5), affine)))
        power = power + np.float32(_FLOOR[number])
        if speckle:
            power *= draw_speckle(rng, power.shape)
        decibels = 10 * np.log10(np.maximum(power, 1e-5))
        # steps of 1/64 dB lose nothing beside speckle and halve the file
        bands[name] = (np.rint(decibels * 64) / 64).astype(np.float32)
    return RadarScene(bands=bands, true_affine_px=affine)


def place_off(radar_pass: RadarPass, size_px: int) -> SixNumbers:
    """Return the affine from true pixel position to the position where the radar shows it."""
    turn, middle = np.deg2rad(radar_pass.turn_deg), size_px / 2
    cos, sin = radar_pass.stretch * np.cos(turn), radar_pass.stretch * np.sin(turn)
    dx, dy = radar_pass.true_shift_px
    c, f = middle + dx - cos * middle + sin * middle, middle + dy - sin * middle - cos * middle
    return float(cos), float(-sin), float(c), float(sin), float(cos), float(f)


def draw_speckle(rng: np.random.Generator, shape_yx: tuple[int, ...]) -> FloatArray:
    """Draw multiplicative speckle of mean 1: about 4.4 looks, a little correlated between neighbours."""
    total = np.zeros(shape_yx, np.float32)
    for weight in _LOOK_WEIGHTS:
        parts = [blur(rng.standard_normal(shape_yx, dtype=np.float32), 0.85) for _ in range(2)]
        power = parts[0] ** 2 + parts[1] ** 2
        total += np.float32(weight / power.mean(dtype=np.float64)) * power
    return total


def _mix_tables(surface: Surface, radar_pass: RadarPass) -> tuple[FloatArray, FloatArray]:
    """Return mean backscatter per feature for both polarisations, linear power."""
    town = surface.town
    rng = np.random.default_rng([town.seed, 31])
    day = radar_pass.moment.timetuple().tm_yday
    cover = np.array([int(f.cover) for f in town.features])
    style = np.array([f.style for f in town.features])
    decibels = np.tile([-12.0, -19.0], (len(cover), 1))
    for kind, pair in _BACKSCATTER_DB.items():
        decibels[cover == kind] = pair
    own = rng.normal(0, 1, len(cover))
    spread = np.where(cover == Cover.BUILDING, 2.5, 0.5)
    field = cover == Cover.FIELD
    leaf, dry, _ = grow_crops(style[field], rng.normal(0, 8, len(cover))[field], day)
    broad_leaf = np.isin(style[field], [2, 3, 4, 5])
    # upright cereals attenuate VV; broad leaves fill the volume; bare soil varies with its roughness
    volume = leaf * np.where(broad_leaf, 3.6, -1.8)
    decibels[field, 0] = -11.8 + volume + 2.6 * own[field] * (1 - 0.6 * leaf) - 0.8 * dry
    decibels[field, 1] = -19.8 + leaf * np.where(broad_leaf, 5.0, 1.2) + 1.9 * own[field] * (1 - 0.55 * leaf)
    decibels += (own * spread)[:, None] * ~field[:, None]
    decibels[cover == Cover.WOOD_BROAD] += (0.5 * open_leaves(day)[0] - 0.5) * np.array([-1.0, 1.0])
    power = 10 ** (decibels / 10)
    return power[:, 0].astype(np.float32), power[:, 1].astype(np.float32)


def _scatter(surface: Surface, table: FloatArray, wind: FloatArray) -> FloatArray:
    """Spread the table over the canvas with texture; wind roughens open water."""
    wet = surface.is_cover(*WATER)
    open_water = 1 - np.exp(-surface.shore_m / 500)
    grain = np.where(wet, 0.15 * wind * open_water + 0.09 * (open_water - 1), 0.09 * surface.patch)
    trees = surface.is_cover(*TREES, Cover.GARDEN, Cover.CENTRE)
    grain += trees * 0.11 * surface.fine
    return table[surface.owner] * np.exp(2.3 * grain).astype(np.float32)


def _lay_over(
    surface: Surface, power: FloatArray, radar_pass: RadarPass, ahead: tuple[float, float]
) -> FloatArray:
    """Lean what stands towards the radar, darken what it hides, brighten slopes that face the radar."""
    frame, height = surface.town.frame, surface.height_m
    slant = np.tan(np.deg2rad(radar_pass.incidence_deg))
    smooth = blur(surface.ground_m, 3.0)
    down, right = np.gradient(smooth, frame.fine_m)
    rise = right * ahead[0] + down * ahead[1]  # > 0: the slope faces the radar
    power = power * np.clip(1 + 2.6 * rise, 0.35, 2.6).astype(np.float32)
    hidden = cast_shadows(
        height,
        cell_m=frame.fine_m,
        elevation_deg=90 - radar_pass.incidence_deg,
        azimuth_deg=(radar_pass.look_azimuth_deg + 180) % 360,
    )
    standing = height > 2.4
    leaned = np.where(standing, 0, power * (1 - 0.92 * hidden)).astype(np.float32)
    # tops lie nearer to the radar by height / tan(incidence): move them in steps of half a sub-pixel
    step_m = frame.fine_m * slant
    levels = np.rint(height / step_m).astype(np.int16)
    for level in range(int(levels[standing].max(initial=0)) + 1):
        mask = standing & (levels == level)
        if mask.any():
            leaned += shift(np.where(mask, power, 0).astype(np.float32), -ahead[0] * level, -ahead[1] * level)
    return leaned


def _find_facades(surface: Surface, ahead: tuple[float, float], rng: np.random.Generator) -> FloatArray:
    """Find walls that face the radar and let them send the echo back by way of the ground.

    Returns:
        ``(y, x)`` float32 extra power in VV. Walls square to the look direction shine, others hardly.
    """
    features = surface.town.features
    height = np.where(surface.is_cover(*BUILT), surface.height_m, 0).astype(np.float32)
    rise = np.maximum(height - shift(height, ahead[0], ahead[1]), 0)
    look = np.arctan2(-ahead[1], ahead[0])
    angle = np.array([f.angle_rad for f in features])
    off = np.abs((angle - look + np.pi / 4) % (np.pi / 2) - np.pi / 4)
    gain = 0.12 + 1.0 * np.exp(-((off / np.deg2rad(9)) ** 2))
    cover = np.array([int(f.cover) for f in features])
    gain[cover == Cover.TANK] = 1.1
    metal = np.array([f.style >= 4 for f in features]) & (cover == Cover.BUILDING)
    gain[metal] *= 2.5
    # a few corners happen to be perfect
    gain *= np.exp(rng.normal(-0.5, 1.1, len(gain)))
    gain[rng.random(len(gain)) < 0.012] += 6.0
    strength = np.clip(gain, 0, 16).astype(np.float32)[surface.owner]
    return np.asarray(strength * rise * np.float32(0.75), np.float32)


def _mask_hulls(surface: Surface, ships: tuple[Ship, ...]) -> FloatArray:
    if not ships:
        return np.zeros(surface.cover.shape, np.float32)
    return np.asarray(
        rio_features.rasterize(
            [(ship.hull, 1.0) for ship in ships],
            out_shape=surface.cover.shape,
            transform=surface.town.frame.canvas_transform,
            dtype="float32",
        ),
        np.float32,
    )


def _displace(image: FloatArray, affine: SixNumbers) -> FloatArray:
    """Move the content of the padded fine canvas by an affine given in scene pixels."""
    a, b, c, d, e, f = affine
    linear = np.array([[a, b], [d, e]])
    # canvas index i sits at scene position (i + 0.5) / FINE - PAD_PX
    to_scene = -PAD_PX + 0.5 / FINE
    origin = linear @ np.full(2, to_scene) + np.array([c, f])
    move = (origin - to_scene) * FINE
    matrix: npt.NDArray[np.float64] = np.column_stack([linear, move])
    size = (image.shape[1], image.shape[0])
    return np.asarray(
        cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), np.float32
    )
