"""Put ships at their berths and on the roads of a date."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry import LineString, Polygon
from shapely.geometry.base import BaseGeometry

from catalog.sample.cover import Cover
from catalog.sample.town import Town


@dataclass(frozen=True, kw_only=True)
class Ship:
    """Hold one ship in local metres."""

    hull: Polygon
    wake: BaseGeometry
    """Foam behind it; empty for a ship at its berth."""
    bright: float
    """Share of a white deck, in [0, 1]."""


def place_ships(town: Town, key: int) -> tuple[Ship, ...]:
    """Place the ships of one date."""
    rng = np.random.default_rng([town.seed, 50, key])
    ships = []
    for line in town.berths:
        at = rng.uniform(0, 0.25) * line.length
        while at < line.length:
            length = float(rng.choice([70.0, 95.0, 130.0, 170.0]))
            if at + length > line.length:
                break
            if rng.random() < 0.62:
                start, end = (np.array(line.interpolate(at + d).coords[0]) for d in (0.0, length))
                ships.append(_build_ship(rng, (start + end) / 2, end - start, length, moving=False))
            at += length + rng.uniform(15, 70)
    sea = shapely.union_all([f.geometry for f in town.features if f.cover is Cover.SEA]).buffer(-140)
    x0, y0, x1, y1 = sea.bounds if not sea.is_empty else (0, 0, 0, 0)
    for _ in range(int(rng.integers(4, 9))):
        spot = rng.uniform([x0, y0], [x1, y1])
        length = float(rng.uniform(40, 210))
        angle = rng.uniform(0, 2 * np.pi)
        ship = _build_ship(
            rng, spot, np.array([np.cos(angle), np.sin(angle)]), length, moving=bool(rng.random() < 0.6)
        )
        if sea.contains(ship.hull):
            ships.append(ship)
    return tuple(ships)


def _build_ship(
    rng: np.random.Generator, spot: np.ndarray, ahead: np.ndarray, length_m: float, *, moving: bool
) -> Ship:
    u = ahead / max(float(np.hypot(*ahead)), 1e-6)
    v = np.array([-u[1], u[0]])
    beam = max(length_m * rng.uniform(0.14, 0.18), 9.0)
    outline = [(-0.5, -0.5), (0.32, -0.5), (0.5, 0.0), (0.32, 0.5), (-0.5, 0.5)]
    hull = Polygon([spot + u * a * length_m + v * b * beam for a, b in outline])
    wake: BaseGeometry = Polygon()
    if moving:
        trail = LineString([spot - u * 0.5 * length_m, spot - u * length_m * rng.uniform(2, 5)])
        wake = trail.buffer(max(beam * 0.35, 5.0), cap_style="flat")
    return Ship(hull=hull, wake=wake, bright=float(rng.uniform(0.55, 1.0)))
