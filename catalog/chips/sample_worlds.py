"""Chips of sample worlds, drawn when they are asked for: optical and radar of one place, on one grid."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from catalog.chips.records import Chip
from catalog.chips.windows import ChipWindow, plan_windows
from catalog.sample.clouds import Sky
from catalog.sample.frame import place_frame
from catalog.sample.optical import OFFSET_DN, SCALE_DN, render_optical
from catalog.sample.radar import RadarPass, render_radar
from catalog.sample.ships import place_ships
from catalog.sample.surface import draw_surface, map_truth
from catalog.sample.town import build_town
from infra.errors import InputError

WORLD_PX = 512
_FIRST_SEED = 61_000
"""Worlds of lower seeds are for tests, demos and evaluation; nothing learns from them."""
_GSD_M = 10.0
_ORIGIN_LONLAT = (2.30, 54.75)
_COLOURS = ("red", "green", "blue")
_FLIGHTS = (("descending", 282.5), ("ascending", 77.5))


class World(NamedTuple):
    """One world as two sensors see it, with the truth, all on one grid.

    Attributes:
        rgb: float32 (3, 512, 512), reflectance.
        sar: float32 (1, 512, 512), VV in decibels.
        cover: uint8 (512, 512), a ``catalog.sample.cover.Cover`` each.
    """

    rgb: NDArray[np.float32]
    sar: NDArray[np.float32]
    cover: NDArray[np.uint8]


@dataclass(frozen=True)
class SampleWorlds:
    """Chips of worlds that differ in town, season, weather and flight.

    Attributes:
        worlds: how many.
        size_px: side of a chip; ``WORLD_PX`` holds it at least once.
        name: of the source.
        sar_unit: of the chips.
    """

    worlds: int
    size_px: int = 256
    name: str = "sample-worlds"
    sar_unit: str = "dB"

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InputError: no world, or chips larger than one.
        """
        if self.worlds < 1 or not 32 <= self.size_px <= WORLD_PX:
            raise InputError(
                f"Chips of {self.size_px} px from {self.worlds} sample worlds; expected 32 to {WORLD_PX} px "
                "and one world or more."
            )

    def __len__(self) -> int:
        """Return how many chips there are."""
        return self.worlds * len(self._windows)

    @property
    def _windows(self) -> tuple[ChipWindow, ...]:
        return plan_windows((WORLD_PX, WORLD_PX), self.size_px)

    def read(self, index: int) -> Chip:
        """Draw a chip: reflectance, and VV in decibels. Chips of one world follow one another."""
        world, place = divmod(index, len(self._windows))
        rgb, sar, _ = draw_world(world)
        rows, columns = self._windows[place].slices
        return Chip(rgb[:, rows, columns].copy(), sar[:, rows, columns].copy())


@lru_cache(maxsize=1)
def draw_world(number: int) -> World:
    """Draw one world as a camera and as a radar sees it, the radar exactly where it should be.

    Args:
        number: which, 0 and up, as chips of ``SampleWorlds`` count them.
    """
    seed = _FIRST_SEED + number
    rng = np.random.default_rng([seed, 90])
    frame = place_frame(_ORIGIN_LONLAT, size_px=WORLD_PX, gsd_m=_GSD_M)
    surface = draw_surface(build_town(seed, frame))
    day = dt.datetime(2025, 3, 1, 10, 56, 31, tzinfo=dt.UTC) + dt.timedelta(days=int(rng.integers(240)))
    sky = Sky(haze=float(rng.uniform(0.002, 0.02)))
    optical = render_optical(surface, day, sky, place_ships(surface.town, 0), key=0)
    orbit, azimuth = _FLIGHTS[int(rng.integers(2))]
    flight = RadarPass(
        moment=day,
        orbit_state=orbit,
        look_azimuth_deg=azimuth,
        incidence_deg=float(rng.uniform(30, 45)),
        true_shift_px=(0.0, 0.0),
    )
    radar = render_radar(surface, flight, place_ships(surface.town, 1), key=0)
    stored = np.stack([optical.bands[name] for name in _COLOURS]).astype(np.float32)
    cover = map_truth(surface)[0].astype(np.uint8)
    return World((stored - np.float32(OFFSET_DN)) / np.float32(SCALE_DN), radar.bands["vv"][None], cover)
