"""Places with objects on them whose boxes are known: buildings, and targets that shine in SAR."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.downstream.before_after import has_roofs
from models.downstream.boxes import pad_boxes
from models.downstream.detection import BOXES, LABELS, DetectionTask
from models.downstream.lessons import (
    Batch,
    LessonConfig,
    PlaceDraws,
    cut_chips,
    find_place,
    show_both,
    show_radar,
    standardise,
)
from models.modality.scenes import Cover, Scenes

_LEAST_PX = 16
"""Pixels of a building that is looked for; less of one may stand at a chip's rim."""
_TARGETS = (8, 20)
_LENGTHS_PX = (7.0, 20.0)
_BREADTHS = (0.25, 0.5)
_TRIES = 12


def place_buildings(config: LessonConfig, draws: PlaceDraws) -> Batch:
    """Show a built-up place to both sensors, with a box around every building."""
    scenes = find_place(config, draws, has_roofs)
    numbers = torch.where(scenes.cover == Cover.ROOF, scenes.parcel + 1, 0)
    truths = [_box_parts(chip[0].numpy()) for chip in cut_chips(numbers)]
    return Batch((show_both(scenes, draws.generator),), _pad(truths))


def place_targets(config: LessonConfig, draws: PlaceDraws) -> Batch:
    """Show a radar image with long bright targets of few scatterers on open ground or water."""
    scenes = find_place(config, draws, _is_open)
    image = show_radar(scenes, draws.generator)
    number = torch.zeros_like(image, dtype=torch.int64)
    free = ((scenes.cover != Cover.ROOF) & (scenes.cover != Cover.FOREST))[0, 0].numpy()
    for target in range(1, int(draws.generator.integers(*_TARGETS)) + 1):
        mask = _draw_target(free, draws.generator)
        if mask is None:
            continue
        free &= ~_widen(mask)
        inside = torch.from_numpy(mask)
        number[0, 0][inside] = target
        image[0, 0][inside] = _echo(int(mask.sum()), draws.generator)
    truths = [_box_parts(chip[0].numpy()) for chip in cut_chips(number)]
    return Batch((standardise(None, cut_chips(image)),), _pad(truths))


def _is_open(scenes: Scenes) -> bool:
    free = (scenes.cover != Cover.ROOF) & (scenes.cover != Cover.FOREST)
    return float(free.float().mean()) > 0.5


def _draw_target(free: NDArray[np.bool_], generator: np.random.Generator) -> NDArray[np.bool_] | None:
    """Return a turned ellipse that lies on free ground altogether; None where no try finds room."""
    height, width = free.shape
    y, x = np.mgrid[:height, :width]
    for _ in range(_TRIES):
        length = generator.uniform(*_LENGTHS_PX)
        breadth = max(length * generator.uniform(*_BREADTHS), 3.0)
        middle_x, middle_y = (
            generator.uniform(length, width - length),
            generator.uniform(length, height - length),
        )
        turn = generator.uniform(0, math.pi)
        along = (x - middle_x) * math.cos(turn) + (y - middle_y) * math.sin(turn)
        across = (y - middle_y) * math.cos(turn) - (x - middle_x) * math.sin(turn)
        mask = (2 * along / length) ** 2 + (2 * across / breadth) ** 2 < 1
        if mask.any() and free[mask].all():
            inside: NDArray[np.bool_] = mask
            return inside
    return None


def _widen(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask with two pixels around it, so that no two targets touch."""
    from scipy.ndimage import binary_dilation

    wide: NDArray[np.bool_] = binary_dilation(mask, iterations=2)
    return wide


def _echo(pixels: int, generator: np.random.Generator) -> Tensor:
    """Return a target's brightness: high, with speckle, and a few points that saturate."""
    level = generator.uniform(0.7, 0.9) + 0.12 * generator.standard_normal(pixels)
    level[generator.uniform(size=pixels) < 0.15] = 1.0
    return torch.from_numpy(level.clip(0, 1).astype(np.float32))


def _box_parts(numbers: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Return a box around every connected part of each number above 0, and its class, which is 0."""
    from scipy.ndimage import find_objects, label

    boxes = []
    for number in np.unique(numbers[numbers > 0]):
        parts, _ = label(numbers == number)
        for part, (rows, columns) in enumerate(find_objects(parts), start=1):
            if int((parts[rows, columns] == part).sum()) >= _LEAST_PX:
                boxes.append((columns.start, rows.start, columns.stop, rows.stop))
    found = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return found, torch.zeros(len(found), dtype=torch.int64)


def _pad(truths: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    rows = [pad_boxes(*truth) for truth in truths]
    return {BOXES: torch.stack([boxes for boxes, _ in rows]), LABELS: torch.stack([one for _, one in rows])}


def _radar_of(batch: Batch) -> Tensor:
    seen = batch.views[0].sar
    assert seen is not None
    return seen


def _grey_of(batch: Batch) -> Tensor:
    """Return the radar's image, in which buildings shine; where there is none, the mean colour."""
    view = batch.views[0]
    if view.rgb is not None and view.sar is None:
        return view.rgb.mean(dim=1, keepdim=True)
    return _radar_of(batch)


TARGETS = DetectionTask(
    name="targets",
    title="Boxes around bright targets in SAR",
    classes=("target",),
    make_place=place_targets,
    brightness=_radar_of,
)
BUILDINGS = DetectionTask(
    name="buildings",
    title="Boxes around buildings from optical and SAR",
    classes=("building",),
    make_place=place_buildings,
    brightness=_grey_of,
)
