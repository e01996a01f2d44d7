"""Say which scenes the sample world has: dates, weather, tiles, flights."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np

from catalog.sample.clouds import Sky
from catalog.sample.radar import RadarPass


@dataclass(frozen=True, kw_only=True)
class OpticalDate:
    """Plan one optical overflight."""

    moment: dt.datetime
    sky: Sky
    tiles: tuple[tuple[str, float, float], ...]
    """Name, left and right edge of each tile as shares of the width; tiles overlap."""


_WHOLE = (("t1", 0.0, 1.0),)
_PAIR = (("t1", 0.0, 0.5938), ("t2", 0.4062, 1.0))
_OPTICAL: tuple[tuple[tuple[int, int], Sky, tuple[tuple[str, float, float], ...]], ...] = (
    ((6, 18), Sky(haze=0.004), _PAIR),
    ((8, 9), Sky(cloud_share=0.45, haze=0.008), _PAIR),
    ((9, 18), Sky(haze=0.022, cirrus=0.02), _WHOLE),
    ((4, 21), Sky(cloud_share=0.05, haze=0.006), _WHOLE),
)
_RADAR = (((6, 17), (5, 52, 10), "descending", 282.5, 38.2), ((9, 17), (17, 24, 40), "ascending", 77.5, 36.4))


def plan_optical(count: int) -> tuple[OpticalDate, ...]:
    """Plan ``count`` optical dates: clear, cloudy, hazy, spring; then the next year."""
    dates = []
    for number in range(count):
        (month, day), sky, tiles = _OPTICAL[number % len(_OPTICAL)]
        moment = dt.datetime(2025 + number // len(_OPTICAL), month, day, 10, 56, 31, tzinfo=dt.UTC)
        dates.append(OpticalDate(moment=moment, sky=sky, tiles=tiles))
    return tuple(dates)


def plan_radar(seed: int, count: int) -> tuple[RadarPass, ...]:
    """Plan ``count`` radar passes, each with a misregistration of its own."""
    rng = np.random.default_rng([seed, 70])
    passes = []
    for number in range(count):
        (month, day), clock, orbit, azimuth, incidence = _RADAR[number % len(_RADAR)]
        size, angle = rng.uniform(2.2, 5.2), rng.uniform(0, 2 * np.pi)
        off = (round(float(size * np.cos(angle)), 2), round(float(size * np.sin(angle)), 2))
        passes.append(
            RadarPass(
                moment=dt.datetime(2025 + number // len(_RADAR), month, day, *clock, tzinfo=dt.UTC),
                orbit_state=orbit,
                look_azimuth_deg=azimuth,
                incidence_deg=incidence,
                true_shift_px=off,
                turn_deg=round(float(rng.uniform(-0.05, 0.05)), 4),
                stretch=round(1 + float(rng.uniform(-6e-4, 6e-4)), 6),
            )
        )
    return tuple(passes)
