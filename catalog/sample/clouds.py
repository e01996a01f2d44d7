"""Draw clouds with soft edges, their shadows where the sun puts them, and haze."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from catalog.sample.frame import FloatArray
from catalog.sample.noise import blur, draw_noise, shift, smooth_step


@dataclass(frozen=True, kw_only=True)
class Sky:
    """Say what the weather was like."""

    cloud_share: float = 0.0
    """Share of the scene under clouds, in [0, 1]."""
    haze: float = 0.0
    """Reflectance that haze adds to the blue band, on average."""
    cirrus: float = 0.0
    """Peak reflectance of thin high cloud."""


@dataclass(frozen=True, kw_only=True)
class Weather:
    """Hold the sky over the canvas at scene resolution; every array is ``(y, x)`` float32."""

    opacity: FloatArray
    """Opacity of clouds in [0, 1]."""
    bright: FloatArray
    """Reflectance of the cloud tops."""
    shade: FloatArray
    """Share of direct light that clouds take away, in [0, 1]."""
    haze: FloatArray
    """Path reflectance added to the blue band."""
    cirrus: FloatArray
    """Reflectance of thin high cloud."""


def draw_weather(
    rng: np.random.Generator,
    shape_yx: tuple[int, int],
    sky: Sky,
    *,
    sun_deg: tuple[float, float],
    gsd_m: float,
) -> Weather:
    """Draw one sky.

    Args:
        rng: Source of randomness.
        shape_yx: Rows and columns.
        sky: How much of what.
        sun_deg: Elevation and azimuth of the sun.
        gsd_m: Pixel size, metres.
    """
    side = min(shape_yx)
    zero = np.zeros(shape_yx, np.float32)
    broad = draw_noise(rng, shape_yx, cell_px=side / 2.6, octaves=3)
    haze = np.float32(sky.haze) * np.clip(1 + 0.35 * broad, 0.2, 2.2)
    veil = draw_noise(rng, shape_yx, cell_px=side / 3.5, octaves=5, persistence=0.6)
    cirrus = np.float32(sky.cirrus) * smooth_step(veil, 0.3, 2.2) if sky.cirrus else zero
    opacity, bright, shade = zero, zero, zero
    if sky.cloud_share:
        opacity, bright, shade = _draw_clouds(rng, shape_yx, sky.cloud_share, sun_deg=sun_deg, gsd_m=gsd_m)
    return Weather(opacity=opacity, bright=bright, shade=shade, haze=haze.astype(np.float32), cirrus=cirrus)


def _draw_clouds(
    rng: np.random.Generator,
    shape_yx: tuple[int, int],
    share: float,
    *,
    sun_deg: tuple[float, float],
    gsd_m: float,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Draw cumulus: opacity, brightness of the tops, shade on the ground where the sun throws it."""
    side = min(shape_yx)
    elevation, azimuth = (np.deg2rad(value) for value in sun_deg)
    reach = float(rng.uniform(800, 1500)) / np.tan(elevation) / gsd_m
    # clouds beyond the edge throw shadows into the scene, so they are drawn too
    extra = int(np.ceil(reach)) + 8
    inner = np.s_[extra:-extra, extra:-extra]
    wide = (shape_yx[0] + 2 * extra, shape_yx[1] + 2 * extra)
    lumps = 0.72 * draw_noise(rng, wide, cell_px=min(1500.0 / gsd_m, side / 2), octaves=7, persistence=0.6)
    lumps += 0.4 * draw_noise(rng, wide, cell_px=side / 2.2, octaves=2)
    edge = float(np.quantile(lumps[inner], 1 - share))
    opacity = smooth_step(lumps, edge - 0.14, edge + 0.22)
    thick = smooth_step(lumps, edge, edge + 1.3)
    billow = draw_noise(rng, wide, cell_px=22, octaves=4, persistence=0.6)
    # tops turned to the sun are brighter: light the cloud field like a relief
    down, right = np.gradient(blur(lumps, 2.0))
    relief = -right * np.sin(azimuth) + down * np.cos(azimuth)
    bright = np.clip(0.33 + 0.42 * thick + 0.03 * billow + np.clip(1.1 * relief, -0.09, 0.1), 0.2, 0.95)
    shade = blur(shift(opacity, -np.sin(azimuth) * reach, np.cos(azimuth) * reach), 1.6)
    opacity, bright, shade = (np.ascontiguousarray(a[inner], np.float32) for a in (opacity, bright, shade))
    return opacity, bright, shade
