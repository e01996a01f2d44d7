"""Places that do not exist, seen by a camera in colour and by a radar on one grid."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from models.mars.statistics import Statistics, measure_statistics
from models.modality.draws import Draws
from models.modality.fields import blur_slightly, look_up
from models.modality.lattice import CODES
from models.modality.renderings import render_scenes
from models.modality.scenes import Cover, Scenes, draw_scenes

NAME = "procedural"
_STATISTICS_SEED = 770_001
_STATISTICS_PLACES = 20

# How much redder, greener and bluer than grey each cover is, in the order of Cover.
_TINTS = (
    (0.75, 1.00, 1.30), (1.20, 1.00, 0.80), (0.90, 1.15, 0.70), (1.05, 1.08, 0.68), (0.75, 1.15, 0.80),
    (1.05, 1.02, 0.92), (1.00, 1.00, 0.98), (0.98, 1.00, 1.02), (1.05, 0.98, 0.94), (1.15, 0.96, 0.86),
)  # fmt: skip
_HAZE = (0.40, 0.46, 0.58)


def draw_places(count: int, *, size: int, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw places and show each to a camera and to a radar.

    Args:
        count: how many, at least 1.
        size: pixels of the side, at least 32.
        generator: where all randomness comes from.

    Returns:
        Red, green, blue float32 (count, 3, size, size) and radar (count, 1, size, size), both 0 to 1.

    Raises:
        InputError: ``count`` or ``size`` is too small.
    """
    colours, echoes = [], []
    for _ in range(count):  # one at a time stays in a processor's cache
        scenes = draw_scenes(1, size=size, generator=generator)
        draws = Draws.start(generator, 1, torch.device("cpu"))
        colours.append(colour_daylight(scenes, render_scenes(scenes, ["daylight"], draws), draws))
        echoes.append(render_scenes(scenes, ["radar"], draws))
    return torch.cat(colours), torch.cat(echoes)


def colour_daylight(scenes: Scenes, grey: Tensor, draws: Draws) -> Tensor:
    """Give a grey daylight image the colours of its covers, of its season and of the air above it.

    Args:
        scenes: what is there.
        grey: (batch, 1, height, width), 0 to 1, of the same places.
        draws: the samples' random numbers.

    Returns:
        float32 (batch, 3, height, width), 0 to 1.
    """
    tints = torch.tensor(_TINTS, device=grey.device)
    channels = []
    for channel in range(3):
        usual = tints[:, channel] + 0.08 * draws.table((-1.7, 1.7), len(Cover))
        own = 0.05 * look_up(scenes.parcel, draws.table((-1.7, 1.7), CODES))
        gain = look_up(scenes.cover, usual) + own
        gain = gain + draws.uniform((-0.04, 0.04)) * scenes.soil
        channels.append(grey * gain.clamp(min=0.2))
    haze = torch.tensor(_HAZE, device=grey.device)[:, None, None]
    seen = torch.lerp(torch.cat(channels, 1), haze, draws.uniform((0.0, 0.3)))
    seen = torch.lerp(seen, blur_slightly(seen), draws.chance(0.5))
    noise = draws.uniform((0.0, 0.02)) * draws.normal(3, *grey.shape[-2:])
    return (seen + noise).clamp(0, 1)


@lru_cache(maxsize=1)
def place_statistics() -> Statistics:
    """Return mean and spread of drawn places, measured on some that no lesson holds."""
    generator = np.random.default_rng([_STATISTICS_SEED])
    rgb, sar = draw_places(_STATISTICS_PLACES, size=160, generator=generator)
    return measure_statistics(rgb, sar, sar_unit="none")
