"""Cut land into parcels: fields between lanes, blocks between streets, lots in a block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry import LineString, Polygon
from shapely.geometry.base import BaseGeometry
from shapely.ops import substring


@dataclass(frozen=True, kw_only=True)
class CutRule:
    """Say how land is cut."""

    target_m2: float
    """Parcels larger than about this are cut again."""
    max_aspect: float = 2.0
    """A parcel longer than this times its width is always cut across."""
    jitter: float = 0.15
    """How far a cut may lie from the middle, as a share of the length."""
    tilt_rad: float = 0.03
    """Standard deviation of the cut's turn away from square."""
    spread: float = 0.35
    """Standard deviation of the logarithm of the target."""


def iterate_polygons(geometry: BaseGeometry, *, min_m2: float = 0.0) -> Iterator[Polygon]:
    """Yield every polygon part whose area exceeds ``min_m2``."""
    for part in shapely.get_parts(geometry):
        if part.geom_type == "Polygon" and part.area > min_m2:
            yield part


def iterate_lines(geometry: BaseGeometry, *, min_m: float = 0.0) -> Iterator[LineString]:
    """Yield every line part longer than ``min_m``."""
    for part in shapely.get_parts(geometry):
        if part.geom_type == "LineString" and part.length > min_m:
            yield part


def find_direction(polygon: Polygon) -> tuple[float, float, float]:
    """Return direction of the long side (radians) and long and short side (metres) of the tightest box."""
    box = shapely.get_coordinates(shapely.oriented_envelope(polygon))
    if len(box) < 4:
        return 0.0, 1.0, 1.0
    sides = np.diff(box[:3], axis=0)
    lengths = np.hypot(sides[:, 0], sides[:, 1])
    long = int(lengths[1] > lengths[0])
    angle = float(np.arctan2(sides[long, 1], sides[long, 0]) % np.pi)
    return angle, float(lengths[long]), float(max(lengths[1 - long], 1e-3))


def cut_parcels(
    rng: np.random.Generator, polygon: Polygon, rule: CutRule
) -> tuple[list[Polygon], list[LineString]]:
    """Halve a polygon again and again across its long side.

    Args:
        rng: Source of randomness.
        polygon: Land to be cut, metres.
        rule: How to cut it.

    Returns:
        The parcels and the cuts between them, coarse cuts first.
    """
    parcels: list[Polygon] = []
    cuts: list[LineString] = []
    waiting = [polygon]
    while waiting:
        piece = waiting.pop(0)
        angle, long_m, short_m = find_direction(piece)
        target = rule.target_m2 * float(np.exp(rule.spread * rng.standard_normal()))
        small = piece.area < target and long_m < rule.max_aspect * short_m * 1.6
        if small or piece.area < 0.25 * rule.target_m2:
            parcels.append(piece)
            continue
        # a strip: cutting along the long side makes narrow fields
        along = long_m < rule.max_aspect * short_m and rng.random() < (0.4 if rule.max_aspect > 2.2 else 0.08)
        halves, line = _halve(rng, piece, rule, (angle, long_m, short_m), along=along)
        waiting.extend(halves)
        cuts.extend(line)
        if not line:
            parcels.extend(halves)
            del waiting[-len(halves) :]
    return parcels, cuts


def _halve(
    rng: np.random.Generator,
    piece: Polygon,
    rule: CutRule,
    box: tuple[float, float, float],
    *,
    along: bool,
) -> tuple[list[Polygon], list[LineString]]:
    angle, long_m, short_m = box
    centre = shapely.get_coordinates(shapely.oriented_envelope(piece))[:4].mean(axis=0)
    turn = angle + (np.pi / 2 if along else 0) + rule.tilt_rad * rng.standard_normal()
    forward = np.array([np.cos(turn), np.sin(turn)])
    side = np.array([-forward[1], forward[0]])
    span = short_m if along else long_m
    middle = centre + forward * span * rule.jitter * rng.uniform(-1, 1)
    reach = long_m + short_m
    ends = np.array([middle - side * reach, middle + side * reach])
    half_plane = Polygon([*ends, *(ends[::-1] + forward * reach)])
    line = LineString(ends).intersection(piece)
    lines = list(iterate_lines(line, min_m=5.0))
    if not lines:
        return [piece], []
    front, back = piece.intersection(half_plane), piece.difference(half_plane)
    halves = [*iterate_polygons(front, min_m2=50.0), *iterate_polygons(back, min_m2=50.0)]
    return halves, lines


def take_stretch(line: LineString, start_m: float, end_m: float) -> LineString:
    """Return the stretch of a line between two distances along it."""
    low, high = max(start_m, 0.0), min(end_m, line.length)
    stretch = substring(line, min(low, high - 1.0), high)
    return stretch if isinstance(stretch, LineString) else line


def move_aside(line: LineString, offset_m: float) -> LineString:
    """Return a parallel to a line, to its left where positive; of several pieces the longest."""
    aside = line.offset_curve(offset_m)
    return max(iterate_lines(aside), key=lambda part: float(part.length), default=line)
