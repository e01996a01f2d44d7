"""Make image pairs whose truth is known, in memory and as files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.matching.matches import Matches
from models.matching.transforms import apply_transform


@dataclass(frozen=True)
class Pair:
    """A pair for evaluation, as ``models.matching.cases.KnownPair`` has it."""

    id: str
    fixed: NDArray[Any]
    moving: NDArray[Any]
    kind: str = "made"
    fixed_valid: NDArray[np.bool_] | None = None
    moving_valid: NDArray[np.bool_] | None = None
    fixed_landmarks_xy: NDArray[np.float64] | None = None
    moving_landmarks_xy: NDArray[np.float64] | None = None
    fixed_from_moving: NDArray[np.float64] | None = None


@cache
def blobs(shape: tuple[int, int], seed: int = 0, count: int = 260) -> NDArray[np.uint8]:
    """Draw discs and bars of many sizes and greys: corners and blobs everywhere."""
    rng = np.random.default_rng(seed)
    height, width = shape
    image = np.full(shape, 90.0)
    y, x = np.mgrid[:height, :width]
    for _ in range(count):
        cx, cy, grey = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0, 255)
        a, b = rng.uniform(2, 14, 2)
        turn = rng.uniform(0, np.pi)
        along = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)
        across = (y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)
        square = rng.random() < 0.5
        reach = np.maximum(abs(along) / a, abs(across) / b) if square else np.hypot(along / a, across / b)
        image[reach < 1] = grey
    drawn = image.round().astype(np.uint8)
    drawn.setflags(write=False)  # it is shared
    return drawn


def tie(
    fixed_from_moving: NDArray[np.float64], moving_xy: NDArray[np.float64], noise: float = 0.0, seed: int = 0
) -> Matches:
    """Make tie points that obey a transform, up to a noise."""
    rng = np.random.default_rng(seed)
    fixed_xy = apply_transform(fixed_from_moving, moving_xy) + rng.normal(0, 1, moving_xy.shape) * noise
    scores = np.linspace(1, 0.1, len(moving_xy))
    return Matches(fixed_xy.astype(np.float32), moving_xy.astype(np.float32), scores.astype(np.float32))


def write_pair(folder: Path, name: str = "pair", **changes: Any) -> Path:
    """Write two equal images and the JSON file that describes them; None among the changes takes one out."""
    folder.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(blobs((160, 200), seed=len(name)))
    for side in ("fixed", "moving"):
        image.save(folder / f"{name}_{side}.png")
    places = [[20.0, 30.0], [150.5, 40.25], [60.0, 120.0]]
    content = {
        "fixed": f"{name}_fixed.png",
        "moving": f"{name}_moving.png",
        "landmarks_fixed_xy": places,
        "landmarks_moving_xy": places,
        "fixed_from_moving_row_vector_3x3": np.eye(3).tolist(),
    } | changes
    path = folder / f"{name}.json"
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return path
