"""Cut pairs of radar and optical pictures with known truth out of sample worlds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from scipy.spatial import cKDTree

from catalog.sample.cover import Cover
from catalog.sample.publish import SampleWorldConfig, write_sample_world
from models.matching.images import prepare_image
from models.matching.matches import Matcher
from models.registration.scenes import Registration, RegistrationConfig, register_scenes

_SEA = (Cover.SEA,)
_WET = (Cover.SEA, Cover.RIVER, Cover.LAKE)


@dataclass(frozen=True, eq=False)
class Town:
    """One sample world in memory: a clear optical scene, a radar scene, and what is known of them."""

    optical: np.ndarray
    radar: np.ndarray
    shown_from_true: np.ndarray
    """2×3: radar pixel corner from true pixel corner."""
    lean_xy: tuple[float, float]
    sea: np.ndarray
    """bool, True on open sea."""
    wet: np.ndarray


@dataclass(frozen=True, eq=False)
class Pair:
    """Two pictures of one size."""

    fixed: np.ndarray
    moving: np.ndarray
    lean_xy: tuple[float, float]
    truth: np.ndarray | None
    """2×3: pixel of the moving picture from pixel of the fixed one, centres at whole numbers; None where
    they do not show the same ground."""


def ground(seed: int, shape: tuple[int, int]) -> np.ndarray:
    """Draw fields: patches of one brightness with straight borders."""
    rng = np.random.default_rng(seed)
    height, width = shape
    middles = rng.uniform((0, 0), (width, height), (height * width // 900, 2))
    rows, cols = np.mgrid[:height, :width]
    _, nearest = cKDTree(middles).query(np.stack([cols, rows], axis=-1))
    return rng.uniform(0, 1, len(middles))[nearest].astype(np.float32)


def other_sensor(picture: np.ndarray, seed: int) -> np.ndarray:
    """Show the same fields as another sensor does: other brightnesses, speckle."""
    levels = np.random.default_rng(seed).permutation(256) / 255
    seen = levels[np.clip(picture * 255, 0, 255).astype(int)]
    return (seen * np.random.default_rng(seed + 1).gamma(4, 0.25, picture.shape)).astype(np.float32)


def load_town(folder: Path, *, seed: int, size_px: int, radar: int = 0) -> Town:
    """Draw a world, unless it is there, and read a clear optical and a radar scene of it."""
    world = write_sample_world(
        folder, SampleWorldConfig(seed=seed, size_px=size_px, optical_dates=3, radar_dates=radar + 1)
    )
    optical = sorted((folder / "sample-optical").glob("*0918_t1"))[0]
    passes = sorted((folder / "sample-radar").glob("sample-radar_*"))
    item = json.loads((passes[radar] / f"{passes[radar].name}.json").read_text())
    azimuth = np.radians(item["properties"]["view:azimuth"])
    with rasterio.open(world.truth) as file:
        classes = file.read(1)
    return Town(
        optical=_read(optical, ("red", "green", "blue")),
        radar=_read(passes[radar], ("vv", "vh")),
        shown_from_true=np.reshape(item["properties"]["terraloom:true_affine_px"], (2, 3)),
        lean_xy=(-float(np.sin(azimuth)), float(np.cos(azimuth))),
        sea=np.isin(classes, _SEA),
        wet=np.isin(classes, _WET),
    )


def cut_pair(
    fixed: Town, moving: Town, corner: tuple[int, int], moving_corner: tuple[int, int], edge: int
) -> Pair:
    """Cut the same or different ground out of one or two worlds; corners are row and column."""
    (row, col), (other_row, other_col) = corner, moving_corner
    truth = None
    if fixed is moving and abs(row - other_row) < edge // 4 and abs(col - other_col) < edge // 4:
        truth = moving.shown_from_true.copy()
        shift = truth[:, :2] @ (np.array([col, row]) + 0.5) + truth[:, 2] - 0.5
        truth[:, 2] = shift - np.array([other_col, other_row])
    return Pair(
        fixed.optical[row : row + edge, col : col + edge],
        moving.radar[other_row : other_row + edge, other_col : other_col + edge],
        moving.lean_xy,
        truth,
    )


def draw_corners(
    town: Town, edge: int, rng: np.random.Generator, *, most_wet: float = 1.0, only_sea: bool = False
) -> Iterator[tuple[int, int]]:
    """Draw corners of squares on land, or on open sea, for ever."""
    mask, margin = (~town.sea if only_sea else town.wet), 24
    rows, cols = mask.shape
    total = np.pad(np.cumsum(np.cumsum(mask, 0), 1), ((1, 0), (1, 0)))
    held = total[edge:, edge:] - total[:-edge, edge:] - total[edge:, :-edge] + total[:-edge, :-edge]
    inner = held[margin : rows - edge - margin, margin : cols - edge - margin]
    good = np.argwhere(inner == 0 if only_sea else inner <= most_wet * edge**2) + margin
    while len(good):
        row, col = good[rng.integers(len(good))]
        yield int(row), int(col)


def register_pair(pair: Pair, matcher: Matcher, **settings: Any) -> Registration:
    """Register a pair as scenes are."""
    config = RegistrationConfig(**settings)
    return register_scenes(
        prepare_image(pair.fixed), prepare_image(pair.moving), matcher, config, lean_xy=pair.lean_xy
    )


def error_px(registration: Registration, pair: Pair) -> float:
    """Return the root mean square distance between where a transform and the truth put the ground."""
    assert registration.fit is not None
    assert pair.truth is not None
    rows, cols = np.mgrid[: pair.fixed.shape[0] : 16, : pair.fixed.shape[1] : 16]
    ground = np.column_stack([cols.ravel(), rows.ravel()]).astype(float)
    shown = ground @ pair.truth[:, :2].T + pair.truth[:, 2]
    return float(np.sqrt(((registration.fit.apply(shown) - ground) ** 2).sum(axis=1).mean()))


def _read(folder: Path, bands: tuple[str, ...]) -> np.ndarray:
    planes = []
    for band in bands:
        with rasterio.open(folder / f"{band}.tif") as file:
            planes.append(file.read(1, masked=True).astype(np.float32).filled(np.nan))
    return np.stack(planes, axis=-1)
