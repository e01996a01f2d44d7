"""A colour picture from a radar image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from models.downstream.heads import MapHead
from models.downstream.lessons import (
    Batch,
    LessonConfig,
    PlaceDraws,
    cut_chips,
    find_place,
    show_day,
    show_radar,
    standardise,
)
from models.downstream.task import Figures, Predict
from models.scores.pictures import measure_psnr, measure_ssim

PICTURE = "picture"
"""The truth's entry: float32 (batch, 3, height, width), 0 to 1."""
_MIDDLE = 0.4
_SHARP_SHARE = 0.2


@dataclass(frozen=True)
class TranslationTask:
    """A colour picture of what a radar saw.

    Attributes:
        name: the word it is asked for by.
        title: what goes in and what comes out.
        headline: the figure in tables.
        trivial_name: what the trivial answer is.
    """

    name: str = "translation"
    title: str = "An optical picture from a SAR image"
    headline: str = "psnr_db"
    trivial_name: str = "the radar's grey, fitted to each colour"

    def place(self, config: LessonConfig, draws: PlaceDraws) -> Batch:
        """Make four chips of one place."""
        scenes = find_place(config, draws)
        sar = cut_chips(show_radar(scenes, draws.generator))
        return Batch((standardise(None, sar),), {PICTURE: cut_chips(show_day(scenes, draws.generator))})

    def make_head(self, width: int) -> nn.Module:
        """Return a head that gives colours about their middle, (batch, 3, height, width)."""
        return MapHead(width, 3)

    def loss(self, output: Tensor, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the error of the colours, and of their differences between neighbours."""
        shown, truth = output.float() + _MIDDLE, batch.truth[PICTURE]
        colour = 10 * F.mse_loss(shown, truth)
        edges = sum((F.l1_loss(shown.diff(dim=axis), truth.diff(dim=axis)) for axis in (2, 3)), colour * 0)
        return colour + _SHARP_SHARE * edges, {"colour": colour, "edges": edges}

    def answer(self, output: Tensor) -> NDArray[np.float32]:
        """Return pictures, float32 (batch, 3, height, width), 0 to 1."""
        pictures: NDArray[np.float32] = (output.float() + _MIDDLE).clamp(0, 1).cpu().numpy()
        return pictures

    def learn_trivial(self, lessons: Sequence[Batch]) -> Predict:
        """Return each colour as a straight line over the radar's grey, fitted to the lessons."""
        grey = torch.cat([_grey(lesson).flatten() for lesson in lessons]).double()
        colours = torch.cat([lesson.truth[PICTURE].movedim(1, 0).flatten(1) for lesson in lessons], dim=1)
        known = torch.stack([grey, torch.ones_like(grey)], dim=1)
        slope, level = torch.linalg.lstsq(known, colours.T.double()).solution.float()
        return lambda batch: (
            (_grey(batch).cpu() * slope[:, None, None] + level[:, None, None]).clamp(0, 1).numpy()
        )

    def measure(self, predict: Predict, batches: Sequence[Batch]) -> Figures:
        """Return the mean over all pictures of signal to noise, and of structural similarity."""
        psnr, ssim = [], []
        for batch in batches:
            for truth, shown in zip(batch.truth[PICTURE].cpu().numpy(), predict(batch), strict=True):
                psnr.append(min(measure_psnr(truth, shown), 100.0))  # an exact one has no finite figure
                ssim.append(measure_ssim(truth, shown))
        return {"score": float(np.mean(psnr)), "psnr_db": float(np.mean(psnr)), "ssim": float(np.mean(ssim))}


def _grey(batch: Batch) -> Tensor:
    seen = batch.views[0].sar
    assert seen is not None
    return seen


TRANSLATION = TranslationTask()
