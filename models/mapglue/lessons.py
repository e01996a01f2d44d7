"""What MapGlue learns from: procedural places shown twice, warped apart a little, with the truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from models.matching.warps import LevelName
from models.modality.pairs import PairConfig, TrainingPairs, make_pairs
from models.modality.renderings import draw_scene_pairs


@dataclass(frozen=True)
class LessonConfig:
    """How batches are made.

    Attributes:
        pairs: in a batch.
        size_px: of the square images.
        scene_px: of the places they are cut from.
        scenes: places that are drawn at a time.
        reuse: batches cut from the same places; drawing one costs more than cutting.
        level: how far the images are warped apart. The tiny preset turns images before it compares them,
            so it learns from what is left after that.
        perspective: up to this part of the side is each corner moved by perspective.
    """

    pairs: int = 6
    size_px: int = 192
    scene_px: int = 384
    scenes: int = 6
    reuse: int = 4
    level: LevelName = "easy"
    perspective: float = 0.02


def draw_lesson(config: LessonConfig, seed: int, step: int) -> TrainingPairs:
    """Return a batch; the same seed and step give the same, in any order.

    Half the pairs are two renderings of a place, drawn from what lies there; half are one rendering and a
    look guessed from its pixels.
    """
    first, second = _places(config, seed, step // config.reuse)
    generator = np.random.default_rng([seed, step, 1])
    rows = torch.from_numpy(generator.integers(0, len(first), config.pairs))
    half = config.pairs // 2
    wanted = PairConfig(perspective=config.perspective)
    parts = [
        make_pairs(fixed, moving, level=config.level, generator=generator, size=config.size_px, config=wanted)
        for fixed, moving in ((first[rows[:half]], second[rows[:half]]), (first[rows[half:]], None))
        if len(fixed)
    ]
    return TrainingPairs(*(torch.cat(values) for values in zip(*map(_values, parts), strict=True)))


@lru_cache(maxsize=2)
def _places(config: LessonConfig, seed: int, group: int) -> tuple[Tensor, Tensor]:
    generator = np.random.default_rng([seed, group, 0])
    return draw_scene_pairs(config.scenes, size=config.scene_px, generator=generator)


def _values(pairs: TrainingPairs) -> tuple[Tensor, ...]:
    return pairs.fixed, pairs.moving, pairs.fixed_from_moving, pairs.fixed_valid, pairs.moving_valid
