"""The published levels of known warps, drawn from a seed."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from models.matching.transforms import Transform, similarity

LevelName: TypeAlias = Literal["none", "easy", "normal", "hard"]


@dataclass(frozen=True)
class WarpLevel:
    """How far a warp may go; every number is drawn evenly from its range.

    Attributes:
        rotation_deg: up to this far either way.
        shift: up to this part of the width along x, and of the height along y, either way.
        scale: lowest and highest.
    """

    rotation_deg: float
    shift: float
    scale: tuple[float, float]


LEVELS: dict[LevelName, WarpLevel] = {
    "none": WarpLevel(0.0, 0.0, (1.0, 1.0)),
    "easy": WarpLevel(12.0, 0.03, (0.95, 1.05)),
    "normal": WarpLevel(36.0, 0.10, (0.85, 1.15)),
    "hard": WarpLevel(108.0, 0.30, (0.7, 1.3)),
}
LEVEL_NAMES: tuple[str, ...] = get_args(LevelName)


def draw_warp(level: WarpLevel, shape: tuple[int, int], rng: np.random.Generator) -> Transform:
    """Return a turn and scaling about the image's middle and a shift: ``warped_from_image``, pixels."""
    height, width = shape
    turn, along_x, along_y = rng.uniform(-1, 1, 3)
    return similarity(
        rotation_deg=turn * level.rotation_deg,
        scale=rng.uniform(*level.scale),
        shift=(along_x * level.shift * width, along_y * level.shift * height),
        centre=((width - 1) / 2, (height - 1) / 2),
    )


def pair_generator(seed: int, pair: str) -> np.random.Generator:
    """Return the random numbers of one pair: the same whatever other pairs are looked at."""
    return np.random.default_rng([seed, zlib.crc32(pair.encode())])
