"""Say where the sun stands, so that shadows of a date fall where they should."""

from __future__ import annotations

import datetime as dt

import numpy as np

from catalog.sample.frame import FloatArray
from catalog.sample.noise import shift


def find_sun(moment: dt.datetime, lon_deg: float, lat_deg: float) -> tuple[float, float]:
    """Return elevation and azimuth (clockwise from north) of the sun, degrees, to about half a degree."""
    day = moment.timetuple().tm_yday
    hours = moment.hour + moment.minute / 60 + moment.second / 3600
    turn = 2 * np.pi * (day - 81) / 364
    equation_min = 9.87 * np.sin(2 * turn) - 7.53 * np.cos(turn) - 1.5 * np.sin(turn)
    declination = np.deg2rad(23.45) * np.sin(turn)
    hour_angle = np.deg2rad(15 * (hours + lon_deg / 15 + equation_min / 60 - 12))
    lat = np.deg2rad(lat_deg)
    sine = np.sin(lat) * np.sin(declination) + np.cos(lat) * np.cos(declination) * np.cos(hour_angle)
    east = -np.cos(declination) * np.sin(hour_angle)
    north = np.cos(lat) * np.sin(declination) - np.sin(lat) * np.cos(declination) * np.cos(hour_angle)
    return float(np.rad2deg(np.arcsin(sine))), float(np.rad2deg(np.arctan2(east, north)) % 360)


def cast_shadows(
    height_m: FloatArray, *, cell_m: float, elevation_deg: float, azimuth_deg: float, highest_m: float = 34.0
) -> FloatArray:
    """Let everything that stands throw its shadow on level ground.

    Args:
        height_m: ``(y, x)`` height above the ground, metres.
        cell_m: Cell size, metres.
        elevation_deg: Height of the sun above the horizon.
        azimuth_deg: Where it stands, clockwise from north.
        highest_m: Nothing is taken to be higher than this.

    Returns:
        ``(y, x)`` float32 share of shade in [0, 1].
    """
    slope = np.tan(np.deg2rad(max(elevation_deg, 8.0)))
    azimuth = np.deg2rad(azimuth_deg)
    away = (-np.sin(azimuth), np.cos(azimuth))
    reach = int(np.ceil(highest_m / slope / cell_m))
    roof = np.zeros_like(height_m)
    for step in range(1, reach + 1):
        lowered = shift(height_m, away[0] * step, away[1] * step) - np.float32(step * cell_m * slope)
        np.maximum(roof, lowered, out=roof)
    return np.asarray(np.clip((roof - height_m) / np.float32(cell_m * slope), 0, 1), np.float32)


def light_slopes(
    ground_m: FloatArray, *, cell_m: float, elevation_deg: float, azimuth_deg: float
) -> FloatArray:
    """Return how much direct light slopes get, relative to level ground; about 1."""
    down, right = np.gradient(ground_m, cell_m)
    zenith, azimuth = np.deg2rad(90 - elevation_deg), np.deg2rad(azimuth_deg)
    facing = -right * np.sin(azimuth) + down * np.cos(azimuth)
    light = (np.cos(zenith) + np.sin(zenith) * facing) / np.sqrt(1 + down**2 + right**2) / np.cos(zenith)
    return np.asarray(np.clip(light, 0.3, 1.7), np.float32)
